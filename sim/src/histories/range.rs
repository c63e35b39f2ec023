//! Totals over many recorded histories, with the seeds that failed.

use std::collections::BTreeMap;
use std::fmt;

use super::{HistoryReport, Level};
use crate::isolation::{EdgeCounts, Isolation};
use crate::verdicts::Verdicts;

/// Totals over a range of seeds.
#[derive(Clone, Default, Debug)]
pub struct HistoriesReport {
    pub seeds: u64,
    /// Of each level.
    levels: BTreeMap<Level, u64>,
    pub counted: u64,
    pub verdicts: Verdicts,
    pub transactions: u64,
    pub committed: u64,
    pub unknown: u64,
    pub conflicts: u64,
    pub rolled_back: u64,
    pub too_old: u64,
    pub no_room: u64,
    pub over_merges: u64,
    pub edges: EdgeCounts,
    pub lock_waits: u64,
    pub deadlocks: u64,
    pub merges: u64,
    pub with_merge: u64,
    pub crashes: u64,
    pub faults: u64,
    pub violations: u64,
    /// Seeds in which something was found that serializability forbids.
    pub violating: u64,
    /// CPU time, measured by the caller: this crate knows no clock.
    pub cpu_seconds: f64,
}

impl HistoriesReport {
    /// Adds one seed.
    pub fn add(&mut self, report: HistoryReport) {
        self.seeds += 1;
        *self.levels.entry(report.level).or_default() += 1;
        self.counted += u64::from(report.is_counted());
        self.transactions += report.found.transactions as u64;
        self.committed += report.found.committed as u64;
        self.unknown += report.found.unknown as u64;
        self.conflicts += report.counts.conflicts;
        self.rolled_back += report.counts.rolled_back;
        self.too_old += report.counts.too_old;
        self.no_room += report.counts.no_room;
        self.over_merges += report.counts.over_merges;
        let (edges, seen) = (&mut self.edges, report.found.edges);
        edges.ww += seen.ww;
        edges.wr += seen.wr;
        edges.rw += seen.rw;
        edges.rw_predicate += seen.rw_predicate;
        self.lock_waits += report.lock_waits;
        self.deadlocks += report.deadlocks;
        self.merges += report.merges;
        self.with_merge += u64::from(report.merges > 0);
        self.crashes += report.crashes;
        self.faults += report.faults;
        self.violations += report.found.violation_count as u64;
        self.violating += u64::from(report.found.violates(Isolation::Serializable));
        self.verdicts.add(report.seed, report.failure);
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl fmt::Display for HistoriesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdicts { failed, replayed, diverged, .. } = &self.verdicts;
        write!(f, "{}", self.verdicts)?;
        let levels: Vec<String> =
            self.levels.iter().map(|(level, count)| format!("{count} {level}")).collect();
        let (seeds, counted) = (self.seeds, self.counted);
        writeln!(f, "seeds          {seeds:>12}  counted {counted}; {}", levels.join(", "))?;
        let (committed, unknown) = (self.committed, self.unknown);
        let all = self.transactions;
        writeln!(f, "transactions   {all:>12}  committed {committed}, unknown {unknown}")?;
        let (share, rolled_back) = (percent(self.conflicts, all), self.rolled_back);
        writeln!(
            f,
            "conflicts      {:>12}  {share:.1} % of transactions; rolled back {rolled_back}, \
             too old {}, no room {}",
            self.conflicts, self.too_old, self.no_room
        )?;
        let EdgeCounts { ww, wr, rw, rw_predicate } = self.edges;
        writeln!(f, "edges          {:>12}  {}", ww + wr + rw + rw_predicate, self.edges)?;
        let (share, over) = (percent(self.with_merge, seeds), self.over_merges);
        let deadlocks = self.deadlocks;
        writeln!(f, "lock waits     {:>12}  deadlocks {deadlocks}", self.lock_waits)?;
        writeln!(
            f,
            "merges         {:>12}  in {share:.0} % of seeds; commits over a merge {over}",
            self.merges
        )?;
        writeln!(f, "crashes        {:>12}  lives with a fault {}", self.crashes, self.faults)?;
        writeln!(f, "replayed       {replayed:>12}  diverged {}", diverged.len())?;
        writeln!(f, "violations     {:>12}  in {} seeds", self.violations, self.violating)?;
        let hours = self.cpu_seconds / 3600.0;
        writeln!(f, "CPU seconds    {:>12.1}  hours {hours:.3}", self.cpu_seconds)?;
        write!(f, "failed         {failed:>12}")
    }
}
