//! What a caller chooses: store options, isolation, durability, routing. Knows no I/O.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits;

/// How to open a store. Start from `Options::default()` and change what differs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory of the whole store in bytes: windows (half of it), page cache, log ring, queues; at
    /// most three quarters of what the process's control groups allow. A
    /// commit that finds the windows full waits while they are being merged, and gets
    /// `MemoryFull` when they cannot be.
    pub memory_bytes: u64,
    /// Size of the data file's pages in bytes: 4, 8, 16 or 32 KiB; counts only when a store is
    /// made.
    pub page_size_bytes: u32,
    /// Bound of the data file in bytes. Commits beyond it get `DiskFull`; reads and deletes go on.
    pub data_bytes_max: u64,
    /// A raw block device that holds the pages instead of a file; counts only when a store is
    /// made. What was on it is lost.
    pub device: Option<PathBuf>,
    /// Age at which a snapshot ends and its next read gets `SnapshotTooOld`. `None`: none.
    pub snapshot_age_max: Option<Duration>,
    /// The same for read-write transactions, whose keys must be remembered. `None`: none.
    pub transaction_age_max: Option<Duration>,
    /// Size of a log segment in bytes, a multiple of 4,096; counts only when a store is made.
    pub segment_bytes: u64,
    /// Bound of the log's space on disk in bytes. Commits beyond it get `LogFull`; reads go on.
    pub log_bytes_max: u64,
    /// Whether a missing store is made, and whether it may be written.
    pub open_mode: OpenMode,
    /// How a log write becomes durable. `None` measures the methods once and keeps the best.
    pub durability_method: Option<DurabilityMethod>,
    /// Whether the store's owner refreshes the file `metrics` each second, for `sombra stat`.
    pub metrics_file: bool,
    /// Bytes a second that the scrubber reads from disk in the background to find damage before
    /// a read does, over all shards; 0: none. Not in a store that is opened to be read.
    pub scrub_bytes_per_second: u64,
    /// Time from one pass of the scrubber over the whole store to the next, from start to start;
    /// a pass that takes longer is followed by the next one at once.
    pub scrub_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            page_size_bytes: limits::PAGE_SIZE_BYTES_DEFAULT,
            data_bytes_max: limits::DATA_BYTES_MAX_DEFAULT,
            device: None,
            snapshot_age_max: None,
            transaction_age_max: Some(Duration::from_millis(limits::TRANSACTION_AGE_MS_DEFAULT)),
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            log_bytes_max: limits::LOG_BYTES_MAX_DEFAULT,
            open_mode: OpenMode::CreateIfMissing,
            durability_method: None,
            metrics_file: true,
            scrub_bytes_per_second: limits::SCRUB_BYTES_PER_SECOND_DEFAULT,
            scrub_interval: Duration::from_millis(limits::SCRUB_INTERVAL_MS_DEFAULT),
        }
    }
}

impl Options {
    /// For tests of a program that embeds the store: small, quick to make, refused where there is
    /// a store. Nothing in it is meant to outlive the power; what the process wrote outlives the
    /// process. The caller removes the directory.
    #[must_use]
    pub fn temporary() -> Options {
        Options {
            memory_bytes: limits::MEMORY_BYTES_TEMPORARY,
            segment_bytes: limits::SEGMENT_BYTES_MIN,
            log_bytes_max: limits::LOG_BYTES_MAX_TEMPORARY,
            open_mode: OpenMode::CreateNew,
            // Measures nothing and flushes nothing on the way of a commit.
            durability_method: Some(DurabilityMethod::WriteThrough),
            metrics_file: false,
            scrub_bytes_per_second: 0,
            ..Options::default()
        }
    }
}

/// An option outside its bounds, found before anything on disk is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {field}: expected {expected}, found {found}")]
pub struct OptionError {
    pub field: &'static str,
    pub expected: String,
    pub found: String,
}

impl Options {
    /// Checks every field against `limits`; names the first that is outside.
    ///
    /// # Errors
    /// The field with what was expected and found.
    pub fn validate(&self) -> Result<(), OptionError> {
        let refuse = |field, expected: String, found: u64| {
            Err(OptionError { field, expected, found: found.to_string() })
        };
        if self.memory_bytes < limits::MEMORY_BYTES_MIN {
            let expected = format!("at least {} bytes", limits::MEMORY_BYTES_MIN);
            return refuse("memory_bytes", expected, self.memory_bytes);
        }
        if self.memory_bytes > limits::MEMORY_BYTES_MAX {
            let expected = format!("at most {} bytes", limits::MEMORY_BYTES_MAX);
            return refuse("memory_bytes", expected, self.memory_bytes);
        }
        let bounds = limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX;
        if !bounds.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            let expected = format!("a multiple of 4096 in {bounds:?}");
            return refuse("segment_bytes", expected, self.segment_bytes);
        }
        let sizes = limits::PAGE_SIZE_BYTES_MIN..=limits::PAGE_SIZE_BYTES_MAX;
        if !sizes.contains(&self.page_size_bytes) || !self.page_size_bytes.is_power_of_two() {
            let expected = format!("a power of two in {sizes:?}");
            return refuse("page_size_bytes", expected, self.page_size_bytes.into());
        }
        self.validate_data_bytes(self.page_size_bytes)?;
        if let Some(device) = self.device.as_ref().filter(|device| !device.is_absolute()) {
            let (expected, found) = ("an absolute path".to_owned(), device.display().to_string());
            return Err(OptionError { field: "device", expected, found });
        }
        if self.log_bytes_max < 2 * self.segment_bytes {
            let expected = format!("at least two segments ({} bytes)", 2 * self.segment_bytes);
            return refuse("log_bytes_max", expected, self.log_bytes_max);
        }
        Ok(())
    }

    /// Whether the bound of the data file leaves merges their room with pages of this size, which
    /// for a store that exists is not that of the options.
    pub(crate) fn validate_data_bytes(&self, page_size_bytes: u32) -> Result<(), OptionError> {
        let of_pages = limits::DATA_PAGES_MIN * u64::from(page_size_bytes);
        let least = limits::DATA_BYTES_MIN.max(of_pages);
        if self.data_bytes_max >= least {
            return Ok(());
        }
        let expected = format!("at least {least} bytes with pages of {page_size_bytes} bytes");
        let found = self.data_bytes_max.to_string();
        Err(OptionError { field: "data_bytes_max", expected, found })
    }
}

/// Whether a missing store is made, and whether it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Opens the store, or makes it when there is none.
    CreateIfMissing,
    /// Opens the store; none is an error.
    MustExist,
    /// Makes the store; one that exists is an error.
    CreateNew,
    /// Opens the store to read it, beside others that do the same; a store that is open for
    /// writing is refused, and so is a writer meanwhile. No byte of the store is written: nothing
    /// is repaired, merged or truncated, writes get `ReadOnly`, and all of the log that the trees
    /// do not hold must fit into the windows' share of the memory.
    ReadOnly,
}

impl OpenMode {
    /// Whether a store that is missing is made.
    pub(crate) fn makes_missing(self) -> bool {
        matches!(self, OpenMode::CreateIfMissing | OpenMode::CreateNew)
    }
}

/// How a log write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurabilityMethod {
    /// One write with `RWF_DSYNC` on the ring.
    Dsync,
    /// A write, then an fdatasync on the ring.
    RingFlush,
    /// A write, then an fdatasync on a helper thread.
    PoolFlush,
    /// A plain write, for a device that reports a write-through cache.
    WriteThrough,
}

impl DurabilityMethod {
    /// The name that reports and metrics carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DurabilityMethod::Dsync => "dsync",
            DurabilityMethod::RingFlush => "ring_flush",
            DurabilityMethod::PoolFlush => "pool_flush",
            DurabilityMethod::WriteThrough => "write_through",
        }
    }
}

/// What a transaction is protected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// As if transactions ran one after the other, in the order of their LSNs: besides what
    /// `Snapshot` checks, everything that the transaction has read, keys that were not there and
    /// scanned ranges included, must be at its commit as it was (precision locking, Neumann et
    /// al., SIGMOD 2015). A transaction without writes is never checked.
    #[default]
    Serializable,
    /// Reads one snapshot; of two transactions that write one key, the first to commit wins.
    Snapshot,
}

/// How often and how long `Db::run` tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    pub isolation: Isolation,
    /// The first attempt counts.
    pub attempts_max: u32,
    /// No attempt begins later than this after the first one began.
    pub time_max: Duration,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            isolation: Isolation::default(),
            attempts_max: limits::RUN_ATTEMPTS_MAX_DEFAULT,
            time_max: Duration::from_millis(limits::RUN_TIME_MS_DEFAULT),
        }
    }
}

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// After its record is durable.
    #[default]
    Sync,
    /// Once it is visible. A crash may lose it, always as a suffix: if a commit survives, every
    /// commit below it does.
    Async,
}

/// How a keyspace spreads its keys over tablets. Fixed when the keyspace is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By the key itself: tablet i holds the keys from boundary i-1 (included) to boundary i.
    Range { boundaries: Vec<Vec<u8>> },
    /// By XXH3-64 (seed 0) of the key's first `prefix_len_bytes` bytes; a shorter key hashes
    /// whole. Rows of one prefix lie together in key order.
    Hash { prefix_len_bytes: u16, tablets: u32 },
}

impl Routing {
    /// One tablet, in key order.
    #[must_use]
    pub fn range() -> Routing {
        Routing::Range { boundaries: Vec::new() }
    }

    /// Tablets in key order, split at the given keys (ascending, not empty).
    pub fn range_split<K: Into<Vec<u8>>>(boundaries: impl IntoIterator<Item = K>) -> Routing {
        Routing::Range { boundaries: boundaries.into_iter().map(Into::into).collect() }
    }

    /// Up to `tablets` tablets in key order that hold about equally many keys of `sample`, which
    /// stands for those to come; its order does not matter. A sample with fewer distinct keys
    /// gives fewer tablets.
    pub fn range_sampled<K: Into<Vec<u8>>>(
        sample: impl IntoIterator<Item = K>,
        tablets: u32,
    ) -> Routing {
        let mut keys: Vec<Vec<u8>> = sample.into_iter().map(Into::into).collect();
        keys.sort_unstable();
        let tablets = tablets.max(1) as usize;
        let mut boundaries: Vec<Vec<u8>> = (1..tablets)
            .filter_map(|part| keys.get(keys.len() * part / tablets).cloned())
            .collect();
        boundaries.dedup();
        // Nothing of the sample lies below its first key, nor any key below the empty one.
        boundaries.retain(|key| Some(key) != keys.first() && !key.is_empty());
        Routing::Range { boundaries }
    }

    /// Evenly spread tablets; rows that share the first `prefix_len_bytes` bytes lie together.
    #[must_use]
    pub fn hash(prefix_len_bytes: u16) -> Routing {
        Routing::hash_tablets(prefix_len_bytes, limits::TABLETS_PER_KEYSPACE_DEFAULT)
    }

    /// As [`Routing::hash`], with the number of tablets named.
    #[must_use]
    pub fn hash_tablets(prefix_len_bytes: u16, tablets: u32) -> Routing {
        Routing::Hash { prefix_len_bytes, tablets }
    }

    /// How many tablets a keyspace with this routing has.
    #[must_use]
    pub fn tablet_count(&self) -> usize {
        match self {
            Routing::Range { boundaries } => boundaries.len() + 1,
            Routing::Hash { tablets, .. } => *tablets as usize,
        }
    }

    /// Checks bounds and order of what the caller gave.
    ///
    /// # Errors
    /// The field with what was expected and found.
    pub fn validate(&self) -> Result<(), OptionError> {
        let refuse =
            |field, expected: String, found: String| Err(OptionError { field, expected, found });
        let count = self.tablet_count();
        if count == 0 || count > limits::TABLETS_PER_KEYSPACE_MAX {
            let expected = format!("1 to {}", limits::TABLETS_PER_KEYSPACE_MAX);
            return refuse("routing.tablets", expected, count.to_string());
        }
        match self {
            Routing::Range { boundaries } => {
                let in_order = boundaries.windows(2).all(|pair| pair[0] < pair[1]);
                if !in_order {
                    let expected = "strictly ascending keys".to_owned();
                    return refuse("routing.boundaries", expected, "another order".to_owned());
                }
                let lengths = boundaries.iter().map(Vec::len);
                for length in lengths {
                    if length == 0 || length > limits::KEY_BYTES_MAX {
                        let expected = format!("keys of 1 to {} bytes", limits::KEY_BYTES_MAX);
                        return refuse("routing.boundaries", expected, format!("{length} bytes"));
                    }
                }
            }
            Routing::Hash { prefix_len_bytes, .. } => {
                let length = usize::from(*prefix_len_bytes);
                if length == 0 || length > limits::PREFIX_BYTES_MAX {
                    let expected = format!("1 to {}", limits::PREFIX_BYTES_MAX);
                    return refuse("routing.prefix_len_bytes", expected, length.to_string());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use crate::limits;

    #[test]
    fn data_file_bound_leaves_merges_room_with_pages_of_any_size() {
        for page_size_bytes in [4 << 10, 32 << 10] {
            let least = limits::DATA_PAGES_MIN * u64::from(page_size_bytes);
            let least = least.max(limits::DATA_BYTES_MIN);
            let fits = Options { page_size_bytes, data_bytes_max: least, ..Options::default() };
            assert_eq!(fits.validate(), Ok(()));
            let short = Options { data_bytes_max: least - 1, ..fits };
            let error = short.validate().unwrap_err();
            assert_eq!(error.field, "data_bytes_max");
            assert!(error.expected.contains(&least.to_string()), "{}", error.expected);
        }
        // Reopened with other pages than the options name.
        let options = Options { data_bytes_max: limits::DATA_BYTES_MIN, ..Options::default() };
        assert!(options.validate_data_bytes(32 << 10).is_err());
    }
}
