//! Runs a plan: files made first, then one group after the other, each thread of a group on a
//! runtime of its own, as fio gives each job a thread. Knows the plan and nothing of its text.

mod content;
mod cpu;
mod files;
mod operations;
mod pace;
mod slots;
mod thread;
mod verify;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use sombra_runtime::limits::BUFFER_ALIGN_BYTES;
use sombra_runtime::{
    DmaFile, DriverChoice, Runtime, RuntimeOptions, ShardId, StartError, TaskClass, TaskSpec,
};

use super::devices::{DiskWatch, Kernel};
use super::environment::{DiskEnvironment, Stated};
use super::job::{Engine, Extent, Job};
use super::outcome::{JobError, JobOutcome, RunOutcome};
use super::plan::{Group, JobThread, Plan};
use super::progress::{Eta, ExpectedEnd, JobGauge, JobState, StatusLine};
use super::punts::{self, PuntTrace};
use super::target::AllowedPlan;
use crate::limits::{DISK_RING_SPARE_ENTRIES, DISK_SLAB_SPARE_BYTES};
use crate::measure::Stop;
use thread::{ThreadEnd, Watch};

pub use content::Filler;
pub use files::{FileError, region_of};
pub use thread::bytes_per_pass;

/// A plan, and what its user says about it.
pub struct RunRequest {
    pub plan: AllowedPlan,
    pub global_options: Vec<(String, String)>,
    /// What the reader of the figures must know from the job file.
    pub notes: Vec<String>,
    /// What was done to the disk before, in the user's words.
    pub preconditioned: Option<String>,
    pub eta: Eta,
    pub stop: Stop,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Caller: the file's path, size or permissions.
    #[error("job '{job}'")]
    Files {
        job: String,
        #[source]
        source: FileError,
    },
    /// Caller: limits of the process, or `ioengine=psync` where io_uring is forbidden.
    #[error("job '{job}': a runtime")]
    Start {
        job: String,
        #[source]
        source: StartError,
    },
    /// Caller: read the log; a thread has panicked.
    #[error("job '{job}': its thread has ended without a result")]
    Lost { job: String },
}

impl RunError {
    /// The error and what it came from, in one line.
    #[must_use]
    pub fn to_line(&self) -> String {
        one_line(self)
    }
}

/// An error and what it came from, in one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Runs the whole plan, or as much of it as there is until somebody asks to stop.
///
/// # Errors
/// Nothing could be measured; a job that fails while it runs is part of the outcome.
pub fn run(request: RunRequest) -> Result<RunOutcome, RunError> {
    let RunRequest { plan, global_options, notes, preconditioned, eta, stop } = request;
    let plan = plan.plan();
    let gauges: Vec<Arc<JobGauge>> =
        plan.threads().map(|thread| Arc::new(gauge_of(&thread.job))).collect();
    let line = StatusLine::start(gauges.clone(), eta);
    let mut host = Host::default();
    let held = prepare(plan, &gauges, &stop, &mut host)?;
    let paths = paths_of(plan);
    let disks = DiskWatch::begin(Kernel::default(), &paths);
    let punts = PuntTrace::begin();
    let mut outcome = RunOutcome {
        global_options,
        notes,
        started_wall_ms: host.wall_clock_ms,
        ..RunOutcome::default()
    };
    let mut elapsed = Duration::ZERO;
    for group in &plan.groups {
        if stop.is_requested() {
            outcome.skipped.extend(group.jobs.iter().map(|thread| thread.job.name.clone()));
            continue;
        }
        let ends = run_group(group, &gauges, &stop, &mut host);
        elapsed += ends.iter().map(|end| end.elapsed).max().unwrap_or_default();
        outcome.jobs.extend(ends);
    }
    drop(line);
    drop(held);
    outcome.disk_util = disks.end(elapsed);
    outcome.punts = punts::result(punts);
    outcome.interrupted = stop.is_requested();
    let stated = Stated {
        driver: host.drivers.into_iter().collect::<Vec<_>>().join(", "),
        driver_notes: host.notes.into_iter().collect(),
        preconditioned,
    };
    outcome.environment = DiskEnvironment::look(&Kernel::default(), &paths, stated);
    Ok(outcome)
}

/// Makes the files of a plan as its run would, and runs nothing.
///
/// # Errors
/// A file cannot be made or has no size.
pub fn lay_out(plan: &AllowedPlan) -> Result<(), RunError> {
    let plan = plan.plan();
    let gauges: Vec<_> = plan.threads().map(|thread| Arc::new(gauge_of(&thread.job))).collect();
    prepare(plan, &gauges, &Stop::new(), &mut Host::default()).map(drop)
}

/// What the runtimes of a run said about themselves.
#[derive(Default)]
struct Host {
    drivers: BTreeSet<String>,
    notes: BTreeSet<String>,
    wall_clock_ms: u64,
}

impl Host {
    fn note(&mut self, runtime: &Runtime) {
        self.drivers.insert(format!("{:?}", runtime.driver_kind()).to_lowercase());
        self.notes.extend(runtime.driver_note());
    }
}

fn paths_of(plan: &Plan) -> Vec<PathBuf> {
    let files = plan.threads().flat_map(|thread| &thread.files);
    files.map(|file| file.path.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn gauge_of(job: &Job) -> JobGauge {
    let bytes = match (job.io_size.or(job.size), job.time_based) {
        (Some(Extent::Bytes(bytes)), false) => Some(bytes.saturating_mul(job.loops)),
        _ => None,
    };
    let time = job.runtime.map(|runtime| runtime.saturating_add(job.ramp_time));
    let end = match (bytes, time) {
        (Some(bytes), Some(time)) => ExpectedEnd::BytesOrTime(bytes, time),
        (Some(bytes), None) => ExpectedEnd::Bytes(bytes),
        (None, Some(time)) => ExpectedEnd::Time(time),
        // As long as what is there, which nobody has looked at yet.
        (None, None) => ExpectedEnd::Bytes(0),
    };
    JobGauge::new(job, end)
}

/// Makes all files before anything is measured, one after the other, and holds the devices that
/// are written to, each once for all threads.
fn prepare(
    plan: &Plan,
    gauges: &[Arc<JobGauge>],
    stop: &Stop,
    host: &mut Host,
) -> Result<Vec<DmaFile>, RunError> {
    let mut held = BTreeMap::new();
    let Some(first) = plan.threads().next() else { return Ok(Vec::new()) };
    let options =
        RuntimeOptions { shards: 1, pin: false, idle_spin_us: 0, ..RuntimeOptions::default() };
    let runtime = start(options, &first.job)?;
    host.wall_clock_ms = runtime.wall_clock_ms();
    for (thread, gauge) in plan.threads().zip(gauges) {
        if stop.is_requested() {
            break;
        }
        gauge.set_state(JobState::LayingOut);
        let (of_task, of_stop) = (Arc::clone(thread), stop.clone());
        let made = on_runtime(&runtime, move |shard| async move {
            files::prepare(&shard, &of_task, &of_stop).await
        });
        gauge.set_state(JobState::NotStarted);
        for device in answer(&thread.job, made)? {
            let name = device.canonicalize().unwrap_or_else(|_| device.clone());
            if let Entry::Vacant(place) = held.entry(name) {
                let claim = on_runtime(&runtime, move |shard| async move {
                    files::claim(&shard, &device).await
                });
                place.insert(answer(&thread.job, claim)?);
            }
        }
    }
    runtime.shutdown();
    Ok(held.into_values().collect())
}

fn answer<T>(job: &Job, made: Receiver<Result<T, FileError>>) -> Result<T, RunError> {
    let job = job.name.clone();
    match made.recv() {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(source)) => Err(RunError::Files { job, source }),
        Err(_) => Err(RunError::Lost { job }),
    }
}

fn start(options: RuntimeOptions, job: &Job) -> Result<Runtime, RunError> {
    let job = job.name.clone();
    Runtime::start(options).map_err(|source| RunError::Start { job, source })
}

/// Runs a task on the one shard of a runtime; its result comes through the channel.
fn on_runtime<T, F, Fut>(runtime: &Runtime, work: F) -> Receiver<T>
where
    T: Send + 'static,
    F: FnOnce(sombra_runtime::Shard) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    runtime.run_on(ShardId::new(0), move |shard| {
        let future = work(shard.clone());
        shard.spawn(TaskSpec::new("disk job", TaskClass::Foreground), async move {
            // Nobody waits any more only after another job's thread was lost.
            let _ = sender.send(future.await);
        });
    });
    receiver
}

fn run_group(
    group: &Group,
    gauges: &[Arc<JobGauge>],
    stop: &Stop,
    host: &mut Host,
) -> Vec<JobOutcome> {
    let start = |thread| start(options_of(thread), &thread.job);
    let running: Vec<_> =
        group.jobs.iter().map(|thread: &Arc<JobThread>| (thread, start(thread))).collect();
    let begun = running.iter().map(|(thread, runtime)| {
        let runtime = runtime.as_ref().ok()?;
        let gauge = Arc::clone(&gauges[thread.thread_number as usize - 1]);
        let (of_task, watch) = (Arc::clone(thread), Watch { stop: stop.clone(), gauge });
        Some(on_runtime(runtime, move |shard| async move {
            let thread_id = nix::unistd::gettid().as_raw().unsigned_abs();
            (thread_id, thread::run_thread(shard, of_task, watch).await)
        }))
    });
    let begun: Vec<_> = begun.collect();
    let mut outcomes = Vec::with_capacity(running.len());
    for ((thread, runtime), end) in running.iter().zip(begun) {
        let lost = || RunError::Lost { job: thread.job.name.clone() };
        let ended = match (runtime, end.and_then(|end| end.recv().ok())) {
            (Ok(runtime), ended) => {
                host.note(runtime);
                runtime.shutdown();
                ended.ok_or_else(|| lost().to_line())
            }
            (Err(error), _) => Err(error.to_line()),
        };
        // What the others measured is worth as much without this one.
        let (thread_id, end) = ended.unwrap_or_else(|text| {
            let error = JobError { errno: nix::libc::EIO, text };
            (0, ThreadEnd::of_error(&thread.job, error, host.wall_clock_ms))
        });
        outcomes.push(outcome_of(thread, thread_id, end));
    }
    outcomes
}

fn outcome_of(thread: &JobThread, thread_id: u32, end: ThreadEnd) -> JobOutcome {
    JobOutcome {
        job: Arc::clone(&thread.job),
        clone_number: thread.clone_number,
        thread_number: thread.thread_number - 1,
        group_id: thread.group_id,
        thread_id,
        tally: end.tally,
        error: end.error,
        started_wall_ms: end.started_wall_ms,
        elapsed: end.elapsed,
        measured: end.measured,
        cpu: end.cpu,
    }
}

/// A runtime of one shard, which is the job's thread.
fn options_of(thread: &JobThread) -> RuntimeOptions {
    let job = &thread.job;
    let depth = thread::depth_of(job);
    let largest = thread::largest_block(job).next_multiple_of(BUFFER_ALIGN_BYTES);
    let slab_bytes = match job.fixed_buffers {
        true => (largest * depth as usize).saturating_add(DISK_SLAB_SPARE_BYTES),
        false => 0,
    };
    let defaults = RuntimeOptions::default();
    RuntimeOptions {
        shards: 1,
        driver: match job.engine {
            Engine::IoUring => DriverChoice::Auto,
            Engine::Psync => DriverChoice::Inline,
            Engine::Null => DriverChoice::Null,
        },
        // A job's thread goes where the kernel, or `cpus_allowed`, puts it, as fio's does.
        pin: false,
        cpus: thread.cpus.clone(),
        idle_spin_us: 0,
        ring_entries: (depth + DISK_RING_SPARE_ENTRIES)
            .next_power_of_two()
            .clamp(defaults.ring_entries, sombra_runtime::limits::RING_ENTRIES_MAX),
        buffer_slab_bytes: slab_bytes.min(sombra_runtime::limits::BUFFER_SLAB_BYTES_MAX),
        register_files: job.register_files,
        ..defaults
    }
}

#[cfg(test)]
mod tests;
