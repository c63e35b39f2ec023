//! The other executors, each in its own idiom: one thread, one ring, `iodepth` tasks.

mod compio;
mod glommio;
mod monoio;
mod tokio_uring;

use std::sync::Arc;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sombra_bench::disk::job::Job;
use sombra_bench::disk::plan::JobThread;

use crate::drive::{self, ThreadEnd};
use crate::limits::BUFFER_ALIGN_BYTES;
use crate::{AnyError, Executor};

/// Runs one thread of a job on the calling thread.
pub(crate) fn run(executor: Executor, thread: &Arc<JobThread>) -> Result<ThreadEnd, AnyError> {
    if let Some(cpus) = &thread.cpus {
        let mut set = CpuSet::new();
        for cpu in cpus {
            set.set(*cpu)?;
        }
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    match executor {
        Executor::TokioUring => tokio_uring::run(thread),
        Executor::Glommio => glommio::run(thread),
        Executor::Monoio => monoio::run(thread),
        Executor::Compio => compio::run(thread),
        Executor::Sombra => Err("the product runs jobs by itself".into()),
    }
}

/// Says why the machine gives nobody a ring; such a machine has nothing to compare.
pub(crate) fn no_ring() -> Option<String> {
    tokio_uring::no_ring()
}

/// Entries of a ring: the executor's own default, or as many as the job has in flight.
fn entries(default: u32, job: &Job) -> u32 {
    default.max(job.iodepth.next_power_of_two())
}

/// Heap memory of which the part from `begin` on is aligned for direct I/O.
pub(crate) struct Memory<B> {
    bytes: B,
    begin: usize,
}

impl Memory<Vec<u8>> {
    fn new(thread: &JobThread, task: u32) -> Memory<Vec<u8>> {
        let len = drive::largest_bytes(&thread.job);
        let mut bytes = vec![0; len + BUFFER_ALIGN_BYTES];
        let begin = bytes.as_ptr().align_offset(BUFFER_ALIGN_BYTES);
        drive::prime(thread, task, &mut bytes[begin..begin + len]);
        Memory { bytes, begin }
    }

    /// The same memory as a slice on the heap, which nobody shortens.
    fn boxed(self) -> Memory<Box<[u8]>> {
        Memory { bytes: self.bytes.into_boxed_slice(), begin: self.begin }
    }
}

impl<B: AsMut<[u8]>> Memory<B> {
    fn first(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes.as_mut()[self.begin..self.begin + len]
    }
}
