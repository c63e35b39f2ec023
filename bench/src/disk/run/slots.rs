//! The operations that a job has in flight, by tag, each with its buffer.

use sombra_runtime::DmaBuf;

use crate::disk::job::Direction;

/// What an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Io { direction: Direction, offset: u64, len: u64 },
    Flush,
}

/// One operation between its issue and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) file: usize,
    pub(super) purpose: Purpose,
    /// Bytes that earlier, short, transfers have done.
    pub(super) done: usize,
    pub(super) queued_ns: u64,
}

#[derive(Default)]
struct Slot {
    buf: Option<DmaBuf>,
    in_flight: Option<InFlight>,
}

/// As many as the job's depth.
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn new(buffers: Vec<DmaBuf>) -> Slots {
        let free = (0..buffers.len() as u32).rev().collect();
        let slot = |buf| Slot { buf: Some(buf), in_flight: None };
        Slots { slots: buffers.into_iter().map(slot).collect(), free }
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a free slot for an operation.
    pub(super) fn begin(&mut self, operation: InFlight) -> Option<u32> {
        let tag = self.free.pop()?;
        self.slots[tag as usize].in_flight = Some(operation);
        Some(tag)
    }

    pub(super) fn get_mut(&mut self, tag: u32) -> &mut InFlight {
        self.slots[tag as usize].in_flight.as_mut().expect("the tag is of an operation in flight")
    }

    /// The slot's buffer, for an operation that transfers something.
    pub(super) fn take_buf(&mut self, tag: u32) -> DmaBuf {
        self.slots[tag as usize].buf.take().expect("a slot has its buffer between transfers")
    }

    pub(super) fn return_buf(&mut self, tag: u32, buf: DmaBuf) {
        self.slots[tag as usize].buf = Some(buf);
    }

    pub(super) fn buf(&self, tag: u32) -> &[u8] {
        self.slots[tag as usize].buf.as_deref().expect("a slot has its buffer between transfers")
    }

    /// Ends the operation; the slot is free again.
    pub(super) fn end(&mut self, tag: u32) -> InFlight {
        self.free.push(tag);
        self.slots[tag as usize].in_flight.take().expect("an operation ends once")
    }
}
