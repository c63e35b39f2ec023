//! One tablet: for now its active window. Point read, range read, apply.
//!
//! Knows its own window only. Must never know the log or other tablets.

use std::ops::Bound;

use bytes::Bytes;

use crate::ids::Lsn;
use crate::window::{Direction, Lookup, PruneView, RangePage, Window};

/// What one shard owns of one range of a keyspace.
#[derive(Debug, Default)]
pub(crate) struct Tablet {
    active: Window,
}

impl Tablet {
    /// The value of `key` at `snapshot`.
    pub(crate) fn get(&self, key: &[u8], snapshot: Lsn) -> Option<Bytes> {
        match self.active.get(key, snapshot) {
            Lookup::Found(value) => Some(value),
            Lookup::Miss | Lookup::Deleted => None,
        }
    }

    /// Rows in key order at `snapshot`, up to the page bounds.
    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, snapshot: Lsn) -> RangePage {
        self.active.range(from, to, snapshot, Direction::Forward)
    }

    /// LSN of the newest version of `key`, visible or not.
    pub(crate) fn newest_lsn(&self, key: &[u8]) -> Option<Lsn> {
        self.active.newest_lsn(key)
    }

    /// Applies one write of the commit at `lsn`; returns the bytes that became free.
    pub(crate) fn apply(
        &mut self,
        key: Bytes,
        lsn: Lsn,
        value: Option<Bytes>,
        view: &PruneView,
    ) -> u64 {
        self.active.insert(key, lsn, value, view)
    }

    /// Drops up to `steps` keys' versions that nobody can read any more; returns the bytes.
    pub(crate) fn collect_garbage(&mut self, view: &PruneView, steps: usize) -> u64 {
        self.active.collect_garbage(view, steps)
    }

    pub(crate) fn has_garbage(&self) -> bool {
        self.active.garbage_len() > 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.active.bytes()
    }
}
