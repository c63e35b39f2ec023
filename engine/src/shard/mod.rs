//! A shard of an open store: owns tablets, takes requests, runs the store's services.
//!
//! Knows who asks and what runs. Must never know the public API's types or a transaction's
//! buffered state.

mod catalog;
mod replay;
mod request;
mod scrubbing;
mod services;
mod shared;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;
use sombra_runtime::sync::atomic::Ordering;
use sombra_runtime::sync::{MailboxReceiver, MailboxSender, MeshPort, Signal};
use sombra_runtime::{Shard, ShardId, TaskClass};

use crate::commit::{Carrier, CommitMessage, CommitRequest, Core, commit_across};
use crate::ids::{Lsn, TabletId};
use crate::keyspace::Keyspace;
use crate::limits;
use crate::merge::{Merger, PublishRequest};
use crate::tablet::{Found, PageStore, PointRead, RangeRequest, Reader, TreeState};

pub(crate) use catalog::CatalogRequest;
pub(crate) use replay::{ReplayFeed, ShardStart, start_replay};
pub(crate) use request::{CatalogChange, Job, Request, ScanPage, TabletReadError};
pub(crate) use scrubbing::{ScrubPlan, scrub_now};
pub(crate) use services::{MetricsText, settle_log, start_services};
pub(crate) use shared::{StoreParts, StoreShared};

/// One shard's state of one store.
pub(crate) struct ShardState {
    pub(crate) shard: Shard,
    pub(crate) core: Rc<Core>,
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) pages: Rc<PageStore>,
    /// A change of the set of keyspaces is on its way (shard 0 only).
    catalog_is_busy: Cell<bool>,
    scrub_callers: scrubbing::ScrubCallers,
    mesh: MeshPort<Request>,
    stops: RefCell<Vec<Rc<Signal>>>,
}

impl ShardState {
    pub(crate) fn new(
        core: Rc<Core>,
        shared: Arc<StoreShared>,
        mesh: MeshPort<Request>,
    ) -> std::io::Result<Rc<ShardState>> {
        let shard = core.shard.clone();
        let cache_bytes = core.store.memory.cache_max_bytes() / shared.shard_count() as u64;
        let volume = Arc::clone(&core.store.volume);
        let pages = PageStore::new(shard.clone(), volume, (cache_bytes, core.panic_sink()))?;
        Ok(Rc::new(ShardState {
            shard,
            core,
            shared,
            pages,
            catalog_is_busy: Cell::new(false),
            scrub_callers: scrubbing::ScrubCallers::default(),
            mesh,
            stops: RefCell::default(),
        }))
    }

    pub(crate) fn id(&self) -> ShardId {
        self.shard.id()
    }

    /// Runs a future for the life of the store on this shard, until [`ShardState::stop`].
    pub(crate) fn spawn_service(
        &self,
        name: &'static str,
        class: TaskClass,
        service: impl Future<Output = ()> + 'static,
    ) {
        let stop = Rc::new(Signal::new());
        {
            // Some services end by themselves, and then nobody else knows their signal.
            let mut stops = self.stops.borrow_mut();
            stops.retain(|stop| Rc::strong_count(stop) > 1);
            stops.push(Rc::clone(&stop));
        }
        self.shard.spawn(self.core.spec(name, class), async move {
            let (mut stopped, mut service) = (Box::pin(stop.wait()), Box::pin(service));
            poll_fn(|context| {
                if stopped.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                service.as_mut().poll(context)
            })
            .await;
        });
    }

    /// Ends all services of this shard; their receivers go, and with them what was queued.
    pub(crate) fn stop(&self) {
        self.stops.borrow().iter().for_each(|stop| stop.raise());
    }

    /// Starts the loops that take requests, settle commits and merge.
    pub(crate) fn start(
        self: &Rc<Self>,
        mut mailbox: MailboxReceiver<Request>,
        publisher: MailboxSender<PublishRequest>,
    ) {
        if !self.shared.report.read_only {
            let merger = Merger::new(Rc::clone(&self.core), Rc::clone(&self.pages), publisher);
            self.spawn_service("merge", TaskClass::Merge, merger.run());
            let locks = Rc::clone(&self.core).keep_locks();
            self.spawn_service("locks", TaskClass::Foreground, locks);
        }
        let state = Rc::clone(self);
        self.spawn_service("requests from outside", TaskClass::Foreground, async move {
            let mut taken = 0;
            while let Some(request) = mailbox.recv().await {
                state.take(request);
                taken += 1;
                if taken % limits::REQUESTS_PER_TURN_MAX == 0 {
                    state.shard.yield_now().await;
                }
            }
        });
        let state = Rc::clone(self);
        self.spawn_service("requests from shards", TaskClass::Foreground, async move {
            let mut taken = 0;
            loop {
                let (_, request) = state.mesh.recv().await;
                state.take(request);
                taken += 1;
                if taken % limits::REQUESTS_PER_TURN_MAX == 0 {
                    state.shard.yield_now().await;
                }
            }
        });
        let state = Rc::clone(self);
        // After the foreground tasks of a turn: what they filled shares one log write.
        self.spawn_service("settle commits", TaskClass::Flush, async move {
            loop {
                state.core.store.signal(state.id()).wait().await;
                state.core.progress();
                state.core.start_flights();
            }
        });
    }

    /// Sends a request to another shard; waits for room on the way.
    pub(crate) async fn send(&self, to: ShardId, request: Request) -> Result<(), ()> {
        self.mesh.send(to.index(), request).await.map_err(drop)
    }

    /// Takes one request. Never waits: what has to wait becomes a task of its own.
    pub(crate) fn take(self: &Rc<Self>, request: Request) {
        match request {
            Request::Get { tablet, key, snapshot, reply } => {
                match self.get(tablet, &key, snapshot) {
                    Ok(Found::Value(read)) => drop(reply.send(Ok(read))),
                    Ok(Found::TooOld) => drop(reply.send(Err(TabletReadError::TooOld))),
                    Ok(Found::Pending(pending)) => {
                        let pages = self.pages.of(tablet);
                        let spec = self.core.spec("get", TaskClass::Foreground);
                        self.shard.spawn(spec, async move {
                            let read = pending.finish(pages).await.map(PointRead::of);
                            drop(reply.send(read.map_err(TabletReadError::Page)));
                        });
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Request::Scan { page, reply } => match self.reader(page.tablet, page.snapshot) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(reader) => {
                    let ScanPage { from, to, direction, is_keys_only, .. } = page;
                    let request = RangeRequest { from, to, direction, is_keys_only };
                    let rows = reader.range(self.pages.of(page.tablet), request);
                    let spec = self.core.spec("scan", TaskClass::Foreground);
                    self.shard.spawn(spec, async move {
                        drop(reply.send(rows.await.map_err(TabletReadError::Page)));
                    });
                }
            },
            Request::Commit(request) => self.commit(request),
            Request::CommitDependent(request) => self.core.commit_dependent(request, &self.pages),
            Request::Message(message) => self.core.take_message(message),
            Request::Lock(request) => self.core.take_lock_request(request),
            Request::Catalog { change, reply } => catalog::submit(self, change, reply),
            Request::Tablets { keyspace, exist, reply } => {
                self.set_tablets(&keyspace, exist);
                let _ = reply.send(());
            }
            Request::Run(job) => job(self),
            Request::Drain { reply } => self.drain(reply),
        }
    }

    /// The value of a key at a snapshot, or what has to be fetched for it.
    pub(crate) fn get(
        &self,
        tablet: TabletId,
        key: &[u8],
        snapshot: Lsn,
    ) -> Result<Found, TabletReadError> {
        let counters = self.core.counters();
        let reads = counters.reads.fetch_add(1, Ordering::Relaxed);
        if reads.is_multiple_of(limits::READS_PER_CACHE_REPORT) {
            counters.publish_cache(&self.pages.cache.counters(), self.pages.cache.resident_bytes());
        }
        let found = self.core.with_tablet(tablet, |tablet| tablet.get(key, snapshot, &self.pages));
        found.ok_or(TabletReadError::Gone)
    }

    /// What a range read at a snapshot looks at.
    fn reader(&self, tablet: TabletId, snapshot: Lsn) -> Result<Reader, TabletReadError> {
        self.core.counters().scans.fetch_add(1, Ordering::Relaxed);
        let reader = self.core.with_tablet(tablet, |tablet| tablet.reader(snapshot));
        reader.ok_or(TabletReadError::Gone)?.ok_or(TabletReadError::TooOld)
    }

    /// Commits a request as its coordinator.
    pub(crate) fn commit(self: &Rc<Self>, request: CommitRequest) {
        if request.parts.len() == 1 {
            return self.core.commit_here(request);
        }
        let carrier = MeshCarrier(Rc::clone(self));
        let spec = self.core.spec("commit across shards", TaskClass::Foreground);
        self.shard.spawn(spec, commit_across(Rc::clone(&self.core), carrier, request));
    }

    fn set_tablets(&self, keyspace: &Keyspace, exist: bool) {
        for tablet in keyspace.tablets() {
            if self.shared.owner(keyspace, tablet) != self.id() {
                continue;
            }
            match exist {
                true => {
                    let page_size = self.pages.volume.page_size_bytes() as u32;
                    let tree = TreeState::empty(keyspace.created_lsn(), page_size);
                    self.core.add_tablet(tablet, tree);
                }
                false => self.core.remove_tablet(tablet),
            }
        }
    }

    fn drain(self: &Rc<Self>, reply: oneshot::Sender<()>) {
        let state = Rc::clone(self);
        let spec = self.core.spec("drain", TaskClass::Maintenance);
        self.shard.spawn(spec, async move {
            while !state.core.is_quiet() {
                state.core.progress();
                state.core.start_flights();
                state.shard.sleep(std::time::Duration::from_micros(limits::DRAIN_POLL_US)).await;
            }
            let _ = reply.send(());
        });
    }
}

/// Carries commit messages over the mesh.
struct MeshCarrier(Rc<ShardState>);

impl Carrier for MeshCarrier {
    async fn carry(&self, to: ShardId, message: CommitMessage) -> Result<(), ()> {
        self.0.send(to, Request::Message(message)).await
    }
}
