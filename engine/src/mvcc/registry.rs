//! The registry of active snapshots: one slot each, claimed and read without a lock.
//!
//! A claimer stores `visible`, then looks at it again; a pruner loads `visible`, then the slots.
//! With the fences between, a pruner that misses a slot loaded a `visible` at or below the
//! slot's snapshot, and versions above `visible`, and the newest at it, are always kept.
//!
//! A snapshot that holds up too much is *marked* as ended: what it alone needed may go from then
//! on, its reader finds the mark after each read, its writer before the reservation. The owner
//! frees the slot.

use std::sync::Arc;

use sombra_runtime::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use sombra_runtime::sync::{Padded, Signal};

use crate::ids::Lsn;

const FREE: u64 = u64::MAX;
/// Log positions are multiples of 8: the low bits of a slot's word tell what it is.
const READ_WRITE: u64 = 1;
const ENDED: u64 = 2;
/// Its commit is under way: it reads no version any more, only who was first.
const COMMITTING: u64 = 4;
const FLAGS: u64 = 7;

/// What a snapshot is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SnapshotKind {
    /// Never validated: needs versions, no key indexes.
    ReadOnly,
    /// Its writes will be validated against everything newer.
    ReadWrite,
}

struct Slot {
    word: AtomicU64,
    begun_ns: AtomicU64,
}

/// One active snapshot as the registry shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ActiveSnapshot {
    pub(crate) lsn: Lsn,
    pub(crate) kind: SnapshotKind,
    /// Whether it may still read versions.
    pub(crate) is_reading: bool,
    pub(crate) begun_ns: u64,
    index: usize,
    word: u64,
}

/// All active snapshots of a store.
pub(crate) struct SnapshotRegistry {
    slots: Box<[Padded<Slot>]>,
    /// One above the highest slot ever used: the pruner looks no further.
    used: AtomicUsize,
    ended_total: AtomicU64,
    /// Snapshots at or above it hold on to nothing that takes memory for their sake.
    watched_below: AtomicU64,
    /// Raised when a snapshot below that is gone.
    pub(crate) freed: Signal,
}

impl SnapshotRegistry {
    pub(crate) fn new(slot_count: usize) -> Arc<SnapshotRegistry> {
        let free = || Slot { word: AtomicU64::new(FREE), begun_ns: AtomicU64::new(u64::MAX) };
        let slots = (0..slot_count).map(|_| Padded::new(free())).collect();
        Arc::new(SnapshotRegistry {
            slots,
            used: AtomicUsize::new(0),
            ended_total: AtomicU64::new(0),
            watched_below: AtomicU64::new(0),
            freed: Signal::new(),
        })
    }

    /// Claims a slot at the newest `visible`. `None`: all slots are in use.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        visible: impl Fn() -> Lsn,
        now_ns: u64,
        kind: SnapshotKind,
    ) -> Option<SnapshotGuard> {
        let mut lsn = visible();
        let index = (0..self.slots.len()).find(|&index| self.claim(index, lsn, kind))?;
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        self.slots[index].begun_ns.store(now_ns, Ordering::Relaxed);
        loop {
            fence(Ordering::SeqCst);
            let again = visible();
            if again == lsn {
                return Some(SnapshotGuard { registry: Arc::clone(self), index, lsn });
            }
            lsn = again;
            // A mark that was set meanwhile was meant for the older moment.
            self.slots[index].word.store(word_of(lsn, kind), Ordering::SeqCst);
        }
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn acquire_without_second_look(
        self: &Arc<Self>,
        visible: impl Fn() -> Lsn,
    ) -> Option<SnapshotGuard> {
        let lsn = visible();
        let kind = SnapshotKind::ReadOnly;
        let index = (0..self.slots.len()).find(|&index| self.claim(index, lsn, kind))?;
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        Some(SnapshotGuard { registry: Arc::clone(self), index, lsn })
    }

    fn claim(&self, index: usize, lsn: Lsn, kind: SnapshotKind) -> bool {
        let word = &self.slots[index].word;
        word.load(Ordering::Relaxed) == FREE
            && word
                .compare_exchange(FREE, word_of(lsn, kind), Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
    }

    fn words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        fence(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        let words = self.slots[..used].iter().map(|slot| slot.word.load(Ordering::SeqCst));
        words.enumerate().filter(|&(_, word)| word != FREE && word & ENDED == 0)
    }

    /// The active snapshots that may still read versions, in no order. The caller loaded
    /// `visible` before.
    pub(crate) fn active(&self) -> Vec<Lsn> {
        self.words().filter(|(_, word)| word & COMMITTING == 0).map(|(_, w)| lsn_of(w)).collect()
    }

    /// The active snapshots that were not ended, with all that is known of them.
    pub(crate) fn active_snapshots(&self) -> Vec<ActiveSnapshot> {
        let snapshot = |(index, word): (usize, u64)| ActiveSnapshot {
            lsn: lsn_of(word),
            kind: kind_of(word),
            is_reading: word & COMMITTING == 0,
            begun_ns: self.slots[index].begun_ns.load(Ordering::Relaxed),
            index,
            word,
        };
        self.words().map(snapshot).collect()
    }

    /// Marks a snapshot as ended, unless it ended by itself. Tells whether it did.
    pub(crate) fn end(&self, snapshot: &ActiveSnapshot) -> bool {
        let word = &self.slots[snapshot.index].word;
        let ended = snapshot.word | ENDED;
        let is_marked = word
            .compare_exchange(snapshot.word, ended, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        fence(Ordering::SeqCst);
        if is_marked {
            self.ended_total.fetch_add(1, Ordering::Relaxed);
        }
        is_marked
    }

    /// Something is kept for snapshots below `lsn`: their end is worth a look. Never falls, as
    /// new snapshots are above whatever is kept.
    pub(crate) fn watch_below(&self, lsn: Lsn) {
        self.watched_below.fetch_max(lsn.as_u64(), Ordering::SeqCst);
    }

    /// Snapshots that were ended because they held up too much.
    pub(crate) fn ended_total(&self) -> u64 {
        self.ended_total.load(Ordering::Relaxed)
    }

    /// Active snapshots, and the moment in nanoseconds at which the oldest of them began.
    pub(crate) fn census(&self) -> (usize, Option<u64>) {
        let begun = self.active_snapshots().into_iter().map(|snapshot| snapshot.begun_ns);
        begun.fold((0, None), |(count, oldest), begun_ns| {
            (count + 1, Some(oldest.map_or(begun_ns, |o: u64| o.min(begun_ns))))
        })
    }
}

fn word_of(lsn: Lsn, kind: SnapshotKind) -> u64 {
    assert!(lsn.as_u64() & FLAGS == 0, "INV-4b: {lsn} is no end of a record");
    lsn.as_u64() | if kind == SnapshotKind::ReadWrite { READ_WRITE } else { 0 }
}

fn lsn_of(word: u64) -> Lsn {
    Lsn::new(word & !FLAGS)
}

fn kind_of(word: u64) -> SnapshotKind {
    if word & READ_WRITE == 0 { SnapshotKind::ReadOnly } else { SnapshotKind::ReadWrite }
}

/// An active snapshot: while it lives, no version that it reads is dropped.
pub(crate) struct SnapshotGuard {
    registry: Arc<SnapshotRegistry>,
    index: usize,
    lsn: Lsn,
}

impl SnapshotGuard {
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Its transaction commits: whatever it read counts, and it reads nothing more.
    pub(crate) fn stop_reading(&self) {
        self.registry.slots[self.index].word.fetch_or(COMMITTING, Ordering::SeqCst);
    }

    /// Whether the store ended it: whatever it read before the mark was set counts, nothing
    /// afterwards does.
    pub(crate) fn is_ended(&self) -> bool {
        fence(Ordering::SeqCst);
        self.registry.slots[self.index].word.load(Ordering::SeqCst) & ENDED != 0
    }
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        let slot = &self.registry.slots[self.index];
        // The next owner is young until it says when it began.
        slot.begun_ns.store(u64::MAX, Ordering::Relaxed);
        slot.word.store(FREE, Ordering::SeqCst);
        if self.lsn.as_u64() < self.registry.watched_below.load(Ordering::SeqCst) {
            self.registry.freed.raise();
        }
    }
}
