//! The ratio of cold lookups to plain reads as it must be measured: pairs in alternating order.

use std::time::Duration;

use serde::Serialize;

use crate::error::BenchError;
use crate::limits::READ_PAIR_WARMUP_SECONDS;
use crate::measure::{Ratio, ratio_of_pairs};
use crate::session::Session;

use super::clients::ClientsPhase;
use super::disk::Stretch;
use super::larger::{LargerFigures, LookupFigures};
use super::pairs::is_too_wide;
use super::reference::{ReferenceFigures, References};

/// Alternating runs of plain reads of the data file (A) and of lookups (B).
#[derive(Clone, Debug, Serialize)]
pub struct ReadPairsFigures {
    pub pairs: usize,
    pub side_seconds: f64,
    /// What reads plainly: fio, or this program's own loop where there is no fio.
    pub reference: String,
    pub reference_against_itself: Ratio,
    pub lookups_against_reference: Ratio,
    /// Beside fio: the same against this program's own loop.
    pub lookups_against_raw_loop: Option<Ratio>,
    /// The first row is too wide for the others to count.
    pub undecided: bool,
    pub rows: Vec<ReadPairRow>,
}

/// One pair.
#[derive(Clone, Debug, Serialize)]
pub struct ReadPairRow {
    /// Which sides ran in which order; R is the raw loop beside fio.
    pub order: &'static str,
    /// The neighbour of the lookups first.
    pub reference: [ReferenceFigures; 2],
    pub raw_loop: Option<ReferenceFigures>,
    pub lookups: LookupFigures,
}

/// The sides of a pair in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Reference,
    Lookups,
    RawLoop,
}

const FORTH: [Side; 4] = [Side::Reference, Side::Reference, Side::Lookups, Side::RawLoop];
const BACK: [Side; 4] = [Side::RawLoop, Side::Lookups, Side::Reference, Side::Reference];

fn order(pair: usize, has_raw_loop: bool) -> (&'static str, &'static [Side]) {
    match (pair.is_multiple_of(2), has_raw_loop) {
        (true, true) => ("A A B R", &FORTH),
        (false, true) => ("R B A A", &BACK),
        (true, false) => ("A A B", &FORTH[..3]),
        (false, false) => ("B A A", &BACK[1..]),
    }
}

/// Runs pairs until the wanted number is reached or a stop is requested. The store stays open
/// and idle while the references read its file: its cache is as warm for every pair.
///
/// `None` when not even one pair was finished.
pub(crate) fn run_read_pairs(
    session: &Session,
    lookups: ClientsPhase,
    figures: &mut LargerFigures,
) -> Result<Option<ReadPairsFigures>, BenchError> {
    let references = References::of(session);
    figures.fio_skipped = references.fio.as_ref().err().cloned();
    let has_fio = references.fio.is_ok();
    let warmup = session.plan.warmup.min(Duration::from_secs(READ_PAIR_WARMUP_SECONDS));
    let pair = Pair {
        session,
        references,
        stretch: Stretch { warmup, ..session.stretch() },
        lookups: ClientsPhase { warmup, ..lookups },
    };
    let mut rows = Vec::new();
    for number in 0..session.plan.pairs.unwrap_or(0) {
        let (name, sides) = order(number, has_fio);
        match pair.run(sides) {
            _ if session.stop.is_requested() => break,
            outcome => rows.push(outcome?.into_row(name)?),
        }
    }
    Ok(summarize(rows, session.plan.measured.as_secs_f64()))
}

struct Pair<'a> {
    session: &'a Session,
    references: References,
    stretch: Stretch,
    lookups: ClientsPhase,
}

/// What the sides of one pair found, in the order in which they ran.
#[derive(Default)]
struct Outcome {
    references: Vec<ReferenceFigures>,
    raw_loop: Option<ReferenceFigures>,
    lookups: Option<LookupFigures>,
}

impl Pair<'_> {
    fn run(&self, sides: &[Side]) -> Result<Outcome, BenchError> {
        let mut outcome = Outcome::default();
        for side in sides {
            match side {
                Side::Reference => outcome.references.push(self.reference()?),
                Side::RawLoop => outcome.raw_loop = Some(self.raw_loop()?),
                Side::Lookups => {
                    let run = self.session.run_clients(self.lookups)?;
                    if let Some(failure) = run.report.failure.as_ref() {
                        return Err(BenchError::phase("cold lookups", failure));
                    }
                    outcome.lookups = Some(LookupFigures::of(&run));
                }
            }
        }
        Ok(outcome)
    }

    fn reference(&self) -> Result<ReferenceFigures, BenchError> {
        if self.references.fio.is_err() {
            return self.raw_loop();
        }
        let figures = self.references.fio(self.session, &self.stretch);
        figures.map_err(|reason| BenchError::phase("fio", reason))
    }

    fn raw_loop(&self) -> Result<ReferenceFigures, BenchError> {
        self.references.raw_loop(self.session, &self.stretch)
    }
}

impl Outcome {
    /// Forth, the lookups' neighbour is the second reference; back, it is the first.
    fn into_row(mut self, order: &'static str) -> Result<ReadPairRow, BenchError> {
        if order.starts_with('A') {
            self.references.reverse();
        }
        let unfinished = || BenchError::phase("pairs", "a side of a pair has no figures");
        let reference = self.references.try_into().map_err(|_| unfinished())?;
        let lookups = self.lookups.ok_or_else(unfinished)?;
        Ok(ReadPairRow { order, reference, raw_loop: self.raw_loop, lookups })
    }
}

fn summarize(rows: Vec<ReadPairRow>, side_seconds: f64) -> Option<ReadPairsFigures> {
    let ratios = |of: fn(&ReadPairRow) -> Option<f64>| {
        ratio_of_pairs(&rows.iter().filter_map(of).collect::<Vec<_>>())
    };
    let reference = rows.first()?.reference[0].tool.clone();
    let reference_against_itself =
        ratios(|row| Some(row.reference[0].per_s / row.reference[1].per_s))?;
    let lookups_against_reference = ratios(|row| Some(row.lookups.per_s / row.reference[0].per_s))?;
    let lookups_against_raw_loop =
        ratios(|row| row.raw_loop.as_ref().map(|raw| row.lookups.per_s / raw.per_s));
    let undecided = is_too_wide(&reference_against_itself);
    Some(ReadPairsFigures {
        pairs: rows.len(),
        side_seconds,
        reference,
        reference_against_itself,
        lookups_against_reference,
        lookups_against_raw_loop,
        undecided,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reference::RAW_LOOP;
    use super::*;

    #[test]
    fn pairs_alternate_and_keep_reference_and_lookups_neighbours() {
        for has_raw_loop in [true, false] {
            for pair in 0..4 {
                let (name, sides) = order(pair, has_raw_loop);
                let letters = sides.iter().map(|side| match side {
                    Side::Reference => "A",
                    Side::Lookups => "B",
                    Side::RawLoop => "R",
                });
                assert_eq!(letters.collect::<Vec<_>>().join(" "), name);
                assert!(name.contains("A A") && (name.contains("A B") || name.contains("B A")));
            }
            assert_ne!(order(0, has_raw_loop).0, order(1, has_raw_loop).0);
        }
    }

    #[test]
    fn row_names_the_neighbour_of_the_lookups_first() {
        let reference = |per_s| ReferenceFigures {
            tool: RAW_LOOP.to_owned(),
            operations: 1,
            seconds: 1.0,
            per_s,
            p50_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            cpu_us_per_read: 0.0,
        };
        let outcome = || Outcome {
            references: vec![reference(1.0), reference(2.0)],
            raw_loop: None,
            lookups: Some(lookups()),
        };
        assert_eq!(outcome().into_row("A A B").unwrap().reference[0].per_s, 2.0);
        assert_eq!(outcome().into_row("B A A").unwrap().reference[0].per_s, 1.0);
        let rows = vec![outcome().into_row("A A B").unwrap(); 3];
        let summary = summarize(rows, 1.0).unwrap();
        assert_eq!(summary.lookups_against_reference.median, 5.0);
        assert_eq!(summary.reference_against_itself.median, 2.0);
        assert!(summary.undecided && summary.lookups_against_raw_loop.is_none());
        assert!(summarize(Vec::new(), 1.0).is_none());
    }

    fn lookups() -> LookupFigures {
        LookupFigures {
            clients: 1,
            clients_on: crate::ClientsOn::Shards,
            distribution: crate::workload::Distribution::Uniform,
            operations: 10,
            seconds: 1.0,
            per_s: 10.0,
            latency: crate::measure::Latency::default(),
            wrong: 0,
            device_reads_per_lookup: 1.0,
            cache_misses_per_lookup: 1.0,
            cpu_us_per_lookup: 1.0,
        }
    }
}
