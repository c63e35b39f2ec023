//! The versions of a window: chains from the newest to the oldest, in an arena.
//!
//! A small value lies in the arena; a large one stays where the caller has it and is counted.
//! The room of a dropped version is used again for one of the same size, so that a key that is
//! written over and over takes no more room. Knows chains and values. Must never know keys, or
//! why a version is dropped.

use bytes::Bytes;

use super::arena::{Arena, NONE, Ref, UNIT_BYTES, field, room_bytes};
use super::slab::Slab;
use crate::ids::Lsn;
use crate::limits;

/// A record: LSN (8), next older version (4), length or kind (4), value or large slot.
const HEAD_BYTES: usize = 16;
const OLDER_OFFSET: usize = 8;
const KIND_OFFSET: usize = 12;
const INLINE_BYTES_MAX: usize = limits::WINDOW_INLINE_VALUE_BYTES_MAX;
const TOMBSTONE: u32 = u32::MAX;
const LARGE: u32 = u32::MAX - 1;
const LARGE_RECORD_BYTES: usize = HEAD_BYTES + 4;
/// Room sizes from `HEAD_BYTES` to that of the largest value in the arena.
const SIZES: usize = (room_bytes(HEAD_BYTES + INLINE_BYTES_MAX) - HEAD_BYTES) / UNIT_BYTES + 1;

/// A value as the window holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueRef<'w> {
    /// In the window; copied to be handed out.
    Inline(&'w [u8]),
    /// Counted; handed out as it is.
    Shared(&'w Bytes),
}

impl ValueRef<'_> {
    #[must_use]
    #[cfg(test)]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            ValueRef::Inline(bytes) => bytes,
            ValueRef::Shared(bytes) => bytes,
        }
    }

    #[must_use]
    pub(crate) fn to_bytes(self) -> Bytes {
        match self {
            ValueRef::Inline(bytes) => Bytes::copy_from_slice(bytes),
            ValueRef::Shared(bytes) => bytes.clone(),
        }
    }
}

/// One version; `value` is `None` for a tombstone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version<'w> {
    pub(super) lsn: Lsn,
    pub(super) older: Ref,
    pub(super) value: Option<ValueRef<'w>>,
}

/// What is charged for a version beside its key, in bytes.
#[must_use]
pub(super) fn cost_bytes(value_len: usize) -> u64 {
    let large = if value_len > INLINE_BYTES_MAX { limits::WINDOW_LARGE_VALUE_BYTES } else { 0 };
    value_len as u64 + limits::WINDOW_VERSION_OVERHEAD_BYTES + large
}

/// All versions of a window.
pub(super) struct Versions {
    arena: Arena,
    /// First free room of each size; the next one is named in its first bytes.
    free: [Ref; SIZES],
    large: Slab<Bytes, 10>,
    large_free: Vec<u32>,
    idle_bytes: u64,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions {
            arena: Arena::default(),
            free: [NONE; SIZES],
            large: Slab::default(),
            large_free: Vec::new(),
            idle_bytes: 0,
        }
    }
}

impl Versions {
    #[inline]
    #[must_use]
    pub(super) fn read(&self, at: Ref) -> Version<'_> {
        let record = self.arena.record(at);
        let value = match u32::from_le_bytes(field(record, KIND_OFFSET)) {
            TOMBSTONE => None,
            LARGE => {
                let slot = u32::from_le_bytes(field(record, HEAD_BYTES));
                Some(ValueRef::Shared(self.large.get(slot)))
            }
            len => Some(ValueRef::Inline(&record[HEAD_BYTES..HEAD_BYTES + len as usize])),
        };
        let older = Ref::from_le_bytes(field(record, OLDER_OFFSET));
        Version { lsn: Lsn::new(u64::from_le_bytes(field(record, 0))), older, value }
    }

    /// The end of a record, which brings all of it into the cache.
    #[inline]
    pub(super) fn last_byte(&self, at: Ref) -> u8 {
        let record = self.arena.record(at);
        let len = u32::from_le_bytes(field(record, KIND_OFFSET)) as usize;
        record.get(HEAD_BYTES + len).copied().unwrap_or_default()
    }

    /// The newest version of a chain at or below `snapshot`.
    #[inline]
    #[must_use]
    pub(super) fn find(&self, chain: Ref, snapshot: Lsn) -> Option<Version<'_>> {
        let mut at = chain;
        while at != NONE {
            let version = self.read(at);
            if version.lsn <= snapshot {
                return Some(version);
            }
            at = version.older;
        }
        None
    }

    /// Adds a version in front of a chain.
    pub(super) fn push(&mut self, lsn: Lsn, older: Ref, value: Option<Bytes>) -> Ref {
        match value {
            None => self.place(lsn, older, TOMBSTONE, &[]),
            Some(value) if value.len() <= INLINE_BYTES_MAX => {
                self.place(lsn, older, value.len() as u32, &value)
            }
            Some(value) => {
                let slot = self.place_large(value);
                self.place(lsn, older, LARGE, &slot.to_le_bytes())
            }
        }
    }

    fn place(&mut self, lsn: Lsn, older: Ref, kind: u32, body: &[u8]) -> Ref {
        let mut head = [0; HEAD_BYTES];
        head[..OLDER_OFFSET].copy_from_slice(&lsn.as_u64().to_le_bytes());
        head[OLDER_OFFSET..KIND_OFFSET].copy_from_slice(&older.to_le_bytes());
        head[KIND_OFFSET..].copy_from_slice(&kind.to_le_bytes());
        let room = room_bytes(HEAD_BYTES + body.len());
        let first_free = &mut self.free[size_index(room)];
        if *first_free == NONE {
            return self.arena.push(&head, body);
        }
        let at = *first_free;
        let record = self.arena.record_mut(at);
        *first_free = Ref::from_le_bytes(field(record, 0));
        record[..HEAD_BYTES].copy_from_slice(&head);
        record[HEAD_BYTES..HEAD_BYTES + body.len()].copy_from_slice(body);
        self.idle_bytes -= room as u64;
        at
    }

    fn place_large(&mut self, value: Bytes) -> u32 {
        match self.large_free.pop() {
            Some(slot) => {
                *self.large.get_mut(slot) = value;
                self.idle_bytes -= size_of::<Bytes>() as u64;
                slot
            }
            None => self.large.push(value),
        }
    }

    pub(super) fn set_older(&mut self, at: Ref, older: Ref) {
        let record = self.arena.record_mut(at);
        record[OLDER_OFFSET..KIND_OFFSET].copy_from_slice(&older.to_le_bytes());
    }

    /// Drops a version that no chain names any more. Returns what was charged for it; its room
    /// is idle until a version of the same size takes it.
    pub(super) fn drop_version(&mut self, at: Ref) -> u64 {
        let record = self.arena.record(at);
        let (value_len, record_len) = match u32::from_le_bytes(field(record, KIND_OFFSET)) {
            TOMBSTONE => (0, HEAD_BYTES),
            LARGE => {
                let slot = u32::from_le_bytes(field(record, HEAD_BYTES));
                let value = std::mem::take(self.large.get_mut(slot));
                self.large_free.push(slot);
                self.idle_bytes += size_of::<Bytes>() as u64;
                (value.len(), LARGE_RECORD_BYTES)
            }
            len => (len as usize, HEAD_BYTES + len as usize),
        };
        let room = room_bytes(record_len);
        let first_free = &mut self.free[size_index(room)];
        self.arena.record_mut(at)[..4].copy_from_slice(&first_free.to_le_bytes());
        *first_free = at;
        self.idle_bytes += room as u64;
        cost_bytes(value_len)
    }

    /// Bytes of dropped versions that were not given back.
    #[must_use]
    pub(super) fn idle_bytes(&self) -> u64 {
        self.idle_bytes
    }

    /// What `idle_bytes` must be, by counting.
    #[cfg(test)]
    pub(super) fn counted_idle_bytes(&self) -> u64 {
        let mut bytes = self.large_free.len() * size_of::<Bytes>();
        for (index, &first) in self.free.iter().enumerate() {
            let mut at = first;
            while at != NONE {
                bytes += HEAD_BYTES + index * UNIT_BYTES;
                at = Ref::from_le_bytes(field(self.arena.record(at), 0));
            }
        }
        bytes as u64
    }

    /// Bytes taken from the allocator, the contents of large values apart.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.arena.allocated_bytes()
            + self.large.allocated_bytes()
            + self.large_free.capacity() * size_of::<u32>()
    }
}

const fn size_index(room: usize) -> usize {
    (room - HEAD_BYTES) / UNIT_BYTES
}
