//! One vocabulary of operations, several ways to carry them out.

pub(crate) mod inline;
pub(crate) mod kit;
pub(crate) mod op;
pub(crate) mod pool;
pub(crate) mod slab;
pub(crate) mod threads;
pub(crate) mod uring;

mod buffer_table;
mod completion_queue;
mod file_table;
mod fileops;
mod lane;
mod polled;

use std::task::Waker;
use std::time::Duration;

pub(crate) use completion_queue::QueueState;
pub use completion_queue::{IoCompletion, IoTimes};
pub use op::OpKind;
pub(crate) use op::{Op, OpDone, OpValue};
pub(crate) use pool::PoolCompletion;
pub(crate) use slab::{Listener, OpKey, OpSlab};

use crate::runtime::DriverKind;
use crate::time::Moment;
use inline::{InlineDriver, Work};
use threads::ThreadsDriver;
use uring::UringDriver;

pub(crate) enum Driver {
    Uring(Box<UringDriver>),
    Threads(ThreadsDriver),
    Inline(Box<InlineDriver>),
    #[cfg(feature = "sim")]
    Sim(Box<crate::sim::SimDriver>),
}

impl Driver {
    pub(crate) fn kind(&self) -> DriverKind {
        match self {
            Driver::Uring(_) => DriverKind::Uring,
            Driver::Threads(_) => DriverKind::Threads,
            Driver::Inline(driver) => match driver.work() {
                Work::Call => DriverKind::Inline,
                Work::Skip => DriverKind::Null,
            },
            #[cfg(feature = "sim")]
            Driver::Sim(_) => DriverKind::Sim,
        }
    }

    /// Starts the operation that `slab` holds under `key`. It may be queued here until
    /// `push_submissions`; it never completes inside this call.
    pub(crate) fn submit(&mut self, key: OpKey, slab: &mut OpSlab) {
        match self {
            Driver::Uring(driver) => driver.submit(key, slab),
            Driver::Threads(driver) => driver.submit(key, slab),
            Driver::Inline(driver) => driver.submit(key, slab),
            #[cfg(feature = "sim")]
            Driver::Sim(driver) => driver.submit(key, slab),
        }
    }

    /// Hands what is queued to the kernel, or with `may_wait` leaves it to `park` where that saves
    /// a system call; whoever then does not park calls `submit_queued`. Without a kernel queue
    /// it is carried out here.
    pub(crate) fn push_submissions(&mut self, slab: &mut OpSlab, may_wait: bool) {
        match self {
            Driver::Uring(driver) => driver.push_submissions(slab, may_wait),
            Driver::Inline(driver) => driver.push_submissions(slab),
            Driver::Threads(_) => {}
            #[cfg(feature = "sim")]
            Driver::Sim(_) => {}
        }
    }

    /// Entries that `push_submissions` left to a sleep.
    pub(crate) fn has_queued(&mut self) -> bool {
        match self {
            Driver::Uring(driver) => driver.has_queued(),
            _ => false,
        }
    }

    pub(crate) fn submit_queued(&mut self, slab: &mut OpSlab) {
        if let Driver::Uring(driver) = self {
            driver.submit_queued(slab);
        }
    }

    /// Completes finished operations in `slab` and collects the wakers of their futures.
    /// Returns how many operations it completed.
    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        match self {
            Driver::Uring(driver) => driver.reap(slab, now, woken),
            Driver::Threads(driver) => driver.reap(slab, now, woken),
            Driver::Inline(driver) => driver.reap(slab, now, woken),
            #[cfg(feature = "sim")]
            Driver::Sim(driver) => driver.reap(slab, now, woken),
        }
    }

    /// A cheap look, for spinning: would `reap` find something?
    pub(crate) fn has_completions(&mut self) -> bool {
        match self {
            Driver::Uring(driver) => driver.has_completions(),
            Driver::Threads(driver) => driver.has_completions(),
            Driver::Inline(driver) => driver.has_completions(),
            #[cfg(feature = "sim")]
            Driver::Sim(_) => false,
        }
    }

    /// Sleeps until the bell rings, an operation completes or `timeout` has passed; the caller
    /// has announced it at the port. Simulated shards never sleep.
    pub(crate) fn park(&mut self, slab: &mut OpSlab, timeout: Option<Duration>) {
        match self {
            Driver::Uring(driver) => driver.park(slab, timeout),
            Driver::Threads(driver) => driver.park(timeout),
            Driver::Inline(driver) => driver.park(timeout),
            #[cfg(feature = "sim")]
            Driver::Sim(_) => panic!("a simulated shard does not sleep"),
        }
    }

    pub(crate) fn release_file(&mut self, slot: u32, file: u64) {
        if let Driver::Uring(driver) = self {
            driver.release_file(slot, file);
        }
    }

    pub(crate) fn release_buffers(&mut self, places: &[u16]) {
        if let Driver::Uring(driver) = self {
            driver.release_buffers(places);
        }
    }

    /// Asks the kernel to give up what it can; completions still arrive for everything.
    pub(crate) fn cancel_all(&mut self, slab: &mut OpSlab) {
        if let Driver::Uring(driver) = self {
            driver.cancel_all(slab);
        }
    }
}
