//! The same job and seed under stock fio, which writes down what it would do: the same mix, sizes
//! and distribution of offsets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;
use crate::disk::job_file::{CommandLine, JobFile, Surroundings};

/// Direction, offset and length of each operation.
type Ios = Vec<(Direction, u64, u64)>;

const SIZE_BYTES: u64 = 16 * MIB;

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What both do with a job of these options, and `size=16m`; `None`: there is no fio here.
fn both(name: &str, options: &str) -> Option<(Ios, Ios)> {
    let dir = std::env::temp_dir().join(format!("sombra-stream-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let scratch = Scratch(dir);
    let text = format!("[job]\nsize=16m\nrandseed=42\n{options}\n");
    let theirs = fios(&scratch.0, &text)?;
    Some((ours(&text), theirs))
}

fn fios(dir: &Path, text: &str) -> Option<Ios> {
    fs::write(dir.join("job.fio"), text).unwrap();
    let mut fio = Command::new("fio");
    fio.args(["--ioengine=null", "--filename=x", "--write_iolog=iolog", "job.fio"]);
    let fio = fio.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match fio {
        Ok(status) => assert!(status.success(), "{text}"),
        Err(error) => {
            println!("skipped: fio: {error}");
            return None;
        }
    }
    let log = fs::read_to_string(dir.join("iolog")).unwrap();
    // `time file action offset length`; of files there is one.
    let io = |line: &str| -> Option<(Direction, u64, u64)> {
        let [_, _, action, offset, len] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let direction = match action {
            "read" => Direction::Read,
            "write" => Direction::Write,
            _ => return None,
        };
        Some((direction, offset.parse().ok()?, len.parse().ok()?))
    };
    Some(log.lines().filter_map(io).collect())
}

fn ours(text: &str) -> Ios {
    let file =
        JobFile::parse(text, "job.fio", &CommandLine::default(), &Surroundings::NONE).unwrap();
    let job = &file.jobs[0];
    let bytes = match job.io_size {
        Some(crate::disk::job::Extent::Bytes(bytes)) => bytes,
        _ => SIZE_BYTES,
    };
    let region = Region { offset: 0, len: SIZE_BYTES };
    let mut stream = Stream::new(job, &[region], bytes, job.rand_seed);
    ios(&std::iter::from_fn(|| stream.next_step(ANY)).collect::<Vec<_>>())
}

fn share_of_reads(ios: &Ios) -> f64 {
    let reads = ios.iter().filter(|io| io.0 == Direction::Read).count();
    reads as f64 / ios.len() as f64
}

/// How often each offset was visited, the most popular first.
fn popularity(ios: &Ios) -> Vec<u64> {
    let mut counts = BTreeMap::new();
    for (_, offset, _) in ios {
        *counts.entry(*offset).or_insert(0) += 1;
    }
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// The share of operations that went to the most popular `count` offsets.
fn share_of_top(ios: &Ios, count: usize) -> f64 {
    popularity(ios).iter().take(count).sum::<u64>() as f64 / ios.len() as f64
}

fn assert_near(ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{ours} here, {theirs} with fio");
}

#[test]
fn stream_of_a_sequential_job_is_the_one_of_fio() {
    for options in
        ["rw=read\nbs=64k", "rw=write\nbs=4k\nio_size=20m", "rw=read:8k\nbs=4k\nio_size=4m"]
    {
        let Some((ours, theirs)) = both("sequential", options) else { return };
        assert_eq!(ours.len(), theirs.len(), "{options}");
        assert_eq!(ours, theirs, "{options}");
    }
}

#[test]
fn stream_mixes_reads_and_writes_as_fio_does() {
    for percent in [10, 50, 70] {
        let options = format!("rw=randrw\nrwmixread={percent}\nbs=4k");
        let Some((ours, theirs)) = both("mix", &options) else { return };
        assert_eq!(ours.len(), theirs.len());
        assert_near(share_of_reads(&ours), share_of_reads(&theirs), 0.03);
        // Each block once, in both.
        assert_eq!(popularity(&ours), popularity(&theirs));
    }
}

#[test]
fn stream_draws_sizes_as_fio_does() {
    let options = "rw=randread\nnorandommap\nbssplit=4k/70:16k/20:64k/10\nio_size=64m";
    let Some((ours, theirs)) = both("sizes", options) else { return };
    for len in [4 << 10, 16 << 10, 64 << 10] {
        let share =
            |ios: &Ios| ios.iter().filter(|io| io.2 == len).count() as f64 / ios.len() as f64;
        assert_near(share(&ours), share(&theirs), 0.03);
    }
}

#[test]
fn stream_draws_popular_blocks_as_fio_does() {
    for (name, distribution) in [
        ("zipf", "zipf:1.2"),
        ("pareto", "pareto:0.2"),
        ("normal", "normal:10"),
        ("random", "random"),
    ] {
        let options = format!(
            "rw=randread\nnorandommap\nbs=4k\nio_size=128m\nrandom_distribution={distribution}"
        );
        let Some((ours, theirs)) = both(name, &options) else { return };
        assert_eq!(ours.len(), theirs.len());
        for count in [1, 10, 100, 1_000] {
            let (ours, theirs) = (share_of_top(&ours, count), share_of_top(&theirs, count));
            println!("{distribution}: top {count}: {ours:.3} here, {theirs:.3} with fio");
            // fio adds up uniform draws, which makes its bell a little narrower than a normal one.
            assert_near(ours, theirs, if name == "normal" { 0.07 } else { 0.05 });
        }
    }
}
