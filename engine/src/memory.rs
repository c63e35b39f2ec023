//! The store-wide memory budget: charged before a commit takes its log position (INV-9).

use sombra_runtime::sync::atomic::{AtomicU64, Ordering};

use crate::limits;

/// Bytes that windows may take of the store's memory, and what they take.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    windows_max_bytes: u64,
    total_bytes: u64,
    used_bytes: AtomicU64,
}

impl MemoryBudget {
    pub(crate) fn new(total_bytes: u64) -> MemoryBudget {
        let windows_max_bytes = total_bytes / 100 * limits::MEMORY_WINDOWS_PERCENT;
        MemoryBudget { windows_max_bytes, total_bytes, used_bytes: AtomicU64::new(0) }
    }

    /// What the page caches of all shards may take.
    pub(crate) fn cache_max_bytes(&self) -> u64 {
        self.total_bytes / 100 * limits::MEMORY_CACHE_PERCENT
    }

    /// What replay may fill: there are no commits yet that would need the rest.
    pub(crate) fn replay_max_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Charges `bytes`, or tells what is used when they do not fit.
    pub(crate) fn try_charge(&self, bytes: u64) -> Result<(), u64> {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.windows_max_bytes {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(before);
        }
        Ok(())
    }

    /// Charges what is there already: replay checks the budget after each chunk of the log, the
    /// keys of merged windows are bounded by ending old snapshots.
    pub(crate) fn charge_unbounded(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: u64) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "INV-9: released {bytes} of {before} charged bytes");
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The windows' share.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.windows_max_bytes
    }
}
