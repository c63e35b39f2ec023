//! Every bound of this crate, by name (INV-9).

use crate::task::TASK_CLASS_COUNT;

/// Shards are numbered in 16 bits; more than this many is a configuration mistake.
pub const SHARDS_MAX: usize = 1024;

/// CPUs are numbered below this: the size of the C library's set of CPUs.
pub const CPUS_MAX: usize = 1024;

/// Alignment of every I/O buffer, and the largest direct-I/O alignment that is accepted.
pub const BUFFER_ALIGN_BYTES: usize = 4096;

/// Memory of buffer slabs is aligned for pages of this size, and made of them from this size on
/// where the operator has set some aside.
pub const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Larger requests fall into the kernel's worker pool, so reads and writes are split here.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;

/// Operations that a shard may have between submission and the future taking the result.
pub const OPS_PER_SHARD_MAX: usize = 16 * 1024;

/// Tasks alive on one shard.
pub const TASKS_PER_SHARD_MAX: usize = 1 << 20;

/// Control jobs run at the beginning of one turn; the rest wait for the next.
pub const CONTROL_JOBS_PER_TURN_MAX: usize = 64;

/// Completions that a turn takes before it runs tasks.
pub const COMPLETIONS_PER_TURN_MAX: usize = 1024;

/// Polls in one turn, so that completions are reaped and submissions handed over.
pub const TASK_POLLS_PER_TURN_MAX: usize = 128;

/// A turn polls nothing more after this much time in polls, for the same reason.
pub const TASK_POLLS_PER_TURN_US_MAX: u64 = 1_000;

/// Shares of a shard's CPU time: foreground, flush, merge, maintenance, on Seastar's scale of 1 to
/// 1,000. While all four want to run, merging gets 200 of 2,300.
pub const TASK_CLASS_SHARES: [u64; TASK_CLASS_COUNT] = [1_000, 1_000, 200, 100];

/// By how much virtual time a class may run ahead of the one furthest behind: at this share of
/// 1,000 a turn's worth of short polls of the foreground before a flush that is due.
pub const CLASS_LEAD_NS_MAX: u64 = 200_000;

/// What a poll counts at least and at most in its class's share.
pub const CLASS_POLL_NS_MIN: u64 = 500;
pub const CLASS_POLL_NS_MAX: u64 = 20_000_000;

/// Entries are handed to the kernel at this count; beyond it a batch gets no cheaper.
pub const SUBMIT_BATCH_MAX: usize = 32;

/// Fewer entries wait for the end of the turn, even where the device has nothing to do.
pub const SUBMIT_BATCH_MIN: usize = 3;

/// Submission-queue entries of a ring.
pub const RING_ENTRIES_DEFAULT: u32 = 256;
pub const RING_ENTRIES_MAX: u32 = 4096;

/// Completion-queue entries per submission-queue entry. In-flight operations stay below the
/// completion queue's size, because completions beyond it would overflow.
pub const RING_COMPLETIONS_PER_ENTRY: u32 = 4;

/// Completion-queue entries kept free for the wake-up poll and for cancellations.
pub const RING_COMPLETIONS_RESERVED: usize = 16;

/// How long a new ring may take to hear the bell before it is given up.
pub const RING_PROBE_MS_MAX: u64 = 10_000;

/// While a polling ring has operations in flight its shard does not sleep. Instead of one sleep
/// it looks at both rings this often and then turns, so a look bounds how late a timer is.
pub const POLLED_LOOKS_PER_PARK_MAX: usize = 64;

/// Files registered with one ring; the least recently used one makes room.
pub const REGISTERED_FILES_MAX: u32 = 256;

/// Worker threads that the kernel may start for one ring: bounded (disk), unbounded (sockets).
pub const RING_KERNEL_WORKERS_MAX: [u32; 2] = [4, 2];

/// Buffer memory registered with a shard's ring. RLIMIT_MEMLOCK is 8 MiB on many systems and
/// counts for all rings of a user together.
pub const BUFFER_SLAB_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
pub const BUFFER_SLAB_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Less registered memory than this is not worth having.
pub const BUFFER_SLAB_REGISTERED_BYTES_MIN: usize = 256 * 1024;

/// Entries of a ring's table of registered buffers; the kernel allows 16,384. The first is the
/// shard's slab, the others are segments of buffer pools.
pub const REGISTERED_BUFFERS_MAX: u16 = 8192;

/// Memory of one buffer pool.
pub const BUFFER_POOL_BYTES_MAX: usize = 1 << 40;

/// A pool is registered by at most this many segments, none smaller than a huge page: what one
/// registration makes resident at once is a bound of how long it holds the shard.
pub const POOL_SEGMENTS_MAX: usize = 2048;
pub const POOL_SEGMENT_BYTES_MIN: usize = HUGE_PAGE_BYTES;

/// Threads of the blocking pool beside rings, and where it has to carry all I/O.
pub const POOL_THREADS_BESIDE_RING_MAX: usize = 4;
pub const POOL_THREADS_ALONE_MAX: usize = 16;

/// Bytes that one blocking call writes while it zeroes a file.
pub const ZERO_CHUNK_BYTES: usize = 256 * 1024;

/// Entries of one directory listing.
pub const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;

/// Spinning before sleep, where a core is left for the threads that would wake the shard.
pub const IDLE_SPIN_US_DEFAULT: u32 = 20;
pub const IDLE_SPIN_US_MAX: u32 = 1_000_000;

/// A poll longer than this is counted as a stall and reported with the task's name.
pub const STALL_BUDGET_US_DEFAULT: u64 = 5_000;

/// How long shutdown reaps before it leaks the buffers of what is still in flight.
pub const SHUTDOWN_WAIT_MS_DEFAULT: u64 = 30_000;

/// Longest sleep of a shard with nothing in flight; a safety net, wake-ups do not depend on it.
pub const PARK_MS_MAX: u64 = 60_000;

/// Latencies above this are recorded as this.
pub const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;

const _: () = assert!(REQUEST_BYTES_MAX.is_multiple_of(BUFFER_ALIGN_BYTES));
const _: () = assert!(RING_COMPLETIONS_RESERVED < RING_COMPLETIONS_PER_ENTRY as usize * 8);

/// A task that calls `yield_if_needed` gives way after this much time in one poll, at the latest
/// at the second look of the watchdog, which looks this often while anybody asks.
pub const POLL_SLICE_US: u64 = 500;

/// In a simulation every so many calls of `yield_if_needed` give way.
pub const SIM_YIELD_CALLS: u64 = 4;

/// How often the watchdog looks while nobody asks for slices: below the stall budget.
pub const WATCHDOG_LOOK_US: u64 = 2_000;

/// Looks without any shard awake before the watchdog sleeps until one wakes up.
pub const WATCHDOG_IDLE_LOOKS_MAX: u32 = 5;

/// Names of tasks that the watchdog can tell apart; the others share one.
pub const TASK_NAMES_MAX: usize = 4096;

/// Longer sleeps end here; nothing in a store waits for a century.
pub const TASK_SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
/// A control group's memory limit from here on means that there is none.
pub const MEMORY_LIMIT_NONE: u64 = 1 << 60;
