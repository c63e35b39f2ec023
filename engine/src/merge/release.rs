//! Giving back what no root, no reader and no durable copy of the root table needs.

use std::time::Duration;

use sombra_runtime::Moment;
use sombra_runtime::sync::atomic::Ordering;

use super::Merger;
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::mvcc::registry::SnapshotKind;
use crate::tablet::Tablet;

impl Merger {
    /// Releases pages, extents, views and key indexes that nobody needs any more.
    pub(super) fn release(&self) {
        self.drop_views();
        self.release_pages();
        self.release_dropped();
        self.publish_gauges();
    }

    fn drop_views(&self) {
        // Loaded first: a snapshot that the registry does not show yet is at or above it.
        let visible = self.core.store.oracle.visible();
        let active = self.core.store.registry.active_snapshots();
        let reading = active.iter().filter(|snapshot| snapshot.is_reading);
        let mut snapshots: Vec<Lsn> = reading.map(|snapshot| snapshot.lsn).collect();
        let is_writer =
            |s: &&crate::mvcc::registry::ActiveSnapshot| s.kind == SnapshotKind::ReadWrite;
        let mut read_write: Vec<Lsn> = active.iter().filter(is_writer).map(|s| s.lsn).collect();
        snapshots.sort_unstable();
        read_write.push(visible);
        read_write.sort_unstable();
        let (mut is_freed, mut kept_below) = (false, Lsn::ZERO);
        self.core.for_each_tablet(|tablet| {
            if tablet.has_kept() {
                is_freed |= tablet.drop_unneeded(&snapshots, &read_write);
                kept_below = kept_below.max(tablet.kept_below());
            }
        });
        self.core.store.registry.watch_below(kept_below);
        if is_freed {
            self.core.store.announce_room();
        }
    }

    /// Cuts views down to what their snapshots read, once views take much of the memory. A
    /// snapshot that began a moment ago will mostly be gone before that is done.
    pub(super) async fn reduce_views(&self) {
        let store = &self.core.store;
        let kept_max = store.memory.max_bytes() / 100 * limits::VIEWS_REDUCE_PERCENT;
        let kept = || store.counters.iter().map(|c| c.kept_bytes.load(Ordering::Relaxed));
        if kept().sum::<u64>() <= kept_max {
            return;
        }
        let mut active = store.registry.active_snapshots();
        active.retain(|snapshot| snapshot.is_reading);
        let age_min = Duration::from_millis(limits::VIEW_REDUCE_AGE_MS);
        let now = self.core.shard.now();
        let is_settled = |begun_ns| now.saturating_since(Moment::from_nanos(begun_ns)) >= age_min;
        let settled = active.iter().filter(|snapshot| is_settled(snapshot.begun_ns));
        let mut settled: Vec<Lsn> = settled.map(|snapshot| snapshot.lsn).collect();
        let mut active: Vec<Lsn> = active.iter().map(|snapshot| snapshot.lsn).collect();
        settled.sort_unstable();
        active.sort_unstable();
        loop {
            let mut begun = None;
            self.core.for_each_tablet(|tablet| {
                if begun.is_none() {
                    let reduction = tablet.begin_reduction(&active, &settled);
                    begun = reduction.map(|reduction| (tablet.id(), reduction));
                }
            });
            let Some((id, mut reduction)) = begun else { break };
            while !reduction.step() {
                self.core.shard.yield_if_needed().await;
            }
            self.core.with_tablet_mut(id, |tablet| tablet.end_reduction(reduction));
            store.announce_room();
        }
        self.publish_gauges();
    }

    fn release_pages(&self) {
        let roots = &self.core.store.roots;
        let mut extents = Vec::new();
        self.core.for_each_tablet(|tablet| {
            if !tablet.tree.has_obsolete() {
                return;
            }
            let released = tablet.tree.take_releasable(|write| roots.is_in_both(write));
            if released.is_empty() {
                return;
            }
            let mut allocator = tablet.tree.allocator.borrow_mut();
            for run in &released {
                allocator.release(run.addr, run.pages);
                (0..u64::from(run.pages)).for_each(|at| self.pages.cache.forget(run.addr.plus(at)));
            }
            self.short_at.set(None);
            extents.extend(allocator.take_empty_extents(limits::EXTENTS_KEPT));
        });
        self.give_back(extents);
    }

    /// Gives back the room that a merge took for its largest step and did not need.
    pub(super) fn give_back_spare(&self, id: TabletId) {
        let spare = self.core.with_tablet_mut(id, spare_of);
        self.give_back(spare.unwrap_or_default());
        self.publish_gauges();
    }

    /// After a merge of `id` found no room: what the shard's other tablets have taken for merges
    /// of theirs goes back, so that it is tried again; its own goes to the lowest shard that waits,
    /// as several that each kept a part would wait for each other. Returns what the data file must
    /// have been supplied with beyond for another attempt.
    pub(super) fn let_go_of_spare(&self, id: TabletId, supplies: u64) -> u64 {
        let mut of_others = Vec::new();
        self.core.for_each_tablet(|tablet| {
            if tablet.id() != id {
                of_others.extend(spare_of(tablet));
            }
        });
        if !of_others.is_empty() {
            self.give_back(of_others);
            self.core.store.want_merges();
            return supplies;
        }
        if !self.core.store.is_merge_stuck_below(self.core.shard.id()) {
            return supplies;
        }
        let own = self.core.with_tablet_mut(id, spare_of).unwrap_or_default();
        if own.is_empty() {
            return supplies;
        }
        self.give_back(own);
        self.core.store.want_merges();
        // Not to be woken by what it gave back itself.
        supplies + 1
    }

    fn release_dropped(&self) {
        let roots = &self.core.store.roots;
        let mut extents = Vec::new();
        self.core.with_dropped(|dropped| {
            let (free, kept) = std::mem::take(dropped)
                .into_iter()
                .partition::<Vec<_>, _>(|tablet| tablet.is_free(roots));
            *dropped = kept;
            extents.extend(free.into_iter().flat_map(crate::commit::Dropped::into_extents));
        });
        self.give_back(extents);
    }

    fn give_back(&self, extents: Vec<u32>) {
        if extents.is_empty() {
            return;
        }
        self.core.store.volume.give_back(extents);
        if self.core.store.is_merge_stuck() {
            self.core.store.want_merges();
        }
        self.core.store.announce_room();
    }

    /// Shows what the tablets have; true whenever no merge is running.
    pub(super) fn publish_gauges(&self) {
        let mut gauges = Gauges::default();
        self.core.for_each_tablet(|tablet| {
            gauges.window_bytes += tablet.window_bytes();
            gauges.views_kept += tablet.view_count() as u64;
            gauges.views_most = gauges.views_most.max(tablet.view_count() as u64);
            gauges.kept_bytes += tablet.kept_bytes();
            let (waiting, pinned) = tablet.tree.waiting_pages();
            gauges.waiting_pages += waiting;
            gauges.pinned_pages += pinned;
            let allocator = tablet.tree.allocator.borrow();
            gauges.live_pages += allocator.live_pages();
            gauges.held_pages += allocator.held_pages();
            gauges.tablet_extents += allocator.extent_count();
        });
        gauges.dropped_extents = self
            .core
            .with_dropped(|dropped| dropped.iter().map(crate::commit::Dropped::extent_count).sum());
        let counters = self.core.counters();
        for (gauge, value) in [
            (&counters.window_bytes, gauges.window_bytes),
            (&counters.views_kept, gauges.views_kept),
            (&counters.kept_bytes, gauges.kept_bytes),
            (&counters.views_most, gauges.views_most),
            (&counters.waiting_pages, gauges.waiting_pages),
            (&counters.pinned_pages, gauges.pinned_pages),
            (&counters.live_pages, gauges.live_pages),
            (&counters.held_pages, gauges.held_pages),
            (&counters.tablet_extents, gauges.tablet_extents),
            (&counters.dropped_extents, gauges.dropped_extents),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
        counters.publish_cache(&self.pages.cache.counters(), self.pages.cache.resident_bytes());
        counters.releases.fetch_add(1, Ordering::Release);
    }
}

/// Empty extents of a tablet that is not being merged, but for the few that it keeps.
fn spare_of(tablet: &mut Tablet) -> Vec<u32> {
    tablet.tree.allocator.borrow_mut().take_empty_extents(limits::EXTENTS_KEPT)
}

#[derive(Default)]
struct Gauges {
    window_bytes: u64,
    views_kept: u64,
    views_most: u64,
    kept_bytes: u64,
    waiting_pages: u64,
    pinned_pages: u64,
    live_pages: u64,
    held_pages: u64,
    tablet_extents: u64,
    dropped_extents: u64,
}
