//! The driver that the product runs on: operations of a shard on its rings.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::buffer::IoBuf;
use crate::driver::buffer_table::BufferTable;
use crate::driver::kit::{RingKit, RingParts};
use crate::driver::lane::{Handover, Lane, file_of};
use crate::driver::polled::Polled;
use crate::driver::threads::ThreadsDriver;
use crate::driver::{Op, OpDone, OpKey, OpSlab, OpValue};
use crate::file::{FilePolling, FlushVia};
use crate::ids::ShardId;
use crate::limits::{COMPLETIONS_PER_TURN_MAX, POLLED_LOOKS_PER_PARK_MAX};
use crate::port::ShardPort;
use crate::report::{PolledState, RingReport};
use crate::ring::Event;
use crate::runtime::Runtime;
use crate::time::Moment;

/// Which of a shard's rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    Ordinary,
    Polled,
}

/// Direct reads, writes and flushes on the ring; everything else on the pool.
pub(crate) struct UringDriver {
    /// Before the ordinary ring, whose buffers it shares.
    polled: Polled,
    ordinary: Lane,
    buffers: BufferTable,
    shard: ShardId,
    runtime: Runtime,
    port: Arc<ShardPort>,
    offload: ThreadsDriver,
    wake_armed: bool,
    short_io_bytes: usize,
    report: RingReport,
}

impl UringDriver {
    pub(crate) fn new(kit: RingKit, runtime: &Runtime, shard: ShardId) -> UringDriver {
        let report = kit.report();
        let RingParts { ring, files, buffers, polled } = kit.into_parts();
        UringDriver {
            polled: Polled::NotAsked(polled),
            ordinary: Lane::new(ring, files),
            buffers,
            shard,
            runtime: runtime.clone(),
            port: Arc::clone(runtime.port(shard)),
            offload: ThreadsDriver::new(runtime, shard),
            wake_armed: true,
            short_io_bytes: runtime.short_io_bytes(),
            report,
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
            return;
        }
        let which = self.which(slab.op_mut(key));
        let waits = self.lane(which).first_waiting().is_some();
        if waits || !self.try_push(which, key, slab) {
            let class = slab.class(key);
            self.lane(which).push_waiting(key, class);
        }
    }

    /// The ring for an operation. A file that asks for polling keeps to the ordinary one once
    /// it was refused.
    fn which(&mut self, op: &Op) -> Which {
        let (Op::Read { file, .. } | Op::Write { file, .. }) = op else { return Which::Ordinary };
        if matches!(file.polling(self.shard), FilePolling::Off | FilePolling::Withdrawn) {
            return Which::Ordinary;
        }
        let (ring, notes) = self.polled.ready();
        let state = ring.map(|ring| ring.report());
        let has_ring = state.is_some();
        if !has_ring {
            file.set_polling(self.shard, FilePolling::Off);
        }
        if self.report.polled == PolledState::NotAsked {
            let reason = || notes.last().cloned().unwrap_or_default();
            self.report.polled = state.unwrap_or_else(|| PolledState::Refused { reason: reason() });
            self.runtime.set_ring_report(self.shard, self.report.clone());
        }
        notes.into_iter().for_each(|note| self.runtime.note(note));
        if has_ring { Which::Polled } else { Which::Ordinary }
    }

    fn lane(&mut self, which: Which) -> &mut Lane {
        match which {
            Which::Ordinary => &mut self.ordinary,
            Which::Polled => {
                &mut self.polled.get().expect("an operation was sent to a ring that is").lane
            }
        }
    }

    /// False: the ring is full.
    fn try_push(&mut self, which: Which, key: OpKey, slab: &mut OpSlab) -> bool {
        if !self.lane(which).has_room() {
            return false;
        }
        let op = slab.op_mut(key);
        let buffer = self.place_of(which, op);
        // A file has one place in one table: that of the ring which proved to be its own.
        let own = match which {
            Which::Ordinary => FilePolling::Off,
            Which::Polled => FilePolling::Proven,
        };
        let by_descriptor = file_of(op).polling(self.shard) != own;
        let how = Handover {
            buffer,
            by_descriptor,
            short_io_bytes: self.short_io_bytes,
            clock: self.runtime.clock(),
        };
        let lane = match which {
            Which::Ordinary => &mut self.ordinary,
            Which::Polled => {
                &mut self.polled.get().expect("an operation was sent to a ring that is").lane
            }
        };
        lane.try_push(key, slab, how)
    }

    /// The registered memory that an operation's buffer lies in, as that ring knows it.
    fn place_of(&mut self, which: Which, op: &Op) -> Option<u16> {
        let buf = match op {
            Op::Read { buf, .. } | Op::Write { buf: IoBuf::Owned(buf), .. } => buf,
            _ => return None,
        };
        let place = self.buffers.place_of(buf, &mut self.ordinary.ring);
        if let Some(refusal) = self.buffers.take_refusal() {
            self.runtime.note(refusal);
        }
        let place = place?;
        if which == Which::Ordinary {
            return Some(place);
        }
        let polled = self.polled.get()?;
        let (known, note) = polled.knows(place, &self.ordinary.ring);
        if let Some(note) = note {
            self.report.polled = polled.report();
            self.runtime.note(note);
            self.runtime.set_ring_report(self.shard, self.report.clone());
        }
        known.then_some(place)
    }

    /// With `may_wait` what is queued is left to `park`, which hands it over in the call that it
    /// sleeps in, unless there is something to reap before.
    pub(crate) fn push_submissions(&mut self, slab: &mut OpSlab, may_wait: bool) {
        if !self.wake_armed
            && let Some(bell) = self.port.bell()
        {
            self.wake_armed = self.ordinary.ring.push_wake(bell);
        }
        // Before anybody asks for completions there, which would hand its entries over as well.
        if self.polled.get().is_some() {
            self.push_waiting(Which::Polled, slab);
            if let Some(polled) = self.polled.busy() {
                polled.lane.enter(slab, self.runtime.clock());
            }
        }
        self.push_waiting(Which::Ordinary, slab);
        if !may_wait || self.has_completions() {
            self.submit_queued(slab);
        }
        let registered_bytes = self.buffers.registered_bytes();
        if registered_bytes != self.report.registered_bytes {
            self.report.registered_bytes = registered_bytes;
            self.runtime.set_ring_report(self.shard, self.report.clone());
        }
    }

    /// Entries that wait for the shard's sleep.
    pub(crate) fn has_queued(&mut self) -> bool {
        self.ordinary.ring.queued() > 0
    }

    /// Hands over what waits for the shard's sleep, which does not come.
    pub(crate) fn submit_queued(&mut self, slab: &mut OpSlab) {
        if self.ordinary.ring.queued() > 0 {
            self.ordinary.enter(slab, self.runtime.clock());
        }
    }

    fn push_waiting(&mut self, which: Which, slab: &mut OpSlab) {
        while let Some(key) = self.lane(which).first_waiting() {
            if !self.try_push(which, key, slab) {
                break;
            }
            let class = slab.class(key);
            self.lane(which).pop_waiting(class);
        }
    }

    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        let mut count = self.offload.reap(slab, now, woken);
        if self.ordinary.ring.wants_enter() {
            self.ordinary.enter(slab, self.runtime.clock());
        }
        while count < COMPLETIONS_PER_TURN_MAX {
            let Some(event) = self.ordinary.ring.next_event() else { break };
            match event {
                Event::Operation { key, result } => {
                    self.ordinary.arrived();
                    if is_to_be_repeated(result) {
                        self.ordinary.push_waiting_again(key, slab.class(key));
                        continue;
                    }
                    complete(slab, key, result, now, woken);
                    count += 1;
                }
                Event::Wake { armed } => self.wake_armed = armed,
                Event::Cancelled => {}
            }
        }
        count + self.reap_polled(slab, now, woken)
    }

    /// Asks the devices of the polling ring, and takes what has completed there.
    fn reap_polled(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        let mut count = 0;
        if let Some(polled) = self.polled.busy() {
            polled.lane.enter(slab, self.runtime.clock());
        }
        while let Some(polled) = self.polled.busy() {
            let Some(event) = polled.lane.ring.next_event() else { break };
            let Event::Operation { key, result } = event else {
                panic!("a polling ring is asked for reads and writes only");
            };
            polled.lane.arrived();
            let class = slab.class(key);
            if is_to_be_repeated(result) {
                polled.lane.push_waiting_again(key, class);
            } else if result == -libc::EOPNOTSUPP {
                self.stop_polling(slab.op_mut(key));
                self.ordinary.push_waiting(key, class);
            } else {
                if let Op::Read { file, .. } = slab.op_mut(key)
                    && result > 0
                    && file.polling(self.shard) == FilePolling::Undecided
                {
                    file.set_polling(self.shard, FilePolling::Proven);
                }
                complete(slab, key, result, now, woken);
            }
            // A repeated operation is progress too: the turn that sends it off must not sleep.
            count += 1;
        }
        count
    }

    /// The kernel or the device does not poll this file; the refused operation is repeated on
    /// the ordinary ring.
    fn stop_polling(&mut self, op: &Op) {
        let file = file_of(op);
        let state = match file.polling(self.shard) {
            FilePolling::Undecided => FilePolling::Off,
            // A hole was read first, which needs no device.
            FilePolling::Proven => FilePolling::Withdrawn,
            FilePolling::Off | FilePolling::Withdrawn => return,
        };
        file.set_polling(self.shard, state);
        let reason = "polled I/O was asked for and refused (EOPNOTSUPP): the file system does not \
                      poll, or the device has no poll queues; it goes on by interrupts";
        self.runtime.note(reason.to_owned());
        self.report.polled = PolledState::Refused { reason: reason.to_owned() };
        self.runtime.set_ring_report(self.shard, self.report.clone());
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        if let Some(polled) = self.polled.busy() {
            polled.lane.poll();
            if polled.lane.ring.has_events() {
                return true;
            }
        }
        let ring = &mut self.ordinary.ring;
        self.offload.has_completions() || ring.has_events() || ring.wants_enter()
    }

    /// While the polling ring has operations in flight nothing would end a sleep for them, so
    /// the shard looks a bounded number of times instead and goes on turning.
    pub(crate) fn park(&mut self, slab: &mut OpSlab, timeout: Option<Duration>) {
        if self.polled.busy().is_some() {
            self.submit_queued(slab);
            for _ in 0..POLLED_LOOKS_PER_PARK_MAX {
                if self.has_completions() || self.port.has_work() {
                    break;
                }
            }
        } else {
            self.ordinary.enter_and_sleep(slab, self.runtime.clock(), timeout);
        }
    }

    pub(crate) fn release_file(&mut self, slot: u32, file: u64) {
        self.ordinary.release_file(slot, file);
        if let Some(polled) = self.polled.get() {
            polled.lane.release_file(slot, file);
        }
    }

    pub(crate) fn release_buffers(&mut self, places: &[u16]) {
        if let Some(polled) = self.polled.get() {
            places.iter().for_each(|place| polled.forget(*place));
        }
        self.buffers.release(places, &mut self.ordinary.ring);
    }

    /// On the polling ring nothing can be cancelled; what is in flight there completes.
    pub(crate) fn cancel_all(&mut self, slab: &mut OpSlab) {
        if !self.ordinary.ring.push_cancel_all() {
            self.ordinary.enter(slab, self.runtime.clock());
            self.ordinary.ring.push_cancel_all();
        }
    }
}

/// The kernel did not begin with it.
fn is_to_be_repeated(result: i32) -> bool {
    result == -libc::EAGAIN || result == -libc::EINTR
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
