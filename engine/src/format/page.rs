//! What every page of the data file begins with, and what a reference to a page carries.
//!
//! A parent stores its child's address and checksum, so a lost, stale or misdirected write is
//! found when the child is read, not only bit rot.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::checksum::crc32c_with_field_zeroed;
use super::disk_struct;
use crate::ids::{KeyspaceId, Lsn, PageAddr, StoreId, TabletId};
use crate::limits::{PAGE_SIZE_BYTES_MAX, PAGE_SIZE_BYTES_MIN};

/// Header of every page of a tree or space map, and of the first page of an overflow run.
pub const PAGE_HEADER_BYTES: usize = size_of::<PageHeaderBytes>();

const CRC_OFFSET: usize = core::mem::offset_of!(PageHeaderBytes, crc32c);

disk_struct! {
    /// Begins every page of a tablet; an overflow run has one, at its start.
    pub(super) struct PageHeaderBytes [64] {
        |  0 |  4 | crc32c: le::U32   |
            "CRC-32C over the page (an overflow run: over all of it), this field zeroed" |
        |  4 |  1 | kind: u8          | "1 leaf, 2 inner node, 3 overflow run, 4 space map" |
        |  5 |  1 | level: u8         | "0 for leaves and whatever is no node; else above them" |
        |  6 |  2 | count: le::U16    | "entries in the page" |
        |  8 |  8 | address: le::U64  | "the page's own number in the data file" |
        | 16 | 16 | store_id: [u8; 16] | "the store's id" |
        | 32 |  8 | page_lsn: le::U64 | "newest commit merged into the page" |
        | 40 |  4 | keyspace: le::U32 | "keyspace of the tablet that the page belongs to" |
        | 44 |  4 | tablet: le::U32   | "index of that tablet in its keyspace" |
        | 48 |  4 | used_bytes: le::U32 | "bytes in use from offset 0; the rest is zero" |
        | 52 |  4 | aux: le::U32      |
            "leaf and inner node: length of the common prefix; else 0" |
        | 56 |  8 | reserved: le::U64 | "written as zero, ignored by readers" |
    }
}

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PageKind {
    Leaf,
    Inner,
    Overflow,
    SpaceMap,
}

impl PageKind {
    const fn number(self) -> u8 {
        match self {
            PageKind::Leaf => 1,
            PageKind::Inner => 2,
            PageKind::Overflow => 3,
            PageKind::SpaceMap => 4,
        }
    }

    const fn from_number(number: u8) -> Option<PageKind> {
        match number {
            1 => Some(PageKind::Leaf),
            2 => Some(PageKind::Inner),
            3 => Some(PageKind::Overflow),
            4 => Some(PageKind::SpaceMap),
            _ => None,
        }
    }
}

/// A reference to a page: where it lies, and the checksum that it must have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PageRef {
    pub addr: PageAddr,
    pub crc: u32,
}

/// Whose pages these are: what the header of each of a tablet's pages must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageOwner {
    pub store_id: StoreId,
    pub tablet: TabletId,
}

/// A page's header as plain values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageHeader {
    pub kind: PageKind,
    pub level: u8,
    pub count: u16,
    pub addr: PageAddr,
    pub owner: PageOwner,
    pub page_lsn: Lsn,
    pub used_bytes: u32,
    pub prefix_len_bytes: u32,
}

/// Why bytes are not the page that a reference names.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PageError {
    #[error("{found} bytes are there, a page has {expected}")]
    Truncated { expected: usize, found: usize },
    #[error("checksum {found:#010x} of the content, its header says {expected:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error("checksum {found:#010x}, its reference expects {expected:#010x}: another version")]
    Reference { expected: u32, found: u32 },
    #[error("page kind {found}, expected {expected:?}")]
    Kind { expected: PageKind, found: u8 },
    #[error("the page says it is page {found}, expected {expected}")]
    Address { expected: PageAddr, found: PageAddr },
    #[error("page of store {found}, expected {expected}")]
    Store { expected: StoreId, found: StoreId },
    #[error("page of tablet {found:?}, expected {expected:?}")]
    Tablet { expected: TabletId, found: TabletId },
    #[error("{field}: expected {expected}, found {found}")]
    Field { field: &'static str, expected: String, found: u64 },
}

/// Whether a store's pages may have this size: 4, 8, 16 or 32 KiB.
#[must_use]
pub const fn is_page_size(page_size_bytes: u32) -> bool {
    page_size_bytes.is_power_of_two()
        && page_size_bytes >= PAGE_SIZE_BYTES_MIN
        && page_size_bytes <= PAGE_SIZE_BYTES_MAX
}

/// Writes the header over the start of `page`, then the checksum of all of it; returns that
/// checksum, which the parent stores. Cost: one pass over the page.
///
/// # Panics
/// If `page` is shorter than the header or than the bytes it claims to use.
pub fn seal_page(page: &mut [u8], header: &PageHeader) -> u32 {
    assert!(header.used_bytes as usize <= page.len(), "INV-6: a page uses what it has");
    let bytes = PageHeaderBytes {
        crc32c: 0.into(),
        kind: header.kind.number(),
        level: header.level,
        count: header.count.into(),
        address: header.addr.as_u64().into(),
        store_id: *header.owner.store_id.as_bytes(),
        page_lsn: header.page_lsn.as_u64().into(),
        keyspace: header.owner.tablet.keyspace.as_u32().into(),
        tablet: header.owner.tablet.index.into(),
        used_bytes: header.used_bytes.into(),
        aux: header.prefix_len_bytes.into(),
        reserved: 0.into(),
    };
    page[..PAGE_HEADER_BYTES].copy_from_slice(bytes.as_bytes());
    let crc = crc32c_with_field_zeroed(page, CRC_OFFSET);
    page[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Checks that `page` is whole, is what `reference` names, and belongs to `owner` (INV-6).
/// Cost: one pass over the page.
pub fn verify_page(
    page: &[u8],
    reference: PageRef,
    kind: Option<PageKind>,
    owner: &PageOwner,
) -> Result<PageHeader, PageError> {
    let Ok((bytes, _)) = PageHeaderBytes::ref_from_prefix(page) else {
        let (expected, found) = (PAGE_HEADER_BYTES, page.len());
        return Err(PageError::Truncated { expected, found });
    };
    let (expected, found) = (bytes.crc32c.get(), crc32c_with_field_zeroed(page, CRC_OFFSET));
    if expected != found {
        return Err(PageError::Checksum { expected, found });
    }
    if found != reference.crc {
        return Err(PageError::Reference { expected: reference.crc, found });
    }
    let header = bytes.to_header(kind.unwrap_or(PageKind::Leaf))?;
    check_identity(&header, reference.addr, kind, owner)?;
    if header.used_bytes as usize > page.len() {
        let expected = format!("at most {}", page.len());
        let found = header.used_bytes.into();
        return Err(PageError::Field { field: "used_bytes", expected, found });
    }
    Ok(header)
}

/// Reads the header without believing it: for tools that describe damaged pages.
#[must_use]
pub fn peek_page(page: &[u8]) -> Option<PageHeader> {
    let (bytes, _) = PageHeaderBytes::ref_from_prefix(page).ok()?;
    bytes.to_header(PageKind::Leaf).ok()
}

fn check_identity(
    header: &PageHeader,
    addr: PageAddr,
    kind: Option<PageKind>,
    owner: &PageOwner,
) -> Result<(), PageError> {
    if header.owner.store_id != owner.store_id {
        let (expected, found) = (owner.store_id, header.owner.store_id);
        return Err(PageError::Store { expected, found });
    }
    if header.addr != addr {
        return Err(PageError::Address { expected: addr, found: header.addr });
    }
    if header.owner.tablet != owner.tablet {
        let (expected, found) = (owner.tablet, header.owner.tablet);
        return Err(PageError::Tablet { expected, found });
    }
    match kind {
        Some(expected) if header.kind != expected => {
            Err(PageError::Kind { expected, found: header.kind.number() })
        }
        _ => Ok(()),
    }
}

impl PageHeaderBytes {
    fn to_header(&self, expected: PageKind) -> Result<PageHeader, PageError> {
        let kind = PageKind::from_number(self.kind)
            .ok_or(PageError::Kind { expected, found: self.kind })?;
        let keyspace = KeyspaceId::new(self.keyspace.get());
        Ok(PageHeader {
            kind,
            level: self.level,
            count: self.count.get(),
            addr: PageAddr::new(self.address.get()),
            owner: PageOwner {
                store_id: StoreId::from_bytes(self.store_id),
                tablet: TabletId { keyspace, index: self.tablet.get() },
            },
            page_lsn: Lsn::new(self.page_lsn.get()),
            used_bytes: self.used_bytes.get(),
            prefix_len_bytes: self.aux.get(),
        })
    }
}

/// The checksum that a sealed page carries: what a reference to it must expect.
#[must_use]
pub fn sealed_crc(page: &[u8]) -> u32 {
    let (header, _) = PageHeaderBytes::ref_from_prefix(page).expect("INV-6: a page has its header");
    header.crc32c.get()
}
