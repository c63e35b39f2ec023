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
use crate::keyspace::{Keyspace, KeyspaceDef, Router, place_by_size};
use crate::limits;
use crate::memory::MemoryBudget;
use crate::merge::PublishRequest;
use crate::recovery::{DataFile, LoadedTablet, ReplaySink};
use crate::tablet::{Tablet, TreeState};
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
    pub(crate) publisher: MailboxSender<PublishRequest>,
    pub(crate) begun: Job,
}

/// What shard 0 tells a replaying shard, in order.
pub(crate) enum ReplayMessage {
    /// What the root table says of this shard's tablets.
    Loaded(Vec<(TabletId, LoadedTablet)>),
    Tablets {
        keyspace: Keyspace,
        exist: bool,
        page_size_bytes: u32,
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
            let mut tablets =
                ReplayTablets { tablets: BTreeMap::new(), dropped: Vec::new(), memory };
            while let Some(message) = messages.recv().await {
                match message {
                    ReplayMessage::Tablets { keyspace, exist, page_size_bytes } => {
                        tablets.set(&keyspace, (exist, page_size_bytes), &on_shard);
                    }
                    ReplayMessage::Loaded(loaded) => tablets.load(loaded),
                    ReplayMessage::Writes(writes) => tablets.apply(writes),
                    ReplayMessage::Begin(start) => {
                        return begin(on_shard, tablets, *start, on_panic);
                    }
                }
                on_shard.yield_now().await;
            }
        });
    });
}

fn begin(shard: Shard, replayed: ReplayTablets, start: ShardStart, on_panic: PanicSink) {
    let ReplayTablets { tablets, dropped, .. } = replayed;
    for tablet in tablets.values().filter(|tablet| tablet.damage().is_some()) {
        // It pins the log and cannot be merged: nobody must wait for that.
        start.shared.core.set_damaged(tablet.window_bytes());
    }
    let core = Core::new(shard, Arc::clone(&start.shared.core), (tablets, dropped), on_panic);
    let store = Arc::clone(&start.shared.core);
    let state = match ShardState::new(core, start.shared, start.mesh) {
        Ok(state) => state,
        // The opening finds the reason where it waits for `begun`.
        Err(error) => return store.stop(&format!("memory for the page cache: {error}")),
    };
    state.start(start.mailbox, start.publisher);
    (start.begun)(&state);
}

struct ReplayTablets {
    tablets: BTreeMap<TabletId, Tablet>,
    dropped: Vec<Tablet>,
    memory: Arc<MemoryBudget>,
}

impl ReplayTablets {
    fn load(&mut self, loaded: Vec<(TabletId, LoadedTablet)>) {
        for (id, LoadedTablet { parts, twin_pages, damage }) in loaded {
            let mut tree = TreeState::new(parts);
            for (pages, until) in twin_pages {
                tree.pin_twin(pages, until);
            }
            let mut tablet = Tablet::new(id, tree, &self.memory);
            if let Some(reason) = damage {
                tablet.set_damage(reason);
            }
            self.tablets.insert(id, tablet);
        }
    }

    fn set(&mut self, keyspace: &Keyspace, (exist, page_size): (bool, u32), shard: &Shard) {
        for id in keyspace.tablets() {
            if keyspace.owner(id, shard.shard_count()) != shard.id() {
                continue;
            }
            if exist {
                let tree = TreeState::empty(keyspace.created_lsn(), page_size);
                let new = || Tablet::new(id, tree, &self.memory);
                self.tablets.entry(id).or_insert_with(new);
            } else {
                self.dropped.extend(self.tablets.remove(&id));
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
}

/// Routes replayed records to the shards.
pub(crate) struct ReplayFeed {
    pub(crate) router: Router,
    /// What the trees hold is not replayed again.
    merge_lsns: BTreeMap<TabletId, Lsn>,
    page_size_bytes: u32,
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
            merge_lsns: BTreeMap::new(),
            page_size_bytes: limits::PAGE_SIZE_BYTES_DEFAULT,
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
            let page_size_bytes = self.page_size_bytes;
            let message = ReplayMessage::Tablets { keyspace, exist, page_size_bytes };
            self.outbox.push((index, message));
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

    /// Once all is replayed: drops what only a log that was cut lets come back.
    pub(crate) async fn drop_older_namesakes(&mut self) -> Result<(), OpenError> {
        for keyspace in self.router.older_namesakes() {
            self.change(&keyspace, false);
            self.router.remove(keyspace.id());
        }
        self.settle().await
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
    fn begin(&mut self, page_size_bytes: u32, data: Option<&mut DataFile>) {
        self.page_size_bytes = page_size_bytes;
        let Some(data) = data else { return };
        let shard_count = self.shards.len();
        self.router.note_last_id(data.last_keyspace);
        for keyspace in place_by_size(&data.keyspaces, shard_count) {
            self.router.insert(keyspace);
        }
        let mut by_shard: Vec<Vec<(TabletId, LoadedTablet)>> =
            (0..shard_count).map(|_| Vec::new()).collect();
        for (id, tablet) in std::mem::take(&mut data.tablets) {
            let Some(keyspace) = self.router.get(id.keyspace) else { continue };
            self.merge_lsns.insert(id, tablet.parts.merge_lsn);
            by_shard[keyspace.owner(id, shard_count).index()].push((id, tablet));
        }
        for (index, tablets) in by_shard.into_iter().enumerate() {
            self.outbox.push((index, ReplayMessage::Loaded(tablets)));
        }
    }

    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        match record {
            Record::Pad => {}
            Record::CreateKeyspace(create) => {
                let (id, name) = (create.keyspace, create.name.to_owned());
                if self.router.get(id).is_some() {
                    // The root table has it already.
                    return Ok(());
                }
                let (routing, created_lsn) = (create.routing, lsn);
                let keyspace = Keyspace::new(KeyspaceDef { id, name, routing, created_lsn });
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
                    if self.merge_lsns.get(&place.tablet).is_some_and(|&merged| lsn <= merged) {
                        continue;
                    }
                    let shard = keyspace.owner(place.tablet, self.shards.len());
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
        let (used, max) = (self.memory.used_bytes(), self.memory.replay_max_bytes());
        if used > max {
            let needed_hint = format!("{}: open it with a larger budget", self.dir.display());
            return Err(OpenError::MemoryTooSmall { found: max, needed_hint });
        }
        Ok(())
    }
}
