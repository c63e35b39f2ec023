//! A shard of an open store: owns tablets, takes requests, runs the store's services.
//!
//! Knows who asks and what runs. Must never know the public API's types or a transaction's
//! buffered state.

mod catalog;
mod replay;
mod request;
mod services;
mod shared;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;
use sombra_runtime::sync::atomic::Ordering;
use sombra_runtime::sync::{MailboxReceiver, MeshPort, Signal};
use sombra_runtime::{Shard, ShardId, TaskClass};

use crate::commit::{Carrier, CommitMessage, CommitRequest, Core, commit_across};
use crate::ids::{Lsn, TabletId};
use crate::keyspace::Keyspace;
use crate::limits;
use crate::window::RangePage;

pub(crate) use catalog::CatalogRequest;
pub(crate) use replay::{ReplayFeed, ShardStart, start_replay};
pub(crate) use request::{CatalogChange, Job, Request, ScanPage, TabletGone};
pub(crate) use services::{settle_log, start_services};
pub(crate) use shared::{StoreParts, StoreShared};

/// One shard's state of one store.
pub(crate) struct ShardState {
    pub(crate) shard: Shard,
    pub(crate) core: Rc<Core>,
    pub(crate) shared: Arc<StoreShared>,
    mesh: MeshPort<Request>,
    stops: RefCell<Vec<Rc<Signal>>>,
}

impl ShardState {
    pub(crate) fn new(
        core: Rc<Core>,
        shared: Arc<StoreShared>,
        mesh: MeshPort<Request>,
    ) -> Rc<ShardState> {
        let shard = core.shard.clone();
        Rc::new(ShardState { shard, core, shared, mesh, stops: RefCell::default() })
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
        self.stops.borrow_mut().push(Rc::clone(&stop));
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

    /// Starts the loops that take requests and settle commits.
    pub(crate) fn start(self: &Rc<Self>, mut mailbox: MailboxReceiver<Request>) {
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
                drop(reply.send(self.get(tablet, &key, snapshot)));
            }
            Request::Scan { page, reply } => drop(reply.send(self.scan(&page))),
            Request::Commit(request) => self.commit(request),
            Request::Message(message) => self.core.take_message(message),
            Request::Catalog { change, reply } => catalog::submit(self, change, reply),
            Request::Tablets { keyspace, exist, reply } => {
                self.set_tablets(&keyspace, exist);
                let _ = reply.send(());
            }
            Request::Run(job) => job(self),
            Request::Drain { reply } => self.drain(reply),
        }
    }

    /// The value of a key at a snapshot.
    pub(crate) fn get(
        &self,
        tablet: TabletId,
        key: &[u8],
        snapshot: Lsn,
    ) -> Result<Option<bytes::Bytes>, TabletGone> {
        self.core.counters().reads.fetch_add(1, Ordering::Relaxed);
        self.core.with_tablet(tablet, |tablet| tablet.get(key, snapshot)).ok_or(TabletGone)
    }

    /// One page of a scan.
    pub(crate) fn scan(&self, page: &ScanPage) -> Result<RangePage, TabletGone> {
        self.core.counters().scans.fetch_add(1, Ordering::Relaxed);
        let (from, to) =
            (page.from.as_ref().map(AsRef::as_ref), page.to.as_ref().map(AsRef::as_ref));
        let read = |tablet: &crate::tablet::Tablet| tablet.range(from, to, page.snapshot);
        self.core.with_tablet(page.tablet, read).ok_or(TabletGone)
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
            if self.shared.shard_of(tablet) != self.id() {
                continue;
            }
            match exist {
                true => self.core.add_tablet(tablet),
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
