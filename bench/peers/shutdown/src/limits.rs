//! Every bound of this program.

/// Reads that are in flight when an executor is dropped.
pub(crate) const READS: usize = 128;
/// Small enough to stay out of the kernel's worker threads, large enough to take a while.
pub(crate) const READ_BYTES: usize = 256 << 10;
pub(crate) const BUFFER_ALIGN_BYTES: usize = 4096;

/// Smaller memory is given back as ever: no buffer of a read is so small.
pub(crate) const QUARANTINE_BYTES_MIN: usize = READ_BYTES;
pub(crate) const QUARANTINE_BLOCKS_MAX: usize = 1024;

/// The longest that the kernel was seen to take is a third of it.
pub(crate) const SETTLE_MS: u64 = 200;
