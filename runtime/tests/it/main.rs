//! The runtime on both real drivers, through its public surface.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used)]

mod block_device;
#[cfg(feature = "sim")]
mod conformance;
mod directory_sync;
mod fallback;
mod files;
mod harness;
mod huge_pages;
mod inline;
mod io_workers;
mod memlock;
mod orphans;
mod polled;
mod pools;
mod queues;
mod seccomp;
mod shutdown;
mod sys;
mod tasks;
