//! Which key records may hold a key: a hash table of (tag, reference) that grows bucket by bucket.
//!
//! Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB
//! 1980): when the table gets too full, one bucket is split. So one insert moves the entries of
//! one chain, about seven, and allocates at most one segment of 64 KiB, however large the table
//! is. Knows tags and references. Must never know keys or versions.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::arena::{NONE, Ref};
use super::slab::Slab;

/// Fixed, so that one seed replays a whole run.
const SEED: u64 = 0x534f_4d42_5241_3031;
const BUCKET_ENTRIES: usize = 7;
/// Entries for each bucket, in tenths, above which a bucket is split.
const LOAD_TENTHS: usize = 45;

/// Hash of a key: the low bits choose the bucket, all of them tell entries apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    #[inline]
    #[must_use]
    pub(super) fn of(key: &[u8]) -> Tag {
        let mut hasher = FixedState::with_seed(SEED).build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        Tag((hash ^ (hash >> 32)) as u32)
    }

    /// Its bit among the 16 that say what overflowed; not one of those that choose the bucket.
    fn filter_bit(self) -> u16 {
        1 << (self.0 >> 28)
    }
}

/// One cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; BUCKET_ENTRIES],
    refs: [Ref; BUCKET_ENTRIES],
    /// The next bucket of the chain.
    overflow: u32,
    /// Tags that may be further down the chain: most misses end here.
    filter: u16,
    len: u8,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Bucket = Bucket {
        tags: [0; BUCKET_ENTRIES],
        refs: [NONE; BUCKET_ENTRIES],
        overflow: NONE,
        filter: 0,
        len: 0,
    };

    /// One bit for each entry with this tag.
    #[inline]
    fn matches(&self, tag: Tag) -> u32 {
        let tags = self.tags.iter().enumerate();
        let equal = tags.fold(0, |bits, (i, &found)| bits | (u32::from(found == tag.0) << i));
        equal & ((1 << self.len) - 1)
    }

    /// Adds an entry unless the bucket is full.
    fn add(&mut self, tag: Tag, key: Ref) -> bool {
        let at = usize::from(self.len);
        let has_room = at < BUCKET_ENTRIES;
        if has_room {
            (self.tags[at], self.refs[at]) = (tag.0, key);
            self.len += 1;
        }
        has_room
    }
}

/// References by tag; entries are added and never removed.
#[derive(Default)]
pub(super) struct HashIndex {
    buckets: Slab<Bucket, 10>,
    overflow: Slab<Bucket, 10>,
    overflow_free: Vec<u32>,
    len: usize,
}

impl HashIndex {
    /// The entry with this tag that `is_it` says yes to.
    ///
    /// Cost: one cache line, plus one for each bucket that overflowed with such a tag.
    #[inline]
    pub(super) fn find(&self, tag: Tag, is_it: impl Fn(Ref) -> bool) -> Option<Ref> {
        if self.len == 0 {
            return None;
        }
        let mut bucket = self.buckets.get(self.address(tag));
        let may_be_further = bucket.filter & tag.filter_bit() != 0;
        loop {
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let key = bucket.refs[matches.trailing_zeros() as usize];
                if is_it(key) {
                    return Some(key);
                }
                matches &= matches - 1;
            }
            if !may_be_further || bucket.overflow == NONE {
                return None;
            }
            bucket = self.overflow.get(bucket.overflow);
        }
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, tag: Tag, key: Ref) {
        if self.len * 10 >= self.buckets.len() * LOAD_TENTHS {
            self.split_one();
        }
        self.len += 1;
        self.add(tag, key);
    }

    /// The bucket of a tag. Buckets beyond the last power of two split their lower twins.
    #[inline]
    fn address(&self, tag: Tag) -> u32 {
        let count = self.buckets.len() as u32;
        let mask = count.next_power_of_two() - 1;
        let at = tag.0 & mask;
        if at < count { at } else { at & (mask >> 1) }
    }

    fn add(&mut self, tag: Tag, key: Ref) {
        let first = self.address(tag);
        let bucket = self.buckets.get_mut(first);
        if bucket.add(tag, key) {
            return;
        }
        bucket.filter |= tag.filter_bit();
        let next = bucket.overflow;
        if next != NONE && self.overflow.get_mut(next).add(tag, key) {
            return;
        }
        let mut added = Bucket { overflow: next, ..Bucket::EMPTY };
        added.add(tag, key);
        let at = match self.overflow_free.pop() {
            Some(at) => {
                *self.overflow.get_mut(at) = added;
                at
            }
            None => self.overflow.push(added),
        };
        self.buckets.get_mut(first).overflow = at;
    }

    fn split_one(&mut self) {
        let added = self.buckets.push(Bucket::EMPTY);
        if added == 0 {
            return;
        }
        let twin = added & ((added + 1).next_power_of_two() / 2 - 1);
        let mut entries: SmallVec<[(Tag, Ref); 3 * BUCKET_ENTRIES]> = SmallVec::new();
        let mut bucket = std::mem::replace(self.buckets.get_mut(twin), Bucket::EMPTY);
        loop {
            let pairs = bucket.tags.iter().zip(bucket.refs);
            entries.extend(pairs.take(bucket.len.into()).map(|(&tag, key)| (Tag(tag), key)));
            if bucket.overflow == NONE {
                break;
            }
            self.overflow_free.push(bucket.overflow);
            bucket = self.overflow.get(bucket.overflow).clone();
        }
        for (tag, key) in entries {
            self.add(tag, key);
        }
    }

    /// Bytes taken from the allocator.
    #[must_use]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.buckets.allocated_bytes()
            + self.overflow.allocated_bytes()
            + self.overflow_free.capacity() * size_of::<u32>()
    }
}
