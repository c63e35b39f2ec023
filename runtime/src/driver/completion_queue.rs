//! Completions of operations that one task has in flight together. Knows their tags and times;
//! what they are for is the task's business.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use crate::buffer::IoBuf;
use crate::driver::{OpDone, OpValue};
use crate::time::Moment;

/// The three stages of an operation: waiting to be handed over, and on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoTimes {
    pub queued_at: Moment,
    /// When it was handed to the kernel, or a thread began with it.
    pub submitted_at: Moment,
    /// When its completion was taken.
    pub completed_at: Moment,
}

impl IoTimes {
    /// From queueing to submission.
    pub fn queued_ns(&self) -> u64 {
        self.submitted_at.saturating_since(self.queued_at).as_nanos() as u64
    }

    /// From submission to completion.
    pub fn submitted_ns(&self) -> u64 {
        self.completed_at.saturating_since(self.submitted_at).as_nanos() as u64
    }

    /// From queueing to completion.
    pub fn latency_ns(&self) -> u64 {
        self.completed_at.saturating_since(self.queued_at).as_nanos() as u64
    }
}

/// The end of an operation of a queue.
#[derive(Debug)]
pub struct IoCompletion {
    /// The number that the operation was queued under.
    pub tag: u32,
    /// Bytes transferred; 0 for a flush or trim.
    pub result: io::Result<usize>,
    /// The buffer of a read or write, on success and failure.
    pub buf: Option<IoBuf>,
    pub times: IoTimes,
}

pub(crate) struct QueueState {
    done: VecDeque<IoCompletion>,
    in_flight: usize,
    /// The task is woken when so many completions wait.
    wanted: usize,
    waker: Option<Waker>,
    /// The queue's owner is gone.
    closed: bool,
}

impl QueueState {
    pub(crate) fn new(capacity: usize) -> QueueState {
        let done = VecDeque::with_capacity(capacity);
        QueueState { done, in_flight: 0, wanted: 0, waker: None, closed: false }
    }

    /// Operations whose completion has not arrived.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Operations that ended and were not taken.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    pub(crate) fn started(&mut self) {
        self.in_flight += 1;
    }

    /// True: nobody is left to hear of completions.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    #[inline]
    pub(crate) fn complete(
        &mut self,
        tag: u32,
        done: OpDone,
        times: IoTimes,
        woken: &mut Vec<Waker>,
    ) {
        assert!(!self.closed, "completions of a closed queue are orphans");
        self.in_flight -= 1;
        let OpDone { result, buf } = done;
        let result = match result {
            Ok(OpValue::Bytes(count)) => Ok(count),
            Ok(_) => Ok(0),
            Err(error) => Err(error),
        };
        self.done.push_back(IoCompletion { tag, result, buf, times });
        if self.is_enough(self.wanted) {
            woken.extend(self.waker.take());
        }
    }

    fn is_enough(&self, wanted: usize) -> bool {
        self.done.len() >= wanted || self.in_flight == 0
    }

    /// Ready when `wanted` completions wait, or all there will be.
    pub(crate) fn poll_done(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_enough(wanted) {
            self.waker = None;
            return Poll::Ready(());
        }
        self.wanted = wanted;
        match &self.waker {
            Some(waiting) if waiting.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) fn take(&mut self) -> Option<IoCompletion> {
        self.done.pop_front()
    }

    /// From here on completions are dropped. Returns those that were not taken.
    #[must_use]
    pub(crate) fn close(&mut self) -> VecDeque<IoCompletion> {
        self.closed = true;
        self.waker = None;
        std::mem::take(&mut self.done)
    }
}
