//! The keys of a window: records in an arena, a hash table over them, a tree over them.
//!
//! Knows keys, their newest LSN and where their chain begins. Must never know values. A key
//! stays until the table goes, so a reference to it stays good.

use std::ops::Bound;

use super::arena::{Arena, NONE, Ref, field};
use super::hash::{HashIndex, Tag};
use super::is_empty_range;
use super::tree::{Position, Tree};
use crate::ids::{Direction, Lsn};
use crate::limits;

/// A record: newest LSN (8), first version of the chain (4), leaf of the tree (4), length and
/// queue mark (2), key.
const HEAD_BYTES: usize = 18;
const CHAIN_OFFSET: usize = 8;
const LEAF_OFFSET: usize = 12;
const LEN_OFFSET: usize = 16;
/// Set in the length while the garbage queue names the key.
const QUEUED: u16 = 1 << 15;

/// Key records by reference.
#[derive(Default)]
pub(super) struct KeyRecords {
    arena: Arena,
}

impl KeyRecords {
    #[inline]
    #[must_use]
    pub(super) fn key(&self, at: Ref) -> &[u8] {
        let record = self.arena.record(at);
        let len = u16::from_le_bytes(field(record, LEN_OFFSET)) & !QUEUED;
        &record[HEAD_BYTES..HEAD_BYTES + usize::from(len)]
    }

    #[inline]
    #[must_use]
    pub(super) fn newest_lsn(&self, at: Ref) -> Lsn {
        Lsn::new(u64::from_le_bytes(field(self.arena.record(at), 0)))
    }

    /// The newest version of the key.
    #[inline]
    #[must_use]
    pub(super) fn chain(&self, at: Ref) -> Ref {
        Ref::from_le_bytes(field(self.arena.record(at), CHAIN_OFFSET))
    }

    fn set_newest(&mut self, at: Ref, lsn: Lsn, chain: Ref) {
        let record = self.arena.record_mut(at);
        record[..8].copy_from_slice(&lsn.as_u64().to_le_bytes());
        record[CHAIN_OFFSET..LEAF_OFFSET].copy_from_slice(&chain.to_le_bytes());
    }

    /// The tree's leaf that holds the key.
    fn leaf(&self, at: Ref) -> u32 {
        u32::from_le_bytes(field(self.arena.record(at), LEAF_OFFSET))
    }

    pub(super) fn set_leaf(&mut self, at: Ref, leaf: u32) {
        let record = self.arena.record_mut(at);
        record[LEAF_OFFSET..LEN_OFFSET].copy_from_slice(&leaf.to_le_bytes());
    }

    #[must_use]
    pub(super) fn is_queued(&self, at: Ref) -> bool {
        u16::from_le_bytes(field(self.arena.record(at), LEN_OFFSET)) & QUEUED != 0
    }

    pub(super) fn set_queued(&mut self, at: Ref, queued: bool) {
        let record = self.arena.record_mut(at);
        let len = u16::from_le_bytes(field(record, LEN_OFFSET)) & !QUEUED;
        let len = if queued { len | QUEUED } else { len };
        record[LEN_OFFSET..HEAD_BYTES].copy_from_slice(&len.to_le_bytes());
    }

    fn push(&mut self, key: &[u8]) -> Ref {
        assert!(key.len() < usize::from(QUEUED), "INV-9: key of {} bytes", key.len());
        let mut head = [0; HEAD_BYTES];
        head[CHAIN_OFFSET..LEAF_OFFSET].copy_from_slice(&NONE.to_le_bytes());
        head[LEN_OFFSET..].copy_from_slice(&(key.len() as u16).to_le_bytes());
        self.arena.push(&head, key)
    }
}

/// All keys of a window.
#[derive(Default)]
pub(super) struct KeyTable {
    pub(super) records: KeyRecords,
    hash: HashIndex,
    tree: Tree,
    len: usize,
    charged_bytes: u64,
}

/// What is charged for a key beside its versions, in bytes.
#[must_use]
pub(super) fn cost_bytes(key_len: usize) -> u64 {
    key_len as u64 + limits::WINDOW_KEY_OVERHEAD_BYTES
}

impl KeyTable {
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The record of `key`. Cost: one hash and one cache line for a miss, one more for a hit.
    #[inline]
    #[must_use]
    pub(super) fn find(&self, key: &[u8], tag: Tag) -> Option<Ref> {
        self.hash.find(tag, |at| self.records.key(at) == key)
    }

    /// Adds a key that is not there, with no version yet.
    pub(super) fn insert(&mut self, key: &[u8], tag: Tag) -> Ref {
        let at = self.records.push(key);
        self.hash.insert(tag, at);
        self.tree.insert(at, &mut self.records);
        self.len += 1;
        self.charged_bytes += cost_bytes(key.len());
        at
    }

    /// Gives a key its newest version, first of `chain`.
    pub(super) fn set_newest(&mut self, at: Ref, lsn: Lsn, chain: Ref) {
        self.records.set_newest(at, lsn, chain);
        self.tree.raise_newest(self.records.leaf(at), lsn);
    }

    /// Bytes charged for the keys.
    #[must_use]
    pub(super) fn charged_bytes(&self) -> u64 {
        self.charged_bytes
    }

    /// The first position of a range in `direction`; it may lie beyond the range's other end.
    #[must_use]
    pub(super) fn start(&self, bound: Bound<&[u8]>, direction: Direction) -> Option<Position> {
        let (tree, records) = (&self.tree, &self.records);
        match (direction, bound) {
            (Direction::Forward, Bound::Unbounded) => tree.first(),
            (Direction::Forward, Bound::Included(key)) => tree.at_or_above(key, records),
            (Direction::Forward, Bound::Excluded(key)) => {
                let found = tree.at_or_above(key, records)?;
                let is_it = records.key(tree.key_ref(found)) == key;
                if is_it { tree.next(found) } else { Some(found) }
            }
            (Direction::Reverse, Bound::Unbounded) => tree.last(),
            (Direction::Reverse, Bound::Excluded(key)) => match tree.at_or_above(key, records) {
                Some(found) => tree.previous(found),
                None => tree.last(),
            },
            (Direction::Reverse, Bound::Included(key)) => match tree.at_or_above(key, records) {
                Some(found) if records.key(tree.key_ref(found)) == key => Some(found),
                Some(found) => tree.previous(found),
                None => tree.last(),
            },
        }
    }

    /// The position after `position` in `direction`.
    #[inline]
    #[must_use]
    pub(super) fn step(&self, position: Position, direction: Direction) -> Option<Position> {
        match direction {
            Direction::Forward => self.tree.next(position),
            Direction::Reverse => self.tree.previous(position),
        }
    }

    #[inline]
    #[must_use]
    pub(super) fn key_ref(&self, position: Position) -> Ref {
        self.tree.key_ref(position)
    }

    /// The keys of a range. Cost: O(log n), then one cache line for each key.
    #[must_use]
    pub(super) fn walk<'a>(
        &'a self,
        range: (Bound<&'a [u8]>, Bound<&'a [u8]>),
        direction: Direction,
    ) -> KeyWalk<'a> {
        let (start, end) = direction.ends(range);
        let is_empty = is_empty_range(range.0, range.1);
        let at = if is_empty { None } else { self.start(start, direction) };
        KeyWalk { keys: self, end, direction, at }
    }

    /// The first key of a range whose newest version is above `snapshot`. Cost: O(log n), then
    /// one cache line for each leaf that has nothing newer, and one for each key of the others.
    #[must_use]
    pub(super) fn first_newer(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        snapshot: Lsn,
    ) -> Option<(bytes::Bytes, Lsn)> {
        if is_empty_range(from, to) {
            return None;
        }
        let mut next = self.start(from, Direction::Forward);
        while let Some(position) = next {
            let at = self.tree.key_ref(position);
            let key = self.records.key(at);
            if !is_inside(key, to, Direction::Forward) {
                return None;
            }
            if self.tree.newest(position) <= snapshot {
                next = self.tree.next_leaf(position);
                continue;
            }
            let newest = self.records.newest_lsn(at);
            if newest > snapshot {
                return Some((bytes::Bytes::copy_from_slice(key), newest));
            }
            next = self.tree.next(position);
        }
        None
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.records.arena.allocated_bytes()
            + self.hash.allocated_bytes()
            + self.tree.allocated_bytes()
    }
}

/// References to the keys of a range, one after the other.
pub(super) struct KeyWalk<'a> {
    pub(super) keys: &'a KeyTable,
    pub(super) end: Bound<&'a [u8]>,
    pub(super) direction: Direction,
    /// The next key's place, unless it lies beyond the range.
    pub(super) at: Option<Position>,
}

impl Iterator for KeyWalk<'_> {
    type Item = Ref;

    fn next(&mut self) -> Option<Ref> {
        let position = self.at?;
        let key = self.keys.key_ref(position);
        if !is_inside(self.keys.records.key(key), self.end, self.direction) {
            self.at = None;
            return None;
        }
        self.at = self.keys.step(position, self.direction);
        Some(key)
    }
}

/// Whether `key` has not passed `end` in `direction`.
#[inline]
#[must_use]
fn is_inside(key: &[u8], end: Bound<&[u8]>, direction: Direction) -> bool {
    match (end, direction) {
        (Bound::Unbounded, _) => true,
        (Bound::Included(end), Direction::Forward) => key <= end,
        (Bound::Excluded(end), Direction::Forward) => key < end,
        (Bound::Included(end), Direction::Reverse) => key >= end,
        (Bound::Excluded(end), Direction::Reverse) => key > end,
    }
}
