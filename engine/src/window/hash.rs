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
const BUCKET_ENTRIES: usize = 8;
/// Entries for each bucket, in tenths, above which a bucket is split.
const LOAD_TENTHS: usize = 52;

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

    /// The eight bits that all entries of a bucket are compared by at once. They choose no
    /// bucket as long as there are fewer than 2^24.
    fn print(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Its bit among the 16 that say what overflowed.
    fn filter_bit(self) -> u16 {
        1 << (self.0 >> 28)
    }
}

/// What says no: the part of a bucket that a miss reads, apart so that more of it is cached.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Front {
    /// The highest byte of each tag.
    prints: [u8; BUCKET_ENTRIES],
    /// The next bucket of the chain.
    overflow: u32,
    /// Tags that may be further down the chain: most misses end here.
    filter: u16,
    len: u8,
}

/// The entries of a bucket: one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entries {
    tags: [u32; BUCKET_ENTRIES],
    refs: [Ref; BUCKET_ENTRIES],
}

const _: () = assert!(size_of::<Front>() == 16 && size_of::<Entries>() == 64);

impl Front {
    const EMPTY: Front = Front { prints: [0; BUCKET_ENTRIES], overflow: NONE, filter: 0, len: 0 };

    /// The highest bit of each byte whose print is that of `tag`, and perhaps of one above it.
    ///
    /// Source: "Determine if a word has a zero byte", Anderson, "Bit Twiddling Hacks".
    #[inline]
    fn matches(&self, tag: Tag) -> u64 {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        let differences = u64::from_le_bytes(self.prints) ^ (ONES * u64::from(tag.print()));
        differences.wrapping_sub(ONES) & !differences & (ONES << 7)
    }
}

/// Buckets by number.
#[derive(Default)]
struct Buckets {
    fronts: Slab<Front, 12>,
    entries: Slab<Entries, 10>,
}

impl Buckets {
    fn push_empty(&mut self) -> u32 {
        let (tags, refs) = ([0; BUCKET_ENTRIES], [NONE; BUCKET_ENTRIES]);
        self.entries.push(Entries { tags, refs });
        self.fronts.push(Front::EMPTY)
    }

    /// Adds an entry unless the bucket is full.
    fn add(&mut self, bucket: u32, tag: Tag, key: Ref) -> bool {
        let front = self.fronts.get_mut(bucket);
        let at = usize::from(front.len);
        let has_room = at < BUCKET_ENTRIES;
        if has_room {
            front.prints[at] = tag.print();
            front.len += 1;
            let entries = self.entries.get_mut(bucket);
            (entries.tags[at], entries.refs[at]) = (tag.0, key);
        }
        has_room
    }

    /// The bucket's entry with this tag that `is_it` says yes to.
    #[inline]
    fn find(&self, bucket: u32, tag: Tag, is_it: impl Fn(Ref) -> bool) -> Option<Ref> {
        let front = self.fronts.get(bucket);
        let mut matches = front.matches(tag);
        if matches == 0 {
            return None;
        }
        let entries = self.entries.get(bucket);
        while matches != 0 {
            let index = matches.trailing_zeros() as usize / 8;
            let is_entry = index < front.len.into() && entries.tags[index] == tag.0;
            if is_entry && is_it(entries.refs[index]) {
                return Some(entries.refs[index]);
            }
            matches &= matches - 1;
        }
        None
    }

    /// Empties a bucket into `entries` and returns the next one of its chain.
    fn take(
        &mut self,
        bucket: u32,
        entries: &mut SmallVec<[(Tag, Ref); 3 * BUCKET_ENTRIES]>,
    ) -> u32 {
        let front = std::mem::replace(self.fronts.get_mut(bucket), Front::EMPTY);
        let held = self.entries.get(bucket);
        let pairs = held.tags.iter().zip(held.refs).take(front.len.into());
        entries.extend(pairs.map(|(&tag, key)| (Tag(tag), key)));
        front.overflow
    }

    #[cfg(test)]
    fn allocated_bytes(&self) -> usize {
        self.fronts.allocated_bytes() + self.entries.allocated_bytes()
    }
}

/// References by tag; entries are added and never removed.
#[derive(Default)]
pub(super) struct HashIndex {
    buckets: Buckets,
    overflow: Buckets,
    overflow_free: Vec<u32>,
    len: usize,
    bucket_count: u32,
    /// One less than the power of two at or above `bucket_count`.
    mask: u32,
}

impl HashIndex {
    /// The entry with this tag that `is_it` says yes to.
    ///
    /// Cost: one cache line for a miss, and one more for an entry or an overflow it may be in.
    #[inline]
    pub(super) fn find(&self, tag: Tag, is_it: impl Fn(Ref) -> bool) -> Option<Ref> {
        if self.len == 0 {
            return None;
        }
        let bucket = self.address(tag);
        let found = self.buckets.find(bucket, tag, &is_it);
        let front = self.buckets.fronts.get(bucket);
        if found.is_some() || front.filter & tag.filter_bit() == 0 {
            return found;
        }
        let mut next = front.overflow;
        while next != NONE {
            if let Some(found) = self.overflow.find(next, tag, &is_it) {
                return Some(found);
            }
            next = self.overflow.fronts.get(next).overflow;
        }
        None
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, tag: Tag, key: Ref) {
        if self.len * 10 >= self.bucket_count as usize * LOAD_TENTHS {
            self.split_one();
        }
        self.len += 1;
        self.add(tag, key);
    }

    /// The bucket of a tag. Buckets beyond the last power of two split their lower twins.
    #[inline]
    fn address(&self, tag: Tag) -> u32 {
        let at = tag.0 & self.mask;
        if at < self.bucket_count { at } else { at & (self.mask >> 1) }
    }

    fn add(&mut self, tag: Tag, key: Ref) {
        let bucket = self.address(tag);
        if self.buckets.add(bucket, tag, key) {
            return;
        }
        let front = self.buckets.fronts.get_mut(bucket);
        front.filter |= tag.filter_bit();
        if front.overflow == NONE || !self.overflow.add(front.overflow, tag, key) {
            let free = self.overflow_free.pop();
            let added = free.unwrap_or_else(|| self.overflow.push_empty());
            self.overflow.fronts.get_mut(added).overflow = front.overflow;
            front.overflow = added;
            self.overflow.add(added, tag, key);
        }
    }

    fn split_one(&mut self) {
        let added = self.buckets.push_empty();
        self.bucket_count = added + 1;
        self.mask = self.bucket_count.next_power_of_two() - 1;
        if added == 0 {
            return;
        }
        let mut entries = SmallVec::new();
        let mut next = self.buckets.take(added & (self.mask >> 1), &mut entries);
        while next != NONE {
            self.overflow_free.push(next);
            next = self.overflow.take(next, &mut entries);
        }
        for (tag, key) in entries {
            self.add(tag, key);
        }
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.buckets.allocated_bytes()
            + self.overflow.allocated_bytes()
            + self.overflow_free.capacity() * size_of::<u32>()
    }
}
