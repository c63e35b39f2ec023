//! Every bound of this crate by name.

use std::time::Duration;

/// Writes of one transaction of the workload.
pub const TRANSACTION_WRITES_MAX: usize = 12;
/// Smallest value: the stamp that names its writer.
pub const VALUE_BYTES_MIN: u32 = 24;
/// Largest value that the workload writes; several blocks long.
pub const VALUE_BYTES_MAX: u32 = 96 << 10;
/// Keys of one keyspace of the workload.
pub const KEYS_PER_SPACE_MAX: u32 = 1 << 16;
/// Longest key that the workload makes.
pub const KEY_BYTES_MAX: usize = 900;
/// Violations that a history keeps; the rest are counted.
pub const VIOLATIONS_KEPT_MAX: usize = 16;
/// Ends of the surviving log that the judge tries before it calls the state unexplained.
pub const CUTS_TRIED_MAX: usize = 512;
/// Snapshots that one client holds while it goes on writing.
pub const SNAPSHOTS_HELD_MAX: usize = 3;
/// Clients of one simulated episode.
pub const CLIENTS_MAX: u64 = 12;
/// Size of a log segment: the smallest, so that runs cross many.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Snapshots that a comparison after reopening tries, each ended by a store that needs room.
pub const OBSERVATIONS_TRIED_MAX: u32 = 20;
/// Data pages that rot at the end of a seed, and newest root copies that rot at once.
pub const ROTTEN_PAGES_MAX: u64 = 40;
pub const ROTTEN_ROOTS_MAX: usize = 3;
/// Keys that are written after data pages rotted.
pub const WRITES_AFTER_ROT: u32 = 40;
/// Keys that are written while a device lies: enough for several merges of a small log.
pub const WRITES_BESIDE_LIES: u32 = 500;
/// Writes of which a log is made that then rots.
pub const WRITES_BEFORE_ROT: u32 = 150;
/// Crashes that are aimed at a moment of the store, in percent, how often it is looked at for
/// one, and steps between two looks.
pub const AIMED_CRASHES_PERCENT: u64 = 20;
pub const AIMS_MAX: u32 = 80;
pub const STEPS_PER_AIM: u64 = 40;
/// Episodes whose faults stop before they end, in percent.
pub const FAULTS_STOP_PERCENT: u64 = 10;
/// What a campaign of many seeds must have among those that count, in percent: seeds that merge,
/// and seeds that take a segment again.
pub const WITH_MERGE_PERCENT_MIN: u64 = 90;
pub const WITH_RECYCLE_PERCENT_MIN: u64 = 25;
/// Longest that an operation is stuck, and farthest that the wall clock jumps.
pub const STUCK_NS_MAX: u64 = 20_000_000_000;
pub const CLOCK_JUMP_MS_MAX: u64 = 100_000_000_000;
/// Blocks of noise behind the end of a log.
pub const GARBAGE_BLOCKS_MAX: u64 = 24;
/// What clients must get done once faults have stopped, and what they may try for it.
pub const LIVENESS_ACKNOWLEDGED_MIN: u64 = 60;
pub const LIVENESS_OPERATIONS_MAX: u64 = 2_000;
/// Bounds that a store is opened with: so tight that runs reach them, and so ample that none does.
pub const MEMORY_BYTES_TIGHT: u64 = 16 << 20;
pub const MEMORY_BYTES_AMPLE: u64 = 256 << 20;
pub const LOG_BYTES_AMPLE: u64 = 1 << 30;
/// Operations of a counted seed.
pub const OPERATIONS_MIN: u64 = 1_000;
/// Crash-and-reopen episodes of one seed, a bound against a run that never ends.
pub const EPISODES_MAX: u32 = 64;
/// Steps of the world that opening or verifying a store may take before it counts as hung.
pub const STEPS_OPEN_MAX: u64 = 3_000_000;
/// Steps of the world that one episode's clients may take before they count as hung.
pub const STEPS_EPISODE_MAX: u64 = 6_000_000;
/// Seeds among which every mark must have been reached.
pub const SEEDS_FOR_ALL_MARKS: u64 = 10_000;
/// Fewest operations that the search for a shorter run of a failing seed tries first.
pub const SHRUNK_OPERATIONS_MIN: u64 = 25;
/// Operations by which a shorter run may be longer than need be, and the words of a failure that
/// tell its kind.
pub const SHRUNK_OPERATIONS_GAP: u64 = 4;
pub const SHRUNK_KIND_WORDS: usize = 6;
/// Failing seeds that a range report report lists; the rest are counted.
pub const FAILURES_LISTED_MAX: usize = 50;
/// Steps between two looks at the progress of an episode's clients.
pub const STEPS_PER_LOOK: u64 = 20_000;
/// Virtual time without any progress after which clients count as hung.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// Openings that the end of a seed tries when planned faults hit them.
pub const LAST_LOOKS_MAX: u32 = 8;
/// Violations of one kind that an isolation report lists; the rest are counted.
pub const VIOLATIONS_LISTED_MAX: usize = 20;
/// Transactions of one strongly connected component from which the shortest cycle is sought.
pub const CYCLE_STARTS_MAX: usize = 2_000;
/// Transactions that the text of one lost update names; the rest are counted.
pub const WRITERS_NAMED_MAX: usize = 8;
/// Transactions of a counted seed of recorded histories, and how many of them, in percent, must
/// have ended by a conflict.
pub const RECORDED_TRANSACTIONS_MIN: u64 = 500;
pub const RECORDED_CONFLICTS_PERCENT_MIN: u64 = 10;
/// Crash-and-reopen lives of one recorded history.
pub const RECORDED_LIVES_MAX: u32 = 64;
/// Keys of one recorded history, over all its keyspaces: so few that all are fought over.
pub const RECORDED_KEYS_MAX: u64 = 16;
/// Operations of one recorded transaction.
pub const RECORDED_OPERATIONS_MAX: u64 = 6;
/// Padded value of a recorded history: so large that a full scan is more than one page.
pub const RECORDED_VALUE_BYTES_MAX: u64 = 32 << 10;
/// Seed of the sweeps: their failures are counted, not drawn.
pub const SWEEP_SEED: u64 = 41;
/// Refusals in a row of a sticky page allocation or memory charge.
pub const SWEEP_REFUSALS: u64 = 40;
/// Requests on one file that fail in a row when a failure is sticky: more than a life has.
pub const SWEEP_STICKY_FAULTS: u64 = 400;
/// How long a failure may take to be noticed, in virtual milliseconds, and how often a store that
/// goes on is asked again.
pub const SWEEP_SETTLE_MS: u64 = 200;
pub const SWEEP_ATTEMPTS: u32 = 40;
/// Openings of the store whose bytes are flipped, rounds of writes in each, rows of a keyspace:
/// enough for merges, inner nodes and values outside their leaf, and still small.
pub const FLIP_LIVES: u64 = 4;
pub const FLIP_ROUNDS: u32 = 5;
pub const FLIP_ROWS: u32 = 400;
/// Bytes that were flipped and not noticed where they should have been, or that changed data:
/// listed up to this.
pub const FLIPS_LISTED_MAX: usize = 16;
