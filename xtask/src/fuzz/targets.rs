//! The targets: a reader each, with what must hold of whatever it accepts.

mod cli_dump;
mod inner;
mod job_file;
mod leaf;
mod log_block;
mod log_record;
mod page;
mod root_table;
mod segment_header;
mod space_map;
mod superblock;

pub(super) use cli_dump::CliDump;
pub(super) use job_file::JobFiles;
use log_block::BLOCK_CRC_AT;
pub(super) use log_block::LogBlocks;
pub(super) use log_record::LogRecords;
pub(super) use page::{PAGE_CRC_AT, Pages};
pub(super) use root_table::{ROOT_CRC_AT, RootPages};
use segment_header::SEGMENT_CRC_AT;
pub(super) use segment_header::SegmentHeaders;
pub(super) use space_map::SpaceMaps;
pub(super) use superblock::Superblocks;
use superblock::seal_copy as seal_superblock_copy;
