//! Log blocks: 64 bytes of header, 4,032 of the log's stream.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::checksum::crc32c_with_field_zeroed;
use super::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES, disk_struct};
use crate::ids::{Incarnation, Lsn, StoreId};

/// `first_record` of a block in which no record starts.
pub const FIRST_RECORD_NONE: u16 = 0xFFFF;

const CRC_OFFSET: usize = core::mem::offset_of!(LogBlockHeaderBytes, crc32c);
const _: () = assert!(size_of::<LogBlockHeaderBytes>() == BLOCK_HEADER_BYTES);

disk_struct! {
    /// Header of each block of a segment but the first; 4032 bytes of payload follow.
    pub(super) struct LogBlockHeaderBytes [64] {
        |  0 | 16 | store_id: [u8; 16]    | "the store's id" |
        | 16 |  8 | incarnation: le::U64  | "the opening of the store that wrote the block" |
        | 24 |  8 | first_lsn: le::U64    | "LSN of the first payload byte, a multiple of 4032" |
        | 32 |  8 | durable: le::U64      |
            "what was known durable when the block was sealed, at most `first_lsn`" |
        | 40 |  2 | used_bytes: le::U16   |
            "payload bytes before the sealing pad, multiple of 8, at most 4032" |
        | 42 |  2 | first_record: le::U16 |
            "payload offset of the first record that starts here, multiple of 8; 65535 = none" |
        | 44 |  4 | crc32c: le::U32       | "CRC-32C over all 4096 bytes, this field zeroed" |
        | 48 | 16 | tag: [u8; 16]         | "zero; room for an authentication tag" |
    }
}

/// What a block's header says, apart from its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBlockHeader {
    pub store_id: StoreId,
    pub incarnation: Incarnation,
    pub first_lsn: Lsn,
    pub durable: Lsn,
    pub used_bytes: u16,
    pub first_record: Option<u16>,
}

/// A verified block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBlock<'a> {
    pub header: LogBlockHeader,
    /// All 4,032 bytes, the sealing pad included.
    pub payload: &'a [u8],
}

/// What the block at a place must say of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockPlace {
    pub store_id: StoreId,
    pub incarnation: Incarnation,
    pub first_lsn: Lsn,
}

/// Why a block is not the one that was looked for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LogBlockError {
    #[error("a log block has 4096 bytes, {found} are there")]
    Truncated { found: usize },
    #[error("the log block is blank: never written")]
    Blank,
    #[error("log block checksum {found:#010x}, expected {expected:#010x}: torn or damaged")]
    Checksum { expected: u32, found: u32 },
    #[error("log block of store {found}, expected store {expected}")]
    Store { expected: StoreId, found: StoreId },
    #[error("log block of incarnation {found}, expected {expected}")]
    Incarnation { expected: Incarnation, found: Incarnation },
    #[error("log block of position {found}, expected {expected}")]
    Position { expected: Lsn, found: Lsn },
    /// The checksum holds, so this was written so: a bug or a forgery, never a torn write.
    #[error("log block at {first_lsn} breaks its format: field {field} is {found}")]
    Field { field: &'static str, first_lsn: Lsn, found: u64 },
}

impl LogBlockHeader {
    /// The 64 bytes that go before `payload`, checksum included; `payload` is not copied.
    ///
    /// Panics when a field breaks its rule or `payload` is not 4,032 bytes.
    #[must_use]
    pub fn seal(&self, payload: &[u8]) -> [u8; BLOCK_HEADER_BYTES] {
        assert_eq!(payload.len(), BLOCK_PAYLOAD_BYTES, "a block is sealed whole");
        let broken = self.first_broken_field();
        assert!(broken.is_none(), "log block header breaks its format: {broken:?} in {self:?}");
        let mut header = LogBlockHeaderBytes {
            store_id: *self.store_id.as_bytes(),
            incarnation: self.incarnation.as_u64().into(),
            first_lsn: self.first_lsn.as_u64().into(),
            durable: self.durable.as_u64().into(),
            used_bytes: self.used_bytes.into(),
            first_record: self.first_record.unwrap_or(FIRST_RECORD_NONE).into(),
            crc32c: 0.into(),
            tag: [0; 16],
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(header.as_bytes()), payload);
        header.crc32c = crc.into();
        zerocopy::transmute!(header)
    }

    fn first_broken_field(&self) -> Option<(&'static str, u64)> {
        let payload_bytes = BLOCK_PAYLOAD_BYTES as u64;
        let (first_lsn, durable) = (self.first_lsn.as_u64(), self.durable.as_u64());
        let used_bytes = u64::from(self.used_bytes);
        if !first_lsn.is_multiple_of(payload_bytes) {
            return Some(("first_lsn", first_lsn));
        }
        if durable > first_lsn {
            return Some(("durable", durable));
        }
        if used_bytes > payload_bytes || !used_bytes.is_multiple_of(8) {
            return Some(("used_bytes", used_bytes));
        }
        let first_record = self.first_record.map(u64::from)?;
        let starts_inside = first_record < payload_bytes && first_record.is_multiple_of(8);
        (!starts_inside).then_some(("first_record", first_record))
    }
}

impl LogBlockHeaderBytes {
    fn to_header(&self) -> LogBlockHeader {
        let first_record = self.first_record.get();
        LogBlockHeader {
            store_id: StoreId::from_bytes(self.store_id),
            incarnation: Incarnation::new(self.incarnation.get()),
            first_lsn: Lsn::new(self.first_lsn.get()),
            durable: Lsn::new(self.durable.get()),
            used_bytes: self.used_bytes.get(),
            first_record: (first_record != FIRST_RECORD_NONE).then_some(first_record),
        }
    }
}

/// Reads the block that must lie at `place`.
pub fn verify_block<'a>(
    block: &'a [u8],
    place: &BlockPlace,
) -> Result<LogBlock<'a>, LogBlockError> {
    let verified = verify_block_of_store(block, place.store_id)?;
    let header = &verified.header;
    if header.incarnation != place.incarnation {
        let (expected, found) = (place.incarnation, header.incarnation);
        return Err(LogBlockError::Incarnation { expected, found });
    }
    if header.first_lsn != place.first_lsn {
        let (expected, found) = (place.first_lsn, header.first_lsn);
        return Err(LogBlockError::Position { expected, found });
    }
    Ok(verified)
}

/// Reads a block of this store wherever and whenever it was written: what the search behind the
/// end of the log needs. The caller compares position and incarnation.
pub fn verify_block_of_store(
    block: &[u8],
    store_id: StoreId,
) -> Result<LogBlock<'_>, LogBlockError> {
    if block.len() != BLOCK_SIZE_BYTES {
        return Err(LogBlockError::Truncated { found: block.len() });
    }
    let Ok((bytes, payload)) = LogBlockHeaderBytes::ref_from_prefix(block) else {
        return Err(LogBlockError::Truncated { found: block.len() });
    };
    let (expected, found) = (crc32c_with_field_zeroed(block, CRC_OFFSET), bytes.crc32c.get());
    if expected != found {
        // Blank only if every sector is: a torn write may lose the header and keep the rest.
        return Err(match block.iter().all(|&byte| byte == 0) {
            true => LogBlockError::Blank,
            false => LogBlockError::Checksum { expected, found },
        });
    }
    let header = bytes.to_header();
    if header.store_id != store_id {
        return Err(LogBlockError::Store { expected: store_id, found: header.store_id });
    }
    if let Some((field, found)) = header.first_broken_field() {
        return Err(LogBlockError::Field { field, first_lsn: header.first_lsn, found });
    }
    Ok(LogBlock { header, payload })
}
