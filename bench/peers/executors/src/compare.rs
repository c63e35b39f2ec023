//! Whether every executor, and fio, does the same with one job file: as many operations, as many
//! bytes.

use sombra_bench::disk::run::lay_out;
use sombra_bench::disk::target::AllowedPlan;

use crate::arguments::{Arguments, Side};
use crate::figures::JobFigures;
use crate::{AnyError, Executor, children, fio, jobs, peers, refusal};

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    if let Some(why) = peers::no_ring() {
        println!("executors: skipped: no ring here: {why}");
        return Ok(());
    }
    let plan = jobs::read(arguments)?;
    for executor in Executor::ALL {
        refusal::check(executor, &plan)?;
    }
    let plan = AllowedPlan::check(plan, &[])?;
    lay_out(&plan).map_err(|error| error.to_line())?;
    let mut sides: Vec<_> = Executor::ALL.map(Side::Executor).into();
    if fio::is_there() {
        sides.push(Side::Fio);
    } else {
        println!("executors: fio is not installed, and left out");
    }
    let mut first: Option<Vec<JobFigures>> = None;
    let mut differences = Vec::new();
    for side in sides {
        let found = children::run(side, &arguments.job_file, &arguments.job_options)?.jobs;
        println!("{}", line(side, &found));
        let expected = first.get_or_insert_with(|| found.clone());
        differences.extend(difference(side, expected, &found));
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ").into()) }
}

fn line(side: Side, jobs: &[JobFigures]) -> String {
    let jobs = jobs.iter().map(|job| {
        let JobFigures { job: name, reads, writes, flushes, bytes, .. } = job;
        format!("{name}: {reads} reads, {writes} writes, {flushes} flushes, {bytes} bytes")
    });
    format!("{}: {}", side.name(), jobs.collect::<Vec<_>>().join("; "))
}

/// The executors have one stream. fio has another that is as long: what it reads and what it writes
/// of a mixed job is its own affair.
fn difference(side: Side, expected: &[JobFigures], found: &[JobFigures]) -> Option<String> {
    let exactly = |job: &JobFigures| (job.job.clone(), job.reads, job.writes, job.bytes);
    let at_all = |job: &JobFigures| (job.job.clone(), job.ios(), 0, job.bytes);
    let of = |jobs: &[JobFigures]| match side {
        Side::Executor(_) => jobs.iter().map(exactly).collect::<Vec<_>>(),
        Side::Fio => jobs.iter().map(at_all).collect(),
    };
    let flushes = |jobs: &[JobFigures]| jobs.iter().map(|job| job.flushes).collect::<Vec<_>>();
    let is_flushed_alike = side == Side::Fio || flushes(expected) == flushes(found);
    let is_same = of(expected) == of(found) && is_flushed_alike;
    (!is_same).then(|| format!("{} does something else", side.name()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(reads: u64, writes: u64) -> JobFigures {
        let report = format!(
            r#"{{"jobs":[{{"jobname":"a","error":0,
            "read":{{"total_ios":{reads},"io_bytes":0,"runtime":1}},
            "write":{{"total_ios":{writes},"io_bytes":9,"runtime":1}}}}]}}"#
        );
        let mut rows = crate::fio::jobs(&report).unwrap();
        assert_eq!(rows[0].elapsed_s, Duration::from_millis(1).as_secs_f64());
        rows.remove(0)
    }

    #[test]
    fn executors_must_agree_in_each_direction_and_fio_in_the_sum() {
        let executor = Side::Executor(Executor::Monoio);
        let expected = [row(3, 4)];
        assert_eq!(difference(executor, &expected, &[row(3, 4)]), None);
        assert!(difference(executor, &expected, &[row(4, 3)]).is_some());
        assert_eq!(difference(Side::Fio, &expected, &[row(4, 3)]), None);
        assert!(difference(Side::Fio, &expected, &[row(4, 4)]).is_some());
        let flushed = JobFigures { flushes: 1, ..row(3, 4) };
        assert!(difference(executor, &expected, &[flushed]).is_some());
    }
}
