//! What all states together came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What was found in one state.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    pub(super) half_applied: u64,
    pub(super) checked: bool,
    pub(super) problems: Vec<String>,
}

/// The row of states in which commits must be missed.
pub(super) const CONTROL: &str = "control";

#[derive(Default)]
struct Sum {
    states: u64,
    acknowledged: u64,
    lost: u64,
    half_applied: u64,
    checks: u64,
    bad: u64,
}

#[derive(Default)]
pub(super) struct Totals {
    /// By what the states have in common.
    sums: BTreeMap<&'static str, Sum>,
    /// The first problems of states in which there should be none.
    pub(super) problems: Vec<String>,
    pub(super) writes: u64,
    pub(super) flushes: u64,
    pub(super) written_bytes: u64,
    pub(super) counts: Vec<String>,
    /// Which states were drawn.
    pub(super) drawn: Option<String>,
    /// Whether commits were missed whose flush failed and was denied; `None` if none was.
    pub(super) flush_control: Option<bool>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) judging: Duration,
}

/// Problems that are told in full.
const PROBLEMS_TOLD_MAX: usize = 10;

impl Totals {
    pub(super) fn add(&mut self, row: &'static str, name: &str, verdict: Verdict) {
        let sum = self.sums.entry(row).or_default();
        sum.states += 1;
        sum.acknowledged += verdict.acknowledged;
        sum.lost += verdict.lost;
        sum.half_applied += verdict.half_applied;
        sum.checks += u64::from(verdict.checked);
        sum.bad += u64::from(!verdict.problems.is_empty());
        if row != CONTROL {
            self.bad(name, verdict.problems);
        }
    }

    pub(super) fn bad(&mut self, name: &str, problems: Vec<String>) {
        for problem in problems {
            if self.problems.len() < PROBLEMS_TOLD_MAX {
                self.problems.push(format!("{name}: {problem}"));
            }
        }
    }

    pub(super) fn states(&self) -> u64 {
        self.sums.values().map(|sum| sum.states).sum()
    }

    /// Whether commits were missed that a lying disk had lost; `None` without such a disk.
    pub(super) fn control(&self) -> Option<bool> {
        self.sums.get(CONTROL).map(|sum| sum.lost > 0)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.writes > 0 {
            let mib = self.written_bytes >> 20;
            writeln!(f, "recorded: {} writes ({mib} MiB), {} flushes", self.writes, self.flushes)?;
        }
        for count in &self.counts {
            writeln!(f, "  {count}")?;
        }
        if let Some(drawn) = &self.drawn {
            writeln!(f, "drawn: {drawn}")?;
        }
        writeln!(
            f,
            "{:<16}{:>8}{:>14}{:>8}{:>14}{:>8}{:>12}",
            "states", "count", "acknowledged", "lost", "half applied", "checks", "violations"
        )?;
        for (name, sum) in &self.sums {
            let Sum { states, acknowledged, lost, half_applied, checks, bad } = sum;
            writeln!(
                f,
                "{name:<16}{states:>8}{acknowledged:>14}{lost:>8}{half_applied:>14}{checks:>8}\
                 {bad:>12}"
            )?;
        }
        for (name, count) in &self.faults {
            writeln!(f, "{name:<68}{count:>6}")?;
        }
        let rate = self.states() as f64 / self.judging.as_secs_f64().max(0.001);
        writeln!(f, "states/s {rate:.1}")?;
        let verdict = |control| match control {
            None => "not run",
            Some(true) => "proven",
            Some(false) => "not proven",
        };
        let (lying, denied) = (verdict(self.control()), verdict(self.flush_control));
        writeln!(f, "control (a flush that failed and is denied loses commits): {denied}")?;
        write!(f, "control (a disk that only says that it flushed loses commits): {lying}")
    }
}
