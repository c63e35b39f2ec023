//! The live status line of a run, from gauges that its jobs keep. Measures nothing that ends up in
//! a report.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::job::{ByDirection, Direction, Job, Mix};
use super::output::{status_count, status_speed};
use crate::limits::STATUS_LINE_MS;

#[cfg(test)]
mod tests;

/// What a job is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum JobState {
    NotStarted,
    LayingOut,
    Ramp,
    Running,
    Verifying,
    Finished,
}

impl JobState {
    const ALL: [JobState; 6] = [
        JobState::NotStarted,
        JobState::LayingOut,
        JobState::Ramp,
        JobState::Running,
        JobState::Verifying,
        JobState::Finished,
    ];

    const fn is_at_work(self) -> bool {
        matches!(self, JobState::Ramp | JobState::Running | JobState::Verifying)
    }
}

/// When a job will end, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpectedEnd {
    /// After so many bytes.
    Bytes(u64),
    /// So long after it started, its ramp included; a job with both ends by whichever is first.
    Time(Duration),
    BytesOrTime(u64, Duration),
}

impl ExpectedEnd {
    fn bytes(self) -> Option<u64> {
        match self {
            ExpectedEnd::Bytes(bytes) | ExpectedEnd::BytesOrTime(bytes, _) => Some(bytes),
            ExpectedEnd::Time(_) => None,
        }
    }

    fn time(self) -> Option<Duration> {
        match self {
            ExpectedEnd::Time(time) | ExpectedEnd::BytesOrTime(_, time) => Some(time),
            ExpectedEnd::Bytes(_) => None,
        }
    }
}

/// One job's gauge. Its shard adds, the status line reads; nothing depends on their order.
#[derive(Debug)]
pub struct JobGauge {
    operations: [AtomicU64; 3],
    bytes: [AtomicU64; 3],
    state: AtomicU8,
    /// Files that the job has open.
    files: AtomicU64,
    end: ExpectedEnd,
    letter: char,
}

impl JobGauge {
    pub fn new(job: &Job, end: ExpectedEnd) -> JobGauge {
        JobGauge {
            operations: Default::default(),
            bytes: Default::default(),
            state: AtomicU8::new(JobState::NotStarted as u8),
            files: AtomicU64::new(0),
            end,
            letter: letter(job),
        }
    }

    /// Adds finished operations and their bytes.
    #[inline]
    pub fn done(&self, direction: Direction, operations: u64, bytes: u64) {
        self.operations[direction.index()].fetch_add(operations, Ordering::Relaxed);
        self.bytes[direction.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn set_state(&self, state: JobState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub fn set_files(&self, files: u64) {
        self.files.store(files, Ordering::Relaxed);
    }

    pub fn state(&self) -> JobState {
        JobState::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    fn read(counts: &[AtomicU64; 3]) -> ByDirection<u64> {
        ByDirection(counts.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }

    /// One letter for a job in the status line, as fio has them: lower case where it jumps about.
    fn sign(&self) -> char {
        match self.state() {
            JobState::NotStarted => 'P',
            JobState::LayingOut => 'p',
            JobState::Ramp => '/',
            JobState::Running => self.letter,
            JobState::Verifying => 'V',
            JobState::Finished => '_',
        }
    }
}

fn letter(job: &Job) -> char {
    let letter = match job.pattern.mix {
        Mix::Read => 'R',
        Mix::Write | Mix::TrimWrite => 'W',
        Mix::Trim => 'D',
        Mix::ReadWrite => 'M',
    };
    if job.pattern.is_random { letter.to_ascii_lowercase() } else { letter }
}

/// The `--eta` option.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Eta {
    Always,
    Never,
    /// Only on a terminal.
    #[default]
    Auto,
}

/// What one look at the gauges found.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Look {
    at: Duration,
    operations: ByDirection<u64>,
    bytes: ByDirection<u64>,
}

/// Turns looks at the gauges into lines.
struct Status {
    gauges: Vec<Arc<JobGauge>>,
    /// When each job was first seen at work.
    started: Vec<Option<Duration>>,
    last: Look,
}

impl Status {
    fn new(gauges: Vec<Arc<JobGauge>>) -> Status {
        let started = vec![None; gauges.len()];
        Status { gauges, started, last: Look::default() }
    }

    /// The line at a time since the run began.
    fn line(&mut self, at: Duration) -> String {
        let look = self.look(at);
        let at_work = self.gauges.iter().filter(|gauge| gauge.state().is_at_work());
        let files: u64 = at_work.clone().map(|gauge| gauge.files.load(Ordering::Relaxed)).sum();
        let mut line = format!("Jobs: {} (f={files}): [{}]", at_work.count(), self.signs());
        let (share, left) = self.left(at);
        // Writing to a String does not fail.
        let _ =
            write!(line, "[{}]", share.map_or("-.-%".to_owned(), |s| format!("{:.1}%", s * 100.0)));
        let spent_s = at.saturating_sub(self.last.at).as_secs_f64().max(1e-3);
        let rate = |now: &ByDirection<u64>, before: &ByDirection<u64>, direction| {
            let done = now.of(direction).saturating_sub(*before.of(direction));
            (done as f64 / spent_s) as u64
        };
        let told = self.directions();
        let rates = told.iter().map(|direction| {
            let bytes = rate(&look.bytes, &self.last.bytes, *direction);
            format!("{}={}", &direction.name()[..1], status_speed(bytes))
        });
        let _ = write!(line, "[{}]", rates.collect::<Vec<_>>().join(","));
        let rates = told.iter().map(|direction| {
            let operations = rate(&look.operations, &self.last.operations, *direction);
            format!("{}={}", &direction.name()[..1], status_count(operations))
        });
        let _ = write!(line, "[{} IOPS]", rates.collect::<Vec<_>>().join(","));
        let _ = write!(line, "[eta {}]", left.map_or("--".to_owned(), clock));
        self.last = look;
        line
    }

    fn look(&mut self, at: Duration) -> Look {
        let mut look = Look { at, ..Look::default() };
        for (gauge, started) in self.gauges.iter().zip(&mut self.started) {
            if started.is_none() && gauge.state().is_at_work() {
                *started = Some(at);
            }
            let (operations, bytes) =
                (JobGauge::read(&gauge.operations), JobGauge::read(&gauge.bytes));
            for direction in Direction::ALL {
                *look.operations.of_mut(direction) += operations.of(direction);
                *look.bytes.of_mut(direction) += bytes.of(direction);
            }
        }
        look
    }

    /// Runs of equal signs: `r(2),w(1)`.
    fn signs(&self) -> String {
        let signs: Vec<char> = self.gauges.iter().map(|gauge| gauge.sign()).collect();
        let runs = signs.chunk_by(|left, right| left == right);
        runs.map(|run| format!("{}({})", run[0], run.len())).collect::<Vec<_>>().join(",")
    }

    /// Reads and writes always, trims where there are any.
    fn directions(&self) -> Vec<Direction> {
        let trims = self.gauges.iter().any(|gauge| gauge.letter.eq_ignore_ascii_case(&'d'));
        let told = |direction: &Direction| *direction != Direction::Trim || trims;
        Direction::ALL.into_iter().filter(told).collect()
    }

    /// Mean share of the jobs that is done, and the time until the last of them ends; `None` as
    /// long as nothing tells.
    fn left(&self, at: Duration) -> (Option<f64>, Option<Duration>) {
        let parts: Vec<_> = self
            .gauges
            .iter()
            .zip(&self.started)
            .map(|(gauge, started)| {
                job_left(gauge, started.map(|started| at.saturating_sub(started)))
            })
            .collect();
        let shares: f64 = parts.iter().map(|(share, _)| share).sum();
        let share = (!parts.is_empty()).then(|| shares / parts.len() as f64);
        let left: Option<Vec<Duration>> = parts.iter().map(|(_, left)| *left).collect();
        (share, left.and_then(|left| left.into_iter().max()))
    }
}

/// Share of a job that is done and the time that it still needs.
fn job_left(gauge: &JobGauge, running: Option<Duration>) -> (f64, Option<Duration>) {
    if gauge.state() == JobState::Finished {
        return (1.0, Some(Duration::ZERO));
    }
    let Some(running) = running else { return (0.0, gauge.end.time()) };
    let by_time = gauge.end.time().map(|time| {
        let share = running.as_secs_f64() / time.as_secs_f64().max(1e-9);
        (share.min(1.0), time.saturating_sub(running))
    });
    let by_bytes = gauge.end.bytes().and_then(|bytes| {
        let done: u64 = JobGauge::read(&gauge.bytes).0.iter().sum();
        let share = (done as f64 / bytes.max(1) as f64).min(1.0);
        let left_s = running.as_secs_f64() * (1.0 - share) / share;
        Some((share, Duration::try_from_secs_f64(left_s).ok()?))
    });
    let sooner = match (by_time, by_bytes) {
        (Some(time), Some(bytes)) => Some(if bytes.1 < time.1 { bytes } else { time }),
        (time, bytes) => time.or(bytes),
    };
    sooner.map_or((0.0, None), |(share, left)| (share, Some(left)))
}

/// `00m:05s`, with hours and days where there are any.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3_600 % 24, seconds / 86_400);
    let mut text = String::new();
    if days > 0 {
        text += &format!("{days:02}d:");
    }
    if seconds >= 3_600 {
        text += &format!("{hours:02}h:");
    }
    text + &format!("{minutes:02}m:{:02}s", seconds % 60)
}

/// A thread that keeps the line up to date on standard error. It ends, and takes the line away,
/// when this is dropped.
#[derive(Debug)]
pub struct StatusLine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLine {
    /// Starts the thread, unless the line is not wanted.
    pub fn start(gauges: Vec<Arc<JobGauge>>, eta: Eta) -> StatusLine {
        let is_wanted = match eta {
            Eta::Always => true,
            Eta::Never => false,
            Eta::Auto => io::stderr().is_terminal(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let thread = is_wanted.then(|| {
            let stop = stop.clone();
            let work = move || show(Status::new(gauges), &stop, &mut io::stderr());
            thread::Builder::new().name("status".to_owned()).spawn(work).ok()
        });
        StatusLine { stop, thread: thread.flatten() }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there has been printed, and costs no more than the line.
            let _ = thread.join();
        }
    }
}

fn show(mut status: Status, stop: &AtomicBool, out: &mut impl Write) {
    let began = Instant::now();
    let mut next = Duration::ZERO;
    let mut widest = 0;
    loop {
        next += Duration::from_millis(STATUS_LINE_MS);
        while let Some(wait) = next.checked_sub(began.elapsed()).filter(|wait| !wait.is_zero()) {
            if stop.load(Ordering::Relaxed) {
                // The figures that follow begin on a clean line.
                let _ = write!(out, "\r{:widest$}\r", "");
                return;
            }
            thread::park_timeout(wait);
        }
        let line = status.line(began.elapsed());
        widest = widest.max(line.len());
        // Nobody may be reading; the run goes on.
        let _ = write!(out, "\r{line:widest$}").and_then(|()| out.flush());
    }
}
