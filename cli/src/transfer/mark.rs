//! How far an import has come, as the store that it fills keeps it.

use sombra::{Lsn, StoreId};

use super::format::{Header, u32_at, u64_at};

const MARK_VERSION: u32 = 1;
const MARK_BYTES: usize = 68;

/// A place between two frames of an export. The checksums of frames are chained, so that equal
/// positions mean equal bytes before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) frames: u64,
    pub(crate) offset: u64,
    pub(crate) crc: u32,
    pub(crate) rows: u64,
}

/// Everything of this export up to this position is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) header: Header,
    pub(crate) position: Position,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Mark { header, position } = self;
        let mut bytes = Vec::with_capacity(MARK_BYTES);
        bytes.extend_from_slice(&MARK_VERSION.to_le_bytes());
        bytes.extend_from_slice(&position.crc.to_le_bytes());
        bytes.extend_from_slice(header.store_id.as_bytes());
        let (lsn, created_ms) = (header.snapshot_lsn.as_u64(), header.created_ms);
        for number in [lsn, created_ms, position.frames, position.offset, position.rows] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no mark of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Mark> {
        let body = bytes.get(..MARK_BYTES - 4).filter(|_| bytes.len() == MARK_BYTES)?;
        let is_whole = u32_at(bytes, MARK_BYTES - 4) == crc32c::crc32c(body);
        if !is_whole || u32_at(bytes, 0) != MARK_VERSION {
            return None;
        }
        Some(Mark {
            header: Header {
                store_id: StoreId::from_bytes(bytes[8..24].try_into().ok()?),
                snapshot_lsn: Lsn::new(u64_at(bytes, 24)),
                created_ms: u64_at(bytes, 32),
            },
            position: Position {
                frames: u64_at(bytes, 40),
                offset: u64_at(bytes, 48),
                crc: u32_at(bytes, 4),
                rows: u64_at(bytes, 56),
            },
        })
    }
}
