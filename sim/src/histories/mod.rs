//! Recorded histories of a simulated machine: one seed, several lives of one store, and whether
//! what its clients saw is what their isolation level promises.
//!
//! A seed of [`crate::seeds`] asks whether anything is lost; one of these asks whether anybody
//! saw what cannot be. So keys are few and fought over, and transactions last.

mod client;
mod dependent;
mod plan;
mod range;
mod record;
mod run;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::isolation::{History, Report};
use crate::limits;
use crate::machine;
use run::Run;

pub use plan::Level;
pub use range::HistoriesReport;
pub use record::Counts;

/// What a caller chooses beside the seed.
#[derive(Clone, Copy, Default, Debug)]
pub struct HistoryOptions {
    /// Negative control: transactions run at snapshot isolation and are recorded as
    /// serializable, which must be found out.
    pub is_mislabelled: bool,
}

/// What one seed did and what was wrong with it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct HistoryReport {
    pub seed: u64,
    /// The same for every run of the same seed by the same build.
    pub trace_hash: u64,
    pub steps: u64,
    pub level: Level,
    pub counts: Counts,
    pub crashes: u64,
    /// Lives in which a write or a flush was to fail.
    pub faults: u64,
    pub merges: u64,
    pub lock_waits: u64,
    pub deadlocks: u64,
    pub found: Report,
    /// What happened, a life a line.
    pub course: Vec<String>,
    /// What was wrong, `None` if nothing was.
    pub failure: Option<String>,
}

impl HistoryReport {
    /// Whether the history is long enough, and its transactions in each other's way enough, to
    /// count.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        let Counts { finished, conflicts, .. } = self.counts;
        finished >= limits::RECORDED_TRANSACTIONS_MIN
            && conflicts * 100 >= finished * limits::RECORDED_CONFLICTS_PERCENT_MIN
            && self.crashes > 1
    }
}

/// Runs one seed, and gives its history with the verdict. A panic anywhere in it is a failure of
/// the seed, not of the caller, and leaves no history.
#[must_use]
pub fn run_history(seed: u64, options: HistoryOptions) -> (HistoryReport, Option<History>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| Run::new(seed, &options).finish()));
    outcome.unwrap_or_else(|panic| {
        let failure = Some(machine::panic_text(&*panic));
        (HistoryReport { seed, failure, ..HistoryReport::default() }, None)
    })
}
