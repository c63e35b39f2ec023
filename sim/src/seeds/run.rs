//! The life of one seed: open, work, crash, open again, until it has seen enough.

use std::sync::Arc;

use sombra::{Db, Options};
use sombra_runtime::ShardId;
use sombra_runtime::sim::{DiskOp, RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use super::look::Expected;
use super::marks;
use super::opening::{Opened, Opening, Refusal, SharedProgress, lock};
use super::space::Believed;
use super::swarm::{Ending, Swarm};
use super::{SeedOptions, SeedReport};
use crate::limits;
use crate::machine;
use crate::model::{Observation, Recorder, Shared};
use crate::random::{Random, mix};
use crate::workload::{Client, ClientOptions, Session, Tally, TallyReport};

pub(super) const EIO: i32 = 5;

pub(super) struct Run {
    pub(super) random: Random,
    pub(super) swarm: Swarm,
    /// What the store is opened with; a bound that keeps it shut is raised.
    pub(super) options: Options,
    pub(super) operations_min: u64,
    /// Flushes do nothing from shortly before each crash on.
    pub(super) flush_suppressed: bool,
    pub(super) disk: SimDisk,
    pub(super) history: Shared,
    pub(super) report: SeedReport,
    pub(super) life: u32,
    /// The last opening ended by a close.
    pub(super) clean: bool,
    /// What the store said of its space when it was closed, until that is compared.
    pub(super) believed: Option<Believed>,
    /// Log segments that the last opening left on disk.
    pub(super) segments: u64,
    /// The last opening was cut off.
    pub(super) cut_off: bool,
    /// An operation failed during the last opening, which may have succeeded all the same.
    pub(super) opened_with_fault: bool,
    /// What looks at the end of the seed expect, once one has begun.
    pub(super) expected: Option<Expected>,
    /// Something in the closed store is damaged for good.
    pub(super) is_damaged: bool,
    /// A root copy was damaged since the last opening.
    pub(super) roots_rotted: bool,
    /// What the last opening that was compared showed.
    pub(super) shown: Observation,
    /// Steps that the last opening took, to aim crashes at the next.
    pub(super) open_steps: u64,
}

/// What ends a seed early: the reason.
pub(super) type Failed = String;

impl Run {
    pub(super) fn new(seed: u64, options: &SeedOptions) -> Run {
        let random = Random::new(seed);
        let swarm = Swarm::draw(&mut random.fork(1), options.load);
        let disk = SimDisk::new(disk_options(&mut random.fork(2), &swarm));
        Run {
            random: random.fork(3),
            options: swarm.options.clone(),
            swarm,
            operations_min: options.operations_min,
            flush_suppressed: options.flush_suppressed,
            disk,
            history: Shared::default(),
            report: SeedReport { seed, clients_min: u64::MAX, ..SeedReport::default() },
            life: 0,
            clean: false,
            believed: None,
            segments: 0,
            shown: Observation::default(),
            cut_off: false,
            opened_with_fault: false,
            expected: None,
            is_damaged: false,
            roots_rotted: false,
            open_steps: 2_000,
        }
    }

    pub(super) fn finish(mut self) -> SeedReport {
        self.tell(self.swarm.describe());
        let outcome = self.episodes();
        let (violations, totals) =
            self.history.with(|history| (history.violations().to_vec(), history.totals()));
        self.report.reads_judged = totals.reads;
        let count = |pick: fn(&crate::model::Violation) -> Option<crate::model::TxnId>| {
            let ids: std::collections::BTreeSet<_> = violations.iter().filter_map(pick).collect();
            ids.len() as u64
        };
        self.report.lost = count(crate::model::Violation::lost);
        self.report.half_applied = count(crate::model::Violation::half_applied);
        self.report.failure = outcome.err();
        self.mark_counts();
        self.count_faults();
        for number in [totals.intents, totals.acknowledged, totals.refused, totals.reads] {
            self.fold(number);
        }
        self.report
    }

    pub(super) fn fold(&mut self, number: u64) {
        self.report.trace_hash = mix(self.report.trace_hash ^ mix(number));
    }

    fn episodes(&mut self) -> Result<(), Failed> {
        for number in 0..limits::EPISODES_MAX {
            let enough = self.report.work.operations >= self.operations_min;
            if enough && number >= self.swarm.episodes {
                break;
            }
            let seen = |error: Failed| format!("episode {number}: {error}");
            self.episode().map_err(seen)?;
            self.sound().map_err(seen)?;
            let checked = self.check().map_err(seen)?;
            self.compare_space(checked.as_ref()).map_err(seen)?;
            if let Some(checked) = checked {
                self.damage_between(&checked).map_err(seen)?;
            }
        }
        let seen = |error: Failed| format!("last opening: {error}");
        self.last_look().map_err(seen)?;
        self.sound().map_err(seen)?;
        let checked = self.check().map_err(seen)?;
        self.compare_space(checked.as_ref()).map_err(seen)?;
        self.nothing_is_set_aside()?;
        self.lying_device()?;
        self.rot_log()?;
        self.rot_pages()
    }

    /// Whether the model has found nothing wrong so far.
    fn sound(&self) -> Result<(), Failed> {
        self.history.with(|history| match history.violations() {
            [] => Ok(()),
            [first, ..] => Err(format!("{first} ({} such findings)", history.violation_count())),
        })
    }

    pub(super) fn world(&mut self) -> (SimWorld, u64) {
        let least = if self.life == 0 { 2 } else { 1 };
        let shards = self.random.between(least, self.swarm.shards_max);
        self.report.shards_max = self.report.shards_max.max(shards);
        self.life += 1;
        let seed = self.random.next_u64();
        let options = SimOptions::new(seed, shards as usize, self.disk.clone());
        (SimWorld::new(options), shards)
    }

    fn episode(&mut self) -> Result<(), Failed> {
        let (mut world, shards) = self.world();
        let cut_short = self.random.percent(self.swarm.crash_in_open_percent);
        let opened = if cut_short {
            let steps = self.random.between(1, self.open_steps + self.open_steps / 4);
            self.open(&mut world, Some(steps))?
        } else {
            self.open(&mut world, None)?
        };
        let Some(opened) = opened else {
            self.tell(format!("{shards} shards, not opened"));
            self.report.crashes += u64::from(self.cut_off);
            self.report.crashes_in_open += u64::from(self.cut_off);
            self.crash(world);
            return Ok(());
        };
        let mut ending = self.swarm.ending(&mut self.random);
        if self.opened_with_fault {
            // Its background work may have met the fault and stop the store any time.
            ending = Ending::Fault;
        }
        self.second_opener(&mut world)?;
        let tally = Arc::new(Tally::default());
        let reads_fail = self.plan_episode();
        self.opened_with_fault |= reads_fail;
        let clients = self.spawn_clients(&mut world, &opened, shards, &tally);
        let target = self.operations_min / u64::from(self.swarm.episodes);
        let target = self.random.between(target / 3 + 1, target * 2);
        let failure = (ending == Ending::Fault).then(|| self.plan_failure());
        let until =
            |least: u64| move |now: &TallyReport| now.ended == clients || now.operations >= least;
        let worked = self.work(&mut world, &tally, until(target / 2)).and_then(|()| {
            self.jump_clock();
            self.work(&mut world, &tally, until(target))
        });
        let worked = worked.and_then(|()| match ending {
            Ending::Fault => Ok(()),
            _ => self.faults_stop(&mut world, &tally, clients),
        });
        let worked = worked.map_err(|error| format!("{error}; {}", vitals(&opened.db)));
        let done = tally.report();
        let (work, kept) = (done.operations, done.acknowledged);
        self.tell(format!("{shards} shards, {work} operations, {kept} kept, {ending:?}"));
        let outcome =
            worked.and_then(|()| self.end(world, opened, (ending, failure), (&tally, clients)));
        self.report.work += tally.report();
        outcome
    }

    /// Opens and compares the store. `Ok(None)`: cut off, refused for a bound, or a planned
    /// fault hit; nothing is open then.
    pub(super) fn open(
        &mut self,
        world: &mut SimWorld,
        steps: Option<u64>,
    ) -> Result<Option<Opened>, Failed> {
        let progress = SharedProgress::default();
        let faulty = steps.is_none() && self.random.percent(4);
        self.opened_with_fault = faulty;
        self.cut_off = false;
        let errors_before = self.errors_met();
        if faulty {
            let on = *self.random.pick(&[DiskOp::Read, DiskOp::Write, DiskOp::Flush, DiskOp::Path]);
            self.disk.fail_next(on, self.random.scale(1, 60), EIO);
        }
        let opening = Opening {
            runtime: world.runtime(),
            options: self.options.clone(),
            history: self.history.clone(),
            keys: self.swarm.mix.keys,
            tablets: self.swarm.mix.tablets,
            clean: self.clean,
            is_made: self.report.reopens > 0,
            is_read_first: self.random.percent(20),
            progress: Arc::clone(&progress),
        };
        world.spawn_client("opening", opening.run());
        let begun = world.steps();
        let steps_max = steps.unwrap_or(limits::STEPS_OPEN_MAX);
        let end = world.run(steps_max, || lock(&progress).outcome.is_some());
        let read_before = lock(&progress).was_read_before;
        self.report.marks.add(marks::READ_ONLY_OPENING, u64::from(read_before));
        if let Some(shown) = lock(&progress).settled.take() {
            self.shown = shown;
            self.report.reopens += 1;
            self.clean = false;
        }
        let is_hit = self.errors_met() > errors_before;
        if faulty {
            self.disk.clear_faults();
            self.report.faults += u64::from(is_hit);
        }
        match lock(&progress).outcome.take() {
            Some(Ok(opened)) => {
                self.open_steps = world.steps() - begun;
                self.mark_opening(&opened.db.open_report());
                Ok(Some(opened))
            }
            Some(Err(Refusal::Refused(_))) if is_hit => Ok(None),
            Some(Err(Refusal::Bound(_))) if self.raise_bounds() => Ok(None),
            Some(Err(Refusal::Bound(why) | Refusal::Refused(why) | Refusal::Wrong(why))) => {
                Err(why)
            }
            None if steps.is_some() && !matches!(end, RunEnd::Stuck) => {
                self.cut_off = true;
                Ok(None)
            }
            None => Err(format!("opening hangs ({end:?}): {}", world.describe())),
        }
    }

    /// Gives the store more room; false if it has all there is.
    fn raise_bounds(&mut self) -> bool {
        let (memory_bytes, log_bytes_max) = (limits::MEMORY_BYTES_AMPLE, limits::LOG_BYTES_AMPLE);
        let bounded = self.swarm.disk_bytes.take().is_some();
        let tight =
            self.options.memory_bytes < memory_bytes || self.options.log_bytes_max < log_bytes_max;
        self.options.memory_bytes = memory_bytes;
        self.options.log_bytes_max = log_bytes_max;
        self.options.data_bytes_max = u64::MAX;
        self.disk.set_options(|options| options.capacity_bytes = u64::MAX);
        bounded || tight
    }

    pub(super) fn spawn_clients(
        &mut self,
        world: &mut SimWorld,
        opened: &Opened,
        shards: u64,
        tally: &Arc<Tally>,
    ) -> u64 {
        let clients = self.swarm.clients;
        self.report.clients_min = self.report.clients_min.min(clients);
        let live = self.history.with(|history| history.live_spaces());
        for client in 0..clients as u16 {
            let recorder: Arc<dyn Recorder> = Arc::new(self.history.clone());
            let keyspaces = client < 2;
            let name = format!("temporary-{client}");
            let leftover = opened.db.keyspace(&name).filter(|_| keyspaces).and_then(|keyspace| {
                let id = *live.get(&name)?;
                Some(crate::workload::Leftover { id, keyspace, ordered: true })
            });
            let options = ClientOptions {
                db: opened.db.clone(),
                recorder,
                tally: Arc::clone(tally),
                spaces: opened.spaces.clone(),
                mix: self.swarm.mix.clone(),
                random: self.aside(u64::from(client)),
                life: self.life,
                may_be_damaged: self.opened_with_fault,
                client,
                actions: u64::MAX,
                keyspaces,
                reuse_names: self.swarm.reuse_names,
                leftover,
            };
            let on_shard = self.random.percent(self.swarm.on_shard_percent);
            let shard = on_shard.then(|| ShardId::new(self.random.below(shards) as u16));
            world.spawn_client("client", drive(options, shard));
        }
        clients
    }

    /// Turns the world until `done` says so. Fails when its clients make no progress.
    pub(super) fn work(
        &mut self,
        world: &mut SimWorld,
        tally: &Tally,
        done: impl Fn(&crate::workload::TallyReport) -> bool,
    ) -> Result<(), Failed> {
        machine::work(world, || tally.report(), done)
    }

    /// Chance of its own for one purpose in this life, so that it moves nothing else.
    pub(super) fn aside(&self, purpose: u64) -> Random {
        self.random.fork(u64::from(self.life) << 16 | purpose)
    }

    /// Adds to what a reader of a failing seed wants to know.
    pub(super) fn tell(&mut self, what: String) {
        self.report.course.push(what);
    }

    pub(super) fn fold_world(&mut self, world: &SimWorld) {
        self.report.steps += world.steps();
        self.fold(world.trace_hash());
    }

    /// Opens twice more with all the room there is: first to be worked in without faults, then to
    /// be compared with what that left.
    fn last_look(&mut self) -> Result<(), Failed> {
        self.raise_bounds();
        self.last_opening(true)?;
        let checked = self.check()?;
        self.compare_space(checked.as_ref())?;
        self.last_opening(false)
    }

    pub(super) fn last_opening(&mut self, is_worked_in: bool) -> Result<(), Failed> {
        for _ in 0..limits::LAST_LOOKS_MAX {
            let (mut world, shards) = self.world();
            let Some(opened) = self.open(&mut world, None)? else {
                self.crash(world);
                continue;
            };
            if self.opened_with_fault {
                self.crash(world);
                continue;
            }
            self.healthy(&opened.db, Ending::Close)?;
            if is_worked_in {
                self.make_progress(&mut world, &opened, shards)?;
                self.healthy(&opened.db, Ending::Close)?;
            }
            self.close(&mut world, opened, true)?;
            self.fold_world(&world);
            world.kill();
            return Ok(());
        }
        Err("the store stays shut".to_owned())
    }
}

/// One client, as a task of somebody else's or as one on a shard.
async fn drive(options: ClientOptions, shard: Option<ShardId>) {
    let db = options.db.clone();
    match shard {
        None => Client::new(options, Session::Handle(db)).run().await,
        Some(shard) => {
            let work = move |local| Client::new(options, Session::OnShard(local)).run();
            // A refusal means that the store has stopped; the run looks at that by itself.
            let _stopped = db.on_shard(shard, work).await;
        }
    }
}

/// What a store that hangs says of itself.
fn vitals(db: &Db) -> String {
    let metrics = db.metrics();
    let names = [
        "wal",
        "log",
        "merge",
        "window",
        "views",
        "snapshot",
        "data",
        "commits_open",
        "root",
        "visible",
    ];
    let told = metrics.lines().iter().filter(|line| names.iter().any(|n| line.name.contains(n)));
    told.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn disk_options(random: &mut Random, swarm: &Swarm) -> SimDiskOptions {
    let mut disk = machine::draw_disk(random);
    disk.capacity_bytes = swarm.disk_bytes.unwrap_or(u64::MAX);
    disk
}
