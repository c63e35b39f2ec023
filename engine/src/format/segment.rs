//! Log segments: the header in block 0, the file's name, and where an LSN lies.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::checksum::crc32c_with_field_zeroed;
use super::superblock::is_segment_size;
use super::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES, FORMAT_VERSION, IncarnationLink, disk_struct};
use crate::ids::{Incarnation, Lsn, StoreId};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_NUMBER_MAX};

/// First bytes of a log segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"SOMBRAWL";

const CRC_OFFSET: usize = core::mem::offset_of!(SegmentHeaderBytes, crc32c);
const FILE_NAME_DIGITS: usize = 20;
const FILE_NAME_SUFFIX: &str = ".log";

// Every position in every segment is an LSN, with as much room again for those ahead of it.
const _: () = assert!((SEGMENT_NUMBER_MAX + 1) as u128 * SEGMENT_BYTES_MAX as u128 <= 1 << 63);

// The rules below name this bound.
const _: () = assert!(SEGMENT_NUMBER_MAX == (1 << 33) - 1);

disk_struct! {
    /// Block 0 of a log segment.
    pub(super) struct SegmentHeaderBytes [4096] {
        |  0 |    8 | magic: [u8; 8]          | "the letters `SOMBRAWL`" |
        |  8 |    4 | format_version: le::U32 | "1; any other is refused" |
        | 12 |    4 | crc32c: le::U32         | "CRC-32C over the whole block, this field zeroed" |
        | 16 |   16 | store_id: [u8; 16]      | "the store's id" |
        | 32 |    8 | segment_number: le::U64 | "the number in the file's name, below 2^33" |
        | 40 |    8 | segment_bytes: le::U64  | "size of the file, as in the superblock" |
        | 48 |    8 | incarnation: le::U64    | "the opening of the store that began this segment" |
        | 56 |    8 | start_lsn: le::U64      |
            "LSN of its first payload byte: `segment_number` × payload bytes per segment" |
        | 64 |    4 | has_link: le::U32       | "1 when an incarnation begins here, else 0" |
        | 68 |    4 | reserved: le::U32       | "written as zero, ignored by readers" |
        | 72 |    8 | previous_end: le::U64   |
            "with a link: end of the last valid record of the incarnation before, at most "
            "`start_lsn`; else 0" |
        | 80 |    8 | link_new_start: le::U64 | "with a link: `start_lsn`; else 0" |
        | 88 | 4008 | unused: [u8; 4008]      | "written as zero, covered by the checksum" |
    }
}

/// What block 0 of a log segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    pub store_id: StoreId,
    pub segment_number: u64,
    pub segment_bytes: u64,
    pub incarnation: Incarnation,
    /// Set in the first segment of an incarnation that follows another one; names the same
    /// incarnation and begins at this segment's start.
    pub link: Option<IncarnationLink>,
}

/// Why a block is not the header of the segment that was looked for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SegmentError {
    #[error("a segment header has 4096 bytes, {found} are there")]
    Truncated { found: usize },
    #[error("the segment's header is blank: the segment was prepared but never begun")]
    Blank,
    #[error("not a log segment: it begins with {found:02x?}, expected \"SOMBRAWL\"")]
    NotASegment { found: [u8; 8] },
    #[error("segment header checksum {found:#010x}, expected {expected:#010x}: it is damaged")]
    Checksum { expected: u32, found: u32 },
    #[error(
        "log segment of format version {found}, this build reads version {expected}: \
         open it with the version that wrote it"
    )]
    UnknownVersion { expected: u32, found: u32 },
    #[error("log segment of store {found}, expected store {expected}")]
    Store { expected: StoreId, found: StoreId },
    #[error("header of segment {found} in the file of segment {expected}")]
    Number { expected: u64, found: u64 },
    #[error("segment of {found} bytes, the store's segments have {expected}")]
    Size { expected: u64, found: u64 },
    #[error("impossible segment: number {segment_number}, {segment_bytes} bytes")]
    Impossible { segment_number: u64, segment_bytes: u64 },
    #[error("segment begins at LSN {found}, by its number it begins at {expected}")]
    StartLsn { expected: Lsn, found: Lsn },
    #[error(
        "broken link between incarnations: marked {has_link}, from {previous_end} to \
         {new_start}, in a segment that begins at {start_lsn}"
    )]
    Link { has_link: u32, previous_end: Lsn, new_start: Lsn, start_lsn: Lsn },
}

impl SegmentHeader {
    /// LSN of the segment's first payload byte.
    #[must_use]
    pub fn start_lsn(&self) -> Lsn {
        segment_start(self.segment_number, self.segment_bytes)
    }

    /// Block 0. Panics when a field breaks its rule.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_SIZE_BYTES] {
        assert!(self.segment_number <= SEGMENT_NUMBER_MAX, "segment {}", self.segment_number);
        let start_lsn = self.start_lsn();
        if let Some(link) = self.link {
            assert_eq!(
                link.incarnation, self.incarnation,
                "a link names its segment's incarnation"
            );
            assert_eq!(link.new_start, start_lsn, "a link begins at its segment's start");
            assert!(link.previous_end <= start_lsn, "a link leads forward: {link:?}");
        }
        let link = self.link.map(|link| (link.previous_end.as_u64(), link.new_start.as_u64()));
        let (previous_end, link_new_start) = link.unwrap_or((0, 0));
        let mut header = SegmentHeaderBytes {
            magic: SEGMENT_MAGIC,
            format_version: FORMAT_VERSION.into(),
            crc32c: 0.into(),
            store_id: *self.store_id.as_bytes(),
            segment_number: self.segment_number.into(),
            segment_bytes: self.segment_bytes.into(),
            incarnation: self.incarnation.as_u64().into(),
            start_lsn: start_lsn.as_u64().into(),
            has_link: u32::from(self.link.is_some()).into(),
            reserved: 0.into(),
            previous_end: previous_end.into(),
            link_new_start: link_new_start.into(),
            unused: [0; 4008],
        };
        header.crc32c = crc32c_with_field_zeroed(header.as_bytes(), CRC_OFFSET).into();
        zerocopy::transmute!(header)
    }

    /// Reads block 0; bytes after it are ignored.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, SegmentError> {
        let Ok((header, _)) = SegmentHeaderBytes::ref_from_prefix(bytes) else {
            return Err(SegmentError::Truncated { found: bytes.len() });
        };
        if header.magic != SEGMENT_MAGIC {
            return Err(match header.as_bytes().iter().all(|&byte| byte == 0) {
                true => SegmentError::Blank,
                false => SegmentError::NotASegment { found: header.magic },
            });
        }
        let expected = crc32c_with_field_zeroed(header.as_bytes(), CRC_OFFSET);
        let found = header.crc32c.get();
        if expected != found {
            return Err(SegmentError::Checksum { expected, found });
        }
        let found = header.format_version.get();
        if found != FORMAT_VERSION {
            return Err(SegmentError::UnknownVersion { expected: FORMAT_VERSION, found });
        }
        header.to_header()
    }

    /// Whether the header belongs to the file it was read from.
    ///
    /// `Number` is what a recycled segment looks like between its rename and its new header.
    pub fn check_place(
        &self,
        store_id: StoreId,
        segment_number: u64,
        segment_bytes: u64,
    ) -> Result<(), SegmentError> {
        if self.store_id != store_id {
            return Err(SegmentError::Store { expected: store_id, found: self.store_id });
        }
        if self.segment_bytes != segment_bytes {
            let (expected, found) = (segment_bytes, self.segment_bytes);
            return Err(SegmentError::Size { expected, found });
        }
        if self.segment_number != segment_number {
            let (expected, found) = (segment_number, self.segment_number);
            return Err(SegmentError::Number { expected, found });
        }
        Ok(())
    }
}

impl SegmentHeaderBytes {
    fn to_header(&self) -> Result<SegmentHeader, SegmentError> {
        let (segment_number, segment_bytes) = (self.segment_number.get(), self.segment_bytes.get());
        if segment_number > SEGMENT_NUMBER_MAX || !is_segment_size(segment_bytes) {
            return Err(SegmentError::Impossible { segment_number, segment_bytes });
        }
        let expected = segment_start(segment_number, segment_bytes);
        let start_lsn = Lsn::new(self.start_lsn.get());
        if start_lsn != expected {
            return Err(SegmentError::StartLsn { expected, found: start_lsn });
        }
        let has_link = self.has_link.get();
        let previous_end = Lsn::new(self.previous_end.get());
        let new_start = Lsn::new(self.link_new_start.get());
        let incarnation = Incarnation::new(self.incarnation.get());
        let link = match has_link {
            0 if previous_end == Lsn::ZERO && new_start == Lsn::ZERO => None,
            1 if previous_end <= new_start && new_start == start_lsn => {
                Some(IncarnationLink { incarnation, previous_end, new_start })
            }
            _ => return Err(SegmentError::Link { has_link, previous_end, new_start, start_lsn }),
        };
        let store_id = StoreId::from_bytes(self.store_id);
        Ok(SegmentHeader { store_id, segment_number, segment_bytes, incarnation, link })
    }
}

/// Name of a segment's file in `wal/`: twenty digits, so that names sort as numbers do.
#[must_use]
pub fn segment_file_name(segment_number: u64) -> String {
    format!("{segment_number:0width$}{FILE_NAME_SUFFIX}", width = FILE_NAME_DIGITS)
}

/// The number in a segment's file name; `None` for any other file.
#[must_use]
pub fn parse_segment_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(FILE_NAME_SUFFIX)?;
    if digits.len() != FILE_NAME_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&number| number <= SEGMENT_NUMBER_MAX)
}

/// Bytes of the log's stream that one segment carries: every block but the header.
#[must_use]
pub const fn payload_bytes_per_segment(segment_bytes: u64) -> u64 {
    (segment_bytes / BLOCK_SIZE_BYTES as u64 - 1) * BLOCK_PAYLOAD_BYTES as u64
}

/// LSN of the first payload byte of a segment. Panics for a number or size that cannot be; the
/// numbers after `SEGMENT_NUMBER_MAX` are allowed, since a segment's end is the next one's start.
#[must_use]
pub fn segment_start(segment_number: u64, segment_bytes: u64) -> Lsn {
    assert!(segment_number <= 2 * SEGMENT_NUMBER_MAX, "segment number {segment_number}");
    assert!(is_segment_size(segment_bytes), "segment size {segment_bytes}");
    Lsn::new(segment_number * payload_bytes_per_segment(segment_bytes))
}

/// Where a byte of the log's stream lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPlace {
    pub segment_number: u64,
    /// 1 or more: block 0 is the segment's header.
    pub block_in_segment: u64,
    /// Offset behind the block's header, below [`BLOCK_PAYLOAD_BYTES`].
    pub offset_in_payload: u64,
}

impl LogPlace {
    /// Where its block begins in the segment's file.
    #[must_use]
    pub const fn block_offset_bytes(self) -> u64 {
        self.block_in_segment * BLOCK_SIZE_BYTES as u64
    }
}

/// Finds the byte AT `lsn`. For the end of a record that fills its segment, this is the start of
/// the next segment. Panics for a segment size that cannot be.
#[must_use]
pub fn locate(lsn: Lsn, segment_bytes: u64) -> LogPlace {
    assert!(is_segment_size(segment_bytes), "segment size {segment_bytes}");
    let per_segment = payload_bytes_per_segment(segment_bytes);
    let in_segment = lsn.as_u64() % per_segment;
    LogPlace {
        segment_number: lsn.as_u64() / per_segment,
        block_in_segment: 1 + in_segment / BLOCK_PAYLOAD_BYTES as u64,
        offset_in_payload: in_segment % BLOCK_PAYLOAD_BYTES as u64,
    }
}

/// LSN of the first payload byte of the block that holds `lsn`.
#[must_use]
pub const fn block_start(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.as_u64() - lsn.as_u64() % BLOCK_PAYLOAD_BYTES as u64)
}
