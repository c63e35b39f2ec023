//! Waits until merging has nothing left to do, so that it does not run beneath a measurement.

use std::thread;
use std::time::Duration;

use serde::Serialize;
use sombra::Db;

use crate::limits::{SETTLE_POLL_MS, SETTLE_QUIET_MS, SETTLE_SECONDS_MAX};
use crate::measure::later;
use crate::sample::io_submitted;
use crate::session::Session;

/// How long merging went on after the last write.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct SettleFigures {
    pub seconds: f64,
    /// Whether merging ended by itself: not so when the wait was given up or stopped.
    pub settled: bool,
}

/// What moves while a store merges.
#[derive(PartialEq)]
struct Traces {
    merges: f64,
    merge_io: f64,
    window_bytes: f64,
}

impl Traces {
    fn take(db: &Db) -> Traces {
        let metrics = db.metrics();
        Traces {
            merges: metrics.value("sombra_merges_total"),
            merge_io: io_submitted(&metrics, "merge"),
            window_bytes: metrics.value("sombra_window_bytes"),
        }
    }
}

impl Session {
    /// Waits until nothing of merging moved for the named time.
    pub(crate) fn settle(&self) -> SettleFigures {
        let begun = self.runtime.now();
        let expected = Duration::from_millis(SETTLE_QUIET_MS);
        let give_up = later(begun, Duration::from_secs(SETTLE_SECONDS_MAX));
        self.progress.begin_timed("wait for merging", expected);
        let (mut last, mut moved) = (Traces::take(&self.db), begun);
        let mut settled = false;
        while !settled && !self.stop.is_requested() && self.runtime.now() < give_up {
            thread::sleep(Duration::from_millis(SETTLE_POLL_MS));
            let (traces, now) = (Traces::take(&self.db), self.runtime.now());
            if traces != last {
                (last, moved) = (traces, now);
            }
            let quiet = now.saturating_since(moved);
            self.progress.elapsed(quiet);
            settled = quiet >= expected;
        }
        SettleFigures { seconds: moved.saturating_since(begun).as_secs_f64(), settled }
    }
}
