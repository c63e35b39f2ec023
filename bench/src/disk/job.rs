//! One job of a job file, typed: what it asks for, with every option resolved. Knows nothing of
//! text, files that exist, or time.

use std::path::PathBuf;
use std::time::Duration;

/// What an operation does to the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    Read,
    Write,
    Trim,
}

pub const DIRECTION_COUNT: usize = 3;

impl Direction {
    pub const ALL: [Direction; DIRECTION_COUNT] =
        [Direction::Read, Direction::Write, Direction::Trim];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
            Direction::Trim => "trim",
        }
    }
}

/// One value for each direction, in the order of `Direction::ALL`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ByDirection<T>(pub [T; DIRECTION_COUNT]);

impl<T> ByDirection<T> {
    pub fn of(&self, direction: Direction) -> &T {
        &self.0[direction.index()]
    }

    pub fn of_mut(&mut self, direction: Direction) -> &mut T {
        &mut self.0[direction.index()]
    }
}

impl<T: Clone> ByDirection<T> {
    pub fn all(value: T) -> ByDirection<T> {
        ByDirection([value.clone(), value.clone(), value])
    }
}

/// Which directions a job mixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    Read,
    Write,
    Trim,
    /// Reads and writes, `Job::read_percent` of them reads.
    ReadWrite,
    /// Each block is trimmed, then written.
    TrimWrite,
}

impl Mix {
    pub const fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => matches!(self, Mix::Read | Mix::ReadWrite),
            Direction::Write => matches!(self, Mix::Write | Mix::ReadWrite | Mix::TrimWrite),
            Direction::Trim => matches!(self, Mix::Trim | Mix::TrimWrite),
        }
    }
}

/// How a sequential pattern's number after the colon, and a random one's, is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequencer {
    /// The next offset continues after the last: a random job draws a new place only every N
    /// operations, in order between; a sequential job skips by N bytes after each.
    Sequential,
    /// The same offset is used N times before the next.
    Identical,
}

/// The `rw` option, e.g. `randrw:8` or `write:4k`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    pub mix: Mix,
    pub is_random: bool,
    /// Of a random pattern: operations per drawn offset; 1 by default.
    pub ops_per_offset: u64,
    /// Of a sequential pattern: bytes added to the offset after each operation. Negative goes
    /// backwards.
    pub skip_bytes: i64,
    pub sequencer: Sequencer,
}

/// How large the requests of one direction are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlockSize {
    Fixed(u64),
    /// Uniform between the two, in multiples of the smaller.
    Range {
        min: u64,
        max: u64,
    },
    /// Sizes with their share in percent; the shares add up to 100.
    Split(Vec<(u64, u32)>),
}

impl BlockSize {
    pub fn min_bytes(&self) -> u64 {
        match self {
            BlockSize::Fixed(bytes) => *bytes,
            BlockSize::Range { min, .. } => *min,
            BlockSize::Split(parts) => parts.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0),
        }
    }

    pub fn max_bytes(&self) -> u64 {
        match self {
            BlockSize::Fixed(bytes) => *bytes,
            BlockSize::Range { max, .. } => *max,
            BlockSize::Split(parts) => parts.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    IoUring,
    /// One system call for each operation on the job's own thread.
    Psync,
    /// Every operation completes at once: what is left is the tool's own cost.
    Null,
}

impl Engine {
    pub const fn name(self) -> &'static str {
        match self {
            Engine::IoUring => "io_uring",
            Engine::Psync => "psync",
            Engine::Null => "null",
        }
    }
}

/// The `sync` option: how each write is made durable by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteSync {
    None,
    /// O_SYNC.
    Sync,
    /// O_DSYNC.
    Dsync,
}

/// A length or place: absolute, or a share of the file's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    Bytes(u64),
    Percent(u32),
}

/// How random offsets are drawn. Parameters as fio has them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Distribution {
    Uniform,
    /// `theta`, and where in the range the hottest block lies (0 to 1), if not scattered.
    Zipf {
        theta: f64,
        center: Option<f64>,
    },
    Pareto {
        h: f64,
        center: Option<f64>,
    },
    /// Standard deviation in percent of the range.
    Normal {
        deviation: f64,
        center: Option<f64>,
    },
}

/// What is asked of one direction's speed; `None`: as fast as it goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rate {
    pub bytes_per_s: Option<u64>,
    pub iops: Option<u64>,
    /// The job fails when it stays below for a whole `rate_cycle`.
    pub bytes_per_s_min: Option<u64>,
    pub iops_min: Option<u64>,
}

/// Pauses of a job: after every `blocks` operations it waits `pause`, of which the first `spin`
/// burns the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThinkTime {
    pub pause: Duration,
    pub spin: Duration,
    pub blocks: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileService {
    /// The next file after each operation.
    RoundRobin,
    Random,
    /// One file to its end, then the next.
    Sequential,
}

/// How a file that is laid out gets its blocks before it is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preallocate {
    None,
    /// fallocate, where the file system has it.
    Native,
    /// ftruncate.
    Truncate,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// The section's name.
    pub name: String,
    pub description: Option<String>,
    /// Options of the section itself, in the order of the file, as written: for `job options` of
    /// the JSON output.
    pub options: Vec<(String, String)>,

    pub pattern: Pattern,
    /// Share of reads in `Mix::ReadWrite`, in percent.
    pub read_percent: u32,
    pub block: ByDirection<BlockSize>,
    pub engine: Engine,
    pub iodepth: u32,
    /// Queue at most this many at once; `None`: as many as the executor has.
    pub batch_submit: Option<u32>,
    /// Take at least and at most this many completions at once. A minimum of 0 polls; without a
    /// maximum all that are there are taken.
    pub batch_complete_min: u32,
    pub batch_complete_max: Option<u32>,
    /// Once the queue is full, let it drain to this many before it is filled again.
    pub iodepth_low: u32,
    pub direct: bool,
    pub write_sync: WriteSync,
    /// A flush with, or without, metadata after this many writes; 0: never.
    pub fsync_every: u64,
    pub fdatasync_every: u64,
    pub end_fsync: bool,
    pub fsync_on_close: bool,

    /// Files of the job; empty: `NAME.JOB.FILE` below `directory`.
    pub filenames: Vec<PathBuf>,
    pub directory: Option<PathBuf>,
    pub nrfiles: u32,
    pub file_service: FileService,
    /// Bytes of the region over all files; `None`: the size of what is there.
    pub size: Option<Extent>,
    /// Bytes to transfer; `None`: `size`.
    pub io_size: Option<Extent>,
    pub offset: Extent,
    /// Added to the offset once for each clone's number.
    pub offset_increment: Extent,
    /// Smallest and largest size of each file.
    pub filesize: Option<(u64, u64)>,
    /// Lay the file out before writing to it.
    pub overwrite: bool,
    pub preallocate: Preallocate,
    pub unlink: bool,
    /// Drop the file's pages from the page cache before the job starts.
    pub invalidate: bool,
    /// Fill buffers with zeroes, or anew for each write.
    pub zero_buffers: bool,
    pub refill_buffers: bool,

    pub runtime: Option<Duration>,
    pub time_based: bool,
    pub ramp_time: Duration,
    pub loops: u64,
    pub start_delay: Duration,
    pub rate: ByDirection<Rate>,
    pub rate_cycle: Duration,
    pub think_time: Option<ThinkTime>,

    pub distribution: Distribution,
    /// May a random job visit a block again before it has visited all.
    pub no_random_map: bool,
    pub rand_seed: u64,
    /// The same seed in every run.
    pub rand_repeat: bool,

    /// Writes carry a header with a CRC-32C, which a later read phase, or a read job, checks.
    pub verify: bool,
    /// The read phase after a writing job.
    pub do_verify: bool,
    /// Stop at the first block that is wrong.
    pub verify_fatal: bool,

    /// Percentiles of the latency output, ascending.
    pub percentiles: Vec<f64>,
    pub slat_percentiles: bool,
    pub clat_percentiles: bool,
    pub lat_percentiles: bool,
    pub logs: Logs,

    /// Poll for completions (`RWF_HIPRI`).
    pub hipri: bool,
    pub register_files: bool,
    pub fixed_buffers: bool,
    pub cpus: Option<CpuChoice>,

    pub numjobs: u32,
    pub group_reporting: bool,
    pub new_group: bool,
    /// Wait for the jobs before this one to end.
    pub stonewall: bool,
}

impl Job {
    /// Files of each of its threads: those that it names, or `nrfiles`.
    pub fn file_count(&self) -> u64 {
        match self.filenames.len() {
            0 => u64::from(self.nrfiles),
            named => named as u64,
        }
    }
}

/// The CPUs that a job's thread may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuChoice {
    pub cpus: Vec<usize>,
    /// Each clone gets one of them (`cpus_allowed_policy=split`) instead of all.
    pub split: bool,
}

/// The log files of a job: each is written where it has a name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Logs {
    /// Prefixes; an empty one in the file means the job's name, and is already resolved here.
    pub bandwidth: Option<String>,
    /// Gives three files: submission, completion, whole.
    pub latency: Option<String>,
    pub iops: Option<String>,
    /// Average over this much time instead of an entry for each operation.
    pub average_ms: u64,
    /// With an averaged latency log, the largest of the interval instead.
    pub max_value: bool,
    pub with_offset: bool,
    /// One file for each clone (`NAME_lat.3.log`) or one for all.
    pub per_job: bool,
    /// Times since 1970 instead of the job's start.
    pub unix_epoch: bool,
    /// Intervals of the `bw` and `iops` samples in the output.
    pub bandwidth_sample_ms: u64,
    pub iops_sample_ms: u64,
}
