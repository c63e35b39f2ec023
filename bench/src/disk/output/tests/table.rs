use crate::disk::job::testing::job;
use crate::disk::job::{BlockSize, ByDirection, Mix};
use crate::disk::outcome::JobError;
use crate::disk::output::table::{render, render_results};
use crate::disk::output::testing::outcome;

/// What fio 3.33 printed for a job like `mix` below.
const FIO: &str = include_str!("fio-3.33-randrw.txt");

#[test]
fn table_is_as_it_was() {
    let mut mix = job("mix", Mix::ReadWrite);
    (mix.pattern.is_random, mix.iodepth, mix.fdatasync_every) = (true, 4, 8);
    mix.description = Some("some words".to_owned());
    let mut clones = job("rd", Mix::Read);
    (clones.numjobs, clones.group_reporting, clones.clat_percentiles) = (2, true, false);
    clones.block = ByDirection::all(BlockSize::Range { min: 4_096, max: 65_536 });
    let mut run = outcome(&[(mix, 0), (clones, 1)]);
    run.skipped.push("later".to_owned());
    run.interrupted = true;
    assert_eq!(render(&run), include_str!("golden.txt"));
}

#[test]
fn table_has_the_lines_of_fio_for_the_same_job() {
    let mut mix = job("mix", Mix::ReadWrite);
    (mix.pattern.is_random, mix.iodepth, mix.fdatasync_every) = (true, 4, 8);
    let mut run = outcome(&[(mix, 0)]);
    run.environment.limits.clear();
    let ours = super::against_fio::shapes(&render(&run));
    assert_eq!(ours, super::against_fio::shapes(FIO));
}

#[test]
fn table_names_the_error_of_a_job_and_its_group_has_no_line() {
    let mut run = outcome(&[(job("a", Mix::Trim), 0)]);
    run.jobs[0].tally = crate::disk::tally::JobTally::new(&run.jobs[0].job);
    run.jobs[0].error = Some(JobError { errno: 25, text: "trim: Inappropriate ioctl".to_owned() });
    let text = render_results(&run);
    let first = "a: (groupid=0, jobs=1): err=25 (trim: Inappropriate ioctl): pid=4000: Thu Nov 26";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("\nRun status group 0 (all jobs):\n\nDisk stats"), "{text}");
}

#[test]
fn table_tells_percentiles_of_the_kinds_that_are_asked_for() {
    let mut job = job("a", Mix::Write);
    (job.slat_percentiles, job.clat_percentiles, job.lat_percentiles) = (true, false, true);
    job.percentiles = vec![50.0, 99.0];
    let text = render_results(&outcome(&[(job, 0)]));
    let slat = "    slat percentiles (nsec):\n     |  50th=[ 3504],  99th=[ 3984]\n";
    assert!(text.contains(slat), "{text}");
    let lat = "    lat percentiles (usec):\n     |  50th=[  129],  99th=[  153]\n";
    assert!(text.contains(lat), "{text}");
    assert!(!text.contains("clat percentiles"), "{text}");
}
