use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::SegQueue;

use crate::driver::PoolCompletion;
use crate::shard::Shard;
use crate::sys;
use crate::task::TaskHeader;

pub(crate) type Job = Box<dyn FnOnce(&Shard) + Send>;

pub(crate) enum Control {
    Run(Job),
    /// The last handle of a file is gone: its place in the ring's table can be given away.
    ReleaseFile {
        slot: u32,
        file: u64,
    },
    /// A slab is gone: its segments' places in the ring's table can be given away.
    ReleaseBuffers {
        places: Vec<u16>,
    },
    Stop,
}

/// The side of a shard that other threads see: three queues and the bell.
pub(crate) struct ShardPort {
    ready: SegQueue<Arc<TaskHeader>>,
    control: SegQueue<Control>,
    completions: SegQueue<PoolCompletion>,
    /// True only while the shard sleeps or is about to; whoever clears it rings the bell, so
    /// that a crowd of wake-ups costs one system call.
    parked: AtomicBool,
    bell: Option<OwnedFd>,
    /// The shard has ended: what is sent now is dropped.
    closed: AtomicBool,
}

impl ShardPort {
    /// Without a bell (simulation) nobody sleeps: the world runs whoever has work.
    pub(crate) fn new(bell: Option<OwnedFd>) -> ShardPort {
        ShardPort {
            ready: SegQueue::new(),
            control: SegQueue::new(),
            completions: SegQueue::new(),
            parked: AtomicBool::new(false),
            bell,
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn bell(&self) -> Option<&OwnedFd> {
        self.bell.as_ref()
    }

    pub(crate) fn push_ready(&self, task: Arc<TaskHeader>) {
        self.ready.push(task);
        self.ring_if_parked();
    }

    pub(crate) fn push_control(&self, control: Control) {
        self.control.push(control);
        self.ring_if_parked();
        // Either the closing shard saw the entry, or the flag is seen here.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            while self.control.pop().is_some() {}
        }
    }

    /// Ends the intake of control entries and returns those that nobody will carry out.
    pub(crate) fn close(&self) -> Vec<Control> {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        std::iter::from_fn(|| self.control.pop()).collect()
    }

    pub(crate) fn push_completion(&self, completion: PoolCompletion) {
        self.completions.push(completion);
        self.ring_if_parked();
    }

    pub(crate) fn pop_ready(&self) -> Option<Arc<TaskHeader>> {
        self.ready.pop()
    }

    pub(crate) fn pop_control(&self) -> Option<Control> {
        self.control.pop()
    }

    pub(crate) fn pop_completion(&self) -> Option<PoolCompletion> {
        self.completions.pop()
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.control.is_empty() || !self.completions.is_empty()
    }

    /// Announces sleep. False: work arrived meanwhile, stay awake.
    ///
    /// The fences here and in `ring_if_parked` order "announce, then look" against "push, then
    /// look": at least one side sees the other, so no wake-up is lost.
    pub(crate) fn announce_park(&self) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.has_work() {
            self.parked.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub(crate) fn end_park(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    fn ring_if_parked(&self) {
        let Some(bell) = &self.bell else { return };
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            sys::eventfd_ring(bell);
        }
    }
}
