//! The process that is killed: opens the store, shows what it found, then writes until it dies.

use super::{Driver, MERGE, PUBLICATION, SEGMENT_SWITCH, WORKING};
use crate::Failure;
use sombra::{Db, Metrics, Options};
use sombra_runtime::{DriverChoice, Runtime, RuntimeOptions, ShardId};
use sombra_sim::model::{Event, Recorder};
use sombra_sim::protocol::{self, Line};
use sombra_sim::random::Random;
use sombra_sim::workload::{
    Client, ClientOptions, Mix, Session, Space, Tally, observe, prepare_spaces,
};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
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
    seed: u64,
    #[arg(long)]
    life: u32,
    #[arg(long)]
    shards: usize,
    #[arg(long)]
    writers: u16,
    #[arg(long, value_enum)]
    driver: Driver,
    #[arg(long)]
    only_compare: bool,
}

/// The pipe. Each line is one write without a buffer of ours, so it is out when the call is.
struct Pipe(File);

impl Pipe {
    fn standard_output() -> std::io::Result<Pipe> {
        let copy = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Pipe(File::from(copy)))
    }

    fn send(&self, line: &Line) {
        let text = format!("{}\n", protocol::format(line));
        if (&self.0).write_all(text.as_bytes()).is_err() {
            // Nobody listens any more: what we would go on doing cannot be judged.
            std::process::exit(3);
        }
    }

    fn phase(&self, name: &str, note: &str) {
        self.send(&Line::Phase { name: name.to_owned(), note: note.to_owned() });
    }
}

impl Recorder for Pipe {
    fn record(&self, event: Event) {
        self.send(&Line::Event(event));
    }
}

pub(crate) fn run(arguments: &WriterArguments) -> Result<(), Failure> {
    let pipe = Pipe::standard_output().map_err(|error| format!("standard output: {error}"))?;
    let pipe = Arc::new(pipe);
    let runtime = Runtime::start(runtime_options(arguments)).map_err(|error| error.to_string())?;
    let driver = format!("{:?}", runtime.driver_kind()).to_lowercase();
    pipe.phase("driver", &driver);
    let exists = arguments.store.join("superblock").exists();
    pipe.phase(if exists { "recovery" } else { "creation" }, "");
    // The smallest budgets: merging, publishing and taking segments again is then what the
    // store does most of the time.
    let options = Options {
        memory_bytes: sombra::limits::MEMORY_BYTES_MIN,
        segment_bytes: sombra::limits::SEGMENT_BYTES_MIN,
        log_bytes_max: LOG_SEGMENTS * sombra::limits::SEGMENT_BYTES_MIN,
        ..Options::default()
    };
    let opened = runtime.block_on(Db::open(&runtime, &arguments.store, options));
    let db = opened.map_err(|error| format!("open: {error}"))?;
    pipe.phase("comparing", &db.open_report().to_string());
    show(&runtime, &db, &pipe)?;
    if arguments.only_compare {
        return runtime.block_on(db.close()).map_err(|error| format!("close: {error}"));
    }
    let recorder: Arc<dyn Recorder> = pipe.clone();
    let spaces = runtime.block_on(prepare_spaces(&db, &recorder));
    let spaces = spaces.map_err(|error| format!("keyspaces: {error}"))?;
    pipe.phase(WORKING, "");
    work(arguments, &runtime, &db, (&pipe, spaces))
}

fn runtime_options(arguments: &WriterArguments) -> RuntimeOptions {
    let driver = match arguments.driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::Uring => DriverChoice::Uring,
        Driver::Threads => DriverChoice::Threads,
    };
    RuntimeOptions { shards: arguments.shards, driver, pin: false, ..RuntimeOptions::default() }
}

fn show(runtime: &Runtime, db: &Db, pipe: &Pipe) -> Result<(), Failure> {
    let observation = runtime.block_on(observe(db, Mix::steady().keys))?;
    for (name, keys) in observation.spaces {
        pipe.send(&Line::ShownSpace { name });
        for (index, found) in keys {
            pipe.send(&Line::Shown { index, found });
        }
    }
    pipe.send(&Line::ShownAll);
    Ok(())
}

/// Half of the writers are tasks on shards, half are threads with a handle.
fn work(
    arguments: &WriterArguments,
    runtime: &Runtime,
    db: &Db,
    (pipe, spaces): (&Arc<Pipe>, Vec<Space>),
) -> Result<(), Failure> {
    let tally = Arc::new(Tally::default());
    let writers: Vec<JoinHandle<()>> = (0..arguments.writers)
        .map(|client| {
            let options = ClientOptions {
                db: db.clone(),
                recorder: pipe.clone(),
                tally: Arc::clone(&tally),
                spaces: spaces.clone(),
                mix: Mix::steady(),
                random: Random::new(arguments.seed).fork(u64::from(client)),
                life: arguments.life,
                client,
                actions: u64::MAX,
                may_be_damaged: false,
                keyspaces: client == 0,
                reuse_names: false,
                leftover: None,
            };
            let shard = client as usize / 2 % arguments.shards;
            let shard = client.is_multiple_of(2).then(|| ShardId::new(shard as u16));
            start_writer(runtime.clone(), options, shard)
        })
        .collect();
    let mut told = WORKING;
    while !writers.iter().any(JoinHandle::is_finished) {
        let (now, metrics) = (tally.report(), db.metrics());
        let doing = doing(&metrics);
        if doing != told {
            pipe.phase(doing, "");
            told = doing;
        }
        let merges = metrics.value("sombra_merges_total");
        let recycled = metrics.value("sombra_wal_recycled_segments_total");
        let (transactions, cross_shard) = (now.transactions, now.cross_shard);
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

fn start_writer(
    runtime: Runtime,
    options: ClientOptions,
    shard: Option<ShardId>,
) -> JoinHandle<()> {
    let db = options.db.clone();
    std::thread::spawn(move || match shard {
        None => runtime.block_on(Client::new(options, Session::Handle(db)).run()),
        Some(shard) => {
            let work = move |local| Client::new(options, Session::OnShard(local)).run();
            // A refusal means that the store has stopped; the caller says why.
            let _stopped = runtime.block_on(db.on_shard(shard, work));
        }
    })
}
