//! What stands together in an output: one row for a job, or for the whole group that reports as
//! one; and the figures over all jobs of a group.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::job::{Direction, Job};
use crate::disk::outcome::{CpuUse, JobError, JobOutcome};
use crate::disk::plan::Plan;
use crate::disk::tally::JobTally;

/// A section of the job file as the lines before a run name it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub job: &'a Job,
    pub group_id: u32,
    pub clones: u32,
}

/// The sections of a plan, in their order.
#[must_use]
pub fn heads_of(plan: &Plan) -> Vec<Head<'_>> {
    let first_clones = plan.threads().filter(|thread| thread.clone_number == 0);
    first_clones
        .map(|thread| Head {
            job: &thread.job,
            group_id: thread.group_id,
            clones: thread.job.numjobs,
        })
        .collect()
}

/// One job's, or one reporting group's, share of an output.
pub(super) struct Row<'a> {
    pub(super) job: &'a Arc<Job>,
    pub(super) jobs: u32,
    pub(super) group_id: u32,
    pub(super) thread_id: u32,
    pub(super) tally: Cow<'a, JobTally>,
    pub(super) error: Option<&'a JobError>,
    pub(super) cpu: CpuUse,
    /// The longest of the jobs, ramp included.
    pub(super) elapsed: Duration,
    /// The longest of the jobs.
    pub(super) measured: Duration,
    /// Of all jobs together.
    pub(super) measured_sum: Duration,
}

impl<'a> Row<'a> {
    fn of(outcome: &'a JobOutcome) -> Row<'a> {
        Row {
            job: &outcome.job,
            jobs: 1,
            group_id: outcome.group_id,
            thread_id: outcome.thread_id,
            tally: Cow::Borrowed(&outcome.tally),
            error: outcome.error.as_ref(),
            cpu: outcome.cpu,
            elapsed: outcome.elapsed,
            measured: outcome.measured,
            measured_sum: outcome.measured,
        }
    }

    fn add(&mut self, outcome: &'a JobOutcome) {
        self.jobs += 1;
        self.tally.to_mut().merge(&outcome.tally);
        self.error = self.error.or(outcome.error.as_ref());
        self.cpu.add(&outcome.cpu);
        self.elapsed = self.elapsed.max(outcome.elapsed);
        self.measured = self.measured.max(outcome.measured);
        self.measured_sum += outcome.measured;
    }

    /// How long the row was at work in a direction: a job whose runner tells no phases was so all
    /// the time.
    pub(super) fn run_ns(&self, direction: Direction) -> u64 {
        if self.tally.direction(direction).operations == 0 {
            return 0;
        }
        match self.tally.run_ns(direction) {
            0 => nanoseconds(self.measured).max(1),
            run_ns => run_ns,
        }
    }

    pub(super) fn bytes_per_s(&self, direction: Direction) -> u64 {
        per_second(self.tally.direction(direction).bytes, self.run_ns(direction))
    }

    pub(super) fn iops(&self, direction: Direction) -> f64 {
        match self.run_ns(direction) {
            0 => 0.0,
            run_ns => self.tally.direction(direction).operations as f64 * 1e9 / run_ns as f64,
        }
    }

    /// Shares of the jobs' time that their threads spent in user mode and in the kernel.
    pub(super) fn cpu_percents(&self) -> (f64, f64) {
        let time_us = self.measured_sum.as_secs_f64() * 1e6;
        let percent =
            |cpu_us: u64| if time_us > 0.0 { cpu_us as f64 * 100.0 / time_us } else { 0.0 };
        (percent(self.cpu.user_us), percent(self.cpu.system_us))
    }
}

/// Rows in the order of the jobs. Jobs of a group that report together are one row.
pub(super) fn rows(jobs: &[JobOutcome]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for outcome in jobs {
        let joins = |row: &&mut Row<'_>| {
            row.group_id == outcome.group_id
                && row.job.group_reporting
                && outcome.job.group_reporting
        };
        match rows.last_mut().filter(joins) {
            Some(row) => row.add(outcome),
            None => rows.push(Row::of(outcome)),
        }
    }
    rows
}

/// One direction over all rows of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupFigures {
    pub(super) bytes: u64,
    /// All bytes over the longest run.
    pub(super) bytes_per_s: u64,
    /// Of the rows.
    pub(super) bytes_per_s_min: u64,
    pub(super) bytes_per_s_max: u64,
    pub(super) run_ns_min: u64,
    pub(super) run_ns_max: u64,
}

/// `None`: nothing was done in this direction.
pub(super) fn group(rows: &[Row<'_>], group_id: u32, direction: Direction) -> Option<GroupFigures> {
    let mut figures: Option<GroupFigures> = None;
    for row in rows.iter().filter(|row| row.group_id == group_id) {
        let tally = row.tally.direction(direction);
        if tally.bytes == 0 {
            continue;
        }
        let (run_ns, speed) = (row.run_ns(direction), row.bytes_per_s(direction));
        let mut all = figures.unwrap_or(GroupFigures {
            bytes: 0,
            bytes_per_s: 0,
            bytes_per_s_min: speed,
            bytes_per_s_max: speed,
            run_ns_min: run_ns,
            run_ns_max: run_ns,
        });
        all.bytes += tally.bytes;
        all.bytes_per_s_min = all.bytes_per_s_min.min(speed);
        all.bytes_per_s_max = all.bytes_per_s_max.max(speed);
        all.run_ns_min = all.run_ns_min.min(run_ns);
        all.run_ns_max = all.run_ns_max.max(run_ns);
        all.bytes_per_s = per_second(all.bytes, all.run_ns_max);
        figures = Some(all);
    }
    figures
}

/// Share of a group's bandwidth that a row's mean sample is, at most 100.
pub(super) fn share_of_group(rows: &[Row<'_>], row: &Row<'_>, direction: Direction) -> f64 {
    let mean_kib = row.tally.direction(direction).bandwidth.mean();
    match group(rows, row.group_id, direction) {
        Some(all) if all.bytes_per_s > 0 => {
            (mean_kib * 100.0 / (all.bytes_per_s as f64 / 1024.0)).min(100.0)
        }
        _ => 0.0,
    }
}

fn per_second(count: u64, run_ns: u64) -> u64 {
    match run_ns {
        0 => 0,
        _ => u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(run_ns))
            .unwrap_or(u64::MAX),
    }
}

/// Whole milliseconds, of which a run that was at work has at least one.
pub(super) fn milliseconds(run_ns: u64) -> u64 {
    match run_ns {
        0 => 0,
        _ => ((run_ns + 500_000) / 1_000_000).max(1),
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Each count's share of the total in percent. What is there is never shown as nothing: the
/// smallest share is `floor`.
pub(super) fn shares<const N: usize>(counts: &[u64; N], total: u64, floor: f64) -> [f64; N] {
    counts.map(|count| match (count, total) {
        (0, _) | (_, 0) => 0.0,
        _ => (count as f64 * 100.0 / total as f64).max(floor),
    })
}

pub(super) const DEPTH_FLOOR: f64 = 0.1;
pub(super) const LATENCY_FLOOR: f64 = 0.01;
