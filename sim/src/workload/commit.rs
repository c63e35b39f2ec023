//! Transactions and auto-commits, each announced before it is committed and answered after.

use std::future::{Future, poll_fn};
use std::task::Poll;

use bytes::Bytes;
use sombra::{CommitError, Isolation, Keyspace};

use super::client::{Client, End};
use super::keyspaces::Space;
use super::session::Tx;
use super::tally::Tally;
use crate::model::{Event, Found, Intent, KeyId, SpaceId, TxnId, Write, encode, key_bytes};

impl Client {
    fn next_id(&mut self) -> TxnId {
        self.sequence += 1;
        TxnId::new(self.options.life, self.options.client, self.sequence)
    }

    /// One transaction over `spaces`: a few reads, the writes, and usually a commit.
    pub(super) async fn transaction(&mut self, spaces: &[Space]) -> Result<(), End> {
        let floor = self.options.tally.floor();
        let isolation = match self.random.percent(self.options.mix.serializable_percent) {
            true => Isolation::Serializable,
            false => Isolation::Snapshot,
        };
        let tx = match self.session.begin(isolation) {
            Ok(tx) => tx,
            Err(error) => return self.begin_end(&error),
        };
        let snapshot = tx.snapshot_lsn().as_u64();
        for _ in 0..self.random.below(3) {
            let space = self.random.pick(spaces).clone();
            let key = KeyId { space: space.id, index: self.options.mix.key(&mut self.random) };
            let value = tx.get(&space.keyspace, &key_bytes(key.index)).await;
            self.record_read(snapshot, key, value)?;
        }
        let ids: Vec<SpaceId> = spaces.iter().map(|space| space.id).collect();
        let writes = self.options.mix.writes(&mut self.random, &ids);
        let relaxed = self.random.percent(self.options.mix.relaxed_percent);
        let id = self.next_id();
        let intent = Intent { id, snapshot: Some(snapshot), floor, relaxed, writes };
        self.fill(&tx, &intent, spaces).await?;
        if relaxed {
            tx.relax();
        }
        self.record(Event::Intent(intent));
        if self.random.percent(self.options.mix.rollback_percent) {
            tx.rollback();
            self.record(Event::Refused { id });
            return Ok(());
        }
        let commit = tx.commit();
        let answer = match self.random.percent(self.options.mix.abandon_percent) {
            true => until_pending(commit).await,
            false => Some(commit.await),
        };
        self.answered(id, answer.map(|answer| answer.map(|committed| committed.lsn().as_u64())))
    }

    /// Puts the writes into the transaction and reads one of them back.
    async fn fill(&mut self, tx: &Tx, intent: &Intent, spaces: &[Space]) -> Result<(), End> {
        let mut shards = Vec::new();
        for (index, write) in intent.writes.iter().enumerate() {
            let keyspace = keyspace_of(spaces, *write);
            let key = key_bytes(write.key.index);
            shards.push(self.options.db.shard_of(keyspace, &key));
            let written = match intent.stamp(index) {
                Some(stamp) => tx.put(keyspace, &key, encode(stamp)),
                None => tx.delete(keyspace, &key),
            };
            written.map_err(|error| self.broken(format!("write: {error}")))?;
        }
        Tally::add(&self.options.tally.transactions);
        if shards.iter().any(|shard| *shard != shards[0]) {
            Tally::add(&self.options.tally.cross_shard);
        }
        let index = self.random.below(intent.writes.len() as u64) as usize;
        let write = intent.writes[index];
        let own = tx.get(keyspace_of(spaces, write), &key_bytes(write.key.index)).await;
        let own = own.map_err(|error| self.read_end(&error))?;
        if found_in(own.as_ref()) != intent.stamp(index).map_or(Found::Absent, Found::Value) {
            return Err(self.broken(format!("{} does not read its own write", intent.id)));
        }
        Ok(())
    }

    /// One write without a transaction around it.
    pub(super) async fn auto_commit(&mut self) -> Result<(), End> {
        let space = self.random.pick(&self.options.spaces).clone();
        let write = self.options.mix.write(&mut self.random, &[space.id]);
        let (id, floor) = (self.next_id(), self.options.tally.floor());
        let intent = Intent { id, snapshot: None, floor, relaxed: false, writes: vec![write] };
        let stamp = intent.stamp(0);
        self.record(Event::Intent(intent));
        let key = key_bytes(write.key.index);
        let answer = match stamp {
            Some(stamp) => self.session.put(&space.keyspace, &key, encode(stamp)).await,
            None => self.session.delete(&space.keyspace, &key).await,
        };
        self.answered(id, Some(answer.map(|lsn| lsn.as_u64())))
    }

    /// Passes an answer on. No answer means that the client did not wait for it.
    fn answered(&self, id: TxnId, answer: Option<Result<u64, CommitError>>) -> Result<(), End> {
        let tally = &self.options.tally;
        let error = match answer {
            None => {
                self.record(Event::Doubtful { id });
                return Ok(());
            }
            Some(Ok(lsn)) => {
                Tally::add(&tally.acknowledged);
                self.record(Event::Acknowledged { id, lsn });
                tally.raise_floor(lsn);
                return Ok(());
            }
            Some(Err(error)) => error,
        };
        let (event, end) = match error {
            CommitError::Unknown { .. } | CommitError::Closed => {
                (Event::Doubtful { id }, Err(End::StoreStopped))
            }
            CommitError::Poisoned { .. } => (Event::Refused { id }, Err(End::StoreStopped)),
            CommitError::Conflict { .. } => {
                Tally::add(&tally.conflicts);
                (Event::Refused { id }, Ok(()))
            }
            CommitError::Damaged { .. } if self.options.may_be_damaged => {
                (Event::Refused { id }, Ok(()))
            }
            CommitError::SnapshotTooOld { .. } => {
                Tally::add(&tally.too_old);
                (Event::Refused { id }, Ok(()))
            }
            CommitError::MemoryFull { .. } => {
                Tally::add(&tally.memory_full);
                (Event::Refused { id }, Ok(()))
            }
            CommitError::LogFull { .. } => {
                Tally::add(&tally.log_full);
                (Event::Refused { id }, Ok(()))
            }
            CommitError::DiskFull { .. } => {
                Tally::add(&tally.disk_full);
                (Event::Refused { id }, Ok(()))
            }
            other => (Event::Refused { id }, Err(self.broken(format!("commit: {other}")))),
        };
        self.record(event);
        end
    }
}

fn keyspace_of(spaces: &[Space], write: Write) -> &Keyspace {
    let space = spaces.iter().find(|space| space.id == write.key.space);
    &space.expect("writes are drawn from these keyspaces").keyspace
}

/// What a value, or its absence, says.
pub(super) fn found_in(value: Option<&Bytes>) -> Found {
    value.map_or(Found::Absent, |bytes| crate::model::decode(bytes))
}

/// The answer if it is there at the first look; otherwise the caller goes away.
async fn until_pending<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
