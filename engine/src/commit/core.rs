//! One shard's side of every commit: its tablets, its prepared keys, its open commits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::sync::atomic::Ordering;
use sombra_runtime::{PanicSink, Shard, TaskClass, TaskSpec};

use super::ShardPart;
use super::dropped::Dropped;
use super::locks::Told;
use super::open::{OpenCommits, Waiter, Waiters};
use super::prepared::PreparedTable;
use super::shared::{ShardCounters, StoreCore, record_ns};
use crate::error::{CommitError, ConflictReason};
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::lock::{LockOwner, LockTable};
use crate::mvcc::states::Reserved;
use crate::options::Durability;
use crate::tablet::{Tablet, TreeState};
use crate::txn::Write;
use crate::volume::SlotGeneration;
use crate::wal::group_commit::{FlightEnd, OnFlightEnd};
use crate::window::PruneView;

/// Everything of a store that one shard owns (INV-1).
pub(crate) struct Core {
    pub(crate) shard: Shard,
    pub(crate) store: Arc<StoreCore>,
    pub(super) tablets: RefCell<BTreeMap<TabletId, Tablet>>,
    pub(super) prepared: RefCell<PreparedTable>,
    pub(super) locks: RefCell<LockTable<Told>>,
    open: RefCell<OpenCommits>,
    waiters: RefCell<Waiters>,
    room_waiters: RefCell<Vec<Waker>>,
    prune_view: RefCell<PruneView>,
    garbage: RefCell<BTreeSet<TabletId>>,
    /// Tablets of dropped keyspaces whose pages are not given back yet.
    dropped: RefCell<Vec<Dropped>>,
    pub(super) sequence: Cell<u64>,
    on_panic: PanicSink,
    on_flight_end: RefCell<Option<OnFlightEnd>>,
}

/// A key of a commit that another commit got first.
#[derive(Debug)]
pub(crate) struct Conflict {
    pub(crate) reason: ConflictReason,
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
    /// The newer version, when that is the reason.
    pub(crate) newest: Option<Lsn>,
}

impl Conflict {
    fn some(
        reason: ConflictReason,
        (tablet, window_key): (TabletId, &Bytes),
        newest: Option<Lsn>,
    ) -> Option<Conflict> {
        Some(Conflict { reason, tablet, window_key: window_key.clone(), newest })
    }
}

impl Core {
    pub(crate) fn new(
        shard: Shard,
        store: Arc<StoreCore>,
        (tablets, dropped): (BTreeMap<TabletId, Tablet>, Vec<Tablet>),
        on_panic: PanicSink,
    ) -> Rc<Core> {
        let view = PruneView::new(store.oracle.visible(), Vec::new());
        let core = Rc::new(Core {
            shard,
            store,
            tablets: RefCell::new(tablets),
            prepared: RefCell::default(),
            locks: RefCell::default(),
            open: RefCell::default(),
            waiters: RefCell::default(),
            room_waiters: RefCell::default(),
            prune_view: RefCell::new(view),
            garbage: RefCell::default(),
            dropped: RefCell::new(dropped.into_iter().map(Dropped::new).collect()),
            sequence: Cell::new(0),
            on_panic,
            on_flight_end: RefCell::new(None),
        });
        let weak = Rc::downgrade(&core);
        let ended: OnFlightEnd = Rc::new(move |end| {
            if let Some(core) = weak.upgrade() {
                core.flight_ended(end);
            }
        });
        *core.on_flight_end.borrow_mut() = Some(ended);
        core
    }

    pub(crate) fn spec(&self, name: &'static str, class: TaskClass) -> TaskSpec {
        TaskSpec { name, class, on_panic: Some(Arc::clone(&self.on_panic)) }
    }

    /// Told of a panic in a task of this store.
    pub(crate) fn panic_sink(&self) -> PanicSink {
        Arc::clone(&self.on_panic)
    }

    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.store.counters[self.shard.id().index()]
    }

    pub(crate) fn add_tablet(&self, id: TabletId, tree: TreeState) {
        let new = || Tablet::new(id, tree, &self.store.memory);
        self.tablets.borrow_mut().entry(id).or_insert_with(new);
    }

    /// Drops a tablet; its memory goes with its last reader, its pages with its row.
    pub(crate) fn remove_tablet(&self, id: TabletId) {
        let removed = self.tablets.borrow_mut().remove(&id);
        self.dropped.borrow_mut().extend(removed.map(Dropped::new));
        self.refuse_waiting_for(id);
        self.garbage.borrow_mut().remove(&id);
        self.store.merge_signal(self.shard.id()).raise();
    }

    pub(crate) fn with_dropped<T>(&self, f: impl FnOnce(&mut Vec<Dropped>) -> T) -> T {
        f(&mut self.dropped.borrow_mut())
    }

    /// The rows of dropped tablets are gone from the roots in force.
    pub(crate) fn note_unpublished(&self, tablets: &[(TabletId, SlotGeneration)]) {
        for dropped in self.dropped.borrow_mut().iter_mut() {
            if let Some((_, write)) = tablets.iter().find(|(id, _)| *id == dropped.id()) {
                dropped.set_unpublished(*write);
            }
        }
        self.store.merge_signal(self.shard.id()).raise();
    }

    /// Reads a tablet; `None` when this shard has no such tablet (any more).
    pub(crate) fn with_tablet<T>(&self, id: TabletId, f: impl FnOnce(&Tablet) -> T) -> Option<T> {
        self.tablets.borrow().get(&id).map(f)
    }

    /// Changes a tablet; `None` when this shard has no such tablet (any more).
    pub(crate) fn with_tablet_mut<T>(
        &self,
        id: TabletId,
        f: impl FnOnce(&mut Tablet) -> T,
    ) -> Option<T> {
        self.tablets.borrow_mut().get_mut(&id).map(f)
    }

    /// Visits all tablets of this shard.
    pub(crate) fn for_each_tablet(&self, mut f: impl FnMut(&mut Tablet)) {
        self.tablets.borrow_mut().values_mut().for_each(&mut f);
    }

    /// First committer wins: a version above `snapshot`, visible or not, of a key that is
    /// written or was read, or in a range that was, is a conflict; so is a key that a prepared
    /// commit holds, and one to be written that another than `owner` has locked. `None`: a blind
    /// write conflicts with what is not visible.
    pub(super) fn find_conflict(
        &self,
        part: &ShardPart,
        snapshot: Option<Lsn>,
        owner: Option<LockOwner>,
    ) -> Option<Conflict> {
        let snapshot = snapshot.unwrap_or_else(|| self.store.oracle.visible());
        let tablets = self.tablets.borrow();
        let prepared = self.prepared.borrow();
        for write in &part.writes {
            let (tablet, key) = (write.tablet, &write.window_key);
            let newest = tablets.get(&tablet).and_then(|t| t.newest_lsn(key, snapshot));
            if newest.is_some_and(|newest| newest > snapshot) {
                return Conflict::some(ConflictReason::NewerVersion, (tablet, key), newest);
            }
            if prepared.is_held_from_writers(write) {
                return Conflict::some(ConflictReason::Prepared, (tablet, key), None);
            }
            if self.is_locked_from(owner, (tablet, key)) {
                return Conflict::some(ConflictReason::Locked, (tablet, key), None);
            }
        }
        for read in &part.reads.keys {
            let (tablet, key) = (read.tablet, &read.window_key);
            let newest = tablets.get(&tablet).and_then(|t| t.newest_lsn(key, snapshot));
            if newest.is_some_and(|newest| newest > snapshot) {
                return Conflict::some(ConflictReason::ReadChanged, (tablet, key), newest);
            }
            if prepared.is_being_written(read) {
                return Conflict::some(ConflictReason::Prepared, (tablet, key), None);
            }
        }
        for range in &part.reads.ranges {
            let newer =
                tablets.get(&range.tablet).and_then(|t| t.newer_in(range.bounds(), snapshot));
            if let Some((key, newest)) = newer {
                let place = (range.tablet, &key);
                return Conflict::some(ConflictReason::RangeChanged, place, Some(newest));
            }
            if let Some(key) = prepared.first_being_written(range) {
                return Conflict::some(ConflictReason::Prepared, (range.tablet, &key), None);
            }
        }
        None
    }

    /// Why one of these writes' tablets takes no commits.
    pub(super) fn find_damage(&self, writes: &[Write]) -> Option<CommitError> {
        let tablets = self.tablets.borrow();
        let mut damages = writes
            .iter()
            .filter_map(|write| tablets.get(&write.tablet)?.damage().map(str::to_owned));
        damages.next().map(|reason| CommitError::Damaged { reason })
    }

    /// A tablet that the part names and that is not here (any more).
    pub(super) fn missing_tablet(&self, part: &ShardPart) -> Option<TabletId> {
        let tablets = self.tablets.borrow();
        part.tablets().find(|tablet| !tablets.contains_key(tablet))
    }

    /// Takes the log position of a commit and fills its record, in one uninterrupted step. The
    /// commit is open from here on. Returns its start and its LSN.
    pub(crate) fn reserve(
        &self,
        charge: sombra_runtime::sync::Charge<'_>,
        record: &[u8],
        durability: Durability,
    ) -> (u64, Reserved) {
        let id = self.shard.id();
        let marks = self.store.oracle.marks();
        let reserve = || self.store.log.ring().reserve(charge);
        let reservation = marks.open(id, reserve, |reservation| reservation.start());
        let (start, lsn) = (reservation.start(), Lsn::new(reservation.end()));
        self.open.borrow_mut().open(start, lsn, durability == Durability::Sync);
        reservation.fill(record);
        self.store.log.note_commit(lsn);
        (start, Reserved::new(lsn, durability))
    }

    /// Applies writes that nobody sees until `visible` passes `lsn`.
    pub(super) fn apply(&self, lsn: Lsn, writes: Vec<Write>) {
        let visible = self.store.oracle.visible();
        assert!(lsn > visible, "INV-4: commit {lsn} applied below visible {visible}");
        let view = self.prune_view.borrow();
        let mut tablets = self.tablets.borrow_mut();
        let mut freed = 0;
        for write in writes {
            match tablets.get_mut(&write.tablet) {
                Some(tablet) => {
                    let (key, value) = (write.window_key, write.value);
                    freed += tablet.apply(key, lsn, value, &view);
                    if tablet.has_garbage() {
                        self.garbage.borrow_mut().insert(write.tablet);
                    }
                }
                // The keyspace was dropped between validation and now.
                None => freed += write.cost_bytes(),
            }
        }
        self.store.memory.release(freed);
        if self.store.memory.used_bytes() > self.store.merge_above_bytes {
            self.store.merge_signal(self.shard.id()).raise();
        }
    }

    /// Says that a commit is applied on every shard it touches.
    pub(crate) fn mark_applied(&self, start: u64) {
        self.open.borrow_mut().mark_applied(start);
    }

    /// Answers `reply` once the commit is durable (unless `Async`) and visible.
    pub(crate) fn acknowledge_later(
        &self,
        reserved: Reserved,
        reply: super::CommitReply,
        begun_ns: u64,
    ) {
        let lsn = reserved.lsn();
        self.waiters.borrow_mut().add(lsn, Waiter::Commit { reserved, reply, begun_ns });
    }

    /// Returns when `visible` has reached `lsn`; `Err` when the store stopped before.
    pub(crate) async fn wait_visible(self: &Rc<Self>, lsn: Lsn) -> Result<(), CommitError> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.borrow_mut().add(lsn, Waiter::Step(sender));
        self.progress();
        receiver.await.map_err(|_| self.unknown())
    }

    /// Starts log writes for what was filled; at the end of the turn, so that it is shared.
    pub(crate) fn start_flights(&self) {
        let ended = self.on_flight_end.borrow().clone();
        let ended = ended.expect("INV-7: set when the core was made");
        self.store.log.start_flights(&self.shard, &ended);
    }

    fn flight_ended(self: &Rc<Self>, end: FlightEnd) {
        record_ns(&self.counters().flush_latency_ns, end.took.as_nanos() as u64);
        match end.outcome {
            Ok(durable) => {
                self.store.announce_durable(durable);
                self.store.log.segments().want();
                self.store.stamp_wanted.raise();
                self.store.tick_wanted.raise();
            }
            Err(reason) => self.store.stop(&reason),
        }
        self.progress();
    }

    /// Closes what is settled, raises `visible`, acknowledges what it reached, makes room.
    pub(crate) fn progress(self: &Rc<Self>) {
        if self.store.poison.reason().is_some() {
            return self.fail_waiters();
        }
        if self.store.is_closing() {
            self.refuse_all_waiting();
        }
        let id = self.shard.id();
        let durable = self.store.log.durable();
        let closed = self.open.borrow_mut().close(durable);
        if closed {
            self.store.oracle.marks().set_pending(id, self.open.borrow().lowest());
        }
        let is_awaited = self.waiters.borrow().len() > 0;
        if (closed || is_awaited)
            && let Some(visible) = self.store.oracle.recompute()
        {
            self.store.announce_visible(visible);
        }
        loop {
            let visible = self.store.oracle.visible();
            self.acknowledge(visible);
            let lowest = self.waiters.borrow().lowest();
            self.store.oracle.set_awaited(id, lowest);
            let settled = self.store.oracle.visible();
            if lowest.is_none_or(|lowest| lowest > settled) {
                break;
            }
        }
        self.wake_room_waiters();
        self.tidy(limits::GARBAGE_STEP_MAX);
        self.publish_gauges();
    }

    fn acknowledge(&self, visible: Lsn) {
        loop {
            let waiter = self.waiters.borrow_mut().take_reached(visible);
            let Some(waiter) = waiter else { return };
            match waiter {
                Waiter::Commit { reserved, reply, begun_ns } => {
                    let durable = reserved.durable(self.store.log.durable());
                    let durable = durable.expect("INV-3: visible only after durable");
                    let seen = durable.visible(visible).expect("INV-3: acknowledged when visible");
                    let took = self.shard.now().as_nanos().saturating_sub(begun_ns);
                    record_ns(&self.counters().commit_latency_ns, took);
                    self.counters().commits.fetch_add(1, Ordering::Relaxed);
                    reply.send(Ok(seen.lsn()));
                }
                Waiter::Step(sender) => {
                    let _ = sender.send(());
                }
            }
        }
    }

    fn fail_waiters(&self) {
        self.refuse_all_waiting();
        loop {
            let waiter = self.waiters.borrow_mut().take_any();
            match waiter {
                None => break,
                Some(Waiter::Commit { reply, .. }) => reply.send(Err(self.unknown())),
                Some(Waiter::Step(sender)) => drop(sender),
            }
        }
        self.wake_room_waiters();
    }

    pub(super) fn unknown(&self) -> CommitError {
        let reason = self.store.poison.reason().unwrap_or("the store was closed").to_owned();
        CommitError::Unknown { reason }
    }

    fn wake_room_waiters(&self) {
        if self.room_waiters.borrow().is_empty() {
            return;
        }
        self.store.set_wants_room(self.shard.id(), false);
        let waiters = std::mem::take(&mut *self.room_waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Returns at once when `holds`, else after something changed here or in the log. The check
    /// comes after the wish is published, so a change in between is not missed.
    pub(crate) async fn wait_until(&self, holds: impl Fn() -> bool) {
        let mut registered = false;
        std::future::poll_fn(|context| {
            if registered {
                return std::task::Poll::Ready(());
            }
            registered = true;
            self.store.set_wants_room(self.shard.id(), true);
            if holds() {
                return std::task::Poll::Ready(());
            }
            self.room_waiters.borrow_mut().push(context.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }

    /// Drops versions that nobody can read any more, a bounded number of them.
    pub(crate) fn tidy(&self, steps: usize) {
        let visible = self.store.oracle.visible();
        let view = PruneView::new(visible, self.store.registry.active());
        let mut garbage = self.garbage.borrow_mut();
        let mut tablets = self.tablets.borrow_mut();
        let mut freed = 0;
        garbage.retain(|id| match tablets.get_mut(id) {
            Some(tablet) => {
                freed += tablet.collect_garbage(&view, steps);
                tablet.has_garbage()
            }
            None => false,
        });
        self.store.memory.release(freed);
        *self.prune_view.borrow_mut() = view;
    }

    /// Counts a finished merge.
    pub(crate) fn note_merge(&self, took: std::time::Duration) {
        self.counters().merges.fetch_add(1, Ordering::Relaxed);
        record_ns(&self.counters().merge_duration_ns, took.as_nanos() as u64);
    }

    fn publish_gauges(&self) {
        let counters = self.counters();
        let open = self.open.borrow().len() + self.prepared.borrow().len();
        counters.open_commits.store(open as u64, Ordering::Relaxed);
    }

    /// Whether no commit of this shard is on its way; a stopped store has answered them all.
    pub(crate) fn is_quiet(&self) -> bool {
        if self.store.poison.reason().is_some() {
            return self.waiters.borrow().len() == 0;
        }
        self.open.borrow().len() == 0
            && self.waiters.borrow().len() == 0
            && self.prepared.borrow().len() == 0
            && self.room_waiters.borrow().is_empty()
    }
}
