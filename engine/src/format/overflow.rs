//! Values too large for a leaf: one contiguous run of pages each.
//!
//! Knows the run's bytes and the reference that a leaf keeps. Must never know where runs come
//! from or who reads them.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::disk_struct;
use super::node::NodeStamp;
use super::page::{
    PAGE_HEADER_BYTES, PageError, PageHeader, PageKind, PageOwner, PageRef, seal_page, verify_page,
};
use crate::ids::PageAddr;
use crate::limits::OVERFLOW_VALUE_BYTES_MAX;

/// What a leaf keeps of a value that lies in a run.
pub(crate) const OVERFLOW_REF_BYTES: usize = size_of::<OverflowRefBytes>();

disk_struct! {
    /// Stands in a leaf's cell in place of the value; the cell says the value's length.
    pub(in crate::format) struct OverflowRefBytes [16] {
        | 0 | 8 | addr: le::U64  | "first page of the run, never 0" |
        | 8 | 4 | pages: le::U32 | "pages of the run: header and value, rounded up" |
        | 12 | 4 | crc: le::U32  | "checksum that the run's header must have" |
    }
}

/// A reference to a run: where it lies, what it must be, and how long its value is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OverflowRef {
    pub addr: PageAddr,
    pub pages: u32,
    pub crc: u32,
    pub value_len: u32,
}

/// Why bytes are not the run that a reference names.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OverflowError {
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("run: expected {expected} bytes in use, found {found}")]
    Length { expected: u64, found: u64 },
}

/// Pages of the run that holds a value of `value_len_bytes`.
#[must_use]
pub const fn overflow_pages(value_len_bytes: usize, page_size_bytes: usize) -> u32 {
    (PAGE_HEADER_BYTES + value_len_bytes).div_ceil(page_size_bytes) as u32
}

/// Fills the zeroed `run` with `value` and seals it.
///
/// # Panics
/// If the run is not whole pages that hold exactly this value (INV-6), or the value is too long
/// (INV-9).
pub fn encode_overflow(
    run: &mut [u8],
    page_size_bytes: usize,
    stamp: &NodeStamp,
    value: &[u8],
) -> OverflowRef {
    assert!(value.len() <= OVERFLOW_VALUE_BYTES_MAX, "INV-9: a value of {} bytes", value.len());
    let pages = overflow_pages(value.len(), page_size_bytes);
    assert!(run.len() == pages as usize * page_size_bytes, "INV-6: a run is as long as it says");
    run[PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + value.len()].copy_from_slice(value);
    let header = PageHeader {
        kind: PageKind::Overflow,
        level: 0,
        count: 0,
        addr: stamp.addr,
        owner: stamp.owner,
        page_lsn: stamp.page_lsn,
        used_bytes: (PAGE_HEADER_BYTES + value.len()) as u32,
        prefix_len_bytes: 0,
    };
    let crc = seal_page(run, &header);
    OverflowRef { addr: stamp.addr, pages, crc, value_len: value.len() as u32 }
}

/// The value in `run`, once the whole run is what `reference` names. Cost: one pass over it.
pub fn read_overflow<'run>(
    run: &'run [u8],
    reference: &OverflowRef,
    owner: &PageOwner,
) -> Result<&'run [u8], OverflowError> {
    let page = PageRef { addr: reference.addr, crc: reference.crc };
    let header = verify_page(run, page, Some(PageKind::Overflow), owner)?;
    let expected = PAGE_HEADER_BYTES as u64 + u64::from(reference.value_len);
    let found = u64::from(header.used_bytes);
    if expected != found {
        return Err(OverflowError::Length { expected, found });
    }
    Ok(&run[PAGE_HEADER_BYTES..found as usize])
}

impl OverflowRef {
    /// Writes the reference into a leaf's cell.
    pub(in crate::format) fn encode(&self, into: &mut [u8]) {
        let bytes = OverflowRefBytes {
            addr: self.addr.as_u64().into(),
            pages: self.pages.into(),
            crc: self.crc.into(),
        };
        into.copy_from_slice(bytes.as_bytes());
    }

    /// Reads the reference of a value of `value_len` out of a cell; `None` if it is cut short.
    pub(in crate::format) fn decode(cell: &[u8], value_len: u32) -> Option<OverflowRef> {
        let (bytes, _) = OverflowRefBytes::ref_from_prefix(cell).ok()?;
        Some(OverflowRef {
            addr: PageAddr::new(bytes.addr.get()),
            pages: bytes.pages.get(),
            crc: bytes.crc.get(),
            value_len,
        })
    }
}
