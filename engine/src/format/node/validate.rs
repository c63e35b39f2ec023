//! The one look at a loaded node that every later reader relies on.

use thiserror::Error;
use zerocopy::{FromBytes, byteorder::little_endian as le};

use super::inner::FLAG_SPARSE;
use super::leaf::{CELL_HEAD_BYTES, INLINE, OVERFLOW};
use super::{CellHeadBytes, ChildBytes, key_head, must_overflow};
use crate::format::overflow::{OVERFLOW_REF_BYTES, OverflowRef, overflow_pages};
use crate::format::page::{PAGE_HEADER_BYTES, PageHeader, PageKind, is_page_size};
use crate::limits::{OVERFLOW_VALUE_BYTES_MAX, TREE_LEVEL_MAX, WINDOW_KEY_BYTES_MAX};

/// Why a page with a right checksum is no node that can be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NodeError {
    #[error("a page of kind {found:?}, expected a node of a tree")]
    Kind { found: PageKind },
    #[error("{field}: expected {expected}, found {found}")]
    Field { field: &'static str, expected: String, found: u64 },
    #[error("entry {index}: {field}: expected {expected}, found {found}")]
    Entry { index: usize, field: &'static str, expected: String, found: u64 },
    #[error("entry {index}: its key is not above the one before")]
    Order { index: usize },
}

type Checked = Result<(), NodeError>;

/// Checks the whole structure of a node whose checksum holds: offsets, lengths, order, heads,
/// counts. The readers of leaves and inner nodes rely on it. Cost: one pass over the entries.
pub fn validate_node(page: &[u8], header: &PageHeader) -> Checked {
    let used = header.used_bytes as usize;
    let page_size = u32::try_from(page.len()).unwrap_or(0);
    expect(is_page_size(page_size), "page", "a page size", page.len())?;
    expect((PAGE_HEADER_BYTES..=page.len()).contains(&used), "used_bytes", "within page", used)?;
    expect(header.count > 0, "count", "at least 1", 0)?;
    let prefix_len = header.prefix_len_bytes as usize;
    expect(prefix_len <= WINDOW_KEY_BYTES_MAX, "prefix", "no longer than a key", prefix_len)?;
    match header.kind {
        PageKind::Leaf => {
            expect(header.level == 0, "level", "0 for a leaf", header.level.into())?;
            validate_leaf(&page[..used], prefix_len, header.count.into(), page.len())
        }
        PageKind::Inner => {
            let level = header.level;
            let is_inner = (1..=TREE_LEVEL_MAX).contains(&level);
            expect(is_inner, "level", "that of an inner node", level.into())?;
            validate_inner(&page[..used], prefix_len, header.count.into())
        }
        found => Err(NodeError::Kind { found }),
    }
}

fn expect(holds: bool, field: &'static str, expected: &str, found: usize) -> Checked {
    if holds {
        return Ok(());
    }
    Err(NodeError::Field { field, expected: expected.to_owned(), found: found as u64 })
}

fn expect_in(
    index: usize,
    holds: bool,
    field: &'static str,
    expected: &str,
    found: u64,
) -> Checked {
    if holds {
        return Ok(());
    }
    Err(NodeError::Entry { index, field, expected: expected.to_owned(), found })
}

/// Checks a head and the order of a key behind the common prefix.
fn check_key(index: usize, head: le::U32, suffix: &[u8], before: Option<&[u8]>) -> Checked {
    let found = head.get();
    expect_in(index, found == key_head(suffix), "head", "first bytes of the key", found.into())?;
    match before {
        Some(before) if before >= suffix => Err(NodeError::Order { index }),
        _ => Ok(()),
    }
}

/// `used` is the part of the page in use.
fn validate_leaf(used: &[u8], prefix_len: usize, count: usize, page_size: usize) -> Checked {
    let arrays_at = PAGE_HEADER_BYTES + prefix_len;
    let cells_at = arrays_at + 6 * count;
    expect(cells_at <= used.len(), "used_bytes", "room for prefix, heads and slots", used.len())?;
    let too_short = |_| NodeError::Field {
        field: "used_bytes",
        expected: "room for heads and slots".to_owned(),
        found: used.len() as u64,
    };
    let (heads, rest) = <[le::U32]>::ref_from_prefix_with_elems(&used[arrays_at..], count)
        .map_err(|_| too_short(()))?;
    let (slots, _) =
        <[le::U16]>::ref_from_prefix_with_elems(rest, count).map_err(|_| too_short(()))?;
    let (mut at, mut before) = (cells_at, None);
    for (index, (head, slot)) in heads.iter().zip(slots).enumerate() {
        let found = slot.get();
        expect_in(index, usize::from(found) == at, "slot", "the cell's place", found.into())?;
        let (suffix, end) = check_cell(used, at, index, prefix_len)?;
        let stored = end - at - CELL_HEAD_BYTES - suffix.len();
        let is_small = !must_overflow(prefix_len + suffix.len(), stored, page_size);
        expect_in(index, is_small, "size", "at most a third of a page", (end - at) as u64)?;
        check_overflow(used, at, index, page_size)?;
        check_key(index, *head, suffix, before)?;
        (at, before) = (end, Some(suffix));
    }
    expect(at == used.len(), "used_bytes", "the end of the last cell", used.len())
}

/// The key's rest and the end of the cell at `at`.
fn check_cell(
    used: &[u8],
    at: usize,
    index: usize,
    prefix_len: usize,
) -> Result<(&[u8], usize), NodeError> {
    let rest = used.get(at..).unwrap_or_default();
    let Ok((head, body)) = CellHeadBytes::ref_from_prefix(rest) else {
        expect_in(index, false, "cell", "room for its head", rest.len() as u64)?;
        return Err(NodeError::Order { index });
    };
    let suffix_len = usize::from(head.suffix_len.get());
    let key_len = prefix_len + suffix_len;
    let is_key = (1..=WINDOW_KEY_BYTES_MAX).contains(&key_len);
    expect_in(index, is_key, "key length", "that of a key", key_len as u64)?;
    let is_kind = head.kind == INLINE || head.kind == OVERFLOW;
    expect_in(index, is_kind, "kind", "0 or 1", head.kind.into())?;
    expect_in(index, head.reserved == 0, "reserved", "0", head.reserved.into())?;
    let value_len = head.value_len.get() as usize;
    let stored = if head.kind == INLINE { value_len } else { OVERFLOW_REF_BYTES };
    let fits = suffix_len + stored <= body.len();
    expect_in(index, fits, "length", "within the bytes in use", value_len as u64)?;
    Ok((&body[..suffix_len], at + CELL_HEAD_BYTES + suffix_len + stored))
}

/// Checks the reference of a cell whose lengths hold, if it has one.
fn check_overflow(used: &[u8], at: usize, index: usize, page_size: usize) -> Checked {
    let Ok((head, body)) = CellHeadBytes::ref_from_prefix(&used[at..]) else { return Ok(()) };
    if head.kind != OVERFLOW {
        return Ok(());
    }
    let value_len = head.value_len.get();
    let reference = &body[usize::from(head.suffix_len.get())..];
    let Some(reference) = OverflowRef::decode(reference, value_len) else { return Ok(()) };
    let is_legal = value_len as usize <= OVERFLOW_VALUE_BYTES_MAX;
    expect_in(index, is_legal, "value length", "that of a value", value_len.into())?;
    let pages = overflow_pages(value_len as usize, page_size);
    let found = reference.pages;
    expect_in(index, found == pages, "run", "the pages its value needs", found.into())?;
    let first = reference.addr.as_u64();
    // No file reaches further; whoever steps through the run counts on that.
    let end_max = i64::MAX as u64 / page_size as u64;
    let is_in_reach =
        first != 0 && first.checked_add(pages.into()).is_some_and(|end| end <= end_max);
    expect_in(index, is_in_reach, "run address", "one that a file can reach, not 0", first)
}

/// `used` is the part of the page in use.
fn validate_inner(used: &[u8], prefix_len: usize, count: usize) -> Checked {
    let too_short = |_| NodeError::Field {
        field: "used_bytes",
        expected: "room for prefix, children, heads and slots".to_owned(),
        found: used.len() as u64,
    };
    let rest = used.get(PAGE_HEADER_BYTES + prefix_len..).ok_or_else(|| too_short(()))?;
    let (children, rest) =
        <[ChildBytes]>::ref_from_prefix_with_elems(rest, count).map_err(|_| too_short(()))?;
    let (heads, rest) =
        <[le::U32]>::ref_from_prefix_with_elems(rest, count - 1).map_err(|_| too_short(()))?;
    let (slots, rest) =
        <[le::U16]>::ref_from_prefix_with_elems(rest, count - 1).map_err(|_| too_short(()))?;
    check_children(children)?;
    let (mut at, mut before) = (used.len() - rest.len(), None);
    for (index, (head, slot)) in heads.iter().zip(slots).enumerate() {
        let found = slot.get();
        expect_in(index, usize::from(found) == at, "slot", "where the last ended", found.into())?;
        let end = slots.get(index + 1).map_or(used.len(), |end| usize::from(end.get()));
        let Some(suffix) = used.get(at..end) else {
            return expect_in(index, false, "separator", "within the bytes in use", end as u64);
        };
        let key_len = prefix_len + suffix.len();
        let is_key = (1..=WINDOW_KEY_BYTES_MAX).contains(&key_len);
        expect_in(index, is_key, "separator length", "that of a key", key_len as u64)?;
        check_key(index, *head, suffix, before)?;
        (at, before) = (end, Some(suffix));
    }
    expect(count > 1 || prefix_len == 0, "prefix", "none without a separator", prefix_len)?;
    expect(at == used.len(), "used_bytes", "the end of the last separator", used.len())
}

fn check_children(children: &[ChildBytes]) -> Checked {
    let mut sum = 0_u64;
    for (index, child) in children.iter().enumerate() {
        expect_in(index, child.addr.get() != 0, "child address", "not 0", 0)?;
        expect_in(index, child.rows.get() != 0, "rows", "at least 1", 0)?;
        let flags = child.flags.get();
        expect_in(index, flags & !FLAG_SPARSE == 0, "flags", "known ones", flags.into())?;
        let rows = child.rows.get();
        let Some(total) = sum.checked_add(rows) else {
            return expect_in(index, false, "rows", "a sum below 2^64", rows);
        };
        sum = total;
    }
    Ok(())
}
