//! `cargo xtask powercut`: power cuts under a real file system. What was acknowledged before the
//! cut must be there after it.
//!
//! The disk is a file that this process serves and that records every write and flush; below it
//! stands a loop device with direct I/O, on that ext4, xfs or btrfs, and in that a store, at
//! which a process of its own writes and is killed now and then. Afterwards the recording is cut
//! at many places: the kernel mounts what a disk may have kept, and the store is checked, opened
//! and compared with what had been acknowledged. This process never touches what is mounted.
//!
//! `--uml` asks another kernel: a guest with a disk of its own, killed while it writes.

mod device;
mod faults;
mod host;
mod image;
mod states;
mod timeline;
mod totals;
mod uml;
mod writer;

use crate::kill::{self, Course, Driver, Judge, Plan, Workload};
use crate::{Failure, workspace::Workspace};
use device::{Device, Op};
use host::{FileSystem, Host, Places};
use image::Image;
use nix::sys::signal::{SigSet, Signal};
use sombra_sim::random::Random;
use states::{Builder, State, StateKind, Wanted};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use timeline::{Lines, Unclear};
use totals::{Totals, Verdict};
use writer::Until;

/// Large enough for every file system here, and for what the writers write.
const DISK_BYTES: u64 = 512 << 20;
/// Processes that write, one after the other, each killed but not the disk.
const LIVES: u32 = 3;
/// Writes and flushes that a writer makes before it is killed, and how long it has for them.
const LIFE_OPS: u64 = 6_000;
const LIFE_TIME: Duration = Duration::from_secs(20);
/// Recorded bytes after which no further writer is started.
const RECORDED_BYTES_MAX: u64 = 1 << 30;
/// One control state for so many others, and how many there are at least.
const STATES_PER_CONTROL: u64 = 20;
const CONTROL_MIN: u64 = 10;
/// States after which the progress is told.
const STATES_PER_NOTE: u64 = 50;

#[derive(clap::Args)]
pub(crate) struct PowercutArguments {
    /// The file system under the store
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    fs: FileSystem,
    /// How many states of the disk to mount and judge, besides those of the control: all flushes
    /// if there are no more, otherwise as many of them as states between two; no disk comes twice
    #[arg(long, default_value_t = 0, required_unless_present_any = ["faults", "uml"])]
    states: u64,
    /// Kills so many User-Mode Linux guests at work instead, besides those of the control
    #[arg(long, value_name = "GUESTS", conflicts_with_all = ["states", "faults", "control"])]
    uml: Option<u64>,
    /// Seed of the workload, of the cuts and of what the disk keeps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Negative control alone: the disk only says that it flushed; passes if commits are missed
    #[arg(long)]
    control: bool,
    /// Runs with device errors and with flipped bits, as many of each
    #[arg(long, default_value_t = 0)]
    faults: u64,
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    driver: Driver,
}

#[derive(clap::Args)]
pub(crate) struct CheckArguments {
    #[arg(long)]
    store: PathBuf,
    /// Write the blocks of the log that an opening must read instead
    #[arg(long)]
    live_log: bool,
}

pub(crate) fn run_check(arguments: &CheckArguments) -> Result<(), Failure> {
    match arguments.live_log {
        false => kill::check(&arguments.store),
        true => faults::tell_live_log(&arguments.store),
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &PowercutArguments) -> Result<(), Failure> {
    let for_guest = || arguments.uml.and_then(|_| uml::missing(arguments.fs));
    if let Some(missing) = arguments.fs.missing().or_else(for_guest) {
        println!("powercut: SKIPPED: {missing}");
        return Ok(());
    }
    let dir = workspace.target_dir().join("powercut");
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let folder = std::fs::File::open(&dir).map_err(failed)?;
    folder.try_lock().map_err(|error| format!("{}: another run? {error}", dir.display()))?;
    let places = Places::below(&dir);
    places.release();
    release_when_interrupted(&places)?;
    println!("powercut: {}, seed {}", arguments.fs.versions(), arguments.seed);
    let (totals, outcome) = match arguments.uml {
        Some(guests) => uml::run(arguments, guests, &places),
        None => {
            let host = Host::serve(Device::new(DISK_BYTES), arguments.fs, &places)?;
            let kept = dir.join(format!("{}.img", arguments.fs.name()));
            let totals = Totals::default();
            let mut test = PowerCuts { arguments, kept, host, totals, life: 0 };
            let outcome = test.run();
            (test.totals, outcome)
        }
    };
    places.release();
    // The next run takes the folder as it is.
    let _in_use = std::fs::remove_dir(&dir);
    println!("{totals}");
    outcome?;
    verdict(&totals)
}

/// Good when no state has lost anything, and the control, if there was one, has.
fn verdict(totals: &Totals) -> Result<(), Failure> {
    if !totals.problems.is_empty() {
        return Err(totals.problems.join("\n"));
    }
    if totals.flush_control == Some(false) {
        return Err("not proven: no commit was missed whose flush failed and was denied".to_owned());
    }
    match totals.control() {
        None | Some(true) => Ok(()),
        Some(false) => Err("not proven: no commit was missed on a disk that lies".to_owned()),
    }
}

/// Lets go of mounts and loop devices when the user has enough. Called before any other thread
/// is started: a thread inherits what its maker has blocked.
fn release_when_interrupted(places: &Places) -> Result<(), Failure> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
    let places = places.clone();
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            places.release();
            std::process::exit(130);
        }
    });
    Ok(())
}

/// What a disk went through, and what the writers said meanwhile.
struct Recording {
    before: Image,
    ops: Vec<Op>,
    lives: Vec<Lines>,
    shards: u64,
}

struct PowerCuts<'a> {
    arguments: &'a PowercutArguments,
    /// Where the disk of a state stays whose store was not right.
    kept: PathBuf,
    host: Host,
    totals: Totals,
    life: u32,
}

impl PowerCuts<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut random = Random::new(self.arguments.seed);
        let fresh = self.fresh()?;
        if self.arguments.states > 0 {
            let recording = self.record(fresh.clone(), &mut random)?;
            self.judge_all(&recording, &mut random)?;
        }
        if self.arguments.faults > 0 {
            faults::run(self, &fresh, &mut random)?;
        }
        Ok(())
    }

    /// A disk with a file system on it and nothing in that.
    fn fresh(&mut self) -> Result<Image, Failure> {
        self.host.attach()?;
        self.host.make()?;
        self.host.release()?;
        Ok(self.host.device.image())
    }

    fn record(&mut self, before: Image, random: &mut Random) -> Result<Recording, Failure> {
        let shards = random.between(2, 4);
        let written = self.host.device.written_bytes();
        self.host.device.record();
        self.host.attach()?;
        self.host.mount()?;
        let mut lives = Vec::new();
        let mut judge = Workload::Model.judge();
        for _ in 0..LIVES {
            let course = Course::Work { kill_after: LIFE_TIME };
            let plan = self.plan(course, random.next_u64(), shards);
            let until = Until { ops: LIFE_OPS, time: LIFE_TIME };
            let ended = writer::work(&self.host.device, &plan, until, || ())?;
            if ended.status.code().is_some() {
                return Err(format!("the writer gave up: {}", ended.complaint));
            }
            expect_sound(judge.as_mut(), &ended.lines.all())?;
            let counts = ended.lines.phase("counts").unwrap_or("none");
            let counts = format!("life {}: {counts}", plan.life);
            self.totals.counts.push(format!("{counts} (transactions, over shards, merges, reuse)"));
            lives.push(ended.lines);
            if self.host.device.written_bytes() - written > RECORDED_BYTES_MAX {
                break;
            }
        }
        self.host.release()?;
        let ops = self.host.device.recorded();
        self.totals.written_bytes = self.host.device.written_bytes() - written;
        self.totals.flushes = ops.iter().filter(|op| matches!(op, Op::Flush)).count() as u64;
        self.totals.writes = ops.len() as u64 - self.totals.flushes;
        Ok(Recording { before, ops, lives, shards })
    }

    fn plan(&mut self, course: Course, seed: u64, shards: u64) -> Plan {
        self.life += 1;
        let life = (seed, self.life);
        Plan::of_model(self.host.store(), life, shards, self.arguments.driver, course)
    }

    fn judge_all(&mut self, recording: &Recording, random: &mut Random) -> Result<(), Failure> {
        let states = self.arguments.states;
        let wanted = match self.arguments.control {
            true => Wanted { states: 0, control: states },
            false => Wanted { states, control: (states / STATES_PER_CONTROL).max(CONTROL_MIN) },
        };
        let unclear = Unclear::of(&recording.lives);
        let may_cut = |cut| !unclear.has(cut);
        let drawn = states::draw(&recording.ops, wanted, random, may_cut);
        if !drawn.states.iter().any(|state| state.kind == StateKind::Control) {
            return Err("no state to judge: the writers never made the disk flush".to_owned());
        }
        let told = drawn.to_string();
        println!("powercut: {told}");
        self.totals.drawn = Some(told);
        let mut builder = Builder::new(&recording.ops, recording.before.clone());
        let begun = Instant::now();
        for state in drawn.states {
            let image = builder.build(&state);
            let mut verdict = self.judge(recording, &state, image)?;
            let State { durable, cut, kind, seed } = state;
            let name = format!("{kind:?} {durable}..{cut} seed {seed:#x}");
            if kind != StateKind::Control && !verdict.problems.is_empty() {
                self.look_again(recording, &state, builder.build(&state), &mut verdict)?;
            }
            self.totals.add(kind.row(), &name, verdict);
            self.totals.judging = begun.elapsed();
            if self.totals.states().is_multiple_of(STATES_PER_NOTE) {
                let (states, seconds) = (self.totals.states(), begun.elapsed().as_secs());
                println!("powercut: {states} states, {seconds} s");
            }
        }
        Ok(())
    }

    /// Judges a state once more whose store was not right, and keeps its disk for those who want
    /// to know why: what is not so a second time is a fault of the host or of this test.
    fn look_again(
        &mut self,
        recording: &Recording,
        state: &State,
        image: Image,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let written = std::fs::File::create(&self.kept).and_then(|file| {
            file.set_len(DISK_BYTES)?;
            image.write_to(&file)
        });
        verdict.problems.push(match written {
            Ok(()) => format!("its disk is kept in {}", self.kept.display()),
            Err(error) => format!("its disk could not be kept: {error}"),
        });
        let again = self.judge(recording, state, image)?;
        let said = match again.problems.len() {
            0 => "judged once more, the same disk has lost nothing".to_owned(),
            count => format!("judged once more, the same disk has {count} problems"),
        };
        verdict.problems.push(said);
        Ok(())
    }

    /// Mounts a state and looks whether the store in it is right.
    fn judge(
        &mut self,
        recording: &Recording,
        state: &State,
        image: Image,
    ) -> Result<Verdict, Failure> {
        let known = timeline::known_at(&recording.lives, state.cut);
        let mut judge = Workload::Model.judge();
        let mut verdict = Verdict::default();
        for reports in &known {
            let reported = judge.hear(reports)?;
            verdict.acknowledged += reported.acknowledged;
            verdict.problems = reported.violations;
        }
        self.host.device.load(image);
        self.host.attach()?;
        match self.host.mount() {
            Err(failure) => verdict.problems.push(format!("does not mount: {failure}")),
            Ok(()) => {
                if !known.is_empty() {
                    verdict.checked = true;
                    verdict.problems.extend(writer::check(&self.host.store()).err());
                }
                self.compare(judge.as_mut(), recording.shards, &mut verdict)?;
            }
        }
        self.host.release()?;
        Ok(verdict)
    }

    /// Opens the store and compares what it shows with what the judge heard of it.
    fn compare(
        &mut self,
        judge: &mut dyn Judge,
        shards: u64,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let plan = self.plan(Course::Compare, 0, shards);
        compare(&self.host.device, &plan, judge, verdict)
    }
}

fn compare(
    device: &Device,
    plan: &Plan,
    judge: &mut dyn Judge,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let ended = writer::compare(device, plan)?;
    if !ended.status.success() {
        verdict.problems.push(format!("does not open: {}", ended.complaint));
        return Ok(());
    }
    let reported = judge.hear(&ended.lines.all())?;
    verdict.lost += reported.lost;
    verdict.half_applied += reported.half_applied;
    verdict.problems.extend(reported.violations);
    Ok(())
}

/// What a writer said must fit together before any power is cut.
fn expect_sound(judge: &mut dyn Judge, reports: &[String]) -> Result<(), Failure> {
    let reported = judge.hear(reports)?;
    match reported.violations.as_slice() {
        [] => Ok(()),
        violations => Err(format!("while it was recorded: {}", violations.join("\n"))),
    }
}
