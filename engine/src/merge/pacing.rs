//! What to merge next, which snapshots hold up too much, and how idle tablets let go of the log.

use futures_channel::oneshot;
use sombra_runtime::Moment;
use sombra_runtime::sync::Padded;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering};

use super::publisher::{PublishRequest, TabletRoot};
use super::{MergeStop, Merger};
use crate::commit::ShardCounters;
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::mvcc::registry::{ActiveSnapshot, SnapshotKind};
use crate::tablet::Tablet;
use crate::volume::VolumeState;

impl Merger {
    /// The tablet to merge now: one whose merge was interrupted, one that pins the log, the
    /// largest window while the windows take too much or when it has passed its own bound.
    pub(super) fn pick(&self) -> Option<TabletId> {
        let store = &self.core.store;
        if store.poison.reason().is_some() || store.is_closing() {
            return None;
        }
        let shard_count = store.counters.len() as u64;
        let tail = store.log.ring().tail();
        let lag_max = self.log_lag_max();
        let mut shard_bytes = 0;
        let (mut frozen, mut largest, mut laggard) = (None, None, None);
        self.core.for_each_tablet(|tablet| {
            if tablet.damage().is_some() {
                return;
            }
            let bytes = tablet.active_bytes();
            shard_bytes += bytes;
            if tablet.frozen().is_some() {
                frozen = Some(tablet.id());
            }
            if tablet.is_active_empty() {
                return;
            }
            if largest.is_none_or(|(most, _)| bytes > most) {
                largest = Some((bytes, tablet.id()));
            }
            let merge_lsn = tablet.tree.merge_lsn();
            let lags = tail.saturating_sub(merge_lsn.as_u64()) > lag_max;
            if lags && laggard.is_none_or(|(lowest, _)| merge_lsn < lowest) {
                laggard = Some((merge_lsn, tablet.id()));
            }
        });
        if frozen.is_some() {
            return frozen;
        }
        if let Some((_, id)) = laggard {
            return Some(id);
        }
        let (largest_bytes, largest_id) = largest?;
        let is_pressed = store.memory.used_bytes() > store.merge_above_bytes;
        let is_heavy = shard_bytes > store.merge_above_bytes / (2 * shard_count);
        let is_due = (is_pressed && is_heavy) || largest_bytes > limits::WINDOW_BYTES_MAX;
        is_due.then_some(largest_id)
    }

    /// How far, in log bytes, a tablet may lag behind the tail before it is merged for the
    /// log's sake: what the windows hold anyway, less when the log's own bound is small.
    fn log_lag_max(&self) -> u64 {
        let store = &self.core.store;
        let segments = store.log.segments();
        let soft = segments.bytes_max() / 100 * limits::LOG_SOFT_PERCENT;
        let segment = segments.identity().segment_bytes;
        store.memory.max_bytes().min(soft).max(segment / 2)
    }

    /// Tells the root table how far idle tablets are, so that they do not pin the log.
    pub(super) async fn raise_idle(&self) -> Result<(), MergeStop> {
        let store = &self.core.store;
        let (visible, tail) = (store.oracle.visible(), store.log.ring().tail());
        // Only the end of a record may become a merge LSN: `visible` is one, `durable` need not.
        if store.log.durable() < visible || store.is_closing() {
            return Ok(());
        }
        let lag_max = self.log_lag_max() / 2;
        let mut roots = Vec::new();
        self.core.for_each_tablet(|tablet| {
            let merge_lsn = tablet.tree.merge_lsn();
            let lags = tail.saturating_sub(merge_lsn.as_u64()) > lag_max;
            if lags && merge_lsn < visible && is_idle(tablet) {
                roots.push(root_of(tablet, visible));
            }
        });
        let catalog_lsn = store.roots.floor().catalog_lsn;
        let is_catalog_late = tail.saturating_sub(catalog_lsn.as_u64()) > lag_max;
        if is_catalog_late {
            // A full queue is served soon, and the next tick asks again.
            let _ = self.publisher.try_send(PublishRequest::Catalog);
        }
        if roots.is_empty() {
            return Ok(());
        }
        let ids: Vec<TabletId> = roots.iter().map(|root| root.tablet).collect();
        let (reply, published) = oneshot::channel();
        let sent = self.publisher.send(PublishRequest::Roots { roots, reply }).await;
        sent.map_err(|_| MergeStop::Stopped)?;
        published.await.map_err(|_| MergeStop::Stopped)?;
        for id in ids {
            self.core.with_tablet_mut(id, |tablet| tablet.raise_idle(visible));
        }
        Ok(())
    }

    /// Marks snapshots that passed their age, or the oldest ones while they hold up too much.
    pub(super) fn end_old_snapshots(&self) {
        let store = &self.core.store;
        let now = self.core.shard.now();
        let mut active = store.registry.active_snapshots();
        active.sort_unstable_by_key(|snapshot| snapshot.lsn);
        let ages = store.ages;
        for snapshot in &active {
            let limit = match snapshot.kind {
                SnapshotKind::ReadOnly => ages.read_only,
                SnapshotKind::ReadWrite => ages.read_write,
            };
            let age = now.saturating_since(Moment::from_nanos(snapshot.begun_ns));
            if limit.is_some_and(|limit| age > limit) {
                self.end(snapshot, "it passed its age limit");
            }
        }
        // One shard judges what all of them keep.
        if self.core.shard.id().index() == 0 {
            self.end_who_holds_up();
        }
    }

    /// Ends the oldest snapshot while more is kept than may be. What the shards last said of
    /// that can be for snapshots that are gone, so they look again once one is suspected.
    fn end_who_holds_up(&self) {
        let active = self.core.store.registry.active_snapshots();
        // A reader holds windows and pages, a commit under way only keys.
        let order = |snapshot: &&ActiveSnapshot| (!snapshot.is_reading, snapshot.lsn);
        let oldest = active.iter().min_by_key(order);
        let mut suspect = self.suspect.borrow_mut();
        let (Some(oldest), Some(why)) = (oldest, self.held_up()) else {
            *suspect = None;
            return;
        };
        match &*suspect {
            Some(known) if known.is(oldest) => {
                if known.releases.iter().zip(self.releases()).all(|(&then, now)| now > then) {
                    self.end(oldest, why);
                    *suspect = None;
                }
            }
            _ => {
                *suspect = Some(Suspect { snapshot: *oldest, releases: self.releases() });
                self.core.store.want_merges();
            }
        }
    }

    fn end(&self, snapshot: &ActiveSnapshot, why: &'static str) {
        if self.core.store.registry.end(snapshot) {
            tracing::warn!(lsn = snapshot.lsn.as_u64(), why, "a snapshot was ended");
            self.core.store.want_merges();
        }
    }

    fn releases(&self) -> Vec<u64> {
        let count = |c: &Padded<ShardCounters>| c.releases.load(Ordering::Acquire);
        self.core.store.counters.iter().map(count).collect()
    }

    /// What of old snapshots passes its bound.
    fn held_up(&self) -> Option<&'static str> {
        let store = &self.core.store;
        let sum = |gauge: fn(&ShardCounters) -> &AtomicU64| {
            store.counters.iter().map(|c| gauge(c).load(Ordering::Relaxed)).sum::<u64>()
        };
        let kept_max = store.memory.max_bytes() / 100 * limits::VIEWS_PERCENT_MAX;
        if sum(|c| &c.kept_bytes) > kept_max {
            return Some("the windows it keeps pass their share of memory");
        }
        let most_views = store.counters.iter().map(|c| c.views_most.load(Ordering::Relaxed)).max();
        if most_views.unwrap_or(0) > limits::VIEWS_PER_TABLET_MAX as u64 {
            return Some("a tablet keeps too many views");
        }
        let is_full =
            store.volume.state() != VolumeState::Fine && !store.volume.has_room_for_commits();
        (is_full && sum(|c| &c.pinned_pages) > 0)
            .then_some("the pages it keeps are needed: the data file is full")
    }
}

/// A snapshot that will be ended if the shards, looking again, still keep too much.
pub(super) struct Suspect {
    snapshot: ActiveSnapshot,
    /// How often each shard had looked what it may release by then.
    releases: Vec<u64>,
}

impl Suspect {
    fn is(&self, other: &ActiveSnapshot) -> bool {
        (self.snapshot.lsn, self.snapshot.begun_ns) == (other.lsn, other.begun_ns)
    }
}

fn is_idle(tablet: &Tablet) -> bool {
    tablet.is_active_empty() && tablet.frozen().is_none() && tablet.damage().is_none()
}

/// The row of a tablet that holds everything up to `lsn` as it is.
fn root_of(tablet: &Tablet, lsn: Lsn) -> TabletRoot {
    TabletRoot {
        tablet: tablet.id(),
        merge_lsn: lsn,
        tree_lsn: lsn,
        root: tablet.tree.current().root,
        space: tablet.tree.space,
    }
}
