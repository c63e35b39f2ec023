//! Senders that wait for room in a bounded queue.

use super::atomic::{AtomicUsize, Mutex, Ordering};
use super::fault::{Fault, Faults};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

struct Waiter {
    ticket: u64,
    waker: Waker,
}

#[derive(Default)]
struct Waiters {
    in_order: VecDeque<Waiter>,
    next_ticket: u64,
}

/// First come, first woken; one waiter per freed place.
///
/// The list is bounded by the number of sending tasks. The taker pays a fence and a load while
/// nobody waits.
pub(super) struct WaitList {
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
    faults: Faults,
}

/// A sender's place in the list, kept by its future between polls.
pub(super) struct Place<'l> {
    list: &'l WaitList,
    ticket: Option<u64>,
}

impl WaitList {
    pub(super) fn new(faults: Faults) -> Self {
        let waiters = Mutex::new(Waiters::default());
        Self { waiting: AtomicUsize::new(0), waiters, faults }
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { list: self, ticket: None }
    }

    /// To be called after a place became free.
    pub(super) fn wake_one(&self) {
        if !self.has_waiters() {
            return;
        }
        let first = {
            let mut waiters = self.waiters.lock();
            let first = waiters.in_order.pop_front();
            self.waiting.store(waiters.in_order.len(), Ordering::Relaxed);
            first
        };
        if let Some(waiter) = first {
            waiter.waker.wake();
        }
    }

    /// To be called when there will never be room again.
    pub(super) fn wake_all(&self) {
        if !self.has_waiters() {
            return;
        }
        let all = {
            let mut waiters = self.waiters.lock();
            self.waiting.store(0, Ordering::Relaxed);
            std::mem::take(&mut waiters.in_order)
        };
        for waiter in all {
            waiter.waker.wake();
        }
    }

    fn has_waiters(&self) -> bool {
        // The waiter enters the list, fences and looks for room; the taker makes room, fences and
        // looks at the list: one of them sees the other.
        self.faults.fence(Fault::RoomFence);
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Enters `ticket` or refreshes its waker, and returns the ticket.
    fn enter(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let mut waiters = self.waiters.lock();
        let known = ticket
            .and_then(|ticket| waiters.in_order.iter_mut().find(|waiter| waiter.ticket == ticket));
        if let Some(waiter) = known {
            waiter.waker.clone_from(waker);
            return waiter.ticket;
        }
        // A waiter that was woken and found the room taken keeps its turn.
        let is_new = ticket.is_none();
        let ticket = ticket.unwrap_or(waiters.next_ticket);
        waiters.next_ticket += u64::from(is_new);
        let index = waiters.in_order.partition_point(|waiter| waiter.ticket < ticket);
        waiters.in_order.insert(index, Waiter { ticket, waker: waker.clone() });
        self.waiting.store(waiters.in_order.len(), Ordering::Relaxed);
        ticket
    }

    /// Takes `ticket` out; tells whether it was still in the list, that is, not woken.
    fn leave(&self, ticket: u64) -> bool {
        let mut waiters = self.waiters.lock();
        let found = waiters.in_order.iter().position(|waiter| waiter.ticket == ticket);
        if let Some(index) = found {
            waiters.in_order.remove(index);
            self.waiting.store(waiters.in_order.len(), Ordering::Relaxed);
        }
        found.is_some()
    }
}

impl Place<'_> {
    /// Runs `attempt` until it yields a value, sleeping in between until somebody makes room.
    pub(super) fn poll<R>(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        if let Some(done) = attempt() {
            self.leave();
            return Poll::Ready(done);
        }
        self.ticket = Some(self.list.enter(self.ticket, context.waker()));
        if self.list.faults.omits(Fault::RoomSecondLook) {
            return Poll::Pending;
        }
        self.list.faults.fence(Fault::RoomFence);
        let Some(done) = attempt() else { return Poll::Pending };
        self.leave();
        Poll::Ready(done)
    }

    /// A waiter may take a place and still be woken for the next one, before it has left the list;
    /// or be woken and go away. Either way the wake-up belongs to the next waiter.
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let was_woken = !self.list.leave(ticket);
        if was_woken && !self.list.faults.omits(Fault::RoomBaton) {
            self.list.wake_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
