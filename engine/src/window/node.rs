//! The sorted part of a tree node: references to keys, each with eight bytes of its key.
//!
//! Knows the order of keys. Must never know children or neighbours.

use super::arena::{NONE, Ref};
use super::keys::KeyRecords;

/// Keys of one node.
pub(super) const FANOUT: usize = 64;

/// Keys in order. All of them, and every key that is ever looked up here, begin with the same
/// `skip` bytes, which the heads leave out.
#[derive(Clone)]
pub(super) struct SortedKeys {
    heads: [u64; FANOUT],
    keys: [Ref; FANOUT],
    len: u16,
    skip: u16,
}

impl SortedKeys {
    #[must_use]
    pub(super) fn new(skip: usize) -> SortedKeys {
        let skip = u16::try_from(skip).expect("INV-9: keys are shorter than 32 KiB");
        SortedKeys { heads: [0; FANOUT], keys: [NONE; FANOUT], len: 0, skip }
    }

    #[inline]
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.len.into()
    }

    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.len() == FANOUT
    }

    #[inline]
    #[must_use]
    pub(super) fn get(&self, index: usize) -> Ref {
        self.keys[index]
    }

    /// How many keys are below `key`, and whether `key` is the next one.
    ///
    /// Cost: `STRIDE` + n / `STRIDE` comparisons of heads, and a look at keys where heads are
    /// equal.
    #[inline]
    #[must_use]
    pub(super) fn rank(&self, key: &[u8], records: &KeyRecords) -> (usize, bool) {
        let skip = usize::from(self.skip);
        let head = head_of(key, skip);
        let heads = &self.heads[..self.len()];
        let below = count_below(heads, head);
        let equal = heads[below..].iter().take_while(|&&found| found == head).count();
        if equal == 0 {
            return (below, false);
        }
        let (tail, same_head) = (&key[skip..], &self.keys[below..below + equal]);
        let rank = below + same_head.partition_point(|&at| &records.key(at)[skip..] < tail);
        let is_next = rank < below + equal && &records.key(self.keys[rank])[skip..] == tail;
        (rank, is_next)
    }

    /// Puts a key at its rank. The node is not full.
    pub(super) fn insert(&mut self, rank: usize, key: Ref, records: &KeyRecords) {
        let len = self.len();
        self.heads.copy_within(rank..len, rank + 1);
        self.keys.copy_within(rank..len, rank + 1);
        self.heads[rank] = head_of(records.key(key), self.skip.into());
        self.keys[rank] = key;
        self.len += 1;
    }

    /// Moves the keys from `rank` on to a new node.
    #[must_use]
    pub(super) fn split_off(&mut self, rank: usize) -> SortedKeys {
        let mut right = SortedKeys::new(self.skip.into());
        let moved = self.len() - rank;
        right.heads[..moved].copy_from_slice(&self.heads[rank..rank + moved]);
        right.keys[..moved].copy_from_slice(&self.keys[rank..rank + moved]);
        right.len = moved as u16;
        self.len = rank as u16;
        right
    }

    /// Takes the last key out.
    pub(super) fn pop(&mut self) -> Ref {
        self.len -= 1;
        self.keys[self.len()]
    }

    /// Shortens what the heads leave out to at most `skip` bytes.
    pub(super) fn limit_skip(&mut self, skip: usize, records: &KeyRecords) {
        if skip < self.skip.into() {
            self.set_skip(skip, records);
        }
    }

    /// Leaves more out of the heads, when `low` and `high`, between which every key of this node
    /// lies now and later, share so much more that looking at each key pays.
    pub(super) fn raise_skip(&mut self, low: &[u8], high: &[u8], records: &KeyRecords) {
        const GAIN_BYTES_MIN: usize = 4;
        let shared = shared_prefix_len(low, high);
        if shared >= usize::from(self.skip) + GAIN_BYTES_MIN {
            self.set_skip(shared, records);
        }
    }

    fn set_skip(&mut self, skip: usize, records: &KeyRecords) {
        self.skip = u16::try_from(skip).expect("INV-9: keys are shorter than 32 KiB");
        for index in 0..self.len() {
            self.heads[index] = head_of(records.key(self.keys[index]), skip);
        }
    }
}

/// How many of the ascending `heads` are below `head`.
///
/// First every eighth, which are in lines of their own: the processor loads them at once, where a
/// binary search would wait for one after the other.
#[inline]
fn count_below(heads: &[u64], head: u64) -> usize {
    const STRIDE: usize = 8;
    let strides = heads.chunks(STRIDE);
    let passed: usize = strides.map(|stride| usize::from(stride[stride.len() - 1] < head)).sum();
    let rest = heads.get(passed * STRIDE..).unwrap_or_default();
    let rest = &rest[..rest.len().min(STRIDE)];
    let below = rest.iter().map(|&found| usize::from(found < head)).sum::<usize>();
    (passed * STRIDE + below).min(heads.len())
}

/// The eight bytes of `key` after `skip`, filled up with zeros, so that heads order as keys do.
#[inline]
fn head_of(key: &[u8], skip: usize) -> u64 {
    let tail = &key[skip..];
    if let Some(head) = tail.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..tail.len()].copy_from_slice(tail);
    u64::from_be_bytes(head)
}

/// Bytes with which both keys begin.
#[must_use]
pub(super) fn shared_prefix_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
