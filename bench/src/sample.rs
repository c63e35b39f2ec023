//! Counters of the store and of the process at one moment.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use sombra::{Db, Metrics};

/// What has been counted so far, or, as a difference, over a phase.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) flushes: f64,
    pub(crate) log_bytes: f64,
    /// Records logged.
    pub(crate) commits: f64,
    /// Commits acknowledged, and those of them over several shards.
    pub(crate) acknowledged: f64,
    pub(crate) across_shards: f64,
    /// Reads of the device that clients waited for.
    pub(crate) device_reads: f64,
    pub(crate) cache_misses: f64,
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
            acknowledged: metrics.value("sombra_commits_total"),
            across_shards: metrics.value("sombra_commits_across_shards_total"),
            device_reads: io_submitted(&metrics, "read"),
            cache_misses: metrics.value("sombra_cache_misses_total"),
            cpu: process_cpu(),
        }
    }

    /// What was counted between an earlier sample and this one.
    pub(crate) fn since(&self, earlier: &Sample) -> Sample {
        Sample {
            flushes: self.flushes - earlier.flushes,
            log_bytes: self.log_bytes - earlier.log_bytes,
            commits: self.commits - earlier.commits,
            acknowledged: self.acknowledged - earlier.acknowledged,
            across_shards: self.across_shards - earlier.across_shards,
            device_reads: self.device_reads - earlier.device_reads,
            cache_misses: self.cache_misses - earlier.cache_misses,
            cpu: self.cpu.saturating_sub(earlier.cpu),
        }
    }

    /// What each of `committed` transactions cost, where this is what was counted meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn cost_of(&self, committed: u64) -> CommitCost {
        let acknowledged = self.acknowledged.max(1.0);
        CommitCost {
            cpu_us_per_commit: self.cpu.as_secs_f64() * 1e6 / committed.max(1) as f64,
            across_shards_share: self.across_shards / acknowledged,
            log_records_per_commit: self.commits / acknowledged,
            log_bytes_per_commit: self.log_bytes / acknowledged,
            flushes_per_commit: self.flushes / acknowledged,
        }
    }
}

/// What a committed transaction costs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CommitCost {
    /// User and system time of the whole process, the aborted transactions' share included.
    pub cpu_us_per_commit: f64,
    /// Commits over several shards: where a transaction writes, and, serializable, reads.
    pub across_shards_share: f64,
    pub log_records_per_commit: f64,
    pub log_bytes_per_commit: f64,
    pub flushes_per_commit: f64,
}

/// Operations of one class that were handed to the device; 0 of a class that does not exist.
pub(crate) fn io_submitted(metrics: &Metrics, class: &str) -> f64 {
    let of_class = metrics.lines().iter().filter(|line| {
        line.name == "sombra_io_submitted_total"
            && line.labels.iter().any(|(label, value)| *label == "class" && value == class)
    });
    of_class.map(|line| line.value).sum()
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

/// How often a thread of the process went to sleep so far; zero where the system does not tell.
pub(crate) fn sleeps() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0 };
    u64::try_from(usage.voluntary_context_switches()).unwrap_or(0)
}

/// Memory of the process that is in use now.
pub(crate) fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// The most memory of the process that was ever in use.
pub(crate) fn resident_bytes_peak() -> u64 {
    status_bytes("VmHWM:")
}

/// Zero where the system does not tell.
fn status_bytes(field: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| bytes_of(&status, field))
}

/// A size of proc_pid_status(5), which counts in kibibytes and calls them kB.
fn bytes_of(status: &str, field: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_field_is_read_in_bytes_and_absent_ones_are_zero() {
        let status = "Name:\tsombra\nVmHWM:\t  123456 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes_of(status, "VmRSS:"), 1 << 20);
        assert_eq!(bytes_of(status, "VmHWM:"), 123_456 * 1024);
        assert_eq!(bytes_of(status, "VmSwap:"), 0);
        assert!(resident_bytes_peak() >= resident_bytes() / 2);
        assert!(resident_bytes() > 0);
    }
}
