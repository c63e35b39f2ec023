//! Counts that all clients of one opening share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared by the clients of one opening. Plain counters; nothing is ordered by them.
#[derive(Default, Debug)]
pub struct Tally {
    pub(crate) operations: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) memory_full: AtomicU64,
    pub(crate) log_full: AtomicU64,
    pub(crate) disk_full: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) cross_shard: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) scans: AtomicU64,
    pub(crate) keyspaces: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// The greatest acknowledged LSN: a transaction that begins later must have seen it.
    floor: AtomicU64,
    stop: AtomicBool,
}

/// The counts at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TallyReport {
    pub operations: u64,
    pub acknowledged: u64,
    pub conflicts: u64,
    pub memory_full: u64,
    pub log_full: u64,
    pub disk_full: u64,
    /// Transactions that tried to commit writes, and those of them whose keys lie on several
    /// shards.
    pub transactions: u64,
    pub cross_shard: u64,
    /// Snapshots that the store ended.
    pub too_old: u64,
    pub scans: u64,
    pub keyspaces: u64,
    /// Clients that are done.
    pub ended: u64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Asks every client to end after the action it is at.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Relaxed)
    }

    pub(crate) fn raise_floor(&self, lsn: u64) {
        self.floor.fetch_max(lsn, Relaxed);
    }

    /// The counts as they are now.
    #[must_use]
    pub fn report(&self) -> TallyReport {
        TallyReport {
            operations: self.operations.load(Relaxed),
            acknowledged: self.acknowledged.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
            memory_full: self.memory_full.load(Relaxed),
            log_full: self.log_full.load(Relaxed),
            disk_full: self.disk_full.load(Relaxed),
            transactions: self.transactions.load(Relaxed),
            cross_shard: self.cross_shard.load(Relaxed),
            too_old: self.too_old.load(Relaxed),
            scans: self.scans.load(Relaxed),
            keyspaces: self.keyspaces.load(Relaxed),
            ended: self.ended.load(Relaxed),
        }
    }
}

impl std::ops::AddAssign for TallyReport {
    fn add_assign(&mut self, other: TallyReport) {
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.conflicts += other.conflicts;
        self.memory_full += other.memory_full;
        self.log_full += other.log_full;
        self.disk_full += other.disk_full;
        self.transactions += other.transactions;
        self.cross_shard += other.cross_shard;
        self.too_old += other.too_old;
        self.scans += other.scans;
        self.keyspaces += other.keyspaces;
        self.ended += other.ended;
    }
}
