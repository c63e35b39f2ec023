//! A crowd of clients at work for a fixed time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sombra::{Db, Keyspace};
use sombra_runtime::{Runtime, ShardId};

use crate::client::{Client, ClientReport, PhaseShared};
use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::measure::{Pace, Window};
use crate::plan::ClientsOn;
use crate::random::Random;
use crate::sample::Sample;
use crate::session::Session;
use crate::site::{HandleSite, ShardSite};
use crate::workload::{Chooser, Distribution, Mix};

/// One phase of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientsPhase {
    pub(crate) name: &'static str,
    pub(crate) mix: Mix,
    pub(crate) distribution: Distribution,
    pub(crate) clients: usize,
    pub(crate) on: ClientsOn,
    pub(crate) rate_per_s: Option<u64>,
    /// Time before anything counts.
    pub(crate) warmup: Duration,
}

/// What a phase came to.
#[derive(Clone, Debug)]
pub(crate) struct ClientsRun {
    pub(crate) phase: ClientsPhase,
    pub(crate) report: ClientReport,
    pub(crate) seconds: f64,
    /// What the store and the process counted over the measured time.
    pub(crate) counted: Sample,
}

/// How often the thread that watches a phase looks up.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

impl Session {
    /// Runs a phase and waits for its last client.
    pub(crate) fn run_clients(&self, phase: ClientsPhase) -> Result<ClientsRun, BenchError> {
        let (warmup, measured) = (phase.warmup, self.plan.measured);
        self.progress.begin_timed(phase.name, warmup + measured);
        let (distribution, loaded) = (phase.distribution, self.plan.records);
        let chooser = if phase.mix.grows() {
            Chooser::growing(distribution, loaded)
        } else {
            Chooser::new(distribution, loaded)
        };
        let shared = Arc::new(PhaseShared {
            mix: phase.mix,
            chooser,
            shape: self.plan.shape,
            window: Window::starting(self.runtime.now(), warmup, measured),
            stop: self.stop.clone(),
            ledger: Arc::clone(&self.ledger),
            inserts: Arc::clone(&self.inserts),
            at_work: AtomicUsize::new(phase.clients),
        });
        let clients: Vec<_> =
            (0..phase.clients).map(|index| self.new_client(&phase, &shared, index)).collect();
        let crew = Crew { db: &self.db, runtime: &self.runtime, keyspace: &self.keyspace, clients };
        let outcome = Mutex::new(Ok(ClientReport::default()));
        let (counted, seconds) = thread::scope(|scope| {
            let outcome = &outcome;
            scope.spawn(move || {
                let report = crew.work(phase.on);
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = report;
            });
            self.watch(&shared)
        });
        let report = outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(ClientsRun { phase, report, seconds, counted })
    }

    fn new_client(&self, phase: &ClientsPhase, shared: &Arc<PhaseShared>, index: usize) -> Client {
        let writer = self.ledger.new_writer();
        let pace =
            phase.rate_per_s.map_or(Pace::Closed, |rate| Pace::open(rate, phase.clients, index));
        let random = Random::for_client(self.plan.seed, u64::from(writer));
        Client { shared: Arc::clone(shared), pace, random, writer }
    }

    /// Waits for the window to pass and samples the counters at both of its ends.
    fn watch(&self, shared: &PhaseShared) -> (Sample, f64) {
        let window = shared.window;
        let mut before = None;
        loop {
            let now = self.runtime.now();
            if before.is_none() && now >= window.counts_from {
                before = Some(Sample::take(&self.db));
            }
            let idle = shared.at_work.load(Ordering::Relaxed) == 0;
            if now >= window.end || idle || self.stop.is_requested() {
                let after = Sample::take(&self.db);
                let counted = after.since(&before.unwrap_or(after));
                return (counted, window.measured(now).as_secs_f64());
            }
            self.progress.elapsed(now.saturating_since(window.begin));
            let next = if before.is_none() { window.counts_from } else { window.end };
            thread::sleep(WATCH_INTERVAL.min(next.saturating_since(now)));
        }
    }
}

/// The clients of a phase, before they take their places.
struct Crew<'a> {
    db: &'a Db,
    runtime: &'a Runtime,
    keyspace: &'a Keyspace,
    clients: Vec<Client>,
}

impl Crew<'_> {
    fn work(self, on: ClientsOn) -> Result<ClientReport, BenchError> {
        match on {
            ClientsOn::Shards => self.on_shards(),
            ClientsOn::Handle => self.through_handle(),
        }
    }

    fn on_shards(self) -> Result<ClientReport, BenchError> {
        let shards = self.runtime.shard_count();
        let futures = self.clients.into_iter().enumerate().map(|(index, client)| {
            let keyspace = self.keyspace.clone();
            self.db.on_shard(ShardId::new((index % shards) as u16), move |local| {
                let shard = local.runtime_shard();
                client.run(ShardSite { local, shard, keyspace })
            })
        });
        let mut whole = ClientReport::default();
        for report in self.runtime.block_on(Crowd::new(futures)) {
            whole.merge(report.map_err(|error| BenchError::phase("clients", error))?);
        }
        Ok(whole)
    }

    fn through_handle(self) -> Result<ClientReport, BenchError> {
        let (db, runtime, keyspace) = (self.db, self.runtime, self.keyspace);
        let mut whole = ClientReport::default();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for client in self.clients {
                let site = HandleSite {
                    db: db.clone(),
                    runtime: runtime.clone(),
                    keyspace: keyspace.clone(),
                };
                let work = move || runtime.block_on(client.run(site));
                let thread = thread::Builder::new().name("bench-client".to_owned());
                let spawned = thread.spawn_scoped(scope, work);
                threads.push(spawned.map_err(|error| BenchError::phase("clients", error))?);
            }
            for thread in threads {
                let panicked = |_| BenchError::phase("clients", "a client's thread panicked");
                whole.merge(thread.join().map_err(panicked)?);
            }
            Ok(whole)
        })
    }
}
