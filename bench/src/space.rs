//! What a store takes of the disk and of memory at one moment.

use std::fs;
use std::path::Path;

use serde::Serialize;
use sombra::Db;

/// The file in the store's directory that holds the pages.
pub(crate) const DATA_FILE: &str = "pages.sombra";

/// Bytes on disk and in memory, as the store counts them.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct SpaceFigures {
    /// Length of the data file.
    pub data_file_bytes: u64,
    /// Pages of it that the newest trees use.
    pub data_live_bytes: u64,
    /// Pages of it that only old snapshots and unpublished roots hold.
    pub data_waiting_bytes: u64,
    pub log_bytes: u64,
    pub window_bytes: u64,
    pub views_kept: u64,
    pub merges: u64,
}

impl SpaceFigures {
    /// Looks at an open store.
    pub(crate) fn take(db: &Db, store: &Path) -> SpaceFigures {
        let metrics = db.metrics();
        // Byte counts and counters are whole numbers far below 2^53.
        let value = |name: &str| metrics.value(name) as u64;
        SpaceFigures {
            data_file_bytes: data_file_bytes(store),
            data_live_bytes: value("sombra_data_live_bytes"),
            data_waiting_bytes: value("sombra_data_waiting_bytes"),
            log_bytes: value("sombra_wal_disk_bytes"),
            window_bytes: value("sombra_window_bytes"),
            views_kept: value("sombra_views_kept"),
            merges: value("sombra_merges_total"),
        }
    }

    /// The data file against what is live in it; `None` while nothing is.
    #[must_use]
    pub fn file_per_live(&self) -> Option<f64> {
        ratio(self.data_file_bytes, self.data_live_bytes)
    }
}

/// The length of the data file as the file system has it.
pub(crate) fn data_file_bytes(store: &Path) -> u64 {
    fs::metadata(store.join(DATA_FILE)).map_or(0, |found| found.len())
}

/// `None` where there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "byte counts are far below 2^53")]
pub(crate) fn ratio(bytes: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| bytes as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_per_live_is_told_only_where_something_is_live() {
        let mut space = SpaceFigures { data_file_bytes: 300, ..SpaceFigures::default() };
        assert_eq!(space.file_per_live(), None);
        space.data_live_bytes = 200;
        assert_eq!(space.file_per_live(), Some(1.5));
    }
}
