//! An inner node: children in key order, with the keys that separate them. Knows its bytes; must
//! never know which tree it belongs to.

use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::{ChildBytes, ChildRef, NodeStamp, common_prefix_len, key_head, lower_bound, shape};
use crate::format::page::{PAGE_HEADER_BYTES, PageHeader, PageKind, PageRef, seal_page};
use crate::ids::PageAddr;

/// Set when the child is less than half full: whoever rewrites its neighbour takes it along.
pub(super) const FLAG_SPARSE: u32 = 1;

/// A child to be written, and the key that no key below it precedes.
#[derive(Clone, Copy, Debug)]
pub struct InnerEntry<'key> {
    /// Above every key of the child before, at or below every key of this one. That of the first
    /// child is not stored: the node's own parent knows it.
    pub separator: &'key [u8],
    pub child: ChildRef,
    pub is_sparse: bool,
}

/// Fills the zeroed `page` with `entries`, in ascending order of separators, and seals it; returns
/// its checksum.
///
/// # Panics
/// If there is no entry, or they do not fit.
pub fn encode_inner<'key>(
    page: &mut [u8],
    stamp: &NodeStamp,
    level: u8,
    entries: impl ExactSizeIterator<Item = InnerEntry<'key>> + DoubleEndedIterator + Clone,
) -> u32 {
    let count = entries.len();
    assert!(count > 0, "INV-6: an inner node has a child");
    let mut separators = entries.clone().skip(1).map(|entry| entry.separator);
    let prefix = match (separators.next(), entries.clone().next_back()) {
        (Some(first), Some(last)) => &first[..common_prefix_len(first, last.separator)],
        _ => &[],
    };
    let children_at = PAGE_HEADER_BYTES + prefix.len();
    let heads_at = children_at + size_of::<ChildBytes>() * count;
    let slots_at = heads_at + 4 * (count - 1);
    let mut at = slots_at + 2 * (count - 1);
    page[PAGE_HEADER_BYTES..children_at].copy_from_slice(prefix);
    for (index, entry) in entries.enumerate() {
        let child = ChildBytes {
            addr: entry.child.page.addr.as_u64().into(),
            rows: entry.child.rows.into(),
            crc: entry.child.page.crc.into(),
            flags: if entry.is_sparse { FLAG_SPARSE } else { 0 }.into(),
        };
        let child_at = children_at + size_of::<ChildBytes>() * index;
        page[child_at..child_at + size_of::<ChildBytes>()].copy_from_slice(child.as_bytes());
        let Some(separator) = index.checked_sub(1) else { continue };
        let suffix = &entry.separator[prefix.len()..];
        let head = key_head(suffix).to_le_bytes();
        page[heads_at + 4 * separator..heads_at + 4 * separator + 4].copy_from_slice(&head);
        let slot = (at as u16).to_le_bytes();
        page[slots_at + 2 * separator..slots_at + 2 * separator + 2].copy_from_slice(&slot);
        page[at..at + suffix.len()].copy_from_slice(suffix);
        at += suffix.len();
    }
    let header = PageHeader {
        kind: PageKind::Inner,
        level,
        count: count as u16,
        addr: stamp.addr,
        owner: stamp.owner,
        page_lsn: stamp.page_lsn,
        used_bytes: at as u32,
        prefix_len_bytes: prefix.len() as u32,
    };
    seal_page(page, &header)
}

/// Reads a validated inner node.
#[derive(Clone, Copy)]
pub struct Inner<'page> {
    page: &'page [u8],
    used_bytes: usize,
    prefix: &'page [u8],
    children: &'page [ChildBytes],
    heads: &'page [le::U32],
    slots: &'page [le::U16],
}

impl<'page> Inner<'page> {
    /// # Panics
    /// If the page was not validated, or is no inner node.
    #[must_use]
    pub fn new(page: &'page [u8]) -> Inner<'page> {
        let shape = shape(page, PageKind::Inner);
        let (prefix, rest) = page[PAGE_HEADER_BYTES..].split_at(shape.prefix_len);
        let (children, rest) = <[ChildBytes]>::ref_from_prefix_with_elems(rest, shape.count)
            .expect("INV-6: a validated node holds its children");
        let (heads, rest) = <[le::U32]>::ref_from_prefix_with_elems(rest, shape.count - 1)
            .expect("INV-6: a validated node holds its heads");
        let (slots, _) = <[le::U16]>::ref_from_prefix_with_elems(rest, shape.count - 1)
            .expect("INV-6: a validated node holds its slots");
        Inner { page, used_bytes: shape.used_bytes, prefix, children, heads, slots }
    }

    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an inner node is never empty")]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// The child at `index`.
    #[must_use]
    pub fn child(&self, index: usize) -> ChildRef {
        let bytes = &self.children[index];
        let page = PageRef { addr: PageAddr::new(bytes.addr.get()), crc: bytes.crc.get() };
        ChildRef { page, rows: bytes.rows.get() }
    }

    /// Whether the child at `index` is less than half full.
    #[must_use]
    pub fn is_sparse(&self, index: usize) -> bool {
        self.children[index].flags.get() & FLAG_SPARSE != 0
    }

    /// Rows of the children before `index`.
    #[must_use]
    pub fn rows_before(&self, index: usize) -> u64 {
        self.children[..index].iter().map(|child| child.rows.get()).sum()
    }

    /// What all separators begin with.
    #[must_use]
    pub fn prefix(&self) -> &'page [u8] {
        self.prefix
    }

    /// The separator before the child at `index` behind the common prefix.
    ///
    /// # Panics
    /// If `index` is 0: the first child has none.
    #[must_use]
    pub fn separator_suffix(&self, index: usize) -> &'page [u8] {
        let at = usize::from(self.slots[index - 1].get());
        let end = self.slots.get(index).map_or(self.used_bytes, |end| usize::from(end.get()));
        &self.page[at..end]
    }

    /// The whole separator before the child at `index`, which is not the first.
    #[must_use]
    pub fn separator(&self, index: usize) -> Vec<u8> {
        [self.prefix, self.separator_suffix(index)].concat()
    }

    /// The child whose range `key` lies in. Cost: O(log n).
    #[must_use]
    pub fn find(&self, key: &[u8]) -> usize {
        let (index, is_equal) =
            lower_bound(key, self.prefix, self.heads, |index| self.separator_suffix(index + 1));
        index + usize::from(is_equal)
    }

    /// The last child with keys below `key`, if any child may have one: the first otherwise.
    #[must_use]
    pub fn find_below(&self, key: &[u8]) -> usize {
        lower_bound(key, self.prefix, self.heads, |index| self.separator_suffix(index + 1)).0
    }
}
