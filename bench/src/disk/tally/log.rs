//! The logs of a running job: one entry for each operation, or for each interval. Knows nothing
//! of files.

use super::IoDone;
use super::moments::Moments;
use super::rates::{Intervals, Measure, Sampler, bandwidth_kib_per_s};
use crate::disk::job::{ByDirection, Direction, Job};
use crate::limits::{JOB_LOG_CHUNK_ENTRIES, JOB_LOG_ENTRIES_MAX};

/// What a log is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    Submission,
    Completion,
    Whole,
    /// KiB/s.
    Bandwidth,
    Iops,
}

const LOG_KIND_COUNT: usize = 5;

impl LogKind {
    pub const ALL: [LogKind; LOG_KIND_COUNT] = [
        LogKind::Submission,
        LogKind::Completion,
        LogKind::Whole,
        LogKind::Bandwidth,
        LogKind::Iops,
    ];

    /// As in the file's name.
    pub const fn name(self) -> &'static str {
        match self {
            LogKind::Submission => "slat",
            LogKind::Completion => "clat",
            LogKind::Whole => "lat",
            LogKind::Bandwidth => "bw",
            LogKind::Iops => "iops",
        }
    }

    /// The log's prefix in the job, if it wants one.
    pub fn prefix(self, job: &Job) -> Option<&str> {
        let prefix = match self {
            LogKind::Submission | LogKind::Completion | LogKind::Whole => &job.logs.latency,
            LogKind::Bandwidth => &job.logs.bandwidth,
            LogKind::Iops => &job.logs.iops,
        };
        prefix.as_deref()
    }
}

/// One line of a log. An average has neither a block size nor an offset: both are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Since statistics began.
    pub time_ms: u32,
    pub block_bytes: u32,
    pub value: u64,
    offset_and_direction: u64,
}

/// Offsets of files stay below 2^63, so two bits are free.
const DIRECTION_SHIFT: u32 = 62;

impl LogEntry {
    pub(super) fn new(time_ns: u64, value: u64, direction: Direction) -> LogEntry {
        LogEntry {
            time_ms: u32::try_from(time_ns / 1_000_000).unwrap_or(u32::MAX),
            block_bytes: 0,
            value,
            offset_and_direction: (direction as u64) << DIRECTION_SHIFT,
        }
    }

    fn of_operation(self, done: &IoDone) -> LogEntry {
        let offset = done.offset & ((1 << DIRECTION_SHIFT) - 1);
        LogEntry {
            block_bytes: u32::try_from(done.bytes).unwrap_or(u32::MAX),
            offset_and_direction: self.offset_and_direction | offset,
            ..self
        }
    }

    pub fn offset(&self) -> u64 {
        self.offset_and_direction & ((1 << DIRECTION_SHIFT) - 1)
    }

    pub fn direction(&self) -> Direction {
        Direction::ALL[(self.offset_and_direction >> DIRECTION_SHIFT) as usize]
    }
}

/// Entries in the order of their time, up to a bound.
#[derive(Clone, Debug)]
pub struct Entries {
    room: usize,
    chunks: Vec<Vec<LogEntry>>,
    count: usize,
    dropped: u64,
}

impl Default for Entries {
    fn default() -> Entries {
        Entries::with_room(JOB_LOG_ENTRIES_MAX)
    }
}

impl Entries {
    pub(super) fn with_room(room: usize) -> Entries {
        Entries { room, chunks: Vec::new(), count: 0, dropped: 0 }
    }

    pub(super) fn push(&mut self, entry: LogEntry) {
        if self.count == self.room {
            self.dropped += 1;
            return;
        }
        if self.count.is_multiple_of(JOB_LOG_CHUNK_ENTRIES) {
            self.chunks.push(Vec::with_capacity(JOB_LOG_CHUNK_ENTRIES));
        }
        self.count += 1;
        let last = self.chunks.last_mut().expect("the first entry of each chunk adds the chunk");
        last.push(entry);
    }

    pub fn iter(&self) -> impl Iterator<Item = &LogEntry> {
        self.chunks.iter().flatten()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Entries beyond the bound: they are in no file.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// How entries come about.
#[derive(Clone, Debug)]
enum Mode {
    EachOperation,
    /// Mean, or largest, latency of an interval.
    Latency {
        is_max: bool,
        intervals: Intervals,
        now: ByDirection<Moments>,
    },
    Rate(Sampler),
}

#[derive(Clone, Debug)]
struct Log {
    kind: LogKind,
    mode: Mode,
    entries: Entries,
}

/// The latencies of one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latencies {
    pub(super) submission_ns: u64,
    pub(super) completion_ns: u64,
    pub(super) whole_ns: u64,
}

/// What a job has done up to now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) bytes: ByDirection<u64>,
    pub(super) operations: ByDirection<u64>,
}

impl Totals {
    pub(super) fn of(&self, measure: Measure) -> ByDirection<u64> {
        match measure {
            Measure::Bandwidth => self.bytes,
            Measure::Iops => self.operations,
        }
    }
}

/// All logs of one job.
#[derive(Clone, Debug)]
pub(super) struct LogBook {
    logs: Vec<Log>,
    times_submission: bool,
    began_ns: u64,
}

impl LogBook {
    pub(super) fn new(job: &Job, times_submission: bool) -> LogBook {
        let wanted = LogKind::ALL.into_iter().filter(|kind| kind.prefix(job).is_some());
        let logs =
            wanted.map(|kind| Log { kind, mode: Mode::of(kind, job), entries: Entries::default() });
        LogBook { logs: logs.collect(), times_submission, began_ns: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    pub(super) fn entries(&self, kind: LogKind) -> Option<&Entries> {
        self.logs.iter().find(|log| log.kind == kind).map(|log| &log.entries)
    }

    pub(super) fn restart(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
        for log in &mut self.logs {
            log.entries = Entries::default();
            log.mode.restart(now_ns);
        }
    }

    pub(super) fn io(&mut self, done: &IoDone, latencies: Latencies) {
        let at_ns = done.completed_ns.saturating_sub(self.began_ns);
        for log in &mut self.logs {
            let value = match log.kind {
                LogKind::Submission if !self.times_submission => continue,
                LogKind::Submission => latencies.submission_ns,
                LogKind::Completion => latencies.completion_ns,
                LogKind::Whole => latencies.whole_ns,
                LogKind::Bandwidth => bandwidth_kib_per_s(done.bytes, latencies.completion_ns),
                LogKind::Iops => 1,
            };
            match &mut log.mode {
                Mode::EachOperation => {
                    let entry = LogEntry::new(at_ns, value, done.direction);
                    log.entries.push(entry.of_operation(done));
                }
                Mode::Latency { now, .. } => now.of_mut(done.direction).add(value),
                Mode::Rate(_) => {}
            }
        }
    }

    /// When the next interval ends.
    pub(super) fn due_ns(&self) -> u64 {
        self.logs.iter().map(|log| log.mode.due_ns()).min().unwrap_or(u64::MAX)
    }

    /// Ends the intervals that are over, or with `is_last` all that have begun.
    pub(super) fn close(&mut self, now_ns: u64, totals: &Totals, is_last: bool) {
        let at_ns = now_ns.saturating_sub(self.began_ns);
        for log in &mut self.logs {
            let is_due = log.mode.due_ns() <= now_ns || is_last && log.mode.is_open(now_ns);
            if !is_due {
                continue;
            }
            match &mut log.mode {
                Mode::EachOperation => {}
                Mode::Latency { is_max, intervals, now } => {
                    for direction in Direction::ALL {
                        let moments = std::mem::take(now.of_mut(direction));
                        if moments.count() > 0 {
                            let mean = moments.mean() as u64;
                            let value = if *is_max { moments.max() } else { mean };
                            log.entries.push(LogEntry::new(at_ns, value, direction));
                        }
                    }
                    intervals.close(now_ns);
                }
                Mode::Rate(sampler) => {
                    let totals = totals.of(sampler.measure());
                    for (direction, value) in sampler.close(now_ns, totals) {
                        log.entries.push(LogEntry::new(at_ns, value, direction));
                    }
                }
            }
        }
    }
}

impl Mode {
    fn of(kind: LogKind, job: &Job) -> Mode {
        let interval_ms = job.logs.average_ms;
        match kind {
            _ if interval_ms == 0 => Mode::EachOperation,
            LogKind::Bandwidth => Mode::Rate(Sampler::new(Measure::Bandwidth, interval_ms)),
            LogKind::Iops => Mode::Rate(Sampler::new(Measure::Iops, interval_ms)),
            LogKind::Submission | LogKind::Completion | LogKind::Whole => Mode::Latency {
                is_max: job.logs.max_value,
                intervals: Intervals::new(interval_ms),
                now: ByDirection::default(),
            },
        }
    }

    fn restart(&mut self, at_ns: u64) {
        match self {
            Mode::EachOperation => {}
            Mode::Latency { intervals, now, .. } => {
                intervals.restart(at_ns);
                *now = ByDirection::default();
            }
            Mode::Rate(sampler) => sampler.restart(at_ns),
        }
    }

    fn intervals(&self) -> Option<&Intervals> {
        match self {
            Mode::EachOperation => None,
            Mode::Latency { intervals, .. } => Some(intervals),
            Mode::Rate(sampler) => Some(&sampler.intervals),
        }
    }

    fn due_ns(&self) -> u64 {
        self.intervals().map_or(u64::MAX, Intervals::due_ns)
    }

    fn is_open(&self, at_ns: u64) -> bool {
        self.intervals().is_some_and(|intervals| intervals.is_open(at_ns))
    }
}
