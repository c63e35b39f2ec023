//! What every phase of a run works with.

use std::sync::Arc;
use std::time::Duration;

use sombra::{Db, Keyspace, LocalDb, OpenMode, Options};
use sombra_runtime::{Runtime, RuntimeOptions, Shard, ShardId};

use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::history::Recording;
use crate::limits::LOADERS_PER_SHARD;
use crate::measure::{Ledger, Stop};
use crate::phase::disk::Stretch;
use crate::place::Place;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::workload::{Inserts, Shape};

/// An open store, its runtime, and what the run knows about it.
pub(crate) struct Session {
    pub(crate) plan: Plan,
    pub(crate) place: Place,
    pub(crate) runtime: Runtime,
    pub(crate) db: Db,
    pub(crate) keyspace: Keyspace,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) inserts: Arc<Inserts>,
    pub(crate) recording: Recording,
    is_closed: bool,
    pub(crate) stop: Stop,
    pub(crate) progress: Progress,
}

impl Session {
    /// Checks the plan and the space, starts the shards, and makes the store.
    pub(crate) fn open(plan: Plan, stop: Stop, progress: Progress) -> Result<Session, BenchError> {
        plan.validate()?;
        let place = Place::prepare(&plan.dir, plan.space_needed_bytes(), plan.keep)?;
        let runtime = Runtime::start(RuntimeOptions {
            shards: plan.shards,
            driver: plan.driver,
            ..RuntimeOptions::default()
        })?;
        let made = make_store(&runtime, &plan, &place)
            .and_then(|made| Ok((made, recording_of(&runtime, &plan)?)));
        match made {
            Ok(((db, keyspace), recording)) => {
                let ledger = Arc::new(Ledger::following(plan.ledger_stride()));
                let inserts = Arc::new(Inserts::after(plan.records));
                let is_closed = false;
                Ok(Session {
                    plan,
                    place,
                    runtime,
                    db,
                    keyspace,
                    ledger,
                    inserts,
                    recording,
                    is_closed,
                    stop,
                    progress,
                })
            }
            Err(error) => {
                runtime.shutdown();
                Err(error)
            }
        }
    }

    /// Whether somebody asked for the end, or the history of the run takes no more.
    pub(crate) fn is_to_end(&self) -> bool {
        self.stop.is_requested() || self.recording.is_over()
    }

    /// How long each measurement of the device takes.
    pub(crate) fn stretch(&self) -> Stretch {
        Stretch {
            warmup: self.plan.warmup,
            measured: self.plan.measured,
            stop: self.stop.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Closes the store, if it is not.
    pub(crate) fn close(&mut self) -> Result<(), BenchError> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        Ok(self.runtime.block_on(self.db.clone().close())?)
    }

    /// Closes the store and opens it again, as after a restart: reads then find what recovery
    /// brought back, and nothing that only memory held.
    pub(crate) fn reopen(&mut self) -> Result<Duration, BenchError> {
        self.close()?;
        let started = self.runtime.now();
        let options = Options { open_mode: OpenMode::MustExist, ..store_options(&self.plan) };
        let opened = Db::open(&self.runtime, self.place.store(), options);
        self.db = self.runtime.block_on(opened)?;
        self.is_closed = false;
        let took = self.runtime.now().saturating_since(started);
        let missing = || BenchError::phase("reopen", "the keyspace is gone");
        self.keyspace = self.db.keyspace(self.plan.keyspace().0).ok_or_else(missing)?;
        Ok(took)
    }

    /// Ends the run: closes the store, stops the shards, and removes the files unless kept.
    pub(crate) fn end(mut self) -> Result<(), BenchError> {
        let closed = self.close();
        self.runtime.shutdown();
        closed
    }

    /// Runs tasks on every shard, which share all records among them, and gives their results.
    pub(crate) fn on_every_shard<T, F, Fut>(&self, job: F) -> Result<Vec<T>, BenchError>
    where
        T: Send + Unpin + 'static,
        F: Fn(ShardTask) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let shards = self.runtime.shard_count();
        let futures = (0..shards * LOADERS_PER_SHARD).map(|index| {
            let shard = ShardId::new((index % shards) as u16);
            let (job, keyspace) = (job.clone(), self.keyspace.clone());
            let (lane, records, shape) = (index / shards, self.inserts.taken(), self.plan.shape);
            self.db.on_shard(shard, move |local| {
                let shard = local.runtime_shard();
                job(ShardTask { local, shard, keyspace, shape, records, lane: lane as u64 })
            })
        });
        let results = self.runtime.block_on(Crowd::new(futures));
        let stopped = |error| BenchError::phase("task on a shard", error);
        results.into_iter().map(|result| result.map_err(stopped)).collect()
    }
}

/// One of several tasks that share the records among them.
pub(crate) struct ShardTask {
    pub(crate) local: LocalDb,
    pub(crate) shard: Shard,
    pub(crate) keyspace: Keyspace,
    pub(crate) shape: Shape,
    records: u64,
    lane: u64,
}

impl ShardTask {
    /// The records of this task's lane that its own shard holds, with their keys: no other task
    /// has them, and none of them needs a hop.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        self.records_every(1)
    }

    /// The same of every `stride`-th record only.
    pub(crate) fn records_every(&self, stride: u64) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        (self.lane * stride..self.records)
            .step_by(LOADERS_PER_SHARD * stride as usize)
            .map(|record| (record, self.shape.key(record)))
            .filter(|(_, key)| self.local.shard_of(&self.keyspace, key) == self.local.shard())
    }
}

fn make_store(runtime: &Runtime, plan: &Plan, place: &Place) -> Result<(Db, Keyspace), BenchError> {
    let options = Options { open_mode: OpenMode::CreateNew, ..store_options(plan) };
    let db = runtime.block_on(Db::open(runtime, place.store(), options))?;
    let (name, routing) = plan.keyspace();
    let keyspace = runtime.block_on(db.create_keyspace(name, routing))?;
    Ok((db, keyspace))
}

fn recording_of(runtime: &Runtime, plan: &Plan) -> Result<Recording, BenchError> {
    let Some(path) = &plan.history else { return Ok(Recording::default()) };
    Recording::create(path, runtime, (plan.keyspace().0, plan.shape))
}

fn store_options(plan: &Plan) -> Options {
    Options {
        memory_bytes: plan.memory_bytes(),
        log_bytes_max: plan.log_bytes_max(),
        data_bytes_max: plan.data_bytes_max(),
        ..Options::default()
    }
}
