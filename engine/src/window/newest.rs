//! Every key with its newest version in key order: what a merge reads.
//!
//! Knows rows and batches. Must never know where a merge writes.

use std::ops::Bound;

use bytes::Bytes;

use super::Window;
use super::cursor::WindowRow;
use crate::ids::Direction;
use crate::ids::Lsn;

/// A key, the LSN of its newest version, and its value unless that is a tombstone.
pub(crate) type NewestVersion = (Bytes, Lsn, Option<Bytes>);

impl Window {
    /// All keys ascending with their newest version, tombstones included.
    #[cfg(test)]
    pub(crate) fn iter_newest(&self) -> impl Iterator<Item = WindowRow<'_>> {
        self.newest_after(None)
    }

    /// The keys after `after`, ascending, each with its newest version: up to `max_keys` rows,
    /// and no further once they have `max_bytes`. At least one row while there is one.
    #[must_use]
    pub(crate) fn batch_after(
        &self,
        after: Option<&[u8]>,
        max_keys: usize,
        max_bytes: usize,
    ) -> Vec<NewestVersion> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for row in self.newest_after(after) {
            let value = row.value.map(|value| value.to_bytes());
            bytes += row.key.len() + value.as_ref().map_or(0, Bytes::len);
            batch.push((Bytes::copy_from_slice(row.key), row.lsn, value));
            if batch.len() >= max_keys || bytes >= max_bytes {
                break;
            }
        }
        batch
    }

    /// Of the keys after `after`, up to `max_keys` of them, the versions that `snapshots`
    /// (ascending) read, oldest first; and the last key looked at, `None` behind the end.
    #[must_use]
    pub(crate) fn versions_read(
        &self,
        after: Option<&[u8]>,
        snapshots: &[Lsn],
        max_keys: usize,
    ) -> (Vec<NewestVersion>, Option<Bytes>) {
        let (mut versions, mut last) = (Vec::new(), None);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.keys.walk((from, Bound::Unbounded), Direction::Forward);
        for at in self.fetched(keys).take(max_keys) {
            let mut kept = None;
            for row in snapshots.iter().filter_map(|&snapshot| self.row_at(at, snapshot)) {
                if kept != Some(row.lsn) {
                    kept = Some(row.lsn);
                    let value = row.value.map(|value| value.to_bytes());
                    versions.push((Bytes::copy_from_slice(row.key), row.lsn, value));
                }
            }
            last = Some(at);
        }
        (versions, last.map(|at| Bytes::copy_from_slice(self.keys.records.key(at))))
    }

    fn newest_after<'a>(&'a self, after: Option<&'a [u8]>) -> impl Iterator<Item = WindowRow<'a>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.keys.walk((from, Bound::Unbounded), Direction::Forward);
        self.fetched(keys).filter_map(|at| self.row_at(at, Lsn::MAX))
    }
}
