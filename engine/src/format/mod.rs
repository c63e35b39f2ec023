//! Bytes on disk to structs and back. Pure: no I/O, no clock, no tasks.
//!
//! Everything is little-endian. Each structure is declared once, as the table that readers of
//! `docs/on-disk-format.md` see; the declaration makes the struct, its doc comment, the row of
//! that document and the compile-time check of offsets and sizes, so that none can drift.
//! A decoder takes arbitrary bytes and answers with a value or an error that names what it
//! expected and what it found. It never panics and never believes a length before checking it.

pub mod checksum;
pub mod describe;
pub mod log_block;
pub mod log_record;
pub mod node;
pub mod overflow;
pub mod page;
pub mod root_table;
pub mod segment;
pub mod space_map;
pub mod superblock;

#[cfg(test)]
mod tests;

pub use describe::describe;
pub use log_block::LogBlockError;
pub use log_record::RecordError;
pub use segment::SegmentError;
pub use superblock::{SuperblockError, SuperblockPickError};

use crate::ids::{Incarnation, Lsn};

/// Version that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Unit of every log and superblock write.
pub const BLOCK_SIZE_BYTES: usize = 4096;
/// Header of a log block.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// What a log block carries of the log's stream: LSNs count these bytes only.
pub const BLOCK_PAYLOAD_BYTES: usize = BLOCK_SIZE_BYTES - BLOCK_HEADER_BYTES;

const _: () = assert!(BLOCK_PAYLOAD_BYTES == 4032 && BLOCK_PAYLOAD_BYTES.is_multiple_of(8));

/// Where an incarnation's log ends and the next one begins.
///
/// Replay ends the older incarnation exactly at `previous_end`, whatever lies there, and goes on
/// at `new_start`. The LSNs between do not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IncarnationLink {
    /// The incarnation that begins at `new_start`.
    pub incarnation: Incarnation,
    /// End of the last valid record before it.
    pub previous_end: Lsn,
    /// First LSN of a fresh segment.
    pub new_start: Lsn,
}

/// One row of a byte table.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    pub offset: usize,
    pub size_bytes: usize,
    pub name: &'static str,
    pub rule: &'static str,
}

/// The byte table of one structure, as the document prints it.
#[derive(Clone, Copy, Debug)]
pub struct ByteTable {
    pub size_bytes: usize,
    pub rows: &'static [FieldRow],
}

/// Whether rows follow each other without gap or overlap and fill the whole structure.
pub(crate) const fn is_gapless(table: &ByteTable) -> bool {
    let mut end = 0;
    let mut index = 0;
    while index < table.rows.len() {
        if table.rows[index].offset != end {
            return false;
        }
        end += table.rows[index].size_bytes;
        index += 1;
    }
    end == table.size_bytes
}

/// Declares a structure on disk by its byte table.
///
/// The rows become the struct (fields visible to the declaring module only), its doc comment and
/// its `TABLE`. Offsets and sizes are checked against the compiler's, and `IntoBytes` refuses
/// padding.
macro_rules! disk_struct {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident [$total:literal] {
            $(| $offset:literal | $size:literal | $field:ident : $type:ty | $($rule:literal)+ |)+
        }
    ) => {
        $(#[$meta])*
        ///
        /// | offset | size | field | rule |
        /// |-------:|-----:|-------|------|
        $(#[doc = concat!("| ", $offset, " | ", $size, " | `", stringify!($field), "` | ",
            $($rule,)+ " |")])+
        #[derive(
            Clone,
            zerocopy::FromBytes,
            zerocopy::IntoBytes,
            zerocopy::Immutable,
            zerocopy::KnownLayout,
            zerocopy::Unaligned,
        )]
        #[repr(C)]
        $visibility struct $name { $($field: $type,)+ }

        impl $name {
            $visibility const TABLE: $crate::format::ByteTable = $crate::format::ByteTable {
                size_bytes: $total,
                rows: &[$($crate::format::FieldRow {
                    offset: $offset,
                    size_bytes: $size,
                    name: stringify!($field),
                    rule: concat!($($rule),+),
                },)+],
            };
        }

        const _: () = assert!(size_of::<$name>() == $total);
        const _: () = assert!($crate::format::is_gapless(&$name::TABLE));
        $(const _: () = assert!(
            core::mem::offset_of!($name, $field) == $offset && size_of::<$type>() == $size
        );)+
    };
}
use disk_struct;
