//! The versioned in-memory map of one tablet: key → versions, newest first.
//!
//! Knows versions and which of them somebody may still read. Must never know the log, who the
//! readers are (the list of active snapshots is an argument), or other tablets.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::ids::Lsn;
use crate::limits;

#[cfg(test)]
mod tests;

/// One version of a key; `value` is `None` for a tombstone.
#[derive(Clone, Debug)]
struct Version {
    lsn: Lsn,
    value: Option<Bytes>,
}

type Chain = SmallVec<[Version; 1]>;

/// Who may still read old versions: `visible`, and the active snapshots found after it was
/// loaded. A snapshot taken later is at or above `visible`, so whatever is newer is kept.
#[derive(Clone, Debug)]
pub(crate) struct PruneView {
    visible: Lsn,
    /// Ascending, all at or below `visible`, each once.
    snapshots: Vec<Lsn>,
}

impl PruneView {
    /// A view out of `visible` and the snapshots that were active after it was loaded.
    #[must_use]
    pub(crate) fn new(visible: Lsn, mut snapshots: Vec<Lsn>) -> PruneView {
        snapshots.retain(|&snapshot| snapshot < visible);
        snapshots.sort_unstable();
        snapshots.dedup();
        PruneView { visible, snapshots }
    }

    /// Every reader, now and later, reads at or above this.
    fn horizon(&self) -> Lsn {
        self.snapshots.first().copied().unwrap_or(self.visible)
    }

    /// Whether a reader at or above `lsn` but below the next newer version exists or may come.
    fn is_needed(&self, lsn: Lsn, newer: Option<Lsn>) -> bool {
        // No newer version, or one that snapshots at `visible` do not see yet.
        let Some(newer) = newer.filter(|&newer| newer <= self.visible) else { return true };
        let first_at_or_above = self.snapshots.partition_point(|&snapshot| snapshot < lsn);
        self.snapshots.get(first_at_or_above).is_some_and(|&snapshot| snapshot < newer)
    }
}

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
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: BTreeMap<Bytes, Chain>,
    /// Keys whose chain holds something removable once the horizon reaches the LSN beside it.
    garbage: VecDeque<(Lsn, Bytes)>,
    bytes: u64,
    versions: u64,
}

/// What a version of `key` and `value` is charged for, in bytes.
#[must_use]
pub(crate) fn version_cost_bytes(key_len: usize, value_len: usize) -> u64 {
    key_len as u64 + value_len as u64 + limits::WINDOW_ENTRY_OVERHEAD_BYTES
}

impl Window {
    /// The newest version of `key` at or below `snapshot`. Cost: O(log n) key comparisons.
    #[must_use]
    pub(crate) fn get(&self, key: &[u8], snapshot: Lsn) -> Lookup {
        match self.entries.get(key).and_then(|chain| version_at(chain, snapshot)) {
            None => Lookup::Miss,
            Some(Version { value: None, .. }) => Lookup::Deleted,
            Some(Version { value: Some(value), .. }) => Lookup::Found(value.clone()),
        }
    }

    /// The LSN of the newest version of `key`, visible or not.
    #[must_use]
    pub(crate) fn newest_lsn(&self, key: &[u8]) -> Option<Lsn> {
        self.entries.get(key).map(|chain| chain[0].lsn)
    }

    /// Adds a version that is newer than all of the key's others, and drops those that nobody
    /// can read any more. Returns the bytes that became free.
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
        let is_tombstone = value.is_none();
        let cost = version_cost_bytes(key.len(), value.as_ref().map_or(0, Bytes::len));
        self.bytes += cost;
        self.versions += 1;
        let chain = self.entries.entry(key.clone()).or_default();
        if let Some(newest) = chain.first() {
            assert!(lsn > newest.lsn, "INV-4b: version {lsn} after {} of one key", newest.lsn);
        }
        chain.insert(0, Version { lsn, value });
        let freed = prune(chain, key.len(), view);
        let chain_len = chain.len();
        if chain_len > 1 || is_tombstone {
            self.garbage.push_back((lsn, key));
        }
        self.release(freed);
        freed.bytes
    }

    /// Looks at up to `steps` chains that may hold versions nobody can read any more, and drops
    /// those versions. Returns the bytes that became free. Cost: O(steps × log n).
    pub(crate) fn collect_garbage(&mut self, view: &PruneView, steps: usize) -> u64 {
        let mut freed_bytes = 0;
        for _ in 0..steps.min(limits::GARBAGE_STEP_MAX) {
            let Some((lsn, _)) = self.garbage.front() else { break };
            if *lsn > view.horizon() {
                break;
            }
            let Some((_, key)) = self.garbage.pop_front() else { break };
            freed_bytes += self.collect_chain(&key, view);
        }
        freed_bytes
    }

    fn collect_chain(&mut self, key: &Bytes, view: &PruneView) -> u64 {
        let Some(chain) = self.entries.get_mut(key) else { return 0 };
        let mut freed = prune(chain, key.len(), view);
        let only_a_readable_tombstone =
            chain.len() == 1 && chain[0].value.is_none() && chain[0].lsn <= view.horizon();
        if only_a_readable_tombstone {
            freed.add(key.len(), &chain[0]);
            self.entries.remove(key);
        }
        self.release(freed);
        freed.bytes
    }

    fn release(&mut self, freed: Freed) {
        self.bytes -= freed.bytes;
        self.versions -= freed.versions;
    }

    /// Rows of `range` at `snapshot` in key order, up to the page bounds of `limits`.
    #[must_use]
    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, snapshot: Lsn) -> RangePage {
        let mut page = RangePage::default();
        if is_empty_range(from, to) {
            return page;
        }
        let mut page_bytes = 0;
        let mut looked_at = 0_usize;
        for (key, chain) in self.entries.range::<[u8], _>((from, to)) {
            looked_at += 1;
            let version = version_at(chain, snapshot);
            if let Some(Version { value: Some(value), .. }) = version {
                page_bytes += key.len() + value.len();
                page.rows.push((key.clone(), value.clone()));
            }
            let full = page.rows.len() >= limits::SCAN_PAGE_ROWS_MAX
                || page_bytes >= limits::SCAN_PAGE_BYTES_MAX
                || looked_at >= limits::SCAN_PAGE_LOOKED_AT_MAX;
            if full {
                page.resume_after = Some(key.clone());
                break;
            }
        }
        page
    }

    /// Bytes charged for what the window holds.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Versions held, tombstones included.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn version_count(&self) -> u64 {
        self.versions
    }

    /// Chains that hold something removable now or later.
    #[must_use]
    pub(crate) fn garbage_len(&self) -> usize {
        self.garbage.len()
    }
}

#[derive(Clone, Copy, Default)]
struct Freed {
    bytes: u64,
    versions: u64,
}

impl Freed {
    fn add(&mut self, key_len: usize, version: &Version) {
        self.bytes += version_cost_bytes(key_len, version.value.as_ref().map_or(0, Bytes::len));
        self.versions += 1;
    }
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

fn version_at(chain: &Chain, snapshot: Lsn) -> Option<&Version> {
    chain.iter().find(|version| version.lsn <= snapshot)
}

/// Keeps every version above `visible`, the newest at or below it, and the newest at or below
/// each active snapshot; drops the rest.
fn prune(chain: &mut Chain, key_len: usize, view: &PruneView) -> Freed {
    let mut freed = Freed::default();
    let mut newer = None;
    let mut above_visible = 0;
    chain.retain(|version| {
        let keep = view.is_needed(version.lsn, newer);
        newer = Some(version.lsn);
        above_visible += usize::from(version.lsn > view.visible);
        if !keep {
            freed.add(key_len, version);
        }
        keep
    });
    let explained = view.snapshots.len() + 2 + above_visible;
    assert!(
        chain.len() <= explained,
        "INV-9: chain of {} versions, {explained} explained",
        chain.len()
    );
    freed
}
