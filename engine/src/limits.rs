//! Every bound of the engine by name (INV-9). Reaching one is back-pressure or an error that
//! names it, never growth.

/// Longest key. A key is 1 to this many bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest value. A value may be empty.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Longest keyspace name.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 255;
/// Keyspaces that exist at once.
pub const KEYSPACES_MAX: usize = 1024;
/// Tablets of one keyspace.
pub const TABLETS_PER_KEYSPACE_MAX: usize = 1024;
/// Tablets of a hash keyspace when the caller names no number.
pub const TABLETS_PER_KEYSPACE_DEFAULT: u32 = 16;
/// Longest prefix that a hash keyspace may route by.
pub const PREFIX_BYTES_MAX: usize = KEY_BYTES_MAX;

/// Largest log record. A store's own bound is half of its log ring, so that one transaction never
/// waits for itself: less than this when the memory budget is small.
pub const RECORD_BYTES_MAX: usize = 17 << 20;
/// Writes of one transaction.
pub const TRANSACTION_OPS_MAX: usize = 1 << 17;
/// Savepoints of one transaction that are there at once.
pub const SAVEPOINTS_MAX: usize = 1 << 10;
/// Locks that one transaction may ask for.
pub const LOCKS_PER_TRANSACTION_MAX: u64 = 1 << 16;
/// Keys of one shard that are locked, and requests that wait for them, together.
pub const LOCKS_PER_SHARD_MAX: usize = 1 << 18;
/// How long a lock is waited for when nothing is said.
pub const LOCK_WAIT_DEFAULT_MS: u64 = 10_000;
/// Keys and ranges that a serializable transaction remembers to have read. Beyond them one range
/// in each tablet covers what was read: the transaction may conflict where it need not.
pub const TRANSACTION_READ_KEYS_MAX: usize = 1 << 14;
pub const TRANSACTION_READ_RANGES_MAX: usize = 1 << 10;
/// Blocks of the shared log ring: one byte in `LOG_RING_SHARE` of the memory budget, within these.
pub const LOG_RING_BLOCKS_MIN: usize = 264;
pub const LOG_RING_BLOCKS_MAX: usize = 8848;
pub const LOG_RING_SHARE: u64 = 12;
/// Log writes in flight at once.
pub const LOG_FLIGHTS_MAX: usize = 4;
/// Waiting bytes from which a second log write may start while one is in flight.
pub const LOG_SECOND_FLIGHT_BYTES_MIN: u64 = 3 << 10;
/// Blocks of one log write: 512 KiB, above which the kernel hands requests to a worker thread.
pub const LOG_WRITE_BLOCKS_MAX: usize = 128;
/// Smallest and largest segment.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Highest number of a segment, so that twice any position in the log is still an LSN.
pub const SEGMENT_NUMBER_MAX: u64 = (1 << 33) - 1;
/// Bytes zero-written at a time while a segment is prepared.
pub const SEGMENT_ZERO_STEP_BYTES: u64 = 4 << 20;
/// Above this part of `log_bytes_max`, in percent, the tablets that pin the log are merged at once.
pub const LOG_SOFT_PERCENT: u64 = 25;
/// Truncated segments that are kept for use; further ones are removed.
pub const LOG_SPARE_SEGMENTS: usize = 2;
/// Default bound of the log's space on disk; commits beyond it get `LogFull`.
pub const LOG_BYTES_MAX_DEFAULT: u64 = 16 << 30;
/// Links between incarnations that one superblock copy holds.
pub const LINKS_MAX: usize = 32_768;
/// The log counts as idle this long after its last write; then one block stamps `durable`.
pub const LOG_IDLE_STAMP_MS: u64 = 100;
/// Bytes of one read while the log is scanned at open.
pub const SCAN_READ_BYTES: usize = 512 << 10;
/// Scan reads in flight at once.
pub const SCAN_READS_IN_FLIGHT: usize = 8;

/// Writes by which each durability method is measured when a store is made.
pub const METHOD_PROBE_WRITES: usize = 24;
/// A method off the ring must be this much faster than one on it to be chosen, in percent.
pub const METHOD_RING_ADVANTAGE_PERCENT: u64 = 10;
/// Bytes that one replay batch to a shard carries.
pub const REPLAY_BATCH_BYTES: usize = 256 << 10;
/// Replay batches waiting for one shard.
pub const REPLAY_BATCHES_MAX: usize = 8;

/// Snapshots, and so transactions, open at once.
pub const SNAPSHOTS_MAX: usize = 4096;
/// Slots of each shard's mailbox for outside threads.
pub const MAILBOX_SLOTS: usize = 1024;
/// Slots of each lane between two shards.
pub const MESH_SLOTS: usize = 256;
/// Rows and bytes of one scan page.
pub const SCAN_PAGE_ROWS_MAX: usize = 1024;
pub const SCAN_PAGE_BYTES_MAX: usize = 256 << 10;
/// Keys that one scan page looks at, so that a range of deleted keys does not hold the shard.
pub const SCAN_PAGE_LOOKED_AT_MAX: usize = 4096;
/// Superseded versions that one write or one tidy-up removes at most.
pub const GARBAGE_STEP_MAX: usize = 256;

/// Default memory budget of a store: windows, cache, log ring and queues.
pub const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// Shares of the memory budget in percent; the rest is for the log ring, merges and queues.
pub const MEMORY_WINDOWS_PERCENT: u64 = 50;
pub const MEMORY_CACHE_PERCENT: u64 = 40;
/// Part of a control group's memory limit, in percent, that a store takes at most.
pub const MEMORY_LIMIT_PERCENT: u64 = 75;
/// Smallest memory budget that can be opened.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// Largest memory budget that can be opened.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;
/// Bytes that the first version of a key costs in a window beside key and value.
pub const WINDOW_ENTRY_OVERHEAD_BYTES: u64 =
    WINDOW_KEY_OVERHEAD_BYTES + WINDOW_VERSION_OVERHEAD_BYTES;
/// Longest latency that histograms tell apart, in nanoseconds (60 s).
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Requests that a shard takes from one queue before it lets other tasks run.
pub const REQUESTS_PER_TURN_MAX: usize = 64;
/// Reads of a shard after which its cache's counters are shown anew; merges show them too.
pub const READS_PER_CACHE_REPORT: u64 = 256;
/// Changes of the set of keyspaces that wait at once.
pub const CATALOG_CHANGES_MAX: usize = 64;
/// Interval at which a closing store looks whether its commits are settled.
pub const DRAIN_POLL_US: u64 = 200;
/// Default bound of the data file in bytes: as much as the file system gives.
pub const DATA_BYTES_MAX_DEFAULT: u64 = u64::MAX;
/// Age at which a read-write transaction is ended, in milliseconds, unless told otherwise.
pub const TRANSACTION_AGE_MS_DEFAULT: u64 = 10 * 60 * 1000;
/// Windows are merged while they take more than this part of their share, in percent.
pub const MERGE_ABOVE_PERCENT: u64 = 30;
/// A window larger than this is merged.
pub const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// Keys and bytes that a merge hands to the tree at once.
pub const MERGE_BATCH_KEYS: usize = 1024;
pub const MERGE_BATCH_BYTES: usize = 1 << 20;
/// Merges of one tablet in a row for which the device fails to read a page, until the page counts
/// as damaged.
pub const MERGE_READ_FAILURES_MAX: u32 = 8;
/// Bytes of new pages after which a merge publishes what it has.
pub const MERGE_SLICE_BYTES: u64 = 16 << 20;
/// A slice is at most this part of what windows may take, so that a small store gives back pages
/// of older roots as it merges.
pub const MERGE_SLICE_SHARE: u64 = 8;
/// Largest write of a merge, and how many of them are in flight.
pub const MERGE_WRITE_BYTES: usize = 256 << 10;
pub const MERGE_WRITES_IN_FLIGHT: usize = 2;
/// Interval at which shards look for laggards and for snapshots that are too old.
pub const MERGE_TICK_MS: u64 = 250;
/// Roots that wait for the publisher.
pub const PUBLISH_REQUESTS_MAX: usize = 64;
/// Empty extents that a tablet keeps.
pub const EXTENTS_KEPT: usize = 2;
/// Leaves that a range read fetches ahead.
pub const SCAN_PREFETCH_PAGES: usize = 8;
/// Part of the windows' share, in percent, that views may hold before the oldest snapshot ends:
/// what all windows may have grown to when the last of them is merged for the first time.
pub const VIEWS_PERCENT_MAX: u64 = 60;
/// Part of the windows' share, in percent, above which views are cut down to what their snapshots
/// read; those of snapshots that are younger than this wait, as most of them end soon.
pub const VIEWS_REDUCE_PERCENT: u64 = 10;
pub const VIEW_REDUCE_AGE_MS: u64 = 50;
/// Snapshots of one view for which that is tried, and keys looked at in one step of it.
pub const VIEW_REDUCE_SNAPSHOTS_MAX: usize = 16;
pub const VIEW_REDUCE_STEP_KEYS: usize = 256;
/// Views of one tablet before the oldest snapshot ends.
pub const VIEWS_PER_TABLET_MAX: usize = 64;
/// Budgets of `Options::temporary()`.
pub const MEMORY_BYTES_TEMPORARY: u64 = 32 << 20;
pub const LOG_BYTES_MAX_TEMPORARY: u64 = 64 << 20;
/// Attempts of `Db::run`, and how long after the first one begins the last may begin, before the
/// conflict is handed to the caller.
pub const RUN_ATTEMPTS_MAX_DEFAULT: u32 = 64;
pub const RUN_TIME_MS_DEFAULT: u64 = 10_000;
/// First pause of `Db::run` after a conflict, in microseconds; it doubles this often.
pub const RUN_BACKOFF_US: u64 = 100;
pub const RUN_BACKOFF_DOUBLINGS_MAX: u32 = 8;
/// Default bytes a second that a store's scrubber reads: under a hundredth of what a fast disk
/// gives and about a hundredth of a core, and still 330 GiB a day.
pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 << 20;
/// Default time from one pass of the scrubber to the next, from start to start.
pub const SCRUB_INTERVAL_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;
/// The first pass begins this long after opening, so that openings for a moment read nothing.
pub const SCRUB_FIRST_DELAY_MS: u64 = 60_000;
/// Least rest between two passes.
pub const SCRUB_REST_MS_MIN: u64 = 10;
/// Pages of a tree that the scrubber reads under one root before it lets go of it.
pub const SCRUB_PART_PAGES: usize = 64;
/// Bytes of one read of the scrubber in the log and in the root table.
pub const SCRUB_READ_BYTES: usize = 256 << 10;
/// Attempts to find a root page that nobody is writing, and the pause between them.
pub const SCRUB_ROOT_ATTEMPTS_MAX: u32 = 16;
pub const SCRUB_ROOT_PAUSE_MS: u64 = 5;
/// Damaged places that the scrubber keeps and tells of.
pub const SCRUB_PROBLEMS_MAX: usize = 1024;
/// Interval at which the owner refreshes the metrics file of a live store.
pub const METRICS_REFRESH_MS: u64 = 1_000;

/// Sizes that a store's pages may have; powers of two between these.
pub const PAGE_SIZE_BYTES_MIN: u32 = 4 << 10;
pub const PAGE_SIZE_BYTES_MAX: u32 = 32 << 10;
/// Page size of a new store when the caller names none.
pub const PAGE_SIZE_BYTES_DEFAULT: u32 = 4 << 10;
/// Unit in which the data file is given to tablets.
pub const EXTENT_BYTES: u64 = 256 << 10;

const _: () = assert!(2 * RECORD_BYTES_MAX <= LOG_RING_BLOCKS_MAX * 4032);
const _: () = assert!(VALUE_BYTES_MAX + 2 * KEY_BYTES_MAX < RECORD_BYTES_MAX);

/// Slots of the root table; each is one page of 4,096 bytes in two copies.
pub const ROOT_SLOTS: u32 = 256;
/// Bits of a root page that was never written that may have rotted: a written one has more set in
/// its magic alone.
pub const ROOT_BLANK_BITS_MAX: u32 = 8;
/// Longest lower boundary of a tablet: a routing hash and a key.
pub const BOUNDARY_BYTES_MAX: usize = 8 + KEY_BYTES_MAX;
/// Step in which the data file grows and shrinks, and free space kept ahead of need: a quarter
/// of the file, between these bounds. A store whose `data_bytes_max` is small takes
/// `data_bytes_max / GROWTH_STEPS_MIN`, whole extents.
pub const GROWTH_STEP_BYTES: u64 = 16 << 20;
pub const GROWTH_STEP_BYTES_MIN: u64 = 1 << 20;
pub const GROWTH_STEPS_MIN: u64 = 16;
/// Interval at which a flush of the data file looks whether those beside it have ended.
pub const FLUSH_POLL_US: u64 = 50;
/// Bytes zero-written at a time while the data file grows.
pub const GROWTH_ZERO_STEP_BYTES: u64 = 4 << 20;
/// Space that only merges and deletes use once the data file cannot grow: a quarter of the file
/// between these bounds, at most an eighth of `data_bytes_max`.
pub const DATA_RESERVE_BYTES: u64 = 8 << 20;
pub const DATA_RESERVE_BYTES_MIN: u64 = 4 << 20;
/// Smallest bound of the data file: the root table and room for a few tablets, and at least so
/// many pages that two merges find room for a step, however little is free besides.
pub const DATA_BYTES_MIN: u64 = 16 << 20;
pub const DATA_PAGES_MIN: u64 = 2 * REBUILD_UNIT_PAGES_MAX as u64;
/// Fragmented extents that one search for a run of pages looks at.
pub const RUN_SEARCH_EXTENTS_MAX: usize = 64;

const _: () = assert!(EXTENT_BYTES.is_multiple_of(PAGE_SIZE_BYTES_MAX as u64));
const _: () = assert!(EXTENT_BYTES / PAGE_SIZE_BYTES_MIN as u64 <= 64, "a bitmap is one u64");
const _: () = assert!((ROOT_SLOTS as u64 * 4096).is_multiple_of(EXTENT_BYTES));
/// Largest value that a window copies; a larger one is counted where it lies.
pub const WINDOW_INLINE_VALUE_BYTES_MAX: usize = 256;
/// Bytes of one chunk of a window's arenas.
pub const WINDOW_CHUNK_BYTES: usize = 64 << 10;
/// Bytes of one arena: windows are frozen long before.
pub const WINDOW_ARENA_BYTES_MAX: u64 = 16 << 30;
/// Bytes that a key costs in a window beside itself: record, hash, half-full tree, queue.
pub const WINDOW_KEY_OVERHEAD_BYTES: u64 = 88;
/// Bytes that each version costs beside its value: its head, rounding, ends of chunks.
pub const WINDOW_VERSION_OVERHEAD_BYTES: u64 = 32;
/// Bytes that a value costs beside this when it is counted instead of copied.
pub const WINDOW_LARGE_VALUE_BYTES: u64 = 96;
/// Memory that a resident page takes beside its bytes: header, map entry, queue links, ghost.
pub const CACHE_FRAME_OVERHEAD_BYTES: u64 = 256;
/// Share of a cache that pages on probation may take before they are the ones evicted.
pub const CACHE_PROBATION_PERCENT: u64 = 10;
/// Hits on probation by which a page gets into the main queue. One is no proof: a page that was
/// prefetched is hit once by the scan that it was prefetched for.
pub const CACHE_PROMOTION_HITS_MIN: u8 = 2;
/// Rounds that a leaf, and an inner node, survive in the main queue without a further hit.
pub const CACHE_LEAF_HITS_MAX: u8 = 3;
pub const CACHE_INNER_HITS_MAX: u8 = 7;
/// Evicted pages that are remembered by name at least; else as many as there are resident.
pub const CACHE_GHOSTS_MIN: usize = 16;
/// Pages held by readers that one eviction looks at before it gives up; the page that needed
/// room is then read for its readers only.
pub const CACHE_PINNED_SKIPS_MAX: usize = 64;
/// Pages that a cache reads ahead at once, in number and as a share of its budget. More than
/// probation holds would be evicted before they are used.
pub const CACHE_PREFETCHES_MAX: usize = 256;
pub const CACHE_PREFETCH_PERCENT_MAX: u64 = CACHE_PROBATION_PERCENT;
/// Longest key of a window and of a tree: a caller's key behind its routing hash.
pub const WINDOW_KEY_BYTES_MAX: usize = KEY_BYTES_MAX + 8;
/// Longest value that the tree's format can hold, in an overflow run.
pub const OVERFLOW_VALUE_BYTES_MAX: usize = 16 << 20;
/// Highest level of a tree's node; leaves are level 0.
pub const TREE_LEVEL_MAX: u8 = 23;
/// Pages of content of one level above which a rebuild writes full ones while more comes in.
pub const REBUILD_OPEN_PAGES_MAX: usize = 4;
/// Planned pages of one level that a rebuild holds back at most.
pub const REBUILD_HELD_BACK_PAGES_MAX: usize = 4;
/// Deletes that a rebuild looks up in a leaf before it rewrites it for them.
pub const REBUILD_DELETES_LOOKED_UP_MAX: usize = 256;
/// Pages that one step of a tree's rebuild allocates at most.
pub const REBUILD_UNIT_PAGES_MAX: usize = 512;
/// Pages after which a step of a rebuild gives the caller a turn.
pub const REBUILD_TURN_PAGES: usize = 64;
/// Batch entries and nodes that one step of a rebuild takes in before the caller gets a turn.
pub const REBUILD_TURN_ENTRIES: usize = 4096;
pub const REBUILD_TURN_NODES: usize = 256;
/// Missing pages that a rebuild names at once.
pub const REBUILD_NEED_PAGES_MAX: usize = 128;
/// Bytes of a key that the message of an error shows.
pub const ERROR_KEY_BYTES_MAX: usize = 64;
/// Bytes that a repair copies at a time, when it keeps a segment aside.
pub const REPAIR_COPY_BYTES: usize = 256 << 10;
/// Segments whose numbers a repair leaves out when it ends a log, for those that are gone: of
/// 64 MiB, more than 4 TiB.
pub const REPAIR_SEGMENTS_SKIPPED: u64 = 1 << 16;
/// Lost keys that a repair names; of more it tells how many there are.
pub const REPAIR_LOST_KEYS_MAX: usize = 10_000;
/// Rows, and bytes of values, that a salvage writes in one transaction.
pub const SALVAGE_BATCH_ROWS: usize = 256;
pub const SALVAGE_BATCH_BYTES: usize = 256 << 10;
