//! One thread of a job from its start to its figures: passes over its stream with the asked
//! number of operations in flight. Knows the shard that it runs on and nothing of other threads.

use std::sync::Arc;
use std::time::Duration;

use sombra_runtime::{IoClass, IoQueue, Moment, Shard};

use crate::disk::job::{ByDirection, Direction, Engine, Extent, Job, Mix};
use crate::disk::outcome::{CpuUse, JobError};
use crate::disk::plan::JobThread;
use crate::disk::progress::{JobGauge, JobState};
use crate::disk::stream::{Region, Stream};
use crate::disk::tally::JobTally;
use crate::limits::DISK_SLEEP_MS_MAX;
use crate::measure::Stop;

use super::content::Filler;
use super::cpu::CpuClock;
use super::files::{self, JobFile};
use super::operations::Operations;
use super::pace::Pace;
use super::slots::Slots;
use super::verify::Written;

/// What others see of a thread, and tell it, while it runs.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) stop: Stop,
    pub(crate) gauge: Arc<JobGauge>,
}

/// What a thread came to.
#[derive(Debug)]
pub(crate) struct ThreadEnd {
    pub(crate) tally: JobTally,
    pub(crate) error: Option<JobError>,
    pub(crate) started_wall_ms: u64,
    pub(crate) elapsed: Duration,
    pub(crate) measured: Duration,
    pub(crate) cpu: CpuUse,
}

impl ThreadEnd {
    /// Of a thread that measured nothing.
    pub(super) fn of_error(job: &Job, error: JobError, started_wall_ms: u64) -> ThreadEnd {
        ThreadEnd {
            tally: JobTally::new(job),
            error: Some(error),
            started_wall_ms,
            elapsed: Duration::ZERO,
            measured: Duration::ZERO,
            cpu: CpuUse::default(),
        }
    }
}

/// Runs a job's thread on a shard. Its files are made already.
pub(crate) async fn run_thread(shard: Shard, thread: Arc<JobThread>, watch: Watch) -> ThreadEnd {
    let started_wall_ms = shard.wall_clock_ms();
    let opened = files::open(&shard, &thread).await;
    let mut run = match opened {
        Ok(files) => JobRun::new(&shard, &thread, files, watch.clone()),
        Err(error) => {
            let text = super::one_line(&error);
            watch.gauge.set_state(JobState::Finished);
            let error = JobError { errno: error.errno(), text };
            return ThreadEnd::of_error(&thread.job, error, started_wall_ms);
        }
    };
    run.wait_for_start().await;
    run.start();
    run.loops().await;
    run.finish().await;
    let end = run.end(started_wall_ms);
    watch.gauge.set_state(JobState::Finished);
    end
}

/// Why issuing stopped for now.
enum Pause {
    /// As many in flight as there may be.
    Full,
    /// A submission's worth is queued.
    Batch,
    /// The next operation may begin at this time.
    Until(Moment),
    /// A pause between operations.
    Think,
    /// The pass is over.
    PassEnd,
}

struct JobRun {
    shard: Shard,
    job: Arc<Job>,
    stream: Stream,
    operations: Operations,
    pace: Pace,
    watch: Watch,
    cpu: CpuClock,
    /// The job's own clock begins here.
    origin: Moment,
    in_ramp: bool,
    is_verifying: bool,
    measured_from: Moment,
    ended: Option<Moment>,
}

impl JobRun {
    fn new(shard: &Shard, thread: &JobThread, files: Vec<JobFile>, watch: Watch) -> JobRun {
        let job = Arc::clone(&thread.job);
        let depth = depth_of(&job);
        let filler = Filler::new(&job, thread.seed);
        let largest = largest_block(&job);
        let buffers = (0..depth).map(|index| {
            let mut buf = shard.alloc_buffer(largest);
            filler.prime(&mut buf, u64::from(index));
            buf
        });
        let slots = Slots::new(buffers.collect());
        let regions: Vec<_> = files.iter().map(|file| file.region).collect();
        let stream = Stream::new(&job, &regions, bytes_per_pass(&job, &regions), thread.seed);
        let queue = IoQueue::new(shard, IoClass::Read, depth as usize);
        let now = shard.now();
        JobRun {
            operations: Operations::new(&job, files, slots, queue, filler),
            stream,
            pace: Pace::new(&job),
            shard: shard.clone(),
            job,
            watch,
            cpu: CpuClock::start(shard),
            origin: now,
            in_ramp: false,
            is_verifying: false,
            measured_from: now,
            ended: None,
        }
    }

    async fn wait_for_start(&mut self) {
        let until = self.shard.now().checked_add(self.job.start_delay);
        self.sleep_until(until.unwrap_or(self.origin)).await;
    }

    fn start(&mut self) {
        self.origin = self.shard.now();
        self.measured_from = self.origin;
        self.operations.set_origin(self.origin);
        self.cpu = CpuClock::start(&self.shard);
        self.in_ramp = !self.job.ramp_time.is_zero();
        self.watch.gauge.set_state(if self.in_ramp { JobState::Ramp } else { JobState::Running });
    }

    /// Passes until the loops are done, the time is over, something failed, or somebody stops it.
    async fn loops(&mut self) {
        let mut done = 0;
        while !self.is_over() {
            self.pass().await;
            done += 1;
            if self.job.end_fsync && self.writes() {
                self.operations.flush_all().await;
            }
            self.verify().await;
            if !self.job.time_based && done >= self.job.loops {
                return;
            }
            self.stream.restart();
        }
    }

    async fn pass(&mut self) {
        loop {
            if self.is_over() {
                break;
            }
            match self.issue() {
                Pause::Full => self.wait_for_room().await,
                // The turn's end hands over what is queued.
                Pause::Batch => self.shard.yield_now().await,
                Pause::Until(moment) => self.wait_until(moment).await,
                Pause::Think => self.think().await,
                Pause::PassEnd => break,
            }
        }
        self.drain().await;
    }

    /// Queues operations until something holds it up.
    fn issue(&mut self) -> Pause {
        let now = self.shard.now();
        let batch = u64::from(self.job.batch_submit.unwrap_or(u32::MAX));
        let mut issued = 0;
        let pause = loop {
            if self.operations.is_full() || self.operations.error().is_some() {
                break Pause::Full;
            }
            if issued >= batch {
                break Pause::Batch;
            }
            if self.pace.until_pause() == 0 {
                break Pause::Think;
            }
            if let Some(until) = self.held_until(now) {
                break Pause::Until(until);
            }
            let allowed = self.due_directions(now);
            let Some(step) = self.stream.next_step(allowed) else { break Pause::PassEnd };
            if let Some((direction, bytes)) = self.operations.issue(step) {
                self.pace.issued(direction, bytes);
            }
            issued += 1;
        };
        self.operations.note_submission(issued as u32);
        pause
    }

    fn due_at(&self, direction: Direction) -> Moment {
        let due = Duration::from_nanos(self.pace.due_ns(direction));
        self.origin.checked_add(due).unwrap_or(self.origin)
    }

    fn due_directions(&self, now: Moment) -> ByDirection<bool> {
        ByDirection(Direction::ALL.map(|direction| self.due_at(direction) <= now))
    }

    /// When the first of the directions that could be next may go on; `None`: now.
    fn held_until(&self, now: Moment) -> Option<Moment> {
        let candidates = self.stream.candidates();
        let could_be = Direction::ALL.into_iter().filter(|direction| *candidates.of(*direction));
        could_be.map(|direction| self.due_at(direction)).min().filter(|due| *due > now)
    }

    /// Waits for completions as the job's batch options say, and takes them.
    async fn wait_for_room(&mut self) {
        let low = (self.job.iodepth_low as usize).max(1).min(depth_of(&self.job) as usize);
        let is_bounded = self.job.batch_submit.or(self.job.batch_complete_max).is_some();
        if is_bounded && self.operations.has_completions() {
            // What was just queued is handed over before more completions are taken.
            self.shard.yield_now().await;
        }
        loop {
            let wanted = (self.job.batch_complete_min as usize).max(1);
            self.operations.wait(wanted).await;
            self.take_completions();
            if self.operations.in_flight() <= low || self.is_over() {
                return;
            }
        }
    }

    async fn drain(&mut self) {
        while self.operations.in_flight() > 0 {
            self.operations.wait(1).await;
            self.take_completions();
        }
    }

    fn take_completions(&mut self) {
        let most = self.job.batch_complete_max.unwrap_or(u32::MAX);
        let (pace, gauge) = (&mut self.pace, &self.watch.gauge);
        self.operations.take(most, |direction, bytes| {
            pace.completed(direction, bytes);
            gauge.done(direction, 1, bytes);
        });
        self.observe();
    }

    /// What happens by time alone: the ramp's end, samples, the speed below which a job fails.
    fn observe(&mut self) {
        let now = self.shard.now();
        let now_ns = now.saturating_since(self.origin).as_nanos() as u64;
        if self.in_ramp && now_ns >= self.job.ramp_time.as_nanos() as u64 {
            self.in_ramp = false;
            self.measured_from = now;
            self.cpu = CpuClock::start(&self.shard);
            self.operations.tally_mut().end_ramp(now_ns);
            self.watch.gauge.set_state(JobState::Running);
        }
        self.operations.tally_mut().tick(now_ns);
        if self.in_ramp || self.is_verifying {
            self.pace.restart_floor(now_ns);
        } else if let Err(error) = self.pace.check_floor(now_ns) {
            self.operations.fail(nix::libc::ETIMEDOUT, error.to_string());
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let runtime = self.job.runtime?;
        self.origin.checked_add(self.job.ramp_time.saturating_add(runtime))
    }

    fn is_over(&self) -> bool {
        self.watch.stop.is_requested()
            || self.operations.error().is_some()
            || self.deadline().is_some_and(|deadline| self.shard.now() >= deadline)
    }

    /// Lets completions come in until the moment.
    async fn wait_until(&mut self, moment: Moment) {
        let moment = self.deadline().map_or(moment, |deadline| moment.min(deadline));
        while self.shard.now() < moment && !self.is_over() {
            let nap = self.nap_until(moment);
            self.operations.wait_or_until(&self.shard, nap).await;
            self.take_completions();
        }
    }

    /// Pauses with nothing in flight: first on the CPU, then asleep.
    async fn think(&mut self) {
        self.drain().await;
        let Some(think_time) = self.pace.take_pause() else { return };
        let began = self.shard.now();
        let spin = think_time.spin.min(think_time.pause);
        while self.shard.now().saturating_since(began) < spin && !self.is_over() {
            std::hint::spin_loop();
        }
        let end = began.checked_add(think_time.pause).unwrap_or(began);
        let end = self.deadline().map_or(end, |deadline| end.min(deadline));
        self.sleep_until(end).await;
        self.observe();
    }

    async fn sleep_until(&mut self, moment: Moment) {
        while self.shard.now() < moment && !self.watch.stop.is_requested() {
            self.shard.sleep_until(self.nap_until(moment)).await;
        }
    }

    /// A sleep is cut into naps, so that a stop is heard soon.
    fn nap_until(&self, moment: Moment) -> Moment {
        let longest = Duration::from_millis(DISK_SLEEP_MS_MAX);
        self.shard.now().checked_add(longest).map_or(moment, |nap| nap.min(moment))
    }

    /// Reads back what the pass wrote, in order, and checks it.
    async fn verify(&mut self) {
        if !(self.job.verify && self.job.do_verify && self.writes()) || self.is_stopped() {
            return;
        }
        self.watch.gauge.set_state(JobState::Verifying);
        let now_ns = self.now_ns();
        self.operations.tally_mut().verifying(true, now_ns);
        self.operations.check_reads(true);
        self.is_verifying = true;
        let mut written: Written = self.operations.take_written();
        while let Some(step) = written.next_step() {
            while self.operations.is_full() {
                self.operations.wait(1).await;
                self.take_completions();
            }
            if self.is_stopped() {
                break;
            }
            self.operations.issue(step);
            self.operations.note_submission(1);
        }
        self.drain().await;
        let now_ns = self.now_ns();
        self.operations.tally_mut().verifying(false, now_ns);
        self.operations.check_reads(false);
        self.is_verifying = false;
        self.watch.gauge.set_state(JobState::Running);
    }

    /// As `is_over`, but for time: what was written is verified however long that takes.
    fn is_stopped(&self) -> bool {
        self.watch.stop.is_requested() || self.operations.error().is_some()
    }

    fn now_ns(&self) -> u64 {
        self.shard.now().saturating_since(self.origin).as_nanos() as u64
    }

    fn writes(&self) -> bool {
        self.job.pattern.mix.has(Direction::Write)
    }

    /// The flushes at the end.
    async fn finish(&mut self) {
        self.drain().await;
        if self.writes() && self.job.fsync_on_close {
            self.operations.flush_all().await;
        }
        let now_ns = self.now_ns();
        self.operations.tally_mut().finish(now_ns);
        self.ended = Some(self.shard.now());
        if self.job.unlink {
            for path in self.operations.regular_paths() {
                // Another thread of the job may have been first.
                let _ = self.shard.unlink(&path).await;
            }
        }
    }

    fn end(self, started_wall_ms: u64) -> ThreadEnd {
        let ended = self.ended.unwrap_or_else(|| self.shard.now());
        let (tally, error) = self.operations.into_end();
        ThreadEnd {
            tally,
            error,
            started_wall_ms,
            elapsed: self.shard.now().saturating_since(self.origin),
            measured: ended.saturating_since(self.measured_from),
            cpu: self.cpu.used(),
        }
    }
}

/// An engine that does one thing at a time has a depth of one; so has a job that writes what it
/// trimmed, whose trims must be over by then.
pub(super) fn depth_of(job: &Job) -> u32 {
    let is_single = job.engine == Engine::Psync || job.pattern.mix == Mix::TrimWrite;
    if is_single { 1 } else { job.iodepth.max(1) }
}

/// The largest request that a job makes.
pub(super) fn largest_block(job: &Job) -> usize {
    let used = Direction::ALL.into_iter().filter(|direction| job.pattern.mix.has(*direction));
    let largest = used.map(|direction| job.block.of(direction).max_bytes()).max();
    largest.unwrap_or(0) as usize
}

/// What one pass over the regions of a job's files transfers.
#[must_use]
pub fn bytes_per_pass(job: &Job, regions: &[Region]) -> u64 {
    let whole = regions.iter().map(|region| region.len).sum::<u64>();
    // With `filesize` the files have sizes of their own, and `size` is what is transferred.
    match job.io_size.or(job.filesize.and(job.size)) {
        None => whole,
        Some(Extent::Bytes(bytes)) => bytes,
        Some(Extent::Percent(percent)) => (u128::from(whole) * u128::from(percent) / 100) as u64,
    }
}
