//! One client: random transactions over few keys, each written down as the client sees it.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sombra::{
    BeginError, CommitError, Db, KeyRange, Keyspace, LockError, LockMode, LockOptions, LockWait,
    ReadError,
};

use super::dependent::Witness;
use super::plan::{Kind, Level, Plan, key_of};
use super::record::{Abort, Pen};
use crate::isolation::{Action, Hex, Isolation, KeyBound};
use crate::random::{Random, mix};
use crate::workload::{Session, Tx, yield_once};

/// A keyspace of the history.
#[derive(Clone)]
pub(super) struct Space {
    pub(super) kind: Kind,
    pub(super) keyspace: Keyspace,
}

/// What one client is made of.
pub(super) struct ClientOptions {
    pub(super) db: Db,
    pub(super) spaces: Vec<Space>,
    pub(super) plan: Arc<Plan>,
    pub(super) pen: Pen,
    pub(super) witness: Witness,
    pub(super) random: Random,
    pub(super) number: u32,
}

/// The store has stopped, or shows what must not be: the client goes home.
pub(super) struct End;

/// What became of one operation.
pub(super) enum Failed {
    TooOld,
    Conflict,
    End,
}

pub(super) struct Client {
    pub(super) options: ClientOptions,
    pub(super) session: Session,
    pub(super) random: Random,
    /// Whether the transaction at hand uses hot keys only.
    is_hot: bool,
}

/// A scan as it was asked for.
struct Range {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    is_reverse: bool,
    rows_max: usize,
}

impl Client {
    pub(super) fn new(options: ClientOptions, session: Session) -> Client {
        let random = options.random.clone();
        Client { options, session, random, is_hot: false }
    }

    /// Works until the store stops.
    pub(super) async fn run(mut self) {
        loop {
            self.is_hot = self.random.percent(self.options.plan.hot);
            let outcome = if self.random.percent(self.options.plan.blind) {
                self.blind().await
            } else if self.random.percent(self.options.plan.dependent) {
                self.dependent().await
            } else {
                self.transaction().await
            };
            if outcome.is_err() {
                break;
            }
            if self.random.percent(10) {
                yield_once().await;
            }
        }
    }

    /// One transaction from its begin to its answer.
    async fn transaction(&mut self) -> Result<(), End> {
        let plan = Arc::clone(&self.options.plan);
        let Some((number, tx)) = self.begin()? else { return Ok(()) };
        let writes = if self.random.percent(plan.read_only) { 0 } else { plan.writes };
        for _ in 0..self.random.between(1, plan.operations_max) {
            match self.operation(&tx, number, writes).await {
                Ok(()) => {}
                Err(failed) => {
                    tx.rollback();
                    let (abort, outcome) = match failed {
                        Failed::TooOld => (Abort::TooOld, Ok(())),
                        Failed::Conflict => (Abort::Conflict, Ok(())),
                        Failed::End => (Abort::Stopped, Err(End)),
                    };
                    self.options.pen.aborted(number, abort);
                    return outcome;
                }
            }
            if !self.is_hot && self.random.percent(plan.holds) {
                let count = self.random.between(1, plan.held_for_max);
                self.options.pen.hold(count, plan.clients / 2).await;
            }
        }
        if self.random.percent(plan.rollbacks) {
            tx.rollback();
            self.options.pen.aborted(number, Abort::Rollback);
            return Ok(());
        }
        let relaxed = self.random.percent(plan.relaxed);
        if relaxed {
            tx.relax();
        }
        self.options.pen.committing(number);
        let answer = tx.commit().await;
        self.answered(number, answer.map(|committed| committed.lsn().as_u64()), !relaxed)
    }

    /// One transaction that sees every key, and nothing else.
    pub(super) async fn look_at_all(&mut self) -> Result<(), End> {
        let Some((number, tx)) = self.begin()? else { return Ok(()) };
        for space in self.options.spaces.clone() {
            let (from, to) = (Bound::Unbounded, Bound::Unbounded);
            let all = Range { from, to, is_reverse: false, rows_max: usize::MAX };
            self.scan(&tx, number, &space, all).await.map_err(|_| End)?;
        }
        self.options.pen.committing(number);
        let answer = tx.commit().await;
        self.answered(number, answer.map(|committed| committed.lsn().as_u64()), true)
    }

    fn begin(&mut self) -> Result<Option<(u64, Tx)>, End> {
        let plan = &self.options.plan;
        let isolation = plan.level.next(&mut self.random);
        let recorded = match (plan.level, isolation) {
            (Level::Mislabelled, _) | (_, sombra::Isolation::Serializable) => {
                Isolation::Serializable
            }
            (_, sombra::Isolation::Snapshot) => Isolation::Snapshot,
        };
        let begin_ns = self.options.pen.now_ns();
        match self.session.begin(isolation) {
            Ok(tx) => {
                let (client, merges) = (self.options.number, merges(&self.options.db));
                Ok(Some((self.options.pen.begin(client, recorded, begin_ns, merges), tx)))
            }
            Err(BeginError::TooManySnapshots { .. }) => Ok(None),
            Err(BeginError::Poisoned { .. } | BeginError::Closed) => Err(End),
            Err(error) => Err(self.broken(format!("begin: {error}"))),
        }
    }

    async fn operation(&mut self, tx: &Tx, number: u64, writes: u64) -> Result<(), Failed> {
        let plan = Arc::clone(&self.options.plan);
        let space = self.random.pick(&self.options.spaces).clone();
        if self.random.percent(plan.detours) {
            self.detour(tx, &space)?;
        }
        if self.random.percent(plan.locks) {
            return self.locked(tx, number, &space, writes).await;
        }
        if self.random.percent(writes) {
            let (key, value) = self.draw_write();
            return self.write(tx, number, &space, (key, value));
        }
        if self.random.percent(plan.scans) {
            let range = self.draw_range(space.kind);
            return self.scan(tx, number, &space, range).await;
        }
        let key = key_of(plan.key(&mut self.random, self.is_hot));
        self.read(tx, number, &space, key).await
    }

    /// Locks a key, reads it, and perhaps writes it.
    async fn locked(
        &mut self,
        tx: &Tx,
        number: u64,
        space: &Space,
        writes: u64,
    ) -> Result<(), Failed> {
        let (key, value) = self.draw_write();
        let is_shared = self.random.percent(30);
        let mode = if is_shared { LockMode::Shared } else { LockMode::Exclusive };
        let most_us = self.random.scale(1, self.options.plan.lock_wait_us_max);
        let wait = match self.random.percent(20) {
            true => LockWait::No,
            false => LockWait::AtMost(Duration::from_micros(most_us)),
        };
        match tx.lock(&space.keyspace, &key, LockOptions { mode, wait }).await {
            Ok(()) | Err(LockError::Busy { .. } | LockError::TimedOut { .. }) => {}
            Err(error) if error.is_retryable() => return Err(Failed::Conflict),
            Err(LockError::Read(error)) => return Err(self.failed(&error)),
            Err(error) => {
                self.broken(format!("lock: {error}"));
                return Err(Failed::End);
            }
        }
        self.read(tx, number, space, key.clone()).await?;
        match self.random.percent(writes) {
            true => self.write(tx, number, space, (key, value)),
            false => Ok(()),
        }
    }

    /// Writes what nobody may ever see, and goes back to before.
    fn detour(&mut self, tx: &Tx, space: &Space) -> Result<(), Failed> {
        let written = tx.savepoint().and_then(|savepoint| {
            for _ in 0..self.random.between(1, 3) {
                let (key, value) = self.draw_write();
                match value {
                    Some(value) => tx.put(&space.keyspace, &key, self.bytes_of(value))?,
                    None => tx.delete(&space.keyspace, &key)?,
                }
            }
            tx.rollback_to(&savepoint)
        });
        written.map_err(|error| {
            self.broken(format!("savepoint: {error}"));
            Failed::End
        })
    }

    async fn read(
        &mut self,
        tx: &Tx,
        number: u64,
        space: &Space,
        key: Vec<u8>,
    ) -> Result<(), Failed> {
        let begin_ns = self.options.pen.now_ns();
        let value = tx.get(&space.keyspace, &key).await.map_err(|error| self.failed(&error))?;
        let value = value.map(|value| self.value_of(&value)).transpose()?;
        let keyspace = space.kind.name().to_owned();
        let action = Action::Read { keyspace, key: Hex::of(&key), value };
        self.options.pen.note(number, begin_ns, action);
        Ok(())
    }

    pub(super) fn draw_key(&mut self) -> Vec<u8> {
        key_of(self.options.plan.key(&mut self.random, self.is_hot))
    }

    /// A key and the number of the value it gets; none: it is deleted.
    fn draw_write(&mut self) -> (Vec<u8>, Option<u64>) {
        let key = self.draw_key();
        let deletes = self.random.percent(self.options.plan.deletes);
        (key, (!deletes).then(|| self.options.pen.next_value()))
    }

    fn write(
        &mut self,
        tx: &Tx,
        number: u64,
        space: &Space,
        (key, value): (Vec<u8>, Option<u64>),
    ) -> Result<(), Failed> {
        let begin_ns = self.options.pen.now_ns();
        let written = match value {
            Some(value) => {
                let bytes = self.bytes_of(value);
                tx.put(&space.keyspace, &key, bytes)
            }
            None => tx.delete(&space.keyspace, &key),
        };
        if let Err(error) = written {
            self.broken(format!("write: {error}"));
            return Err(Failed::End);
        }
        self.options.pen.note(number, begin_ns, written_action(space, &key, value));
        Ok(())
    }

    /// A range whose rows come in key order as far as they are taken: a hash keyspace has that
    /// order under one prefix only, and is otherwise scanned to its end.
    fn draw_range(&mut self, kind: Kind) -> Range {
        let is_reverse = self.random.percent(40);
        let rows_max = match self.random.percent(40) {
            true => self.random.between(1, 5) as usize,
            false => usize::MAX,
        };
        let mut keys = [0, 0].map(|_| self.options.plan.key(&mut self.random, self.is_hot));
        keys.sort_unstable();
        let [mut from, to] = keys.map(key_of);
        let (from, to, rows_max) = match kind {
            Kind::Hash if self.random.percent(50) => {
                (Bound::Unbounded, Bound::Unbounded, usize::MAX)
            }
            Kind::Hash => {
                from[0] = to[0];
                from[1] = from[1].min(to[1]);
                (self.draw_included(from), self.draw_included(to), rows_max)
            }
            Kind::Range => (self.draw_bound(from), self.draw_bound(to), rows_max),
        };
        Range { from, to, is_reverse, rows_max }
    }

    fn draw_included(&mut self, key: Vec<u8>) -> Bound<Vec<u8>> {
        if self.random.percent(50) { Bound::Included(key) } else { Bound::Excluded(key) }
    }

    fn draw_bound(&mut self, key: Vec<u8>) -> Bound<Vec<u8>> {
        if self.random.percent(30) { Bound::Unbounded } else { self.draw_included(key) }
    }

    async fn scan(
        &mut self,
        tx: &Tx,
        number: u64,
        space: &Space,
        range: Range,
    ) -> Result<(), Failed> {
        let Range { mut from, mut to, is_reverse, rows_max } = range;
        let begin_ns = self.options.pen.now_ns();
        let asked = KeyRange::new(from.clone(), to.clone());
        let scanned = tx.rows(&space.keyspace, asked, is_reverse, rows_max).await;
        let (found, is_whole) = scanned.map_err(|error| self.failed(&error))?;
        if let Some((last, _)) = found.last().filter(|_| !is_whole) {
            let reached = Bound::Included(last.to_vec());
            *(if is_reverse { &mut from } else { &mut to }) = reached;
        }
        let mut rows = Vec::new();
        for (key, value) in &found {
            rows.push((Hex::of(key), self.value_of(value)?));
        }
        let keyspace = space.kind.name().to_owned();
        let action = Action::Scan { keyspace, from: recorded(&from), to: recorded(&to), rows };
        self.options.pen.note(number, begin_ns, action);
        Ok(())
    }

    /// One write without a transaction around it: one that read nothing.
    async fn blind(&mut self) -> Result<(), End> {
        let space = self.random.pick(&self.options.spaces).clone();
        let (key, value) = self.draw_write();
        let (number, _) = self.begin_write(&space, &key, value);
        let answer = match value {
            Some(value) => {
                let bytes = self.bytes_of(value);
                self.session.put(&space.keyspace, &key, bytes).await
            }
            None => self.session.delete(&space.keyspace, &key).await,
        };
        self.answered(number, answer.map(|lsn| lsn.as_u64()), true)
    }

    /// Writes down the one write of a transaction of its own that is about to be sent. Returns its
    /// number, and when it began.
    pub(super) fn begin_write(&self, space: &Space, key: &[u8], value: Option<u64>) -> (u64, u64) {
        let pen = &self.options.pen;
        let (begin_ns, merges) = (pen.now_ns(), merges(&self.options.db));
        let number = pen.begin(self.options.number, Isolation::Serializable, begin_ns, merges);
        pen.note(number, begin_ns, written_action(space, key, value));
        pen.committing(number);
        (number, begin_ns)
    }

    pub(super) fn answered(
        &self,
        number: u64,
        answer: Result<u64, CommitError>,
        is_durable: bool,
    ) -> Result<(), End> {
        let pen = &self.options.pen;
        let error = match answer {
            Ok(lsn) => {
                pen.committed(number, lsn, is_durable, merges(&self.options.db));
                return Ok(());
            }
            Err(error) => error,
        };
        let abort = match error {
            CommitError::Unknown { .. } | CommitError::Closed => {
                pen.unknown(number);
                return Err(End);
            }
            CommitError::Conflict { .. } => Abort::Conflict,
            CommitError::SnapshotTooOld { .. } => Abort::TooOld,
            CommitError::MemoryFull { .. }
            | CommitError::LogFull { .. }
            | CommitError::DiskFull { .. } => Abort::NoRoom,
            CommitError::Poisoned { .. } => Abort::Stopped,
            other => {
                self.broken(format!("commit: {other}"));
                Abort::Stopped
            }
        };
        pen.aborted(number, abort);
        if abort == Abort::Stopped { Err(End) } else { Ok(()) }
    }

    fn failed(&self, error: &ReadError) -> Failed {
        match error {
            ReadError::SnapshotTooOld { .. } => return Failed::TooOld,
            ReadError::Poisoned { .. } | ReadError::Closed => {}
            other => drop(self.broken(format!("read: {other}"))),
        }
        Failed::End
    }

    fn broken(&self, what: String) -> End {
        self.options.pen.broken(what);
        End
    }

    /// The number, and what pads it, which follows from the number.
    pub(super) fn bytes_of(&mut self, value: u64) -> Vec<u8> {
        let (low, high) = self.options.plan.value_bytes.clone().into_inner();
        let len = self.random.between(low, high) as usize;
        let mut bytes = vec![padding(value); len];
        bytes[..8].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    /// The number that a value names.
    pub(super) fn value_of(&self, bytes: &Bytes) -> Result<Hex, Failed> {
        let number = bytes.first_chunk::<8>().map(|number| u64::from_be_bytes(*number));
        match number {
            Some(number) if bytes[8..].iter().all(|byte| *byte == padding(number)) => {
                Ok(Hex::of(&bytes[..8]))
            }
            _ => {
                self.broken(format!("a value of {} bytes that nobody wrote", bytes.len()));
                Err(Failed::End)
            }
        }
    }
}

fn padding(value: u64) -> u8 {
    mix(value) as u8
}

fn written_action(space: &Space, key: &[u8], value: Option<u64>) -> Action {
    let value = value.map(|value| Hex::of(&value.to_be_bytes()));
    Action::Write { keyspace: space.kind.name().to_owned(), key: Hex::of(key), value }
}

fn recorded(bound: &Bound<Vec<u8>>) -> KeyBound {
    match bound {
        Bound::Included(key) => KeyBound::Included(Hex::of(key)),
        Bound::Excluded(key) => KeyBound::Excluded(Hex::of(key)),
        Bound::Unbounded => KeyBound::Unbounded,
    }
}

fn merges(db: &Db) -> u64 {
    db.metrics().value("sombra_merges_total") as u64
}
