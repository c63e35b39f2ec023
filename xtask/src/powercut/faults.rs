//! Devices that answer with errors, and bits that flip on them: the store refuses or is right,
//! and once the device is well again everything acknowledged is there.

use super::device::{Fault, Kind};
use super::image::{BLOCK_BYTES, Image};
use super::totals::Verdict;
use super::writer::{self, Ended, Until};
use super::{PowerCuts, expect_sound};
use crate::Failure;
use crate::kill::{Course, Judge, Workload};
use sombra_sim::random::Random;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a writer works, fault or not.
const WORK_TIME: Duration = Duration::from_secs(2);
/// Requests of one kind that go well before one fails.
const WRITES_BEFORE_MAX: u64 = 600;
const FLUSHES_BEFORE_MAX: u64 = 250;
const READS_BEFORE_MAX: u64 = 60;
/// Faults that stay until the disk is taken out of use.
const LASTING_PERCENT: u64 = 40;
/// Flips in the log; the others are in the data file.
const LOG_PERCENT: u64 = 40;
/// Blocks drawn until one is found on the disk.
const DRAWS_MAX: u32 = 200;

/// Runs as many device errors, and as many flipped bits, as were asked for.
pub(super) fn run(
    test: &mut PowerCuts<'_>,
    fresh: &Image,
    random: &mut Random,
) -> Result<(), Failure> {
    for number in 0..test.arguments.faults {
        let kind = [Kind::Write, Kind::Flush, Kind::Read][number as usize % 3];
        let before = match kind {
            Kind::Write => WRITES_BEFORE_MAX,
            Kind::Flush => FLUSHES_BEFORE_MAX,
            Kind::Read => READS_BEFORE_MAX,
        };
        let after = random.below(before);
        let fault = Fault { kind, after, lasts: random.percent(LASTING_PERCENT) };
        test.host.device.load(fresh.clone());
        let (verdict, outcome) = match kind {
            Kind::Write | Kind::Flush => fail_the_writer(test, fault, random)?,
            Kind::Read => fail_the_reader(test, fault, random)?,
        };
        test.note(&format!("EIO for a {}: {outcome}", name_of(kind)), verdict, &fault);
    }
    flips(test, fresh, random)
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::Flush => "flush",
    }
}

impl PowerCuts<'_> {
    fn note(&mut self, outcome: &str, verdict: Verdict, what: &dyn std::fmt::Debug) {
        *self.totals.faults.entry(outcome.to_owned()).or_default() += 1;
        self.totals.bad(&format!("{outcome}, {what:?}"), verdict.problems);
    }

    fn mounted(&mut self) -> Result<(), Failure> {
        self.host.attach()?;
        self.host.mount()
    }

    /// A writer at work on the mounted disk for a while.
    fn work(
        &mut self,
        random: &mut Random,
        shards: u64,
        at_work: impl FnOnce(),
    ) -> Result<Ended, Failure> {
        let plan = self.plan(Course::Work { kill_after: WORK_TIME }, random.next_u64(), shards);
        let until = Until { ops: u64::MAX, time: WORK_TIME };
        writer::work(&self.host.device, &plan, until, at_work)
    }

    /// The disk is well: mounts it, checks the store and compares it.
    fn compare_well(
        &mut self,
        judge: &mut dyn Judge,
        shards: u64,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        self.mounted()?;
        verdict.problems.extend(writer::check(&self.host.store()).err());
        self.compare(judge, shards, verdict)?;
        self.host.release()
    }
}

/// The device fails under a writer.
fn fail_the_writer(
    test: &mut PowerCuts<'_>,
    fault: Fault,
    random: &mut Random,
) -> Result<(Verdict, &'static str), Failure> {
    let shards = random.between(2, 4);
    test.mounted()?;
    let device = test.host.device.clone();
    let ended = test.work(random, shards, || {
        device.set_fault(Some(fault));
    })?;
    let failed = test.host.device.set_fault(None);
    test.host.release()?;
    let mut verdict = Verdict::default();
    let mut judge = Workload::Model.judge();
    let (refusals, reports) = split_refusals(ended.lines.all());
    verdict.problems = judge.hear(&reports)?.violations;
    let stopped = ended.status.code().is_some();
    let outcome = match (failed, stopped) {
        (0, false) => "not reached",
        (0, true) => {
            verdict.problems.push(format!("stopped without an error: {}", ended.complaint));
            "stopped for nothing"
        }
        (_, true) => "the store stopped",
        (_, false) if refusals > 0 => "its caller was told",
        (_, false) => "the store went on",
    };
    test.compare_well(judge.as_mut(), shards, &mut verdict)?;
    Ok((verdict, outcome))
}

/// The device fails while a store is opened and read whole.
fn fail_the_reader(
    test: &mut PowerCuts<'_>,
    fault: Fault,
    random: &mut Random,
) -> Result<(Verdict, &'static str), Failure> {
    let shards = random.between(2, 4);
    test.mounted()?;
    let ended = test.work(random, shards, || ())?;
    test.host.release()?;
    let mut judge = Workload::Model.judge();
    expect_sound(judge.as_mut(), &ended.lines.all())?;
    test.mounted()?;
    test.host.device.set_fault(Some(fault));
    let plan = test.plan(Course::Compare, 0, shards);
    let ended = writer::compare(&test.host.device, &plan)?;
    let failed = test.host.device.set_fault(None);
    test.host.release()?;
    let mut verdict = Verdict::default();
    let outcome = match (failed, ended.status.success()) {
        (0, true) => "not reached",
        (_, true) => "read again, and right",
        (0, false) => {
            verdict.problems.push(format!("refused without an error: {}", ended.complaint));
            "refused for nothing"
        }
        (_, false) => "refused",
    };
    if ended.status.success() {
        verdict.problems.extend(judge.hear(&ended.lines.all())?.violations);
    }
    test.compare_well(judge.as_mut(), shards, &mut verdict)?;
    Ok((verdict, outcome))
}

/// Takes out what clients say of an operation that the device refused: an error is what they
/// were to get.
fn split_refusals(reports: Vec<String>) -> (usize, Vec<String>) {
    let is_refusal = |text: &String| text.starts_with("B ") && text.contains("os error");
    let (refusals, reports): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_refusal);
    (refusals.len(), reports)
}

/// A store that was closed in good order, and all that was said of it.
struct Closed {
    image: Image,
    reports: Vec<Vec<String>>,
    shards: u64,
    /// The blocks of its data file and of its log that hold anything.
    pages: Vec<Vec<u8>>,
    log: Vec<Vec<u8>>,
}

fn flips(test: &mut PowerCuts<'_>, fresh: &Image, random: &mut Random) -> Result<(), Failure> {
    let closed = close(test, fresh, random)?;
    for _ in 0..test.arguments.faults {
        let is_log = random.percent(LOG_PERCENT);
        let (blocks, place) = match is_log {
            true => (&closed.log, "log"),
            false => (&closed.pages, "data file"),
        };
        let (image, offset) = flipped(&closed.image, blocks, random)?;
        test.host.device.load(image);
        let (verdict, outcome) = flip(test, &closed)?;
        let what = format!("byte {offset} of the disk");
        test.note(&format!("a flipped bit in the {place}: {outcome}"), verdict, &what);
    }
    Ok(())
}

fn close(test: &mut PowerCuts<'_>, fresh: &Image, random: &mut Random) -> Result<Closed, Failure> {
    let shards = random.between(2, 4);
    test.host.device.load(fresh.clone());
    test.mounted()?;
    let worked = test.work(random, shards, || ())?;
    let plan = test.plan(Course::Compare, 0, shards);
    let shown = writer::compare(&test.host.device, &plan)?;
    if !shown.status.success() {
        return Err(format!("the store does not open again: {}", shown.complaint));
    }
    let pages = blocks_of(&[test.host.store().join("pages.sombra")])?;
    let log = blocks_of(&files_in(&test.host.store().join("wal"))?)?;
    test.host.release()?;
    let reports = vec![worked.lines.all(), shown.lines.all()];
    let mut judge = Workload::Model.judge();
    for life in &reports {
        expect_sound(judge.as_mut(), life)?;
    }
    Ok(Closed { image: test.host.device.image(), reports, shards, pages, log })
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = output(Command::new("ls").arg(dir))?;
    let listed = String::from_utf8_lossy(&listed);
    Ok(listed.lines().map(|name| dir.join(name)).collect())
}

fn blocks_of(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = output(Command::new("cat").args(files))?;
    let blocks = bytes.chunks_exact(BLOCK_BYTES).map(<[u8]>::to_vec);
    Ok(blocks.filter(|block| block.iter().any(|byte| *byte != 0)).collect())
}

fn output(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The image with one bit changed in each place that holds one of the blocks.
fn flipped(
    image: &Image,
    blocks: &[Vec<u8>],
    random: &mut Random,
) -> Result<(Image, u64), Failure> {
    for _ in 0..if blocks.is_empty() { 0 } else { DRAWS_MAX } {
        let found = image.find(random.pick::<Vec<u8>>(blocks));
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

fn flip(test: &mut PowerCuts<'_>, closed: &Closed) -> Result<(Verdict, &'static str), Failure> {
    let mut judge = Workload::Model.judge();
    for life in &closed.reports {
        judge.hear(life)?;
    }
    test.mounted()?;
    let checked = writer::check(&test.host.store());
    let plan = test.plan(Course::Compare, 0, closed.shards);
    let ended = writer::compare(&test.host.device, &plan)?;
    test.host.release()?;
    let mut verdict = Verdict::default();
    if ended.status.success() {
        verdict.problems = judge.hear(&ended.lines.all())?.violations;
        let found = checked.is_err();
        return Ok((verdict, if found { "checker tells, data right" } else { "data right" }));
    }
    if checked.is_ok() {
        verdict.problems.push(format!("the checker found nothing, yet: {}", ended.complaint));
    }
    Ok((verdict, "refused"))
}
