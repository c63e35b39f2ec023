//! Does the steps of one life and notes every reply.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sombra::{
    CommitError, Db, Durability, KeyRange, Keyspace, KeyspaceError, Lsn, ReadError, Snapshot,
};
use sombra_runtime::sim::SimClients;

use super::injector::Injector;
use super::kind::Control;
use super::report::{Replies, Reply, WorkReport};
use super::script::{self, KEYS, Step};
use crate::model::{
    Event, Found, Intent, KeyId, Recorder, Shared, SpaceId, TxnId, Write, decode, encode,
    key_bytes, key_index,
};

/// What is known of a life while it is lived.
#[derive(Default)]
pub(super) struct Sheet {
    /// Grows with everything that ends.
    pub(super) progress: u64,
    pub(super) is_done: bool,
    pub(super) is_open: bool,
    pub(super) replies: Replies,
    pub(super) work: WorkReport,
    pub(super) refused_to_open: u64,
    pub(super) poisoned: u64,
    pub(super) findings: Vec<String>,
}

pub(super) type SharedSheet = Rc<RefCell<Sheet>>;

/// The store has stopped.
pub(super) struct Stopped;

pub(super) struct Worker {
    pub(super) db: Db,
    pub(super) clients: SimClients,
    pub(super) history: Shared,
    pub(super) sheet: SharedSheet,
    /// `None`: nothing fails any more, so no reply but success is right.
    pub(super) injector: Option<Injector>,
    pub(super) life: u32,
    pub(super) sequence: u32,
    floor: u64,
    spaces: BTreeMap<SpaceId, Keyspace>,
    /// Those of which nobody knows whether they were made or dropped.
    doubtful: BTreeSet<SpaceId>,
    held: Option<Snapshot>,
}

impl Worker {
    pub(super) fn new(
        (db, clients): (Db, SimClients),
        history: Shared,
        sheet: SharedSheet,
        (injector, life): (Option<Injector>, u32),
    ) -> Worker {
        let live = history.with(|history| history.live_spaces());
        let found = |(name, id): (&String, &SpaceId)| Some((*id, db.keyspace(name)?));
        let spaces = live.iter().filter_map(found).collect();
        let floor = history.with(|history| history.acknowledged_lsn());
        let (doubtful, held) = (BTreeSet::new(), None);
        let sequence = 0;
        Worker {
            db,
            clients,
            history,
            sheet,
            injector,
            life,
            sequence,
            floor,
            spaces,
            doubtful,
            held,
        }
    }

    pub(super) fn finding(&self, what: String) {
        self.sheet.borrow_mut().findings.push(what);
    }

    fn record(&self, event: Event) {
        self.history.record(event);
    }

    /// Whether the case's failure has happened.
    fn is_hit(&self) -> bool {
        self.injector.as_ref().is_some_and(Injector::is_hit)
    }

    /// Takes note of a reply, which must be one that the failure explains.
    pub(super) fn note(&self, reply: Reply, text: &str) -> Result<(), Stopped> {
        self.sheet.borrow_mut().replies.add(reply);
        let case = self.injector.as_ref().filter(|_| self.is_hit()).map(|i| i.case);
        let is_allowed = case.map_or(reply == Reply::Done, |case| case.allows(reply));
        if !is_allowed {
            self.finding(format!("life {}: reply {reply:?}: {text}", self.life));
        }
        if !matches!(reply, Reply::Unknown | Reply::Poisoned) {
            return Ok(());
        }
        if self.db.poison_reason().is_none() {
            self.finding(format!("reply {reply:?} of a store that has not stopped: {text}"));
        }
        Err(Stopped)
    }

    pub(super) async fn step(&mut self, step: &Step) -> Result<(), Stopped> {
        let outcome = match step {
            Step::Create(space) => self.create(*space).await,
            Step::Drop(space) => self.drop_space(*space).await,
            Step::Put(key, len) => self.put(*key, Some(*len)).await,
            Step::Delete(key) => self.put(*key, None).await,
            Step::Commit { writes, relaxed } => self.commit(writes, *relaxed).await,
            Step::Hold => self.hold().await,
            Step::Reread => self.reread().await,
            Step::Release => {
                self.held = None;
                Ok(())
            }
            Step::Get(key) => self.get(*key).await,
            Step::Scan(space) => self.scan(*space).await,
            Step::Pause(ms) => {
                self.clients.sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
        };
        self.sheet.borrow_mut().progress += 1;
        outcome
    }

    /// Nothing is held up by this worker any more.
    pub(super) fn into_db(self) -> Db {
        self.db
    }

    async fn create(&mut self, space: SpaceId) -> Result<(), Stopped> {
        let name = script::name(space);
        if self.db.keyspace(name).is_some() {
            return Ok(());
        }
        self.record(Event::SpaceCreating { space, name: name.to_owned() });
        match self.db.create_keyspace(name, script::routing(space)).await {
            Ok(keyspace) => {
                self.record(Event::SpaceCreated { space });
                self.spaces.insert(space, keyspace);
                self.note(Reply::Done, "")
            }
            Err(error) => {
                let reply = reply_of_keyspace(&error);
                self.note_refusal((space, reply), Event::SpaceCreateRefused { space });
                self.note(reply, &format!("create {name}: {error}"))
            }
        }
    }

    /// A change of a keyspace was refused, unless an earlier attempt at it may have happened.
    fn note_refusal(&mut self, (space, reply): (SpaceId, Reply), refused: Event) {
        if reply == Reply::Unknown {
            self.doubtful.insert(space);
        } else if !self.doubtful.contains(&space) {
            self.record(refused);
        }
    }

    async fn drop_space(&mut self, space: SpaceId) -> Result<(), Stopped> {
        let Some(keyspace) = self.spaces.get(&space).cloned() else { return Ok(()) };
        self.record(Event::SpaceDropping { space });
        match self.db.drop_keyspace(&keyspace).await {
            Ok(()) => {
                self.spaces.remove(&space);
                self.record(Event::SpaceDropped { space });
                self.note(Reply::Done, "")
            }
            Err(error) => {
                let reply = reply_of_keyspace(&error);
                self.note_refusal((space, reply), Event::SpaceDropRefused { space });
                self.note(reply, &format!("drop {}: {error}", script::name(space)))
            }
        }
    }

    fn intend(&mut self, snapshot: Option<u64>, relaxed: bool, writes: Vec<Write>) -> Intent {
        self.sequence += 1;
        let id = TxnId::new(self.life, 0, self.sequence);
        let intent = Intent { id, snapshot, floor: self.floor, relaxed, writes };
        self.record(Event::Intent(intent.clone()));
        intent
    }

    fn answered(&mut self, id: TxnId, answer: Result<Lsn, CommitError>) -> Result<(), Stopped> {
        let error = match answer {
            Ok(lsn) => {
                let lsn = lsn.as_u64();
                self.floor = self.floor.max(lsn);
                self.record(Event::Acknowledged { id, lsn });
                return self.note(Reply::Done, "");
            }
            Err(error) => error,
        };
        let reply = reply_of_commit(&error);
        let is_control = |i: &Injector| i.is_control(Control::ReplyMisreported);
        if reply == Reply::Poisoned && self.injector.as_ref().is_some_and(is_control) {
            self.record(Event::Acknowledged { id, lsn: self.floor + 1 });
        } else if reply == Reply::Unknown {
            self.record(Event::Doubtful { id });
        } else {
            self.record(Event::Refused { id });
        }
        self.note(reply, &format!("commit: {error}"))
    }

    async fn put(&mut self, key: KeyId, len: Option<u32>) -> Result<(), Stopped> {
        let Some(keyspace) = self.spaces.get(&key.space).cloned() else { return Ok(()) };
        let intent = self.intend(None, false, vec![Write { key, value_len: len }]);
        let name = key_bytes(key.index);
        let answer = match intent.stamp(0) {
            Some(stamp) => self.db.put(&keyspace, &name, encode(stamp)).await,
            None => self.db.delete(&keyspace, &name).await,
        };
        self.answered(intent.id, answer)
    }

    async fn commit(&mut self, writes: &[Write], relaxed: bool) -> Result<(), Stopped> {
        if writes.iter().any(|write| !self.spaces.contains_key(&write.key.space)) {
            return Ok(());
        }
        let tx = match self.db.begin() {
            Ok(tx) => tx,
            Err(error) => return self.note(Reply::Poisoned, &format!("begin: {error}")),
        };
        let snapshot = tx.snapshot_lsn().as_u64();
        let read = writes[0].key;
        let value = tx.get(&self.spaces[&read.space], key_bytes(read.index)).await;
        if !self.read(snapshot, read, value)? {
            return Ok(());
        }
        let mut each_once: Vec<Write> = Vec::new();
        for write in writes {
            if each_once.iter().all(|other| other.key != write.key) {
                each_once.push(*write);
            }
        }
        let intent = self.intend(Some(snapshot), relaxed, each_once);
        for (index, write) in intent.writes.iter().enumerate() {
            let (keyspace, key) = (&self.spaces[&write.key.space], key_bytes(write.key.index));
            let taken = match intent.stamp(index) {
                Some(stamp) => tx.put(keyspace, &key, encode(stamp)),
                None => tx.delete(keyspace, &key),
            };
            if let Err(error) = taken {
                self.finding(format!("write into a transaction: {error}"));
            }
        }
        if relaxed {
            tx.durability(Durability::Async);
        }
        let answer = tx.commit().await;
        self.answered(intent.id, answer.map(|committed| committed.lsn()))
    }

    /// Reports a read; tells whether it showed anything.
    fn read(
        &self,
        snapshot: u64,
        key: KeyId,
        value: Result<Option<Bytes>, ReadError>,
    ) -> Result<bool, Stopped> {
        match value {
            Ok(value) => {
                let found = value.map_or(Found::Absent, |bytes| decode(&bytes));
                self.record(Event::Read { snapshot, key, found });
                self.note(Reply::Done, "").map(|()| true)
            }
            Err(error) => {
                let text = format!("read: {error}");
                self.note(reply_of_read(&error), &text).map(|()| false)
            }
        }
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, Stopped> {
        match self.db.snapshot() {
            Ok(view) => Ok(Some(view)),
            Err(error) => self.note(Reply::Poisoned, &format!("snapshot: {error}")).map(|()| None),
        }
    }

    async fn get(&self, key: KeyId) -> Result<(), Stopped> {
        let Some(keyspace) = self.spaces.get(&key.space) else { return Ok(()) };
        let Some(view) = self.snapshot()? else { return Ok(()) };
        let value = view.get(keyspace, key_bytes(key.index)).await;
        self.read(view.lsn().as_u64(), key, value).map(drop)
    }

    async fn scan(&self, space: SpaceId) -> Result<(), Stopped> {
        match self.snapshot()? {
            Some(view) => self.scan_view(&view, space).await,
            None => Ok(()),
        }
    }

    /// Every key of the keyspace, there or not, is judged.
    async fn scan_view(&self, view: &Snapshot, space: SpaceId) -> Result<(), Stopped> {
        let Some(keyspace) = self.spaces.get(&space) else { return Ok(()) };
        let rows = match view.scan(keyspace, KeyRange::all()).collect().await {
            Ok(rows) => rows,
            Err(error) => return self.note(reply_of_read(&error), &format!("scan: {error}")),
        };
        let mut shown: BTreeMap<u32, Found> = BTreeMap::new();
        for (key, value) in rows {
            match key_index(&key) {
                Some(index) => drop(shown.insert(index, decode(&value))),
                None => self.finding(format!("foreign key {}", key.escape_ascii())),
            }
        }
        let snapshot = view.lsn().as_u64();
        for index in 0..KEYS {
            let found = shown.get(&index).copied().unwrap_or(Found::Absent);
            self.record(Event::Read { snapshot, key: KeyId { space, index }, found });
        }
        self.note(Reply::Done, "")
    }

    async fn hold(&mut self) -> Result<(), Stopped> {
        self.held = self.snapshot()?;
        self.reread().await
    }

    async fn reread(&mut self) -> Result<(), Stopped> {
        let Some(view) = self.held.take() else { return Ok(()) };
        let outcome = self.scan_view(&view, script::SPLIT).await;
        self.held = Some(view);
        outcome
    }
}

fn reply_of_commit(error: &CommitError) -> Reply {
    match error {
        CommitError::Unknown { .. } => Reply::Unknown,
        CommitError::Poisoned { .. } => Reply::Poisoned,
        CommitError::DiskFull { .. } => Reply::DiskFull,
        CommitError::LogFull { .. } => Reply::LogFull,
        CommitError::MemoryFull { .. } => Reply::MemoryFull,
        CommitError::SnapshotTooOld { .. } => Reply::TooOld,
        CommitError::Damaged { .. } => Reply::Damaged,
        _ => Reply::Other,
    }
}

fn reply_of_keyspace(error: &KeyspaceError) -> Reply {
    match error {
        KeyspaceError::Commit(error) => reply_of_commit(error),
        _ => Reply::Other,
    }
}

fn reply_of_read(error: &ReadError) -> Reply {
    match error {
        ReadError::Device { .. } => Reply::Device,
        ReadError::Damaged { .. } => Reply::Damaged,
        ReadError::SnapshotTooOld { .. } => Reply::TooOld,
        ReadError::Poisoned { .. } => Reply::Poisoned,
        _ => Reply::Other,
    }
}
