//! Drivers without a kernel queue: each read, write and flush is one system call on the shard's
//! own thread, or none at all. They are what the ring's figures are compared with.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use crate::driver::threads::ThreadsDriver;
use crate::driver::{Op, OpDone, OpKey, OpSlab, OpValue, fileops};
use crate::ids::ShardId;
use crate::limits::COMPLETIONS_PER_TURN_MAX;
use crate::runtime::Runtime;
use crate::time::Moment;

/// What an operation comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// The system call, which holds the shard while it lasts.
    Call,
    /// Nothing: the operation succeeds at its full length and the file is not touched.
    Skip,
}

struct Finished {
    key: OpKey,
    /// Of a system call. What is skipped stays in the slab until its end is taken.
    done: Option<OpDone>,
    begun_at: Moment,
    ended_at: Moment,
}

/// Carries out what is queued when it is pushed, never while it is submitted: an operation does
/// not complete before its future has returned once. Everything about names goes to the pool.
pub(crate) struct InlineDriver {
    work: Work,
    runtime: Runtime,
    offload: ThreadsDriver,
    /// Both are bounded by the slab.
    queued: VecDeque<OpKey>,
    finished: VecDeque<Finished>,
}

impl InlineDriver {
    pub(crate) fn new(work: Work, runtime: &Runtime, shard: ShardId) -> InlineDriver {
        InlineDriver {
            work,
            runtime: runtime.clone(),
            offload: ThreadsDriver::new(runtime, shard),
            queued: VecDeque::new(),
            finished: VecDeque::new(),
        }
    }

    pub(crate) fn work(&self) -> Work {
        self.work
    }

    pub(crate) fn submit(&mut self, key: OpKey, slab: &mut OpSlab) {
        let is_here = match slab.op_mut(key) {
            Op::Read { .. } | Op::Write { .. } | Op::Flush { .. } => true,
            Op::Trim { .. } => self.work == Work::Skip,
            _ => false,
        };
        if is_here {
            self.queued.push_back(key);
        } else {
            self.offload.submit(key, slab);
        }
    }

    /// Carries out all that is queued, in order. A call has times of its own; what is skipped
    /// shares one look at the clock, which costs as much as the rest of it.
    pub(crate) fn push_submissions(&mut self, slab: &mut OpSlab) {
        if self.queued.is_empty() {
            return;
        }
        let mut begun_at = self.runtime.now();
        for key in self.queued.drain(..) {
            let (done, ended_at) = match self.work {
                Work::Call => {
                    let done = fileops::execute(slab.take_op(key), &self.runtime);
                    (Some(done), self.runtime.now())
                }
                Work::Skip => (None, begun_at),
            };
            self.finished.push_back(Finished { key, done, begun_at, ended_at });
            begun_at = ended_at;
        }
    }

    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        let mut count = self.offload.reap(slab, now, woken);
        while count < COMPLETIONS_PER_TURN_MAX {
            let Some(finished) = self.finished.pop_front() else { break };
            let Finished { key, done, begun_at, ended_at } = finished;
            slab.set_submitted(key, begun_at);
            let done = done.unwrap_or_else(|| skip(slab.take_op(key)));
            slab.complete(key, done, ended_at, woken);
            count += 1;
        }
        count
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.finished.is_empty() || self.offload.has_completions()
    }

    /// Sleeps only when nothing is left here to carry out or to take.
    pub(crate) fn park(&mut self, timeout: Option<Duration>) {
        if self.finished.is_empty() && self.queued.is_empty() {
            self.offload.park(timeout);
        }
    }
}

fn skip(op: Op) -> OpDone {
    let value = match &op {
        Op::Read { len, .. } | Op::Write { len, .. } => OpValue::Bytes(*len),
        _ => OpValue::Unit,
    };
    OpDone { result: Ok(value), buf: op.into_buf() }
}
