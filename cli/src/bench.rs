//! `sombra bench`: options to a plan, the run, and its report.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sombra_bench::workload::{Distribution, Mix, Shape};
use sombra_bench::{ClientsOn, Plan, Progress, Stop};
use sombra_runtime::DriverChoice;

use crate::Outcome;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{print_json, stdout};

const SECONDS_DEFAULT: u64 = 3;
const PAIR_SECONDS_DEFAULT: u64 = 5;

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
    /// Clients at work together; `handle` or `shards` here means --clients-on.
    #[arg(long, value_name = "N", default_value = "64", value_parser = parse_clients)]
    clients: Vec<ClientsArg>,
    /// Where clients stand: as tasks on the shards, or as threads with the public handle.
    #[arg(long, value_name = "PLACE")]
    clients_on: Option<PlaceArg>,
    /// Records loaded before anything is measured.
    #[arg(long, value_name = "N", default_value_t = Plan::default().records)]
    records: u64,
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
    /// Measured seconds of each phase [default: 3, or 5 with --pairs].
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Seconds before each phase that do not count.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warmup: u64,
    /// Start this many operations a second over all clients, answered or not.
    #[arg(long, value_name = "OPS")]
    rate: Option<u64>,
    /// Measure commits against the disk in N alternating pairs (11 or more make a ratio).
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
        let seconds_default =
            if self.pairs.is_some() { PAIR_SECONDS_DEFAULT } else { SECONDS_DEFAULT };
        Plan {
            dir: self.dir.clone(),
            keep: self.keep,
            shards: self.shards,
            driver: self.driver.into(),
            clients: self.client_count().unwrap_or(default.clients),
            clients_on: self.client_place().unwrap_or(default.clients_on),
            records: self.records,
            shape: Shape { key_len_bytes: self.key_bytes, value_len_bytes: self.value_bytes },
            distribution: self.distribution.map(Into::into),
            mixes: self.workload.iter().filter_map(|mix| mix.mix()).collect(),
            warmup: Duration::from_secs(self.warmup),
            measured: Duration::from_secs(self.seconds.unwrap_or(seconds_default)),
            rate_per_s: self.rate,
            pairs: self.pairs,
            seed: self.seed,
        }
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
            MixArg::F => Some(Mix::F),
            MixArg::None => None,
        }
    }
}
