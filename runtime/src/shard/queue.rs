//! Many operations of one task in flight together, without a future for each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::buffer::{DmaBuf, IoBuf};
use crate::driver::{IoCompletion, Listener, Op, QueueState};
use crate::file::{DmaFile, FlushScope, FlushVia, IoClass, WriteMode};
use crate::shard::{Io, Shard};

/// Where and how much: `len` bytes of the file from `offset`, and of the buffer from `from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub offset: u64,
    pub from: usize,
    pub len: usize,
}

/// A task's own queue of reads, writes, flushes and trims. One completion wakes the task once,
/// whatever number it waits for; short transfers are the caller's to continue, and a request is
/// one operation whatever its length.
///
/// With a ring, buffered files go through it too. Dropping the queue orphans what is in flight:
/// the buffers are freed when the kernel has let go of them (INV-8).
pub struct IoQueue {
    shard: Shard,
    class: IoClass,
    state: Rc<RefCell<QueueState>>,
}

/// The shard stops, or has `OPS_PER_SHARD_MAX` operations in flight; the buffer comes back.
#[derive(Debug)]
pub struct NotQueued {
    pub buf: Option<IoBuf>,
    pub error: io::Error,
}

impl IoQueue {
    /// `depth` is what the queue is prepared for without allocating.
    pub fn new(shard: &Shard, class: IoClass, depth: usize) -> IoQueue {
        let state = Rc::new(RefCell::new(QueueState::new(depth)));
        IoQueue { shard: shard.clone(), class, state }
    }

    /// Operations whose completion has not arrived.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().in_flight()
    }

    /// Completions that wait to be taken.
    pub fn done(&self) -> usize {
        self.state.borrow().done()
    }

    pub fn read(&self, tag: u32, file: &DmaFile, span: Span, buf: DmaBuf) -> Result<(), NotQueued> {
        let Span { offset, from, len } = span;
        assert!(from + len <= buf.len(), "a read of {len} bytes fits its buffer");
        self.push(tag, Op::Read { file: file.clone(), offset, buf, from, len })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what, where and how durably are independent, as in `Shard::write_all_at`"
    )]
    pub fn write(
        &self,
        tag: u32,
        file: &DmaFile,
        span: Span,
        buf: IoBuf,
        mode: WriteMode,
    ) -> Result<(), NotQueued> {
        let Span { offset, from, len } = span;
        assert!(from + len <= buf.as_bytes().len(), "a write of {len} bytes fits its buffer");
        self.push(tag, Op::Write { file: file.clone(), offset, buf, from, len, mode })
    }

    /// Covers the writes that completed before this call.
    pub fn flush(
        &self,
        tag: u32,
        file: &DmaFile,
        via: FlushVia,
        scope: FlushScope,
    ) -> Result<(), NotQueued> {
        self.push(tag, Op::Flush { file: file.clone(), via, scope })
    }

    pub fn trim(&self, tag: u32, file: &DmaFile, offset: u64, len: u64) -> Result<(), NotQueued> {
        self.push(tag, Op::Trim { file: file.clone(), offset, len })
    }

    fn push(&self, tag: u32, op: Op) -> Result<(), NotQueued> {
        if self.shard.is_stopping() {
            let error = io::Error::other("the runtime is shutting down");
            return Err(NotQueued { buf: op.into_buf(), error });
        }
        let now = self.shard.now();
        let mut io = self.shard.io().borrow_mut();
        let Io { driver, slab } = &mut *io;
        let listener = Listener::Queue { queue: Rc::clone(&self.state), tag };
        match slab.try_insert_for(listener, op, self.class, now) {
            Ok(key) => {
                self.state.borrow_mut().started();
                driver.submit(key, slab);
                self.shard.tally().borrow_mut().submitted[self.class.index()] += 1;
                Ok(())
            }
            Err(op) => {
                let error = io::Error::from(io::ErrorKind::WouldBlock);
                Err(NotQueued { buf: op.into_buf(), error })
            }
        }
    }

    /// Waits until `count` completions can be taken, or everything in flight has completed.
    pub async fn wait(&self, count: usize) {
        poll_fn(|cx| self.poll_wait(count, cx)).await;
    }

    /// As `wait`, for a future that waits for something else too.
    pub fn poll_wait(&self, count: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.state.borrow_mut().poll_done(count, cx)
    }

    /// The next completion in the order in which they arrived.
    pub fn take(&self) -> Option<IoCompletion> {
        self.state.borrow_mut().take()
    }
}

impl Drop for IoQueue {
    fn drop(&mut self) {
        let unclaimed = self.state.borrow_mut().close();
        drop(unclaimed);
    }
}
