//! How much of the disk a plan fills: each file counted once, however many threads share it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Plan;
use crate::disk::job::Extent;

/// What a path is before the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisk {
    Absent,
    /// Bytes that have blocks already.
    File {
        allocated_bytes: u64,
    },
    /// Takes no space of any file system.
    Device,
}

/// Free space that a plan needs. A job's files are all there at once, and stay until the end.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SpaceNeed {
    /// For each directory the bytes that its new or growing files take.
    pub bytes_by_directory: BTreeMap<PathBuf, u64>,
    /// Files whose size the job takes from what is there.
    pub as_they_are: Vec<PathBuf>,
}

impl SpaceNeed {
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.bytes_by_directory.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

impl Plan {
    /// Free space that the run needs, where `on_disk` tells what each path is now. A job that only
    /// reads counts too: its file is laid out first where it is missing.
    #[must_use]
    pub fn space_need(&self, on_disk: &dyn Fn(&Path) -> OnDisk) -> SpaceNeed {
        let mut ends: BTreeMap<&Path, Option<u64>> = BTreeMap::new();
        for file in self.threads().flat_map(|thread| &thread.files) {
            let end = match (file.offset, file.size) {
                (Extent::Bytes(offset), Some(Extent::Bytes(size))) => {
                    Some(offset.saturating_add(size))
                }
                _ => None,
            };
            let known = ends.entry(&file.path).or_default();
            *known = (*known).max(end);
        }
        let mut need = SpaceNeed::default();
        for (path, end) in ends {
            let there = match on_disk(path) {
                OnDisk::Device => continue,
                OnDisk::Absent => 0,
                OnDisk::File { allocated_bytes } => allocated_bytes,
            };
            let Some(end) = end else {
                need.as_they_are.push(path.to_owned());
                continue;
            };
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new(".")).to_owned();
            let bytes = need.bytes_by_directory.entry(directory).or_default();
            *bytes = bytes.saturating_add(end.saturating_sub(there));
        }
        need
    }
}
