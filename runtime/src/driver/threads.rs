use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::driver::pool::PoolJob;
use crate::driver::{OpDone, OpKey, OpSlab, PoolCompletion};
use crate::ids::ShardId;
use crate::limits::COMPLETIONS_PER_TURN_MAX;
use crate::port::ShardPort;
use crate::runtime::Runtime;
use crate::sys;
use crate::time::Moment;

/// Every operation on the blocking pool. Results come back through the shard's port.
pub(crate) struct ThreadsDriver {
    runtime: Runtime,
    shard: ShardId,
    port: Arc<ShardPort>,
}

impl ThreadsDriver {
    pub(crate) fn new(runtime: &Runtime, shard: ShardId) -> ThreadsDriver {
        let port = Arc::clone(runtime.port(shard));
        ThreadsDriver { runtime: runtime.clone(), shard, port }
    }

    pub(crate) fn submit(&mut self, key: OpKey, slab: &mut OpSlab) {
        let op = slab.take_op(key);
        let job = PoolJob { op, key, shard: self.shard, runtime: self.runtime.clone() };
        let pool = self.runtime.pool().expect("a runtime with threads has a pool");
        if let Err((job, error)) = pool.submit(job) {
            let done = OpDone::failed(job.op, error);
            let begun_at = self.runtime.now();
            self.port.push_completion(PoolCompletion { key, done, begun_at });
        }
    }

    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        for count in 0..COMPLETIONS_PER_TURN_MAX {
            let Some(PoolCompletion { key, done, begun_at }) = self.port.pop_completion() else {
                return count;
            };
            slab.set_submitted(key, begun_at);
            slab.complete(key, done, now, woken);
        }
        COMPLETIONS_PER_TURN_MAX
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.port.has_completions()
    }

    pub(crate) fn park(&mut self, timeout: Option<Duration>) {
        let bell = self.port.bell().expect("a shard with a thread has a bell");
        sys::wait_readable(bell, timeout);
        sys::eventfd_drain(bell);
    }
}
