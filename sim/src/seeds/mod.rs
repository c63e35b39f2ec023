//! Whole runs in a simulated world: one seed, several crashes, one verdict.

mod checking;
mod counts;
mod ending;
mod faults;
mod liveness;
mod look;
mod lying;
mod marks;
mod opening;
mod range;
mod rot;
mod run;
mod space;
mod swarm;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::limits;
use crate::machine;
use crate::workload::TallyReport;
use run::Run;

pub use counts::Counts;
pub use marks::MARKS;
pub(crate) use opening::STORE_DIR;
pub use range::RangeReport;
pub use swarm::Load;

/// What a caller chooses beside the seed.
#[derive(Clone, Debug)]
pub struct SeedOptions {
    /// Negative control: shortly before each crash the disk begins to say that flushes are done
    /// and does nothing. Were it so all along, the store would mostly notice the damage and
    /// refuse to open, and no commit could be seen missing.
    pub flush_suppressed: bool,
    /// What to strain, if not what the seed draws.
    pub load: Option<Load>,
    /// The run goes on until its clients have done this much.
    pub operations_min: u64,
}

impl Default for SeedOptions {
    fn default() -> SeedOptions {
        SeedOptions { flush_suppressed: false, load: None, operations_min: limits::OPERATIONS_MIN }
    }
}

impl SeedOptions {
    /// What a caller asks for, and the usual where it does not.
    #[must_use]
    pub fn of(load: Option<Load>, operations_min: Option<u64>) -> SeedOptions {
        let usual = SeedOptions::default();
        let operations_min = operations_min.unwrap_or(usual.operations_min);
        SeedOptions { load, operations_min, ..usual }
    }
}

/// What merges, root publications and log truncations there were.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TreesReport {
    pub merges: u64,
    pub root_writes: u64,
    pub recycled: u64,
    pub snapshots_ended: u64,
    /// Crashes while a merge ran, while roots were being published, while a segment was being
    /// made or taken again, while the data file grew.
    pub crashes_in_merge: u64,
    pub crashes_in_publication: u64,
    pub crashes_in_switch: u64,
    pub crashes_in_growth: u64,
    /// Offline checks, and the tablets with a tree that they walked.
    pub checks: u64,
    pub trees_checked: u64,
    /// Closings after which the files agreed with what the store believed of its space.
    pub spaces_compared: u64,
    /// Newest root copies and data pages that rotted, and reads that then failed.
    pub rotten_roots: u64,
    pub rotten_pages: u64,
    pub damaged_reads: u64,
}

impl std::ops::AddAssign for TreesReport {
    fn add_assign(&mut self, other: TreesReport) {
        self.merges += other.merges;
        self.root_writes += other.root_writes;
        self.recycled += other.recycled;
        self.snapshots_ended += other.snapshots_ended;
        self.crashes_in_merge += other.crashes_in_merge;
        self.crashes_in_publication += other.crashes_in_publication;
        self.crashes_in_switch += other.crashes_in_switch;
        self.crashes_in_growth += other.crashes_in_growth;
        self.checks += other.checks;
        self.trees_checked += other.trees_checked;
        self.spaces_compared += other.spaces_compared;
        self.rotten_roots += other.rotten_roots;
        self.rotten_pages += other.rotten_pages;
        self.damaged_reads += other.damaged_reads;
    }
}

/// What one seed did and what was wrong with it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SeedReport {
    pub seed: u64,
    /// The same for every run of the same seed by the same build.
    pub trace_hash: u64,
    pub steps: u64,
    pub work: TallyReport,
    pub clients_min: u64,
    pub shards_max: u64,
    /// Power cuts and process deaths, those while opening among them.
    pub crashes: u64,
    pub crashes_in_open: u64,
    pub faults: u64,
    /// Openings after a crash or close that were compared with the model.
    pub reopens: u64,
    pub reads_judged: u64,
    /// Log segments that were begun.
    pub segments: u64,
    /// What the trees and the log did, and where they were when they were cut off.
    pub trees: TreesReport,
    pub lost: u64,
    pub half_applied: u64,
    /// Places of the engine that were reached, and faults that were met.
    pub marks: Counts,
    pub injected: Counts,
    /// What happened, an episode a line.
    pub course: Vec<String>,
    /// Everything that was wrong, `None` if nothing was.
    pub failure: Option<String>,
}

impl SeedReport {
    /// Whether the run was long and rough enough to count.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        let rough = self.crashes + self.faults > 0 && self.reopens > 0;
        let long = self.work.operations >= limits::OPERATIONS_MIN;
        rough && long && self.clients_min >= 4 && self.shards_max >= 2
    }
}

/// Runs one seed. A panic anywhere in it is a failure of the seed, not of the caller.
#[must_use]
pub fn run_seed(seed: u64, options: &SeedOptions) -> SeedReport {
    let outcome = catch_unwind(AssertUnwindSafe(|| Run::new(seed, options).finish()));
    outcome.unwrap_or_else(|panic| {
        let failure = Some(machine::panic_text(&*panic));
        SeedReport { seed, failure, ..SeedReport::default() }
    })
}

/// What is wrong, without the names, numbers and quoted text by which two runs of one bug differ.
fn kind_of(failure: &str) -> String {
    let first = failure.lines().next().unwrap_or_default();
    let is_told = |word: &&str| !word.contains(|c: char| c.is_ascii_digit() || c == '"');
    first
        .split_whitespace()
        .filter(is_told)
        .take(limits::SHRUNK_KIND_WORDS)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The fewest operations found with which `seed` fails as it does in full, if it does: short runs
/// are easier to read.
#[must_use]
pub fn shrink(seed: u64, options: &SeedOptions) -> Option<u64> {
    let fails = |operations_min| {
        let shorter = SeedOptions { operations_min, ..options.clone() };
        run_seed(seed, &shorter).failure.map(|failure| kind_of(&failure))
    };
    let kind = fails(options.operations_min)?;
    Some(fewest(options.operations_min, |operations| fails(operations).as_ref() == Some(&kind)))
}

/// Doubles up to the first number that fails, then halves the gap below it. Failing need not be
/// monotonic: what is returned fails, and so does `all`, of which that is known.
fn fewest(all: u64, fails: impl Fn(u64) -> bool) -> u64 {
    let (mut passing, mut failing) = (0, limits::SHRUNK_OPERATIONS_MIN.min(all));
    while failing < all && !fails(failing) {
        (passing, failing) = (failing, failing.saturating_mul(2).min(all));
    }
    while failing - passing > limits::SHRUNK_OPERATIONS_GAP {
        let middle = passing + (failing - passing) / 2;
        match fails(middle) {
            true => failing = middle,
            false => passing = middle,
        }
    }
    failing
}
