//! The queue of keys whose chains hold something removable now or later.
//!
//! Knows references and LSNs. Must never know chains; a key is in the queue once at most.

use std::collections::VecDeque;

use super::arena::Ref;
use crate::ids::Lsn;

const CHUNK_LEN: usize = 256;

/// First in, first out, in chunks: growing copies no entries.
#[derive(Default)]
pub(super) struct GarbageQueue {
    chunks: VecDeque<Vec<(Lsn, Ref)>>,
    /// Entries of the first chunk that were taken.
    taken: usize,
    len: usize,
}

impl GarbageQueue {
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, lsn: Lsn, key: Ref) {
        self.len += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_LEN => chunk.push((lsn, key)),
            _ => {
                let room = if self.chunks.is_empty() { 4 } else { CHUNK_LEN };
                let mut chunk = Vec::with_capacity(room);
                chunk.push((lsn, key));
                self.chunks.push_back(chunk);
            }
        }
    }

    /// Takes the first key if something of it is removable at `horizon`.
    pub(super) fn pop_reached(&mut self, horizon: Lsn) -> Option<Ref> {
        let first = self.chunks.front()?;
        let &(lsn, key) = first.get(self.taken)?;
        if lsn > horizon {
            return None;
        }
        self.taken += 1;
        self.len -= 1;
        if self.taken == first.len() {
            self.chunks.pop_front();
            self.taken = 0;
        }
        Some(key)
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        let entries: usize = self.chunks.iter().map(Vec::capacity).sum();
        entries * size_of::<(Lsn, Ref)>() + self.chunks.capacity() * size_of::<Vec<(Lsn, Ref)>>()
    }
}
