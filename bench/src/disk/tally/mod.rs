//! What one job counts while it runs: operations, bytes, latencies, rates, depths and logs.
//! Knows neither files nor clocks: every time is handed in.

mod buckets;
mod levels;
mod log;
mod moments;
mod rates;
#[cfg(test)]
mod tests;

pub use buckets::Buckets;
pub use levels::{
    BATCH_LABELS, CLASS_LABELS, DEPTH_LABELS, LEVEL_COUNT, Levels, MILLI_CLASSES, Magnitudes,
    NANO_CLASSES,
};
pub use log::{Entries, LogEntry, LogKind};
pub use moments::Moments;
pub use rates::Rates;

use super::job::{ByDirection, Direction, Engine, Job, Mix};
use log::{Latencies, LogBook, Totals};
use rates::{Measure, Sampler};

/// One finished operation. Times are nanoseconds since the job's start; its clock begins when the
/// thread starts, ramp included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoDone {
    pub direction: Direction,
    pub offset: u64,
    pub bytes: u64,
    /// When the job had it ready to hand over.
    pub queued_ns: u64,
    /// When the kernel, or device, had it.
    pub submitted_ns: u64,
    pub completed_ns: u64,
    /// Fewer bytes than asked for.
    pub is_short: bool,
}

/// One kind of latency.
#[derive(Clone, Default, Debug)]
pub struct Latency {
    pub moments: Moments,
    /// Only where the job asks for percentiles of this kind.
    pub buckets: Option<Buckets>,
}

impl Latency {
    fn new(with_buckets: bool) -> Latency {
        Latency { moments: Moments::default(), buckets: with_buckets.then(Buckets::default) }
    }

    #[inline]
    fn add(&mut self, value_ns: u64) {
        self.moments.add(value_ns);
        if let Some(buckets) = &mut self.buckets {
            buckets.add(value_ns);
        }
    }

    fn merge(&mut self, other: &Latency) {
        self.moments.merge(&other.moments);
        match (&mut self.buckets, &other.buckets) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (None, Some(theirs)) => self.buckets = Some(theirs.clone()),
            (_, None) => {}
        }
    }

    fn clear(&mut self) {
        self.moments = Moments::default();
        if let Some(buckets) = &mut self.buckets {
            buckets.clear();
        }
    }
}

/// What was done in one direction.
#[derive(Clone, Default, Debug)]
pub struct DirectionTally {
    pub operations: u64,
    pub bytes: u64,
    pub short: u64,
    /// From queued to submitted; counts nothing for an engine that does both in one call.
    pub submission: Latency,
    /// From submitted to completed.
    pub completion: Latency,
    /// From queued to completed.
    pub whole: Latency,
    /// KiB/s.
    pub bandwidth: Rates,
    pub iops: Rates,
    run_ns: u64,
}

impl DirectionTally {
    fn new(job: &Job) -> DirectionTally {
        DirectionTally {
            submission: Latency::new(job.slat_percentiles),
            completion: Latency::new(job.clat_percentiles),
            whole: Latency::new(job.lat_percentiles),
            ..DirectionTally::default()
        }
    }

    fn merge(&mut self, other: &DirectionTally) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.short += other.short;
        self.submission.merge(&other.submission);
        self.completion.merge(&other.completion);
        self.whole.merge(&other.whole);
        self.bandwidth.merge(&other.bandwidth);
        self.iops.merge(&other.iops);
        self.run_ns = self.run_ns.max(other.run_ns);
    }

    fn clear(&mut self) {
        let latencies = [&mut self.submission, &mut self.completion, &mut self.whole];
        latencies.into_iter().for_each(Latency::clear);
        (self.operations, self.bytes, self.short, self.run_ns) = (0, 0, 0, 0);
        (self.bandwidth, self.iops) = (Rates::default(), Rates::default());
    }
}

/// Everything that one job counts.
#[derive(Clone, Debug)]
pub struct JobTally {
    directions: ByDirection<DirectionTally>,
    syncs: Latency,
    depths: Levels,
    submissions: Levels,
    completions: Levels,
    magnitudes: Magnitudes,
    samplers: [Sampler; 2],
    logs: LogBook,
    mix: Mix,
    times_submission: bool,
    is_verifying: bool,
    /// Begin of the statistics, and of the phase that the job is in.
    began_ns: u64,
    phase_began_ns: u64,
    /// When the next sample is due.
    due_ns: u64,
}

impl JobTally {
    pub fn new(job: &Job) -> JobTally {
        // Where one call does both there is nothing between them; fio's null engine at depth 1 is
        // such a one, too.
        let times_submission = match job.engine {
            Engine::IoUring => true,
            Engine::Psync => false,
            Engine::Null => job.iodepth > 1,
        };
        let samplers = [
            Sampler::new(Measure::Bandwidth, job.logs.bandwidth_sample_ms),
            Sampler::new(Measure::Iops, job.logs.iops_sample_ms),
        ];
        let mut tally = JobTally {
            directions: ByDirection(Direction::ALL.map(|_| DirectionTally::new(job))),
            syncs: Latency::new(job.clat_percentiles || job.lat_percentiles),
            depths: Levels::default(),
            submissions: Levels::default(),
            completions: Levels::default(),
            magnitudes: Magnitudes::default(),
            samplers,
            logs: LogBook::new(job, times_submission),
            mix: job.pattern.mix,
            times_submission,
            is_verifying: false,
            began_ns: 0,
            phase_began_ns: 0,
            due_ns: 0,
        };
        tally.due_ns = tally.next_due_ns();
        tally
    }

    /// Counts a finished operation: its submission latency is `submitted - queued`, its completion
    /// latency `completed - submitted`, the whole `completed - queued`.
    ///
    /// Cost: integers only; nothing is allocated unless the job writes logs.
    #[inline]
    pub fn io(&mut self, done: &IoDone) {
        let latencies = Latencies {
            submission_ns: done.submitted_ns.saturating_sub(done.queued_ns),
            completion_ns: done.completed_ns.saturating_sub(done.submitted_ns),
            whole_ns: done.completed_ns.saturating_sub(done.queued_ns),
        };
        let tally = self.directions.of_mut(done.direction);
        tally.operations += 1;
        tally.bytes += done.bytes;
        tally.short += u64::from(done.is_short);
        if self.times_submission {
            tally.submission.add(latencies.submission_ns);
        }
        tally.completion.add(latencies.completion_ns);
        tally.whole.add(latencies.whole_ns);
        self.magnitudes.add(latencies.completion_ns);
        if !self.logs.is_empty() {
            self.logs.io(done, latencies);
        }
    }

    /// Counts a flush (fsync, fdatasync).
    pub fn sync(&mut self, started_ns: u64, ended_ns: u64) {
        self.syncs.add(ended_ns.saturating_sub(started_ns));
    }

    /// Operations in flight, with the new one, at each issue.
    #[inline]
    pub fn depth(&mut self, in_flight: u32) {
        self.depths.add_depth(in_flight);
    }

    /// Operations handed over in one submission.
    #[inline]
    pub fn submitted(&mut self, count: u32) {
        self.submissions.add_batch(count);
    }

    /// Operations taken in one go.
    #[inline]
    pub fn completed(&mut self, count: u32) {
        self.completions.add_batch(count);
    }

    /// Ends the sample intervals that are over. Called at least as often as completions come.
    #[inline]
    pub fn tick(&mut self, now_ns: u64) {
        if now_ns >= self.due_ns {
            self.close_due(now_ns);
        }
    }

    /// Forgets everything so far: statistics, and the time of logs, begin here.
    pub fn end_ramp(&mut self, now_ns: u64) {
        self.directions.0.iter_mut().for_each(DirectionTally::clear);
        self.syncs.clear();
        let levels = [&mut self.depths, &mut self.submissions, &mut self.completions];
        levels.into_iter().for_each(|levels| *levels = Levels::default());
        self.magnitudes = Magnitudes::default();
        self.samplers.iter_mut().for_each(|sampler| sampler.restart(now_ns));
        self.logs.restart(now_ns);
        self.began_ns = now_ns;
        self.phase_began_ns = now_ns;
        self.due_ns = self.next_due_ns();
    }

    /// The job begins, or ends, to read back what it wrote: that time is the reads' alone.
    pub fn verifying(&mut self, is_verifying: bool, now_ns: u64) {
        self.end_phase(now_ns);
        self.is_verifying = is_verifying;
    }

    /// Ends the last interval of averaged logs. A `bw` or `iops` sample that is not full is none:
    /// it would only widen the spread.
    pub fn finish(&mut self, now_ns: u64) {
        self.tick(now_ns);
        let totals = self.totals();
        self.logs.close(now_ns, &totals, true);
        self.end_phase(now_ns);
    }

    /// Adds what another job counted. Logs and time stay each job's own; of the running times the
    /// longer counts, as both ran side by side.
    pub fn merge(&mut self, other: &JobTally) {
        for (mine, theirs) in self.directions.0.iter_mut().zip(&other.directions.0) {
            mine.merge(theirs);
        }
        self.syncs.merge(&other.syncs);
        self.depths.merge(&other.depths);
        self.submissions.merge(&other.submissions);
        self.completions.merge(&other.completions);
        self.magnitudes.merge(&other.magnitudes);
    }

    pub fn direction(&self, direction: Direction) -> &DirectionTally {
        self.directions.of(direction)
    }

    /// How long the job was at work in this direction; 0 where it did nothing.
    pub fn run_ns(&self, direction: Direction) -> u64 {
        let tally = self.directions.of(direction);
        if tally.operations == 0 { 0 } else { tally.run_ns }
    }

    /// Operations in all directions, without flushes.
    pub fn operations(&self) -> u64 {
        self.directions.0.iter().map(|tally| tally.operations).sum()
    }

    pub fn syncs(&self) -> &Latency {
        &self.syncs
    }

    pub fn depths(&self) -> &Levels {
        &self.depths
    }

    pub fn submissions(&self) -> &Levels {
        &self.submissions
    }

    pub fn completions(&self) -> &Levels {
        &self.completions
    }

    /// Completion latencies of all directions.
    pub fn magnitudes(&self) -> &Magnitudes {
        &self.magnitudes
    }

    /// The entries of a log, if the job writes it.
    pub fn log(&self, kind: LogKind) -> Option<&Entries> {
        self.logs.entries(kind)
    }

    /// Begin of the statistics on the job's own clock: what the times of its logs count from.
    pub fn began_ns(&self) -> u64 {
        self.began_ns
    }

    fn next_due_ns(&self) -> u64 {
        let samples = self.samplers.iter().map(|sampler| sampler.intervals.due_ns()).min();
        samples.unwrap_or(u64::MAX).min(self.logs.due_ns())
    }

    #[cold]
    fn close_due(&mut self, now_ns: u64) {
        let totals = self.totals();
        for sampler in &mut self.samplers {
            if sampler.intervals.due_ns() > now_ns {
                continue;
            }
            let measure = sampler.measure();
            for (direction, value) in sampler.close(now_ns, totals.of(measure)) {
                let tally = self.directions.of_mut(direction);
                match measure {
                    Measure::Bandwidth => tally.bandwidth.add(value),
                    Measure::Iops => tally.iops.add(value),
                }
            }
        }
        self.logs.close(now_ns, &totals, false);
        self.due_ns = self.next_due_ns();
    }

    fn end_phase(&mut self, now_ns: u64) {
        let spent_ns = now_ns.saturating_sub(self.phase_began_ns);
        self.phase_began_ns = now_ns;
        for direction in Direction::ALL {
            let is_at_work = match self.is_verifying {
                true => direction == Direction::Read,
                false => self.mix.has(direction),
            };
            if is_at_work {
                self.directions.of_mut(direction).run_ns += spent_ns;
            }
        }
    }

    fn totals(&self) -> Totals {
        let of = |get: fn(&DirectionTally) -> u64| {
            ByDirection(Direction::ALL.map(|direction| get(self.directions.of(direction))))
        };
        Totals { bytes: of(|tally| tally.bytes), operations: of(|tally| tally.operations) }
    }
}
