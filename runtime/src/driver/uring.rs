use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::buffer::{BufferSlab, IoBuf, Mapping};
use crate::driver::buffer_table::{BufferTable, explain};
use crate::driver::file_table::FileTable;
use crate::driver::threads::ThreadsDriver;
use crate::driver::{Op, OpDone, OpKey, OpSlab, OpValue};
use crate::file::{FlushVia, IO_CLASS_COUNT};
use crate::ids::ShardId;
use crate::limits::{
    COMPLETIONS_PER_TURN_MAX, REGISTERED_FILES_MAX, RING_COMPLETIONS_RESERVED, RING_PROBE_MS_MAX,
    SUBMIT_BATCH_MAX,
};
use crate::port::ShardPort;
use crate::ring::{Event, Ring, Route, SetUp};
use crate::runtime::{Runtime, RuntimeOptions};
use crate::time::Moment;

/// A ring with its tables, ready on the thread that made it.
pub(crate) struct RingKit {
    ring: Ring,
    files: FileTable,
    buffers: BufferTable,
    slab: Option<Arc<BufferSlab>>,
}

impl RingKit {
    /// Sets up the ring, its tables, and proves with one ring of the bell that waiting works.
    /// Also returns what the kernel or a limit took away, for the operator.
    pub(crate) fn new(
        options: &RuntimeOptions,
        shard: ShardId,
        port: &Arc<ShardPort>,
    ) -> io::Result<(RingKit, Vec<String>)> {
        if let Some(errno) = options.inject_uring_setup_errno {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut ring = Ring::new(options.ring_entries)?;
        prove_wake_up(&mut ring, port)?;
        let mut notes = Vec::new();
        if ring.set_up() != SetUp::Deferred {
            notes.push(format!("io_uring set up as {:?}: Linux 6.1 does better", ring.set_up()));
        }
        let files = file_table(options, shard, &ring, &mut notes);
        let memlock_bytes = options.inject_memlock_bytes.unwrap_or(usize::MAX);
        let mut buffers = BufferTable::new(Arc::clone(port), &mut ring, memlock_bytes);
        let slab = if options.buffer_slab_bytes > 0 {
            let memory = Arc::new(Mapping::new(options.buffer_slab_bytes)?);
            let (slab, note) = register_slab(memory, &mut buffers, &mut ring);
            notes.extend(note);
            Some(Arc::new(slab))
        } else {
            None
        };
        Ok((RingKit { ring, files, buffers, slab }, notes))
    }

    pub(crate) fn slab(&self) -> Option<Arc<BufferSlab>> {
        self.slab.clone()
    }
}

fn file_table(
    options: &RuntimeOptions,
    shard: ShardId,
    ring: &Ring,
    notes: &mut Vec<String>,
) -> FileTable {
    if !options.register_files {
        return FileTable::new(shard, 0);
    }
    match ring.register_files(REGISTERED_FILES_MAX) {
        Ok(()) => FileTable::new(shard, REGISTERED_FILES_MAX),
        Err(error) => {
            notes.push(format!("files are not registered with io_uring: {error}"));
            FileTable::new(shard, 0)
        }
    }
}

/// Some policies allow the set-up call and forbid the others, so one wake-up goes all the way.
fn prove_wake_up(ring: &mut Ring, port: &ShardPort) -> io::Result<()> {
    let bell = port.bell().expect("a shard with a ring has a bell");
    ring.push_wake(bell);
    ring.submit()?;
    crate::sys::eventfd_ring(bell);
    ring.submit_and_sleep(Some(Duration::from_millis(RING_PROBE_MS_MAX)))?;
    match ring.next_event() {
        Some(Event::Wake { armed: true }) => Ok(()),
        _ => {
            let text = "this kernel's io_uring has no multishot poll (Linux 5.13)";
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}

/// The shard's slab over `memory`, registered as far as possible, and what was not.
fn register_slab(
    memory: Arc<Mapping>,
    buffers: &mut BufferTable,
    ring: &mut Ring,
) -> (BufferSlab, Option<String>) {
    let wanted = memory.len_bytes();
    match buffers.register_start(&memory, ring) {
        Ok((place, bytes)) => {
            let note = (bytes < wanted).then(|| {
                format!(
                    "only {bytes} of {wanted} buffer bytes of a shard are registered with \
                     io_uring: raise RLIMIT_MEMLOCK"
                )
            });
            (BufferSlab::with_registered_start(memory, Some((place, bytes))), note)
        }
        Err(error) => {
            let note = format!(
                "no buffers are registered with io_uring, each I/O costs more CPU: {}",
                explain(&error)
            );
            (BufferSlab::with_registered_start(memory, None), Some(note))
        }
    }
}

/// Direct reads, writes and flushes on the ring; everything else on the pool.
pub(crate) struct UringDriver {
    kit: RingKit,
    runtime: Runtime,
    port: Arc<ShardPort>,
    offload: ThreadsDriver,
    /// Operations that the kernel has, or has queued. Below `in_flight_max` always, because
    /// completions beyond the completion queue's size would overflow.
    in_flight: usize,
    in_flight_max: usize,
    /// Waiting for a place in the ring, by class and in order.
    backlog: [VecDeque<OpKey>; IO_CLASS_COUNT],
    wake_armed: bool,
    /// In the submission queue since the last entry into the kernel.
    entered: Vec<OpKey>,
    short_io_bytes: usize,
}

impl UringDriver {
    pub(crate) fn new(kit: RingKit, runtime: &Runtime, shard: ShardId) -> UringDriver {
        let in_flight_max = kit.ring.completion_capacity() - RING_COMPLETIONS_RESERVED;
        UringDriver {
            kit,
            runtime: runtime.clone(),
            port: Arc::clone(runtime.port(shard)),
            offload: ThreadsDriver::new(runtime, shard),
            in_flight: 0,
            in_flight_max,
            backlog: Default::default(),
            wake_armed: true,
            entered: Vec::with_capacity(SUBMIT_BATCH_MAX),
            short_io_bytes: runtime.short_io_bytes(),
        }
    }

    pub(crate) fn submit(&mut self, key: OpKey, slab: &mut OpSlab) {
        let is_queued = slab.is_queued(key);
        let for_ring = match slab.op_mut(key) {
            Op::Read { file, .. } | Op::Write { file, .. } => is_queued || file.is_direct(),
            Op::Flush { file, via: FlushVia::Ring, .. } => is_queued || file.is_direct(),
            _ => false,
        };
        if !for_ring {
            self.offload.submit(key, slab);
        } else if self.has_backlog() || !self.try_push(key, slab) {
            self.backlog[slab.class(key).index()].push_back(key);
        }
    }

    fn has_backlog(&self) -> bool {
        self.backlog.iter().any(|queue| !queue.is_empty())
    }

    /// False: the ring is full.
    fn try_push(&mut self, key: OpKey, slab: &mut OpSlab) -> bool {
        if self.in_flight >= self.in_flight_max {
            return false;
        }
        let RingKit { ring, files, buffers, .. } = &mut self.kit;
        let (file, buf) = match slab.op_mut(key) {
            Op::Read { file, buf, .. } => (file, Some(&*buf)),
            Op::Write { file, buf: IoBuf::Owned(buf), .. } => (file, Some(&*buf)),
            Op::Write { file, .. } | Op::Flush { file, .. } => (file, None),
            _ => panic!("not an operation for the ring"),
        };
        let buffer = buf.and_then(|buf| buffers.place_of(buf, ring));
        let route = Route { file: files.target(file, ring), buffer };
        if let Some(refusal) = buffers.take_refusal() {
            self.runtime.note(refusal);
        }
        if !ring.push_operation(key, slab, route, self.short_io_bytes) {
            return false;
        }
        self.in_flight += 1;
        self.entered.push(key);
        if self.kit.ring.queued() >= SUBMIT_BATCH_MAX {
            self.enter(slab);
        }
        true
    }

    /// Hands over what is queued. The time is taken before the call: the kernel may carry an
    /// operation out inside it.
    fn enter(&mut self, slab: &mut OpSlab) {
        if !self.entered.is_empty() {
            let now = self.runtime.now();
            self.entered.drain(..).for_each(|key| slab.set_submitted(key, now));
        }
        if let Err(error) = self.kit.ring.submit() {
            report_enter(&error);
        }
    }

    pub(crate) fn push_submissions(&mut self, slab: &mut OpSlab) {
        if !self.wake_armed
            && let Some(bell) = self.port.bell()
        {
            self.wake_armed = self.kit.ring.push_wake(bell);
        }
        while let Some(class) = self.backlog.iter().position(|queue| !queue.is_empty()) {
            let key = self.backlog[class][0];
            if !self.try_push(key, slab) {
                break;
            }
            self.backlog[class].pop_front();
        }
        if self.kit.ring.queued() > 0 {
            self.enter(slab);
        }
    }

    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        let mut count = self.offload.reap(slab, now, woken);
        if self.kit.ring.wants_enter() {
            self.enter(slab);
        }
        while count < COMPLETIONS_PER_TURN_MAX {
            let Some(event) = self.kit.ring.next_event() else { break };
            match event {
                Event::Operation { key, result } => {
                    self.in_flight -= 1;
                    if result == -libc::EAGAIN || result == -libc::EINTR {
                        self.backlog[slab.class(key).index()].push_front(key);
                        continue;
                    }
                    complete(slab, key, result, now, woken);
                    count += 1;
                }
                Event::Wake { armed } => self.wake_armed = armed,
                Event::Cancelled => {}
            }
        }
        count
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        self.offload.has_completions() || self.kit.ring.has_events() || self.kit.ring.wants_enter()
    }

    pub(crate) fn park(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.kit.ring.submit_and_sleep(timeout) {
            report_enter(&error);
        }
    }

    pub(crate) fn release_file(&mut self, slot: u32, file: u64) {
        self.kit.files.release(slot, file, &self.kit.ring);
    }

    pub(crate) fn release_buffers(&mut self, places: &[u16]) {
        self.kit.buffers.release(places, &mut self.kit.ring);
    }

    pub(crate) fn cancel_all(&mut self, slab: &mut OpSlab) {
        if !self.kit.ring.push_cancel_all() {
            self.enter(slab);
            self.kit.ring.push_cancel_all();
        }
    }
}

/// Ends of a sleep that are no failure: time, a signal, completions that wait to be taken.
pub(super) fn report_enter(error: &io::Error) {
    let expected = [libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY];
    if !error.raw_os_error().is_some_and(|code| expected.contains(&code)) {
        tracing::error!(target: "sombra_runtime", "io_uring_enter: {error}");
    }
}

/// The kernel is done with the operation that the slab kept for it.
fn complete(slab: &mut OpSlab, key: OpKey, result: i32, now: Moment, woken: &mut Vec<Waker>) {
    let op = slab.take_op(key);
    let is_flush = matches!(op, Op::Flush { .. });
    let result = match usize::try_from(result) {
        Ok(_) if is_flush => Ok(OpValue::Unit),
        Ok(count) => Ok(OpValue::Bytes(count)),
        Err(_) => Err(io::Error::from_raw_os_error(-result)),
    };
    slab.complete(key, OpDone { result, buf: op.into_buf() }, now, woken);
}
