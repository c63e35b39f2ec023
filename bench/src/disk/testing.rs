//! Jobs for the tests of this module's parts.

use super::job::{Engine, Extent, Job, Mix, Pattern};
use super::job_file::default_job;

pub(crate) const MIB: u64 = 1 << 20;

/// Goes through a file of one MiB in order.
pub(crate) fn sequential(mix: Mix) -> Job {
    job("job", mix)
}

/// A job of one MiB on the ring, direct; everything else at fio's defaults.
pub(crate) fn job(name: &str, mix: Mix) -> Job {
    let default = default_job(name);
    Job {
        pattern: Pattern { mix, ..default.pattern },
        engine: Engine::IoUring,
        direct: true,
        size: Some(Extent::Bytes(MIB)),
        rand_seed: 1,
        ..default
    }
}
