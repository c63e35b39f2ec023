//! The store-wide memory budget: charged before a commit takes its log position (INV-9).

use sombra_runtime::sync::atomic::{AtomicU64, Ordering};

/// Bytes that windows may take, and what they take.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max_bytes: u64,
    used_bytes: AtomicU64,
}

impl MemoryBudget {
    pub(crate) fn new(max_bytes: u64) -> MemoryBudget {
        MemoryBudget { max_bytes, used_bytes: AtomicU64::new(0) }
    }

    /// Charges `bytes`, or tells what is used when they do not fit.
    pub(crate) fn try_charge(&self, bytes: u64) -> Result<(), u64> {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max_bytes {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(before);
        }
        Ok(())
    }

    /// Charges what is already logged; replay checks the budget after each chunk of the log.
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

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}
