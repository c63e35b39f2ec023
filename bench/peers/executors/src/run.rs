//! One executor, all jobs of a file: groups one after the other, the threads of a group together.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::resource::UsageWho;
use sombra_bench::disk::devices::{DiskUtil, DiskWatch, Kernel};
use sombra_bench::disk::plan::{Group, JobThread, Plan};
use sombra_bench::disk::progress::Eta;
use sombra_bench::disk::run::{RunRequest, lay_out, run as run_plan};
use sombra_bench::disk::target::AllowedPlan;
use sombra_bench::{Stop, disk::tally::JobTally};

use crate::arguments::Arguments;
use crate::drive::ThreadEnd;
use crate::figures::{JobFigures, cpu_us, per};
use crate::limits::CHILD_SPARE_SECONDS;
use crate::{AnyError, Executor, jobs, peers, refusal};

/// Makes the files, runs every job, and tells of each by a line.
pub(crate) fn run(executor: Executor, arguments: &Arguments) -> Result<(), AnyError> {
    let plan = jobs::read(arguments)?;
    refusal::check(executor, &plan)?;
    let allowed = AllowedPlan::check(plan, &[])?;
    lay_out(&allowed).map_err(|error| error.to_line())?;
    let plan = allowed.plan();
    let mut rows = Vec::new();
    for group in &plan.groups {
        for row in run_group(executor, group)? {
            println!("{row}");
            rows.push(row);
        }
    }
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&rows)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// As `run`, on files that are there, for the process that started this one.
pub(crate) fn run_as_child(executor: Executor, arguments: &Arguments) -> Result<(), AnyError> {
    let plan = jobs::read(arguments)?;
    fail_when_stuck(&plan);
    let mut rows = Vec::new();
    for group in &plan.groups {
        rows.extend(run_group(executor, group)?);
    }
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

/// Ends the process when it takes far longer than its jobs say: a wake-up that an executor lost
/// would let it wait for ever.
fn fail_when_stuck(plan: &Plan) {
    let times = plan.threads().map(|thread| thread.job.runtime.unwrap_or_default());
    let limit = Duration::from_secs(CHILD_SPARE_SECONDS) + times.sum::<Duration>();
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("executors: still not done after {} s", limit.as_secs());
        std::process::exit(1);
    });
}

/// Runs the jobs of a group; a row for each, its clones together.
fn run_group(executor: Executor, group: &Group) -> Result<Vec<JobFigures>, AnyError> {
    let files = group.jobs.iter().flat_map(|thread| &thread.files);
    let paths: Vec<PathBuf> = files.map(|file| file.path.clone()).collect();
    let disks = DiskWatch::begin(Kernel::default(), &paths);
    let before_us = cpu_us(UsageWho::RUSAGE_SELF)?;
    let ends = match executor {
        Executor::Sombra => on_product(group)?,
        other => on_peer(other, group)?,
    };
    let used_us = cpu_us(UsageWho::RUSAGE_SELF)? - before_us;
    let elapsed = ends.iter().map(|end| end.measured).max().unwrap_or_default();
    let disks = disks.end(elapsed);
    let mut rows = rows_of(executor, group, ends);
    let ios: u64 = rows.iter().map(JobFigures::ios).sum();
    let sum = |count: fn(&DiskUtil) -> u64| disks.iter().map(count).sum();
    for row in &mut rows {
        row.cpu_us_per_io = per(used_us, ios as f64);
        row.device_reads = sum(|disk| disk.read_ios);
        row.device_writes = sum(|disk| disk.write_ios);
    }
    Ok(rows)
}

fn rows_of(executor: Executor, group: &Group, ends: Vec<ThreadEnd>) -> Vec<JobFigures> {
    let mut jobs: Vec<(&JobThread, JobTally, Duration)> = Vec::new();
    for (thread, end) in group.jobs.iter().zip(ends) {
        match jobs.last_mut().filter(|(first, ..)| Arc::ptr_eq(&first.job, &thread.job)) {
            Some((_, tally, elapsed)) => {
                tally.merge(&end.tally);
                *elapsed = (*elapsed).max(end.measured);
            }
            None => jobs.push((thread, end.tally, end.measured)),
        }
    }
    let row = |(thread, tally, elapsed): &(&JobThread, JobTally, Duration)| {
        JobFigures::of(executor.name(), &thread.job.name, tally, *elapsed)
    };
    jobs.iter().map(row).collect()
}

/// The disk tool itself, for one group.
fn on_product(group: &Group) -> Result<Vec<ThreadEnd>, AnyError> {
    let numbered = group.jobs.iter().zip(1..).map(|(thread, thread_number)| {
        Arc::new(JobThread { thread_number, ..JobThread::clone(thread) })
    });
    let plan = Plan { groups: vec![Group { jobs: numbered.collect() }] };
    let request = RunRequest {
        plan: AllowedPlan::check(plan, &[])?,
        global_options: Vec::new(),
        notes: Vec::new(),
        preconditioned: None,
        eta: Eta::Never,
        stop: Stop::new(),
    };
    let outcome = run_plan(request).map_err(|error| error.to_line())?;
    for note in &outcome.environment.driver_notes {
        eprintln!("sombra: {note}");
    }
    let ends = outcome.jobs.into_iter().map(|job| match job.error {
        Some(error) => Err(format!("job '{}': {}", job.job.name, error.text).into()),
        None => Ok(ThreadEnd { tally: job.tally, measured: job.measured }),
    });
    ends.collect()
}

fn on_peer(executor: Executor, group: &Group) -> Result<Vec<ThreadEnd>, AnyError> {
    thread::scope(|scope| {
        let started: Vec<_> = group
            .jobs
            .iter()
            .map(|thread| scope.spawn(move || peers::run(executor, thread)))
            .collect();
        let ends = started.into_iter().map(|thread| {
            let lost = |_| format!("{}: a thread has panicked", executor.name());
            let end = thread.join().map_err(lost)?;
            end.map_err(|error| format!("{}: {error}", executor.name()).into())
        });
        ends.collect()
    })
}
