//! A coalescing wake-up of one consumer.

use super::atomic::{AtomicU32, AtomicWaker, Ordering};
use super::fault::{Fault, Faults};
use super::padded::Padded;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Nothing was raised since the consumer last returned from `wait`, and it does not sleep.
const IDLE: u32 = 0;
/// The consumer registered its waker and sleeps.
const WAITING: u32 = 1;
/// Raised; the next `wait` returns at once.
const RAISED: u32 = 2;

/// Wakes one consumer task, any number of raises at a time.
///
/// Whatever a thread wrote before `raise` is seen by the consumer after the `wait` that the raise
/// ended. One task waits at a time; a second one would take over the first one's wake-up.
pub struct Signal {
    state: Padded<AtomicU32>,
    waker: AtomicWaker,
    faults: Faults,
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl Signal {
    pub fn new() -> Self {
        Self::build(Faults::default())
    }

    pub(super) fn build(faults: Faults) -> Self {
        let state = Padded::new(AtomicU32::new(IDLE));
        Self { state, waker: AtomicWaker::new(), faults }
    }

    /// Ends the current or next `wait`. Cost: a fence and a load while an earlier raise is unseen.
    pub fn raise(&self) {
        // Without the fence the load may return a RAISED that the consumer has just consumed,
        // before it could see what this thread wrote.
        self.faults.fence(Fault::SignalFence);
        if self.state.load(Ordering::Relaxed) == RAISED {
            return;
        }
        if self.state.swap(RAISED, Ordering::AcqRel) == WAITING {
            self.waker.wake();
        }
    }

    /// Returns when the signal was raised since the last return. Dropping the future loses nothing.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_wait(context)).await;
    }

    /// The poll function of `wait`, for futures written by hand.
    pub fn poll_wait(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.try_consume() {
            return Poll::Ready(());
        }
        self.waker.register(context.waker());
        if self.faults.omits(Fault::SignalSecondLook) {
            self.state.store(WAITING, Ordering::Release);
            return Poll::Pending;
        }
        let slept = self.state.compare_exchange(IDLE, WAITING, Ordering::AcqRel, Ordering::Relaxed);
        if slept.is_ok() {
            return Poll::Pending;
        }
        // Only a raise leaves IDLE behind this consumer's back.
        assert!(self.try_consume(), "a signal has one consumer at a time");
        Poll::Ready(())
    }

    /// Takes a raise without waiting; tells whether there was one.
    pub fn try_consume(&self) -> bool {
        let was_raised = self.state.swap(IDLE, Ordering::AcqRel) == RAISED;
        if was_raised {
            self.faults.fence(Fault::SignalFence);
        }
        was_raised
    }
}
