//! Requests that a simulation can refuse although they could be granted.
//!
//! Knows names only. Must never know what the program does about a refusal: each point takes the
//! path of the scarcity that it stands for.

use crate::shard::Shard;

/// A request that `sim::FaultPoints` can plan to refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultPoint {
    /// Pages for what a merge writes, as if no extent had one left.
    PageAllocation,
    /// A longer data file, as if it were at its bound.
    FileGrowth,
    /// Memory for a commit's writes, as if the windows were full.
    MemoryCharge,
}

impl Shard {
    /// Whether a simulation refuses what is about to be asked for. Never outside of one.
    #[cfg(feature = "sim")]
    pub fn refuses(&self, point: FaultPoint) -> bool {
        self.runtime_ref().refuses(point)
    }

    /// Whether a simulation refuses what is about to be asked for: none can in this build.
    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    pub const fn refuses(&self, _point: FaultPoint) -> bool {
        false
    }
}
