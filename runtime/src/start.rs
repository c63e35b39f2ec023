//! From options to running shard threads, and a shard thread's life.

mod cpus;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::buffer::BufferSlab;
use crate::driver::Driver;
use crate::driver::inline::{InlineDriver, Work};
use crate::driver::kit::RingKit;
use crate::driver::pool::Pool;
use crate::driver::threads::ThreadsDriver;
use crate::driver::uring::UringDriver;
use crate::error::{ShutdownReport, StartError};
use crate::executor::{Fifo, ShardCore};
use crate::ids::ShardId;
use crate::limits;
use crate::port::ShardPort;
use crate::probe;
use crate::report::SlabReport;
use crate::runtime::{DriverChoice, DriverKind, Runtime, RuntimeOptions, watchdog};
use crate::shard::ShardParts;
use crate::sys;
use crate::time::Clock;

use self::cpus::Cpus;

struct ShardReport {
    shard: ShardId,
    /// Its thread runs where it was meant to.
    is_placed: bool,
    /// A ring that stands, with what it had to do without, or why there is none.
    ring: io::Result<Vec<String>>,
}

/// What each shard thread tells the starter, and what it then waits for.
struct Handshake {
    report: Sender<ShardReport>,
    verdict: Receiver<DriverKind>,
}

/// Decided once for all shards.
#[derive(Clone)]
struct Plan {
    options: RuntimeOptions,
    cpus: Cpus,
    shards: usize,
    idle_spin: Duration,
}

impl Plan {
    fn new(options: RuntimeOptions) -> Result<Plan, StartError> {
        check("shards", options.shards as u64, 0, limits::SHARDS_MAX as u64)?;
        let entries = options.ring_entries.into();
        check("ring_entries", entries, 8, limits::RING_ENTRIES_MAX.into())?;
        let slab = options.buffer_slab_bytes as u64;
        check("buffer_slab_bytes", slab, 0, limits::BUFFER_SLAB_BYTES_MAX as u64)?;
        let mut cpus = Cpus::find(&options)?;
        let cpus_allowed = cpus.allowed().len();
        let shards = match options.shards {
            0 => cpus_allowed.clamp(1, limits::SHARDS_MAX),
            count => count,
        };
        if options.pin {
            cpus.pin(shards);
        }
        let idle_spin_us = match options.idle_spin_us {
            RuntimeOptions::IDLE_SPIN_US_AUTO if shards < cpus_allowed => {
                limits::IDLE_SPIN_US_DEFAULT
            }
            RuntimeOptions::IDLE_SPIN_US_AUTO => 0,
            asked => asked,
        };
        check("idle_spin_us", idle_spin_us.into(), 0, limits::IDLE_SPIN_US_MAX.into())?;
        let idle_spin = Duration::from_micros(idle_spin_us.into());
        Ok(Plan { options, cpus, shards, idle_spin })
    }
}

fn check(option: &'static str, found: u64, low: u64, high: u64) -> Result<(), StartError> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(StartError::Option { option, found, range: format!("{low}..={high}") })
}

pub(crate) fn start(options: RuntimeOptions) -> Result<Runtime, StartError> {
    let plan = Plan::new(options)?;
    let mut ports = Vec::with_capacity(plan.shards);
    for shard in 0..plan.shards {
        let bell = sys::eventfd_new().map_err(|source| StartError::Wake { shard, source })?;
        ports.push(Arc::new(ShardPort::new(Some(bell))));
    }
    let pool = Pool::new(plan.cpus.allowed().to_vec(), limits::POOL_THREADS_ALONE_MAX);
    let short_io_bytes = plan.options.inject_short_io_bytes;
    let runtime = Runtime::assemble(Clock::real(), ports, Some(pool), short_io_bytes);
    let (report, reports) = bounded(plan.shards);
    let mut verdicts = Vec::with_capacity(plan.shards);
    let mut threads = Vec::with_capacity(plan.shards);
    for shard in (0..plan.shards).map(ShardId::from_index) {
        let (verdict_sender, verdict) = bounded(1);
        let handshake = Handshake { report: report.clone(), verdict };
        // An early return drops the verdicts' senders, on which the started threads end.
        threads.push(spawn_shard(&plan, &runtime, shard, handshake)?);
        verdicts.push(verdict_sender);
    }
    drop(report);
    let kind = decide(&plan, &runtime, &reports)?;
    if kind != DriverKind::Threads
        && let Some(pool) = runtime.pool()
    {
        pool.set_threads_max(limits::POOL_THREADS_BESIDE_RING_MAX);
    }
    let budget = Duration::from_micros(plan.options.stall_budget_us);
    watchdog::start(&runtime, plan.cpus.allowed().to_vec(), budget)
        .map_err(|source| StartError::Thread { name: watchdog::THREAD_NAME.to_owned(), source })?;
    runtime.set_kind(kind);
    runtime.set_threads(threads);
    for verdict in verdicts {
        // A shard thread that has already crashed is found by `shutdown`.
        let _ = verdict.send(kind);
    }
    Ok(runtime)
}

/// All shards use a ring, or none does.
fn decide(
    plan: &Plan,
    runtime: &Runtime,
    reports: &Receiver<ShardReport>,
) -> Result<DriverKind, StartError> {
    let mut refused: Option<(ShardId, io::Error)> = None;
    let mut notes = Vec::new();
    // Ends when every shard thread has reported and dropped its sender.
    let mut placement = Vec::with_capacity(plan.shards);
    for ShardReport { shard, is_placed, ring } in reports.iter() {
        placement.push(plan.cpus.placement(shard, is_placed));
        match ring {
            Ok(lacking) => notes.extend(lacking),
            Err(error) => {
                refused.get_or_insert((shard, error));
            }
        }
    }
    placement.sort_by_key(|place| place.shard);
    runtime.set_placement(placement);
    if let Some(kind) = kind_without_ring(plan.options.driver) {
        return Ok(kind);
    }
    let Some((shard, error)) = refused else {
        notes.into_iter().for_each(|note| runtime.note(note));
        return Ok(DriverKind::Uring);
    };
    let reason = probe::explain_ring_error(&error);
    if plan.options.driver == DriverChoice::Uring {
        return Err(StartError::Ring { shard: shard.index(), reason });
    }
    runtime.note(format!("I/O runs on threads, slower, because io_uring failed: {reason}"));
    Ok(DriverKind::Threads)
}

/// `None`: the choice depends on whether rings can be had.
fn kind_without_ring(choice: DriverChoice) -> Option<DriverKind> {
    match choice {
        DriverChoice::Auto | DriverChoice::Uring => None,
        DriverChoice::Threads => Some(DriverKind::Threads),
        DriverChoice::Inline => Some(DriverKind::Inline),
        DriverChoice::Null => Some(DriverKind::Null),
    }
}

fn spawn_shard(
    plan: &Plan,
    runtime: &Runtime,
    shard: ShardId,
    handshake: Handshake,
) -> Result<JoinHandle<ShutdownReport>, StartError> {
    let name = format!("sombra-shard-{}", shard.index());
    let random_seed = sys::random_seed().map_err(|source| StartError::Random { source })?;
    let (plan, runtime) = (plan.clone(), runtime.clone());
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let core = prepare(&plan, &runtime, shard, random_seed, handshake);
            let report = core.map_or_else(ShutdownReport::default, |core| live(core, &plan));
            runtime.watch().heart(shard).stop();
            report
        })
        .map_err(|source| StartError::Thread { name, source })
}

/// Everything that must happen on the shard's own thread. `None`: the runtime does not start.
fn prepare(
    plan: &Plan,
    runtime: &Runtime,
    id: ShardId,
    random_seed: [u8; 32],
    handshake: Handshake,
) -> Option<ShardCore> {
    // Before the ring and its buffers: memory is taken from the node that first touches it.
    let placed = plan.cpus.place(id);
    if let Err(error) = &placed {
        runtime.note(format!("shard {} is not on the CPUs meant for it: {error}", id.index()));
    }
    let (kit, ring) = if kind_without_ring(plan.options.driver).is_some() {
        (None, Ok(Vec::new()))
    } else {
        match RingKit::new(&plan.options, id, runtime.port(id)) {
            Ok((kit, lacking)) => {
                runtime.set_ring_report(id, kit.report());
                (Some(kit), Ok(lacking))
            }
            Err(error) => (None, Err(error)),
        }
    };
    let buffers = match &kit {
        Some(kit) => kit.slab(),
        None => slab_without_ring(plan, runtime, id),
    };
    if let Some(slab) = &buffers {
        let memory = slab.memory();
        let report = SlabReport { len_bytes: memory.len_bytes(), huge_pages: memory.pages() };
        runtime.set_slab_report(id, report);
    }
    handshake.report.send(ShardReport { shard: id, is_placed: placed.is_ok(), ring }).ok()?;
    drop(handshake.report);
    let kind = handshake.verdict.recv().ok()?;
    let inline = |work| Driver::Inline(Box::new(InlineDriver::new(work, runtime, id)));
    let driver = match (kind, kit) {
        (DriverKind::Uring, Some(kit)) => {
            Driver::Uring(Box::new(UringDriver::new(kit, runtime, id)))
        }
        (DriverKind::Inline, _) => inline(Work::Call),
        (DriverKind::Null, _) => inline(Work::Skip),
        _ => Driver::Threads(ThreadsDriver::new(runtime, id)),
    };
    let parts = ShardParts { id, runtime: runtime.clone(), driver, random_seed, buffers };
    let mut core = ShardCore::new(parts);
    core.set_stall_budget(Duration::from_micros(plan.options.stall_budget_us));
    Some(core)
}

/// Buffers lie as a ring's would, so that figures of both can be compared.
fn slab_without_ring(plan: &Plan, runtime: &Runtime, id: ShardId) -> Option<Arc<BufferSlab>> {
    let len_bytes = plan.options.buffer_slab_bytes;
    if len_bytes == 0 {
        return None;
    }
    match BufferSlab::unregistered(len_bytes) {
        Ok(slab) => Some(Arc::new(slab)),
        Err(error) => {
            runtime.note(format!("shard {} has no buffer slab: {error}", id.index()));
            None
        }
    }
}

/// Turns until told to stop. A panic in a task or job does not get here; one of the executor
/// itself ends the shard, and what the kernel holds stays allocated.
fn live(mut core: ShardCore, plan: &Plan) -> ShutdownReport {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let report = core.turn(usize::MAX, &mut Fifo);
            if report.stop {
                return core.shut_down(plan.options.shutdown_wait);
            }
            if !report.progressed {
                core.idle(plan.idle_spin);
            }
        }
    }));
    lived.unwrap_or_else(|_| {
        tracing::error!(target: "sombra_runtime", "a shard's executor panicked; it has ended");
        // Whoever waits for a job of this shard learns that it will not run.
        drop(core.shard().port().close());
        std::mem::forget(core);
        ShutdownReport { shards_crashed: 1, ..ShutdownReport::default() }
    })
}
