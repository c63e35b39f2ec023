//! Threads for what would block a shard: metadata, buffered I/O, and all I/O without a ring.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::driver::{Op, OpDone, OpKey, fileops};
use crate::ids::ShardId;
use crate::runtime::Runtime;
use crate::sys;
use crate::time::Moment;

pub(crate) struct PoolCompletion {
    pub(crate) key: OpKey,
    pub(crate) done: OpDone,
    /// When a thread began with it.
    pub(crate) begun_at: Moment,
}

pub(crate) struct PoolJob {
    pub(crate) op: Op,
    pub(crate) key: OpKey,
    pub(crate) shard: ShardId,
    pub(crate) runtime: Runtime,
}

impl PoolJob {
    fn run(self) {
        let PoolJob { op, key, shard, runtime } = self;
        let begun_at = runtime.now();
        let done = catch_unwind(AssertUnwindSafe(|| fileops::execute(op, &runtime)));
        // Without an answer the operation's future would wait for ever.
        let done = done.unwrap_or_else(|_| OpDone {
            result: Err(io::Error::other("the blocking pool panicked in this operation")),
            buf: None,
        });
        runtime.port(shard).push_completion(PoolCompletion { key, done, begun_at });
    }
}

enum Order {
    Run(Box<PoolJob>),
    Stop,
}

/// Grows to its maximum as jobs find nobody idle. Its queue is bounded by the shards' slabs.
pub(crate) struct Pool {
    orders: Sender<Order>,
    queue: Receiver<Order>,
    /// Threads that wait for an order, less the orders on their way to them.
    idle: Arc<AtomicUsize>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    threads_max: AtomicUsize,
    /// Threads inherit the pinning of the shard that starts them, and undo it.
    cpus: Vec<usize>,
}

impl Pool {
    pub(crate) fn new(cpus: Vec<usize>, threads_max: usize) -> Pool {
        let (orders, queue) = unbounded();
        Pool {
            orders,
            queue,
            idle: Arc::new(AtomicUsize::new(0)),
            threads: Mutex::new(Vec::new()),
            threads_max: AtomicUsize::new(threads_max),
            cpus,
        }
    }

    pub(crate) fn set_threads_max(&self, threads_max: usize) {
        self.threads_max.store(threads_max, Ordering::Relaxed);
    }

    /// Queues the job. Fails only if there is no thread at all and none can be started.
    pub(crate) fn submit(&self, job: PoolJob) -> Result<(), (PoolJob, io::Error)> {
        let claimed =
            self.idle.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |idle| idle.checked_sub(1));
        if claimed.is_err()
            && let Err(error) = self.grow()
        {
            return Err((job, error));
        }
        self.orders.send(Order::Run(Box::new(job))).expect("the pool holds the receiver too");
        Ok(())
    }

    fn grow(&self) -> io::Result<()> {
        let mut threads = self.threads();
        if threads.len() >= self.threads_max.load(Ordering::Relaxed) {
            return Ok(());
        }
        let queue = self.queue.clone();
        let idle = Arc::clone(&self.idle);
        let cpus = self.cpus.clone();
        let started = std::thread::Builder::new()
            .name(format!("sombra-pool-{}", threads.len()))
            .spawn(move || serve(&queue, &idle, &cpus));
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) if threads.is_empty() => return Err(error),
            Err(error) => {
                tracing::warn!(target: "sombra_runtime", "no further pool thread: {error}");
            }
        }
        Ok(())
    }

    /// Ends the threads after the jobs that are queued. With `wait` false they are left to
    /// themselves: one of them hangs in the kernel.
    pub(crate) fn stop(&self, wait: bool) {
        let threads = std::mem::take(&mut *self.threads());
        for _ in &threads {
            self.orders.send(Order::Stop).expect("the pool holds the receiver too");
        }
        if wait {
            // A pool thread catches every panic of a job, so joining has nothing to report.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(queue: &Receiver<Order>, idle: &AtomicUsize, cpus: &[usize]) {
    if let Err(error) = sys::pin_thread(cpus) {
        tracing::debug!(target: "sombra_runtime", "pool thread keeps its starter's CPU: {error}");
    }
    // The thread was started for an order that nobody idle could take.
    while let Ok(Order::Run(job)) = queue.recv() {
        job.run();
        // Whoever still finds queued orders is not idle: nobody claimed it for them.
        while let Ok(order) = queue.try_recv() {
            match order {
                Order::Run(job) => job.run(),
                Order::Stop => return,
            }
        }
        idle.fetch_add(1, Ordering::AcqRel);
    }
}
