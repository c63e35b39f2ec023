//! Which stretch of a phase counts, and how a run is asked to end early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sombra_runtime::Moment;

/// Asks a run to end soon; what was measured until then is reported.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A request that nobody has made yet.
    #[must_use]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Makes the request.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says whether the request was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The stretch of a phase: warm-up first, then what counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub begin: Moment,
    pub counts_from: Moment,
    pub end: Moment,
}

impl Window {
    /// A stretch that begins now.
    #[must_use]
    pub fn starting(now: Moment, warmup: Duration, measured: Duration) -> Window {
        let counts_from = later(now, warmup);
        Window { begin: now, counts_from, end: later(counts_from, measured) }
    }

    /// Says whether an operation answered at `done` counts.
    #[must_use]
    pub fn counts(&self, done: Moment) -> bool {
        self.counts_from <= done && done <= self.end
    }

    /// The measured time, shorter when the phase was stopped at `stopped_at`.
    #[must_use]
    pub fn measured(&self, stopped_at: Moment) -> Duration {
        stopped_at.min(self.end).saturating_since(self.counts_from)
    }
}

/// A moment later by a duration; centuries are the same as never.
#[must_use]
pub fn later(moment: Moment, by: Duration) -> Moment {
    moment.checked_add(by).unwrap_or(Moment::from_nanos(u64::MAX))
}
