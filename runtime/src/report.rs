//! What the driver came to be on this host, for operators and measuring tools.

use crate::buffer::HugePages;
use crate::ids::ShardId;
use crate::runtime::DriverKind;

/// How the kernel set up a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingSetUp {
    /// SINGLE_ISSUER with DEFER_TASKRUN (Linux 6.1).
    Deferred,
    /// COOP_TASKRUN (Linux 5.19).
    Cooperative,
    Plain,
}

/// A shard's ring for files that were opened with `OpenHow::polled`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolledState {
    /// No such file was used on the shard.
    NotAsked,
    /// The ring stands; `DmaFile::is_polled_on` tells which files it carries.
    Ready {
        /// It knows all registered buffers of the shard's ordinary ring.
        buffers_shared: bool,
    },
    /// There is no such ring, or the last file that asked for it was refused.
    Refused { reason: String },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingReport {
    pub set_up: RingSetUp,
    pub submission_entries: u32,
    pub completion_entries: u32,
    /// Files enter the ring's table; otherwise each operation names a descriptor.
    pub files_registered: bool,
    /// Buffer memory in the ring's table now: of the slab, and of pools as they are used.
    pub registered_bytes: usize,
    pub polled: PolledState,
}

/// The memory of `Shard::alloc_buffer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabReport {
    pub len_bytes: usize,
    pub huge_pages: HugePages,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardDriverReport {
    pub shard: ShardId,
    /// `None`: buffers come from the heap.
    pub slab: Option<SlabReport>,
    /// `None` where the driver is not a ring.
    pub ring: Option<RingReport>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriverReport {
    pub kind: DriverKind,
    /// Why the driver is not the best one, and what it had to do without: limits, old kernels.
    pub notes: Vec<String>,
    pub shards: Vec<ShardDriverReport>,
}
