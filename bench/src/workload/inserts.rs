//! Numbers for records that are inserted, and up to where they are known to exist.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Gives each insert a fresh record and knows which records everybody may read.
///
/// Inserts are acknowledged out of order; a reader is only told of records below which no insert
/// is still on its way, as YCSB's acknowledged counter does it. One that fails leaves the count
/// where it is.
#[derive(Debug)]
pub struct Inserts {
    next: AtomicU64,
    existing: AtomicU64,
    /// Acknowledged above the first that is not: fewer than there are clients.
    ahead: Mutex<BTreeSet<u64>>,
}

impl Inserts {
    /// After records `0..loaded`, which exist.
    #[must_use]
    pub fn after(loaded: u64) -> Inserts {
        Inserts {
            next: AtomicU64::new(loaded),
            existing: AtomicU64::new(loaded),
            ahead: Mutex::default(),
        }
    }

    /// A record that nobody had before.
    pub fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that the store acknowledged a record.
    pub fn acknowledge(&self, record: u64) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.insert(record);
        let mut existing = self.existing.load(Ordering::Relaxed);
        while ahead.remove(&existing) {
            existing += 1;
        }
        self.existing.store(existing, Ordering::Release);
    }

    /// Records `0..existing()` are acknowledged, each of them.
    #[must_use]
    pub fn existing(&self) -> u64 {
        self.existing.load(Ordering::Acquire)
    }

    /// Records `0..taken()` were given out, acknowledged or not.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}
