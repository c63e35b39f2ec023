use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::disk::job::{Job, Mix};
use crate::disk::output::logs::{notes, write};
use crate::disk::output::testing::{STARTED_WALL_MS, outcome};
use crate::disk::testing::job;

#[derive(Clone, Default)]
struct File(Rc<RefCell<Vec<u8>>>);

impl io::Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every file that the jobs' logs give, by name.
fn files(jobs: &[(Job, u32)]) -> BTreeMap<String, String> {
    let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
    let create = |path: &PathBuf| Ok(files.entry(path.clone()).or_default().clone());
    let run = outcome(jobs);
    write(&run, create).unwrap();
    assert_eq!(notes(&run), [""; 0]);
    let text = |file: &File| String::from_utf8(file.0.borrow().clone()).unwrap();
    files.iter().map(|(path, file)| (path.display().to_string(), text(file))).collect()
}

fn logging(mix: Mix) -> Job {
    let mut job = job("a", mix);
    job.logs.bandwidth = Some("out/a".to_owned());
    job.logs.latency = Some("out/a".to_owned());
    job.logs.iops = Some("out/a".to_owned());
    job
}

#[test]
fn logs_are_five_files_for_each_clone_with_fios_columns() {
    let mut job = logging(Mix::Write);
    job.numjobs = 2;
    let files = files(&[(job, 0)]);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let kinds = ["bw", "clat", "iops", "lat", "slat"];
    let expected: Vec<String> =
        kinds.iter().flat_map(|kind| [1, 2].map(|n| format!("out/a_{kind}.{n}.log"))).collect();
    assert_eq!(names, expected);
    let first = |kind: &str| files[&format!("out/a_{kind}.1.log")].lines().next().unwrap();
    assert_eq!(first("slat"), "10, 3010, 1, 4096, 0");
    assert_eq!(first("clat"), "10, 100500, 1, 4096, 0");
    assert_eq!(first("lat"), "10, 103510, 1, 4096, 0");
    assert_eq!(first("bw"), "10, 39800, 1, 4096, 0");
    assert_eq!(first("iops"), "10, 1, 1, 4096, 0");
    assert_eq!(files["out/a_lat.2.log"].lines().count(), 100);
}

#[test]
fn logs_of_all_clones_share_a_file_where_asked_and_carry_offsets() {
    let mut job = logging(Mix::ReadWrite);
    job.numjobs = 2;
    job.logs.per_job = false;
    job.logs.with_offset = true;
    let files = files(&[(job, 0)]);
    assert_eq!(files.len(), 5);
    let lat = &files["out/a_lat.log"];
    assert_eq!(lat.lines().count(), 400);
    let second = lat.lines().nth(1).unwrap();
    assert_eq!(second, "10, 103510, 1, 4096, 4096, 0");
}

#[test]
fn logs_of_averages_have_neither_size_nor_offset_and_may_count_from_1970() {
    let mut job = logging(Mix::Read);
    job.logs.average_ms = 500;
    job.logs.with_offset = true;
    let averaged = files(&[(job.clone(), 0)]);
    assert_eq!(averaged["out/a_iops.1.log"], "500, 100, 0, 0, 0, 0\n1000, 100, 0, 0, 0, 0\n");
    assert_eq!(averaged["out/a_bw.1.log"], "500, 400, 0, 0, 0, 0\n1000, 400, 0, 0, 0, 0\n");
    job.logs.unix_epoch = true;
    let since_1970 = files(&[(job, 0)]);
    let expected = format!("{}, 112750, 0, 0, 0, 0", STARTED_WALL_MS + 500);
    assert_eq!(since_1970["out/a_clat.1.log"].lines().next().unwrap(), expected);
}

#[test]
fn logs_end_at_the_first_file_that_cannot_be_written() {
    let failing = |_: &PathBuf| Err::<File, _>(io::Error::from(io::ErrorKind::PermissionDenied));
    let error = write(&outcome(&[(logging(Mix::Read), 0)]), failing).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}
