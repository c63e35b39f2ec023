//! Sends a crew to its places, on shards or on threads, and counts what happens meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sombra::{Db, Keyspace};
use sombra_runtime::{Runtime, ShardId};

use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::measure::Window;
use crate::plan::ClientsOn;
use crate::sample::Sample;
use crate::session::Session;
use crate::site::{HandleSite, ShardSite, Site};

/// One member of a crew: works at a site until its window ends.
///
/// Used within this crate only and never as an object, so that its futures need no bounds.
pub(crate) trait Work: Send + 'static {
    type Outcome: Default + Send + Unpin + 'static;
    async fn work(self, site: impl Site) -> Self::Outcome;
    fn merge(whole: &mut Self::Outcome, part: Self::Outcome);
}

/// Where a crew stands, for how long, and how many of it are still at work.
pub(crate) struct Shift<'a> {
    pub(crate) on: ClientsOn,
    pub(crate) window: Window,
    pub(crate) at_work: &'a AtomicUsize,
}

/// What a crew came to, and what the store and the process counted over the measured time.
pub(crate) struct Worked<T> {
    pub(crate) outcome: T,
    pub(crate) counted: Sample,
    pub(crate) seconds: f64,
}

/// How often the thread that watches a crew looks up.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

impl Session {
    /// Puts a crew to work and waits for its last member.
    pub(crate) fn run_crew<W: Work>(
        &self,
        members: Vec<W>,
        shift: &Shift<'_>,
    ) -> Result<Worked<W::Outcome>, BenchError> {
        let crew = Crew { db: &self.db, runtime: &self.runtime, keyspace: &self.keyspace, members };
        let outcome = Mutex::new(Ok(W::Outcome::default()));
        let (counted, seconds) = thread::scope(|scope| {
            let outcome = &outcome;
            scope.spawn(move || {
                let whole = crew.work(shift.on);
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = whole;
            });
            self.watch(shift)
        });
        let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(Worked { outcome, counted, seconds })
    }

    /// Waits for the window to pass and samples the counters at both of its ends.
    fn watch(&self, shift: &Shift<'_>) -> (Sample, f64) {
        let window = shift.window;
        let mut before = None;
        loop {
            let now = self.runtime.now();
            if before.is_none() && now >= window.counts_from {
                before = Some(Sample::take(&self.db));
            }
            let idle = shift.at_work.load(Ordering::Relaxed) == 0;
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

/// The members of a crew, before they take their places.
struct Crew<'a, W> {
    db: &'a Db,
    runtime: &'a Runtime,
    keyspace: &'a Keyspace,
    members: Vec<W>,
}

impl<W: Work> Crew<'_, W> {
    fn work(self, on: ClientsOn) -> Result<W::Outcome, BenchError> {
        match on {
            ClientsOn::Shards => self.on_shards(),
            ClientsOn::Handle => self.through_handle(),
        }
    }

    fn on_shards(self) -> Result<W::Outcome, BenchError> {
        let shards = self.runtime.shard_count();
        let futures = self.members.into_iter().enumerate().map(|(index, member)| {
            let keyspace = self.keyspace.clone();
            self.db.on_shard(ShardId::new((index % shards) as u16), move |local| {
                let shard = local.runtime_shard();
                member.work(ShardSite { local, shard, keyspace })
            })
        });
        let mut whole = W::Outcome::default();
        for part in self.runtime.block_on(Crowd::new(futures)) {
            W::merge(&mut whole, part.map_err(|error| BenchError::phase("clients", error))?);
        }
        Ok(whole)
    }

    fn through_handle(self) -> Result<W::Outcome, BenchError> {
        let (db, runtime, keyspace) = (self.db, self.runtime, self.keyspace);
        let mut whole = W::Outcome::default();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for member in self.members {
                let site = HandleSite {
                    db: db.clone(),
                    runtime: runtime.clone(),
                    keyspace: keyspace.clone(),
                };
                let work = move || runtime.block_on(member.work(site));
                let thread = thread::Builder::new().name("bench-client".to_owned());
                let spawned = thread.spawn_scoped(scope, work);
                threads.push(spawned.map_err(|error| BenchError::phase("clients", error))?);
            }
            for thread in threads {
                let panicked = |_| BenchError::phase("clients", "a client's thread panicked");
                W::merge(&mut whole, thread.join().map_err(panicked)?);
            }
            Ok(whole)
        })
    }
}
