//! The space map of one tablet's root: which pages of which extents that root reaches.
//!
//! A chain of pages, each naming the next by address and checksum, so that a map is verified
//! like a tree: from its first page on, nothing in it can be another version. The map's own
//! pages are in it.

#[cfg(test)]
mod tests;

use std::ops::Range;

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::disk_struct;
use super::page::{
    PAGE_HEADER_BYTES, PageError, PageHeader, PageKind, PageOwner, PageRef, seal_page, verify_page,
};
use crate::ids::{Lsn, PageAddr};
use crate::limits::EXTENT_BYTES;

const HEAD_BYTES: usize = size_of::<SpaceMapHeadBytes>();
const ENTRY_BYTES: usize = size_of::<SpaceMapEntryBytes>();
const ENTRIES_OFFSET: usize = PAGE_HEADER_BYTES + HEAD_BYTES;

disk_struct! {
    /// Behind the header of each page of a space map; its entries follow.
    pub(super) struct SpaceMapHeadBytes [16] {
        |  0 | 8 | next_addr: le::U64 | "number of the map's next page, 0 = this is the last" |
        |  8 | 4 | next_crc: le::U32  | "CRC-32C that the next page must have; 0 without one" |
        | 12 | 4 | index: le::U32     | "place of the page in its map, from 0" |
    }
}

disk_struct! {
    /// One extent of the tablet.
    pub(super) struct SpaceMapEntryBytes [12] {
        |  0 | 4 | extent: le::U32 | "number of the extent; ascending over the whole map" |
        |  4 | 8 | live: le::U64   |
            "bit i is set when the root reaches page i of the extent; never 0" |
    }
}

/// An extent and its pages that a root reaches, bit i for page i.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceMapEntry {
    pub extent: u32,
    pub live: u64,
}

/// A whole map, verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpaceMap {
    /// Strictly ascending by extent.
    pub entries: Vec<SpaceMapEntry>,
    /// The pages that hold the map, in the order of the chain.
    pub pages: Vec<PageAddr>,
}

impl SpaceMap {
    /// Pages that the root reaches, the map's own included.
    #[must_use]
    pub fn live_pages(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.live.count_ones())).sum()
    }
}

/// What all pages of a map share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceMapIdentity {
    pub owner: PageOwner,
    pub page_size_bytes: u32,
}

/// What a map must agree with: the row that names it, and the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpaceMapBounds {
    /// Extents that tablets may own.
    pub extents: Range<u32>,
    pub map_pages: u32,
    pub live_pages: u64,
}

/// Why pages are not the map that a row of the root table names.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SpaceMapError {
    #[error("space map page {page}: {source}")]
    Page { page: PageAddr, source: PageError },
    #[error("space map page {page}: {field}: expected {expected}, found {found}")]
    Field { page: PageAddr, field: &'static str, expected: String, found: u64 },
    #[error("space map page {page} is not among the pages that the map calls in use")]
    NotInItself { page: PageAddr },
    #[error("space map: {field}: expected {expected}, found {found}")]
    Whole { field: &'static str, expected: u64, found: u64 },
}

/// Pages of one extent, at most 64.
#[must_use]
pub const fn pages_per_extent(page_size_bytes: u32) -> u32 {
    (EXTENT_BYTES / page_size_bytes as u64) as u32
}

/// The bitmap of an extent whose pages are all in use.
#[must_use]
pub const fn full_extent(page_size_bytes: u32) -> u64 {
    u64::MAX >> (64 - pages_per_extent(page_size_bytes))
}

/// The extent that holds the page, and the page's place in it. `None` beyond the last extent
/// that has a number.
#[must_use]
pub fn extent_of(addr: PageAddr, page_size_bytes: u32) -> Option<(u32, u32)> {
    let pages = u64::from(pages_per_extent(page_size_bytes));
    let extent = u32::try_from(addr.as_u64() / pages).ok()?;
    Some((extent, (addr.as_u64() % pages) as u32))
}

/// The page at `place` of an extent.
#[must_use]
pub const fn page_of(extent: u32, place: u32, page_size_bytes: u32) -> PageAddr {
    PageAddr::new(extent as u64 * pages_per_extent(page_size_bytes) as u64 + place as u64)
}

/// Entries that one page of a map holds.
#[must_use]
pub const fn entries_per_page(page_size_bytes: u32) -> usize {
    (page_size_bytes as usize - ENTRIES_OFFSET) / ENTRY_BYTES
}

/// Pages that a map of so many entries takes.
#[must_use]
pub const fn map_page_count(entries: usize, page_size_bytes: u32) -> usize {
    entries.div_ceil(entries_per_page(page_size_bytes))
}

/// Writes a map over the pages at `addrs`; returns the reference to the first and each page's
/// bytes. Pages are sealed last to first, since each names the next by its checksum.
///
/// # Panics
/// If the number of pages is not the one that the entries need, or an entry breaks its rule.
#[must_use]
pub fn encode_space_map(
    entries: &[SpaceMapEntry],
    addrs: &[PageAddr],
    identity: &SpaceMapIdentity,
    page_lsn: Lsn,
) -> (PageRef, Vec<(PageAddr, Vec<u8>)>) {
    let page_size_bytes = identity.page_size_bytes;
    let needed = map_page_count(entries.len(), page_size_bytes);
    assert!(needed > 0 && addrs.len() == needed, "INV-6: {needed} pages, {} given", addrs.len());
    let is_ordered = entries.windows(2).all(|pair| pair[0].extent < pair[1].extent);
    assert!(is_ordered, "INV-6: a space map is written in ascending order");
    let full = full_extent(page_size_bytes);
    let is_sound = entries.iter().all(|entry| entry.live != 0 && entry.live & !full == 0);
    assert!(is_sound, "INV-6: a space map names only extents and pages in use");
    let chunks = entries.chunks(entries_per_page(page_size_bytes));
    let mut next: Option<PageRef> = None;
    let mut pages = Vec::with_capacity(needed);
    for (index, (chunk, &addr)) in chunks.zip(addrs).enumerate().rev() {
        let mut page = vec![0; page_size_bytes as usize];
        let head = SpaceMapHeadBytes {
            next_addr: next.map_or(0, |next| next.addr.as_u64()).into(),
            next_crc: next.map_or(0, |next| next.crc).into(),
            index: (index as u32).into(),
        };
        page[PAGE_HEADER_BYTES..ENTRIES_OFFSET].copy_from_slice(head.as_bytes());
        let rooms = page[ENTRIES_OFFSET..].chunks_exact_mut(ENTRY_BYTES);
        for (room, entry) in rooms.zip(chunk) {
            let bytes = SpaceMapEntryBytes { extent: entry.extent.into(), live: entry.live.into() };
            room.copy_from_slice(bytes.as_bytes());
        }
        let header = PageHeader {
            kind: PageKind::SpaceMap,
            level: 0,
            count: chunk.len() as u16,
            addr,
            owner: identity.owner,
            page_lsn,
            used_bytes: (ENTRIES_OFFSET + chunk.len() * ENTRY_BYTES) as u32,
            prefix_len_bytes: 0,
        };
        let crc = seal_page(&mut page, &header);
        next = Some(PageRef { addr, crc });
        pages.push((addr, page));
    }
    pages.reverse();
    (next.expect("INV-6: a map has at least one page"), pages)
}

/// Reads a map page by page: fetch what [`SpaceMapDecoder::wanted`] names, push it, and finish.
#[derive(Debug)]
pub struct SpaceMapDecoder {
    identity: SpaceMapIdentity,
    bounds: SpaceMapBounds,
    wanted: Option<PageRef>,
    map: SpaceMap,
}

impl SpaceMapDecoder {
    #[must_use]
    pub fn new(
        first: PageRef,
        identity: SpaceMapIdentity,
        bounds: SpaceMapBounds,
    ) -> SpaceMapDecoder {
        let map = SpaceMap { entries: Vec::new(), pages: Vec::new() };
        SpaceMapDecoder { identity, bounds, wanted: Some(first), map }
    }

    /// The page to push next; `None` when the map is complete.
    #[must_use]
    pub fn wanted(&self) -> Option<PageRef> {
        self.wanted
    }

    /// Takes the page that is wanted. The chain cannot be longer than its row says.
    ///
    /// # Panics
    /// If no page is wanted.
    pub fn push(&mut self, page: &[u8]) -> Result<(), SpaceMapError> {
        let reference = self.wanted.expect("INV-6: pushed only while a page is wanted");
        let addr = reference.addr;
        let expected = self.identity.page_size_bytes as usize;
        if page.len() != expected {
            let source = PageError::Truncated { expected, found: page.len() };
            return Err(SpaceMapError::Page { page: addr, source });
        }
        let header = verify_page(page, reference, Some(PageKind::SpaceMap), &self.identity.owner)
            .map_err(|source| SpaceMapError::Page { page: addr, source })?;
        let count = usize::from(header.count);
        let count_max = entries_per_page(self.identity.page_size_bytes);
        if count == 0 || count > count_max {
            return Err(field(addr, "count", format!("1 to {count_max}"), count as u64));
        }
        let used_bytes = ENTRIES_OFFSET + count * ENTRY_BYTES;
        if header.used_bytes as usize != used_bytes {
            let found = header.used_bytes.into();
            return Err(field(addr, "used_bytes", used_bytes.to_string(), found));
        }
        let (head, entries) = SpaceMapHeadBytes::ref_from_prefix(&page[PAGE_HEADER_BYTES..])
            .expect("INV-6: the length was checked");
        self.push_head(addr, head)?;
        for bytes in entries.chunks_exact(ENTRY_BYTES).take(count) {
            let entry = SpaceMapEntryBytes::ref_from_bytes(bytes)
                .expect("INV-6: chunks have the entry's length");
            let entry = SpaceMapEntry { extent: entry.extent.get(), live: entry.live.get() };
            self.push_entry(addr, entry)?;
        }
        Ok(())
    }

    fn push_head(&mut self, addr: PageAddr, head: &SpaceMapHeadBytes) -> Result<(), SpaceMapError> {
        let index = self.map.pages.len() as u32;
        if head.index.get() != index {
            return Err(field(addr, "index", index.to_string(), head.index.get().into()));
        }
        self.map.pages.push(addr);
        let next = PageRef { addr: PageAddr::new(head.next_addr.get()), crc: head.next_crc.get() };
        self.wanted = match next {
            PageRef { addr: none, crc: 0 } if none.as_u64() == 0 => None,
            PageRef { addr: none, crc } if none.as_u64() == 0 => {
                return Err(field(addr, "next_crc", "0".to_owned(), crc.into()));
            }
            next => Some(next),
        };
        if self.wanted.is_some() && index + 1 >= self.bounds.map_pages {
            let expected = format!("0 after {} pages", self.bounds.map_pages);
            return Err(field(addr, "next_addr", expected, next.addr.as_u64()));
        }
        Ok(())
    }

    fn push_entry(&mut self, addr: PageAddr, entry: SpaceMapEntry) -> Result<(), SpaceMapError> {
        let Range { start, end } = self.bounds.extents;
        let after = self.map.entries.last().map_or(start, |last| last.extent.saturating_add(1));
        if entry.extent < after || entry.extent >= end {
            let expected = format!("{after} to below {end}");
            return Err(field(addr, "extent", expected, entry.extent.into()));
        }
        let full = full_extent(self.identity.page_size_bytes);
        if entry.live == 0 || entry.live & !full != 0 {
            return Err(field(addr, "live", format!("some bits of {full:#x}"), entry.live));
        }
        self.map.entries.push(entry);
        Ok(())
    }

    /// The whole map, which must hold its own pages and as many as its row says.
    ///
    /// # Panics
    /// If a page is still wanted.
    pub fn finish(self) -> Result<SpaceMap, SpaceMapError> {
        assert!(self.wanted.is_none(), "INV-6: a map is believed only when it is complete");
        let map = self.map;
        let (expected, found) = (u64::from(self.bounds.map_pages), map.pages.len() as u64);
        if expected != found {
            return Err(SpaceMapError::Whole { field: "map_pages", expected, found });
        }
        let (expected, found) = (self.bounds.live_pages, map.live_pages());
        if expected != found {
            return Err(SpaceMapError::Whole { field: "live_pages", expected, found });
        }
        let page_size_bytes = self.identity.page_size_bytes;
        for &page in &map.pages {
            let holds = |(extent, place): (u32, u32)| {
                let at = map.entries.binary_search_by_key(&extent, |entry| entry.extent);
                at.is_ok_and(|at| map.entries[at].live >> place & 1 == 1)
            };
            if !extent_of(page, page_size_bytes).is_some_and(holds) {
                return Err(SpaceMapError::NotInItself { page });
            }
        }
        Ok(map)
    }
}

/// One page of a map without the pages before it: for tools that describe pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpaceMapPage {
    /// Place of the page in its map.
    pub index: u32,
    pub next: Option<PageRef>,
    pub entries: Vec<SpaceMapEntry>,
}

/// Reads a page whose header says that it is one of a space map; `None` if the count in the
/// header does not fit into the page.
#[must_use]
pub fn peek_map_page(page: &[u8], header: &PageHeader) -> Option<SpaceMapPage> {
    let count = usize::from(header.count);
    let entries = page.get(ENTRIES_OFFSET..ENTRIES_OFFSET + count * ENTRY_BYTES)?;
    let (head, _) = SpaceMapHeadBytes::ref_from_prefix(&page[PAGE_HEADER_BYTES..]).ok()?;
    let next = PageRef { addr: PageAddr::new(head.next_addr.get()), crc: head.next_crc.get() };
    let entries = entries.chunks_exact(ENTRY_BYTES).filter_map(|bytes| {
        let entry = SpaceMapEntryBytes::ref_from_bytes(bytes).ok()?;
        Some(SpaceMapEntry { extent: entry.extent.get(), live: entry.live.get() })
    });
    Some(SpaceMapPage {
        index: head.index.get(),
        next: (next.addr.as_u64() != 0).then_some(next),
        entries: entries.collect(),
    })
}

fn field(page: PageAddr, field: &'static str, expected: String, found: u64) -> SpaceMapError {
    SpaceMapError::Field { page, field, expected, found }
}
