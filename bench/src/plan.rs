//! What a run does: the choices, their bounds, and the space that they need.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use sombra::Routing;
use sombra_runtime::DriverChoice;

use crate::error::BenchError;
use crate::limits::{self, RANGE_TABLETS};
use crate::workload::{Distribution, Mix, Shape, TRANSACTION_RECORDS, tpcc};

/// The keyspace that a run fills, unless its mode has its own.
const KEYSPACE_NAME: &str = "usertable";

/// Where clients run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientsOn {
    /// As tasks on the shards.
    Shards,
    /// As plain threads through the public handle.
    Handle,
}

impl ClientsOn {
    /// The other place.
    #[must_use]
    pub const fn other(self) -> ClientsOn {
        match self {
            ClientsOn::Shards => ClientsOn::Handle,
            ClientsOn::Handle => ClientsOn::Shards,
        }
    }

    /// The name that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ClientsOn::Shards => "on shards",
            ClientsOn::Handle => "through handle",
        }
    }
}

/// What a run is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The device, commits, reads and the mixes, one phase after another.
    Phases,
    /// Cold point reads over data that does not fit into the cache.
    LargerThanCache,
    /// Overwrites a live set `factor` times over, and watches what that takes.
    Churn { factor: u64, snapshot: bool },
    /// Transactions of four operations: serializable against snapshot isolation, in pairs.
    Transactions,
    /// Long serializable transactions beside short ones, and whether their aborts have reasons.
    LongTransactions,
    /// Orders and payments in the shape of TPC-C.
    Tpcc { warehouses: u32 },
    /// An open store without anything to do.
    Idle,
    /// One number that all clients raise in three ways, in pairs.
    Counter,
}

/// One run, fully described. Start from `Plan::default()` and change what differs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: Mode,
    /// Where the run's own fresh directory is made.
    pub dir: PathBuf,
    /// Leaves the run's directory in place.
    pub keep: bool,
    pub shards: usize,
    pub driver: DriverChoice,
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub records: u64,
    pub shape: Shape,
    /// `None` takes what each mix's definition names.
    pub distribution: Option<Distribution>,
    pub mixes: Vec<Mix>,
    pub warmup: Duration,
    pub measured: Duration,
    /// Operations a second over all clients; `None` is a closed loop.
    pub rate_per_s: Option<u64>,
    /// Measures the commit ratio in this many pairs instead of every phase once.
    pub pairs: Option<usize>,
    pub seed: u64,
    /// The store's memory budget; `None` suits the mode.
    pub memory_bytes: Option<u64>,
    /// Where the clients of transactions write down what they do.
    pub history: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            mode: Mode::Phases,
            dir: PathBuf::from("sombra-bench-data"),
            keep: false,
            shards: 2,
            driver: DriverChoice::Auto,
            clients: 64,
            clients_on: ClientsOn::Shards,
            records: 1_000_000,
            shape: Shape { key_len_bytes: 24, value_len_bytes: 100 },
            distribution: None,
            mixes: vec![Mix::A, Mix::B, Mix::C, Mix::F],
            warmup: Duration::from_secs(1),
            measured: Duration::from_secs(3),
            rate_per_s: None,
            pairs: None,
            seed: 1,
            memory_bytes: None,
            history: None,
        }
    }
}

/// Phases that write at full speed, beside the mixes: commits here, there, and from one client.
const WRITING_PHASES: u64 = 3;
/// A log segment is made ahead of need; this many may stand half empty.
const SEGMENTS_AHEAD: u64 = 4;
/// What a commit record holds beside keys and values, rounded up.
const COMMIT_OVERHEAD_BYTES: u64 = 128;

impl Plan {
    /// Checks every choice against `limits`.
    ///
    /// # Errors
    /// The first option that is outside, with what was expected and found.
    pub fn validate(&self) -> Result<(), BenchError> {
        let within = |option, found: u64, low: u64, high: u64| {
            if (low..=high).contains(&found) {
                return Ok(());
            }
            let expected = format!("{low} to {high}");
            Err(BenchError::Option { option, expected, found: found.to_string() })
        };
        let key_max = sombra::limits::KEY_BYTES_MAX as u64;
        let value_max = sombra::limits::VALUE_BYTES_MAX as u64;
        let (key_min, value_min) = (limits::KEY_BYTES_MIN, limits::VALUE_BYTES_MIN);
        let seconds_max = limits::PHASE_SECONDS_MAX;
        within("--shards", self.shards as u64, 1, sombra_runtime::limits::SHARDS_MAX as u64)?;
        within("--clients", self.clients as u64, 1, limits::CLIENTS_MAX as u64)?;
        within("--records", self.records, self.records_min(), self.records_max())?;
        within("--key-bytes", self.shape.key_len_bytes as u64, key_min as u64, key_max)?;
        within("--value-bytes", self.shape.value_len_bytes as u64, value_min as u64, value_max)?;
        within("--seconds", self.measured.as_secs(), 1, seconds_max)?;
        within("--warmup", self.warmup.as_secs(), 0, seconds_max)?;
        let memory_min = sombra::limits::MEMORY_BYTES_MIN;
        within("--memory", self.memory_bytes(), memory_min, limits::LARGE_DATA_BYTES_MAX)?;
        if let Mode::Churn { factor, .. } = self.mode {
            within("--factor", factor, 1, limits::CHURN_FACTOR_MAX)?;
        }
        if let Mode::Tpcc { warehouses } = self.mode {
            let max = u64::from(limits::TPCC_WAREHOUSES_MAX);
            within("--warehouses", u64::from(warehouses), 1, max)?;
        }
        let is_recorded = matches!(self.mode, Mode::Transactions | Mode::LongTransactions);
        if let Some(path) = self.history.as_ref().filter(|_| !is_recorded) {
            let expected = "--transactions or --long-transactions beside it".to_owned();
            let found = format!("only {}", path.display());
            return Err(BenchError::Option { option: "--history", expected, found });
        }
        within("--rate", self.rate_per_s.unwrap_or(1), 1, limits::RATE_MAX)?;
        within("--pairs", self.pairs.unwrap_or(1) as u64, 1, limits::PAIRS_MAX as u64)
    }

    /// Seconds in which clients may write, at most.
    fn writing_seconds(&self) -> u64 {
        let phase = (self.warmup + self.measured).as_secs();
        match self.pairs {
            Some(pairs) => phase * pairs as u64,
            None => {
                let mixes = self.mixes.iter().filter(|mix| mix.read_percent() < 100).count();
                phase * (WRITING_PHASES + mixes as u64)
            }
        }
    }

    /// As many as one transaction has, all different.
    fn records_min(&self) -> u64 {
        match self.mode {
            Mode::Transactions => TRANSACTION_RECORDS as u64,
            Mode::LongTransactions => limits::LONG_READS as u64 + 1,
            _ => 1,
        }
    }

    fn records_max(&self) -> u64 {
        match self.mode {
            Mode::LargerThanCache | Mode::Churn { .. } => limits::RECORDS_SAMPLED_MAX,
            _ => limits::RECORDS_MAX,
        }
    }

    /// Records that make up so many bytes of keys and values.
    #[must_use]
    pub fn records_of(shape: Shape, data_bytes: u64) -> u64 {
        (data_bytes / shape.record_bytes()).max(1)
    }

    /// Every how-manieth record is judged at the end.
    #[must_use]
    pub fn ledger_stride(&self) -> u64 {
        match self.mode {
            Mode::LargerThanCache | Mode::Churn { .. } => {
                self.records.div_ceil(limits::RECORDS_FOLLOWED)
            }
            _ => 1,
        }
    }

    /// Whether the keyspace must be in key order.
    #[must_use]
    pub fn needs_order(&self) -> bool {
        self.mode == Mode::Phases && self.mixes.iter().any(|mix| mix.needs_order())
    }

    /// Records of one loading transaction, before its bytes bound it.
    #[must_use]
    pub fn load_batch_records(&self) -> u64 {
        match self.mode {
            Mode::LargerThanCache => limits::LARGE_LOAD_BATCH_RECORDS_MAX,
            _ => limits::LOAD_BATCH_RECORDS_MAX,
        }
    }

    /// Bytes of keys and values that are loaded.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        if let Mode::Tpcc { warehouses } = self.mode {
            let seconds = (self.warmup + self.measured).as_secs();
            let orders = seconds.saturating_mul(limits::TPCC_SPACE_ORDERS_PER_S);
            let loaded = u64::from(warehouses) * limits::TPCC_WAREHOUSE_BYTES;
            return loaded.saturating_add(orders.saturating_mul(limits::TPCC_ORDER_BYTES));
        }
        self.records.saturating_mul(self.shape.record_bytes())
    }

    /// The bound that the store's log gets, so that a run never takes more disk than it checked.
    #[must_use]
    pub fn log_bytes_max(&self) -> u64 {
        let segment = sombra::limits::SEGMENT_BYTES_DEFAULT;
        if self.mode != Mode::Phases {
            let log = self.memory_bytes().saturating_mul(limits::LOG_PER_MEMORY);
            return log.max(limits::LOG_SPACE_BYTES_MIN).next_multiple_of(segment);
        }
        let record = self.shape.record_bytes() + COMMIT_OVERHEAD_BYTES;
        let load = self.records * record;
        let rate = self.rate_per_s.unwrap_or(u64::MAX).min(limits::SPACE_COMMITS_PER_S);
        let writes = self.writing_seconds() * rate * (record * 3 / 2);
        (load + writes + SEGMENTS_AHEAD * segment).next_multiple_of(segment)
    }

    /// The bound that the data file gets, for the same reason.
    #[must_use]
    pub fn data_bytes_max(&self) -> u64 {
        let factor = match self.mode {
            Mode::Churn { .. } => limits::CHURN_SPACE_FACTOR,
            _ => limits::DATA_SPACE_FACTOR,
        };
        let grown = match self.mode {
            Mode::Phases => self.growing_seconds() * limits::SPACE_COMMITS_PER_S,
            _ => 0,
        };
        let rows = self.live_bytes().saturating_add(grown * self.shape.record_bytes());
        rows.saturating_mul(factor).saturating_add(limits::DATA_SPACE_BYTES_MIN)
    }

    /// Warehouses of a run that has some.
    #[must_use]
    pub const fn warehouses(&self) -> u32 {
        match self.mode {
            Mode::Tpcc { warehouses } => warehouses,
            _ => 0,
        }
    }

    /// The keyspace that the run fills, and how it is routed.
    pub(crate) fn keyspace(&self) -> (&'static str, Routing) {
        if let Mode::Tpcc { warehouses } = self.mode {
            return (tpcc::KEYSPACE_NAME, tpcc::routing(warehouses));
        }
        if self.needs_order() {
            return (KEYSPACE_NAME, Routing::range_split(self.shape.boundaries(RANGE_TABLETS)));
        }
        // Hashing the whole key spreads every workload over all tablets, whatever its keys are.
        (KEYSPACE_NAME, Routing::hash(self.shape.key_len_bytes as u16))
    }

    /// Seconds in which clients may insert, at most.
    fn growing_seconds(&self) -> u64 {
        let growing = self.mixes.iter().filter(|mix| mix.grows()).count() as u64;
        growing * (self.warmup + self.measured).as_secs()
    }

    /// Free bytes without which the run does not start.
    #[must_use]
    pub fn space_needed_bytes(&self) -> u64 {
        let store = self.log_bytes_max().saturating_add(self.data_bytes_max());
        store.saturating_add(limits::SCRATCH_BYTES + limits::SPACE_RESERVE_BYTES)
    }

    /// The store's memory budget: what was asked for, or what suits the mode. Phases get every
    /// record's window entry twice over.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let entry = self.shape.record_bytes() + sombra::limits::WINDOW_ENTRY_OVERHEAD_BYTES;
        let default = match self.mode {
            Mode::Phases
            | Mode::Transactions
            | Mode::LongTransactions
            | Mode::Idle
            | Mode::Counter => (self.records * entry * 2).max(sombra::limits::MEMORY_BYTES_DEFAULT),
            Mode::LargerThanCache => limits::LARGE_MEMORY_BYTES_DEFAULT,
            Mode::Tpcc { .. } => (self.live_bytes() * 2)
                .clamp(sombra::limits::MEMORY_BYTES_DEFAULT, limits::TPCC_MEMORY_BYTES_DEFAULT_MAX),
            Mode::Churn { .. } => limits::CHURN_MEMORY_BYTES_DEFAULT,
        };
        self.memory_bytes.unwrap_or(default)
    }
}
