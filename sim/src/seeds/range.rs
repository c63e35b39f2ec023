//! Totals over many seeds, with the seeds that failed.

use std::fmt;

use super::faults::{OF_THE_DISK, OF_THE_HARNESS};
use super::{Counts, MARKS, SeedReport, TreesReport};
use crate::limits;
use crate::verdicts::Verdicts;
use crate::workload::TallyReport;

/// Totals over a range of seeds.
#[derive(Clone, Default, Debug)]
pub struct RangeReport {
    pub seeds: u64,
    pub counted: u64,
    pub verdicts: Verdicts,
    pub work: TallyReport,
    pub steps: u64,
    pub crashes: u64,
    pub crashes_in_open: u64,
    pub faults: u64,
    pub reopens: u64,
    pub reads_judged: u64,
    pub segments: u64,
    pub trees: TreesReport,
    /// Counted seeds with a merge, and those in which a segment was taken again.
    pub with_merge: u64,
    pub with_recycle: u64,
    /// Places of the engine that were reached, and faults that were met.
    pub marks: Counts,
    pub injected: Counts,
    pub lost: u64,
    pub half_applied: u64,
    /// Seeds in which a bound was reached.
    pub bounded: u64,
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
        self.trees += report.trees;
        self.marks += &report.marks;
        self.injected += &report.injected;
        let is_counted = report.is_counted();
        self.with_merge += u64::from(is_counted && report.trees.merges > 0);
        self.with_recycle += u64::from(is_counted && report.trees.recycled > 0);
        self.lost += report.lost;
        self.half_applied += report.half_applied;
        let work = report.work;
        self.bounded += u64::from(work.memory_full + work.log_full + work.disk_full > 0);
        self.verdicts.add(report.seed, report.failure);
    }
}

impl RangeReport {
    /// Marks that so many seeds must have reached, and did not.
    #[must_use]
    pub fn marks_missing(&self) -> Vec<&'static str> {
        if self.seeds < limits::SEEDS_FOR_ALL_MARKS {
            Vec::new()
        } else {
            self.marks.below(&MARKS, 1)
        }
    }

    /// What a campaign of so many seeds lacks to count as one.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        if self.seeds < limits::SEEDS_FOR_ALL_MARKS {
            return Vec::new();
        }
        let missing = self.marks_missing().into_iter().map(|mark| format!("never reached: {mark}"));
        let rare = self.faults_rare();
        let rare = rare.into_iter().map(|fault| format!("met in less than 1 % of seeds: {fault}"));
        let shares = [
            (self.with_merge, limits::WITH_MERGE_PERCENT_MIN, "merge"),
            (self.with_recycle, limits::WITH_RECYCLE_PERCENT_MIN, "take a segment again"),
        ];
        let few = shares.into_iter().filter(|(count, least, _)| count * 100 < self.counted * least);
        let few = few.map(|(count, least, what)| {
            format!("{count} of {} counted seeds {what}, expected {least} %", self.counted)
        });
        missing.chain(rare).chain(few).collect()
    }

    /// Faults that were met less often than once in a hundred seeds.
    #[must_use]
    pub fn faults_rare(&self) -> Vec<&'static str> {
        let names: Vec<_> = OF_THE_HARNESS.into_iter().chain(OF_THE_DISK).collect();
        self.injected.below(&names, self.seeds / 100)
    }

    fn write_trees(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trees = self.trees;
        let percent = |count: u64| 100.0 * count as f64 / self.counted.max(1) as f64;
        let (with_merge, roots) = (percent(self.with_merge), trees.root_writes);
        writeln!(
            f,
            "merges         {:>12}  in {with_merge:.0} % of counted seeds, root writes {roots}",
            trees.merges
        )?;
        let (with_recycle, ended) = (percent(self.with_recycle), trees.snapshots_ended);
        writeln!(
            f,
            "recycled       {:>12}  in {with_recycle:.0} % of counted seeds",
            trees.recycled
        )?;
        writeln!(f, "snapshots ended {ended:>11}")?;
        let (publication, switch) = (trees.crashes_in_publication, trees.crashes_in_switch);
        writeln!(
            f,
            "crash in merge {:>12}  in a publication {publication}, in a segment switch {switch}",
            trees.crashes_in_merge
        )?;
        writeln!(
            f,
            "checks         {:>12}  trees walked {}, spaces compared {}",
            trees.checks, trees.trees_checked, trees.spaces_compared
        )?;
        let (pages, failed) = (trees.rotten_pages, trees.damaged_reads);
        writeln!(
            f,
            "rotten roots   {:>12}  rotten pages {pages}, reads refused for it {failed}",
            trees.rotten_roots
        )
    }
}

impl fmt::Display for RangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdicts { failed, replayed, diverged, .. } = &self.verdicts;
        write!(f, "{}", self.verdicts)?;
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
        self.write_trees(f)?;
        write!(f, "marks reached\n{}", self.marks)?;
        writeln!(f, "marks missing  {:?}", self.marks.below(&MARKS, 1))?;
        write!(f, "faults met\n{}", self.injected)?;
        writeln!(f, "faults rare    {:?}", self.faults_rare())?;
        let full = (work.memory_full, work.log_full, work.disk_full);
        writeln!(f, "at a bound     {:>12}  memory, log, disk: {full:?}", self.bounded)?;
        writeln!(f, "replayed       {replayed:>12}  diverged {}", diverged.len())?;
        writeln!(f, "lost           {:>12}  half applied {}", self.lost, self.half_applied)?;
        let hours = self.cpu_seconds / 3600.0;
        writeln!(f, "CPU seconds    {:>12.1}  hours {hours:.3}", self.cpu_seconds)?;
        write!(f, "failed         {failed:>12}")
    }
}
