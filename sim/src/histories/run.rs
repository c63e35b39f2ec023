//! The lives of one recorded history: open, work, crash, open again, until there is enough.

use std::sync::Arc;

use sombra::{Db, OpenError, Options};
use sombra_runtime::sim::{DiskOp, SimDisk, SimOptions, SimWorld};
use sombra_runtime::{Runtime, ShardId};

use super::client::{Client, ClientOptions, Space};
use super::dependent::{OPERATOR, Witness};
use super::plan::{Level, Plan};
use super::record::{Book, Counts};
use super::{HistoryOptions, HistoryReport};
use crate::isolation::{self, History};
use crate::limits;
use crate::machine::{self, Crash};
use crate::random::{Random, mix};
use crate::seeds::STORE_DIR;
use crate::workload::Session;

const EIO: i32 = 5;

/// What ends a seed early: the reason.
type Failed = String;

/// An open store with its keyspaces.
struct Opened {
    db: Db,
    spaces: Vec<Space>,
}

pub(super) struct Run {
    random: Random,
    plan: Arc<Plan>,
    /// What the store is opened with; memory that keeps it shut is raised.
    options: Options,
    disk: SimDisk,
    book: Book,
    witness: Witness,
    report: HistoryReport,
}

impl Run {
    pub(super) fn new(seed: u64, options: &HistoryOptions) -> Run {
        let random = Random::new(seed);
        let mut plan = Plan::draw(&mut random.fork(1));
        if options.is_mislabelled {
            plan.level = Level::Mislabelled;
        }
        let disk = SimDisk::new(machine::draw_disk(&mut random.fork(2)));
        let report = HistoryReport { seed, level: plan.level, ..HistoryReport::default() };
        Run {
            random: random.fork(3),
            options: plan.options.clone(),
            plan: Arc::new(plan),
            disk,
            book: Book::default(),
            witness: Witness::default(),
            report,
        }
    }

    /// Lives, then judges; an unsound history is no history.
    pub(super) fn finish(mut self) -> (HistoryReport, Option<History>) {
        self.report.course.push(self.plan.describe());
        let lived = self.lives();
        self.report.counts = self.book.counts();
        if let Err(failure) = lived {
            self.report.failure = Some(failure);
        }
        match History::new(None, self.book.transactions()) {
            Ok(history) => {
                self.judge(&history);
                (self.report, Some(history))
            }
            Err(error) => {
                self.report.failure.get_or_insert(format!("the recorder: {error}"));
                (self.report, None)
            }
        }
    }

    fn judge(&mut self, history: &History) {
        let found = isolation::check(history);
        let control = self.plan.level == Level::Mislabelled;
        let is_wrong = match control {
            // That it finds the mislabelled is the point; anything more would be a fault.
            true => found.violates(isolation::Isolation::Snapshot),
            false => !found.is_clean(),
        };
        if is_wrong {
            self.report.failure.get_or_insert(format!("isolation:\n{found}"));
        }
        self.report.found = found;
    }

    fn lives(&mut self) -> Result<(), Failed> {
        for number in 0..limits::RECORDED_LIVES_MAX {
            if self.book.counts().finished >= self.plan.transactions {
                break;
            }
            self.life(true).map_err(|error| format!("life {number}: {error}"))?;
        }
        // What the last crash left is looked at too.
        self.life(false).map_err(|error| format!("last life: {error}"))
    }

    fn life(&mut self, works: bool) -> Result<(), Failed> {
        let shards = self.random.between(2, 4);
        let seed = self.random.next_u64();
        let mut options = SimOptions::new(seed, shards as usize, self.disk.clone());
        options.turn_ns = 100..=self.plan.turn_ns_max;
        let mut world = SimWorld::new(options);
        let Some(opened) = self.open(&mut world)? else {
            world.kill();
            return Ok(());
        };
        let mut crash = *self.random.pick(&Crash::ALL);
        let faulty = works && self.random.percent(self.plan.faults);
        if faulty {
            let on = *self.random.pick(&[DiskOp::Write, DiskOp::Flush]);
            self.disk.fail_next(on, self.random.scale(10, 2_000), EIO);
            // What a failed write or flush left in the device is covered by no later flush.
            crash = Crash::KillThenPowerCut;
            self.report.faults += 1;
        }
        let worked = match works {
            true => self.work(&mut world, &opened, shards),
            false => Ok(()),
        };
        self.book.end_life(world.now().as_nanos());
        let metrics = opened.db.metrics();
        self.report.lock_waits += metrics.value("sombra_lock_waits_total") as u64;
        self.report.deadlocks += metrics.value("sombra_deadlocks_total") as u64;
        self.report.merges += metrics.value("sombra_merges_total") as u64;
        self.report.crashes += 1;
        let state = format!(
            "{shards} shards, {} transactions, {crash:?}{}",
            self.book.counts().finished,
            if faulty { " after a fault" } else { "" }
        );
        self.report.course.push(state);
        self.report.steps += world.steps();
        self.report.trace_hash = mix(self.report.trace_hash ^ world.trace_hash());
        let stopped = opened.db.poison_reason().filter(|_| !faulty);
        crash.end(world, &self.disk);
        self.disk.clear_faults();
        drop(opened);
        worked?;
        match (stopped, self.book.broken()) {
            (Some(reason), _) => Err(format!("the store stopped: {reason}")),
            (None, Some(broken)) => Err(broken),
            (None, None) => Ok(()),
        }
    }

    fn work(&mut self, world: &mut SimWorld, opened: &Opened, shards: u64) -> Result<(), Failed> {
        let clients = self.plan.clients;
        for number in 1..=clients {
            let options = self.client_options(world.runtime(), opened, number as u32);
            let on_shard = self.random.percent(self.plan.on_shard);
            let shard = on_shard.then(|| ShardId::new(self.random.below(shards) as u16));
            world.spawn_client("client", drive(options, shard));
        }
        let target = self.book.counts().finished + self.random.scale(60, 600);
        let book = self.book.clone();
        let is_over = |now: &Counts| now.finished >= target || now.clients_ended == clients;
        machine::work(world, || book.counts(), is_over)?;
        // The crash comes at any moment, also while a commit is on its way.
        let extra = self.random.scale(1, 400);
        world.run(extra, || false);
        Ok(())
    }

    fn client_options(&mut self, runtime: Runtime, opened: &Opened, number: u32) -> ClientOptions {
        ClientOptions {
            db: opened.db.clone(),
            spaces: opened.spaces.clone(),
            plan: Arc::clone(&self.plan),
            pen: self.book.pen(runtime),
            witness: self.witness.clone(),
            random: Random::new(self.random.next_u64()),
            number,
        }
    }

    /// Opens the store and looks at all of it. `Ok(None)`: it needs more memory, and gets it.
    fn open(&mut self, world: &mut SimWorld) -> Result<Option<Opened>, Failed> {
        let (runtime, options) = (world.runtime(), self.options.clone());
        let (plan, witness) = (Arc::clone(&self.plan), self.witness.clone());
        let opened = machine::finish(world, "opening", async move {
            open(&runtime, options, &plan, &witness).await
        });
        let opened = match opened? {
            Ok(opened) => opened,
            Err(OpenFailed::Memory) if self.options.memory_bytes < limits::MEMORY_BYTES_AMPLE => {
                self.options.memory_bytes = limits::MEMORY_BYTES_AMPLE;
                return Ok(None);
            }
            Err(OpenFailed::Memory) => return Err("no memory is enough".to_owned()),
            Err(OpenFailed::Wrong(reason)) => return Err(reason),
        };
        let snapshot = opened.db.snapshot().map_err(|error| format!("after opening: {error}"))?;
        self.book.begin_life(snapshot.lsn().as_u64());
        drop(snapshot);
        let options = self.client_options(world.runtime(), &opened, 0);
        let session = Session::Handle(opened.db.clone());
        // What its reads show is in the history, whatever they end with.
        let _ended = machine::finish(world, "look", async move {
            Client::new(options, session).look_at_all().await
        })?;
        Ok(Some(opened))
    }
}

enum OpenFailed {
    Memory,
    Wrong(String),
}

async fn open(
    runtime: &Runtime,
    options: Options,
    plan: &Plan,
    witness: &Witness,
) -> Result<Opened, OpenFailed> {
    let opened = Db::open(runtime, STORE_DIR, options).await;
    let db = opened.map_err(|error| match error {
        OpenError::MemoryTooSmall { .. } => OpenFailed::Memory,
        error => OpenFailed::Wrong(format!("open: {error}")),
    })?;
    let mut spaces = Vec::new();
    for &kind in &plan.kinds {
        let keyspace = match db.keyspace(kind.name()) {
            Some(keyspace) => keyspace,
            None => {
                let made = db.create_keyspace(kind.name(), kind.routing()).await;
                made.map_err(|error| OpenFailed::Wrong(format!("create keyspace: {error}")))?
            }
        };
        db.register_merge_operator(&keyspace, OPERATOR, witness.clone())
            .map_err(|error| OpenFailed::Wrong(format!("register: {error}")))?;
        spaces.push(Space { kind, keyspace });
    }
    Ok(Opened { db, spaces })
}

/// One client, as a task of somebody else's or as one on a shard.
async fn drive(options: ClientOptions, shard: Option<ShardId>) {
    let (db, pen) = (options.db.clone(), options.pen.clone());
    match shard {
        None => Client::new(options, Session::Handle(db)).run().await,
        Some(shard) => {
            let work = move |local| Client::new(options, Session::OnShard(local)).run();
            // A refusal means that the store has stopped; the run looks at that by itself.
            let _stopped = db.on_shard(shard, work).await;
        }
    }
    pen.client_ended();
}
