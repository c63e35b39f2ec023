//! Counters of the store and of the process at one moment.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use sombra::Db;

/// What has been counted so far, or, as a difference, over a phase.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) flushes: f64,
    pub(crate) log_bytes: f64,
    pub(crate) commits: f64,
    /// User and system time of all threads of the process.
    pub(crate) cpu: Duration,
}

impl Sample {
    pub(crate) fn take(db: &Db) -> Sample {
        let metrics = db.metrics();
        Sample {
            flushes: metrics.value("sombra_wal_flushes_total"),
            log_bytes: metrics.value("sombra_wal_written_bytes_total"),
            commits: metrics.value("sombra_wal_commits_total"),
            cpu: process_cpu(),
        }
    }

    /// What was counted between an earlier sample and this one.
    pub(crate) fn since(&self, earlier: &Sample) -> Sample {
        Sample {
            flushes: self.flushes - earlier.flushes,
            log_bytes: self.log_bytes - earlier.log_bytes,
            commits: self.commits - earlier.commits,
            cpu: self.cpu.saturating_sub(earlier.cpu),
        }
    }
}

/// CPU time of the process so far; zero where the system does not tell.
pub(crate) fn process_cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let microseconds = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .sum::<i64>();
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}
