//! What cases led to, added up: the table of a sweep.

use std::fmt;

use super::kind::{Case, SweepKind};
use crate::limits;

/// What the workload was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    Done,
    Unknown,
    Poisoned,
    DiskFull,
    LogFull,
    MemoryFull,
    TooOld,
    Damaged,
    Device,
    /// Anything that no failure explains.
    Other,
}

impl Reply {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reply; 10] = [
        Reply::Done,
        Reply::Unknown,
        Reply::Poisoned,
        Reply::DiskFull,
        Reply::LogFull,
        Reply::MemoryFull,
        Reply::TooOld,
        Reply::Damaged,
        Reply::Device,
        Reply::Other,
    ];
}

/// Replies by variant.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Replies([u64; Reply::ALL.len()]);

impl Replies {
    pub(super) fn add(&mut self, reply: Reply) {
        self.0[reply as usize] += 1;
    }

    pub(super) fn plus(mut self, other: Replies) -> Replies {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
        self
    }

    /// How often it was `reply`.
    #[must_use]
    pub fn count(&self, reply: Reply) -> u64 {
        self.0[reply as usize]
    }
}

/// What the lives of a case went through, as the store counts it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct WorkReport {
    pub lives: u64,
    /// Openings that replayed records of the log.
    pub replayed: u64,
    pub merges: u64,
    pub root_writes: u64,
    /// Log segments that were taken again.
    pub recycled: u64,
    /// Commits over both shards.
    pub across: u64,
}

impl std::ops::AddAssign for WorkReport {
    fn add_assign(&mut self, other: WorkReport) {
        self.lives += other.lives;
        self.replayed += other.replayed;
        self.merges += other.merges;
        self.root_writes += other.root_writes;
        self.recycled += other.recycled;
        self.across += other.across;
    }
}

/// What one case led to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CaseReport {
    /// Whether the workload had that many requests.
    pub is_hit: bool,
    pub replies: Replies,
    pub work: WorkReport,
    /// Openings that failed, and open stores that stopped.
    pub refused_to_open: u64,
    pub poisoned: u64,
    /// Openings afterwards, after a power cut and after the death of the process only, that
    /// showed what the model allows, passed the check before and after, and took writes.
    pub reopened: u64,
    pub reopened_clean: u64,
    pub hangs: u64,
    pub lost: u64,
    pub half_applied: u64,
    /// Everything that was wrong.
    pub findings: Vec<String>,
    /// Over the schedule, the I/O and the bytes of the whole case.
    pub trace_hash: u64,
}

/// Cases of one kind on one target.
#[derive(Clone, Debug)]
pub struct SweepRow {
    pub kind: SweepKind,
    pub target: &'static str,
    pub sticky: bool,
    /// The highest request that failed.
    pub requests: u64,
    pub injected: u64,
    pub total: CaseReport,
    pub failed: u64,
    failures: Vec<(u64, String)>,
}

impl SweepRow {
    #[must_use]
    pub fn new(kind: SweepKind, target: &'static str, sticky: bool) -> SweepRow {
        let (total, failures) = (CaseReport::default(), Vec::new());
        SweepRow { kind, target, sticky, requests: 0, injected: 0, total, failed: 0, failures }
    }

    /// Adds a case; one that was not hit only if something was wrong with it.
    pub fn add(&mut self, case: Case, report: &CaseReport) {
        if report.is_hit {
            self.injected += 1;
            self.requests = self.requests.max(case.nth);
        }
        let total = &mut self.total;
        total.replies = total.replies.plus(report.replies);
        total.refused_to_open += report.refused_to_open;
        total.poisoned += report.poisoned;
        total.reopened += report.reopened;
        total.reopened_clean += report.reopened_clean;
        total.hangs += report.hangs;
        total.lost += report.lost;
        total.half_applied += report.half_applied;
        let Some(first) = report.findings.first() else { return };
        self.failed += 1;
        if self.failures.len() < limits::FAILURES_LISTED_MAX {
            let more = report.findings.len() - 1;
            self.failures.push((case.nth, format!("{first} ({more} more)")));
        }
    }

    /// Whether nothing was wrong in any case.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }

    /// The heading of the table.
    #[must_use]
    pub fn heading() -> String {
        let replies = Reply::ALL.map(|reply| format!("{:>11}", format!("{reply:?}"))).join("");
        format!(
            "{:<16}{:<11}{:<7}{:>7}{:>9}{replies}{:>9}{:>8}{:>9}{:>7}{:>6}{:>6}{:>6}{:>7}",
            "kind",
            "on",
            "how",
            "count",
            "injected",
            "poisoned",
            "shut",
            "reopened",
            "clean",
            "hangs",
            "lost",
            "half",
            "failed"
        )
    }
}

impl fmt::Display for SweepRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.sticky { "sticky" } else { "once" };
        let on = if self.target.is_empty() { "all" } else { self.target };
        write!(f, "{:<16}{on:<11}{how:<7}", self.kind.name())?;
        write!(f, "{:>7}{:>9}", self.requests, self.injected)?;
        let total = &self.total;
        for reply in Reply::ALL {
            write!(f, "{:>11}", total.replies.count(reply))?;
        }
        write!(f, "{:>9}{:>8}", total.poisoned, total.refused_to_open)?;
        write!(f, "{:>9}{:>7}", total.reopened, total.reopened_clean)?;
        write!(f, "{:>6}{:>6}{:>6}", total.hangs, total.lost, total.half_applied)?;
        write!(f, "{:>7}", self.failed)?;
        for (nth, failure) in &self.failures {
            write!(f, "\nFAILED number {nth}: {failure}")?;
        }
        Ok(())
    }
}
