//! Devices that answer with errors, and bits that flip on them: the store refuses or is right,
//! and once the device is well again everything acknowledged is there.

mod flips;
mod live_log;

use super::device::{Fault, Kind, Unflushed};
use super::image::Image;
use super::totals::Verdict;
use super::writer::{self, Ended, Until};
use super::{PowerCuts, expect_sound};
use crate::Failure;
use crate::kill::{Course, Judge, Workload};
use sombra_sim::random::Random;
use std::time::Duration;

pub(super) use live_log::tell as tell_live_log;

/// How long a writer works, fault or not.
const WORK_TIME: Duration = Duration::from_secs(2);
/// Requests of one kind that go well before one fails.
const WRITES_BEFORE_MAX: u64 = 600;
const FLUSHES_BEFORE_MAX: u64 = 250;
const READS_BEFORE_MAX: u64 = 60;
/// Attempts at losing commits on a disk that denies that it lost them.
const CONTROLS_MAX: u32 = 8;
/// Faults that stay until the disk is taken out of use.
const LASTING_PERCENT: u64 = 40;

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
        let unflushed = Unflushed::Scattered { seed: random.next_u64() };
        let fault = Fault { kind, after, lasts: random.percent(LASTING_PERCENT), unflushed };
        test.host.device.load(fresh.clone());
        let (verdict, outcome) = match kind {
            Kind::Write | Kind::Flush => fail_the_writer(test, fault, random)?,
            Kind::Read => fail_the_reader(test, fault, random)?,
        };
        test.note(&format!("EIO for a {}: {outcome}", name_of(kind)), verdict, &fault);
    }
    test.totals.flush_control = Some(control(test, fresh, random)?);
    flips::run(test, fresh, random)
}

/// Negative control: from some flush on the disk loses what it was to flush and denies it.
/// Whether commits were found lost; a file system or a store may also notice and be wreckage.
fn control(test: &mut PowerCuts<'_>, fresh: &Image, random: &mut Random) -> Result<bool, Failure> {
    for _ in 0..CONTROLS_MAX {
        let after = random.below(FLUSHES_BEFORE_MAX);
        let unflushed = Unflushed::LostAndDenied;
        let fault = Fault { kind: Kind::Flush, after, lasts: true, unflushed };
        test.host.device.load(fresh.clone());
        let (ended, shards) = work_under(test, fault, random)?;
        // The flushes of letting go are denied too, or what is left in caches would come after all.
        test.host.release()?;
        test.host.device.set_fault(None);
        let mut judge = Workload::Model.judge();
        judge.hear(&split_refusals(ended.lines.all()).1)?;
        let mut verdict = Verdict::default();
        match test.mounted() {
            Ok(()) => test.compare(judge.as_mut(), shards, &mut verdict)?,
            Err(failure) => println!("powercut: control: does not mount: {failure}"),
        }
        test.host.release()?;
        if verdict.lost > 0 {
            return Ok(true);
        }
    }
    Ok(false)
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

/// A writer at work on a device that fails; also on how many shards.
fn work_under(
    test: &mut PowerCuts<'_>,
    fault: Fault,
    random: &mut Random,
) -> Result<(Ended, u64), Failure> {
    let shards = random.between(2, 4);
    test.mounted()?;
    let device = test.host.device.clone();
    let ended = test.work(random, shards, || {
        device.set_fault(Some(fault));
    })?;
    Ok((ended, shards))
}

/// The device fails under a writer.
fn fail_the_writer(
    test: &mut PowerCuts<'_>,
    fault: Fault,
    random: &mut Random,
) -> Result<(Verdict, &'static str), Failure> {
    let (ended, shards) = work_under(test, fault, random)?;
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
