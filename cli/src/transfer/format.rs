//! Bytes of an export to values and back. Pure; everything is little-endian.

use serde::Serialize;
use sombra::limits::{
    KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, TABLETS_PER_KEYSPACE_MAX, VALUE_BYTES_MAX,
};
use sombra::{Lsn, Routing, StoreId};

pub(super) const MAGIC: [u8; 8] = *b"SOMBRAEX";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const FRAME_HEADER_BYTES: usize = 16;
pub(super) const ROW_HEADER_BYTES: usize = 6;
const END_BYTES: usize = 40;
const DEFINITION_BYTES: usize = 12;

/// Rows of one frame, which is also one transaction of the import.
pub(super) const FRAME_ROWS_MAX: u32 = 1 << 14;
/// Payload at which a frame ends, unless a single row is larger.
pub(super) const FRAME_ROWS_BYTES: usize = 1 << 20;
/// Largest payload of a frame: one row of the largest key and value, or a full definition.
pub(super) const FRAME_BYTES_MAX: usize = ROW_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;

const _: () = assert!(
    DEFINITION_BYTES + KEYSPACE_NAME_BYTES_MAX + TABLETS_PER_KEYSPACE_MAX * (2 + KEY_BYTES_MAX)
        <= FRAME_BYTES_MAX
);
const _: () = assert!(FRAME_ROWS_BYTES <= FRAME_BYTES_MAX);

const CRC_OFFSET: usize = 12;
const ROUTING_RANGE: u8 = 1;
const ROUTING_HASH: u8 = 2;

/// Where an export comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) store_id: StoreId,
    pub(crate) snapshot_lsn: Lsn,
    pub(crate) created_ms: u64,
}

/// A keyspace as it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) routing: Routing,
}

/// What an export holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) keyspaces: u64,
    pub(crate) rows: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameKind {
    Keyspace,
    Rows,
    End,
}

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) kind: FrameKind,
    /// Rows in the frame; 0 in the others.
    pub(super) rows: u32,
    pub(super) len_bytes: u32,
    /// Over the checksum before it, this header, and the payload.
    pub(super) crc: u32,
}

/// A field that breaks its rule: name, expected, found.
pub(super) type Fault = (&'static str, String, String);

fn fault(name: &'static str, expected: impl ToString, found: impl ToString) -> Fault {
    (name, expected.to_string(), found.to_string())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

impl Header {
    /// The header's bytes and its checksum, with which the chain of frames begins.
    pub(super) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(self.store_id.as_bytes());
        bytes[32..40].copy_from_slice(&self.snapshot_lsn.as_u64().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Header, u32), Fault> {
        if bytes[..8] != MAGIC {
            let found = bytes[..8].escape_ascii();
            return Err(fault("magic", "`SOMBRAEX`, an export", format!("`{found}`")));
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(fault("version", VERSION, version));
        }
        let (expected, found) = (u32_at(bytes, CRC_OFFSET), header_crc(bytes));
        if expected != found {
            return Err(checksum_fault(expected, found));
        }
        let header = Header {
            store_id: StoreId::from_bytes(array(bytes, 16)),
            snapshot_lsn: Lsn::new(u64_at(bytes, 32)),
            created_ms: u64_at(bytes, 40),
        };
        Ok((header, found))
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    sombra::format::checksum::crc32c_with_field_zeroed(bytes, CRC_OFFSET)
}

pub(super) fn checksum_fault(expected: u32, found: u32) -> Fault {
    fault("checksum", format!("{expected:#010x}"), format!("{found:#010x}"))
}

impl FrameHeader {
    /// The header of a frame behind the one whose checksum is `before`.
    pub(super) fn new(kind: FrameKind, rows: u32, before: u32, payload: &[u8]) -> FrameHeader {
        let len_bytes = payload.len() as u32;
        let header = FrameHeader { kind, rows, len_bytes, crc: 0 };
        FrameHeader { crc: header.chained_crc(before, payload), ..header }
    }

    pub(super) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0] = match self.kind {
            FrameKind::Keyspace => 1,
            FrameKind::Rows => 2,
            FrameKind::End => 3,
        };
        bytes[4..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len_bytes.to_le_bytes());
        bytes[12..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, Fault> {
        let kind = match u32_at(bytes, 0) {
            1 => FrameKind::Keyspace,
            2 => FrameKind::Rows,
            3 => FrameKind::End,
            other => return Err(fault("frame kind", "1, 2 or 3", other)),
        };
        let (rows, len_bytes) = (u32_at(bytes, 4), u32_at(bytes, 8));
        if len_bytes as usize > FRAME_BYTES_MAX {
            return Err(fault("frame length", format!("at most {FRAME_BYTES_MAX}"), len_bytes));
        }
        let most = if kind == FrameKind::Rows { FRAME_ROWS_MAX } else { 0 };
        if rows > most {
            return Err(fault("rows in the frame", format!("at most {most}"), rows));
        }
        Ok(FrameHeader { kind, rows, len_bytes, crc: u32_at(bytes, 12) })
    }

    pub(super) fn chained_crc(&self, before: u32, payload: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&before.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.encode()[..CRC_OFFSET]);
        crc32c::crc32c_append(crc, payload)
    }
}

impl Definition {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, prefix_len, tablets) = match &self.routing {
            Routing::Range { boundaries } => (ROUTING_RANGE, 0, boundaries.len() as u32 + 1),
            Routing::Hash { prefix_len_bytes, tablets } => {
                (ROUTING_HASH, *prefix_len_bytes, *tablets)
            }
        };
        let mut bytes = Vec::with_capacity(DEFINITION_BYTES + self.name.len());
        bytes.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&prefix_len.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&tablets.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        if let Routing::Range { boundaries } = &self.routing {
            for boundary in boundaries {
                bytes.extend_from_slice(&(boundary.len() as u16).to_le_bytes());
                bytes.extend_from_slice(boundary);
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Definition, Fault> {
        let cut = |found: usize| fault("keyspace definition", "more bytes", found);
        let (head, rest) =
            bytes.split_at_checked(DEFINITION_BYTES).ok_or_else(|| cut(bytes.len()))?;
        let (name, mut rest) =
            rest.split_at_checked(u16_at(head, 0).into()).ok_or_else(|| cut(rest.len()))?;
        let name = String::from_utf8(name.to_vec())
            .map_err(|_| fault("keyspace name", "UTF-8", name.escape_ascii()))?;
        if name.is_empty() || name.len() > KEYSPACE_NAME_BYTES_MAX {
            let expected = format!("1 to {KEYSPACE_NAME_BYTES_MAX} bytes");
            return Err(fault("keyspace name", expected, name.len()));
        }
        let tablets = u32_at(head, 8);
        if tablets as usize > TABLETS_PER_KEYSPACE_MAX {
            let expected = format!("at most {TABLETS_PER_KEYSPACE_MAX}");
            return Err(fault("tablets", expected, tablets));
        }
        let routing = match head[2] {
            ROUTING_HASH => Routing::Hash { prefix_len_bytes: u16_at(head, 4), tablets },
            ROUTING_RANGE => {
                let mut boundaries = Vec::new();
                for _ in 1..tablets {
                    let (len, after) = rest.split_at_checked(2).ok_or_else(|| cut(rest.len()))?;
                    let (key, after) = after
                        .split_at_checked(u16_at(len, 0).into())
                        .ok_or_else(|| cut(after.len()))?;
                    boundaries.push(key.to_vec());
                    rest = after;
                }
                Routing::Range { boundaries }
            }
            other => return Err(fault("routing", "1 or 2", other)),
        };
        if !rest.is_empty() {
            return Err(fault("keyspace definition", "its end", format!("{} bytes", rest.len())));
        }
        routing.validate().map_err(|error| fault(error.field, error.expected, error.found))?;
        Ok(Definition { name, routing })
    }
}

impl Totals {
    pub(super) fn add_row(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.key_bytes += key.len() as u64;
        self.value_bytes += value.len() as u64;
    }

    /// The payload of the last frame; `frames` are those before it.
    pub(super) fn encode(&self, frames: u64) -> Vec<u8> {
        let Totals { keyspaces, rows, key_bytes, value_bytes } = *self;
        let fields = [keyspaces, rows, key_bytes, value_bytes, frames];
        fields.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// Checks the last frame against what was read before it.
    pub(super) fn check(&self, frames: u64, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != END_BYTES {
            return Err(fault("length of the last frame", END_BYTES, payload.len()));
        }
        let Totals { keyspaces, rows, key_bytes, value_bytes } = *self;
        let counted = [
            ("keyspaces", keyspaces),
            ("rows", rows),
            ("bytes of keys", key_bytes),
            ("bytes of values", value_bytes),
            ("frames", frames),
        ];
        for (index, (name, found)) in counted.into_iter().enumerate() {
            let expected = u64_at(payload, 8 * index);
            if expected != found {
                return Err(fault(name, expected, found));
            }
        }
        Ok(())
    }
}

/// Checks that a frame's payload is `count` rows and nothing else.
pub(super) fn check_rows(payload: &[u8], count: u32) -> Result<(), Fault> {
    let mut rest = payload;
    for row in 0..count {
        let name = "row";
        let at = payload.len() - rest.len();
        let cut = || fault(name, "a whole row", format!("row {row} cut off at {at}"));
        let (head, after) = rest.split_at_checked(ROW_HEADER_BYTES).ok_or_else(cut)?;
        let (key_len, value_len) = (usize::from(u16_at(head, 0)), u32_at(head, 2) as usize);
        if key_len == 0 || key_len > KEY_BYTES_MAX {
            return Err(fault("length of a key", format!("1 to {KEY_BYTES_MAX}"), key_len));
        }
        if value_len > VALUE_BYTES_MAX {
            return Err(fault(
                "length of a value",
                format!("at most {VALUE_BYTES_MAX}"),
                value_len,
            ));
        }
        rest = after.get(key_len + value_len..).ok_or_else(cut)?;
    }
    match rest.len() {
        0 => Ok(()),
        left => Err(fault("rows in the frame", "its end", format!("{left} bytes"))),
    }
}

/// The first row of a payload that was checked, and the rows behind it.
pub(super) fn split_row(payload: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (head, rest) = payload.split_at(ROW_HEADER_BYTES);
    let (key, rest) = rest.split_at(u16_at(head, 0).into());
    let (value, rest) = rest.split_at(u32_at(head, 2) as usize);
    (key, value, rest)
}
