//! The process that is killed: opens the store, shows what it found, then writes until it dies.

use super::pipe::Pipe;
use super::workload::Workload;
use super::{Driver, MERGE, PUBLICATION, SEGMENT_SWITCH, WORKING};
use crate::Failure;
use sombra::{Db, Metrics, Options};
use sombra_runtime::{DriverChoice, Runtime, RuntimeOptions, ShardId};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Segments that the log may take.
const LOG_SEGMENTS: u64 = 8;
/// How old what the writer last said of its work may be.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[derive(clap::Args)]
pub(crate) struct WriterArguments {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    pub(super) seed: u64,
    #[arg(long)]
    pub(super) life: u32,
    #[arg(long)]
    shards: usize,
    #[arg(long)]
    pub(super) writers: u16,
    #[arg(long, value_enum)]
    driver: Driver,
    #[arg(long, value_enum)]
    workload: Workload,
    #[arg(long, value_enum)]
    step: Step,
    #[arg(long)]
    pub(super) lie: bool,
}

/// What the process is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Step {
    Prepare,
    Compare,
    Work,
}

impl WriterArguments {
    /// Every second client is a task on a shard; the others are threads with a handle.
    pub(super) fn shard_of(&self, client: u16) -> Option<ShardId> {
        let shard = client as usize / 2 % self.shards;
        client.is_multiple_of(2).then(|| ShardId::new(shard as u16))
    }
}

/// The store, where it runs, and who is told of it.
pub(super) struct Opened {
    pub(super) runtime: Runtime,
    pub(super) db: Db,
    pub(super) pipe: Arc<Pipe>,
}

/// Clients at work.
pub(super) struct Writers {
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Transactions so far, and those of them over several shards.
    pub(super) counts: Box<dyn Fn() -> (u64, u64)>,
}

pub(crate) fn run(arguments: &WriterArguments) -> Result<(), Failure> {
    let pipe = Pipe::standard_output().map_err(|error| format!("standard output: {error}"))?;
    let pipe = Arc::new(pipe);
    let runtime = Runtime::start(runtime_options(arguments)).map_err(|error| error.to_string())?;
    let driver = format!("{:?}", runtime.driver_kind()).to_lowercase();
    pipe.phase("driver", &driver);
    let exists = arguments.store.join("superblock").exists();
    pipe.phase(if exists { "recovery" } else { "creation" }, "");
    let opened = runtime.block_on(Db::open(&runtime, &arguments.store, options()));
    let db = opened.map_err(|error| format!("open: {error}"))?;
    let opened = Opened { runtime, db, pipe };
    if arguments.step == Step::Prepare {
        arguments.workload.prepare(&opened, arguments.seed)?;
    }
    opened.pipe.phase("comparing", &opened.db.open_report().to_string());
    arguments.workload.show(&opened)?;
    if arguments.step != Step::Work {
        let closed = opened.runtime.block_on(opened.db.close());
        return closed.map_err(|error| format!("close: {error}"));
    }
    let writers = arguments.workload.start(&opened, arguments)?;
    watch(&opened, &writers)
}

/// The smallest budgets: merging, publishing and taking segments again is then what the store
/// does most of the time.
pub(super) fn options() -> Options {
    Options {
        memory_bytes: sombra::limits::MEMORY_BYTES_MIN,
        segment_bytes: sombra::limits::SEGMENT_BYTES_MIN,
        log_bytes_max: LOG_SEGMENTS * sombra::limits::SEGMENT_BYTES_MIN,
        ..Options::default()
    }
}

fn runtime_options(arguments: &WriterArguments) -> RuntimeOptions {
    let driver = match arguments.driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::Uring => DriverChoice::Uring,
        Driver::Threads => DriverChoice::Threads,
    };
    RuntimeOptions { shards: arguments.shards, driver, pin: false, ..RuntimeOptions::default() }
}

/// Tells what the store is at until a client ends, which none does by itself.
fn watch(opened: &Opened, writers: &Writers) -> Result<(), Failure> {
    let Opened { db, pipe, .. } = opened;
    let mut told = WORKING;
    while !writers.threads.iter().any(JoinHandle::is_finished) {
        let (transactions, cross_shard) = (writers.counts)();
        let metrics = db.metrics();
        let doing = doing(&metrics);
        if doing != told {
            pipe.phase(doing, "");
            told = doing;
        }
        let merges = metrics.value("sombra_merges_total");
        let recycled = metrics.value("sombra_wal_recycled_segments_total");
        pipe.phase("counts", &format!("{transactions} {cross_shard} {merges} {recycled}"));
        std::thread::sleep(LOOK_EVERY);
    }
    let reason = db.poison_reason().unwrap_or_else(|| "for no reason it tells".to_owned());
    Err(format!("a writer ended: the store stopped {reason}"))
}

/// What the store is at, by its own gauges; the rarest counts.
fn doing(metrics: &Metrics) -> &'static str {
    let is = |name: &str| metrics.value(name) > 0.0;
    if is("sombra_root_publications_running") {
        PUBLICATION
    } else if is("sombra_wal_segment_preparing") {
        SEGMENT_SWITCH
    } else if is("sombra_merges_running") {
        MERGE
    } else {
        WORKING
    }
}
