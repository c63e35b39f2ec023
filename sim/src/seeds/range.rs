//! Totals over many seeds, with the seeds that failed.

use std::fmt;

use super::SeedReport;
use crate::limits;
use crate::workload::TallyReport;

/// Totals over a range of seeds.
#[derive(Clone, Default, Debug)]
pub struct RangeReport {
    pub seeds: u64,
    pub counted: u64,
    pub failed: u64,
    failures: Vec<(u64, String)>,
    pub work: TallyReport,
    pub steps: u64,
    pub crashes: u64,
    pub crashes_in_open: u64,
    pub faults: u64,
    pub reopens: u64,
    pub reads_judged: u64,
    pub segments: u64,
    pub lost: u64,
    pub half_applied: u64,
    /// Seeds in which a bound was reached.
    pub bounded: u64,
    /// Seeds that were run a second time, and those that took another course then.
    pub replayed: u64,
    pub diverged: Vec<u64>,
    /// CPU time, measured by the caller: this crate knows no clock.
    pub cpu_seconds: f64,
}

impl RangeReport {
    /// Adds one seed.
    pub fn add(&mut self, report: SeedReport) {
        self.seeds += 1;
        self.counted += u64::from(report.is_counted());
        self.work += report.work;
        self.steps += report.steps;
        self.crashes += report.crashes;
        self.crashes_in_open += report.crashes_in_open;
        self.faults += report.faults;
        self.reopens += report.reopens;
        self.reads_judged += report.reads_judged;
        self.segments += report.segments;
        self.lost += report.lost;
        self.half_applied += report.half_applied;
        let work = report.work;
        self.bounded += u64::from(work.memory_full + work.log_full + work.disk_full > 0);
        if let Some(failure) = report.failure {
            self.failed += 1;
            if self.failures.len() < limits::FAILURES_LISTED_MAX {
                self.failures.push((report.seed, failure));
            }
        }
    }

    /// Notes that a seed ran twice, with these trace hashes.
    pub fn replayed(&mut self, seed: u64, first: u64, second: u64) {
        self.replayed += 1;
        if first != second {
            self.diverged.push(seed);
        }
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.diverged.is_empty()
    }

    /// The seeds that failed, as far as they are listed.
    pub fn failing_seeds(&self) -> impl Iterator<Item = u64> {
        self.failures.iter().map(|(seed, _)| *seed)
    }
}

impl fmt::Display for RangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, failure) in &self.failures {
            writeln!(f, "FAILED seed {seed}: {failure}")?;
        }
        for seed in &self.diverged {
            writeln!(f, "FAILED seed {seed}: a second run took another course")?;
        }
        let work = self.work;
        writeln!(f, "seeds          {:>12}  counted {}", self.seeds, self.counted)?;
        writeln!(f, "operations     {:>12}  steps {}", work.operations, self.steps)?;
        writeln!(f, "acknowledged   {:>12}  conflicts {}", work.acknowledged, work.conflicts)?;
        let share = 100.0 * work.cross_shard as f64 / work.transactions.max(1) as f64;
        writeln!(f, "transactions   {:>12}  over shards {share:.0} %", work.transactions)?;
        let (in_open, faults) = (self.crashes_in_open, self.faults);
        writeln!(
            f,
            "crashes        {:>12}  while opening {in_open}, faults {faults}",
            self.crashes
        )?;
        writeln!(f, "reopens judged {:>12}  reads judged {}", self.reopens, self.reads_judged)?;
        writeln!(f, "segments begun {:>12}  scans {}", self.segments, work.scans)?;
        let full = (work.memory_full, work.log_full, work.disk_full);
        writeln!(f, "at a bound     {:>12}  memory, log, disk: {full:?}", self.bounded)?;
        writeln!(f, "replayed       {:>12}  diverged {}", self.replayed, self.diverged.len())?;
        writeln!(f, "lost           {:>12}  half applied {}", self.lost, self.half_applied)?;
        let hours = self.cpu_seconds / 3600.0;
        writeln!(f, "CPU seconds    {:>12.1}  hours {hours:.3}", self.cpu_seconds)?;
        write!(f, "failed         {:>12}", self.failed)
    }
}
