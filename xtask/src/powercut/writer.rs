//! The processes that use the store: started, listened to, ended.

use super::device::Device;
use super::timeline::Lines;
use crate::{Failure, kill};
use std::io::Read;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A process that only opens, shows and closes the store has hung when it takes longer.
const COMPARISON_MAX: Duration = Duration::from_secs(180);
/// A writer that has not begun its work by then never will.
const OPENING_MAX: Duration = Duration::from_secs(120);
/// The position at which a writer began its work, while it has not.
const NOT_YET: u64 = u64::MAX;

/// What a process said, and how it ended.
pub(super) struct Ended {
    pub(super) lines: Lines,
    pub(super) status: ExitStatus,
    /// What it had to say about its failure.
    pub(super) complaint: String,
}

/// When to kill a writer, counted from when its clients began.
#[derive(Clone, Copy)]
pub(super) struct Until {
    pub(super) ops: u64,
    pub(super) time: Duration,
}

/// Opens, shows and closes the store.
pub(super) fn compare(device: &Device, plan: &kill::Plan) -> Result<Ended, Failure> {
    run(device, plan, |child, _| {
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if begun.elapsed() > COMPARISON_MAX {
                child.kill()?;
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    })
}

/// Writes until it is killed or ends by itself; `at_work` is called once its clients have begun.
pub(super) fn work(
    device: &Device,
    plan: &kill::Plan,
    until: Until,
    at_work: impl FnOnce(),
) -> Result<Ended, Failure> {
    run(device, plan, |child, working_at| {
        let begun = Instant::now();
        let mut since = None;
        let mut at_work = Some(at_work);
        while child.try_wait()?.is_none() {
            let from = working_at.load(Ordering::Acquire);
            if from != NOT_YET {
                at_work.take().into_iter().for_each(|call| call());
                let since = *since.get_or_insert_with(Instant::now);
                if device.position() - from >= until.ops || since.elapsed() >= until.time {
                    return child.kill();
                }
            } else if begun.elapsed() > OPENING_MAX {
                return child.kill();
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    })
}

fn run(
    device: &Device,
    plan: &kill::Plan,
    until_end: impl FnOnce(&mut Child, &AtomicU64) -> std::io::Result<()>,
) -> Result<Ended, Failure> {
    let mut command = kill::command(plan)?;
    command.stderr(Stdio::piped());
    let mut lines = Lines::starting_at(device.position());
    let started = command.spawn();
    let mut child = started.map_err(|error| format!("cannot start the writer: {error}"))?;
    let pipe = child.stdout.take().ok_or("the writer has no standard output")?;
    let working_at = Arc::new(AtomicU64::new(NOT_YET));
    let (place, mark) = (device.clone(), Arc::clone(&working_at));
    let reader = std::thread::spawn(move || {
        lines.hear(
            pipe,
            || place.position(),
            |line| {
                if line.starts_with("P working") && mark.load(Ordering::Acquire) == NOT_YET {
                    mark.store(place.position(), Ordering::Release);
                }
            },
        );
        lines
    });
    let ended = until_end(&mut child, &working_at);
    let status = ended.and_then(|()| child.wait());
    let status = status.map_err(|error| format!("cannot end the writer: {error}"))?;
    let lines = reader.join().map_err(|_| "the pipe's reader panicked".to_owned())?;
    let mut complaint = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        // What it said is only for the report; part of it is better than nothing.
        let _partly = pipe.read_to_string(&mut complaint);
    }
    Ok(Ended { lines, status, complaint: complaint.trim().to_owned() })
}

/// Checks the store in a process of its own; what is wrong with it.
pub(super) fn check(store: &Path) -> Result<(), Failure> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = std::process::Command::new(own);
    command.arg("powercut-check").arg("--store").arg(store);
    let output = command.output().map_err(|error| format!("cannot start the checker: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
