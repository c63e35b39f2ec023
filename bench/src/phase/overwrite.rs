//! Clients that overwrite records at random until so much has been written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sombra::{CommitError, Isolation, Keyspace, LocalDb, TransactionError};

use crate::error::is_want_of_room;
use crate::limits::{
    BACK_OFF_US_MAX, BACK_OFF_US_MIN, CONFLICT_ATTEMPTS_MAX, ROOM_ATTEMPTS_MAX, ROOM_PAUSE_US,
};
use crate::measure::{Ledger, Stop};
use crate::random::Random;
use crate::workload::{Shape, WriteTag};

/// What all writers of a churn share.
pub(crate) struct Overwriting {
    pub(crate) keyspace: Keyspace,
    pub(crate) shape: Shape,
    pub(crate) records: u64,
    pub(crate) batch_records: u64,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) stop: Stop,
    /// Rows that nobody has set out to write yet.
    pub(crate) rows_left: AtomicU64,
    pub(crate) rows_written: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    /// Commits that were refused for want of room, and tried again.
    pub(crate) refused_for_room: AtomicU64,
    /// Writers that are still at work.
    pub(crate) at_work: AtomicUsize,
}

impl Overwriting {
    /// Bytes of keys and values that were acknowledged.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed) * self.shape.record_bytes()
    }

    /// Takes up to a batch of what is left to write; 0 when nothing is.
    fn take(&self) -> u64 {
        let take = |left: u64| (left > 0).then(|| left - left.min(self.batch_records));
        let before = self.rows_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.map_or(0, |left| left.min(self.batch_records))
    }
}

/// One writer.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Overwriting>,
    pub(crate) random: Random,
    pub(crate) number: u32,
    pub(crate) sequence: u64,
}

/// Draws for one record until one is found that the writer's own shard holds.
const OWN_DRAWS_MAX: u32 = 64;

impl Writer {
    /// Writes until nothing is left, a stop is requested, or the store refuses.
    pub(crate) async fn run(mut self, local: LocalDb) -> Result<(), TransactionError> {
        let shared = Arc::clone(&self.shared);
        let mut outcome = Ok(());
        while outcome.is_ok() && !shared.stop.is_requested() {
            let rows = shared.take();
            if rows == 0 {
                break;
            }
            let batch = self.draw(&local, rows);
            let found = batch.len() as u64;
            // What a batch holds less than it took is for the next one.
            shared.rows_left.fetch_add(rows - found, Ordering::Relaxed);
            outcome = self.write(&local, &batch).await;
            if outcome.is_ok() {
                shared.rows_written.fetch_add(found, Ordering::Relaxed);
            }
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Different records, most of them of the writer's own shard, with the writes they get.
    fn draw(&mut self, local: &LocalDb, rows: u64) -> BTreeMap<u64, (Vec<u8>, WriteTag)> {
        let mut batch = BTreeMap::new();
        for _ in 0..rows {
            let (record, key) = self.draw_own(local);
            let tag = WriteTag::new(self.number, self.sequence);
            self.sequence += 1;
            batch.insert(record, (key, tag));
        }
        batch
    }

    fn draw_own(&mut self, local: &LocalDb) -> (u64, Vec<u8>) {
        let shared = Arc::clone(&self.shared);
        let mut drawn = (0, Vec::new());
        for _ in 0..OWN_DRAWS_MAX {
            let record = self.random.below(shared.records);
            drawn = (record, shared.shape.key(record));
            if local.shard_of(&shared.keyspace, &drawn.1) == local.shard() {
                break;
            }
        }
        drawn
    }

    async fn write(
        &mut self,
        local: &LocalDb,
        batch: &BTreeMap<u64, (Vec<u8>, WriteTag)>,
    ) -> Result<(), TransactionError> {
        let shared = Arc::clone(&self.shared);
        let (mut attempt, mut room_attempt) = (1, 1);
        loop {
            match self.attempt(local, batch).await {
                Ok(lsn) => {
                    for (&record, &(_, tag)) in batch {
                        shared.ledger.acknowledge(record, tag, lsn);
                    }
                    return Ok(());
                }
                Err(error) if error.is_retryable() && attempt < CONFLICT_ATTEMPTS_MAX => {
                    shared.conflicts.fetch_add(1, Ordering::Relaxed);
                    attempt += 1;
                    let most = (BACK_OFF_US_MIN << attempt.min(16)).min(BACK_OFF_US_MAX);
                    let pause = most / 2 + self.random.below(most / 2);
                    local.runtime_shard().sleep(Duration::from_micros(pause)).await;
                }
                Err(error) if is_want_of_room(&error) && room_attempt < ROOM_ATTEMPTS_MAX => {
                    shared.refused_for_room.fetch_add(1, Ordering::Relaxed);
                    room_attempt += 1;
                    local.runtime_shard().sleep(Duration::from_micros(ROOM_PAUSE_US)).await;
                }
                Err(error) => {
                    if matches!(error, TransactionError::Commit(CommitError::Unknown { .. })) {
                        for (&record, &(_, tag)) in batch {
                            shared.ledger.doubt(record, tag);
                        }
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn attempt(
        &self,
        local: &LocalDb,
        batch: &BTreeMap<u64, (Vec<u8>, WriteTag)>,
    ) -> Result<u64, TransactionError> {
        let transaction = local.begin_with(Isolation::Snapshot)?;
        for (&record, (key, tag)) in batch {
            let value = self.shared.shape.value(record, *tag);
            transaction.put(&self.shared.keyspace, key, value)?;
        }
        Ok(transaction.commit().await?.lsn().as_u64())
    }
}
