//! Nodes of a tree: leaves with rows, inner nodes with counted children.
//!
//! Both keep the prefix that all their keys share once, and four bytes of each key behind it (its
//! head) in one array, so that most of a search touches two cache lines. Nodes are written once,
//! whole; `validate_node` looks at a loaded page once, and the readers rely on it afterwards.

mod inner;
mod leaf;
#[cfg(test)]
mod tests;
mod validate;

use zerocopy::byteorder::little_endian as le;

use super::disk_struct;
use super::page::{PAGE_HEADER_BYTES, PageKind, PageOwner, PageRef, peek_page};
use crate::ids::{Lsn, PageAddr};
use crate::limits::{PAGE_SIZE_BYTES_MIN, WINDOW_KEY_BYTES_MAX};

pub use inner::{Inner, InnerEntry, encode_inner};
pub use leaf::{CellValue, Leaf, LeafCell, LeafValue, encode_leaf};
pub use validate::{NodeError, validate_node};

disk_struct! {
    /// Begins each cell of a leaf; the key's rest and the value follow.
    pub(in crate::format) struct CellHeadBytes [8] {
        | 0 | 2 | suffix_len: le::U16 | "length of the key behind the page's common prefix" |
        | 2 | 1 | kind: u8            | "0 the value follows the suffix, 1 an overflow reference" |
        | 3 | 1 | reserved: u8        | "zero" |
        | 4 | 4 | value_len: le::U32  | "length of the value, wherever it lies" |
    }
}

disk_struct! {
    /// One child of an inner node.
    pub(in crate::format) struct ChildBytes [24] {
        |  0 | 8 | addr: le::U64  | "the child's page, never 0" |
        |  8 | 8 | rows: le::U64  | "rows of the whole subtree, at least 1" |
        | 16 | 4 | crc: le::U32   | "checksum that the child's header must have" |
        | 20 | 4 | flags: le::U32 | "bit 0: the child is less than half full; others zero" |
    }
}

/// A head and the offset behind it: what every key of a node costs beside its cell.
const HEAD_AND_SLOT_BYTES: usize = 6;
/// What a row costs in a leaf beside its key and its value or reference.
pub(crate) const LEAF_ROW_OVERHEAD_BYTES: usize = HEAD_AND_SLOT_BYTES + size_of::<CellHeadBytes>();
/// What a child costs in an inner node.
pub(crate) const INNER_CHILD_BYTES: usize = size_of::<ChildBytes>();
/// What a separator costs in an inner node beside its own bytes.
pub(crate) const SEPARATOR_OVERHEAD_BYTES: usize = HEAD_AND_SLOT_BYTES;

// Any three rows, and any three children, fit into the smallest page.
const _: () = {
    let payload = PAGE_SIZE_BYTES_MIN as usize - PAGE_HEADER_BYTES;
    let row = LEAF_ROW_OVERHEAD_BYTES + WINDOW_KEY_BYTES_MAX + super::overflow::OVERFLOW_REF_BYTES;
    assert!(row <= payload / 3);
    assert!(INNER_CHILD_BYTES + SEPARATOR_OVERHEAD_BYTES + WINDOW_KEY_BYTES_MAX <= payload / 3);
};

/// A reference to a subtree, with its number of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildRef {
    pub page: PageRef,
    pub rows: u64,
}

/// What the header of a new node or run says beside its shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStamp {
    pub addr: PageAddr,
    pub owner: PageOwner,
    /// Newest commit merged into the page or into the pages that it replaces.
    pub page_lsn: Lsn,
}

/// Whether a value of this length goes to an overflow run: with it, the row would take more than
/// a third of a page.
#[must_use]
pub const fn must_overflow(
    key_len_bytes: usize,
    value_len_bytes: usize,
    page_size_bytes: usize,
) -> bool {
    let row_bytes = LEAF_ROW_OVERHEAD_BYTES + key_len_bytes + value_len_bytes;
    row_bytes > (page_size_bytes - PAGE_HEADER_BYTES) / 3
}

/// Whether a node that uses this much of its page is less than half full.
#[must_use]
pub const fn is_sparse(used_bytes: usize, page_size_bytes: usize) -> bool {
    used_bytes * 2 < page_size_bytes
}

/// Length of the longest prefix that both have in common.
#[must_use]
pub fn common_prefix_len(left: &[u8], right: &[u8]) -> usize {
    let len = left.len().min(right.len());
    let mut equal = 0;
    while equal + 8 <= len && left[equal..equal + 8] == right[equal..equal + 8] {
        equal += 8;
    }
    while equal < len && left[equal] == right[equal] {
        equal += 1;
    }
    equal
}

/// The shortest key above `left` and at or below `right`.
///
/// # Panics
/// If `left` is not below `right`.
#[must_use]
pub fn shortest_separator<'key>(left: &[u8], right: &'key [u8]) -> &'key [u8] {
    assert!(left < right, "INV-6: separators stand between ascending keys");
    &right[..=common_prefix_len(left, right)]
}

/// The first four bytes as a number that sorts as they do; a shorter key is filled with zeros.
fn key_head(suffix: &[u8]) -> u32 {
    if let Some(head) = suffix.first_chunk::<4>() {
        return u32::from_be_bytes(*head);
    }
    let mut head = [0; 4];
    head[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(head)
}

/// What a reader needs of a validated node's header.
struct Shape {
    count: usize,
    prefix_len: usize,
    used_bytes: usize,
}

fn shape(page: &[u8], kind: PageKind) -> Shape {
    let header = peek_page(page).expect("INV-6: a validated page has a header");
    assert!(header.kind == kind, "INV-6: {:?} is read as {kind:?}", header.kind);
    Shape {
        count: usize::from(header.count),
        prefix_len: header.prefix_len_bytes as usize,
        used_bytes: header.used_bytes as usize,
    }
}

/// The first of the ascending keys that is not below `key`, and whether it equals it.
///
/// Shape: keys are `prefix` and `suffix_at(i)`, one for each head. Cost: O(log n), most of it in
/// the heads.
fn lower_bound<'page>(
    key: &[u8],
    prefix: &[u8],
    heads: &[le::U32],
    suffix_at: impl Fn(usize) -> &'page [u8],
) -> (usize, bool) {
    let shared = key.len().min(prefix.len());
    match key[..shared].cmp(&prefix[..shared]) {
        std::cmp::Ordering::Less => return (0, false),
        std::cmp::Ordering::Greater => return (heads.len(), false),
        std::cmp::Ordering::Equal if key.len() < prefix.len() => return (0, false),
        std::cmp::Ordering::Equal => {}
    }
    let suffix = &key[prefix.len()..];
    let head = key_head(suffix);
    let mut low = heads.partition_point(|other| other.get() < head);
    let mut high = low + heads[low..].partition_point(|other| other.get() == head);
    while low < high {
        let middle = low.midpoint(high);
        match suffix_at(middle).cmp(suffix) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return (middle, true),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    (low, false)
}
