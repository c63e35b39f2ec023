//! `sombra bench`: options to a plan, the run, and its report.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sombra_bench::workload::{Distribution, Mix, Shape};
use sombra_bench::{ClientsOn, Mode, Plan, Progress, Stop, limits};
use sombra_runtime::DriverChoice;

use crate::Outcome;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{print_json, stdout};

const SECONDS_DEFAULT: u64 = 3;
const PAIR_SECONDS_DEFAULT: u64 = 5;
const WARMUP_DEFAULT: u64 = 1;
const CHURN_FACTOR_DEFAULT: u64 = 10;

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Make the run's own directory under this one.
    #[arg(long, value_name = "DIR", default_value = "sombra-bench-data")]
    dir: PathBuf,
    /// Leave the run's files in place; by default what the run made is removed.
    #[arg(long)]
    keep: bool,
    /// Shards of the runtime.
    #[arg(long, value_name = "N", default_value_t = 2)]
    shards: usize,
    /// How the runtime does I/O.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: DriverArg,
    /// Clients at work together [default: 64, larger-than-cache 128, churn and tpcc 16]; `handle`
    /// or `shards` here means --clients-on.
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    clients: Vec<ClientsArg>,
    /// Where clients stand: as tasks on the shards, or as threads with the public handle.
    #[arg(long, value_name = "PLACE")]
    clients_on: Option<PlaceArg>,
    /// Load --data-bytes, more than the cache holds, and measure cold point reads beside plain
    /// reads of the same file (fio, if installed).
    #[arg(long, conflicts_with_all = ["churn", "records", "workload"])]
    larger_than_cache: bool,
    /// Overwrite a live set at random, --factor times over, and watch space, memory and an old
    /// snapshot meanwhile.
    #[arg(long, conflicts_with_all = ["workload", "pairs", "seconds", "rate", "distribution"])]
    churn: bool,
    /// Transactions of two reads and two updates (YCSB A): serializable against snapshot isolation
    /// in alternating pairs, with what commits over two shards cost on the idle store.
    #[arg(long, conflicts_with_all = ["larger_than_cache", "churn", "workload", "rate"])]
    transactions: bool,
    /// Serializable transactions that read 20 keys over one second and write one, beside YCSB A:
    /// how many abort, and how many of those although no key of theirs was changed.
    #[arg(long, conflicts_with_all = ["larger_than_cache", "churn", "transactions", "workload",
        "pairs"])]
    long_transactions: bool,
    /// Orders and payments in the shape of TPC-C, and its consistency conditions 1 to 4 afterwards.
    #[arg(long, conflicts_with_all = ["larger_than_cache", "churn", "transactions",
        "long_transactions", "workload", "pairs", "records", "rate", "distribution", "key_bytes",
        "value_bytes"])]
    tpcc: bool,
    /// Load, wait for merging, and measure what the open store takes with nothing to do: CPU time
    /// and wake-ups, also with a snapshot and with a transaction held open.
    #[arg(long, conflicts_with_all = ["larger_than_cache", "churn", "transactions",
        "long_transactions", "tpcc", "workload", "pairs", "rate", "distribution", "clients",
        "clients_on"])]
    idle: bool,
    /// One number that every client raises: a transaction that reads and writes it, one that locks
    /// it first, and `add`, in alternating pairs.
    #[arg(long, conflicts_with_all = ["larger_than_cache", "churn", "transactions",
        "long_transactions", "tpcc", "idle", "workload", "rate", "distribution"])]
    counter: bool,
    /// Warehouses of --tpcc, 10 districts each [default: 8].
    #[arg(long, value_name = "N", requires = "tpcc")]
    warehouses: Option<u32>,
    /// Keys and values to load with --larger-than-cache, as in 5GiB [default: 5GiB].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "larger_than_cache")]
    data_bytes: Option<u64>,
    /// Memory of the store [default: larger-than-cache 512MiB, churn 128MiB, else room for all].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// What --churn writes, as a multiple of the live data [default: 10].
    #[arg(long, value_name = "N", requires = "churn")]
    factor: Option<u64>,
    /// Hold no snapshot while --churn writes.
    #[arg(long, requires = "churn")]
    no_snapshot: bool,
    /// Write what every client of --transactions or --long-transactions did and saw to this file:
    /// JSON lines that `cargo xtask history FILE` judges.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Records loaded before anything is measured [default: 1000000, churn 4 times --memory].
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    #[arg(long, value_name = "BYTES", default_value_t = 24)]
    key_bytes: usize,
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    value_bytes: usize,
    /// YCSB mixes to run after the commit and read phases, or `none`.
    #[arg(long, value_name = "MIX", value_delimiter = ',', default_value = "a,b,c,f")]
    workload: Vec<MixArg>,
    /// Choose records so in every phase; by default uniform, and zipfian for YCSB.
    #[arg(long, value_name = "KIND")]
    distribution: Option<DistributionArg>,
    /// Measured seconds of each phase, or side of a pair [default: 3, with --pairs,
    /// --transactions and --counter 5, larger-than-cache, tpcc and idle 10, long-transactions 30].
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Seconds before each phase that do not count [default: 1, larger-than-cache 10].
    #[arg(long, value_name = "S")]
    warmup: Option<u64>,
    /// Start this many operations a second over all clients, answered or not.
    #[arg(long, value_name = "OPS")]
    rate: Option<u64>,
    /// Measure commits, or cold reads, against the disk in N alternating pairs (11 or more make
    /// a ratio; --transactions does 11 unless told otherwise).
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress bar, which appears on a terminal only anyway.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy)]
enum ClientsArg {
    Count(usize),
    On(PlaceArg),
}

#[derive(Clone, Copy, ValueEnum)]
enum PlaceArg {
    Shards,
    Handle,
}

#[derive(Clone, Copy, ValueEnum)]
enum DriverArg {
    Auto,
    Uring,
    Threads,
}

#[derive(Clone, Copy, ValueEnum)]
enum DistributionArg {
    Uniform,
    Zipfian,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MixArg {
    A,
    B,
    C,
    D,
    E,
    F,
    None,
}

fn parse_clients(argument: &str) -> Result<ClientsArg, String> {
    if let Ok(place) = PlaceArg::from_str(argument, true) {
        return Ok(ClientsArg::On(place));
    }
    let expected = |_| "expected a number of clients, `shards` or `handle`".to_owned();
    argument.parse().map(ClientsArg::Count).map_err(expected)
}

/// A number of bytes, with or without `KiB`, `MiB` or `GiB`.
fn parse_bytes(argument: &str) -> Result<u64, String> {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    let unit = units.iter().find(|(name, _)| argument.ends_with(name));
    let (name, unit) = unit.unwrap_or(&("", 1));
    let number = argument[..argument.len() - name.len()].trim().parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(*unit))
        .ok_or_else(|| "expected bytes, as in 1048576, 512MiB or 5GiB".to_owned())
}

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let stop = Stop::new();
    interrupt::watch(&stop)?;
    let report = sombra_bench::run(args.plan(), stop, Progress::new(!args.quiet));
    let report = report.map_err(|error| match error {
        sombra_bench::BenchError::Option { .. } => Failure::usage(error),
        other => Failure::work(other),
    })?;
    if args.json {
        print_json(&report)?;
    } else {
        let mut out = stdout();
        write!(out, "{report}")?;
        out.flush()?;
    }
    if report.found_damage() {
        return Err(Failure::work("the store lost or mixed up what it had acknowledged"));
    }
    if report.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

impl BenchArgs {
    fn plan(&self) -> Plan {
        let default = Plan::default();
        let mode = self.mode();
        let shape = Shape { key_len_bytes: self.key_bytes, value_len_bytes: self.value_bytes };
        let pairs = match mode {
            Mode::Transactions | Mode::Counter => self.pairs.or(Some(limits::PAIRS_MIN_FOR_RATIO)),
            _ => self.pairs,
        };
        let seconds = self.seconds.unwrap_or(match (mode, pairs) {
            (_, Some(_)) => PAIR_SECONDS_DEFAULT,
            (Mode::LargerThanCache, None) => limits::LARGE_SECONDS_DEFAULT,
            (Mode::LongTransactions, None) => limits::LONG_SECONDS_DEFAULT,
            (Mode::Tpcc { .. }, None) => limits::TPCC_SECONDS_DEFAULT,
            (Mode::Idle, None) => limits::IDLE_SECONDS_DEFAULT,
            (Mode::Phases | Mode::Churn { .. } | Mode::Transactions | Mode::Counter, None) => {
                SECONDS_DEFAULT
            }
        });
        let (warmup_default, clients_default) = match mode {
            Mode::Phases
            | Mode::Transactions
            | Mode::LongTransactions
            | Mode::Idle
            | Mode::Counter => (WARMUP_DEFAULT, default.clients),
            Mode::Tpcc { .. } => (WARMUP_DEFAULT, limits::TPCC_CLIENTS_DEFAULT),
            Mode::Churn { .. } => (WARMUP_DEFAULT, limits::CHURN_CLIENTS_DEFAULT),
            Mode::LargerThanCache => {
                (limits::LARGE_WARMUP_SECONDS_DEFAULT, limits::LARGE_CLIENTS_DEFAULT)
            }
        };
        Plan {
            mode,
            dir: self.dir.clone(),
            keep: self.keep,
            shards: self.shards,
            driver: self.driver.into(),
            clients: self.client_count().unwrap_or(clients_default),
            clients_on: self.client_place().unwrap_or(default.clients_on),
            records: self.records(mode, shape).unwrap_or(default.records),
            shape,
            distribution: self.distribution.map(Into::into),
            mixes: self.workload.iter().filter_map(|mix| mix.mix()).collect(),
            warmup: Duration::from_secs(self.warmup.unwrap_or(warmup_default)),
            measured: Duration::from_secs(seconds),
            rate_per_s: self.rate,
            pairs,
            seed: self.seed,
            memory_bytes: self.memory,
            history: self.history.clone(),
        }
    }

    fn mode(&self) -> Mode {
        if self.larger_than_cache {
            return Mode::LargerThanCache;
        }
        if self.churn {
            let factor = self.factor.unwrap_or(CHURN_FACTOR_DEFAULT);
            return Mode::Churn { factor, snapshot: !self.no_snapshot };
        }
        if self.transactions {
            return Mode::Transactions;
        }
        if self.long_transactions {
            return Mode::LongTransactions;
        }
        if self.tpcc {
            let warehouses = self.warehouses.unwrap_or(limits::TPCC_WAREHOUSES_DEFAULT);
            return Mode::Tpcc { warehouses };
        }
        if self.idle {
            return Mode::Idle;
        }
        if self.counter {
            return Mode::Counter;
        }
        Mode::Phases
    }

    /// What was asked for, or what the mode makes of bytes.
    fn records(&self, mode: Mode, shape: Shape) -> Option<u64> {
        let bytes = match mode {
            Mode::LargerThanCache => self.data_bytes.unwrap_or(limits::LARGE_DATA_BYTES_DEFAULT),
            Mode::Churn { .. } => {
                let memory = self.memory.unwrap_or(limits::CHURN_MEMORY_BYTES_DEFAULT);
                memory.saturating_mul(limits::CHURN_LIVE_PER_MEMORY)
            }
            _ => return self.records,
        };
        Some(self.records.unwrap_or(Plan::records_of(shape, bytes)))
    }

    /// The last number that `--clients` names.
    fn client_count(&self) -> Option<usize> {
        self.clients.iter().rev().find_map(|argument| match argument {
            ClientsArg::Count(count) => Some(*count),
            ClientsArg::On(_) => None,
        })
    }

    fn client_place(&self) -> Option<ClientsOn> {
        let named = self.clients.iter().rev().find_map(|argument| match argument {
            ClientsArg::On(place) => Some(*place),
            ClientsArg::Count(_) => None,
        });
        self.clients_on.or(named).map(Into::into)
    }
}

impl From<PlaceArg> for ClientsOn {
    fn from(place: PlaceArg) -> ClientsOn {
        match place {
            PlaceArg::Shards => ClientsOn::Shards,
            PlaceArg::Handle => ClientsOn::Handle,
        }
    }
}

impl From<DriverArg> for DriverChoice {
    fn from(driver: DriverArg) -> DriverChoice {
        match driver {
            DriverArg::Auto => DriverChoice::Auto,
            DriverArg::Uring => DriverChoice::Uring,
            DriverArg::Threads => DriverChoice::Threads,
        }
    }
}

impl From<DistributionArg> for Distribution {
    fn from(distribution: DistributionArg) -> Distribution {
        match distribution {
            DistributionArg::Uniform => Distribution::Uniform,
            DistributionArg::Zipfian => Distribution::Zipfian,
        }
    }
}

impl MixArg {
    fn mix(self) -> Option<Mix> {
        match self {
            MixArg::A => Some(Mix::A),
            MixArg::B => Some(Mix::B),
            MixArg::C => Some(Mix::C),
            MixArg::D => Some(Mix::D),
            MixArg::E => Some(Mix::E),
            MixArg::F => Some(Mix::F),
            MixArg::None => None,
        }
    }
}
