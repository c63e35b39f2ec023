//! Outcomes of runs that nobody ran, for the tests of the output.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::environment::DiskEnvironment;
use crate::disk::job::{Direction, Job};
use crate::disk::outcome::{CpuUse, DiskUtil, JobOutcome, RunOutcome};
use crate::disk::tally::{IoDone, JobTally};

const MS: u64 = 1_000_000;
pub(super) const STARTED_WALL_MS: u64 = 1_795_658_892_047;

/// One second of 100 operations in each direction of the job, with flushes, and with a read-back
/// of another second where the job verifies.
pub(super) fn tally(job: &Job) -> JobTally {
    let mut tally = JobTally::new(job);
    let syncs = job.fsync_every + job.fdatasync_every > 0;
    for step in 1..=100u64 {
        let now_ns = step * 10 * MS;
        let in_mix = |direction: &Direction| job.pattern.mix.has(*direction);
        for direction in Direction::ALL.into_iter().filter(in_mix) {
            io(&mut tally, direction, step, now_ns);
        }
        if syncs && step.is_multiple_of(8) {
            tally.sync(now_ns, now_ns + 150_000 + step * 1_000);
        }
        tally.tick(now_ns);
    }
    let mut end_ns = 1_000 * MS;
    if job.verify {
        tally.verifying(true, end_ns);
        (1..=100).for_each(|step| io(&mut tally, Direction::Read, step, end_ns + step));
        end_ns += 1_000 * MS;
    }
    tally.finish(end_ns);
    tally
}

fn io(tally: &mut JobTally, direction: Direction, step: u64, now_ns: u64) {
    let latency_ns = 100_000 + 500 * step;
    let submitted_ns = now_ns - latency_ns;
    tally.depth(4);
    tally.submitted(1);
    tally.io(&IoDone {
        direction,
        offset: step * 4_096,
        bytes: 4_096,
        queued_ns: submitted_ns - 3_000 - 10 * step,
        submitted_ns,
        completed_ns: now_ns,
        is_short: false,
    });
    tally.completed(1);
}

/// Each job with its group and its clones.
pub(super) fn outcome(jobs: &[(Job, u32)]) -> RunOutcome {
    let mut outcome = RunOutcome {
        environment: DiskEnvironment {
            limits: vec!["not measured on NVMe (vda)".to_owned()],
            ..DiskEnvironment::default()
        },
        disk_util: vec![DiskUtil {
            name: "vda".to_owned(),
            read_ios: 100,
            write_ios: 200,
            read_ticks_ms: 7,
            write_ticks_ms: 9,
            in_queue_ms: 16,
            util_percent: 81.957,
            ..DiskUtil::default()
        }],
        started_wall_ms: STARTED_WALL_MS,
        ..RunOutcome::default()
    };
    for (job, group_id) in jobs {
        let job = Arc::new(job.clone());
        for clone_number in 0..job.numjobs {
            let thread_number = u32::try_from(outcome.jobs.len()).unwrap();
            outcome.jobs.push(JobOutcome {
                job: job.clone(),
                clone_number,
                thread_number,
                group_id: *group_id,
                thread_id: 4_000 + thread_number,
                tally: tally(&job),
                error: None,
                started_wall_ms: STARTED_WALL_MS,
                elapsed: Duration::from_secs(1),
                measured: Duration::from_secs(1),
                cpu: CpuUse {
                    user_us: 46_500,
                    system_us: 383_000,
                    context_switches: 300,
                    major_faults: 0,
                    minor_faults: 16,
                },
            });
        }
    }
    outcome
}
