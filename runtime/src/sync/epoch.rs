//! An immutable value that is replaced whole.

use super::atomic::{AtomicU64, Mutex, Ordering};
use super::padded::Padded;
use std::sync::Arc;

/// Holds the newest version of a value that readers copy out and keep until it is out of date.
///
/// A reader keeps the `Arc` with the epoch it was loaded at, compares `epoch()` (one load of a
/// line that only `replace` writes) before each use, and loads again when it moved.
pub struct EpochCell<T> {
    epoch: Padded<AtomicU64>,
    current: Mutex<Arc<T>>,
}

impl<T> EpochCell<T> {
    /// The first value has epoch 1, so 0 is free to mean "nothing loaded yet".
    pub fn new(value: Arc<T>) -> Self {
        Self { epoch: Padded::new(AtomicU64::new(1)), current: Mutex::new(value) }
    }

    /// Epoch of the current value. A `load` after this returns that value or a newer one.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn load(&self) -> Arc<T> {
        self.load_with_epoch().1
    }

    /// Returns the current value and its own epoch.
    pub fn load_with_epoch(&self) -> (u64, Arc<T>) {
        let current = self.current.lock();
        (self.epoch.load(Ordering::Relaxed), Arc::clone(&current))
    }

    /// Puts `value` in force and returns its epoch.
    pub fn replace(&self, value: Arc<T>) -> u64 {
        let mut current = self.current.lock();
        let replaced = std::mem::replace(&mut *current, value);
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        self.epoch.store(epoch, Ordering::Release);
        drop(current);
        // The last reference may be this one: its value is torn down outside the lock.
        drop(replaced);
        epoch
    }
}
