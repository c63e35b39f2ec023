//! What one store must hold of orders and payments, and whether it does.

use super::line::{Id, Line};
use crate::Failure;
use crate::kill::workload::{Judge, Reported};
use sombra_bench::workload::tpcc::Place;
use std::collections::BTreeMap;

/// Violations that a failure names one by one.
const VIOLATIONS_NAMED_MAX: usize = 20;

/// Hears of each order and payment what it is to leave behind, whether it was acknowledged, and
/// what a reopened store holds.
#[derive(Default)]
pub(in crate::kill) struct TpccJudge {
    /// The store was shown once, as it was loaded.
    is_loaded: bool,
    /// What must be there, and what it is.
    known: BTreeMap<Place, u64>,
    /// What was asked for and neither acknowledged nor refused: there whole, or not at all.
    open: BTreeMap<Id, u64>,
    shown: BTreeMap<Place, u64>,
    wrong: Vec<String>,
    orders: u64,
    payments: u64,
    conditions_checked: u64,
}

impl Judge for TpccJudge {
    fn hear(&mut self, reports: &[String]) -> Result<Reported, Failure> {
        (self.orders, self.payments, self.conditions_checked) = (0, 0, 0);
        let mut reported = Reported::default();
        for text in reports {
            let line = Line::parse(text).ok_or_else(|| format!("unreadable line {text:?}"))?;
            self.take(line, &mut reported)?;
        }
        reported.acknowledged = self.orders + self.payments;
        reported.unanswered = self.open.len() as u64;
        reported.notes = vec![
            ("orders", self.orders),
            ("payments", self.payments),
            ("conditions 1-4", self.conditions_checked),
        ];
        let more = reported.violations.len().saturating_sub(VIOLATIONS_NAMED_MAX);
        if more > 0 {
            reported.violations.truncate(VIOLATIONS_NAMED_MAX);
            reported.violations.push(format!("and {more} more"));
        }
        Ok(reported)
    }
}

impl TpccJudge {
    fn take(&mut self, line: Line, reported: &mut Reported) -> Result<(), Failure> {
        match line {
            Line::Intent { id, digest } => {
                self.open.insert(id, digest);
            }
            Line::Acknowledged { id, place } => {
                let digest = self.open.remove(&id);
                let digest = digest.ok_or_else(|| format!("{id:?} was not asked for"))?;
                match place {
                    Place::Order { .. } => self.orders += 1,
                    Place::Payment { .. } => self.payments += 1,
                }
                if self.known.insert(place, digest).is_some() {
                    reported.violations.push(format!("{place:?} was acknowledged twice"));
                }
            }
            Line::Refused { id } => {
                let digest = self.open.remove(&id);
                digest.ok_or_else(|| format!("{id:?} was not asked for"))?;
            }
            Line::Shown { place, digest } => {
                self.shown.insert(place, digest);
            }
            Line::Wrong(what) => self.wrong.push(what),
            Line::ShownAll { conditions, accounts } => {
                self.settle((conditions, accounts), reported);
            }
            Line::Broken(what) => reported.violations.push(what),
        }
        Ok(())
    }

    /// Compares what the store showed with what was said of it, and makes it the ground of the
    /// next opening.
    fn settle(&mut self, (conditions, accounts): (u64, u64), reported: &mut Reported) {
        reported.compared = true;
        self.conditions_checked += 1;
        let shown = std::mem::take(&mut self.shown);
        if conditions + accounts > 0 {
            reported.half_applied += conditions + accounts;
            reported.violations.push(format!(
                "conditions 1 to 4 do not hold {conditions} times, {accounts} accounts are wrong"
            ));
            reported.violations.append(&mut self.wrong);
        }
        if !self.is_loaded {
            self.is_loaded = true;
            self.known.clone_from(&shown);
        }
        for (place, digest) in &self.known {
            match shown.get(place) {
                None => {
                    reported.lost += 1;
                    reported.violations.push(format!("{place:?} was acknowledged and is lost"));
                }
                Some(found) if found != digest => {
                    reported.half_applied += 1;
                    reported.violations.push(format!("{place:?} is not whole"));
                }
                Some(_) => {}
            }
        }
        for (place, digest) in &shown {
            if !self.known.contains_key(place) && !self.close(*digest) {
                reported.violations.push(format!(
                    "{place:?} is there, and nobody asked for it, or it was refused, or not whole"
                ));
            }
        }
        self.known = shown;
        self.open.clear();
    }

    /// Whether a transaction without an answer would leave this behind; it does so once.
    fn close(&mut self, digest: u64) -> bool {
        let asked = self.open.iter().find(|(_, open)| **open == digest).map(|(id, _)| *id);
        asked.is_some_and(|id| self.open.remove(&id).is_some())
    }
}
