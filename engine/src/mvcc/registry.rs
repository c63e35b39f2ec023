//! The registry of active snapshots: one slot each, claimed and read without a lock.
//!
//! A claimer stores `visible`, then looks at it again; a pruner loads `visible`, then the slots.
//! With the fences between, a pruner that misses a slot loaded a `visible` at or below the
//! slot's snapshot, and versions above `visible`, and the newest at it, are always kept.

use std::sync::Arc;

use sombra_runtime::sync::Padded;
use sombra_runtime::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crate::ids::Lsn;

const FREE: u64 = u64::MAX;

struct Slot {
    lsn: AtomicU64,
    begun_ns: AtomicU64,
}

/// All active snapshots of a store.
pub(crate) struct SnapshotRegistry {
    slots: Box<[Padded<Slot>]>,
    /// One above the highest slot ever used: the pruner looks no further.
    used: AtomicUsize,
}

impl SnapshotRegistry {
    pub(crate) fn new(slot_count: usize) -> Arc<SnapshotRegistry> {
        let free = || Slot { lsn: AtomicU64::new(FREE), begun_ns: AtomicU64::new(0) };
        let slots = (0..slot_count).map(|_| Padded::new(free())).collect();
        Arc::new(SnapshotRegistry { slots, used: AtomicUsize::new(0) })
    }

    /// Claims a slot at the newest `visible`. `None`: all slots are in use.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        visible: impl Fn() -> Lsn,
        now_ns: u64,
    ) -> Option<SnapshotGuard> {
        let mut lsn = visible();
        let index = (0..self.slots.len()).find(|&index| self.claim(index, lsn))?;
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        self.slots[index].begun_ns.store(now_ns, Ordering::Relaxed);
        loop {
            fence(Ordering::SeqCst);
            let again = visible();
            if again == lsn {
                return Some(SnapshotGuard { registry: Arc::clone(self), index, lsn });
            }
            lsn = again;
            self.slots[index].lsn.store(lsn.as_u64(), Ordering::SeqCst);
        }
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn acquire_without_second_look(
        self: &Arc<Self>,
        visible: impl Fn() -> Lsn,
    ) -> Option<SnapshotGuard> {
        let lsn = visible();
        let index = (0..self.slots.len()).find(|&index| self.claim(index, lsn))?;
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        Some(SnapshotGuard { registry: Arc::clone(self), index, lsn })
    }

    fn claim(&self, index: usize, lsn: Lsn) -> bool {
        let slot = &self.slots[index].lsn;
        slot.load(Ordering::Relaxed) == FREE
            && slot
                .compare_exchange(FREE, lsn.as_u64(), Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
    }

    /// The active snapshots, in no order. The caller loaded `visible` before.
    pub(crate) fn active(&self) -> Vec<Lsn> {
        fence(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        let lsns = self.slots[..used].iter().map(|slot| slot.lsn.load(Ordering::SeqCst));
        lsns.filter(|&lsn| lsn != FREE).map(Lsn::new).collect()
    }

    /// Active snapshots, and the moment in nanoseconds at which the oldest of them began.
    pub(crate) fn census(&self) -> (usize, Option<u64>) {
        let used = self.used.load(Ordering::SeqCst);
        let active = self.slots[..used].iter().filter(|s| s.lsn.load(Ordering::SeqCst) != FREE);
        active.fold((0, None), |(count, oldest), slot| {
            let begun_ns = slot.begun_ns.load(Ordering::Relaxed);
            (count + 1, Some(oldest.map_or(begun_ns, |o: u64| o.min(begun_ns))))
        })
    }
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
}

impl Drop for SnapshotGuard {
    fn drop(&mut self) {
        self.registry.slots[self.index].lsn.store(FREE, Ordering::SeqCst);
    }
}
