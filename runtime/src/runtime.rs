pub(crate) mod watchdog;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread, ThreadId};
use std::time::Duration;

use crate::driver::pool::Pool;
use crate::error::{ShutdownReport, StartError};
use crate::ids::ShardId;
use crate::limits;
use crate::metrics::{LiveMetrics, ShardIoMetrics};
use crate::port::{Control, ShardPort};
use crate::report::{DriverReport, RingReport, ShardDriverReport, SlabReport};
use crate::shard::Shard;
use crate::time::{Clock, Moment};

use self::watchdog::Watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverKind {
    Uring,
    Threads,
    /// Reads, writes and flushes are system calls on the shard's own thread.
    Inline,
    /// Reads, writes, flushes and trims do nothing.
    Null,
    Sim,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverChoice {
    /// io_uring where the host allows it, otherwise threads, with a warning.
    Auto,
    /// io_uring or a start error.
    Uring,
    Threads,
    /// One system call per read, write and flush on the shard's own thread, which waits for it:
    /// the measure of what a queue gains. Everything about names goes to a pool of threads.
    Inline,
    /// Reads, writes, flushes and trims succeed at once at their full length and no file is
    /// touched: what remains is the runtime's own cost. Buffers keep what they held. Everything
    /// about names is done as with a ring. No store works on it.
    Null,
}

#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// 0: one for each of `cpus`.
    pub shards: usize,
    pub driver: DriverChoice,
    /// Pins each shard's thread to one CPU, chosen from `cpus` by cores and memory nodes; see
    /// `Runtime::placement`. Without it a shard may run on any of `cpus`.
    pub pin: bool,
    /// The CPUs that the runtime's threads may use, each of which must exist and be allowed;
    /// `None`: those of the thread that calls `Runtime::start`.
    pub cpus: Option<Vec<usize>>,
    /// Spinning before sleep. `IDLE_SPIN_US_AUTO`: 20 µs where a CPU is left for the threads
    /// that would wake the shards, else none, because a spinning shard would hold up its caller.
    pub idle_spin_us: u32,
    pub ring_entries: u32,
    /// Memory registered with each shard's ring; 0 for none.
    pub buffer_slab_bytes: usize,
    /// Registers each file with a shard's ring at its first use there. Without, every operation
    /// names its file by descriptor and the kernel looks it up each time.
    pub register_files: bool,
    pub stall_budget_us: u64,
    /// How long shutdown waits for operations in flight before it leaks their buffers.
    pub shutdown_wait: Duration,
    /// Test hook: setting up a ring fails with this error number.
    pub inject_uring_setup_errno: Option<i32>,
    /// Test hook: registering buffers behaves as if this much memory could be locked.
    pub inject_memlock_bytes: Option<usize>,
    /// Test hook: the ring for polled files is an ordinary one, as if every device had poll
    /// queues.
    pub inject_polled_ring_without_iopoll: bool,
    /// Test hook: no read or write transfers more than this at once, as if the kernel had cut
    /// it short. A multiple of the direct-I/O alignment.
    pub inject_short_io_bytes: Option<usize>,
}

impl RuntimeOptions {
    pub const IDLE_SPIN_US_AUTO: u32 = u32::MAX;
}

impl Default for RuntimeOptions {
    fn default() -> RuntimeOptions {
        RuntimeOptions {
            shards: 0,
            driver: DriverChoice::Auto,
            pin: true,
            cpus: None,
            idle_spin_us: RuntimeOptions::IDLE_SPIN_US_AUTO,
            ring_entries: limits::RING_ENTRIES_DEFAULT,
            buffer_slab_bytes: limits::BUFFER_SLAB_BYTES_DEFAULT,
            register_files: true,
            stall_budget_us: limits::STALL_BUDGET_US_DEFAULT,
            shutdown_wait: Duration::from_millis(limits::SHUTDOWN_WAIT_MS_DEFAULT),
            inject_uring_setup_errno: None,
            inject_memlock_bytes: None,
            inject_polled_ring_without_iopoll: false,
            inject_short_io_bytes: None,
        }
    }
}

/// Where a shard's thread runs.
///
/// Its ring, its registered slab and its buffer pools are made by that thread after it was
/// pinned, and memory comes from the node of the thread that first touches it: a pinned shard's
/// buffers are on its own node as far as that has free memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardPlacement {
    pub shard: ShardId,
    /// `None`: the kernel moves it about.
    pub cpu: Option<usize>,
    /// The memory node of that CPU, or of all that it may use; `None` also where the host does
    /// not tell.
    pub node: Option<usize>,
}

pub(crate) struct RuntimeInner {
    kind: OnceLock<DriverKind>,
    clock: Clock,
    ports: Vec<Arc<ShardPort>>,
    metrics: Vec<Mutex<LiveMetrics>>,
    rings: Vec<Mutex<Option<RingReport>>>,
    watch: Watch,
    slabs: Vec<OnceLock<SlabReport>>,
    pool: Option<Pool>,
    short_io_bytes: usize,
    notes: Mutex<Vec<String>>,
    memory_limit_bytes: OnceLock<Option<u64>>,
    placement: OnceLock<Vec<ShardPlacement>>,
    next_file_number: AtomicU64,
    shard_threads: OnceLock<Vec<ThreadId>>,
    threads: Mutex<Vec<JoinHandle<ShutdownReport>>>,
    report: Mutex<ShutdownReport>,
    #[cfg(feature = "sim")]
    fault_points: OnceLock<crate::sim::FaultPoints>,
}

/// Everybody's handle to the shards. It runs until `shutdown`; dropping handles stops nothing.
#[derive(Clone)]
pub struct Runtime(Arc<RuntimeInner>);

impl Runtime {
    /// Starts the shard threads and returns when each has its driver.
    pub fn start(options: RuntimeOptions) -> Result<Runtime, StartError> {
        crate::start::start(options)
    }

    pub(crate) fn assemble(
        clock: Clock,
        ports: Vec<Arc<ShardPort>>,
        pool: Option<Pool>,
        short_io_bytes: Option<usize>,
    ) -> Runtime {
        let shard = |index| Mutex::new(LiveMetrics::new(ShardId::from_index(index)));
        Runtime(Arc::new(RuntimeInner {
            kind: OnceLock::new(),
            clock,
            metrics: (0..ports.len()).map(shard).collect(),
            rings: ports.iter().map(|_| Mutex::new(None)).collect(),
            watch: Watch::new(ports.len()),
            slabs: ports.iter().map(|_| OnceLock::new()).collect(),
            ports,
            pool,
            short_io_bytes: short_io_bytes.unwrap_or(usize::MAX),
            notes: Mutex::new(Vec::new()),
            memory_limit_bytes: OnceLock::new(),
            placement: OnceLock::new(),
            next_file_number: AtomicU64::new(0),
            shard_threads: OnceLock::new(),
            threads: Mutex::new(Vec::new()),
            report: Mutex::new(ShutdownReport::default()),
            #[cfg(feature = "sim")]
            fault_points: OnceLock::new(),
        }))
    }

    /// A runtime whose shards somebody else turns: no threads, no pool, no bells.
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    pub(crate) fn assemble_simulated(clock: Clock, shards: usize) -> Runtime {
        let ports = (0..shards).map(|_| Arc::new(ShardPort::new(None))).collect();
        let runtime = Runtime::assemble(clock, ports, None, None);
        runtime.set_kind(DriverKind::Sim);
        runtime
    }

    #[cfg(feature = "sim")]
    pub(crate) fn set_fault_points(&self, points: crate::sim::FaultPoints) {
        let is_first = self.0.fault_points.set(points).is_ok();
        assert!(is_first, "a world says once what it refuses");
    }

    #[cfg(feature = "sim")]
    pub(crate) fn fault_points(&self) -> Option<&crate::sim::FaultPoints> {
        self.0.fault_points.get()
    }

    pub(crate) fn set_kind(&self, kind: DriverKind) {
        self.0.kind.set(kind).expect("the driver's kind is decided once");
    }

    pub(crate) fn set_placement(&self, placement: Vec<ShardPlacement>) {
        self.0.placement.set(placement).expect("shards are placed once");
    }

    pub(crate) fn set_threads(&self, threads: Vec<JoinHandle<ShutdownReport>>) {
        let ids = threads.iter().map(|thread| thread.thread().id()).collect();
        self.0.shard_threads.set(ids).expect("threads are started once");
        *lock(&self.0.threads) = threads;
    }

    /// Adds to what an operator must know about the driver, and says it in the log.
    pub(crate) fn note(&self, note: String) {
        tracing::warn!(target: "sombra_runtime", "{note}");
        let mut notes = lock(&self.0.notes);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub fn shard_count(&self) -> usize {
        self.0.ports.len()
    }

    pub fn driver_kind(&self) -> DriverKind {
        *self.0.kind.get().expect("the kind is set before a runtime is handed out")
    }

    /// The memory that the host's control groups allow this process; `None`: they set no limit.
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        let is_simulated = self.driver_kind() == DriverKind::Sim;
        let ask = || if is_simulated { None } else { crate::probe::memory_limit_bytes() };
        *self.0.memory_limit_bytes.get_or_init(ask)
    }

    /// One entry per shard, in order. Simulated shards are nowhere.
    pub fn placement(&self) -> Vec<ShardPlacement> {
        let nowhere = |index| {
            let shard = ShardId::from_index(index);
            ShardPlacement { shard, cpu: None, node: None }
        };
        let placed = self.0.placement.get().cloned();
        placed.unwrap_or_else(|| (0..self.shard_count()).map(nowhere).collect())
    }

    /// The kernel's threads that carry out what this process's rings could not do inline, or poll
    /// their queues, at this moment. `None` where the host does not tell, and under simulation.
    ///
    /// Cost: reads a file for each thread of the process.
    pub fn io_workers(&self) -> Option<u64> {
        if self.driver_kind() == DriverKind::Sim {
            return None;
        }
        crate::probe::io_workers::io_workers()
    }

    /// Why the driver is not the best one, or what it had to do without.
    pub fn driver_note(&self) -> Option<String> {
        let notes = lock(&self.0.notes);
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// What the driver came to be, shard by shard. It trails the shards by at most a turn.
    pub fn driver_report(&self) -> DriverReport {
        let kind = self.driver_kind();
        let shard = |(index, ring): (usize, &Mutex<Option<RingReport>>)| ShardDriverReport {
            shard: ShardId::from_index(index),
            slab: self.0.slabs[index].get().copied(),
            // One shard's ring is given up where another's cannot be had.
            ring: lock(ring).clone().filter(|_| kind == DriverKind::Uring),
        };
        DriverReport {
            kind,
            notes: lock(&self.0.notes).clone(),
            shards: self.0.rings.iter().enumerate().map(shard).collect(),
        }
    }

    /// Runs `job` on a shard, after all jobs sent there before by the same thread. After
    /// `shutdown` it is dropped unrun.
    pub fn run_on(&self, shard: ShardId, job: impl FnOnce(&Shard) + Send + 'static) {
        self.port(shard).push_control(Control::Run(Box::new(job)));
    }

    pub fn now(&self) -> Moment {
        self.0.clock.now()
    }

    pub fn wall_clock_ms(&self) -> u64 {
        self.0.clock.wall_clock_ms()
    }

    /// Runs a future on the calling plain thread, which sleeps while the future waits.
    ///
    /// Panics on a shard's own thread and under simulation, where it would wait for ever.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(self.driver_kind() != DriverKind::Sim, "block_on would stop a simulated run");
        assert!(!self.is_shard_thread(), "block_on would stop the shard that it waits for");
        let unparker = Arc::new(Unparker { thread: std::thread::current() });
        let waker = Waker::from(unparker);
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            std::thread::park();
        }
    }

    /// One entry per shard, in order.
    pub fn metrics(&self) -> Vec<ShardIoMetrics> {
        self.0.metrics.iter().map(|metrics| lock(metrics).snapshot()).collect()
    }

    /// Stops the intake, drops all tasks, waits for operations in flight and ends the threads.
    /// Later calls wait for the first and return its report. Panics on a shard's own thread.
    pub fn shutdown(&self) -> ShutdownReport {
        assert!(!self.is_shard_thread(), "a shard cannot wait for its own end");
        let mut report = lock(&self.0.report);
        let threads = std::mem::take(&mut *lock(&self.0.threads));
        if !threads.is_empty() {
            self.0.ports.iter().for_each(|port| port.push_control(Control::Stop));
        }
        for thread in threads {
            let crashed = ShutdownReport { shards_crashed: 1, ..ShutdownReport::default() };
            report.add(&thread.join().unwrap_or(crashed));
        }
        self.0.watch.stop();
        if let Some(pool) = &self.0.pool {
            // A thread that hangs in the kernel is not waited for.
            pool.stop(report.operations_leaked == 0);
        }
        report.clone()
    }

    pub(crate) fn port(&self, shard: ShardId) -> &Arc<ShardPort> {
        &self.0.ports[shard.index()]
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.0.watch
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.0.pool.as_ref()
    }

    pub(crate) fn short_io_bytes(&self) -> usize {
        self.0.short_io_bytes
    }

    pub(crate) fn shard_metrics(&self, shard: ShardId) -> MutexGuard<'_, LiveMetrics> {
        lock(&self.0.metrics[shard.index()])
    }

    pub(crate) fn set_ring_report(&self, shard: ShardId, report: RingReport) {
        *lock(&self.0.rings[shard.index()]) = Some(report);
    }

    pub(crate) fn set_slab_report(&self, shard: ShardId, report: SlabReport) {
        let set = self.0.slabs[shard.index()].set(report);
        set.expect("a shard has one slab for good");
    }

    pub(crate) fn next_file_number(&self) -> u64 {
        self.0.next_file_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn release_ring_slot(&self, shard: ShardId, slot: u32, file: u64) {
        self.port(shard).push_control(Control::ReleaseFile { slot, file });
    }

    fn is_shard_thread(&self) -> bool {
        let here = std::thread::current().id();
        self.0.shard_threads.get().is_some_and(|threads| threads.contains(&here))
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.kind.get();
        f.debug_struct("Runtime").field("shards", &self.shard_count()).field("kind", &kind).finish()
    }
}

struct Unparker {
    thread: Thread,
}

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.thread.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.thread.unpark();
    }
}

/// What these locks guard stays consistent when a thread panics between two plain stores.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
