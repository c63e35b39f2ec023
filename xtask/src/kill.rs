//! `cargo xtask kill`: a writing process dies by SIGKILL at random moments; what it had
//! acknowledged must be there when the store is opened again.
//!
//! The store is opened, compared and written by a process of its own, which reports each step
//! through a pipe; this process only draws the moment, kills, and judges. So every opening but
//! the last follows a crash, and a kill may hit the opening itself. A workload that needs a filled
//! store gets it in a life that nobody kills.

mod life;
mod model;
mod pipe;
mod totals;
mod tpcc;
mod workload;
mod writer;

use crate::{Failure, workspace::Workspace};
use life::Life;
pub(crate) use life::{Course, Plan, command};
use sombra::inspect;
use sombra_runtime::{Runtime, RuntimeOptions};
use sombra_sim::random::Random;
use std::path::{Path, PathBuf};
use std::time::Duration;
use totals::Totals;
pub(crate) use workload::{Judge, Reported, Workload};
pub(crate) use writer::{WriterArguments, run as run_writer};

/// Acknowledged commits without which a round does not count.
const ACKNOWLEDGED_MIN: u64 = 200;
/// Share of cross-shard transactions below which a round does not count.
const CROSS_SHARD_PERCENT_MIN: u64 = 30;
/// Lives of one store before it is made anew, so that each run sees several stores being made.
const LIVES_PER_STORE: u32 = 12;
/// Lives per counted round after which the machine is too slow for this test.
const LIVES_PER_ROUND_MAX: u32 = 5;
const WRITERS: u16 = 12;
/// What a writer says it is at.
const WORKING: &str = "working";
const MERGE: &str = "merge";
const PUBLICATION: &str = "publication";
const SEGMENT_SWITCH: &str = "segment-switch";

#[derive(clap::Args)]
pub(crate) struct KillArguments {
    /// How many counted rounds: killed, reopened, compared, with 200 commits acknowledged before
    #[arg(long)]
    rounds: u32,
    /// Folder for the store, on the file system under test; default: below the target folder
    #[arg(long)]
    fs_dir: Option<PathBuf>,
    /// Seed of the kill moments and of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    driver: Driver,
    /// Orders and payments in the shape of TPC-C, with its consistency conditions 1 to 4 and all
    /// that was acknowledged looked for after each kill, instead of writes of every kind
    #[arg(long)]
    tpcc: bool,
    /// Negative control: one commit, or order, is acknowledged and never made; passes only if it
    /// is missed
    #[arg(long)]
    control: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Driver {
    /// io_uring where the host allows it, otherwise threads
    Auto,
    Uring,
    Threads,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Driver::Auto => "auto",
            Driver::Uring => "uring",
            Driver::Threads => "threads",
        }
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &KillArguments) -> Result<(), Failure> {
    let below = arguments.fs_dir.clone().unwrap_or_else(|| workspace.target_dir().join("kill"));
    let dir = below.join(format!("kill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    println!("kill: store in {}, seed {}", dir.display(), arguments.seed);
    let mut test = KillTest::new(arguments, dir.clone());
    let mut outcome = test.rounds();
    println!("{}", test.totals);
    println!("kill -9 ends a process, not a device: this covers process crashes only.");
    if arguments.control {
        outcome = expect_lost(outcome, &test.totals);
    }
    if let Err(failure) = outcome {
        return Err(format!("{failure}\nthe store is kept in {}", dir.display()));
    }
    std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))
}

/// The negative control passes when the commit that was acknowledged in vain was missed.
fn expect_lost(outcome: Result<(), Failure>, totals: &Totals) -> Result<(), Failure> {
    match outcome {
        Err(failure) if totals.lost > 0 => {
            println!("as it must be: {failure}");
            Ok(())
        }
        Err(failure) => Err(format!("the control failed for another reason: {failure}")),
        Ok(()) => Err("nobody missed a commit that was acknowledged and never made".to_owned()),
    }
}

struct KillTest<'a> {
    arguments: &'a KillArguments,
    workload: Workload,
    dir: PathBuf,
    random: Random,
    totals: Totals,
    life: u32,
    /// How long complete openings took lately, from the start of the process: of a store that
    /// exists, and of one that is made and its device measured.
    opening: Duration,
    creation: Duration,
    /// Acknowledged commits per second while the clients work.
    rate: f64,
}

impl KillTest<'_> {
    fn new(arguments: &KillArguments, dir: PathBuf) -> KillTest<'_> {
        KillTest {
            arguments,
            workload: if arguments.tpcc { Workload::Tpcc } else { Workload::Model },
            dir,
            random: Random::new(arguments.seed),
            totals: Totals::default(),
            life: 0,
            opening: Duration::from_millis(300),
            creation: Duration::from_millis(600),
            rate: 2_000.0,
        }
    }

    fn rounds(&mut self) -> Result<(), Failure> {
        let lives_max = self.arguments.rounds.saturating_mul(LIVES_PER_ROUND_MAX) + 20;
        let mut store = 0;
        while self.totals.counted < u64::from(self.arguments.rounds) {
            if self.life > lives_max {
                return Err(format!("{} lives are not enough for these rounds", self.life));
            }
            store += 1;
            let path = self.dir.join(format!("store-{store}"));
            self.store(&path)?;
            std::fs::remove_dir_all(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// One store from its making to its last comparison.
    fn store(&mut self, path: &Path) -> Result<(), Failure> {
        let mut judge = self.workload.judge();
        let mut pending = Pending::default();
        let mut was_open = false;
        for number in 1..=LIVES_PER_STORE {
            let enough = self.totals.counted + u64::from(pending.counts())
                >= u64::from(self.arguments.rounds);
            let last = number == LIVES_PER_STORE || enough;
            self.life += 1;
            let plan = self.plan(path, number, last);
            let life = Life::run(&plan).map_err(|error| format!("life {}: {error}", self.life))?;
            let reported = self.judge(&life, judge.as_mut(), &mut pending)?;
            self.totals.end_of_life(&life, &reported);
            self.learn(&life, &reported);
            was_open |= reported.compared;
            if was_open {
                check(path).map_err(|error| format!("life {}: {error}", self.life))?;
                self.totals.checked();
            }
            if last {
                break;
            }
        }
        Ok(())
    }

    /// The moment of the kill is uniform over an opening and about four times the work that a
    /// counted round needs, or half the time of an opening: so most comparisons complete a round
    /// and a fair share of kills hits an opening, while the log, and with it the next opening,
    /// stays short.
    fn plan(&mut self, path: &Path, number: u32, last: bool) -> Plan {
        let needed = ACKNOWLEDGED_MIN as f64 / self.rate;
        let exists = path.join("superblock").exists();
        let opening = if exists { self.opening } else { self.creation }.as_secs_f64();
        let span = opening + (4.0 * needed).max(opening / 2.0);
        let moment = span * self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        let course = if last {
            Course::Compare
        } else if number == 1 && self.workload.is_prepared() {
            Course::Prepare
        } else {
            Course::Work { kill_after: Duration::from_secs_f64(moment) }
        };
        Plan {
            store: path.to_path_buf(),
            workload: self.workload,
            seed: self.random.next_u64(),
            life: number,
            shards: self.random.between(2, 4),
            driver: self.arguments.driver,
            course,
            lie: self.arguments.control,
        }
    }

    /// Feeds a life's reports to the judge. The comparison that it made is about what earlier
    /// lives left.
    fn judge(
        &mut self,
        life: &Life,
        judge: &mut dyn Judge,
        pending: &mut Pending,
    ) -> Result<Reported, Failure> {
        let reported =
            judge.hear(&life.reports).map_err(|error| format!("life {}: {error}", self.life))?;
        if reported.compared {
            self.totals.compared(&reported, pending);
            *pending = Pending::default();
        }
        pending.kills += u64::from(life.killed);
        pending.acknowledged += reported.acknowledged;
        pending.transactions += life.transactions;
        pending.cross_shard += life.cross_shard;
        self.totals.violations = reported.violations.len();
        if reported.violations.is_empty() {
            return Ok(reported);
        }
        let seed = self.arguments.seed;
        Err(format!("seed {seed}, life {}: {}", self.life, reported.violations.join("\n")))
    }

    fn learn(&mut self, life: &Life, reported: &Reported) {
        let blend = |old: f64, new: f64| 0.8 * old + 0.2 * new;
        if let Some(opening) = life.opening {
            let known = if life.created { &mut self.creation } else { &mut self.opening };
            let seconds = blend(known.as_secs_f64(), opening.as_secs_f64());
            *known = Duration::from_secs_f64(seconds);
        }
        if let Some(worked) = life.worked
            && reported.acknowledged > ACKNOWLEDGED_MIN / 4
        {
            let rate = reported.acknowledged as f64 / worked.as_secs_f64().max(0.001);
            self.rate = blend(self.rate, rate).max(50.0);
        }
    }
}

/// Checks a store that nobody has open, every tree and the log: what a kill left must be whole
/// before recovery has looked at it.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let options = RuntimeOptions { shards: 1, pin: false, ..RuntimeOptions::default() };
    let runtime = Runtime::start(options).map_err(|error| format!("checker: {error}"))?;
    let report = runtime.block_on(inspect::check(&runtime, path, |_, _| ()));
    runtime.shutdown();
    let report = report.map_err(|error| format!("checker: {error}"))?;
    match report.problems.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(format!("checker: {first} ({} problems)", report.problems.len())),
    }
}

/// What has happened since the store was last compared with the model.
#[derive(Clone, Copy, Default)]
struct Pending {
    kills: u64,
    acknowledged: u64,
    transactions: u64,
    cross_shard: u64,
}

impl Pending {
    /// Whether the comparison that follows completes a counted round.
    fn counts(&self) -> bool {
        let enough = self.kills > 0 && self.acknowledged >= ACKNOWLEDGED_MIN;
        enough && self.cross_shard * 100 >= self.transactions * CROSS_SHARD_PERCENT_MIN
    }
}
