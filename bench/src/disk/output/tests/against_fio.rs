//! Runs the installed fio, if there is one, and compares what it and this crate print.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::disk::job::{Direction, Engine, Job, Mix};
use crate::disk::output::json::{Detail, render};
use crate::disk::output::table::render_results;
use crate::disk::output::testing::outcome;
use crate::disk::tally::{Buckets, IoDone, JobTally};
use crate::disk::testing::job;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sombra-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// fio's `json+` of a job file, or why there is none.
fn fio(dir: &Path, job_file: &str) -> Result<Value, String> {
    fio_with_text(dir, job_file).map(|(value, _)| value)
}

/// The same, and the text output of the same run.
fn fio_with_text(dir: &Path, job_file: &str) -> Result<(Value, String), String> {
    fs::write(dir.join("job.fio"), job_file).unwrap();
    let output = Command::new("fio")
        .args(["--output=out.json", "--output-format=normal,json+", "job.fio"])
        .current_dir(dir)
        .output()
        .map_err(|error| format!("fio: {error}"))?;
    if !output.status.success() {
        return Err(format!("fio: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = fs::read_to_string(dir.join("out.json")).map_err(|error| error.to_string())?;
    let (begin, end) = (text.find("{\n"), text.find("\n}\n"));
    let (begin, end) = begin.zip(end).ok_or_else(|| format!("fio: no JSON in {text}"))?;
    let value = serde_json::from_str(&text[begin..end + 2]).map_err(|error| error.to_string())?;
    Ok((value, text[end + 2..].to_owned()))
}

/// The paths of all keys; what lies below `bins` and `percentile` differs from run to run.
fn keys(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{path}/{key}");
                if key != "bins" && key != "percentile" {
                    keys(value, &path, into);
                }
                into.insert(path);
            }
        }
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(number, item)| keys(item, &format!("{path}/{number}"), into));
        }
        _ => {}
    }
}

fn assert_same_keys(name: &str, job_file: &str, jobs: &[Job], groups: &[u32]) {
    let scratch = Scratch::new(name);
    let theirs = match fio(&scratch.0, job_file) {
        Ok(value) => value,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let jobs: Vec<_> = jobs.iter().cloned().zip(groups.iter().copied()).collect();
    let mut run = outcome(&jobs);
    run.global_options = pairs(&theirs["global options"]);
    for outcome in &mut run.jobs {
        let mut job = (*outcome.job).clone();
        let mut listed = theirs["jobs"].as_array().unwrap().iter();
        let same = listed.find(|listed| listed["jobname"] == *job.name).unwrap();
        job.options = pairs(&same["job options"]);
        outcome.job = job.into();
    }
    run.disk_util.truncate(theirs["disk_util"].as_array().map_or(0, Vec::len));
    let ours: Value = serde_json::from_str(&render(&run, Detail::Bins)).unwrap();
    let (mut expected, mut found) = (BTreeSet::new(), BTreeSet::new());
    keys(&theirs, "", &mut expected);
    keys(&ours, "", &mut found);
    found.retain(|path| path == "/sombra" || !path.starts_with("/sombra"));
    expected.insert("/sombra".to_owned());
    let only_fio: Vec<_> = expected.difference(&found).collect();
    let only_us: Vec<_> = found.difference(&expected).collect();
    assert!(only_fio.is_empty() && only_us.is_empty(), "fio: {only_fio:?}, we: {only_us:?}");
}

fn pairs(options: &Value) -> Vec<(String, String)> {
    let options = options.as_object().unwrap().iter();
    options.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

const GLOBAL: &str = "[global]\nsize=256k\nioengine=psync\n";

fn psync(name: &str, mix: Mix) -> Job {
    Job { engine: Engine::Psync, ..job(name, mix) }
}

#[test]
fn json_keys_are_fios_for_random_reads() {
    let file = format!("{GLOBAL}[r]\nrw=randread\ndescription=some words\ntime_based=0\n");
    let mut job = psync("r", Mix::Read);
    job.description = Some("some words".to_owned());
    assert_same_keys("keys-randread", &file, &[job], &[0]);
}

#[test]
fn json_keys_are_fios_for_a_mix_with_flushes() {
    let file = format!("{GLOBAL}[m]\nrw=randrw\nfdatasync=4\n[f]\nstonewall\nrw=write\nfsync=8\n");
    let mut mix = psync("m", Mix::ReadWrite);
    mix.fdatasync_every = 4;
    let mut flushed = psync("f", Mix::Write);
    flushed.fsync_every = 8;
    assert_same_keys("keys-flushes", &file, &[mix, flushed], &[0, 1]);
}

#[test]
fn json_keys_are_fios_for_verification() {
    let file = format!("{GLOBAL}[v]\nrw=write\nverify=crc32c\n");
    let mut job = psync("v", Mix::Write);
    job.verify = true;
    assert_same_keys("keys-verify", &file, &[job], &[0]);
}

#[test]
fn json_keys_are_fios_for_a_group_that_reports_together() {
    let file = format!("{GLOBAL}[g]\nrw=read\nnumjobs=3\ngroup_reporting\n[h]\nrw=write\n");
    let mut job = psync("g", Mix::Read);
    (job.numjobs, job.group_reporting) = (3, true);
    let mut apart = psync("h", Mix::Write);
    apart.group_reporting = false;
    assert_same_keys("keys-group", &file, &[job, apart], &[0, 0]);
}

#[test]
fn json_keys_are_fios_for_every_choice_of_percentiles() {
    let choice = |kinds: [u8; 3]| {
        let [slat, clat, lat] = kinds;
        format!("slat_percentiles={slat}\nclat_percentiles={clat}\nlat_percentiles={lat}\n")
    };
    for kinds in [[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]] {
        let file = format!(
            "[global]\nsize=256k\nioengine=null\n[p]\nrw=randrw\nfsync=4\niodepth=4\n{}",
            choice(kinds)
        );
        let mut job = Job { engine: Engine::Null, iodepth: 4, ..job("p", Mix::ReadWrite) };
        job.fsync_every = 4;
        (job.slat_percentiles, job.clat_percentiles) = (kinds[0] == 1, kinds[1] == 1);
        job.lat_percentiles = kinds[2] == 1;
        assert_same_keys("keys-percentiles", &file, &[job], &[0]);
    }
}

#[test]
fn buckets_have_every_bin_that_fio_prints() {
    let scratch = Scratch::new("bins");
    let file = format!("{GLOBAL}[b]\nrw=randrw\nfdatasync=2\nsize=1m\nlat_percentiles=1\n");
    let value = match fio(&scratch.0, &file) {
        Ok(value) => value,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let job = &value["jobs"][0];
    let latencies = ["/read/clat_ns", "/read/lat_ns", "/write/clat_ns", "/sync/lat_ns"];
    for latency in latencies.map(|path| job.pointer(path).unwrap()) {
        let bins = latency["bins"].as_object().unwrap();
        assert!(!bins.is_empty());
        for bin in bins.keys() {
            let mut buckets = Buckets::default();
            let middle = bin.parse().unwrap();
            buckets.add(middle);
            assert_eq!(buckets.filled().next(), Some((middle, 1)));
        }
    }
}

/// Equal, up to the last decimal that is printed: fio sums in floating point.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Number(left), Value::Number(right)) if left.is_f64() => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            (left - right).abs() <= 2e-6
        }
        _ => left == right,
    }
}

/// The lines of completion latencies, in all their forms.
fn latency_lines(text: &str) -> Vec<&str> {
    let told = ["    clat", "     |", "  lat ("];
    text.lines().filter(|line| told.iter().any(|start| line.starts_with(start))).collect()
}

/// fio's own log of each completion, counted by us, gives what fio itself says of them.
#[test]
fn figures_are_fios_for_the_same_latencies() {
    let scratch = Scratch::new("figures");
    let file = format!("{GLOBAL}[l]\nrw=randrw\nsize=2m\nwrite_lat_log=l\n");
    let (value, text) = match fio_with_text(&scratch.0, &file) {
        Ok(both) => both,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let job = psync("l", Mix::ReadWrite);
    let mut tally = JobTally::new(&job);
    let log = fs::read_to_string(scratch.0.join("l_clat.1.log")).unwrap();
    for line in log.lines() {
        let columns: Vec<u64> = line.split(", ").map(|column| column.parse().unwrap()).collect();
        tally.io(&IoDone {
            direction: Direction::ALL[columns[2] as usize],
            offset: 0,
            bytes: columns[3],
            queued_ns: 0,
            submitted_ns: 0,
            completed_ns: columns[1],
            is_short: false,
        });
    }
    let mut run = outcome(&[(job, 0)]);
    run.jobs[0].tally = tally;
    let ours: Value = serde_json::from_str(&render(&run, Detail::Bins)).unwrap();
    let (ours, theirs) = (&ours["jobs"][0], &value["jobs"][0]);
    for path in ["/read/clat_ns", "/write/clat_ns", "/latency_ns", "/latency_us", "/latency_ms"] {
        let (ours, theirs) = (ours.pointer(path).unwrap(), theirs.pointer(path).unwrap());
        assert!(is_same(ours, theirs), "{path}: {ours} and {theirs}");
    }
    assert_eq!(ours["read"]["io_bytes"], theirs["read"]["io_bytes"]);
    assert_eq!(ours["write"]["total_ios"], theirs["write"]["total_ios"]);
    assert_eq!(latency_lines(&render_results(&run)), latency_lines(&text));
}

#[test]
fn json_plus_is_taken_by_fios_own_converter() {
    let converter = "/usr/bin/fio_jsonplus_clat2csv";
    if !Path::new(converter).exists() {
        return eprintln!("skipped: no {converter}");
    }
    if !Command::new("python3").args(["-c", "import six"]).status().is_ok_and(|s| s.success()) {
        return eprintln!("skipped: no python3 with six");
    }
    let scratch = Scratch::new("clat2csv");
    let mut all = job("a", Mix::ReadWrite);
    (all.slat_percentiles, all.lat_percentiles) = (true, true);
    let text = render(&outcome(&[(all, 0), (job("b", Mix::Write), 1)]), Detail::Bins);
    fs::write(scratch.0.join("run.json"), text).unwrap();
    for check in [None, Some("--validate")] {
        let output = Command::new("python3")
            .args([converter, "run.json", "run.csv"])
            .args(check)
            .current_dir(&scratch.0)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed.matches("validated").count(), 2 * check.iter().count(), "{printed}");
    }
    let csv = fs::read_to_string(scratch.0.join("run_job0.csv")).unwrap();
    assert!(csv.lines().any(|line| line.starts_with("125440,")), "{csv}");
}

/// The lines of a text output with every number, name of a unit and time of day made alike, so
/// that what is left is the form. A distribution is as long as its latencies are spread.
pub(super) fn shapes(text: &str) -> Vec<String> {
    let mut shapes: Vec<String> = text.lines().map(shape).collect();
    shapes.dedup();
    shapes
}

fn shape(line: &str) -> String {
    if line.starts_with("fio-") || line.starts_with("sombra disk run") {
        return "version".to_owned();
    }
    if line.starts_with("  lat (") {
        return "  lat (unit)   :".to_owned();
    }
    let line = line.split(": Thu ").next().unwrap_or(line);
    let line = line.replace("processes", "threads");
    let words = line.split_inclusive(|c: char| " ,()=[]|/-:".contains(c));
    let shaped = words.map(|word| {
        let end = word.len() - usize::from(word.ends_with(|c: char| " ,()=[]|/-:".contains(c)));
        let (word, mark) = word.split_at(end);
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let is_unit = ["nsec", "usec", "msec"].contains(&word);
        let word = if is_number {
            "#"
        } else if is_unit {
            "unit"
        } else {
            word
        };
        format!("{word}{mark}")
    });
    let mut shape = shaped.collect::<String>();
    while let Some(shorter) =
        Some(shape.replace("= ", "=").replace("[ ", "[")).filter(|s| *s != shape)
    {
        shape = shorter;
    }
    shape
}
