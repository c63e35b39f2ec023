//! What each option does to the stream of operations that a device sees.

mod options;
mod pacing;
mod verifying;

use std::sync::{Arc, Mutex};

use sombra_runtime::ShardId;
use sombra_runtime::sim::{
    RunEnd, SimDisk, SimDiskOptions, SimLatency, SimOptions, SimWorld, SubmittedIo, SubmittedKind,
};
use sombra_runtime::{TaskClass, TaskSpec};

use super::files;
use super::thread::{ThreadEnd, Watch, run_thread};
use crate::disk::job::Job;
use crate::disk::plan::Plan;
use crate::measure::Stop;

const BLOCK: u64 = 4096;
const STEPS_MAX: u64 = 20_000_000;
/// Every read, write and flush of the simulated disk takes this long.
const LATENCY_US: u32 = 100;

/// A simulated run: what the device saw, and what the threads counted.
struct Seen {
    stream: Vec<SubmittedIo>,
    ends: Vec<ThreadEnd>,
    disk: SimDisk,
}

impl Seen {
    fn kinds(&self) -> Vec<SubmittedKind> {
        self.stream.iter().map(|io| io.kind).collect()
    }

    fn offsets(&self) -> Vec<u64> {
        self.stream.iter().map(|io| io.offset).collect()
    }

    fn count(&self, kind: SubmittedKind) -> usize {
        self.stream.iter().filter(|io| io.kind == kind).count()
    }

    fn end(&self) -> &ThreadEnd {
        assert_eq!(self.ends.len(), 1);
        &self.ends[0]
    }

    /// The times of submission since the first one, in microseconds.
    fn times_us(&self) -> Vec<u64> {
        let first = self.stream.first().map_or(0, |io| io.at_ns);
        self.stream.iter().map(|io| (io.at_ns - first) / 1_000).collect()
    }

    /// The most operations that were in flight at once, given that each takes `LATENCY_US`.
    fn most_in_flight(&self) -> usize {
        let latency_ns = u64::from(LATENCY_US) * 1_000;
        let at_once = |at: u64| {
            let begun = |io: &&SubmittedIo| io.at_ns <= at && at < io.at_ns + latency_ns;
            self.stream.iter().filter(begun).count()
        };
        self.stream.iter().map(|io| at_once(io.at_ns)).max().unwrap_or(0)
    }
}

fn disk() -> SimDisk {
    let fixed = SimLatency::us(LATENCY_US, LATENCY_US);
    SimDisk::new(SimDiskOptions {
        read_latency: fixed,
        write_latency: fixed,
        flush_latency: fixed,
        slow_one_in: 0,
        ..SimDiskOptions::new(1)
    })
}

fn simulate(job: &Job) -> Seen {
    simulate_on(&disk(), job, &Stop::new())
}

/// Runs all clones of a job, each on a shard of its own, as the tool does with threads.
fn simulate_on(disk: &SimDisk, job: &Job, stop: &Stop) -> Seen {
    let plan = Plan::new(&[Arc::new(job.clone())], 0).unwrap();
    let threads: Vec<_> = plan.threads().cloned().collect();
    let mut world = SimWorld::new(SimOptions::new(1, threads.len(), disk.clone()));
    let prepared = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&prepared);
    let all = threads.clone();
    world.runtime().run_on(ShardId::new(0), move |shard| {
        let inner = shard.clone();
        shard.spawn(TaskSpec::new("prepare", TaskClass::Foreground), async move {
            for thread in &all {
                files::prepare(&inner, thread, &Stop::new()).await.unwrap();
            }
            *slot.lock().unwrap() = Some(());
        });
    });
    let end = world.run(STEPS_MAX, || prepared.lock().unwrap().is_some());
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    disk.start_recording();
    let ends = Arc::new(Mutex::new(Vec::new()));
    for (index, thread) in threads.iter().enumerate() {
        let (thread, ends) = (Arc::clone(thread), Arc::clone(&ends));
        let watch = Watch { stop: stop.clone(), gauge: Arc::new(super::gauge_of(job)) };
        world.runtime().run_on(ShardId::new(index as u16), move |shard| {
            let future = run_thread(shard.clone(), thread, watch);
            shard.spawn(TaskSpec::new("job", TaskClass::Foreground), async move {
                let end = future.await;
                ends.lock().unwrap().push(end);
            });
        });
    }
    let end = world.run(STEPS_MAX, || ends.lock().unwrap().len() == threads.len());
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    world.kill();
    let stream = disk.take_recording();
    let ends = std::mem::take(&mut *ends.lock().unwrap());
    Seen { stream, ends, disk: disk.clone() }
}
