//! Putting an open store together, and taking it apart again.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock, Weak};

use futures_channel::oneshot;
use sombra_runtime::sync::{LogRing, LogRingConfig, MailboxReceiver, Mesh, mailbox};
use sombra_runtime::{PanicSink, Runtime, Shard, ShardId, TaskClass, TaskSpec};

use crate::commit::{SnapshotAges, StoreCore, StoreCoreParts};
use crate::error::{CloseError, OpenError};
use crate::format::BLOCK_SIZE_BYTES;
use crate::format::log_record::pad_header;
use crate::limits;
use crate::memory::MemoryBudget;
use crate::merge::PublishRequest;
use crate::metrics::Metrics;
use crate::options::{OptionError, Options};
use crate::poison::Poison;
use crate::recovery::{self, Opened, OpenedSegments};
use crate::shard::{
    CatalogRequest, MetricsText, ReplayFeed, Request, ScrubPlan, ShardStart, ShardState,
    StoreParts, StoreShared, settle_log, start_replay, start_services,
};
use crate::wal::group_commit::GroupCommit;
use crate::wal::segments::{self, Segments};

/// All outside handles of one store; when the last one goes, the store is closed.
pub(crate) struct StoreHandle {
    shared: Arc<StoreShared>,
}

impl StoreHandle {
    pub(crate) fn shared(&self) -> &Arc<StoreShared> {
        &self.shared
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        start_close(&self.shared, None);
    }
}

/// Stops the right store when one of its tasks panics, also while it is being opened.
#[derive(Clone)]
struct PanicGuard {
    poison: Arc<Poison>,
    core: Arc<OnceLock<Weak<StoreCore>>>,
}

impl PanicGuard {
    fn new() -> PanicGuard {
        PanicGuard { poison: Arc::new(Poison::default()), core: Arc::new(OnceLock::new()) }
    }

    fn sink(&self) -> PanicSink {
        let guard = self.clone();
        Arc::new(move |task: &str, message: &str| {
            let reason = format!("a bug in task {task:?}: {message}");
            match guard.core.get().and_then(Weak::upgrade) {
                Some(core) => core.stop(&reason),
                None => drop(guard.poison.set(&reason)),
            }
        })
    }
}

/// What the opening task works with.
struct Opening {
    runtime: Runtime,
    dir: PathBuf,
    options: Options,
    memory_lowered: Option<String>,
    guard: PanicGuard,
    memory: Arc<MemoryBudget>,
}

/// Keeps the budget within what the control groups allow, with room for the rest of the process.
/// Returns what is to be said about it.
pub(super) fn lower_memory(
    options: &mut Options,
    limit: Option<u64>,
) -> Result<Option<String>, OptionError> {
    let Some(limit) = limit else { return Ok(None) };
    let most = limit / 100 * limits::MEMORY_LIMIT_PERCENT;
    let asked = options.memory_bytes;
    if asked <= most {
        return Ok(None);
    }
    if most < limits::MEMORY_BYTES_MIN {
        let expected = format!(
            "a control group that allows {} bytes for at least {} of memory_bytes",
            limits::MEMORY_BYTES_MIN * 100 / limits::MEMORY_LIMIT_PERCENT,
            limits::MEMORY_BYTES_MIN
        );
        return Err(OptionError { field: "memory_bytes", expected, found: limit.to_string() });
    }
    options.memory_bytes = most;
    Ok(Some(format!("memory_bytes {asked} lowered to {most}: the control group allows {limit}")))
}

/// Opens or makes a store.
pub(super) async fn open(
    runtime: &Runtime,
    dir: &Path,
    options: Options,
) -> Result<StoreHandle, OpenError> {
    options.validate()?;
    let mut options = options;
    let memory_lowered = lower_memory(&mut options, runtime.memory_limit_bytes())?;
    let (reply, answer) = oneshot::channel();
    let opening = Opening {
        runtime: runtime.clone(),
        dir: dir.to_owned(),
        memory: Arc::new(MemoryBudget::new(options.memory_bytes)),
        options,
        memory_lowered,
        guard: PanicGuard::new(),
    };
    let poison = Arc::clone(&opening.guard.poison);
    runtime.run_on(ShardId::new(0), move |shard: &Shard| {
        let on_panic = Some(opening.guard.sink());
        let spec = TaskSpec { name: "open", class: TaskClass::Foreground, on_panic };
        let on_shard = shard.clone();
        shard.spawn(spec, async move {
            // A caller that went away closes the store by dropping what it never received.
            drop(reply.send(opening.run(&on_shard).await));
        });
    });
    let stopped = |_| OpenError::RuntimeStopped {
        reason: poison.reason().unwrap_or("the runtime was shut down").to_owned(),
    };
    answer.await.map_err(stopped)?
}

impl Opening {
    async fn run(self, shard: &Shard) -> Result<StoreHandle, OpenError> {
        let mut replaying = Vec::new();
        for index in 0..self.runtime.shard_count() {
            let (sender, receiver) = mailbox(limits::REPLAY_BATCHES_MAX);
            let (memory, sink) = (Arc::clone(&self.memory), self.guard.sink());
            start_replay(&self.runtime, ShardId::new(index as u16), receiver, memory, sink);
            replaying.push(sender);
        }
        let (memory, dir) = (Arc::clone(&self.memory), self.dir.clone());
        let mut feed = ReplayFeed::new(replaying, memory, dir);
        let opened = recovery::open(shard, &self.dir, &self.options, &mut feed).await?;
        feed.drop_older_namesakes().await?;
        self.assemble(opened, feed).await
    }

    async fn assemble(self, opened: Opened, feed: ReplayFeed) -> Result<StoreHandle, OpenError> {
        let mut opened = opened;
        opened.report.memory_lowered.clone_from(&self.memory_lowered);
        let shard_count = self.runtime.shard_count();
        let core = self.make_core(&opened, shard_count);
        let guard = &self.guard;
        guard.core.set(Arc::downgrade(&core)).expect("INV-7: one core for one opening");
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..shard_count).map(|_| mailbox::<Request>(limits::MAILBOX_SLOTS)).unzip();
        let (catalog, changes) = mailbox(limits::CATALOG_CHANGES_MAX);
        let (publisher, publications) = mailbox(limits::PUBLISH_REQUESTS_MAX);
        let shared = Arc::new(StoreShared::new(StoreParts {
            runtime: self.runtime.clone(),
            core,
            dir: self.dir.clone(),
            report: opened.report,
            router: feed.router.clone(),
            mailboxes: senders,
            catalog,
            publisher,
            lock: opened.lock,
        }));
        // From here on whoever drops the handle closes the store: a caller that went away, too.
        let handle = StoreHandle { shared };
        self.begin_shards(&handle.shared, feed, receivers, (changes, publications)).await?;
        Ok(handle)
    }

    async fn begin_shards(
        &self,
        shared: &Arc<StoreShared>,
        feed: ReplayFeed,
        mailboxes: Vec<MailboxReceiver<Request>>,
        on_first: (MailboxReceiver<CatalogRequest>, MailboxReceiver<PublishRequest>),
    ) -> Result<(), OpenError> {
        let mut on_first = Some(on_first);
        let (mut starts, mut begun) = (Vec::new(), Vec::new());
        let ports = Mesh::new(mailboxes.len(), limits::MESH_SLOTS);
        for (mesh, mailbox) in ports.into_iter().zip(mailboxes) {
            let (done, waits) = oneshot::channel();
            begun.push(waits);
            let services = on_first.take().map(|queues| (queues, self.metrics_text(shared)));
            let scrub = ScrubPlan {
                bytes_per_second: self.options.scrub_bytes_per_second,
                interval: self.options.scrub_interval,
            };
            let begin = move |state: &Rc<ShardState>| {
                if let Some(((changes, publications), metrics_text)) = services {
                    start_services(state, changes, publications, (metrics_text, scrub));
                }
                let _ = done.send(());
            };
            let shared = Arc::clone(shared);
            let publisher = shared.publisher();
            let begun = Box::new(begin);
            starts.push(ShardStart { shared, mesh, mailbox, publisher, begun });
        }
        feed.begin(starts).await?;
        for waits in begun {
            let lost = |_| OpenError::RuntimeStopped {
                reason: self.guard.poison.reason().unwrap_or("a shard was lost").to_owned(),
            };
            waits.await.map_err(lost)?;
        }
        Ok(())
    }

    fn metrics_text(&self, shared: &Arc<StoreShared>) -> Option<MetricsText> {
        let shared = Arc::clone(shared);
        self.options.metrics_file.then(|| {
            let text: MetricsText = Box::new(move || Metrics::of(&shared).to_string());
            text
        })
    }

    fn make_core(&self, opened: &Opened, shard_count: usize) -> Arc<StoreCore> {
        let segment_bytes = opened.identity.segment_bytes;
        let ring = LogRing::new(LogRingConfig {
            block_count: log_ring_blocks(self.options.memory_bytes),
            start: opened.start.as_u64(),
            pad_header,
        });
        let identity = opened.identity.clone();
        let segments = match &opened.segments {
            OpenedSegments::Writing { first: (number, file), older } => {
                ring.set_space_end(segments::space_end(*number, segment_bytes).as_u64());
                let first = (*number, file.clone());
                Segments::new(identity, first, older.clone(), self.options.log_bytes_max)
            }
            OpenedSegments::Reading { all } => {
                ring.set_space_end(opened.start.as_u64());
                Segments::read_only(identity, all.clone())
            }
        };
        let log = GroupCommit::new(ring, segments, opened.method, self.guard.sink());
        let ages = SnapshotAges {
            read_only: self.options.snapshot_age_max,
            read_write: self.options.transaction_age_max,
        };
        Arc::new(StoreCore::new(StoreCoreParts {
            log: Arc::new(log),
            volume: Arc::clone(&opened.volume),
            roots: Arc::clone(&opened.roots),
            poison: Arc::clone(&self.guard.poison),
            memory: Arc::clone(&self.memory),
            ages,
            shard_count,
            start: opened.start,
        }))
    }
}

fn log_ring_blocks(memory_bytes: u64) -> usize {
    let share_bytes = memory_bytes / limits::LOG_RING_SHARE;
    let blocks = usize::try_from(share_bytes / BLOCK_SIZE_BYTES as u64).unwrap_or(usize::MAX);
    blocks.clamp(limits::LOG_RING_BLOCKS_MIN, limits::LOG_RING_BLOCKS_MAX)
}

/// Closes the store and waits for that.
pub(super) async fn close(shared: Arc<StoreShared>) -> Result<(), CloseError> {
    let (done, closed) = oneshot::channel();
    if !start_close(&shared, Some(done)) {
        return Err(CloseError::Closed);
    }
    // Lost only when the runtime was shut down meanwhile: nothing is left to close.
    let _ = closed.await;
    match shared.core.poison.reason() {
        Some(reason) => Err(CloseError::Poisoned { reason: reason.to_owned() }),
        None => Ok(()),
    }
}

/// Starts closing as a task of shard 0; `false` when it was started before.
fn start_close(shared: &Arc<StoreShared>, done: Option<oneshot::Sender<()>>) -> bool {
    if shared.core.set_closing() {
        return false;
    }
    shared.core.wake_all();
    let shared = Arc::clone(shared);
    let runtime = shared.runtime.clone();
    runtime.run_on(ShardId::new(0), move |shard: &Shard| {
        let spec = TaskSpec { name: "close", class: TaskClass::Foreground, on_panic: None };
        shard.spawn(spec, async move {
            settle_and_stop(&shared).await;
            shared.release_lock();
            if let Some(done) = done {
                let _ = done.send(());
            }
        });
    });
    true
}

async fn settle_and_stop(shared: &Arc<StoreShared>) {
    for index in 0..shared.shard_count() {
        let (reply, drained) = oneshot::channel();
        if shared.send(ShardId::new(index as u16), Request::Drain { reply }).await.is_ok() {
            // A shard that is gone has nothing on its way.
            let _ = drained.await;
        }
    }
    let settle = |done: oneshot::Sender<()>| -> crate::shard::Job {
        Box::new(move |state: &Rc<ShardState>| {
            let on_shard = Rc::clone(state);
            let spec = state.core.spec("settle the log", TaskClass::Foreground);
            state.shard.spawn(spec, async move {
                settle_log(&on_shard).await;
                let _ = done.send(());
            });
        })
    };
    run_and_wait(shared, ShardId::new(0), settle).await;
    for index in 0..shared.shard_count() {
        let stop = |done: oneshot::Sender<()>| -> crate::shard::Job {
            Box::new(move |state: &Rc<ShardState>| {
                state.stop();
                let _ = done.send(());
            })
        };
        run_and_wait(shared, ShardId::new(index as u16), stop).await;
    }
}

async fn run_and_wait(
    shared: &Arc<StoreShared>,
    shard: ShardId,
    job: impl FnOnce(oneshot::Sender<()>) -> crate::shard::Job,
) {
    let (done, waits) = oneshot::channel();
    if shared.send(shard, Request::Run(job(done))).await.is_ok() {
        // A shard that is gone has nothing to do.
        let _ = waits.await;
    }
}
