//! What a run came to: a line for people, a row for programs.

use std::fmt;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use sombra_bench::disk::job::Direction;
use sombra_bench::disk::tally::{Buckets, JobTally};

use crate::AnyError;

/// One job on one executor, all its clones together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct JobFigures {
    pub(crate) executor: String,
    pub(crate) job: String,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// fsync and fdatasync.
    pub(crate) flushes: u64,
    pub(crate) bytes: u64,
    /// Of the clone that took longest.
    pub(crate) elapsed_s: f64,
    pub(crate) iops: f64,
    pub(crate) mb_per_s: f64,
    /// From the wish to the result, reads and writes alike.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Of the whole process, in user and kernel, divided by the reads and writes of all jobs that
    /// ran at the same time.
    pub(crate) cpu_us_per_io: f64,
    /// What the devices behind the job's files did meanwhile, for whomever.
    pub(crate) device_reads: u64,
    pub(crate) device_writes: u64,
}

impl JobFigures {
    pub(crate) fn ios(&self) -> u64 {
        self.reads + self.writes
    }

    /// What one job did, without what it shares with others.
    pub(crate) fn of(executor: &str, job: &str, tally: &JobTally, elapsed: Duration) -> JobFigures {
        let operations = |direction| tally.direction(direction).operations;
        let bytes = Direction::ALL.map(|direction| tally.direction(direction).bytes).iter().sum();
        let (reads, writes) = (operations(Direction::Read), operations(Direction::Write));
        let elapsed_s = elapsed.as_secs_f64();
        let [p50_us, p99_us, p999_us] = latencies_us(tally);
        JobFigures {
            executor: executor.to_owned(),
            job: job.to_owned(),
            reads,
            writes,
            flushes: tally.syncs().moments.count(),
            bytes,
            elapsed_s,
            iops: per(reads as f64 + writes as f64, elapsed_s),
            mb_per_s: per(bytes as f64 / 1e6, elapsed_s),
            p50_us,
            p99_us,
            p999_us,
            cpu_us_per_io: 0.0,
            device_reads: 0,
            device_writes: 0,
        }
    }
}

impl fmt::Display for JobFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {}: {} reads, {} writes, {} flushes in {:.2} s: {:.0} IOPS, {:.1} MB/s; \
             p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us; CPU {:.2} us per I/O; \
             device: {} reads, {} writes",
            self.executor,
            self.job,
            self.reads,
            self.writes,
            self.flushes,
            self.elapsed_s,
            self.iops,
            self.mb_per_s,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.cpu_us_per_io,
            self.device_reads,
            self.device_writes,
        )
    }
}

/// The 50th, 99th and 99.9th percentile over both directions; 0 where nothing was done.
fn latencies_us(tally: &JobTally) -> [f64; 3] {
    let mut buckets = Buckets::default();
    for direction in Direction::ALL {
        if let Some(more) = &tally.direction(direction).whole.buckets {
            buckets.merge(more);
        }
    }
    let found = buckets.percentiles(&[50.0, 99.0, 99.9]);
    [0, 1, 2].map(|index| found.get(index).map_or(0.0, |ns| *ns as f64 / 1e3))
}

/// `amount` of each of `parts`; 0 of nothing.
pub(crate) fn per(amount: f64, parts: f64) -> f64 {
    if parts > 0.0 { amount / parts } else { 0.0 }
}

/// CPU time so far, in user and kernel, of this process or of its children that have ended.
pub(crate) fn cpu_us(who: UsageWho) -> Result<f64, AnyError> {
    let us = |time: TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    let usage = getrusage(who)?;
    Ok(us(usage.user_time()) + us(usage.system_time()))
}
