//! The data file: extents, pages, space maps, the root table, the data barrier.
//!
//! Knows pages by address and checksum, extents, and rows of the root table. Must never know
//! what a page of a tree means, who reads it, or when a merge runs.

#![allow(dead_code, unused_imports, reason = "wired in by the next change")]

mod allocator;
mod errors;
mod file;
mod free_extents;
mod growth;
mod root_table;

#[cfg(test)]
mod tests;

pub(crate) use allocator::{EncodedMap, PageAllocator, PageRun};
pub(crate) use errors::{
    ExtentError, OpenVolumeError, ReadMapError, ReadPageError, RootLoadError, RootPublishError,
    WritePagesError,
};
pub(crate) use file::{Volume, VolumeConfig};
pub(crate) use growth::VolumeState;
pub(crate) use root_table::{
    DamagedRoot, Floor, FloorHolder, LoadedRoots, OlderRows, RootTable, RowChange, SlotGeneration,
};
