//! Log records: what a commit writes and replay reads.

mod decode;
mod encode;

use thiserror::Error;
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian as le;

use super::disk_struct;
use crate::ids::KeyspaceId;
use crate::limits::{
    KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, PREFIX_BYTES_MAX, RECORD_BYTES_MAX,
    TABLETS_PER_KEYSPACE_MAX, VALUE_BYTES_MAX,
};
use crate::options::{OptionError, Routing};

pub use decode::decode_record;
pub use encode::{encode_commit, encode_create_keyspace, encode_drop_keyspace};

/// Bytes of a record's header, and of the smallest pad.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Records begin at multiples of this.
pub const RECORD_ALIGNMENT_BYTES: usize = 8;
/// What a commit record costs besides its writes, final padding included.
pub const COMMIT_OVERHEAD_BYTES_MAX: usize =
    RECORD_HEADER_BYTES + size_of::<CommitHead>() + RECORD_ALIGNMENT_BYTES - 1;

const OP_PUT: u8 = 1;
const OP_TOMBSTONE: u8 = 2;
const ROUTING_RANGE: u8 = 1;
const ROUTING_HASH: u8 = 2;

const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_BYTES);
const _: () = assert!(RECORD_BYTES_MAX.is_multiple_of(8) && RECORD_BYTES_MAX <= u32::MAX as usize);
// Whatever the public interface takes fits a record, and the loop that writes it cannot fail.
const _: () = assert!(
    write_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX) + COMMIT_OVERHEAD_BYTES_MAX <= RECORD_BYTES_MAX
);
const _: () = assert!(
    64 + KEYSPACE_NAME_BYTES_MAX + TABLETS_PER_KEYSPACE_MAX * (KEY_BYTES_MAX + 2)
        <= RECORD_BYTES_MAX
);

// The rules below name these bounds.
const _: () = assert!(RECORD_BYTES_MAX == 17 << 20 && VALUE_BYTES_MAX == 16 << 20);
const _: () = assert!(KEY_BYTES_MAX == 1024 && KEYSPACE_NAME_BYTES_MAX == 255);
const _: () = assert!(PREFIX_BYTES_MAX == 1024 && TABLETS_PER_KEYSPACE_MAX == 1024);

disk_struct! {
    /// Begins each record; the body follows.
    pub(super) struct RecordHeader [8] {
        | 0 | 4 | length: le::U32   | "of the whole record, multiple of 8, 8 bytes to 17 MiB" |
        | 4 | 1 | kind: u8          | "1 pad, 2 commit, 3 keyspace create, 4 keyspace drop" |
        | 5 | 1 | flags: u8         | "zero; bit 0 is kept for an idempotency token" |
        | 6 | 2 | reserved: le::U16 | "zero" |
    }
}

disk_struct! {
    /// Begins the body of a commit; `op_count` writes follow.
    pub(super) struct CommitHead [16] {
        |  0 | 8 | wall_ms: le::U64   |
            "wall clock at the commit, milliseconds since 1970; may go back" |
        |  8 | 4 | op_count: le::U32  | "writes that follow" |
        | 12 | 4 | token_len: le::U32 | "zero; kept for an idempotency token" |
    }
}

disk_struct! {
    /// Begins a write of a commit; the key follows, then the value.
    pub(super) struct OpHead [12] {
        | 0 | 4 | keyspace: le::U32  | "id of the keyspace" |
        | 4 | 2 | key_len: le::U16   | "1 to 1024" |
        | 6 | 1 | op: u8             | "1 put, 2 tombstone (the key is deleted)" |
        | 7 | 1 | reserved: u8       | "zero" |
        | 8 | 4 | value_len: le::U32 | "at most 16 MiB; 0 for a tombstone" |
    }
}

disk_struct! {
    /// Begins the body of a keyspace's creation. For range routing `tablet_count` - 1 boundaries
    /// follow, each a u16 length and that many bytes, ascending; then the name.
    pub(super) struct CreateHead [24] {
        |  0 | 8 | wall_ms: le::U64      | "wall clock, milliseconds since 1970" |
        |  8 | 4 | keyspace: le::U32     | "id of the keyspace, never used before" |
        | 12 | 1 | routing: u8           | "1 range, 2 hash" |
        | 13 | 1 | reserved: u8          | "zero" |
        | 14 | 2 | prefix_len: le::U16   |
            "hash: bytes of the key that are hashed (XXH3-64, seed 0), 1 to 1024; range: 0" |
        | 16 | 2 | name_len: le::U16     | "1 to 255 bytes of UTF-8" |
        | 18 | 2 | reserved2: le::U16    | "zero" |
        | 20 | 4 | tablet_count: le::U32 | "1 to 1024" |
    }
}

disk_struct! {
    /// The body of a keyspace's drop.
    pub(super) struct DropBody [16] {
        |  0 | 8 | wall_ms: le::U64  | "wall clock, milliseconds since 1970" |
        |  8 | 4 | keyspace: le::U32 | "id of the keyspace; not used again" |
        | 12 | 4 | reserved: le::U32 | "zero" |
    }
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    Pad,
    Commit,
    CreateKeyspace,
    DropKeyspace,
}

impl RecordKind {
    const fn number(self) -> u8 {
        match self {
            RecordKind::Pad => 1,
            RecordKind::Commit => 2,
            RecordKind::CreateKeyspace => 3,
            RecordKind::DropKeyspace => 4,
        }
    }

    const fn from_number(number: u8) -> Option<RecordKind> {
        match number {
            1 => Some(RecordKind::Pad),
            2 => Some(RecordKind::Commit),
            3 => Some(RecordKind::CreateKeyspace),
            4 => Some(RecordKind::DropKeyspace),
            _ => None,
        }
    }
}

/// A decoded record; byte strings borrow from what was decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// Fills a block or an abandoned reservation.
    Pad,
    Commit(Commit<'a>),
    CreateKeyspace(CreateKeyspace<'a>),
    DropKeyspace {
        wall_ms: u64,
        keyspace: KeyspaceId,
    },
}

/// All writes of one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit<'a> {
    pub wall_ms: u64,
    pub writes: LoggedWrites<'a>,
}

/// One write of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoggedWrite<'a> {
    pub keyspace: KeyspaceId,
    pub key: &'a [u8],
    /// `None`: the key is deleted.
    pub value: Option<&'a [u8]>,
}

/// The writes of a decoded commit, in the order they were logged. All lengths are checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedWrites<'a> {
    left: usize,
    bytes: &'a [u8],
}

/// Creation of a keyspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateKeyspace<'a> {
    pub wall_ms: u64,
    pub keyspace: KeyspaceId,
    pub name: &'a str,
    pub routing: Routing,
}

/// Why bytes are not a record. Under a valid block checksum each of these is corruption.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RecordError {
    #[error("a record header has {RECORD_HEADER_BYTES} bytes, {found} are there")]
    HeaderTruncated { found: usize },
    #[error("record length {found}: expected a multiple of 8 from 8 to {RECORD_BYTES_MAX}")]
    Length { found: u32 },
    #[error("record kind {found}: expected 1 to 4")]
    Kind { found: u8 },
    #[error("record flags {found:#x}: this build knows none")]
    Flags { found: u8 },
    #[error("record header: reserved field is {found:#x}, expected 0")]
    Reserved { found: u16 },
    #[error("record of {expected} bytes by its header, {found} are there")]
    Truncated { expected: usize, found: usize },
    #[error("{part}: needs {expected} bytes, {found} are left in the record")]
    Overrun { part: &'static str, expected: usize, found: usize },
    #[error("{left} bytes are left behind the record's content, expected fewer than 8, all zero")]
    Tail { left: usize },
    #[error("pad record: byte {offset} is not zero")]
    PadNotZero { offset: usize },
    #[error("{field}: expected {expected}, found {found}")]
    Field { field: &'static str, expected: &'static str, found: u64 },
    #[error("keyspace name is not UTF-8")]
    NameNotUtf8,
    #[error("keyspace routing: {source}")]
    Routing { source: OptionError },
}

/// A transaction that one record cannot hold.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the commit's log record: expected at most {expected} bytes, found {found} or more")]
pub struct RecordTooLong {
    pub expected: usize,
    pub found: usize,
}

/// What one write adds to a commit record. Cost: none.
#[must_use]
pub const fn write_bytes(key_len: usize, value_len: usize) -> usize {
    size_of::<OpHead>() + key_len + value_len
}

/// Header of a pad record of `length` bytes; the rest of it must be zero.
///
/// Panics unless `length` is a multiple of 8, not zero and at most `RECORD_BYTES_MAX`.
#[must_use]
pub fn pad_header(length: u32) -> [u8; RECORD_HEADER_BYTES] {
    assert!(is_record_length(length), "pad record of {length} bytes");
    let kind = RecordKind::Pad.number();
    let header = RecordHeader { length: length.into(), kind, flags: 0, reserved: 0.into() };
    zerocopy::transmute!(header)
}

const fn is_record_length(length: u32) -> bool {
    length != 0 && length.is_multiple_of(8) && length as usize <= RECORD_BYTES_MAX
}

/// Reads the header at the start of `bytes`: the record's kind and whole length.
///
/// `bytes` may hold less than the record, or more.
pub fn peek(bytes: &[u8]) -> Result<(RecordKind, u32), RecordError> {
    let Ok((header, _)) = RecordHeader::ref_from_prefix(bytes) else {
        return Err(RecordError::HeaderTruncated { found: bytes.len() });
    };
    let length = header.length.get();
    if !is_record_length(length) {
        return Err(RecordError::Length { found: length });
    }
    let kind =
        RecordKind::from_number(header.kind).ok_or(RecordError::Kind { found: header.kind })?;
    if header.flags != 0 {
        return Err(RecordError::Flags { found: header.flags });
    }
    match header.reserved.get() {
        0 => Ok((kind, length)),
        found => Err(RecordError::Reserved { found }),
    }
}

/// Length of the record that begins with `header`.
pub fn record_length(header: &[u8; RECORD_HEADER_BYTES]) -> Result<u32, RecordError> {
    peek(header).map(|(_, length)| length)
}
