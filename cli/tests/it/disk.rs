use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Scratch, command, fail, names, run, succeed};

/// Runs `disk run` on a job file of this text, in the scratch directory.
fn disk_run(scratch: &Scratch, text: &str, options: &[&str]) -> Output {
    fs::write(scratch.path().join("job.fio"), text).unwrap();
    let directory = format!("--directory={}", scratch.path().display());
    let mut arguments = vec!["disk", "run", directory.as_str()];
    arguments.extend(options);
    arguments.push("job.fio");
    command(&arguments).current_dir(scratch.path()).output().unwrap()
}

fn text_of(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&text_of(output)).unwrap()
}

const TWO_JOBS: &str = "[global]\nsize=1m\nbs=4k\nioengine=io_uring\niodepth=8\n\
     [w]\nrw=write\nfdatasync=64\nverify=crc32c\n[r]\nstonewall\nrw=randread\nnumjobs=2\n\
     group_reporting\n";

#[test]
fn disk_run_does_what_the_job_file_says_and_reports_as_fio() {
    let scratch = Scratch::new();
    let text = text_of(&disk_run(&scratch, TWO_JOBS, &[]));
    names(&text, &["w: (g=0): rw=write", "Starting 3 threads", "r: (groupid=1, jobs=2): err= 0"]);
    names(&text, &["Run status group 0", "Environment:", "preconditioning not stated"]);
    for file in ["w.0.0", "r.0.0", "r.1.0"] {
        assert_eq!(fs::metadata(scratch.path().join(file)).unwrap().len(), 1 << 20, "{file}");
    }
    let report = json_of(&disk_run(&scratch, TWO_JOBS, &["--output-format=json", "--lenient"]));
    assert_eq!(report["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(report["jobs"][0]["write"]["total_ios"], 256);
    assert_eq!(report["jobs"][0]["read"]["total_ios"], 256, "what was written is read back");
    assert_eq!(report["jobs"][0]["sync"]["total_ios"], 4);
    assert_eq!(report["jobs"][1]["read"]["io_bytes"], 2 << 20);
    assert_eq!(report["global options"]["bs"], "4k");
    assert_eq!(report["sombra"]["interrupted"], false);
}

#[test]
fn disk_run_runs_each_engine() {
    let scratch = Scratch::new();
    for (engine, direct) in [("io_uring", 0), ("psync", 0), ("psync", 1), ("null", 0)] {
        let job = format!("[j]\nrw=randrw\nsize=1m\nioengine={engine}\ndirect={direct}\n");
        let report = json_of(&disk_run(&scratch, &job, &["--output-format=json"]));
        let job = &report["jobs"][0];
        let count = |direction: &str| job[direction]["total_ios"].as_u64().unwrap();
        assert_eq!(count("read") + count("write"), 256, "{engine}");
        assert_eq!(job["error"], 0);
    }
}

#[test]
fn disk_run_counts_what_the_kernel_gave_to_its_workers_or_says_why_not() {
    let scratch = Scratch::new();
    // A buffered flush through a ring always goes to a worker.
    let job = "[j]\nrw=write\nsize=1m\nbs=64k\nioengine=io_uring\nfdatasync=1\n";
    let report = json_of(&disk_run(&scratch, job, &["--output-format=json"]));
    let punts = &report["sombra"]["io_uring_punts"];
    match punts["counted"].as_u64() {
        Some(count) => assert!(count >= 16, "{punts}"),
        None => println!("skipped: {}", punts["skipped"].as_str().unwrap()),
    }
}

#[test]
fn disk_run_takes_jobs_and_options_from_the_command_line() {
    let scratch = Scratch::new();
    let output = disk_run(&scratch, "[a]\nsize=1m\n", &["--bs=64k", "--output-format=json+"]);
    let report = json_of(&output);
    assert_eq!(report["jobs"][0]["read"]["total_ios"], 16);
    assert!(report["jobs"][0]["read"]["clat_ns"]["bins"].is_object());
    let file = format!("--filename={}", scratch.join("data"));
    let alone = succeed(&["disk", "run", "--name=x", &file, "--size=64k", "--output-format=json"]);
    let report: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(report["jobs"][0]["jobname"], "x");
}

#[test]
fn disk_run_prints_its_plan_and_touches_nothing() {
    let scratch = Scratch::new();
    let plan = text_of(&disk_run(&scratch, TWO_JOBS, &["--dry-run"]));
    names(&plan, &["w: sequential writes", "r (clone 1 of 2): random reads", "w.0.0"]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "only the job file is there");
}

#[test]
fn disk_run_tells_every_mistake_of_a_file_with_its_line() {
    let scratch = Scratch::new();
    let output = disk_run(&scratch, "[a]\nsize=1m\niodeph=4\nrw=sideways\n", &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    names(&told, &["job.fio:3: ", "did you mean 'iodepth'?", "job.fio:4: ", "'sideways'"]);
    names(&told, &["the job file has 2 errors"]);
    let missing = fail(2, &["disk", "run"]);
    names(&missing, &["expected a job file"]);
    let format = fail(2, &["disk", "run", "--output-format=xml", "x.fio"]);
    names(&format, &["expected a list of normal, json and json+, found 'xml'"]);
}

#[test]
fn disk_run_writes_log_files_where_it_stands() {
    let scratch = Scratch::new();
    let job = "[l]\nsize=64k\nrw=write\nwrite_lat_log=run\nwrite_bw_log=run\n";
    text_of(&disk_run(&scratch, job, &[]));
    for log in ["run_lat.1.log", "run_clat.1.log", "run_bw.1.log"] {
        let text = fs::read_to_string(scratch.path().join(log)).unwrap();
        assert_eq!(text.lines().count(), 16, "{log}");
        assert!(text.lines().all(|line| line.split(", ").nth(2) == Some("1")), "{log}: writes");
    }
}

#[test]
fn disk_run_keeps_its_hands_off_a_store() {
    let scratch = Scratch::new();
    let store = scratch.store();
    succeed(&["kv", "put", "--create", &store, "k", "a", "1"]);
    let before = fs::read(format!("{store}/superblock")).unwrap();
    let filename = format!("--filename={store}/superblock");
    let output = run(&["disk", "run", "--name=x", "--rw=write", &filename, "--size=4k"]);
    assert_eq!(output.status.code(), Some(1));
    names(&String::from_utf8_lossy(&output.stderr), &["expected no store of Sombra"]);
    assert_eq!(fs::read(format!("{store}/superblock")).unwrap(), before);
    // A job that reads would make a file longer that is too short for it.
    let pages = format!("--filename={store}/pages.sombra");
    let output = run(&["disk", "run", "--name=x", "--rw=read", &pages, "--size=1g"]);
    names(&String::from_utf8_lossy(&output.stderr), &["expected no store of Sombra"]);
    let named = fail(
        2,
        &["disk", "run", "--name=x", "--rw=read", &filename, "--destroy-data", "/dev/nothing"],
    );
    names(&named, &["--destroy-data: expected the name of a device", "/dev/nothing"]);
}

#[test]
fn disk_run_touches_nothing_but_files_and_block_devices() {
    let refused = fail(1, &["disk", "run", "--name=x", "--filename=/dev/zero", "--size=1m"]);
    names(&refused, &["/dev/zero: expected a regular file or a block device, found a character"]);
    succeed(&["disk", "run", "--name=x", "--ioengine=null", "--size=1m", "--unlink=1"]);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn disk_run_writes_one_device_from_several_jobs() {
    let scratch = Scratch::new();
    let Some(device) = Loop::of(&scratch) else { return };
    let name = format!("--filename={}", device.0);
    let job = ["disk", "run", "--name=x", "--rw=randwrite", "--size=1m", "--numjobs=3"];
    let mut arguments = job.to_vec();
    arguments.extend([name.as_str(), "--output-format=json", "--group_reporting"]);
    let report: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    assert_eq!(report["jobs"][0]["write"]["total_ios"], 3 * 256);
}

/// A loop device over a file of the scratch directory; none where nobody may make one.
struct Loop(String);

impl Loop {
    fn of(scratch: &Scratch) -> Option<Loop> {
        let image = scratch.join("image");
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let made = Command::new("losetup").args(["-f", "--show", &image]).output();
        match made {
            Ok(made) if made.status.success() => {
                Some(Loop(String::from_utf8(made.stdout).unwrap().trim().to_owned()))
            }
            _ => {
                println!("skipped: no loop device can be made here");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn disk_run_reports_what_it_measured_when_it_is_interrupted() {
    let scratch = Scratch::new();
    let job = "[a]\nsize=1m\nrw=randread\ntime_based\nruntime=600\n[b]\nstonewall\nsize=1m\n";
    fs::write(scratch.path().join("job.fio"), job).unwrap();
    let arguments = ["disk", "run", "--output-format=json", "job.fio"];
    let child = command(&arguments).current_dir(scratch.path()).spawn().unwrap();
    while !scratch.path().join("b.0.0").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["jobs"][0]["read"]["total_ios"].as_u64().unwrap() > 0);
    assert_eq!(report["sombra"]["interrupted"], true);
    assert_eq!(report["sombra"]["skipped"][0], "b");
}

#[test]
fn disk_run_names_a_job_that_failed_and_reports_the_others() {
    let scratch = Scratch::new();
    let job = "[good]\nsize=64k\n[bad]\nstonewall\nsize=64k\nrw=read\nverify=crc32c\n";
    let output = disk_run(&scratch, job, &["--output-format=json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    names(&told, &["sombra: job 'bad': ", "verify: expected a header"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["jobs"][0]["read"]["total_ios"], 16);
    assert_eq!(report["jobs"][1]["error"], 84);
}

#[test]
fn wal_check_gives_one_answer_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let directory = scratch.path().to_str().unwrap();
    let output = run(&["disk", "wal-check", "--json", directory]);
    let check: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = check["verdict"].as_str().unwrap();
    let code = if verdict == "FAIL" { 3 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{check}");
    assert!(["PASS", "WARN", "FAIL"].contains(&verdict) && !check["reasons"][0].is_null());
    assert!(check["etcd"]["count"].as_u64().unwrap() > 0);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    names(&fail(2, &["disk", "wal-check", "/nowhere"]), &["expected a directory"]);
}
