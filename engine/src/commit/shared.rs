//! What the shards of one store share while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use sombra_runtime::ShardId;
use sombra_runtime::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use sombra_runtime::sync::{LogRing, Padded, Signal};

use super::locks::StoreLocks;
use crate::cache::CacheCounters;
use crate::error::ConflictReason;
use crate::ids::Lsn;
use crate::limits;
use crate::memory::MemoryBudget;
use crate::mvcc::oracle::Oracle;
use crate::mvcc::registry::SnapshotRegistry;
use crate::poison::Poison;
use crate::volume::{RootTable, Volume};
use crate::wal::group_commit::GroupCommit;
use crate::wal::watermarks::NONE_OPEN;

/// Numbers that one shard counts; read by anybody.
#[derive(Debug)]
pub(crate) struct ShardCounters {
    pub(crate) commits: AtomicU64,
    pub(crate) commits_across: AtomicU64,
    pub(crate) conflicts_newer_version: AtomicU64,
    pub(crate) conflicts_read_changed: AtomicU64,
    pub(crate) conflicts_range_changed: AtomicU64,
    pub(crate) conflicts_prepared: AtomicU64,
    pub(crate) conflicts_locked: AtomicU64,
    /// Requests for locks that had to wait, and of those the ones that waited too long.
    pub(crate) lock_waits: AtomicU64,
    pub(crate) lock_timeouts: AtomicU64,
    /// Requests that wait now.
    pub(crate) blocked: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) scans: AtomicU64,
    pub(crate) open_commits: AtomicU64,
    pub(crate) commit_latency_ns: Mutex<Histogram<u64>>,
    pub(crate) flush_latency_ns: Mutex<Histogram<u64>>,
    pub(crate) merges: AtomicU64,
    pub(crate) merge_duration_ns: Mutex<Histogram<u64>>,
    /// Gauges that the shard refreshes after its merges.
    pub(crate) window_bytes: AtomicU64,
    pub(crate) views_kept: AtomicU64,
    /// Views of the tablet that keeps most of them.
    pub(crate) views_most: AtomicU64,
    pub(crate) kept_bytes: AtomicU64,
    pub(crate) waiting_pages: AtomicU64,
    /// Those of them that an older root in use holds back.
    pub(crate) pinned_pages: AtomicU64,
    /// How often the shard has looked what it may release.
    pub(crate) releases: AtomicU64,
    pub(crate) live_pages: AtomicU64,
    /// Pages that must not be written: live, waiting, or of a merge that is running.
    pub(crate) held_pages: AtomicU64,
    pub(crate) tablet_extents: AtomicU64,
    /// Extents of tablets whose keyspace was dropped.
    pub(crate) dropped_extents: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) cache_evictions: AtomicU64,
    pub(crate) cache_bytes: AtomicU64,
}

impl ShardCounters {
    fn new() -> ShardCounters {
        let histogram = || {
            let bounds = Histogram::new_with_bounds(1, limits::LATENCY_NS_MAX, 2);
            Mutex::new(bounds.expect("constant histogram bounds are valid"))
        };
        ShardCounters {
            commits: AtomicU64::new(0),
            commits_across: AtomicU64::new(0),
            conflicts_newer_version: AtomicU64::new(0),
            conflicts_read_changed: AtomicU64::new(0),
            conflicts_range_changed: AtomicU64::new(0),
            conflicts_prepared: AtomicU64::new(0),
            conflicts_locked: AtomicU64::new(0),
            lock_waits: AtomicU64::new(0),
            lock_timeouts: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            scans: AtomicU64::new(0),
            open_commits: AtomicU64::new(0),
            commit_latency_ns: histogram(),
            flush_latency_ns: histogram(),
            merges: AtomicU64::new(0),
            merge_duration_ns: histogram(),
            window_bytes: AtomicU64::new(0),
            views_kept: AtomicU64::new(0),
            views_most: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            waiting_pages: AtomicU64::new(0),
            pinned_pages: AtomicU64::new(0),
            releases: AtomicU64::new(0),
            live_pages: AtomicU64::new(0),
            held_pages: AtomicU64::new(0),
            tablet_extents: AtomicU64::new(0),
            dropped_extents: AtomicU64::new(0),
            cache_hits: AtomicU64::new(0),
            cache_misses: AtomicU64::new(0),
            cache_evictions: AtomicU64::new(0),
            cache_bytes: AtomicU64::new(0),
        }
    }
}

impl ShardCounters {
    pub(crate) fn count_conflict(&self, reason: ConflictReason) {
        match reason {
            ConflictReason::NewerVersion => &self.conflicts_newer_version,
            ConflictReason::ReadChanged => &self.conflicts_read_changed,
            ConflictReason::RangeChanged => &self.conflicts_range_changed,
            ConflictReason::Prepared => &self.conflicts_prepared,
            ConflictReason::Locked => &self.conflicts_locked,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Shows what the shard's cache counts by itself.
    pub(crate) fn publish_cache(&self, cache: &CacheCounters, resident_bytes: u64) {
        self.cache_hits.store(cache.hits, Ordering::Relaxed);
        self.cache_misses.store(cache.misses, Ordering::Relaxed);
        self.cache_evictions.store(cache.evictions, Ordering::Relaxed);
        self.cache_bytes.store(resident_bytes, Ordering::Relaxed);
    }
}

/// Records a duration; a poisoned lock only loses the sample.
pub(crate) fn record_ns(histogram: &Mutex<Histogram<u64>>, nanoseconds: u64) {
    if let Ok(mut histogram) = histogram.lock() {
        histogram.saturating_record(nanoseconds.max(1));
    }
}

/// The log, the oracle and the wake-ups of one open store.
pub(crate) struct StoreCore {
    pub(crate) log: Arc<GroupCommit>,
    pub(crate) oracle: Oracle<Arc<LogRing>>,
    pub(crate) registry: Arc<SnapshotRegistry>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) volume: Arc<Volume>,
    pub(crate) roots: Arc<RootTable>,
    pub(crate) ages: SnapshotAges,
    /// Windows above this are merged.
    pub(crate) merge_above_bytes: u64,
    pub(crate) counters: Box<[Padded<ShardCounters>]>,
    /// Wakes the task of a shard that merges.
    merge_wakes: Box<[Signal]>,
    /// Shards whose merges wait for room in the data file.
    merge_stuck: Box<[Padded<AtomicBool>]>,
    /// A tablet cannot be merged any more.
    has_damage: AtomicBool,
    /// Window bytes that stay for that reason.
    damaged_bytes: AtomicU64,
    /// Tasks that may write to the data file: merges, and what the publisher does.
    merging: AtomicUsize,
    publishing: AtomicUsize,
    /// Wakes the task of a shard that closes, acknowledges and makes room.
    wakes: Box<[Signal]>,
    wants_room: Box<[Padded<AtomicBool>]>,
    closing: AtomicBool,
    pub(crate) locks: StoreLocks,
    /// Raised after every log write: when the log then goes idle, one block stamps `durable`.
    pub(crate) stamp_wanted: Signal,
    /// The root table could not follow the set of keyspaces yet: the next tick asks again.
    pub(crate) catalog_late: AtomicBool,
    /// Raised by what a shard may have to merge or end for: see the merge tick.
    pub(crate) tick_wanted: Signal,
}

/// Ages at which snapshots are ended; `None`: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SnapshotAges {
    pub(crate) read_only: Option<Duration>,
    pub(crate) read_write: Option<Duration>,
}

/// What writes to the data file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DataWork {
    Merge,
    Publication,
}

/// A task that may write to the data file.
pub(crate) struct Merging(Arc<StoreCore>, DataWork);

impl Drop for Merging {
    fn drop(&mut self) {
        self.0.data_work(self.1).fetch_sub(1, Ordering::SeqCst);
    }
}

/// What [`StoreCore`] is made of.
pub(crate) struct StoreCoreParts {
    pub(crate) log: Arc<GroupCommit>,
    pub(crate) volume: Arc<Volume>,
    pub(crate) roots: Arc<RootTable>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) ages: SnapshotAges,
    pub(crate) shard_count: usize,
    /// First LSN of this opening: everything below is settled.
    pub(crate) start: Lsn,
}

impl StoreCore {
    pub(crate) fn new(parts: StoreCoreParts) -> StoreCore {
        let StoreCoreParts { log, volume, roots, poison, memory, ages, shard_count, start } = parts;
        let signals = || (0..shard_count).map(|_| Signal::new());
        let flags = || (0..shard_count).map(|_| Padded::new(AtomicBool::new(false)));
        let ring = Arc::clone(log.ring());
        StoreCore {
            oracle: Oracle::new(ring, shard_count, start),
            registry: SnapshotRegistry::new(limits::SNAPSHOTS_MAX),
            poison,
            volume,
            roots,
            ages,
            merge_above_bytes: memory.max_bytes() / 100 * limits::MERGE_ABOVE_PERCENT,
            memory,
            merge_wakes: signals().collect(),
            merge_stuck: flags().collect(),
            has_damage: AtomicBool::new(false),
            damaged_bytes: AtomicU64::new(0),
            merging: AtomicUsize::new(0),
            publishing: AtomicUsize::new(0),
            counters: (0..shard_count).map(|_| Padded::new(ShardCounters::new())).collect(),
            wakes: signals().collect(),
            wants_room: flags().collect(),
            closing: AtomicBool::new(false),
            locks: StoreLocks::new(shard_count),
            stamp_wanted: Signal::new(),
            catalog_late: AtomicBool::new(false),
            tick_wanted: Signal::new(),
            log,
        }
    }

    pub(crate) fn wake(&self, shard: usize) {
        self.wakes[shard].raise();
    }

    pub(crate) fn wake_all(&self) {
        self.wakes.iter().for_each(Signal::raise);
    }

    pub(crate) fn signal(&self, shard: ShardId) -> &Signal {
        &self.wakes[shard.index()]
    }

    /// After `durable` rose: wakes the shards that have a commit to close or wait for room.
    pub(crate) fn announce_durable(&self, durable: Lsn) {
        fence(Ordering::SeqCst);
        for index in 0..self.wakes.len() {
            let pending = self.oracle.marks().pending(ShardId::new(index as u16));
            let closes = pending != NONE_OPEN && pending < durable.as_u64();
            if closes || self.wants_room[index].load(Ordering::SeqCst) {
                self.wake(index);
            }
        }
    }

    /// Says that a task may write to the data file while the guard lives: a closing store waits
    /// for it.
    pub(crate) fn begin_merging(self: &Arc<Self>, work: DataWork) -> Merging {
        self.data_work(work).fetch_add(1, Ordering::SeqCst);
        Merging(Arc::clone(self), work)
    }

    fn data_work(&self, work: DataWork) -> &AtomicUsize {
        match work {
            DataWork::Merge => &self.merging,
            DataWork::Publication => &self.publishing,
        }
    }

    /// How many tasks of that kind are at it.
    pub(crate) fn running(&self, work: DataWork) -> usize {
        self.data_work(work).load(Ordering::SeqCst)
    }

    /// Merges that were finished since the store was opened.
    pub(crate) fn merges_total(&self) -> u64 {
        self.counters.iter().map(|c| c.merges.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn is_merging(&self) -> bool {
        self.running(DataWork::Merge) + self.running(DataWork::Publication) > 0
    }

    /// Wakes the merging task of a shard.
    pub(crate) fn merge_signal(&self, shard: ShardId) -> &Signal {
        &self.merge_wakes[shard.index()]
    }

    /// Lets every shard look what it should merge or release.
    pub(crate) fn want_merges(&self) {
        self.merge_wakes.iter().for_each(Signal::raise);
    }

    pub(crate) fn set_merge_stuck(&self, shard: ShardId, is_stuck: bool) {
        self.merge_stuck[shard.index()].store(is_stuck, Ordering::SeqCst);
        if is_stuck {
            self.announce_room();
        }
    }

    /// Whether a shard's merges wait for room in the data file.
    /// Whether a merge of a lower shard waits for room.
    pub(crate) fn is_merge_stuck_below(&self, shard: ShardId) -> bool {
        self.merge_stuck[..shard.index()].iter().any(|stuck| stuck.load(Ordering::SeqCst))
    }

    pub(crate) fn is_merge_stuck(&self) -> bool {
        self.merge_stuck.iter().any(|stuck| stuck.load(Ordering::SeqCst))
    }

    /// Whether waiting for merges makes sense: none waits for room or stumbled over damage.
    pub(crate) fn can_merge(&self) -> bool {
        !self.is_merge_stuck() && !self.has_damage.load(Ordering::SeqCst)
    }

    /// Whether merging can make room for `bytes` in the windows: what lies in tablets that
    /// cannot be merged stays, and grows no more.
    pub(crate) fn can_free_memory(&self, bytes: u64) -> bool {
        let stays = self.damaged_bytes.load(Ordering::SeqCst);
        !self.is_merge_stuck() && stays + bytes <= self.memory.max_bytes()
    }

    /// Says that a tablet with so many bytes in its windows cannot be merged any more.
    pub(crate) fn set_damaged(&self, window_bytes: u64) {
        self.damaged_bytes.fetch_add(window_bytes, Ordering::SeqCst);
        self.has_damage.store(true, Ordering::SeqCst);
        self.announce_room();
    }

    /// After memory or space became free: wakes the shards on which a commit waits for it.
    pub(crate) fn announce_room(&self) {
        fence(Ordering::SeqCst);
        let waiting = self.wants_room.iter().enumerate();
        waiting.filter(|(_, w)| w.load(Ordering::SeqCst)).for_each(|(index, _)| self.wake(index));
    }

    /// Whether a commit waits for memory or space on some shard.
    pub(crate) fn is_room_wanted(&self) -> bool {
        self.wants_room.iter().any(|wanted| wanted.load(Ordering::SeqCst))
    }

    /// After `visible` rose: wakes the shards on which somebody waits for it.
    pub(crate) fn announce_visible(&self, visible: Lsn) {
        self.oracle.waiting_shards(visible).for_each(|index| self.wake(index));
    }

    /// Says whether a commit on `shard` waits for room in the log; look again after `true`.
    pub(crate) fn set_wants_room(&self, shard: ShardId, wants: bool) {
        self.wants_room[shard.index()].store(wants, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Stops the store for good (INV-7): no further acknowledgement, `durable` stays.
    pub(crate) fn stop(&self, reason: &str) {
        self.poison.set(reason);
        self.log.ring().fail();
        self.wake_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn set_closing(&self) -> bool {
        self.closing.swap(true, Ordering::SeqCst)
    }
}
