//! One ring with its table of files, what it has in flight and what waits for a place in it.
//! Which operations belong on which ring is the driver's business.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::driver::file_table::FileTable;
use crate::driver::{Op, OpKey, OpSlab};
use crate::file::{DmaFile, IO_CLASS_COUNT, IoClass};
use crate::limits::{RING_COMPLETIONS_RESERVED, SUBMIT_BATCH_MAX, SUBMIT_BATCH_MIN};
use crate::ring::{Ring, Route, Target};
use crate::time::Clock;

pub(super) struct Lane {
    pub(super) ring: Ring,
    files: FileTable,
    /// Operations that the kernel has, or has queued. Below `in_flight_max` always, because
    /// completions beyond the completion queue's size would overflow.
    in_flight: usize,
    in_flight_max: usize,
    /// Waiting for a place in the ring, by class and in order.
    backlog: [VecDeque<OpKey>; IO_CLASS_COUNT],
    waiting: usize,
    /// In the submission queue since the last entry into the kernel.
    entered: Vec<OpKey>,
}

/// How an operation is handed over.
#[derive(Clone, Copy)]
pub(super) struct Handover<'a> {
    /// The registered memory that its buffer lies in.
    pub(super) buffer: Option<u16>,
    /// Its file is named by descriptor, not by a place in the ring's table.
    pub(super) by_descriptor: bool,
    /// No transfer is longer, for tests.
    pub(super) short_io_bytes: usize,
    pub(super) clock: &'a Clock,
}

impl Lane {
    pub(super) fn new(ring: Ring, files: FileTable) -> Lane {
        let in_flight_max = ring.completion_capacity() - RING_COMPLETIONS_RESERVED;
        Lane {
            ring,
            files,
            in_flight: 0,
            in_flight_max,
            backlog: Default::default(),
            waiting: 0,
            entered: Vec::with_capacity(SUBMIT_BATCH_MAX),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The first of the most urgent class that waits.
    pub(super) fn first_waiting(&self) -> Option<OpKey> {
        if self.waiting == 0 {
            return None;
        }
        self.backlog.iter().find_map(|queue| queue.front().copied())
    }

    pub(super) fn push_waiting(&mut self, key: OpKey, class: IoClass) {
        self.backlog[class.index()].push_back(key);
        self.waiting += 1;
    }

    /// Before all others of its class: it has had a place before.
    pub(super) fn push_waiting_again(&mut self, key: OpKey, class: IoClass) {
        self.backlog[class.index()].push_front(key);
        self.waiting += 1;
    }

    pub(super) fn pop_waiting(&mut self, class: IoClass) {
        let popped = self.backlog[class.index()].pop_front();
        assert!(popped.is_some(), "what was looked at is still first");
        self.waiting -= 1;
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max
    }

    /// False: the ring is full.
    pub(super) fn try_push(&mut self, key: OpKey, slab: &mut OpSlab, how: Handover<'_>) -> bool {
        if !self.has_room() {
            return false;
        }
        if !how.by_descriptor && self.files.is_full_for(file_of(slab.op_mut(key))) {
            // Its place is another file's, by which queued entries may be named.
            self.enter(slab, how.clock);
        }
        let op = slab.op_mut(key);
        let file = if how.by_descriptor {
            Target::Descriptor
        } else {
            self.files.target(file_of(op), &mut self.ring)
        };
        let route = Route { file, buffer: how.buffer };
        if !self.ring.push_operation(key, op, route, how.short_io_bytes) {
            return false;
        }
        self.in_flight += 1;
        self.entered.push(key);
        if self.ring.queued() >= self.batch() {
            self.enter(slab, how.clock);
        }
        true
    }

    /// How many entries make a call worth its cost: few while the device has little to do, so that
    /// it does not idle until a large batch is together, then half of what it has.
    fn batch(&self) -> usize {
        let in_kernel = self.in_flight - self.entered.len();
        (in_kernel / 2).clamp(SUBMIT_BATCH_MIN, SUBMIT_BATCH_MAX)
    }

    /// Hands over what is queued. The time is taken before the call: the kernel may carry an
    /// operation out inside it.
    pub(super) fn enter(&mut self, slab: &mut OpSlab, clock: &Clock) {
        self.note_entry(slab, clock);
        self.poll();
    }

    /// As `enter`, and sleeps until an event comes or the time has passed: one call for both.
    pub(super) fn enter_and_sleep(
        &mut self,
        slab: &mut OpSlab,
        clock: &Clock,
        timeout: Option<Duration>,
    ) {
        self.note_entry(slab, clock);
        if let Err(error) = self.ring.submit_and_sleep(timeout, self.in_flight > 0) {
            report_enter(&error);
        }
    }

    fn note_entry(&mut self, slab: &mut OpSlab, clock: &Clock) {
        if !self.entered.is_empty() {
            let now = clock.now();
            self.entered.drain(..).for_each(|key| slab.set_submitted(key, now));
        }
    }

    /// Lets the kernel post finished work; a polling ring asks its devices only then.
    pub(super) fn poll(&mut self) {
        if let Err(error) = self.ring.submit() {
            report_enter(&error);
        }
    }

    /// A completion of one of its operations was taken.
    pub(super) fn arrived(&mut self) {
        self.in_flight -= 1;
    }

    pub(super) fn release_file(&mut self, slot: u32, file: u64) {
        self.files.release(slot, file, &self.ring);
    }
}

/// The file of an operation that a ring carries out.
pub(super) fn file_of(op: &Op) -> &DmaFile {
    match op {
        Op::Read { file, .. } | Op::Write { file, .. } | Op::Flush { file, .. } => file,
        _ => panic!("not an operation for the ring"),
    }
}

/// Ends of a sleep that are no failure: time, a signal, completions that wait to be taken.
pub(super) fn report_enter(error: &io::Error) {
    let expected = [libc::ETIME, libc::EINTR, libc::EAGAIN, libc::EBUSY];
    if !error.raw_os_error().is_some_and(|code| expected.contains(&code)) {
        tracing::error!(target: "sombra_runtime", "io_uring_enter: {error}");
    }
}
