//! The root table: slots of rows at the start of the data file, each slot in two copies.
//!
//! Pages of the root table have 4096 bytes whatever the size of the tree's pages. A row says
//! where a tablet's tree and space map begin, what a keyspace is, or how far the catalog got.

mod rows;

#[cfg(test)]
mod tests;

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::checksum::crc32c_with_field_zeroed;
use super::{FORMAT_VERSION, disk_struct};
use crate::ids::StoreId;
use crate::limits::{EXTENT_BYTES, ROOT_SLOTS};

pub use rows::{CatalogRow, KeyspaceRow, RootRow, RowKey, RowRouting, TabletRow, TabletSpace};
pub(super) use rows::{CatalogRowBytes, KeyspaceRowBytes, TabletRowBytes};

/// First bytes of a root page.
pub const ROOT_PAGE_MAGIC: [u8; 8] = *b"SOMBRART";
/// Size of a root page.
pub const ROOT_PAGE_BYTES: usize = 4096;
/// Rows of one root page, together.
pub const ROOT_ROWS_BYTES: usize = ROOT_PAGE_BYTES - HEAD_BYTES;
/// One copy of the root table; copy A begins the data file, copy B follows.
pub const ROOT_COPY_BYTES: u64 = ROOT_SLOTS as u64 * ROOT_PAGE_BYTES as u64;
/// The root table: extents from 0 to below this one.
pub const ROOT_EXTENTS: u32 = (2 * ROOT_COPY_BYTES / EXTENT_BYTES) as u32;

const HEAD_BYTES: usize = size_of::<RootPageBytes>();
const CRC_OFFSET: usize = core::mem::offset_of!(RootPageBytes, crc32c);

// The copies lie in different extents, and rules below name this bound.
const _: () = assert!(ROOT_COPY_BYTES.is_multiple_of(EXTENT_BYTES) && ROOT_SLOTS == 256);

disk_struct! {
    /// Begins each page of the root table; its rows follow.
    pub(super) struct RootPageBytes [64] {
        |  0 |  8 | magic: [u8; 8]          | "the letters `SOMBRART`" |
        |  8 |  4 | format_version: le::U32 | "1; any other is refused" |
        | 12 |  4 | crc32c: le::U32         | "CRC-32C over the whole page, this field zeroed" |
        | 16 | 16 | store_id: [u8; 16]      | "the store's id" |
        | 32 |  8 | generation: le::U64     |
            "from 1, one more with each write of the slot; the higher valid copy counts" |
        | 40 |  4 | slot: le::U32           | "the slot, below 256" |
        | 44 |  2 | copy: le::U16           | "1 copy A, 2 copy B" |
        | 46 |  2 | row_count: le::U16      | "rows in the page, ascending by kind and identity" |
        | 48 |  4 | used_bytes: le::U32     | "bytes in use from offset 0; the rest is zero" |
        | 52 | 12 | reserved: [u8; 12]      | "written as zero, ignored by readers" |
    }
}

/// Which of a slot's two pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RootCopy {
    A,
    B,
}

impl RootCopy {
    pub const BOTH: [RootCopy; 2] = [RootCopy::A, RootCopy::B];

    #[must_use]
    pub const fn other(self) -> RootCopy {
        match self {
            RootCopy::A => RootCopy::B,
            RootCopy::B => RootCopy::A,
        }
    }

    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            RootCopy::A => 0,
            RootCopy::B => 1,
        }
    }
}

/// Where a root page belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootPlace {
    pub slot: u32,
    pub copy: RootCopy,
}

impl RootPlace {
    /// Where the page begins in the data file.
    #[must_use]
    pub const fn offset_bytes(self) -> u64 {
        let copy = self.copy.index() as u64 * ROOT_COPY_BYTES;
        copy + self.slot as u64 * ROOT_PAGE_BYTES as u64
    }
}

/// The content of one copy of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootPage {
    pub generation: u64,
    /// Strictly ascending by [`RootRow::key`].
    pub rows: Vec<RootRow>,
}

/// Why bytes are not the root page that belongs to their place.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RootPageError {
    #[error("{found} bytes are there, a root page has 4096")]
    Truncated { found: usize },
    #[error("not a root page: it begins with {found:02x?}, expected \"SOMBRART\"")]
    NotARootPage { found: [u8; 8] },
    #[error("checksum {found:#010x} of the content, its header says {expected:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error(
        "root page of format version {found}, this build reads version {expected}: \
         open it with the version that wrote it"
    )]
    UnknownVersion { expected: u32, found: u32 },
    #[error("root page of store {found}, expected {expected}")]
    Store { expected: StoreId, found: StoreId },
    #[error("{field}: expected {expected}, found {found}")]
    Field { field: &'static str, expected: String, found: u64 },
    #[error("row {index}: {field}: expected {expected}, found {found}")]
    Row { index: usize, field: &'static str, expected: String, found: u64 },
}

impl RootPageError {
    /// Whether the page is whole, only not for this build: it must not be passed over for its
    /// twin, since a newer build may have gone on from it.
    #[must_use]
    pub fn is_intact_page(&self) -> bool {
        matches!(self, RootPageError::UnknownVersion { .. })
    }
}

impl RootPage {
    /// The page as it is written at `place`.
    ///
    /// # Panics
    /// When a row breaks its rule or the rows do not fit: what is written must be readable.
    #[must_use]
    pub fn encode(&self, store_id: StoreId, place: RootPlace) -> [u8; ROOT_PAGE_BYTES] {
        assert!(self.generation > 0 && place.slot < ROOT_SLOTS, "INV-6: {place:?}");
        let is_ordered = self.rows.windows(2).all(|pair| pair[0].key() < pair[1].key());
        assert!(is_ordered, "INV-6: rows are written in ascending order, each once");
        let mut page = [0; ROOT_PAGE_BYTES];
        let mut used_bytes = HEAD_BYTES;
        for row in &self.rows {
            let fault = row.fault();
            assert!(fault.is_none(), "INV-6: {row:?}: {fault:?}");
            let end = used_bytes + row.size_bytes();
            assert!(end <= ROOT_PAGE_BYTES, "INV-9: rows of {end} bytes in one root page");
            row.encode(&mut page[used_bytes..end]);
            used_bytes = end;
        }
        let head = RootPageBytes {
            magic: ROOT_PAGE_MAGIC,
            format_version: FORMAT_VERSION.into(),
            crc32c: 0.into(),
            store_id: *store_id.as_bytes(),
            generation: self.generation.into(),
            slot: place.slot.into(),
            copy: copy_number(place.copy).into(),
            row_count: (self.rows.len() as u16).into(),
            used_bytes: (used_bytes as u32).into(),
            reserved: [0; 12],
        };
        page[..HEAD_BYTES].copy_from_slice(head.as_bytes());
        let crc = crc32c_with_field_zeroed(&page, CRC_OFFSET);
        page[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads the page at `place`; `None` when it was never written: it is all zero.
    pub fn decode(
        bytes: &[u8],
        store_id: StoreId,
        place: RootPlace,
    ) -> Result<Option<RootPage>, RootPageError> {
        let Some(page) = bytes.get(..ROOT_PAGE_BYTES) else {
            return Err(RootPageError::Truncated { found: bytes.len() });
        };
        let (head, rows) = RootPageBytes::ref_from_prefix(page).expect("INV-6: checked above");
        if head.magic != ROOT_PAGE_MAGIC {
            return match *page == [0; ROOT_PAGE_BYTES] {
                true => Ok(None),
                false => Err(RootPageError::NotARootPage { found: head.magic }),
            };
        }
        let (expected, found) = (head.crc32c.get(), crc32c_with_field_zeroed(page, CRC_OFFSET));
        if expected != found {
            return Err(RootPageError::Checksum { expected, found });
        }
        let found = head.format_version.get();
        if found != FORMAT_VERSION {
            return Err(RootPageError::UnknownVersion { expected: FORMAT_VERSION, found });
        }
        head.check_identity(store_id, place)?;
        let used_bytes = head.used_bytes.get() as usize;
        if !(HEAD_BYTES..=ROOT_PAGE_BYTES).contains(&used_bytes) {
            let expected = format!("{HEAD_BYTES} to {ROOT_PAGE_BYTES}");
            return Err(page_field("used_bytes", expected, used_bytes as u64));
        }
        let rows = decode_rows(&rows[..used_bytes - HEAD_BYTES], head.row_count.get())?;
        Ok(Some(RootPage { generation: head.generation.get(), rows }))
    }
}

impl RootPageBytes {
    fn check_identity(&self, store_id: StoreId, place: RootPlace) -> Result<(), RootPageError> {
        let found = StoreId::from_bytes(self.store_id);
        if found != store_id {
            return Err(RootPageError::Store { expected: store_id, found });
        }
        if self.slot.get() != place.slot {
            return Err(page_field("slot", place.slot.to_string(), self.slot.get().into()));
        }
        let expected = copy_number(place.copy);
        if self.copy.get() != expected {
            return Err(page_field("copy", expected.to_string(), self.copy.get().into()));
        }
        match self.generation.get() {
            0 => Err(page_field("generation", "1 or more".to_owned(), 0)),
            _ => Ok(()),
        }
    }
}

fn decode_rows(mut bytes: &[u8], row_count: u16) -> Result<Vec<RootRow>, RootPageError> {
    let mut rows: Vec<RootRow> = Vec::new();
    for index in 0..usize::from(row_count) {
        let (row, rest) = RootRow::decode(bytes, index)?;
        if rows.last().is_some_and(|before| before.key() >= row.key()) {
            let expected = "above the row before it".to_owned();
            let found = index as u64;
            return Err(RootPageError::Row { index, field: "order", expected, found });
        }
        rows.push(row);
        bytes = rest;
    }
    if !bytes.is_empty() {
        let expected = format!("rows that fill the bytes used, {} are left", bytes.len());
        return Err(page_field("row_count", expected, row_count.into()));
    }
    Ok(rows)
}

fn page_field(field: &'static str, expected: String, found: u64) -> RootPageError {
    RootPageError::Field { field, expected, found }
}

const fn copy_number(copy: RootCopy) -> u16 {
    match copy {
        RootCopy::A => 1,
        RootCopy::B => 2,
    }
}
