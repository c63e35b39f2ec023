use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::driver::{Op, OpDone, OpKey};
use crate::file::IoClass;
use crate::shard::{Io, Shard};

/// One operation on its way. Dropping it orphans the operation: what the kernel may still
/// touch stays in the slab until the completion arrives (INV-8).
pub(super) struct Operation<'a> {
    shard: &'a Shard,
    class: IoClass,
    stage: Stage,
}

enum Stage {
    /// Not yet taken by the slab.
    Offered(Op),
    Submitted(OpKey),
    Ended,
}

impl<'a> Operation<'a> {
    pub(super) fn new(shard: &'a Shard, class: IoClass, op: Op) -> Operation<'a> {
        Operation { shard, class, stage: Stage::Offered(op) }
    }

    /// Hands the operation to the driver, or waits for room in the slab.
    fn offer(&mut self, op: Op, cx: &mut Context<'_>) -> Poll<OpDone> {
        if self.shard.is_stopping() {
            let error = io::Error::other("the runtime is shutting down");
            return Poll::Ready(OpDone::failed(op, error));
        }
        let now = self.shard.now();
        let mut io = self.shard.io().borrow_mut();
        let Io { driver, slab } = &mut *io;
        match slab.try_insert(op, self.class, now) {
            Ok(key) => {
                self.stage = Stage::Submitted(key);
                let Poll::Pending = slab.poll(key, cx) else {
                    panic!("INV-8: an operation cannot complete before it is submitted");
                };
                driver.submit(key, slab);
                self.shard.tally().borrow_mut().submitted[self.class.index()] += 1;
            }
            Err(op) => {
                slab.wait_for_room(cx.waker());
                self.stage = Stage::Offered(op);
            }
        }
        Poll::Pending
    }
}

impl Future for Operation<'_> {
    type Output = OpDone;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OpDone> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Offered(op) => self.offer(op, cx),
            Stage::Submitted(key) => {
                let polled = self.shard.io().borrow_mut().slab.poll(key, cx);
                if polled.is_pending() {
                    self.stage = Stage::Submitted(key);
                }
                polled
            }
            Stage::Ended => panic!("an operation was polled after its end"),
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Stage::Submitted(key) = self.stage {
            let unclaimed = self.shard.io().borrow_mut().slab.orphan(key);
            // Its destructors are foreign code: they run after the borrow has ended.
            drop(unclaimed);
        }
    }
}
