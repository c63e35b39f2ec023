//! A shard as its own tasks see it.

mod files;
mod operation;
mod queue;

pub use queue::{IoQueue, NotQueued, Span};

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::buffer::{BufferPool, BufferSlab, DmaBuf};
use crate::driver::{Driver, OpSlab};
use crate::heartbeat::Heartbeat;
use crate::ids::ShardId;
use crate::limits::{SIM_YIELD_CALLS, TASK_SLEEP_MAX};
use crate::metrics::TurnTally;
use crate::port::ShardPort;
use crate::runtime::{DriverKind, Runtime};
use crate::sync::Padded;
use crate::task::{TaskSpec, TaskTable};
use crate::time::Moment;
use crate::timers::{Sleep, Timers, YieldNow};

pub(crate) struct Io {
    pub(crate) driver: Driver,
    pub(crate) slab: OpSlab,
}

/// What a shard is made of. The thread that turns it is the only one that touches it.
pub(crate) struct ShardParts {
    pub(crate) id: ShardId,
    pub(crate) runtime: Runtime,
    pub(crate) driver: Driver,
    pub(crate) random_seed: [u8; 32],
    pub(crate) buffers: Option<Arc<BufferSlab>>,
}

struct ShardInner {
    id: ShardId,
    runtime: Runtime,
    kind: DriverKind,
    port: Arc<ShardPort>,
    io: RefCell<Io>,
    tasks: RefCell<TaskTable>,
    timers: RefCell<Timers>,
    random: RefCell<ChaCha8Rng>,
    tally: RefCell<TurnTally>,
    buffers: Option<Arc<BufferSlab>>,
    heart: Arc<Padded<Heartbeat>>,
    /// The poll that asked for slices last.
    wants_slices: Cell<u64>,
    /// Calls of `yield_if_needed` in a simulation.
    yield_calls: Cell<u64>,
    stopping: Cell<bool>,
}

/// The shard-local handle. It stays on its shard's thread.
#[derive(Clone)]
pub struct Shard(Rc<ShardInner>);

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Shard {
        Shard(Rc::new(ShardInner {
            id: parts.id,
            kind: parts.driver.kind(),
            port: Arc::clone(parts.runtime.port(parts.id)),
            heart: Arc::clone(parts.runtime.watch().heart(parts.id)),
            wants_slices: Cell::new(0),
            yield_calls: Cell::new(0),
            tasks: RefCell::new(TaskTable::new(Arc::clone(parts.runtime.watch().names()))),
            runtime: parts.runtime,
            io: RefCell::new(Io { driver: parts.driver, slab: OpSlab::new() }),
            timers: RefCell::new(Timers::new()),
            random: RefCell::new(ChaCha8Rng::from_seed(parts.random_seed)),
            tally: RefCell::new(TurnTally::default()),
            buffers: parts.buffers,
            stopping: Cell::new(false),
        }))
    }

    pub fn id(&self) -> ShardId {
        self.0.id
    }

    pub fn shard_count(&self) -> usize {
        self.0.runtime.shard_count()
    }

    pub fn runtime(&self) -> Runtime {
        self.0.runtime.clone()
    }

    pub fn now(&self) -> Moment {
        self.0.runtime.clock().now()
    }

    pub fn wall_clock_ms(&self) -> u64 {
        self.0.runtime.clock().wall_clock_ms()
    }

    /// From the shard's own seeded generator: good for jitter and identities, not for secrets.
    pub fn random_u64(&self) -> u64 {
        self.0.random.borrow_mut().next_u64()
    }

    pub fn driver_kind(&self) -> DriverKind {
        self.0.kind
    }

    /// Starts a task on this shard. While the shard stops, the future is dropped at once.
    pub fn spawn(&self, spec: TaskSpec, future: impl Future<Output = ()> + 'static) {
        if self.0.stopping.get() {
            return;
        }
        let header = self.0.tasks.borrow_mut().insert(spec, Box::pin(future), &self.0.port);
        self.0.port.push_ready(header);
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        let deadline = self.now().checked_add(duration.min(TASK_SLEEP_MAX));
        self.sleep_until(deadline.expect("585 years of run time end later than any sleep"))
    }

    pub fn sleep_until(&self, deadline: Moment) -> Sleep {
        Sleep::new(self.clone(), deadline)
    }

    pub fn yield_now(&self) -> YieldNow {
        YieldNow::new()
    }

    /// Yields only when the running poll has used up its slice, `limits::POLL_SLICE_US`, which
    /// the watchdog says at its second look at the latest: for long loops without I/O.
    ///
    /// Cost: two loads. The first call in a poll may wake the watchdog, once per burst of them.
    /// In a simulation, where time stands still, every `limits::SIM_YIELD_CALLS`th call yields.
    pub fn yield_if_needed(&self) -> YieldNow {
        if self.is_slice_over() { YieldNow::new() } else { YieldNow::already() }
    }

    pub(crate) fn is_slice_over(&self) -> bool {
        if self.0.kind == DriverKind::Sim {
            let calls = self.0.yield_calls.get() + 1;
            self.0.yield_calls.set(calls);
            return calls.is_multiple_of(SIM_YIELD_CALLS);
        }
        let beat = self.0.heart.beat();
        if self.0.wants_slices.replace(beat) != beat {
            self.0.runtime.watch().want_slices();
        }
        self.0.heart.is_asked_to_give_way(beat)
    }

    /// A zeroed buffer, from the registered slab while it has room, else from the heap.
    pub fn alloc_buffer(&self, len_bytes: usize) -> DmaBuf {
        let from_slab = self.0.buffers.as_ref().and_then(|slab| slab.alloc(len_bytes));
        from_slab.unwrap_or_else(|| DmaBuf::zeroed(len_bytes))
    }

    /// Adds buffer memory to this shard, for a user with a budget of its own. None of it is
    /// resident yet, unless the operator has set aside huge pages for all of it. Fails where the
    /// address space or the system's commit limit is exhausted.
    pub fn add_buffer_pool(&self, len_bytes: usize) -> io::Result<BufferPool> {
        let ring = (self.0.kind == DriverKind::Uring).then_some(&self.0.port);
        BufferPool::new(len_bytes, ring)
    }

    pub(crate) fn runtime_ref(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn port(&self) -> &Arc<ShardPort> {
        &self.0.port
    }

    pub(crate) fn io(&self) -> &RefCell<Io> {
        &self.0.io
    }

    pub(crate) fn tasks(&self) -> &RefCell<TaskTable> {
        &self.0.tasks
    }

    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.0.timers
    }

    pub(crate) fn tally(&self) -> &RefCell<TurnTally> {
        &self.0.tally
    }

    pub(crate) fn heart(&self) -> &Heartbeat {
        &self.0.heart
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.get()
    }

    /// From here on no task and no operation is accepted.
    pub(crate) fn stop_intake(&self) {
        self.0.stopping.set(true);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shard").field(&self.0.id.index()).finish()
    }
}
