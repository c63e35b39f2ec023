//! Bump allocation of byte records that never move.
//!
//! Knows chunks and references. Must never know what a record holds.

use crate::limits;

/// Where a record begins, counted in units of [`UNIT_BYTES`] from the arena's start.
pub(super) type Ref = u32;
/// No record.
pub(super) const NONE: Ref = Ref::MAX;
/// Records begin at, and their room is rounded up to, multiples of this.
pub(super) const UNIT_BYTES: usize = 8;

const CHUNK_BYTES: usize = limits::WINDOW_CHUNK_BYTES;
const CHUNK_UNITS: usize = CHUNK_BYTES / UNIT_BYTES;
const FIRST_CHUNK_BYTES_MIN: usize = 256;
const CHUNKS_MAX: usize = (limits::WINDOW_ARENA_BYTES_MAX / CHUNK_BYTES as u64) as usize;

const _: () = assert!(CHUNK_BYTES.is_power_of_two() && CHUNK_BYTES.is_multiple_of(UNIT_BYTES));
const _: () = assert!(CHUNKS_MAX * CHUNK_UNITS < NONE as usize, "no record is called `NONE`");

/// Room that a record of `len` bytes takes.
#[must_use]
pub(super) const fn room_bytes(len: usize) -> usize {
    len.next_multiple_of(UNIT_BYTES)
}

/// Chunks of records; all of it is given back at once, when the arena is dropped.
#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
}

impl Arena {
    /// Copies `head` and `body`, one after the other, to a new record.
    ///
    /// Shape: together 1 to a quarter of a chunk, so that what is left over at the end of a
    /// chunk stays small. Cost: at most one allocation of one chunk.
    ///
    /// # Panics
    /// If the arena has reached its bound (INV-9).
    pub(super) fn push(&mut self, head: &[u8], body: &[u8]) -> Ref {
        let room = room_bytes(head.len() + body.len());
        assert!(room <= CHUNK_BYTES / 4, "INV-9: record of {room} bytes in an arena");
        self.make_room(room);
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let start = chunk.len();
        chunk.extend_from_slice(head);
        chunk.extend_from_slice(body);
        chunk.resize(start + room, 0);
        (index * CHUNK_UNITS + start / UNIT_BYTES) as Ref
    }

    fn make_room(&mut self, room: usize) {
        let last_room = self.chunks.last().map_or(0, |chunk| CHUNK_BYTES - chunk.len());
        if last_room < room {
            assert!(self.chunks.len() < CHUNKS_MAX, "INV-9: {CHUNKS_MAX} chunks in one arena");
            let bytes = if self.chunks.is_empty() { FIRST_CHUNK_BYTES_MIN } else { CHUNK_BYTES };
            self.chunks.push(Vec::with_capacity(bytes));
        }
        let Some(chunk) = self.chunks.last_mut() else { return };
        let needed = chunk.len() + room;
        if needed > chunk.capacity() {
            // Only the first chunk grows: a small window stays small.
            let grown = (2 * chunk.capacity()).max(needed).min(CHUNK_BYTES);
            chunk.reserve_exact(grown - chunk.len());
        }
    }

    /// The bytes from the start of a record to the end of what its chunk holds.
    #[inline]
    #[must_use]
    pub(super) fn record(&self, at: Ref) -> &[u8] {
        let at = at as usize;
        &self.chunks[at / CHUNK_UNITS][at % CHUNK_UNITS * UNIT_BYTES..]
    }

    #[inline]
    #[must_use]
    pub(super) fn record_mut(&mut self, at: Ref) -> &mut [u8] {
        let at = at as usize;
        &mut self.chunks[at / CHUNK_UNITS][at % CHUNK_UNITS * UNIT_BYTES..]
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<u8>>()
    }
}

/// The `N` bytes of `record` at `offset`.
#[inline]
#[must_use]
pub(super) fn field<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let bytes = record.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    *bytes.expect("INV-9: a reference leads to a whole record")
}
