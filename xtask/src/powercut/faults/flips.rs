//! Bits that flip below the file system, in blocks of the data file and of the log that an opening
//! must read: it refuses, or the data are right, or the log ends there because nothing proves that
//! it ever went on.

#[cfg(test)]
mod tests;

use super::live_log::{self, LiveBlock};
use crate::Failure;
use crate::kill::{Course, Workload};
use crate::powercut::image::{BLOCK_BYTES, Image};
use crate::powercut::totals::Verdict;
use crate::powercut::writer::{self, Ended, Until};
use crate::powercut::{PowerCuts, expect_sound};
use sombra_sim::random::Random;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Flips in the log; the others are in the data file.
const LOG_PERCENT: u64 = 50;
/// Those of them in a block that nothing vouches for.
const UNPROVEN_PERCENT: u64 = 30;
/// Writes and flushes of a second writer: few, so that most of the first one's log still counts.
const SECOND_OPS_MAX: u64 = 200;
const SECOND_TIME: Duration = Duration::from_secs(2);
/// Blocks drawn until one is found on the disk.
const DRAWS_MAX: u32 = 200;

/// What became of a store's writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Killed,
    /// Killed, and the next one soon after: two openings' log is live.
    KilledTwice,
    /// Killed, and the store opened, shown and closed in good order: little of its log is live.
    Closed,
}

/// A disk with a store, and all that was said of it.
struct Left {
    image: Image,
    reports: Vec<Vec<String>>,
    /// The blocks of its data file that hold anything, and those of its log that count.
    pages: Vec<Vec<u8>>,
    live: Vec<LiveBlock>,
}

/// What a bit flips in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Data,
    /// Later blocks, or a later opening, prove that the block was whole.
    ProvenLog,
    /// The block looks like one that the power cut tore.
    UnprovenLog,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Data => "the data file",
            Place::ProvenLog => "the live log, below a stamp or a link",
            Place::UnprovenLog => "the live log, above all stamps",
        }
    }
}

/// As many flips as were asked for.
pub(super) fn run(
    test: &mut PowerCuts<'_>,
    fresh: &Image,
    random: &mut Random,
) -> Result<(), Failure> {
    let shards = random.between(2, 4);
    let logs = [End::Killed, End::KilledTwice];
    let logs = logs.map(|end| leave(test, (fresh, shards), random, end));
    let [once, twice] = logs;
    let (logs, closed) = ([once?, twice?], leave(test, (fresh, shards), random, End::Closed)?);
    for _ in 0..test.arguments.faults {
        let (left, place, blocks) = match random.percent(LOG_PERCENT) {
            true => draw_log(random.pick(&logs), random),
            false => (&closed, Place::Data, closed.pages.iter().map(Vec::as_slice).collect()),
        };
        let (image, offset) = flipped(&left.image, &blocks, random)?;
        test.host.device.load(image);
        let (verdict, outcome) = flip(test, (left, shards), place)?;
        let what = format!("byte {offset} of the disk");
        test.note(&format!("a bit in {}: {outcome}", place.name()), verdict, &what);
    }
    Ok(())
}

/// A store, and the blocks of its log among which one is to be damaged.
fn draw_log<'a>(left: &'a Left, random: &mut Random) -> (&'a Left, Place, Vec<&'a [u8]>) {
    let of = |is_proven: bool| {
        let those = left.live.iter().filter(|block| block.is_proven == is_proven);
        those.map(|block| block.bytes.as_slice()).collect::<Vec<_>>()
    };
    let (proven, unproven) = (of(true), of(false));
    let wants_unproven = random.percent(UNPROVEN_PERCENT);
    match !unproven.is_empty() && (wants_unproven || proven.is_empty()) {
        true => (left, Place::UnprovenLog, unproven),
        false => (left, Place::ProvenLog, proven),
    }
}

fn leave(
    test: &mut PowerCuts<'_>,
    (fresh, shards): (&Image, u64),
    random: &mut Random,
    end: End,
) -> Result<Left, Failure> {
    test.host.device.load(fresh.clone());
    test.mounted()?;
    let mut reports = vec![test.work(random, shards, || ())?.lines.all()];
    let again = match end {
        End::Killed => None,
        End::KilledTwice => {
            let course = Course::Work { kill_after: SECOND_TIME };
            let plan = test.plan(course, random.next_u64(), shards);
            let until = Until { ops: SECOND_OPS_MAX, time: SECOND_TIME };
            Some(writer::work(&test.host.device, &plan, until, || ())?)
        }
        End::Closed => {
            let plan = test.plan(Course::Compare, 0, shards);
            Some(writer::compare(&test.host.device, &plan)?)
        }
    };
    if let Some(again) = again {
        if again.status.code().is_some_and(|code| code != 0) {
            return Err(format!("the store does not open again: {}", again.complaint));
        }
        reports.push(again.lines.all());
    }
    let pages = blocks_of(&test.host.store().join("pages.sombra"))?;
    let live = live_log::ask(&test.host.store())?;
    test.host.release()?;
    let mut judge = Workload::Model.judge();
    for life in &reports {
        expect_sound(judge.as_mut(), life)?;
    }
    let proven = live.iter().filter(|block| block.is_proven).count();
    let (all, unproven) = (live.len(), live.len() - proven);
    let note = format!("{end:?}: {all} live log blocks, {unproven} of them above all stamps");
    test.totals.counts.push(note);
    Ok(Left { image: test.host.device.image(), reports, pages, live })
}

fn blocks_of(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let output = Command::new("cat").arg(file).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let blocks = output.stdout.chunks_exact(BLOCK_BYTES).map(<[u8]>::to_vec);
    Ok(blocks.filter(|block| block.iter().any(|byte| *byte != 0)).collect())
}

/// The image with one bit changed in each place that holds one of the blocks.
fn flipped(image: &Image, blocks: &[&[u8]], random: &mut Random) -> Result<(Image, u64), Failure> {
    for _ in 0..if blocks.is_empty() { 0 } else { DRAWS_MAX } {
        let found = image.find(random.pick::<&[u8]>(blocks));
        let (byte, bit) = (random.below(BLOCK_BYTES as u64), random.below(8) as u8);
        if let Some(first) = found.first() {
            let mut image = image.clone();
            for block in &found {
                image.flip(block * BLOCK_BYTES as u64 + byte, bit);
            }
            return Ok((image, first * BLOCK_BYTES as u64 + byte));
        }
    }
    Err("no block of the store was found on the disk".to_owned())
}

fn flip(
    test: &mut PowerCuts<'_>,
    (left, shards): (&Left, u64),
    place: Place,
) -> Result<(Verdict, &'static str), Failure> {
    test.mounted()?;
    let checked = writer::check(&test.host.store());
    let plan = test.plan(Course::Compare, 0, shards);
    let ended = writer::compare(&test.host.device, &plan)?;
    test.host.release()?;
    judge(left, place, &ended, checked.is_ok())
}

fn judge(
    left: &Left,
    place: Place,
    ended: &Ended,
    is_checked_sound: bool,
) -> Result<(Verdict, &'static str), Failure> {
    let mut verdict = Verdict::default();
    if !ended.status.success() {
        if is_checked_sound {
            let complaint = &ended.complaint;
            verdict.problems.push(format!("the checker found nothing, yet: {complaint}"));
        }
        return Ok((verdict, "refused"));
    }
    let mut judge = Workload::Model.judge();
    for life in &left.reports {
        judge.hear(life)?;
    }
    let reported = judge.hear(&ended.lines.all())?;
    if reported.violations.is_empty() {
        let is_told = !is_checked_sound;
        return Ok((verdict, if is_told { "checker tells, data right" } else { "data right" }));
    }
    // Commits above the newest stamp may go with the block that held them, whole.
    if place == Place::UnprovenLog && reported.half_applied == 0 {
        return Ok((verdict, "end of log, undetectable"));
    }
    verdict.problems = reported.violations;
    Ok((verdict, "WRONG DATA"))
}
