use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::driver::op::OpKind;
use crate::driver::{IoTimes, Op, OpDone, QueueState};
use crate::file::IoClass;
use crate::limits::OPS_PER_SHARD_MAX;
use crate::time::Moment;

/// Names an operation: its slot and how often the slot was used before, so that a completion
/// can never be taken for another operation's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpKey {
    slot: u32,
    generation: u32,
}

impl OpKey {
    pub(crate) fn to_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_user_data(data: u64) -> OpKey {
        OpKey { slot: data as u32, generation: (data >> 32) as u32 }
    }
}

/// Who hears of an operation's end.
pub(crate) enum Listener {
    /// The future that asked for it, once it has been polled.
    Future(Option<Waker>),
    /// A queue, which knows the operation by the tag.
    Queue { queue: Rc<RefCell<QueueState>>, tag: u32 },
    /// The future is gone.
    Nobody,
}

enum State {
    Free,
    /// `op` is `None` where the driver has moved the operation elsewhere (pool, simulation).
    InFlight {
        op: Option<Op>,
        listener: Listener,
    },
    Done(OpDone),
}

struct Slot {
    generation: u32,
    class: IoClass,
    kind: OpKind,
    queued_at: Moment,
    /// When the driver handed it over; before that, when it was queued.
    submitted_at: Moment,
    state: State,
}

/// One finished operation, for the metrics.
pub(crate) struct OpSample {
    pub(crate) class: IoClass,
    pub(crate) kind: OpKind,
    pub(crate) failed: bool,
    pub(crate) times: IoTimes,
}

/// Owns every operation of a shard from submission to completion, whatever becomes of the
/// future that asked for it (INV-8).
pub(crate) struct OpSlab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
    room_waiters: Vec<Waker>,
    samples: Vec<OpSample>,
    orphans: Vec<OpDone>,
}

impl OpSlab {
    pub(crate) fn new() -> OpSlab {
        OpSlab {
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            room_waiters: Vec::new(),
            samples: Vec::new(),
            orphans: Vec::new(),
        }
    }

    /// Operations whose completion has not arrived.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes the operation over, or gives it back if the slab is full.
    pub(crate) fn try_insert(&mut self, op: Op, class: IoClass, now: Moment) -> Result<OpKey, Op> {
        self.try_insert_for(Listener::Future(None), op, class, now)
    }

    #[inline]
    pub(crate) fn try_insert_for(
        &mut self,
        listener: Listener,
        op: Op,
        class: IoClass,
        now: Moment,
    ) -> Result<OpKey, Op> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < OPS_PER_SHARD_MAX => {
                let (kind, state) = (op.kind(), State::Free);
                let (queued_at, submitted_at) = (now, now);
                self.slots.push(Slot {
                    generation: 0,
                    class,
                    kind,
                    queued_at,
                    submitted_at,
                    state,
                });
                (self.slots.len() - 1) as u32
            }
            None => return Err(op),
        };
        let entry = &mut self.slots[slot as usize];
        entry.class = class;
        entry.kind = op.kind();
        entry.queued_at = now;
        entry.submitted_at = now;
        entry.state = State::InFlight { op: Some(op), listener };
        self.in_flight += 1;
        Ok(OpKey { slot, generation: entry.generation })
    }

    pub(crate) fn wait_for_room(&mut self, waker: &Waker) {
        if !self.room_waiters.iter().any(|waiting| waiting.will_wake(waker)) {
            self.room_waiters.push(waker.clone());
        }
    }

    /// All who wait are woken when there is room: one of them may be gone for good.
    pub(crate) fn take_room_waiters(&mut self, woken: &mut Vec<Waker>) {
        let has_room = !self.free.is_empty() || self.slots.len() < OPS_PER_SHARD_MAX;
        if has_room && !self.room_waiters.is_empty() {
            woken.append(&mut self.room_waiters);
        }
    }

    #[inline]
    fn entry(&mut self, key: OpKey) -> &mut Slot {
        let entry = &mut self.slots[key.slot as usize];
        assert_eq!(entry.generation, key.generation, "INV-8: an operation ends exactly once");
        entry
    }

    pub(crate) fn class(&mut self, key: OpKey) -> IoClass {
        self.entry(key).class
    }

    /// The driver has handed the operation to whoever carries it out.
    #[inline]
    pub(crate) fn set_submitted(&mut self, key: OpKey, now: Moment) {
        self.entry(key).submitted_at = now;
    }

    /// True: its owner collects completions and wants nothing done behind a thread.
    pub(crate) fn is_queued(&mut self, key: OpKey) -> bool {
        let listener = |state: &State| match state {
            State::InFlight { listener, .. } => matches!(listener, Listener::Queue { .. }),
            _ => false,
        };
        listener(&self.entry(key).state)
    }

    /// The operation, for a driver that leaves it here while the kernel works on its buffer.
    #[inline]
    pub(crate) fn op_mut(&mut self, key: OpKey) -> &mut Op {
        match &mut self.entry(key).state {
            State::InFlight { op: Some(op), .. } => op,
            _ => panic!("INV-8: the operation is not in the slab"),
        }
    }

    /// The operation itself, for a driver that moves it to where it is carried out.
    #[inline]
    pub(crate) fn take_op(&mut self, key: OpKey) -> Op {
        match &mut self.entry(key).state {
            State::InFlight { op, .. } => {
                op.take().expect("INV-8: an operation is carried out once")
            }
            _ => panic!("INV-8: the operation is not in flight"),
        }
    }

    /// Records the end of an operation. Its future's waker, if it still waits, joins `woken`;
    /// an orphan's result joins the orphans, now that the kernel has let go of it.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        key: OpKey,
        done: OpDone,
        now: Moment,
        woken: &mut Vec<Waker>,
    ) {
        let entry = self.entry(key);
        let times = IoTimes {
            queued_at: entry.queued_at,
            submitted_at: entry.submitted_at,
            // A batch of completions shares one look at the clock, taken before the batch.
            completed_at: now.max(entry.submitted_at),
        };
        let (class, kind, failed) = (entry.class, entry.kind, done.result.is_err());
        let sample = OpSample { class, kind, failed, times };
        let State::InFlight { listener, .. } = &mut entry.state else {
            panic!("INV-8: an operation completes exactly once");
        };
        match std::mem::replace(listener, Listener::Nobody) {
            Listener::Future(waker) => {
                entry.state = State::Done(done);
                woken.extend(waker);
            }
            Listener::Queue { queue, tag } => {
                entry.state = State::Free;
                let mut queue = queue.borrow_mut();
                if queue.is_closed() {
                    self.orphans.push(done);
                } else {
                    queue.complete(tag, done, times, woken);
                }
                self.free_slot(key);
            }
            Listener::Nobody => {
                entry.state = State::Free;
                self.orphans.push(done);
                self.free_slot(key);
            }
        }
        self.in_flight -= 1;
        self.samples.push(sample);
    }

    pub(crate) fn poll(&mut self, key: OpKey, cx: &mut Context<'_>) -> Poll<OpDone> {
        let entry = self.entry(key);
        if let State::InFlight { listener, .. } = &mut entry.state {
            match listener {
                Listener::Future(Some(waiting)) if waiting.will_wake(cx.waker()) => {}
                _ => *listener = Listener::Future(Some(cx.waker().clone())),
            }
            return Poll::Pending;
        }
        let State::Done(done) = std::mem::replace(&mut entry.state, State::Free) else {
            panic!("INV-8: the slot of a future is in use until the future ends");
        };
        self.free_slot(key);
        Poll::Ready(done)
    }

    /// The future is gone. In flight, the operation keeps all it owns until its completion;
    /// a result nobody took is returned, to be dropped outside the borrow.
    #[must_use]
    pub(crate) fn orphan(&mut self, key: OpKey) -> Option<OpDone> {
        let entry = self.entry(key);
        if let State::InFlight { listener, .. } = &mut entry.state {
            *listener = Listener::Nobody;
            return None;
        }
        let State::Done(done) = std::mem::replace(&mut entry.state, State::Free) else {
            panic!("INV-8: the slot of a future is in use until the future ends");
        };
        self.free_slot(key);
        Some(done)
    }

    /// Results nobody waits for, to be dropped outside the slab's borrow: destructors of what
    /// they own are foreign code.
    #[must_use]
    pub(crate) fn take_orphans(&mut self) -> Vec<OpDone> {
        std::mem::take(&mut self.orphans)
    }

    pub(crate) fn take_samples(&mut self) -> std::vec::Drain<'_, OpSample> {
        self.samples.drain(..)
    }

    #[inline]
    fn free_slot(&mut self, key: OpKey) {
        let entry = &mut self.slots[key.slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.slot);
    }
}

#[cfg(feature = "sim")]
impl OpSlab {
    /// Frees what operations in flight own: their simulated kernel has ended with them.
    pub(crate) fn free_in_flight(&mut self) {
        for slot in &mut self.slots {
            if let State::InFlight { op, .. } = &mut slot.state {
                drop(op.take());
            }
        }
    }
}

impl Drop for OpSlab {
    /// What the kernel may still write into outlives the slab: leaked, not freed (INV-8).
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            if let State::InFlight { op: Some(op), .. } = slot.state {
                std::mem::forget(op);
            }
        }
    }
}

#[cfg(test)]
mod tests;
