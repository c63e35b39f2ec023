//! Futures that run side by side, and work sent to a shard from a plain thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll};
use std::time::Duration;

use sombra_runtime::{Runtime, Shard, ShardId, TaskClass, TaskSpec};

use crate::error::BenchError;
use crate::progress::Progress;

/// Runs futures side by side and gives their outputs in order.
///
/// Cost: every wake polls each unfinished future, which suits futures that end once and together.
pub(crate) struct Crowd<F: Future> {
    members: Vec<Member<F>>,
}

enum Member<F: Future> {
    Running(Pin<Box<F>>),
    Done(Option<F::Output>),
}

impl<F: Future> Crowd<F> {
    pub(crate) fn new(futures: impl IntoIterator<Item = F>) -> Crowd<F> {
        let members = futures.into_iter().map(|future| Member::Running(Box::pin(future)));
        Crowd { members: members.collect() }
    }
}

impl<F: Future> Future for Crowd<F>
where
    F::Output: Unpin,
{
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<F::Output>> {
        let mut pending = false;
        for member in &mut self.members {
            let Member::Running(future) = member else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(output) => *member = Member::Done(Some(output)),
                Poll::Pending => pending = true,
            }
        }
        if pending {
            return Poll::Pending;
        }
        let outputs = self.members.iter_mut().filter_map(|member| match member {
            Member::Done(output) => output.take(),
            Member::Running(_) => None,
        });
        Poll::Ready(outputs.collect())
    }
}

/// How often a waiting thread looks up.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Runs one task on a shard and waits for its result on this thread, which meanwhile shows how
/// long it has been.
///
/// # Errors
/// The task panicked or the runtime stopped.
pub(crate) fn on_shard<T, F, Fut>(
    runtime: &Runtime,
    shard: ShardId,
    progress: &Progress,
    job: F,
) -> Result<T, BenchError>
where
    T: Send + 'static,
    F: FnOnce(Shard) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    runtime.run_on(shard, move |shard| {
        let work = job(shard.clone());
        shard.spawn(TaskSpec::new("bench", TaskClass::Foreground), async move {
            // The receiver waits until this arrives; it is gone only when its thread panicked.
            let _ = sender.send(work.await);
        });
    });
    let started = runtime.now();
    loop {
        match receiver.recv_timeout(WATCH_INTERVAL) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                progress.elapsed(runtime.now().saturating_since(started));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(BenchError::phase("bench task", "its shard dropped it half done"));
            }
        }
    }
}
