//! Models of the allocator and the free extents; the volume and the root table on the
//! simulated disk.

mod allocator;
mod free_extents;
mod growth;
mod pages;
pub(crate) mod root_copies;
mod root_crashes;
pub(crate) mod world;
