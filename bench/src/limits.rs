//! Every bound of the bench by name.

/// Clients of one phase.
pub const CLIENTS_MAX: usize = 1024;
/// Records of one run: each costs 32 bytes in the ledger that the verification reads.
pub const RECORDS_MAX: u64 = 1 << 26;
/// Shortest key: eight bytes carry the record's hash.
pub const KEY_BYTES_MIN: usize = 8;
/// Shortest value: the record and the write that it came from.
pub const VALUE_BYTES_MIN: usize = 16;
/// Longest measured stretch of one phase.
pub const PHASE_SECONDS_MAX: u64 = 3_600;
/// Pairs of one `--pairs` run.
pub const PAIRS_MAX: usize = 1_000;
/// Fewest pairs that make a ratio.
pub const PAIRS_MIN_FOR_RATIO: usize = 11;
/// Shortest side of a pair that makes a ratio.
pub const PAIR_SIDE_SECONDS_MIN: f64 = 5.0;
/// Widest half-interval of the A/A row at which wall-clock ratios still count.
pub const AA_HALF_WIDTH_MAX: f64 = 0.10;
/// Resamples of a bootstrap interval.
pub const BOOTSTRAP_RESAMPLES: usize = 10_000;
/// Operations a second of an open loop.
pub const RATE_MAX: u64 = 100_000_000;

/// The scratch file: written fully and read once before anything is measured on it.
pub const SCRATCH_BYTES: u64 = 256 << 20;
/// One request while the scratch file is prepared; larger ones fall into the kernel's workers.
pub const SCRATCH_CHUNK_BYTES: usize = 512 << 10;
/// Requests in flight while the scratch file is prepared.
pub const SCRATCH_DEPTH: u64 = 8;
/// The unit of the device measurements.
pub const DISK_UNIT_BYTES: usize = 4096;
/// Reads in flight while the device's random reads are measured.
pub const DISK_READ_DEPTH: usize = 128;

/// Records of one loading transaction, before its bytes bound it.
pub const LOAD_BATCH_RECORDS_MAX: u64 = 256;
/// Bytes of one loading transaction.
pub const LOAD_BATCH_BYTES_MAX: u64 = 256 << 10;
/// Loading, and verifying, tasks on each shard.
pub const LOADERS_PER_SHARD: usize = 8;
/// Operations after which a client on a shard lets its neighbours run.
pub const OPS_BEFORE_YIELD: u32 = 8;
/// Attempts of one write that meets a conflict.
pub const CONFLICT_ATTEMPTS_MAX: u32 = 1_000;
/// Shortest and longest pause before such an attempt; half of each pause is drawn.
pub const BACK_OFF_US_MIN: u64 = 25;
pub const BACK_OFF_US_MAX: u64 = 4_000;
/// Missing writes that a report names one by one.
pub const MISSING_NAMED_MAX: usize = 16;
/// Latencies above this are recorded as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Commits a second that the disk-space estimate allows for.
pub const SPACE_COMMITS_PER_S: u64 = 150_000;
/// Free bytes that a run leaves to others.
pub const SPACE_RESERVE_BYTES: u64 = 256 << 20;
