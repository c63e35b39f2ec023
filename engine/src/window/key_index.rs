//! What stays of a window after it was merged: its keys and their newest LSN.
//!
//! Knows keys and LSNs; conflict checks of older snapshots need nothing else. Must never know
//! values.

use super::Window;
use super::hash::Tag;
use super::keys::KeyTable;
use crate::ids::Lsn;

/// Key → newest LSN of a window that is gone.
pub(crate) struct KeyIndex {
    keys: KeyTable,
    newest_lsn: Lsn,
}

impl Window {
    /// Drops all versions and keeps the keys. Cost: that of giving the versions' memory back.
    #[must_use]
    pub(crate) fn into_key_index(self) -> KeyIndex {
        KeyIndex { keys: self.keys, newest_lsn: self.newest_lsn }
    }
}

impl KeyIndex {
    /// The LSN of the newest version that `key` had in the window.
    #[must_use]
    pub(crate) fn newest_lsn(&self, key: &[u8]) -> Option<Lsn> {
        let found = self.keys.find(key, Tag::of(key))?;
        Some(self.keys.records.newest_lsn(found))
    }

    /// A key of the range whose newest version is above `snapshot`: the first one.
    #[must_use]
    pub(crate) fn has_newer(
        &self,
        from: std::ops::Bound<&[u8]>,
        to: std::ops::Bound<&[u8]>,
        snapshot: Lsn,
    ) -> Option<(bytes::Bytes, Lsn)> {
        if self.newest_lsn <= snapshot {
            return None;
        }
        self.keys.first_newer((from, to), snapshot)
    }

    /// Keys held.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Upper estimate of the bytes that the index takes.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.keys.charged_bytes()
    }

    /// Bytes taken from the allocator.
    #[cfg(test)]
    #[must_use]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.keys.allocated_bytes()
    }
}
