//! The data file: extents, pages, space maps, the root table, the data barrier.
//!
//! Knows pages by address and checksum, extents, and rows of the root table. Must never know
//! what a page of a tree means, who reads it, or when a merge runs.

mod allocator;
mod errors;
mod file;
mod flushes;
mod free_extents;
mod growth;
mod root_table;

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
pub(crate) use allocator::EncodedMap;
pub(crate) use allocator::{LiveSet, PageAllocator, PageRun};
#[cfg(test)]
pub(crate) use errors::{ExtentError, OpenVolumeError};
pub(crate) use errors::{ReadMapError, ReadPageError, RootPublishError};
pub(crate) use file::{Access, Volume, VolumeConfig};
pub(crate) use growth::VolumeState;
pub(crate) use root_table::{
    CopyState, DamagedRoot, FloorHolder, LoadedRoots, RootTable, RowChange, SlotGeneration,
};
