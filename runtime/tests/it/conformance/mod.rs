//! One script of file operations on the simulated disk and on both real drivers: the transcripts
//! must be equal. Where the kernel and the simulation differ, the simulation is wrong.
//!
//! Differences that stay, because no promise rests on them:
//! - the length of a directory is the file system's own affair, and is left out;
//! - `DiskInfo` describes a machine: only that it makes sense is compared;
//! - an error is compared by its kind, and by its number where it has no kind; texts are not;
//! - direct I/O on a part of a block is always refused here; a real file system serves it where
//!   it has nothing to transfer (holes, beyond the end) and may write a part before it refuses, so
//!   it is compared on written blocks only;
//! - links, block devices, polling and paths with `..` exist on real machines only; opening a
//!   directory as a file for reading works there and does not here.

mod fixed;
mod random;
mod script;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sombra_runtime::sim::{DiskOp, Fault, SimDisk, SimDiskOptions, SimOptions, SimWorld};
use sombra_runtime::{DriverChoice, Runtime, StartError, TaskClass, TaskSpec};

use crate::harness::{SHARD_0, Scratch, on_shard, options};
use script::{Step, transcript};

const STEPS_MAX: u64 = 10_000_000;
const SEEDS: std::ops::Range<u64> = 0..5;
const RANDOM_STEPS: usize = 300;

fn simulated(steps: &[Step], seed: u64, prepare: impl FnOnce(&SimDisk)) -> Vec<String> {
    // Short and slow operations must not show.
    let options = SimDiskOptions { short_io_one_in: 4, ..SimDiskOptions::new(seed) };
    let disk = SimDisk::new(options);
    disk.create_dir("/root");
    prepare(&disk);
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk));
    let result = Arc::new(Mutex::new(None));
    let (steps, slot) = (steps.to_vec(), Arc::clone(&result));
    world.runtime().run_on(SHARD_0, move |shard| {
        let inner = shard.clone();
        shard.spawn(TaskSpec::new("script", TaskClass::Foreground), async move {
            let lines = transcript(&inner, Path::new("/root"), &steps).await;
            *slot.lock().unwrap() = Some(lines);
        });
    });
    world.run(STEPS_MAX, || result.lock().unwrap().is_some());
    let lines = result.lock().unwrap().take();
    lines.unwrap_or_else(|| panic!("the script did not end: {}", world.describe()))
}

/// `None`, and says so, where the host refuses the driver.
fn real(steps: &[Step], choice: DriverChoice, root: PathBuf) -> Option<Vec<String>> {
    let runtime = match Runtime::start(options(choice)) {
        Err(StartError::Ring { reason, .. }) => {
            eprintln!("conformance: SKIPPED on {choice:?}: {reason}");
            return None;
        }
        started => started.unwrap(),
    };
    std::fs::create_dir(&root).unwrap();
    let steps = steps.to_vec();
    let lines =
        on_shard(
            &runtime,
            SHARD_0,
            move |shard| async move { transcript(&shard, &root, &steps).await },
        );
    assert!(runtime.shutdown().is_clean());
    Some(lines)
}

/// The lines in which two transcripts differ; one difference may draw others after it.
fn difference(left: &[String], right: &[String]) -> Option<String> {
    const SHOWN_MAX: usize = 12;
    let end = "the end".to_owned();
    let count = left.len().max(right.len());
    let pairs = (0..count).map(|at| (left.get(at).unwrap_or(&end), right.get(at).unwrap_or(&end)));
    let differing = pairs.filter(|(left, right)| left != right);
    let shown: Vec<_> =
        differing.take(SHOWN_MAX).map(|(left, right)| format!("{left}\n{right}\n")).collect();
    (!shown.is_empty()).then(|| shown.join("\n"))
}

fn compare_everywhere(name: &str, steps: &[Step], seed: u64) {
    let scratch = Scratch::new(name);
    let simulation = simulated(steps, seed, |_| {});
    for choice in [DriverChoice::Threads, DriverChoice::Uring] {
        if let Some(lines) = real(steps, choice, scratch.path(&format!("{choice:?}"))) {
            let differs = difference(&simulation, &lines);
            if let Some(lines) = differs {
                panic!("seed {seed}: the simulation and {choice:?} differ:\n{lines}");
            }
        }
    }
}

#[test]
fn simulated_and_real_disks_answer_one_script_alike() {
    compare_everywhere("conformance_fixed", &fixed::script(), 1);
}

#[test]
fn simulated_and_real_disks_answer_random_scripts_alike() {
    for seed in SEEDS {
        compare_everywhere("conformance_random", &random::script(seed, RANDOM_STEPS), seed);
    }
}

/// The comparison can fail: a silent fault of the simulated disk shows in its transcript.
#[test]
fn transcript_of_a_disk_with_a_fault_differs() {
    let steps = fixed::script();
    let honest = simulated(&steps, 1, |_| {});
    assert_eq!(difference(&honest, &simulated(&steps, 2, |_| {})), None, "no seed shows");
    for (on, fault) in [
        (DiskOp::Write, Fault::LostWrite),
        (DiskOp::Write, Fault::MisdirectedWrite { by_bytes: 4096 }),
        (DiskOp::Read, Fault::MisdirectedRead { by_bytes: 4096 }),
        (DiskOp::Flush, Fault::Errno(libc::EIO)),
        (DiskOp::Path, Fault::Errno(libc::EIO)),
    ] {
        let faulty = simulated(&steps, 1, |disk| disk.plan_from(on, Some("root"), 2, fault));
        assert!(difference(&honest, &faulty).is_some(), "{fault:?} of {on:?} shows nowhere");
    }
    assert!(difference(&honest, &honest[1..]).is_some());
    assert!(difference(&honest, &honest[..honest.len() - 1]).is_some());
}

/// The scripts do what they are for: most kinds of outcome occur in the fixed one.
#[test]
fn fixed_script_reaches_successes_and_every_error_of_interest() {
    let lines = simulated(&fixed::script(), 1, |_| {}).join("\n");
    for kind in [
        "NotFound",
        "AlreadyExists",
        "InvalidInput",
        "NotADirectory",
        "IsADirectory",
        "DirectoryNotEmpty",
        "WouldBlock",
        "InvalidFilename",
        "Uncategorized(9)",
    ] {
        assert!(lines.contains(kind), "{kind} does not occur in\n{lines}");
    }
}
