//! Rows or children on their way from old nodes to new ones, and how they divide into pages.
//!
//! Keys lie whole in one arena, since every new node has another common prefix.

use std::ops::Range;

use crate::format::node::{
    CellValue, ChildRef, INNER_CHILD_BYTES, Inner, InnerEntry, LEAF_ROW_OVERHEAD_BYTES, Leaf,
    LeafCell, LeafValue, NodeStamp, SEPARATOR_OVERHEAD_BYTES, common_prefix_len, encode_inner,
    encode_leaf,
};
use crate::format::overflow::{OVERFLOW_REF_BYTES, OverflowRef};
use crate::format::page::PAGE_HEADER_BYTES;

/// What a key leads to.
#[derive(Clone, Copy, Debug)]
pub(in crate::btree) enum Payload {
    /// A value in the arena.
    Inline {
        at: u32,
        len: u32,
    },
    Overflow(OverflowRef),
    Child(ChildItem),
}

/// A child of a node to be.
#[derive(Clone, Copy, Debug)]
pub(in crate::btree) struct ChildItem {
    pub(in crate::btree) child: ChildRef,
    pub(in crate::btree) is_sparse: bool,
    /// Written by this rebuild: it cannot be loaded again.
    pub(in crate::btree) is_new: bool,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    key_at: u32,
    key_len: u16,
    payload: Payload,
    /// Bytes of all items before, as they would be without a common prefix.
    bytes_before: u64,
}

/// Ascending rows (level 0) or children with the separators before them.
#[derive(Clone, Debug)]
pub(in crate::btree) struct Items {
    level: u8,
    arena: Vec<u8>,
    items: Vec<Item>,
    bytes: u64,
}

impl Items {
    pub(in crate::btree) fn new(level: u8) -> Items {
        Items { level, arena: Vec::new(), items: Vec::new(), bytes: 0 }
    }

    pub(in crate::btree) fn level(&self) -> u8 {
        self.level
    }

    pub(in crate::btree) fn len(&self) -> usize {
        self.items.len()
    }

    pub(in crate::btree) fn key(&self, index: usize) -> &[u8] {
        let item = &self.items[index];
        let at = item.key_at as usize;
        &self.arena[at..at + usize::from(item.key_len)]
    }

    /// # Panics
    /// If the items are rows.
    pub(in crate::btree) fn child(&self, index: usize) -> ChildItem {
        let Payload::Child(child) = self.items[index].payload else {
            panic!("INV-6: level {} has children", self.level);
        };
        child
    }

    pub(in crate::btree) fn push_value(&mut self, key: [&[u8]; 2], value: &[u8]) {
        let at = self.push_key(key);
        let payload = Payload::Inline { at: self.arena.len() as u32, len: value.len() as u32 };
        self.arena.extend_from_slice(value);
        self.push_item(at, payload);
    }

    pub(in crate::btree) fn push_overflow(&mut self, key: [&[u8]; 2], reference: OverflowRef) {
        let at = self.push_key(key);
        self.push_item(at, Payload::Overflow(reference));
    }

    pub(in crate::btree) fn push_child(&mut self, separator: [&[u8]; 2], child: ChildItem) {
        let at = self.push_key(separator);
        self.push_item(at, Payload::Child(child));
    }

    /// Adds rows of a leaf.
    pub(in crate::btree) fn push_rows(&mut self, page: &[u8], leaf: &Leaf<'_>, rows: Range<usize>) {
        for index in rows {
            let key = [leaf.prefix(), leaf.suffix(index)];
            match leaf.value(index) {
                LeafValue::Inline(range) => self.push_value(key, &page[range]),
                LeafValue::Overflow(reference) => self.push_overflow(key, reference),
            }
        }
    }

    /// Adds all children of a node whose own separator is `separator`.
    pub(in crate::btree) fn push_children(&mut self, inner: &Inner<'_>, separator: &[u8]) {
        for index in 0..inner.len() {
            let (child, is_sparse) = (inner.child(index), inner.is_sparse(index));
            let separator = match index {
                0 => [separator, &[]],
                _ => [inner.prefix(), inner.separator_suffix(index)],
            };
            self.push_child(separator, ChildItem { child, is_sparse, is_new: false });
        }
    }

    /// Adds items of the same level.
    pub(in crate::btree) fn push_from(&mut self, other: &Items, range: Range<usize>) {
        for index in range {
            let key = [other.key(index), &[]];
            match other.items[index].payload {
                Payload::Inline { at, len } => {
                    self.push_value(key, &other.arena[at as usize..(at + len) as usize]);
                }
                Payload::Overflow(reference) => self.push_overflow(key, reference),
                Payload::Child(child) => self.push_child(key, child),
            }
        }
    }

    /// Removes the last item; its bytes stay until the arena is renewed.
    pub(in crate::btree) fn pop(&mut self) {
        if let Some(item) = self.items.pop() {
            self.bytes = item.bytes_before;
        }
    }

    pub(in crate::btree) fn clear(&mut self) {
        self.arena.clear();
        self.items.clear();
        self.bytes = 0;
    }

    fn push_key(&mut self, key: [&[u8]; 2]) -> usize {
        let at = self.arena.len();
        self.arena.extend_from_slice(key[0]);
        self.arena.extend_from_slice(key[1]);
        at
    }

    /// Adds the item whose key begins at `key_at` of the arena.
    fn push_item(&mut self, key_at: usize, payload: Payload) {
        let key_end = match payload {
            Payload::Inline { at, .. } => at as usize,
            _ => self.arena.len(),
        };
        let key_len = key_end - key_at;
        let bytes_before = self.bytes;
        self.bytes += key_len as u64;
        self.bytes += match payload {
            Payload::Inline { len, .. } => LEAF_ROW_OVERHEAD_BYTES as u64 + u64::from(len),
            Payload::Overflow(_) => (LEAF_ROW_OVERHEAD_BYTES + OVERFLOW_REF_BYTES) as u64,
            Payload::Child(_) => (INNER_CHILD_BYTES + SEPARATOR_OVERHEAD_BYTES) as u64,
        };
        let (key_at, key_len) = (key_at as u32, key_len as u16);
        self.items.push(Item { key_at, key_len, payload, bytes_before });
    }

    /// Bytes up to an item as they would be without common prefixes.
    fn bytes_before(&self, index: usize) -> u64 {
        self.items.get(index).map_or(self.bytes, |item| item.bytes_before)
    }

    /// At least as much as a node of these items uses.
    pub(in crate::btree) fn size_bound(&self, range: &Range<usize>) -> usize {
        let bytes = self.bytes_before(range.end) - self.bytes_before(range.start);
        PAGE_HEADER_BYTES + bytes as usize
    }

    /// Bytes that a node of these items uses. It grows with the range. Cost: one comparison of
    /// two keys.
    pub(in crate::btree) fn size(&self, range: &Range<usize>) -> usize {
        let (fixed, keys) = match self.level {
            0 => (PAGE_HEADER_BYTES, range.clone()),
            _ => (PAGE_HEADER_BYTES + INNER_CHILD_BYTES, range.start + 1..range.end),
        };
        if keys.is_empty() {
            return fixed;
        }
        let bytes = (self.bytes_before(keys.end) - self.bytes_before(keys.start)) as usize;
        let prefix = common_prefix_len(self.key(keys.start), self.key(keys.end - 1));
        fixed + bytes - (keys.len() - 1) * prefix
    }

    /// Rows below these items.
    pub(in crate::btree) fn rows(&self, range: &Range<usize>) -> u64 {
        match self.level {
            0 => range.len() as u64,
            _ => range.clone().map(|index| self.child(index).child.rows).sum(),
        }
    }

    /// The longest range from its start that fits into a page.
    fn fill(&self, range: &Range<usize>, page_size: usize) -> usize {
        let (mut fits, mut end) = (range.start + 1, range.end + 1);
        while fits + 1 < end {
            let middle = fits.midpoint(end);
            if self.size(&(range.start..middle)) <= page_size {
                fits = middle;
            } else {
                end = middle;
            }
        }
        fits
    }

    /// Ends of the pages when each but the last is as full as can be.
    pub(in crate::btree) fn divide_full(
        &self,
        range: Range<usize>,
        page_size: usize,
    ) -> Vec<usize> {
        let (mut ends, mut start) = (Vec::new(), range.start);
        while start < range.end {
            start = self.fill(&(start..range.end), page_size);
            ends.push(start);
        }
        ends
    }

    /// Ends of as few pages as that, filled evenly.
    pub(in crate::btree) fn divide_evenly(
        &self,
        range: Range<usize>,
        page_size: usize,
    ) -> Vec<usize> {
        let full = self.divide_full(range.clone(), page_size);
        if full.len() == 2 {
            let middle = self.divide_in_two(range.clone(), page_size).unwrap_or(full[0]);
            return vec![middle, range.end];
        }
        let before = self.bytes_before(range.start);
        let bytes = self.bytes_before(range.end) - before;
        let count = full.len() as u64;
        let end = |page: u64| {
            let target = before + bytes * page / count;
            self.items[range.clone()].partition_point(|item| item.bytes_before < target)
                + range.start
        };
        let even: Vec<usize> = (1..count).map(end).chain([range.end]).collect();
        let mut start = range.start;
        for &end in &even {
            if end <= start || self.size(&(start..end)) > page_size {
                return full;
            }
            start = end;
        }
        even
    }

    /// Where to divide a range so that the smaller of two pages is as full as can be; `None` if
    /// no two pages hold it.
    pub(in crate::btree) fn divide_in_two(
        &self,
        range: Range<usize>,
        page_size: usize,
    ) -> Option<usize> {
        let (mut low, mut high) = (range.start + 1, range.end - 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.size(&(range.start..middle)) < self.size(&(middle..range.end)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let sizes =
            |middle: usize| [self.size(&(range.start..middle)), self.size(&(middle..range.end))];
        let candidates = [low - 1, low].into_iter();
        candidates
            .filter(|&middle| range.start < middle && middle < range.end)
            .filter(|&middle| sizes(middle).iter().all(|&size| size <= page_size))
            .max_by_key(|&middle| sizes(middle).into_iter().min())
    }

    /// Writes a node of these items; returns its checksum.
    pub(in crate::btree) fn encode(
        &self,
        range: Range<usize>,
        stamp: &NodeStamp,
        page: &mut [u8],
    ) -> u32 {
        if self.level == 0 {
            let cells = range.map(|index| LeafCell {
                key: self.key(index),
                value: match self.items[index].payload {
                    Payload::Inline { at, len } => {
                        CellValue::Inline(&self.arena[at as usize..(at + len) as usize])
                    }
                    Payload::Overflow(reference) => CellValue::Overflow(reference),
                    Payload::Child(_) => panic!("INV-6: leaves have rows"),
                },
            });
            return encode_leaf(page, stamp, cells);
        }
        let entries = range.map(|index| {
            let ChildItem { child, is_sparse, .. } = self.child(index);
            InnerEntry { separator: self.key(index), child, is_sparse }
        });
        encode_inner(page, stamp, self.level, entries)
    }
}
