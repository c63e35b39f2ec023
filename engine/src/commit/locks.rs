//! Locks on one shard: who asks, is granted, waits too long, gives way; and their release.
//!
//! A granted lock keeps others from writing its key: commits that wrote it without the lock
//! conflict, blind writes wait. Its owner holds it until its commit is answered, or it ends
//! otherwise.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::sync::Signal;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering};
use sombra_runtime::{ShardId, TaskClass};

use super::core::Core;
use super::shared::StoreCore;
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::lock::{LockAge, LockMode, LockOwner, Place, Requested, Ticket, Victim, WaitGraph};
use crate::txn::ReadKey;

/// How long a lock is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockWait {
    /// Not at all: a lock that is not free is refused.
    No,
    /// So long.
    AtMost(Duration),
}

/// Why a lock was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockRefused {
    Busy,
    TimedOut,
    Deadlock(Vec<(LockOwner, Place)>),
    /// The shard keeps as many locks as it may.
    Full,
    Gone,
    Stopped,
}

/// A lock that is held: the newest version of its key, which is visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) newest: Option<Lsn>,
}

pub(crate) type LockAnswer = Result<Granted, LockRefused>;

/// A lock to be taken.
pub(crate) struct LockRequest {
    /// Keeps what its owner holds until the request is answered.
    pub(crate) held: Arc<HeldLocks>,
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
    pub(crate) mode: LockMode,
    pub(crate) wait: LockWait,
    /// What the owner reads, should it have read anything.
    pub(crate) snapshot: Option<Lsn>,
    pub(crate) reply: oneshot::Sender<LockAnswer>,
}

/// What a shard is told of locks from anywhere, without waiting.
enum LockEvent {
    Release(LockOwner),
    GiveWay(Victim),
}

struct Inbox {
    events: Mutex<Vec<LockEvent>>,
    wake: Signal,
}

/// The locks of a store, as far as its shards share them.
pub(crate) struct StoreLocks {
    owners: AtomicU64,
    graph: Mutex<WaitGraph>,
    inboxes: Box<[Inbox]>,
    pub(crate) deadlocks: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held; were it so, the value is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StoreLocks {
    pub(super) fn new(shard_count: usize) -> StoreLocks {
        let inbox = |_| Inbox { events: Mutex::default(), wake: Signal::new() };
        StoreLocks {
            owners: AtomicU64::new(1),
            graph: Mutex::default(),
            inboxes: (0..shard_count).map(inbox).collect(),
            deadlocks: AtomicU64::new(0),
        }
    }

    fn post(&self, shard: ShardId, event: LockEvent) {
        let inbox = &self.inboxes[shard.index()];
        locked(&inbox.events).push(event);
        inbox.wake.raise();
    }

    fn graph(&self) -> MutexGuard<'_, WaitGraph> {
        locked(&self.graph)
    }
}

/// All that one transaction holds; let go of with its last copy.
pub(crate) struct HeldLocks {
    store: Arc<StoreCore>,
    owner: LockOwner,
    shards: Mutex<BTreeSet<ShardId>>,
    /// Locks that were asked for.
    asked: AtomicU64,
}

impl HeldLocks {
    /// Of a new owner; `age` is that of its work's first attempt.
    pub(crate) fn new(store: Arc<StoreCore>, age: Option<LockAge>) -> Arc<HeldLocks> {
        let number = store.locks.owners.fetch_add(1, Ordering::Relaxed);
        let owner = LockOwner::new(number, age);
        Arc::new(HeldLocks { store, owner, shards: Mutex::default(), asked: AtomicU64::new(0) })
    }

    pub(crate) fn owner(&self) -> LockOwner {
        self.owner
    }

    /// To be told before a shard is asked. Returns how many locks were asked for before.
    pub(crate) fn note_asked(&self, shard: ShardId) -> u64 {
        locked(&self.shards).insert(shard);
        self.asked.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        for &shard in locked(&self.shards).iter() {
            self.store.locks.post(shard, LockEvent::Release(self.owner));
        }
    }
}

/// How a waiting request is told.
pub(super) type Told = oneshot::Sender<Result<(), LockRefused>>;

impl Core {
    /// Takes a request for a lock. Never waits: what has to wait becomes a task of its own.
    pub(crate) fn take_lock_request(self: &Rc<Self>, request: LockRequest) {
        if self.refuse_if_stopped().is_err() {
            return drop(request.reply.send(Err(LockRefused::Stopped)));
        }
        if self.with_tablet(request.tablet, |_| ()).is_none() {
            return drop(request.reply.send(Err(LockRefused::Gone)));
        }
        if self.locks.borrow().len() >= limits::LOCKS_PER_SHARD_MAX {
            return drop(request.reply.send(Err(LockRefused::Full)));
        }
        let (owner, mode) = (request.held.owner, request.mode);
        let place = (request.tablet, request.window_key.clone());
        let (told, granted) = oneshot::channel();
        let requested = self.locks.borrow_mut().request(owner, place.clone(), mode, told);
        let ticket = match requested {
            Requested::Granted(_) => None,
            Requested::Queued(ticket) if request.wait == LockWait::No => {
                drop(self.take_back(ticket));
                return drop(request.reply.send(Err(LockRefused::Busy)));
            }
            Requested::Queued(ticket) => {
                self.note_waiting(ticket, owner, place);
                Some(ticket)
            }
        };
        let is_settled = ticket.is_none() && self.unsettled(&request).is_none();
        if is_settled {
            let newest = self.newest_of(&request);
            return drop(request.reply.send(Ok(Granted { newest })));
        }
        let core = Rc::clone(self);
        let spec = self.spec("lock", TaskClass::Foreground);
        self.shard.spawn(spec, async move { core.lock_slowly(request, ticket, granted).await });
    }

    async fn lock_slowly(
        self: Rc<Self>,
        mut request: LockRequest,
        ticket: Option<Ticket>,
        granted: oneshot::Receiver<Result<(), LockRefused>>,
    ) {
        self.counters().blocked.fetch_add(1, Ordering::Relaxed);
        let answer = self.wait_for_lock(&mut request, ticket, granted).await;
        self.counters().blocked.fetch_sub(1, Ordering::Relaxed);
        if answer == Err(LockRefused::TimedOut) {
            self.counters().lock_timeouts.fetch_add(1, Ordering::Relaxed);
        }
        let newest = self.newest_of(&request);
        // A client that went away does not want the answer; then the lock goes with `held`.
        drop(request.reply.send(answer.map(|()| Granted { newest })));
    }

    async fn wait_for_lock(
        self: &Rc<Self>,
        request: &mut LockRequest,
        ticket: Option<Ticket>,
        granted: oneshot::Receiver<Result<(), LockRefused>>,
    ) -> Result<(), LockRefused> {
        if let Some(ticket) = ticket {
            let LockWait::AtMost(most) = request.wait else {
                unreachable!("a request that does not wait has no ticket")
            };
            match until(granted, self.shard.sleep(most), &mut request.reply).await {
                Some(Ok(told)) => told?,
                Some(Err(_)) => return Err(LockRefused::Stopped),
                // Granted at the same moment: then it is.
                None if self.take_back(ticket).is_none() => {}
                None => return Err(LockRefused::TimedOut),
            }
        }
        // Nobody new can write the key; who was about to is let finish.
        while let Some(until) = self.unsettled(request) {
            match until {
                Unsettled::Prepared => {
                    let key = read_key(request);
                    let is_free = || !self.prepared.borrow().is_being_written(&key);
                    self.wait_until(is_free).await;
                }
                Unsettled::Invisible(newest) => {
                    self.wait_visible(newest).await.map_err(|_| LockRefused::Stopped)?;
                }
            }
            self.refuse_if_stopped().map_err(|_| LockRefused::Stopped)?;
        }
        Ok(())
    }

    /// What of a key's past is still on its way.
    fn unsettled(&self, request: &LockRequest) -> Option<Unsettled> {
        if self.prepared.borrow().is_being_written(&read_key(request)) {
            return Some(Unsettled::Prepared);
        }
        let visible = self.store.oracle.visible();
        let newest = self.newest_of(request).filter(|newest| *newest > visible);
        newest.map(Unsettled::Invisible)
    }

    fn newest_of(&self, request: &LockRequest) -> Option<Lsn> {
        let snapshot = request.snapshot.unwrap_or_else(|| self.store.oracle.visible());
        self.with_tablet(request.tablet, |tablet| tablet.newest_lsn(&request.window_key, snapshot))
            .flatten()
    }

    fn note_waiting(&self, ticket: Ticket, owner: LockOwner, place: Place) {
        self.counters().lock_waits.fetch_add(1, Ordering::Relaxed);
        let blockers = self.locks.borrow().blockers(ticket);
        let mut graph = self.store.locks.graph();
        graph.set((self.shard.id(), ticket), (owner, place), blockers);
        self.break_cycles(&mut graph, owner);
    }

    /// Tells those to give way who wait in a circle with `owner`.
    fn break_cycles(&self, graph: &mut WaitGraph, owner: LockOwner) {
        for victim in graph.take_victims(owner) {
            self.store.locks.post(victim.shard, LockEvent::GiveWay(victim));
        }
    }

    /// Takes a waiting request back, and lets those go on whom it held up. `None`: it waits no
    /// more.
    fn take_back(self: &Rc<Self>, ticket: Ticket) -> Option<Told> {
        let place = self.locks.borrow().place_of(ticket).cloned();
        let mut granted = Vec::new();
        let told = self.locks.borrow_mut().cancel(ticket, &mut granted);
        self.note_gone(ticket, place);
        self.tell_granted(granted);
        told
    }

    /// A request waits no more: those behind it wait for others now, perhaps in a circle.
    fn note_gone(&self, ticket: Ticket, place: Option<Place>) {
        let mut graph = self.store.locks.graph();
        graph.remove(self.shard.id(), ticket);
        let Some(place) = place else { return };
        let locks = self.locks.borrow();
        for (owner, behind) in locks.waiting_behind(&place, ticket) {
            graph.set_blockers((self.shard.id(), behind), locks.blockers(behind));
            self.break_cycles(&mut graph, owner);
        }
    }

    fn tell_granted(self: &Rc<Self>, granted: Vec<(Ticket, Told)>) {
        if granted.is_empty() {
            return;
        }
        let mut graph = self.store.locks.graph();
        for (ticket, told) in granted {
            graph.remove(self.shard.id(), ticket);
            // Whoever went away lets go of it with what else it holds.
            let _ = told.send(Ok(()));
        }
    }

    /// Runs for the life of the store: takes what a shard is told of locks.
    pub(crate) async fn keep_locks(self: Rc<Self>) {
        loop {
            let inbox = &self.store.locks.inboxes[self.shard.id().index()];
            inbox.wake.wait().await;
            let events = std::mem::take(&mut *locked(&inbox.events));
            for event in events {
                match event {
                    LockEvent::Release(owner) => {
                        let mut granted = Vec::new();
                        self.locks.borrow_mut().release(owner, &mut granted);
                        self.tell_granted(granted);
                        // Blind writes may have waited for it.
                        self.after_reservation();
                    }
                    LockEvent::GiveWay(victim) => self.give_way(victim),
                }
            }
        }
    }

    fn give_way(self: &Rc<Self>, victim: Victim) {
        if let Some(told) = self.take_back(victim.ticket) {
            self.store.locks.deadlocks.fetch_add(1, Ordering::Relaxed);
            let _ = told.send(Err(LockRefused::Deadlock(victim.cycle)));
        }
    }

    /// Refuses all who wait for keys of a tablet that is gone.
    pub(super) fn refuse_waiting_for(&self, tablet: TabletId) {
        self.refuse_waiting(|place| place.0 == tablet, LockRefused::Gone);
    }

    /// Refuses all who wait: the store has stopped, or closes.
    pub(super) fn refuse_all_waiting(&self) {
        self.refuse_waiting(|_| true, LockRefused::Stopped);
    }

    fn refuse_waiting(&self, which: impl Fn(&Place) -> bool, refused: LockRefused) {
        let taken = self.locks.borrow_mut().take_waiting(which);
        if taken.is_empty() {
            return;
        }
        let mut graph = self.store.locks.graph();
        for (ticket, told) in taken {
            graph.remove(self.shard.id(), ticket);
            let _ = told.send(Err(refused.clone()));
        }
    }

    /// Whether somebody else's lock keeps `owner` from writing the key.
    pub(super) fn is_locked_from(
        &self,
        owner: Option<LockOwner>,
        (tablet, key): (TabletId, &Bytes),
    ) -> bool {
        let locks = self.locks.borrow();
        // Most of the time nothing is locked: then no key is built to look it up.
        !locks.is_empty() && locks.is_locked_from(owner, &(tablet, key.clone()))
    }
}

/// What of a locked key's past is not settled.
enum Unsettled {
    /// A commit across shards that was prepared before the lock writes it.
    Prepared,
    /// A version of it is not visible yet.
    Invisible(Lsn),
}

fn read_key(request: &LockRequest) -> ReadKey {
    ReadKey { tablet: request.tablet, window_key: request.window_key.clone() }
}

/// The future's outcome, unless `timeout` or the client's going away comes first.
async fn until<T, A>(
    future: impl Future<Output = T>,
    timeout: impl Future<Output = ()>,
    reply: &mut oneshot::Sender<A>,
) -> Option<T> {
    let (mut future, mut timeout) = (pin!(future), pin!(timeout));
    poll_fn(|context| {
        if let Poll::Ready(outcome) = future.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        let is_over =
            timeout.as_mut().poll(context).is_ready() || reply.poll_canceled(context).is_ready();
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
