//! The versioned in-memory map of one tablet: key → versions, newest first.
//!
//! Knows versions and which of them somebody may still read. Must never know the log, who the
//! readers are (the list of active snapshots is an argument), or other tablets.
//!
//! A key stays, if only as a tombstone, until the whole window goes: the tree below may hold it.
//! A hash table answers for single keys, a B+tree for ranges; keys and small values lie in
//! arenas that go with the window.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

use crate::ids::Lsn;
use crate::limits;

mod arena;
mod block;
mod cursor;
mod garbage;
mod hash;
mod key_index;
mod keys;
mod newest;
mod node;
mod prune;
mod slab;
#[cfg(test)]
mod tests;
mod tree;
mod versions;

use arena::{NONE, Ref};
pub(crate) use cursor::{CursorStep, WindowCursor, WindowRow};
use garbage::GarbageQueue;
use hash::Tag;
pub(crate) use key_index::KeyIndex;
use keys::KeyTable;
#[cfg(test)]
pub(crate) use newest::NewestVersion;
pub(crate) use prune::PruneView;
use versions::Versions;

/// What a window says of a key at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// No version at or below the snapshot.
    Miss,
    /// The newest version at or below the snapshot is a delete.
    Deleted,
    /// The newest version at or below the snapshot.
    Found(Bytes),
}

/// Rows of one range read, and where to go on when it stopped at a bound.
#[derive(Debug, Default)]
pub(crate) struct RangePage {
    pub(crate) rows: Vec<(Bytes, Bytes)>,
    /// The last key looked at when rows may follow; `None` at the end of the range.
    pub(crate) resume_after: Option<Bytes>,
}

/// Ordered map of one tablet's recent versions.
pub(crate) struct Window {
    keys: KeyTable,
    versions: Versions,
    garbage: GarbageQueue,
    version_count: u64,
    /// Charged for versions beside their keys.
    version_bytes: u64,
    first_lsn: Lsn,
    newest_lsn: Lsn,
}

/// What a write of `key` and `value` is charged for before it is known whether the window has
/// the key: an upper estimate of what the window grows by.
#[must_use]
pub(crate) fn version_cost_bytes(key_len: usize, value_len: usize) -> u64 {
    keys::cost_bytes(key_len) + versions::cost_bytes(value_len)
}

impl Default for Window {
    fn default() -> Window {
        Window {
            keys: KeyTable::default(),
            versions: Versions::default(),
            garbage: GarbageQueue::default(),
            version_count: 0,
            version_bytes: 0,
            first_lsn: Lsn::MAX,
            newest_lsn: Lsn::ZERO,
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Window");
        debug.field("keys", &self.len()).field("versions", &self.version_count);
        debug.field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Window {
    /// The newest version of `key` at or below `snapshot`, and whether there is one above it,
    /// visible or not. Cost: one hash and one cache line for a key that is not here; about two
    /// more, and a copy of a small value, for one that is.
    #[inline]
    #[must_use]
    pub(crate) fn get_and_newer(&self, key: &[u8], snapshot: Lsn) -> (Lookup, bool) {
        let Some(at) = self.keys.find(key, Tag::of(key)) else { return (Lookup::Miss, false) };
        let lookup = self.row_at(at, snapshot).map_or(Lookup::Miss, |row| row.lookup());
        (lookup, self.keys.records.newest_lsn(at) > snapshot)
    }

    /// The LSN of the newest version of `key`, visible or not.
    #[inline]
    #[must_use]
    pub(crate) fn newest_lsn(&self, key: &[u8]) -> Option<Lsn> {
        let found = self.keys.find(key, Tag::of(key))?;
        Some(self.keys.records.newest_lsn(found))
    }

    /// The newest version of `key`, visible or not, and its LSN.
    #[inline]
    #[must_use]
    pub(crate) fn newest(&self, key: &[u8]) -> Option<(Lookup, Lsn)> {
        let at = self.keys.find(key, Tag::of(key))?;
        let lsn = self.keys.records.newest_lsn(at);
        Some((self.row_at(at, lsn).map_or(Lookup::Miss, |row| row.lookup()), lsn))
    }

    fn row_at(&self, at: Ref, snapshot: Lsn) -> Option<WindowRow<'_>> {
        let version = self.versions.find(self.keys.records.chain(at), snapshot)?;
        let key = self.keys.records.key(at);
        Some(WindowRow { key, lsn: version.lsn, value: version.value })
    }

    /// Adds a version that is newer than all of the key's others, and drops those that nobody
    /// can read any more. Returns how much of `version_cost_bytes` the window does not need, and
    /// what became free. LSNs of different keys may come in any order.
    ///
    /// # Panics
    /// If `lsn` is not above the key's newest version (INV-4b), or the chain is longer than the
    /// readers it serves explain (INV-9).
    pub(crate) fn insert(
        &mut self,
        key: Bytes,
        lsn: Lsn,
        value: Option<Bytes>,
        view: &PruneView,
    ) -> u64 {
        let value_len = value.as_ref().map_or(0, Bytes::len);
        let charge = self.bytes() + version_cost_bytes(key.len(), value_len);
        let tag = Tag::of(&key);
        let at = match self.keys.find(&key, tag) {
            Some(at) => at,
            None => self.keys.insert(&key, tag),
        };
        let chain = self.keys.records.chain(at);
        if chain != NONE {
            let newest = self.keys.records.newest_lsn(at);
            assert!(lsn > newest, "INV-4b: version {lsn} after {newest} of one key");
        }
        let older = self.prune(chain, Some(lsn), view);
        self.version_count += 1;
        self.version_bytes += versions::cost_bytes(value_len);
        let newest = self.versions.push(lsn, older.chain, value);
        self.keys.set_newest(at, lsn, newest);
        self.first_lsn = self.first_lsn.min(lsn);
        self.newest_lsn = self.newest_lsn.max(lsn);
        if older.len > 0 && !self.keys.records.is_queued(at) {
            self.enqueue(at, older.above_oldest.unwrap_or(lsn));
        }
        charge.checked_sub(self.bytes()).expect("INV-9: no write grows beyond its charge")
    }

    /// Looks at up to `steps` chains that may hold versions nobody can read any more, and drops
    /// those versions. Returns the bytes that became free. Cost: O(steps × chain).
    pub(crate) fn collect_garbage(&mut self, view: &PruneView, steps: usize) -> u64 {
        let before = self.bytes();
        for _ in 0..steps.min(limits::GARBAGE_STEP_MAX) {
            let Some(at) = self.garbage.pop_reached(view.horizon()) else { break };
            self.keys.records.set_queued(at, false);
            let left = self.prune(self.keys.records.chain(at), None, view);
            if let Some(lsn) = left.above_oldest {
                self.enqueue(at, lsn);
            }
        }
        before - self.bytes()
    }

    /// Remembers a key whose chain has something removable once the horizon reaches `lsn`.
    fn enqueue(&mut self, at: Ref, lsn: Lsn) {
        self.keys.records.set_queued(at, true);
        self.garbage.push(lsn, at);
    }

    /// Keeps of a chain every version above `visible`, the newest at or below it, and the newest
    /// at or below each active snapshot; drops the rest. `newer` is about to come before it.
    fn prune(&mut self, chain: Ref, newer: Option<Lsn>, view: &PruneView) -> Pruned {
        let mut pruned = Pruned { chain: NONE, len: 0, above_oldest: None };
        let mut above_visible = newer.iter().filter(|&&newer| newer > view.visible()).count();
        let coming = usize::from(newer.is_some());
        let (mut newer, mut newer_kept, mut last_kept) = (newer, newer, NONE);
        let mut at = chain;
        while at != NONE {
            let version = self.versions.read(at);
            let (lsn, next) = (version.lsn, version.older);
            above_visible += usize::from(lsn > view.visible());
            if view.is_needed(lsn, newer) {
                match last_kept {
                    NONE => pruned.chain = at,
                    last_kept => self.versions.set_older(last_kept, at),
                }
                pruned.len += 1;
                pruned.above_oldest = newer_kept;
                (newer_kept, last_kept) = (Some(lsn), at);
            } else {
                self.version_bytes -= self.versions.drop_version(at);
                self.version_count -= 1;
            }
            newer = Some(lsn);
            at = next;
        }
        if last_kept != NONE {
            self.versions.set_older(last_kept, NONE);
        }
        let (len, explained) = (pruned.len + coming, view.explained(above_visible));
        assert!(len <= explained, "INV-9: chain of {len} versions, {explained} explained");
        pruned
    }

    /// A key of the range whose newest version is above `snapshot`: the first one. Cost: nothing
    /// when the window is older, else that of [`KeyTable::first_newer`].
    #[must_use]
    pub(crate) fn has_newer(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        snapshot: Lsn,
    ) -> Option<(Bytes, Lsn)> {
        if self.newest_lsn <= snapshot {
            return None;
        }
        self.keys.first_newer((from, to), snapshot)
    }

    /// Bytes charged for what the window holds, room of dropped versions included. Allocated
    /// are at most this, and a partly filled chunk for each part of the window.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.keys.charged_bytes() + self.version_bytes + self.versions.idle_bytes()
    }

    /// Keys held, those whose newest version is a tombstone included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lowest LSN that was ever added.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn first_lsn(&self) -> Option<Lsn> {
        (!self.is_empty()).then_some(self.first_lsn)
    }

    /// The highest LSN that was ever added.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn newest_lsn_of_all(&self) -> Option<Lsn> {
        (!self.is_empty()).then_some(self.newest_lsn)
    }

    /// Versions held, tombstones included.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn version_count(&self) -> u64 {
        self.version_count
    }

    /// Chains that hold something removable now or later.
    #[must_use]
    pub(crate) fn garbage_len(&self) -> usize {
        self.garbage.len()
    }

    /// Bytes taken from the allocator, the contents of large values apart.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.keys.allocated_bytes()
            + self.versions.allocated_bytes()
            + self.garbage.allocated_bytes()
    }
}

/// What is left of a chain.
struct Pruned {
    chain: Ref,
    len: usize,
    /// The version after the oldest, with what comes before the chain: when the horizon reaches
    /// it, the oldest is removable. `None` when there is one version only.
    above_oldest: Option<Lsn>,
}

/// Whether no key can lie between the bounds; `BTreeMap::range` panics on some of these.
pub(crate) fn is_empty_range<K: Ord>(from: Bound<K>, to: Bound<K>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b))
        | (Bound::Excluded(a), Bound::Included(b)) => a >= b,
        _ => false,
    }
}
