use crate::disk::environment::DeviceFacts;
use crate::disk::job::{BlockSize, ByDirection, Job, Mix};
use crate::disk::outcome::{JobError, RunOutcome};
use crate::disk::output::table::{render_head, render_results};
use crate::disk::output::testing::outcome;
use crate::disk::output::{Format, Head};
use crate::disk::testing::job;

/// What fio 3.33 printed for jobs like those of `table_has_the_lines_of_fio_for_the_same_jobs`.
const FIO: &str = include_str!("fio-3.33.txt");

/// The whole text of a run of these jobs.
fn whole(jobs: &[(Job, u32)], run: &RunOutcome) -> String {
    let head = |(job, group_id): &'_ (Job, u32)| (job.clone(), *group_id, job.numjobs);
    let jobs: Vec<_> = jobs.iter().map(head).collect();
    let heads = jobs.iter().map(|(job, group_id, clones)| Head {
        job,
        group_id: *group_id,
        clones: *clones,
    });
    let head = render_head(&heads.collect::<Vec<_>>());
    head + &super::super::render_results(run, &[Format::Normal])
}

#[test]
fn table_is_as_it_was() {
    let mut mix = job("mix", Mix::ReadWrite);
    (mix.pattern.is_random, mix.iodepth, mix.fdatasync_every) = (true, 4, 8);
    mix.description = Some("some words".to_owned());
    let mut clones = job("rd", Mix::Read);
    (clones.numjobs, clones.group_reporting, clones.clat_percentiles) = (2, true, false);
    clones.block = ByDirection::all(BlockSize::Range { min: 4_096, max: 65_536 });
    let jobs = [(mix, 0), (clones, 1)];
    let mut run = outcome(&jobs);
    run.skipped.push("later".to_owned());
    run.interrupted = true;
    assert_eq!(whole(&jobs, &run), include_str!("golden.txt"));
}

#[test]
fn table_has_the_lines_of_fio_for_the_same_jobs() {
    let mut mix = job("mix", Mix::ReadWrite);
    (mix.pattern.is_random, mix.iodepth, mix.fdatasync_every) = (true, 4, 8);
    let mut clones = job("rd", Mix::Read);
    (clones.pattern.is_random, clones.iodepth) = (true, 4);
    (clones.numjobs, clones.group_reporting) = (2, true);
    let jobs = [(mix, 0), (clones, 1)];
    let mut run = outcome(&jobs);
    run.environment.limits.clear();
    let ours = super::against_fio::shapes(&whole(&jobs, &run));
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

#[test]
fn formats_are_a_list_and_json_comes_first() {
    let formats = Format::parse_list("normal,json+").unwrap();
    assert_eq!(formats, [Format::Normal, Format::JsonPlus]);
    assert_eq!(Format::parse_list("json,terse"), Err("terse".to_owned()));
    let run = outcome(&[(job("a", Mix::Read), 0)]);
    let text = super::super::render_results(&run, &formats);
    assert!(text.starts_with("{\n") && text.contains("\n}\n\na: (groupid=0"), "{text}");
    assert!(text.contains("\"bins\""));
    let text = super::super::render_results(&run, &[Format::Json]);
    assert!(text.ends_with("}\n") && !text.contains("\"bins\""));
}

#[test]
fn table_ends_with_the_environment_of_the_run() {
    let mut run = outcome(&[(job("a", Mix::Read), 0)]);
    run.environment.kernel = "Linux 6.18.5".to_owned();
    (run.environment.cpus, run.environment.governor) = (2, "not exposed".to_owned());
    run.environment.devices = vec![DeviceFacts {
        name: "vda".to_owned(),
        model: "Disk".to_owned(),
        write_cache: "write back".to_owned(),
        has_fua: Some(false),
        scheduler: "[none]".to_owned(),
        filesystem: "ext4".to_owned(),
        mount_options: "rw,relatime".to_owned(),
        ..DeviceFacts::default()
    }];
    let text = render_results(&run);
    let device = "  vda: model Disk, write cache write back, FUA no, scheduler [none], rotational \
                  not exposed, poll queues not exposed, ext4 (rw,relatime)\n";
    assert!(text.contains("\nEnvironment:\n  Linux 6.18.5, 2 CPUs"), "{text}");
    assert!(text.contains(device), "{text}");
}
