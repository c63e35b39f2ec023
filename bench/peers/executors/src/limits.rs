//! Every bound of this program.

/// What direct I/O needs of a buffer on every device that is known.
pub(crate) const BUFFER_ALIGN_BYTES: usize = 4096;

/// Ring entries of each executor unless the job's depth asks for more: its own default.
pub(crate) const TOKIO_URING_ENTRIES: u32 = 256;
pub(crate) const MONOIO_ENTRIES: u32 = 1024;
pub(crate) const COMPIO_ENTRIES: u32 = 1024;
pub(crate) const GLOMMIO_ENTRIES: u32 = 128;
/// Memory that glommio registers with its ring, its own default.
pub(crate) const GLOMMIO_MEMORY_BYTES: usize = 10 << 20;

/// A pair is one run of each side.
pub(crate) const PAIRS_MAX: u64 = 1_000;
pub(crate) const PAIR_SECONDS_MAX: u64 = 3_600;

/// Requests in which files are written and read once before pairs are measured.
pub(crate) const SETTLE_CHUNK_BYTES: usize = 512 << 10;
/// Runs of one request that tell what a side costs to start and end.
pub(crate) const START_UP_RUNS: usize = 5;

/// How much longer than its jobs' `runtime` a child may take: jobs without one are small.
pub(crate) const CHILD_SPARE_SECONDS: u64 = 300;
