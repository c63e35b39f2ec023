//! A leaf: rows in key order. Knows its bytes; must never know which tree it belongs to.

use std::ops::Range;

use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::{
    CellHeadBytes, LEAF_ROW_OVERHEAD_BYTES, NodeStamp, Shape, common_prefix_len, key_head,
    lower_bound, shape,
};
use crate::format::overflow::{OVERFLOW_REF_BYTES, OverflowRef};
use crate::format::page::{PAGE_HEADER_BYTES, PageHeader, PageKind, seal_page};

pub(super) const CELL_HEAD_BYTES: usize = size_of::<CellHeadBytes>();
pub(super) const INLINE: u8 = 0;
pub(super) const OVERFLOW: u8 = 1;

/// A row to be written.
#[derive(Clone, Copy, Debug)]
pub struct LeafCell<'row> {
    pub key: &'row [u8],
    pub value: CellValue<'row>,
}

/// A value as a leaf keeps it.
#[derive(Clone, Copy, Debug)]
pub enum CellValue<'row> {
    Inline(&'row [u8]),
    Overflow(OverflowRef),
}

/// Where the value of a row lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeafValue {
    /// At these bytes of the page.
    Inline(Range<usize>),
    Overflow(OverflowRef),
}

impl CellValue<'_> {
    /// Bytes that the value takes in the leaf.
    #[must_use]
    pub const fn stored_bytes(&self) -> usize {
        match self {
            CellValue::Inline(value) => value.len(),
            CellValue::Overflow(_) => OVERFLOW_REF_BYTES,
        }
    }
}

/// Fills the zeroed `page` with `cells`, in ascending order of keys, and seals it; returns its
/// checksum. Cost: one pass over the rows and one over the page.
///
/// # Panics
/// If there is no cell, or they do not fit.
pub fn encode_leaf<'row>(
    page: &mut [u8],
    stamp: &NodeStamp,
    cells: impl ExactSizeIterator<Item = LeafCell<'row>> + DoubleEndedIterator + Clone,
) -> u32 {
    let count = cells.len();
    let (first, last) = (cells.clone().next(), cells.clone().next_back());
    let first_key = first.expect("INV-6: a leaf has a row").key;
    let last_key = last.expect("INV-6: a leaf has a row").key;
    let prefix_len = common_prefix_len(first_key, last_key);
    let heads_at = PAGE_HEADER_BYTES + prefix_len;
    let slots_at = heads_at + 4 * count;
    let mut at = slots_at + 2 * count;
    page[PAGE_HEADER_BYTES..heads_at].copy_from_slice(&first_key[..prefix_len]);
    for (index, cell) in cells.enumerate() {
        let suffix = &cell.key[prefix_len..];
        let head = key_head(suffix).to_le_bytes();
        page[heads_at + 4 * index..heads_at + 4 * index + 4].copy_from_slice(&head);
        let slot = (at as u16).to_le_bytes();
        page[slots_at + 2 * index..slots_at + 2 * index + 2].copy_from_slice(&slot);
        at = put_cell(page, at, suffix, &cell.value);
    }
    let header = PageHeader {
        kind: PageKind::Leaf,
        level: 0,
        count: count as u16,
        addr: stamp.addr,
        owner: stamp.owner,
        page_lsn: stamp.page_lsn,
        used_bytes: at as u32,
        prefix_len_bytes: prefix_len as u32,
    };
    seal_page(page, &header)
}

/// Writes one cell at `at`; returns its end.
fn put_cell(page: &mut [u8], at: usize, suffix: &[u8], value: &CellValue<'_>) -> usize {
    let (kind, value_len) = match value {
        CellValue::Inline(value) => (INLINE, value.len() as u32),
        CellValue::Overflow(reference) => (OVERFLOW, reference.value_len),
    };
    let head = CellHeadBytes {
        suffix_len: (suffix.len() as u16).into(),
        kind,
        reserved: 0,
        value_len: value_len.into(),
    };
    let suffix_at = at + CELL_HEAD_BYTES;
    let value_at = suffix_at + suffix.len();
    let end = value_at + value.stored_bytes();
    page[at..suffix_at].copy_from_slice(head.as_bytes());
    page[suffix_at..value_at].copy_from_slice(suffix);
    match value {
        CellValue::Inline(value) => page[value_at..end].copy_from_slice(value),
        CellValue::Overflow(reference) => reference.encode(&mut page[value_at..end]),
    }
    end
}

/// Reads a validated leaf.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'page> {
    page: &'page [u8],
    prefix: &'page [u8],
    heads: &'page [le::U32],
    slots: &'page [le::U16],
}

impl<'page> Leaf<'page> {
    /// # Panics
    /// If the page was not validated, or is no leaf.
    #[must_use]
    pub fn new(page: &'page [u8]) -> Leaf<'page> {
        let Shape { count, prefix_len, .. } = shape(page, PageKind::Leaf);
        let (prefix, rest) = page[PAGE_HEADER_BYTES..].split_at(prefix_len);
        let (heads, rest) = <[le::U32]>::ref_from_prefix_with_elems(rest, count)
            .expect("INV-6: a validated leaf holds its heads");
        let (slots, _) = <[le::U16]>::ref_from_prefix_with_elems(rest, count)
            .expect("INV-6: a validated leaf holds its slots");
        Leaf { page, prefix, heads, slots }
    }

    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a leaf is never empty")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// What all keys of the leaf begin with.
    #[must_use]
    pub fn prefix(&self) -> &'page [u8] {
        self.prefix
    }

    /// The key at `index` behind the common prefix.
    #[must_use]
    pub fn suffix(&self, index: usize) -> &'page [u8] {
        let at = usize::from(self.slots[index].get());
        let suffix_at = at + CELL_HEAD_BYTES;
        &self.page[suffix_at..suffix_at + usize::from(self.cell_head(at).suffix_len.get())]
    }

    /// The whole key at `index`.
    #[must_use]
    pub fn key(&self, index: usize) -> Vec<u8> {
        [self.prefix, self.suffix(index)].concat()
    }

    /// Where the value at `index` lies.
    #[must_use]
    pub fn value(&self, index: usize) -> LeafValue {
        let at = usize::from(self.slots[index].get());
        let head = self.cell_head(at);
        let value_at = at + CELL_HEAD_BYTES + usize::from(head.suffix_len.get());
        let value_len = head.value_len.get();
        if head.kind == INLINE {
            return LeafValue::Inline(value_at..value_at + value_len as usize);
        }
        let reference = OverflowRef::decode(&self.page[value_at..], value_len);
        LeafValue::Overflow(reference.expect("INV-6: a validated cell holds its reference"))
    }

    /// The row of `key`, or the first row above it. Cost: O(log n).
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (index, is_equal) =
            lower_bound(key, self.prefix, self.heads, |index| self.suffix(index));
        if is_equal { Ok(index) } else { Err(index) }
    }

    /// What the row at `index` costs in a leaf without a common prefix.
    #[must_use]
    pub fn row_bytes(&self, index: usize) -> usize {
        let value_bytes = match self.value(index) {
            LeafValue::Inline(range) => range.len(),
            LeafValue::Overflow(_) => OVERFLOW_REF_BYTES,
        };
        LEAF_ROW_OVERHEAD_BYTES + self.prefix.len() + self.suffix(index).len() + value_bytes
    }

    fn cell_head(&self, at: usize) -> &'page CellHeadBytes {
        let (head, _) = CellHeadBytes::ref_from_prefix(&self.page[at..])
            .expect("INV-6: a validated cell has a head");
        head
    }
}
