use serde_json::Value;

use crate::disk::job::Mix;
use crate::disk::outcome::JobError;
use crate::disk::output::json::{Detail, render};
use crate::disk::output::testing::{outcome, tally};
use crate::disk::testing::job;

#[test]
fn json_is_laid_out_as_fio_does() {
    let text = render(&outcome(&[(job("a", Mix::Read), 0)]), Detail::Percentiles);
    let version = concat!("{\n  \"fio version\" : \"sombra-", env!("CARGO_PKG_VERSION"), "\",\n");
    assert!(text.starts_with(version), "{text}");
    assert!(text.contains("\n        \"iops\" : 100.000000,\n"), "{text}");
    assert!(text.contains("\n  \"global options\" : {},\n"), "{text}");
    assert!(text.ends_with("\n  }\n}\n"), "{text}");
}

#[test]
fn json_tells_the_figures_of_a_job() {
    let mut job = job("a", Mix::ReadWrite);
    job.fdatasync_every = 8;
    job.options =
        vec![("bs".to_owned(), "4k".to_owned()), ("time_based".to_owned(), String::new())];
    let mut run = outcome(&[(job, 3)]);
    run.jobs[0].error = Some(JobError { errno: 5, text: "read: Input/output error".to_owned() });
    let value: Value = serde_json::from_str(&render(&run, Detail::Bins)).unwrap();
    let job = &value["jobs"][0];
    assert_eq!((&job["groupid"], &job["error"]), (&3.into(), &5.into()));
    assert_eq!(job["job options"], serde_json::json!({ "bs": "4k" }));
    let read = &job["read"];
    assert_eq!(read["io_bytes"], 409_600);
    assert_eq!((&read["bw_bytes"], &read["bw"]), (&409_600.into(), &400.into()));
    assert_eq!((&read["runtime"], &read["total_ios"]), (&1_000.into(), &100.into()));
    assert_eq!((&read["bw_agg"], &read["bw_samples"]), (&100.0.into(), &2.into()));
    assert_eq!(read["clat_ns"]["percentile"]["50.000000"], 125_440);
    let bins = read["clat_ns"]["bins"].as_object().unwrap();
    assert_eq!(bins.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 100);
    assert!(read["lat_ns"].get("bins").is_none());
    assert!(job["trim"]["clat_ns"].get("percentile").is_none());
    assert_eq!(job["sync"]["lat_ns"]["N"], 12);
    assert_eq!(job["usr_cpu"], 4.65);
    assert_eq!(job["iodepth_level"]["4"], 100.0);
    assert_eq!(value["sombra"]["errors"][0][1], "read: Input/output error");
    assert_eq!(value["sombra"]["environment"]["limits"][0], "not measured on NVMe (vda)");
}

#[test]
fn json_merges_the_clones_of_a_reporting_group_only() {
    let mut clones = job("a", Mix::Read);
    clones.numjobs = 3;
    let apart = outcome(&[(clones.clone(), 0)]);
    let value: Value = serde_json::from_str(&render(&apart, Detail::Percentiles)).unwrap();
    assert_eq!(value["jobs"].as_array().unwrap().len(), 3);
    clones.group_reporting = true;
    let together = outcome(&[(clones.clone(), 0), (clones, 1)]);
    let value: Value = serde_json::from_str(&render(&together, Detail::Percentiles)).unwrap();
    let jobs = value["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0]["read"]["total_ios"], 300);
    assert_eq!(jobs[0]["read"]["bw_bytes"], 3 * 409_600);
    assert_eq!((&jobs[0]["job_runtime"], &jobs[0]["ctx"]), (&3_000.into(), &900.into()));
    assert_eq!(jobs[0]["usr_cpu"], 4.65);
}

#[test]
fn json_gives_verification_its_own_time() {
    let mut job = job("a", Mix::Write);
    job.verify = true;
    assert_eq!(tally(&job).operations(), 200);
    let value: Value =
        serde_json::from_str(&render(&outcome(&[(job, 0)]), Detail::Percentiles)).unwrap();
    let job = &value["jobs"][0];
    assert_eq!((&job["read"]["runtime"], &job["write"]["runtime"]), (&1_000.into(), &1_000.into()));
}
