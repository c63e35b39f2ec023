//! What the shards of one store share while it runs.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;
use sombra_runtime::ShardId;
use sombra_runtime::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use sombra_runtime::sync::{LogRing, Padded, Signal};

use crate::ids::Lsn;
use crate::limits;
use crate::memory::MemoryBudget;
use crate::mvcc::oracle::Oracle;
use crate::mvcc::registry::SnapshotRegistry;
use crate::poison::Poison;
use crate::wal::group_commit::GroupCommit;
use crate::wal::watermarks::NONE_OPEN;

/// Numbers that one shard counts; read by anybody.
#[derive(Debug)]
pub(crate) struct ShardCounters {
    pub(crate) commits: AtomicU64,
    pub(crate) commits_across: AtomicU64,
    pub(crate) conflicts_newer_version: AtomicU64,
    pub(crate) conflicts_prepared: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) scans: AtomicU64,
    pub(crate) open_commits: AtomicU64,
    pub(crate) commit_latency_ns: Mutex<Histogram<u64>>,
    pub(crate) flush_latency_ns: Mutex<Histogram<u64>>,
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
            conflicts_prepared: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            scans: AtomicU64::new(0),
            open_commits: AtomicU64::new(0),
            commit_latency_ns: histogram(),
            flush_latency_ns: histogram(),
        }
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
    pub(crate) counters: Box<[Padded<ShardCounters>]>,
    /// Wakes the task of a shard that closes, acknowledges and makes room.
    wakes: Arc<[Signal]>,
    wants_room: Box<[Padded<AtomicBool>]>,
    closing: AtomicBool,
    /// Raised after every log write: when the log then goes idle, one block stamps `durable`.
    pub(crate) stamp_wanted: Signal,
}

impl StoreCore {
    pub(crate) fn new(
        log: Arc<GroupCommit>,
        poison: Arc<Poison>,
        memory: Arc<MemoryBudget>,
        wakes: Arc<[Signal]>,
        start: Lsn,
    ) -> StoreCore {
        let shard_count = wakes.len();
        let ring = Arc::clone(log.ring());
        StoreCore {
            oracle: Oracle::new(ring, shard_count, start),
            registry: SnapshotRegistry::new(limits::SNAPSHOTS_MAX),
            poison,
            memory,
            counters: (0..shard_count).map(|_| Padded::new(ShardCounters::new())).collect(),
            wakes,
            wants_room: (0..shard_count).map(|_| Padded::new(AtomicBool::new(false))).collect(),
            closing: AtomicBool::new(false),
            stamp_wanted: Signal::new(),
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
