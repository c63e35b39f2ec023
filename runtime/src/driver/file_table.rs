use std::os::fd::AsRawFd;

use crate::file::{DmaFile, WeakFile};
use crate::ids::ShardId;
use crate::ring::{Ring, Target};

struct Entry {
    file: WeakFile,
    number: u64,
    used_at: u64,
}

/// Which file has which place in a ring's table. A file enters at its first use; when the
/// table is full, the least recently used one leaves.
pub(crate) struct FileTable {
    shard: ShardId,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    uses: u64,
}

impl FileTable {
    pub(crate) fn has_places(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Without places every operation goes by its descriptor.
    pub(crate) fn new(shard: ShardId, places: u32) -> FileTable {
        FileTable {
            shard,
            entries: (0..places).map(|_| None).collect(),
            free: (0..places).rev().collect(),
            uses: 0,
        }
    }

    /// How an entry for the ring names `file`.
    pub(crate) fn target(&mut self, file: &DmaFile, ring: &mut Ring) -> Target {
        if self.entries.is_empty() {
            return Target::Descriptor;
        }
        self.uses += 1;
        if let Some(slot) = file.ring_slot(self.shard) {
            let entry = self.entries[slot as usize].as_mut();
            let entry = entry.expect("a file's place is its own until it is told otherwise");
            assert_eq!(entry.number, file.number(), "a place belongs to one file");
            entry.used_at = self.uses;
            return Target::Registered(slot);
        }
        let Some(slot) = self.free.pop().or_else(|| self.evict(ring)) else {
            return Target::Descriptor;
        };
        if let Err(error) = ring.update_file(slot, Some(file.descriptor().as_raw_fd())) {
            tracing::warn!(target: "sombra_runtime", "registering a file: {error}");
            self.free.push(slot);
            return Target::Descriptor;
        }
        let entry = Entry { file: file.downgrade(), number: file.number(), used_at: self.uses };
        self.entries[slot as usize] = Some(entry);
        file.set_ring_slot(self.shard, Some(slot));
        Target::Registered(slot)
    }

    /// The file would take another's place, which no entry may name that is queued.
    pub(super) fn is_full_for(&self, file: &DmaFile) -> bool {
        let has_places = !self.entries.is_empty();
        has_places && self.free.is_empty() && file.ring_slot(self.shard).is_none()
    }

    /// Frees the place of the least recently used file.
    ///
    /// Entries that are queued but not handed over name their file by its place: while there are
    /// any, no place changes hands.
    fn evict(&mut self, ring: &mut Ring) -> Option<u32> {
        if ring.queued() > 0 {
            return None;
        }
        let used = self.entries.iter().enumerate();
        let oldest = used.filter_map(|(slot, entry)| Some((entry.as_ref()?.used_at, slot))).min();
        let (_, slot) = oldest?;
        let entry = self.entries[slot].take()?;
        if let Some(file) = entry.file.upgrade() {
            file.set_ring_slot(self.shard, None);
        }
        Some(slot as u32)
    }

    /// The last handle of the file is gone, so no operation names it: the kernel lets go of it.
    pub(crate) fn release(&mut self, slot: u32, number: u64, ring: &Ring) {
        let is_here =
            |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.number == number);
        // The place may be one of another ring's table, or have changed hands.
        if !self.entries.get(slot as usize).is_some_and(is_here) {
            return;
        }
        self.entries[slot as usize] = None;
        if let Err(error) = ring.update_file(slot, None) {
            tracing::warn!(target: "sombra_runtime", "unregistering a file: {error}");
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests;
