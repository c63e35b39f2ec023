//! Which class of tasks runs next: weighted fair shares of a shard's CPU time.
//!
//! Knows classes and nanoseconds, never a task. Each class has a virtual time, the time that its
//! polls took divided by its share; the class that is furthest behind has the first right to run.
//! Source: Stoica et al., "A Proportional Share Resource Allocation Algorithm for Real-Time,
//! Time-Shared Systems", RTSS 1996; the lift of what wakes up is that of Linux' `min_vruntime`.

use crate::limits::{CLASS_LEAD_NS_MAX, CLASS_POLL_NS_MAX, CLASS_POLL_NS_MIN};
use crate::task::TASK_CLASS_COUNT;

/// The share at which virtual time runs as fast as time.
const SHARE_UNIT: u64 = 1_000;

/// One flag for each class, in the order of the classes.
pub(super) type ClassFlags = [bool; TASK_CLASS_COUNT];

pub(super) struct CpuShares {
    shares: [u64; TASK_CLASS_COUNT],
    virtual_ns: [u64; TASK_CLASS_COUNT],
    /// Classes that had something to run whenever it was asked.
    active: ClassFlags,
    /// Never falls. What an idle class is lifted to when it comes back, so that it banks nothing.
    floor_ns: u64,
}

impl CpuShares {
    pub(super) fn new(shares: [u64; TASK_CLASS_COUNT]) -> CpuShares {
        assert!(shares.iter().all(|share| (1..=SHARE_UNIT).contains(share)), "shares {shares:?}");
        CpuShares {
            shares,
            virtual_ns: [0; TASK_CLASS_COUNT],
            active: [false; TASK_CLASS_COUNT],
            floor_ns: 0,
        }
    }

    /// Tells which classes have tasks to run at this moment: the others are idle.
    pub(super) fn set_ready(&mut self, ready: &ClassFlags) {
        if *ready == self.active {
            return;
        }
        self.floor_ns = self.floor_ns.max(self.least_of(&self.active).unwrap_or(0));
        for (class, ready) in ready.iter().enumerate() {
            if *ready && !self.active[class] {
                self.virtual_ns[class] = self.virtual_ns[class].max(self.floor_ns);
            }
        }
        self.active = *ready;
    }

    /// The first class in order that has tasks and does not lead the class furthest behind by
    /// more than `CLASS_LEAD_NS_MAX`: within their shares, classes run in order, so that a flush
    /// carries what the foreground of the same turn has asked for.
    ///
    /// `None`: the class furthest behind has run dry since `set_ready`; ask again after another.
    pub(super) fn pick(&self, ready: &ClassFlags) -> Option<usize> {
        let least = self.least_of(&self.active)?;
        (0..TASK_CLASS_COUNT)
            .find(|&class| ready[class] && self.virtual_ns[class] <= least + CLASS_LEAD_NS_MAX)
    }

    /// Adds a poll's time. A poll is never free, or a run whose clock stands still would have no
    /// order; and a stall is not paid for longer than a share can be missed.
    pub(super) fn add_poll(&mut self, class: usize, took_ns: u64) {
        let took_ns = took_ns.clamp(CLASS_POLL_NS_MIN, CLASS_POLL_NS_MAX);
        self.virtual_ns[class] += took_ns * SHARE_UNIT / self.shares[class];
    }

    fn least_of(&self, flags: &ClassFlags) -> Option<u64> {
        let of = |class: usize| flags[class].then_some(self.virtual_ns[class]);
        (0..TASK_CLASS_COUNT).filter_map(of).min()
    }
}

#[cfg(test)]
mod tests;
