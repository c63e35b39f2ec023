//! A small job that asks for nothing special, for tests to change.

use super::job::{Extent, Job, Mix, testing};

pub(crate) const MIB: u64 = 1 << 20;

/// Reads a file of one MiB in order.
pub(crate) fn job() -> Job {
    sequential(Mix::Read)
}

pub(crate) fn sequential(mix: Mix) -> Job {
    Job { size: Some(Extent::Bytes(MIB)), ..testing::job("job", mix) }
}
