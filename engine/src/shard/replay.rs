//! Replay on the shards: shard 0 reads the log and routes, every shard applies its own part.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sombra_runtime::sync::{MailboxReceiver, MailboxSender, MeshPort};
use sombra_runtime::{PanicSink, Runtime, Shard, ShardId, TaskClass, TaskSpec};

use super::{Job, Request, ShardState, StoreShared};
use crate::commit::Core;
use crate::error::OpenError;
use crate::format::log_record::Record;
use crate::ids::{Lsn, TabletId};
use crate::keyspace::{Keyspace, KeyspaceDef, Router, shard_of};
use crate::limits;
use crate::memory::MemoryBudget;
use crate::recovery::ReplaySink;
use crate::tablet::Tablet;
use crate::window::{PruneView, version_cost_bytes};

/// One replayed write.
#[derive(Debug)]
pub(crate) struct ReplayWrite {
    tablet: TabletId,
    key: Bytes,
    lsn: Lsn,
    value: Option<Bytes>,
}

/// What a shard needs to begin.
pub(crate) struct ShardStart {
    pub(crate) shared: Arc<StoreShared>,
    pub(crate) mesh: MeshPort<Request>,
    pub(crate) mailbox: MailboxReceiver<Request>,
    pub(crate) begun: Job,
}

/// What shard 0 tells a replaying shard, in order.
pub(crate) enum ReplayMessage {
    Tablets {
        keyspace: Keyspace,
        exist: bool,
    },
    Writes(Vec<ReplayWrite>),
    /// All is replayed: serve.
    Begin(Box<ShardStart>),
}

/// Starts the replaying side on one shard; it ends when it was told to begin, or when the
/// opening gave up and dropped the sender.
pub(crate) fn start_replay(
    runtime: &Runtime,
    shard: ShardId,
    mut messages: MailboxReceiver<ReplayMessage>,
    memory: Arc<MemoryBudget>,
    on_panic: PanicSink,
) {
    runtime.run_on(shard, move |shard: &Shard| {
        let on_shard = shard.clone();
        let sink = Arc::clone(&on_panic);
        let spec = TaskSpec { name: "replay", class: TaskClass::Foreground, on_panic: Some(sink) };
        shard.spawn(spec, async move {
            let mut tablets = ReplayTablets { tablets: BTreeMap::new(), memory };
            while let Some(message) = messages.recv().await {
                match message {
                    ReplayMessage::Tablets { keyspace, exist } => {
                        tablets.set(&keyspace, exist, &on_shard);
                    }
                    ReplayMessage::Writes(writes) => tablets.apply(writes),
                    ReplayMessage::Begin(start) => {
                        return begin(on_shard, tablets.finish(), *start, on_panic);
                    }
                }
                on_shard.yield_now().await;
            }
        });
    });
}

fn begin(
    shard: Shard,
    tablets: BTreeMap<TabletId, Tablet>,
    start: ShardStart,
    on_panic: PanicSink,
) {
    let core = Core::new(shard, Arc::clone(&start.shared.core), tablets, on_panic);
    let state = ShardState::new(core, start.shared, start.mesh);
    state.start(start.mailbox);
    (start.begun)(&state);
}

struct ReplayTablets {
    tablets: BTreeMap<TabletId, Tablet>,
    memory: Arc<MemoryBudget>,
}

impl ReplayTablets {
    fn set(&mut self, keyspace: &Keyspace, exist: bool, shard: &Shard) {
        for tablet in keyspace.tablets() {
            if shard_of(tablet, shard.shard_count()) != shard.id() {
                continue;
            }
            if exist {
                self.tablets.entry(tablet).or_default();
            } else if let Some(dropped) = self.tablets.remove(&tablet) {
                self.memory.release(dropped.bytes());
            }
        }
    }

    /// No snapshot is older than what is replayed: only the newest version of a key stays.
    fn apply(&mut self, writes: Vec<ReplayWrite>) {
        let view = PruneView::new(Lsn::MAX, Vec::new());
        for write in writes {
            let Some(tablet) = self.tablets.get_mut(&write.tablet) else { continue };
            let value_len = write.value.as_ref().map_or(0, Bytes::len);
            let cost = version_cost_bytes(write.key.len(), value_len);
            self.memory.charge_unbounded(cost);
            let freed = tablet.apply(write.key, write.lsn, write.value, &view)
                + tablet.collect_garbage(&view, limits::GARBAGE_STEP_MAX);
            self.memory.release(freed);
        }
    }

    fn finish(self) -> BTreeMap<TabletId, Tablet> {
        self.tablets
    }
}

/// Routes replayed records to the shards.
pub(crate) struct ReplayFeed {
    pub(crate) router: Router,
    shards: Vec<MailboxSender<ReplayMessage>>,
    batches: Vec<Vec<ReplayWrite>>,
    /// Messages in order; a keyspace change comes after the writes that were logged before it.
    outbox: Vec<(usize, ReplayMessage)>,
    batch_bytes: Cell<usize>,
    memory: Arc<MemoryBudget>,
    dir: PathBuf,
}

impl ReplayFeed {
    pub(crate) fn new(
        shards: Vec<MailboxSender<ReplayMessage>>,
        memory: Arc<MemoryBudget>,
        dir: PathBuf,
    ) -> ReplayFeed {
        let batches = shards.iter().map(|_| Vec::new()).collect();
        ReplayFeed {
            router: Router::default(),
            shards,
            batches,
            outbox: Vec::new(),
            batch_bytes: Cell::new(0),
            memory,
            dir,
        }
    }

    fn change(&mut self, keyspace: &Keyspace, exist: bool) {
        self.flush_batches();
        for index in 0..self.shards.len() {
            let keyspace = keyspace.clone();
            self.outbox.push((index, ReplayMessage::Tablets { keyspace, exist }));
        }
    }

    fn flush_batches(&mut self) {
        for (index, batch) in self.batches.iter_mut().enumerate() {
            if !batch.is_empty() {
                self.outbox.push((index, ReplayMessage::Writes(std::mem::take(batch))));
            }
        }
        self.batch_bytes.set(0);
    }

    /// Tells every shard to begin.
    pub(crate) async fn begin(self, starts: Vec<ShardStart>) -> Result<(), OpenError> {
        for (sender, start) in self.shards.iter().zip(starts) {
            let sent = sender.send(ReplayMessage::Begin(Box::new(start))).await;
            sent.map_err(|_| lost_shard())?;
        }
        Ok(())
    }
}

fn lost_shard() -> OpenError {
    OpenError::RuntimeStopped { reason: "a shard stopped while it replayed".to_owned() }
}

impl ReplaySink for ReplayFeed {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        match record {
            Record::Pad => {}
            Record::CreateKeyspace(create) => {
                let (id, name) = (create.keyspace, create.name.to_owned());
                let keyspace = Keyspace::new(KeyspaceDef { id, name, routing: create.routing });
                self.change(&keyspace, true);
                self.router.insert(keyspace);
            }
            Record::DropKeyspace { keyspace, .. } => {
                if let Some(dropped) = self.router.get(keyspace).cloned() {
                    self.change(&dropped, false);
                    self.router.remove(keyspace);
                }
            }
            Record::Commit(commit) => {
                for write in commit.writes {
                    // A commit that raced with the drop of its keyspace lies behind the drop.
                    let Some(keyspace) = self.router.get(write.keyspace) else { continue };
                    let place = keyspace.place(write.key);
                    let shard = shard_of(place.tablet, self.shards.len());
                    let value = write.value.map(Bytes::copy_from_slice);
                    let bytes = place.window_key.len() + value.as_ref().map_or(0, Bytes::len);
                    self.batch_bytes.set(self.batch_bytes.get() + bytes);
                    let (tablet, key) = (place.tablet, place.window_key);
                    self.batches[shard.index()].push(ReplayWrite { tablet, key, lsn, value });
                }
                if self.batch_bytes.get() >= limits::REPLAY_BATCH_BYTES {
                    self.flush_batches();
                }
            }
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        self.flush_batches();
        for (index, message) in std::mem::take(&mut self.outbox) {
            self.shards[index].send(message).await.map_err(|_| lost_shard())?;
        }
        let (used, max) = (self.memory.used_bytes(), self.memory.max_bytes());
        if used > max {
            let needed_hint = format!("{}: open it with a larger budget", self.dir.display());
            return Err(OpenError::MemoryTooSmall { found: max, needed_hint });
        }
        Ok(())
    }
}
