//! The order of a window's keys: a B+tree of references with eight-byte key heads.
//!
//! Keys are added and never removed, so nodes are at least half full and never go. Every node
//! lies between two keys that it knows from its ancestors, or the tree's first and last key; what
//! those two share, all its keys share. Knows keys, and how new a leaf is at most. Must never know
//! versions.

use smallvec::SmallVec;

use super::arena::{NONE, Ref};
use super::keys::KeyRecords;
use super::node::{FANOUT, SortedKeys, shared_prefix_len};
use super::slab::Slab;
use crate::ids::Lsn;

/// Inner levels of a tree that are kept on the stack: 32^8 leaves.
const LEVELS_USUAL: usize = 8;
const HALF: usize = FANOUT / 2;
const FIRST_LEAF: u32 = 0;

struct Leaf {
    sorted: SortedKeys,
    /// No key of the leaf has a newer version.
    newest: Lsn,
    previous: u32,
    next: u32,
}

struct Inner {
    /// `children[i]` holds the keys below key `i`, and at or above key `i - 1`.
    separators: SortedKeys,
    children: [u32; FANOUT + 1],
}

/// A key's place; it stays good until the next key is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    leaf: u32,
    index: u16,
}

/// One step of a descent: which child of `node`, and the keys that `node` lies between.
struct Step {
    node: u32,
    child: usize,
    low: Ref,
    high: Ref,
}

/// The keys of one window in order.
pub(super) struct Tree {
    leaves: Slab<Leaf, 6>,
    inners: Slab<Inner, 4>,
    /// Levels above the leaves.
    inner_levels: usize,
    root: u32,
    last_leaf: u32,
    first_key: Ref,
    last_key: Ref,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree {
            leaves: Slab::default(),
            inners: Slab::default(),
            inner_levels: 0,
            root: FIRST_LEAF,
            last_leaf: FIRST_LEAF,
            first_key: NONE,
            last_key: NONE,
        }
    }
}

impl Tree {
    /// Adds a key that is not there. Cost: O(log n); it moves entries of one node a level.
    pub(super) fn insert(&mut self, new: Ref, records: &mut KeyRecords) {
        self.widen(new, records);
        let key = records.key(new);
        let mut path: SmallVec<[Step; LEVELS_USUAL]> = SmallVec::new();
        let (mut low, mut high) = (self.first_key, self.last_key);
        let mut node = self.root;
        for _ in 0..self.inner_levels {
            let inner = self.inners.get(node);
            let (child, _) = inner.separators.rank(key, records);
            path.push(Step { node, child, low, high });
            if child > 0 {
                low = inner.separators.get(child - 1);
            }
            if child < inner.separators.len() {
                high = inner.separators.get(child);
            }
            node = inner.children[child];
        }
        let leaf = self.leaves.get_mut(node);
        let (rank, _) = leaf.sorted.rank(key, records);
        if !leaf.sorted.is_full() {
            leaf.sorted.insert(rank, new, records);
            return records.set_leaf(new, node);
        }
        let right = self.split_leaf(node, rank, new, records);
        records.set_leaf(new, node);
        let moved = &self.leaves.get(right).sorted;
        (0..moved.len()).for_each(|index| records.set_leaf(moved.get(index), right));
        let separator = self.leaves.get(right).sorted.get(0);
        let (low, high, middle) = (records.key(low), records.key(high), records.key(separator));
        self.leaves.get_mut(node).sorted.raise_skip(low, middle, records);
        self.leaves.get_mut(right).sorted.raise_skip(middle, high, records);
        self.add_child(path, separator, right, records);
    }

    /// Takes a new first or last key to the nodes that lie beside it.
    fn widen(&mut self, new: Ref, records: &KeyRecords) {
        if self.first_key == NONE {
            let sorted = SortedKeys::new(0);
            let newest = Lsn::ZERO;
            self.root = self.leaves.push(Leaf { sorted, newest, previous: NONE, next: NONE });
            (self.first_key, self.last_key) = (new, new);
            return;
        }
        let key = records.key(new);
        let (first, last) = (records.key(self.first_key), records.key(self.last_key));
        if key < first {
            self.limit_skips(shared_prefix_len(key, first), |_| 0, records);
            self.first_key = new;
        } else if key > last {
            self.limit_skips(shared_prefix_len(key, last), SortedKeys::len, records);
            self.last_key = new;
        }
    }

    fn limit_skips(
        &mut self,
        skip: usize,
        edge_child: fn(&SortedKeys) -> usize,
        records: &KeyRecords,
    ) {
        let mut node = self.root;
        for _ in 0..self.inner_levels {
            let inner = self.inners.get_mut(node);
            inner.separators.limit_skip(skip, records);
            node = inner.children[edge_child(&inner.separators)];
        }
        self.leaves.get_mut(node).sorted.limit_skip(skip, records);
    }

    /// Splits a full leaf, adds `new` at its rank, and returns the new right leaf.
    fn split_leaf(&mut self, node: u32, rank: usize, new: Ref, records: &KeyRecords) -> u32 {
        let right = self.leaves.len() as u32;
        let left = self.leaves.get_mut(node);
        // Ascending keys leave full leaves behind.
        let is_append = left.next == NONE && rank == FANOUT;
        let middle = if is_append { FANOUT } else { HALF };
        let mut sorted = left.sorted.split_off(middle);
        if rank <= middle && !is_append {
            left.sorted.insert(rank, new, records);
        } else {
            sorted.insert(rank - middle, new, records);
        }
        let (next, newest) = (std::mem::replace(&mut left.next, right), left.newest);
        self.leaves.push(Leaf { sorted, newest, previous: node, next });
        if next == NONE {
            self.last_leaf = right;
        } else {
            self.leaves.get_mut(next).previous = right;
        }
        right
    }

    /// Adds the right half of a split child along the path that led to it.
    fn add_child(
        &mut self,
        mut path: SmallVec<[Step; LEVELS_USUAL]>,
        mut separator: Ref,
        mut right: u32,
        records: &KeyRecords,
    ) {
        while let Some(Step { node, child, low, high }) = path.pop() {
            let inner = self.inners.get_mut(node);
            if !inner.separators.is_full() {
                return inner.insert(child, separator, right, records);
            }
            let (mut sibling, middle) = inner.split();
            if child <= HALF {
                inner.insert(child, separator, right, records);
            } else {
                sibling.insert(child - HALF - 1, separator, right, records);
            }
            let (low, high, key) = (records.key(low), records.key(high), records.key(middle));
            inner.separators.raise_skip(low, key, records);
            sibling.separators.raise_skip(key, high, records);
            (separator, right) = (middle, self.inners.push(sibling));
        }
        let (first, last) = (records.key(self.first_key), records.key(self.last_key));
        let separators = SortedKeys::new(shared_prefix_len(first, last));
        let mut root = Inner { separators, children: [NONE; FANOUT + 1] };
        root.children[0] = self.root;
        root.insert(0, separator, right, records);
        self.root = self.inners.push(root);
        self.inner_levels += 1;
    }

    /// The first key at or above `key`. Cost: O(log n).
    #[must_use]
    pub(super) fn at_or_above(&self, key: &[u8], records: &KeyRecords) -> Option<Position> {
        if self.first_key == NONE || key > records.key(self.last_key) {
            return None;
        }
        if key <= records.key(self.first_key) {
            return self.first();
        }
        let mut node = self.root;
        for _ in 0..self.inner_levels {
            let inner = self.inners.get(node);
            let (rank, is_separator) = inner.separators.rank(key, records);
            node = inner.children[rank + usize::from(is_separator)];
        }
        let (rank, _) = self.leaves.get(node).sorted.rank(key, records);
        self.checked(node, rank)
    }

    /// A rank in a leaf, or the first key of the next leaf when it is the leaf's end.
    fn checked(&self, leaf: u32, rank: usize) -> Option<Position> {
        let node = self.leaves.get(leaf);
        if rank < node.sorted.len() {
            return Some(Position { leaf, index: rank as u16 });
        }
        (node.next != NONE).then_some(Position { leaf: node.next, index: 0 })
    }

    #[must_use]
    pub(super) fn first(&self) -> Option<Position> {
        (self.first_key != NONE).then_some(Position { leaf: FIRST_LEAF, index: 0 })
    }

    #[must_use]
    pub(super) fn last(&self) -> Option<Position> {
        (self.first_key != NONE).then(|| self.end_of(self.last_leaf))
    }

    fn end_of(&self, leaf: u32) -> Position {
        Position { leaf, index: (self.leaves.get(leaf).sorted.len() - 1) as u16 }
    }

    #[inline]
    #[must_use]
    pub(super) fn next(&self, position: Position) -> Option<Position> {
        self.checked(position.leaf, usize::from(position.index) + 1)
    }

    /// The first key of the leaf after this position's.
    #[inline]
    #[must_use]
    pub(super) fn next_leaf(&self, position: Position) -> Option<Position> {
        let leaf = self.leaves.get(position.leaf).next;
        (leaf != NONE).then_some(Position { leaf, index: 0 })
    }

    /// No key in this position's leaf has a newer version.
    #[inline]
    #[must_use]
    pub(super) fn newest(&self, position: Position) -> Lsn {
        self.leaves.get(position.leaf).newest
    }

    pub(super) fn raise_newest(&mut self, leaf: u32, lsn: Lsn) {
        let leaf = self.leaves.get_mut(leaf);
        leaf.newest = leaf.newest.max(lsn);
    }

    #[inline]
    #[must_use]
    pub(super) fn previous(&self, position: Position) -> Option<Position> {
        if position.index > 0 {
            return Some(Position { index: position.index - 1, ..position });
        }
        let previous = self.leaves.get(position.leaf).previous;
        (previous != NONE).then(|| self.end_of(previous))
    }

    #[inline]
    #[must_use]
    pub(super) fn key_ref(&self, position: Position) -> Ref {
        self.leaves.get(position.leaf).sorted.get(position.index.into())
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.leaves.allocated_bytes() + self.inners.allocated_bytes()
    }
}

impl Inner {
    /// Adds a separator at `child`'s upper end, and the node to its right.
    fn insert(&mut self, child: usize, separator: Ref, right: u32, records: &KeyRecords) {
        let len = self.separators.len();
        self.separators.insert(child, separator, records);
        self.children.copy_within(child + 1..=len, child + 2);
        self.children[child + 1] = right;
    }

    /// Splits a full node in two, and takes out the separator between them.
    fn split(&mut self) -> (Inner, Ref) {
        let separators = self.separators.split_off(HALF + 1);
        let middle = self.separators.pop();
        let mut children = [NONE; FANOUT + 1];
        let moved = FANOUT - HALF;
        children[..moved].copy_from_slice(&self.children[HALF + 1..]);
        (Inner { separators, children }, middle)
    }
}
