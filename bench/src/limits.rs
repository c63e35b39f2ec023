//! Every bound of the bench by name.

/// Clients of one phase.
pub const CLIENTS_MAX: usize = 1024;
/// Records of one run whose ledger follows every record: each costs 32 bytes in the ledger that
/// the verification reads.
pub const RECORDS_MAX: u64 = 1 << 26;
/// Records of one run that remembers only some of them.
pub const RECORDS_SAMPLED_MAX: u64 = 1 << 36;
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
/// Records of one loading transaction where the data is larger than the cache.
pub const LARGE_LOAD_BATCH_RECORDS_MAX: u64 = 512;
/// Loading, and verifying, tasks on each shard.
pub const LOADERS_PER_SHARD: usize = 8;
/// Operations after which a client on a shard lets its neighbours run.
pub const OPS_BEFORE_YIELD: u32 = 8;
/// Attempts of one write that meets a conflict.
pub const CONFLICT_ATTEMPTS_MAX: u32 = 1_000;
/// Shortest and longest pause before such an attempt; half of each pause is drawn.
pub const BACK_OFF_US_MIN: u64 = 25;
pub const BACK_OFF_US_MAX: u64 = 4_000;
/// Attempts of one write that the store has no room for at the moment, and the pause between
/// them: merging, and letting go of old pages, goes on meanwhile.
pub const ROOM_ATTEMPTS_MAX: u32 = 500;
pub const ROOM_PAUSE_US: u64 = 20_000;
/// Records of one scan; each length from 1 is as likely.
pub const SCAN_ROWS_MAX: u64 = 100;
/// Tablets of a keyspace in key order: as many as a hashed one has.
pub const RANGE_TABLETS: u64 = 16;
/// Records of one piece of the ledger, which is made when one of them is written.
pub const LEDGER_PIECE_RECORDS: u64 = 1 << 14;
/// Missing writes that a report names one by one.
pub const MISSING_NAMED_MAX: usize = 16;
/// Latencies above this are recorded as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Commits a second that the disk-space estimate allows for.
pub const SPACE_COMMITS_PER_S: u64 = 150_000;
/// Free bytes that a run leaves to others.
pub const SPACE_RESERVE_BYTES: u64 = 256 << 20;

/// Records that a run follows when it loads too many to remember.
pub const RECORDS_FOLLOWED: u64 = 10_000;
/// Data of a run that is larger than the cache.
pub const LARGE_DATA_BYTES_MIN: u64 = 1 << 20;
pub const LARGE_DATA_BYTES_MAX: u64 = 1 << 42;
pub const LARGE_DATA_BYTES_DEFAULT: u64 = 5 << 30;
pub const LARGE_MEMORY_BYTES_DEFAULT: u64 = 512 << 20;
pub const LARGE_CLIENTS_DEFAULT: usize = 128;
pub const LARGE_SECONDS_DEFAULT: u64 = 10;
pub const LARGE_WARMUP_SECONDS_DEFAULT: u64 = 10;
/// Warm-up of each side of a pair of reads, once the first lookups have warmed the cache.
pub const READ_PAIR_WARMUP_SECONDS: u64 = 1;
/// Device reads of a lookup below which lookups were not cold.
pub const COLD_DEVICE_READS_MIN: f64 = 0.85;
/// Space of the data file beside its rows: half-full pages, replaced pages, room to grow.
pub const DATA_SPACE_FACTOR: u64 = 4;
/// The same where a snapshot holds the first state.
pub const CHURN_SPACE_FACTOR: u64 = 8;
/// Bytes of the data file that any store may have: root table, extents of each tablet.
pub const DATA_SPACE_BYTES_MIN: u64 = 64 << 20;
/// Bytes of log for each byte of memory, so that the windows and not the log decide when to merge.
pub const LOG_PER_MEMORY: u64 = 4;
pub const LOG_SPACE_BYTES_MIN: u64 = 1 << 30;
/// Merging has settled when nothing of it moved for this long.
pub const SETTLE_QUIET_MS: u64 = 1_500;
/// Longest wait for that.
pub const SETTLE_SECONDS_MAX: u64 = 1_800;
/// How often a wait looks.
pub const SETTLE_POLL_MS: u64 = 100;
/// Bytes at the beginning of the data file that hold its root table.
pub const DATA_FILE_HEAD_BYTES: u64 = 2 << 20;

/// Writes of a churn as a multiple of the live data.
pub const CHURN_FACTOR_MAX: u64 = 10_000;
/// Live data of a churn as a multiple of the memory, unless a number of records is asked for.
pub const CHURN_LIVE_PER_MEMORY: u64 = 4;
pub const CHURN_MEMORY_BYTES_DEFAULT: u64 = 128 << 20;
/// Clients of a churn, and records of one of their transactions.
pub const CHURN_CLIENTS_DEFAULT: usize = 16;
pub const CHURN_BATCH_RECORDS: u64 = 64;
/// A churn is sampled this often, or more often when it is short.
pub const CHURN_SAMPLE_MS: u64 = 1_000;
pub const CHURN_SAMPLES_WANTED: u64 = 200;
/// Points of a curve; beyond it every second one goes.
pub const CURVE_POINTS_MAX: usize = 4_096;
/// Points of a curve that people see.
pub const CURVE_POINTS_SHOWN: usize = 20;
/// Reads in flight while a snapshot is judged.
pub const JUDGE_DEPTH: usize = 32;

/// Reads of one benchmark transaction, and its updates.
pub const TRANSACTION_READS: usize = 2;
pub const TRANSACTION_UPDATES: usize = 2;
/// Draws of a record that one transaction does not have yet; then the next free one is taken.
pub const DISTINCT_DRAWS_MAX: u32 = 64;
/// Commits over two shards, and on one, that are counted one by one.
pub const CROSSING_COMMITS: u64 = 1_000;
/// Records that are looked at to find one on the wanted shard.
pub const CROSSING_PARTNERS_MAX: u64 = 256;

/// Long transactions at work together, the time one takes, and the keys that it reads in it.
pub const LONG_CLIENTS: usize = 128;
pub const LONG_TRANSACTION_MS: u64 = 1_000;
pub const LONG_READS: usize = 20;
pub const LONG_SECONDS_DEFAULT: u64 = 30;
/// Most false aborts in a hundred aborts of long transactions that are a good result.
pub const LONG_FALSE_PERCENT_MAX: f64 = 1.0;
/// Transactions of one recorded history, so that a number of 32 bits names each.
pub const HISTORY_TRANSACTIONS_MAX: usize = 1 << 22;
/// Transactions of a history after which its clients stop: those on their way still fit in.
pub const HISTORY_TRANSACTIONS_WANTED: u64 = HISTORY_TRANSACTIONS_MAX as u64 - (1 << 14);
/// Commits that a history remembers, 16 bytes each, and the locks that they are spread over.
pub const HISTORY_VERSIONS_MAX: u64 = 1 << 25;
pub const HISTORY_SHELVES: usize = 64;

/// How often the thread that watches an idle store looks whether it is to stop.
pub const IDLE_LOOK_MS: u64 = 500;
pub const IDLE_SECONDS_DEFAULT: u64 = 10;
/// Share of one core, in percent, that an idle store is to stay below.
pub const IDLE_PERCENT_MAX: f64 = 1.0;

/// TPC-C's cardinalities (clause 1.2.1): districts of a warehouse, and, a tenth and a hundredth
/// of the original, customers of a district and items.
pub const TPCC_DISTRICTS: u32 = 10;
pub const TPCC_CUSTOMERS: u32 = 300;
pub const TPCC_ITEMS: u32 = 1_000;
pub const TPCC_WAREHOUSES_MAX: u32 = 1_000;
pub const TPCC_WAREHOUSES_DEFAULT: u32 = 8;
pub const TPCC_CLIENTS_DEFAULT: usize = 16;
pub const TPCC_SECONDS_DEFAULT: u64 = 10;
/// Memory of the store, unless told otherwise, at most.
pub const TPCC_MEMORY_BYTES_DEFAULT_MAX: u64 = 4 << 30;
/// Rows of one loading transaction.
pub const TPCC_LOAD_BATCH_ROWS: usize = 512;
/// What the disk-space estimate allows for: a warehouse as loaded, an order, orders a second.
pub const TPCC_WAREHOUSE_BYTES: u64 = 6 << 20;
pub const TPCC_ORDER_BYTES: u64 = 1_536;
pub const TPCC_SPACE_ORDERS_PER_S: u64 = 10_000;
/// Violations of a consistency condition that a report names one by one.
pub const TPCC_VIOLATIONS_NAMED_MAX: usize = 16;

/// Mantissa bits of the disk tool's latency buckets, and how many buckets there are: fio's own
/// figures, on which its tools rely.
pub const LATENCY_BUCKET_BITS: u32 = 6;
pub const LATENCY_BUCKETS: usize = 29 << LATENCY_BUCKET_BITS;
/// Entries of one log of one job of the disk tool, 24 bytes each; further ones are counted.
pub const JOB_LOG_ENTRIES_MAX: usize = 1 << 22;
/// Entries by which such a log grows, so that growing copies nothing.
pub const JOB_LOG_CHUNK_ENTRIES: usize = 1 << 12;

/// Bytes at the head of a block that the disk tool verifies.
pub const DISK_VERIFY_HEADER_BYTES: usize = 32;
/// Of each so many bytes the first eight change when a buffer is written again.
pub const DISK_SCRAMBLE_BYTES: usize = 512;
/// One request, and requests in flight, while a job's file is laid out.
pub const DISK_LAYOUT_CHUNK_BYTES: usize = 512 << 10;
pub const DISK_LAYOUT_DEPTH: usize = 8;
/// Longest sleep of a job that waits for its start or pauses: how soon it hears of a stop.
pub const DISK_SLEEP_MS_MAX: u64 = 100;
/// Threads of one run of job files: all clones of all jobs. As many as fio allows.
pub const DISK_JOB_THREADS_MAX: u32 = 4_096;
/// Files of one run, over all of its threads.
pub const DISK_JOB_FILES_MAX: u64 = 1 << 16;
/// Files of one thread that a plan names to people.
pub const DISK_JOB_FILES_SHOWN_MAX: usize = 8;
/// Bytes of a job file and everything that it includes.
pub const DISK_JOB_FILE_BYTES_MAX: usize = 1 << 20;
/// Files that are inside each other, and includes in all.
pub const DISK_JOB_INCLUDE_DEPTH_MAX: usize = 16;
pub const DISK_JOB_INCLUDES_MAX: usize = 1_024;
/// Sections of a job file, and options over all of them.
pub const DISK_JOB_SECTIONS_MAX: usize = 4_096;
pub const DISK_JOB_OPTIONS_MAX: usize = 1 << 16;
/// Errors after which the rest of a job file is left alone.
pub const DISK_JOB_ERRORS_MAX: usize = 1_000;
/// Bytes of one value once its variables are in place.
pub const DISK_JOB_VALUE_BYTES_MAX: usize = 1 << 16;
/// Bytes of an unknown option's name above which no similar one is looked for.
pub const DISK_JOB_NAME_BYTES_MAX: usize = 48;
/// Characters of the user's text that an error repeats.
pub const DISK_JOB_SHOWN_CHARS_MAX: usize = 80;
/// Parentheses inside each other in a value.
pub const DISK_JOB_EXPRESSION_DEPTH_MAX: usize = 32;
/// Largest block, and all blocks that one thread has in flight.
pub const DISK_JOB_BLOCK_BYTES_MAX: u64 = 1 << 30;
pub const DISK_JOB_BUFFER_BYTES_MAX: u64 = 4 << 30;
/// Sizes of one `bssplit` direction, as with fio.
pub const DISK_JOB_SPLIT_PARTS_MAX: usize = 64;
/// Operations in flight of one thread.
pub const DISK_JOB_IODEPTH_MAX: u32 = 4_096;
/// Operations for each drawn offset.
pub const DISK_JOB_OPS_PER_OFFSET_MAX: u64 = 1 << 32;
/// What block sizes and offsets of direct operations are multiples of, at the least.
pub const DISK_JOB_DIRECT_ALIGN_BYTES: u64 = 512;
/// Smallest block that carries a header to verify it by.
pub const DISK_JOB_VERIFY_BLOCK_BYTES_MIN: u64 = 512;
/// Highest CPU number.
pub const DISK_JOB_CPU_MAX: usize = 4_095;
/// Percentiles of one job's report, as with fio.
pub const DISK_JOB_PERCENTILES_MAX: usize = 20;
/// Longest runtime, ramp or delay; longest pause between operations, and cycle of a rate.
pub const DISK_JOB_SECONDS_MAX: u64 = 366 * 86_400;
pub const DISK_JOB_PAUSE_SECONDS_MAX: u64 = 3_600;
/// Times that one job runs.
pub const DISK_JOB_LOOPS_MAX: u64 = u32::MAX as u64;
/// Bytes, or operations, a second of one direction.
pub const DISK_JOB_RATE_MAX: u64 = 1 << 50;
/// Longest interval of a log or a sample.
pub const DISK_JOB_SAMPLE_MS_MAX: u64 = 86_400_000;
/// Submission entries of a job's ring beside its depth: the bell, cancellations.
pub const DISK_RING_SPARE_ENTRIES: u32 = 8;
/// Registered buffer memory of a job beside its own buffers.
pub const DISK_SLAB_SPARE_BYTES: usize = 64 << 10;
/// How often the status line of a disk run is drawn.
pub const STATUS_LINE_MS: u64 = 1_000;

/// The 99th percentile of fdatasync from which a disk is not fit for a log, as etcd's
/// documentation has it, and from which it is close to that; and a slowest flush in a thousand
/// that people notice.
pub const WAL_P99_NS_MAX: u64 = 10_000_000;
pub const WAL_P99_NS_WARN: u64 = 5_000_000;
pub const WAL_P999_NS_WARN: u64 = 100_000_000;
/// Bytes at a device's beginning that are searched for what it holds.
pub const DISK_TARGET_HEAD_BYTES: usize = 1 << 20;
