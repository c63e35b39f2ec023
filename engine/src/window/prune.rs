//! Which versions somebody may still read.
//!
//! Knows `visible` and a list of snapshots. Must never know who reads, or how versions are kept.

use crate::ids::Lsn;

/// Who may still read old versions: `visible`, and the active snapshots found after it was
/// loaded. A snapshot taken later is at or above `visible`, so whatever is newer is kept.
#[derive(Clone, Debug)]
pub(crate) struct PruneView {
    visible: Lsn,
    /// Ascending, all below `visible`, each once.
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

    pub(super) fn visible(&self) -> Lsn {
        self.visible
    }

    /// Every reader, now and later, reads at or above this.
    pub(super) fn horizon(&self) -> Lsn {
        self.snapshots.first().copied().unwrap_or(self.visible)
    }

    /// Whether a reader at or above `lsn` but below the next newer version exists or may come.
    pub(super) fn is_needed(&self, lsn: Lsn, newer: Option<Lsn>) -> bool {
        // No newer version, or one that snapshots at `visible` do not see yet.
        let Some(newer) = newer.filter(|&newer| newer <= self.visible) else { return true };
        let first_at_or_above = self.snapshots.partition_point(|&snapshot| snapshot < lsn);
        self.snapshots.get(first_at_or_above).is_some_and(|&snapshot| snapshot < newer)
    }

    /// Versions of one chain that the readers explain, `above_visible` of them above `visible`.
    pub(super) fn explained(&self, above_visible: usize) -> usize {
        self.snapshots.len() + 2 + above_visible
    }
}
