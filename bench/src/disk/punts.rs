//! How often the kernel handed an operation to its worker threads, counted by the tracepoint
//! `io_uring:io_uring_queue_async_work` for the threads that this process starts.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Operations that io_uring gave to a worker thread, or why nobody counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Punts {
    Counted(u64),
    Skipped(String),
}

impl Default for Punts {
    fn default() -> Punts {
        Punts::Skipped("nobody asked".to_owned())
    }
}

const TRACEFS: &str = "/sys/kernel/tracing";
const EVENT: &str = "events/io_uring/io_uring_queue_async_work";

/// A trace of its own, which disturbs nobody else's; removed when dropped.
pub(super) struct PuntTrace {
    instance: PathBuf,
}

impl PuntTrace {
    /// Begins to count. The error says why it cannot: no tracefs, no right to it.
    pub(super) fn begin() -> Result<PuntTrace, String> {
        PuntTrace::below(Path::new(TRACEFS))
    }

    fn below(tracefs: &Path) -> Result<PuntTrace, String> {
        if !tracefs.join(EVENT).exists() {
            return Err(format!("{} has no {EVENT}", tracefs.display()));
        }
        let process = std::process::id();
        let instance = tracefs.join(format!("instances/sombra-{process}"));
        fs::create_dir(&instance).map_err(|error| format!("{}: {error}", instance.display()))?;
        let trace = PuntTrace { instance };
        // Threads that are started from here on are followed.
        trace.write("options/event-fork", "1")?;
        trace.write("set_event_pid", &process.to_string())?;
        trace.write(&format!("{EVENT}/enable"), "1")?;
        Ok(trace)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.instance.join(file);
        fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The events so far, on all CPUs, also those that the trace no longer holds.
    pub(super) fn count(&self) -> Result<u64, String> {
        let cpus = self.instance.join("per_cpu");
        let failed = |error: std::io::Error| format!("{}: {error}", cpus.display());
        let mut count = 0;
        for cpu in fs::read_dir(&cpus).map_err(failed)? {
            let stats = cpu.map_err(failed)?.path().join("stats");
            count += events_of(&fs::read_to_string(&stats).map_err(failed)?);
        }
        Ok(count)
    }
}

/// Source: the kernel's Documentation/trace/ftrace.rst, `per_cpu/cpuN/stats`.
fn events_of(stats: &str) -> u64 {
    let fields = stats.lines().filter_map(|line| line.split_once(':'));
    let counted = fields.filter(|(name, _)| ["entries", "overrun"].contains(name));
    counted.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

impl Drop for PuntTrace {
    fn drop(&mut self) {
        // An instance that stays behind holds memory of the kernel, and nothing else.
        let _ = self.write(&format!("{EVENT}/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Ends the count.
pub(super) fn result(trace: Result<PuntTrace, String>) -> Punts {
    match trace.and_then(|trace| trace.count()) {
        Ok(count) => Punts::Counted(count),
        Err(reason) => Punts::Skipped(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_held_and_those_overwritten() {
        let stats = "entries: 12\noverrun: 3\ncommit overrun: 0\nbytes: 576\ndropped events: 0\n";
        assert_eq!(events_of(stats), 15);
        assert_eq!(events_of("garbage"), 0);
    }

    #[test]
    fn kernel_without_the_event_is_a_reason_and_no_count_of_zero() {
        let Punts::Skipped(reason) = result(PuntTrace::below(Path::new("/nowhere"))) else {
            panic!("nothing was counted");
        };
        assert_eq!(reason, "/nowhere has no events/io_uring/io_uring_queue_async_work");
    }
}
