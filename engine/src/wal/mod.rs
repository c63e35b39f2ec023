//! The shared write-ahead log: positions, group commit, segments, scanning.
//!
//! Knows blocks, segments and positions. Must never know what a record means to a window, who
//! waits for a commit, or which shard owns a key.

pub(crate) mod group_commit;
pub(crate) mod method;
pub(crate) mod scan;
pub(crate) mod segments;
pub(crate) mod watermarks;
