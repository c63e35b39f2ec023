//! Fills the keyspace: every record once, in durable transactions of many records.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sombra::{Isolation, TransactionError};

use crate::error::{BenchError, is_want_of_room};
use crate::history::Recording;
use crate::limits::{LOAD_BATCH_BYTES_MAX, ROOM_ATTEMPTS_MAX, ROOM_PAUSE_US};
use crate::measure::{Ledger, Stop};
use crate::progress::Progress;
use crate::session::{Session, ShardTask};
use crate::workload::WriteTag;

/// What loading took.
#[derive(Clone, Debug, Serialize)]
pub struct LoadFigures {
    pub records: u64,
    pub seconds: f64,
    pub per_s: f64,
    pub batch_records: usize,
}

#[derive(Clone)]
struct Loader {
    batch_records: usize,
    ledger: Arc<Ledger>,
    recording: Recording,
    stop: Stop,
    progress: Progress,
}

/// The client of all loading in a history; writers count from 1.
const LOADER: u32 = 0;

/// Loads all records of the plan.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn load(session: &Session) -> Result<LoadFigures, BenchError> {
    let plan = &session.plan;
    let batch_bytes = LOAD_BATCH_BYTES_MAX / plan.shape.record_bytes();
    let loader = Loader {
        batch_records: batch_bytes.clamp(1, plan.load_batch_records()) as usize,
        ledger: Arc::clone(&session.ledger),
        recording: session.recording.clone(),
        stop: session.stop.clone(),
        progress: session.progress.clone(),
    };
    session.progress.begin("load", plan.records);
    let started = session.runtime.now();
    let batch_records = loader.batch_records;
    let results = session.on_every_shard(move |task| loader.clone().run(task))?;
    let seconds = session.runtime.now().saturating_since(started).as_secs_f64();
    let failed = |error: TransactionError| BenchError::phase("load", error);
    results.into_iter().collect::<Result<(), _>>().map_err(failed)?;
    let records = session.ledger.acknowledged();
    let per_s = records as f64 / seconds.max(f64::MIN_POSITIVE);
    Ok(LoadFigures { records, seconds, per_s, batch_records })
}

impl Loader {
    /// Loads the task's records, one transaction for each batch of them.
    async fn run(self, task: ShardTask) -> Result<(), TransactionError> {
        let mut records = task.records();
        loop {
            let batch: Vec<_> = records.by_ref().take(self.batch_records).collect();
            if batch.is_empty() || self.stop.is_requested() {
                return Ok(());
            }
            let length = batch.len() as u64;
            let mut attempt = 1;
            while let Err(error) = self.write(&task, &batch).await {
                // A load that fills the memory waits for merges, and loses old snapshots to them.
                let may_pass = error.is_retryable() || is_want_of_room(&error);
                if !may_pass || attempt >= ROOM_ATTEMPTS_MAX {
                    return Err(error);
                }
                attempt += 1;
                task.shard.sleep(Duration::from_micros(ROOM_PAUSE_US)).await;
            }
            self.progress.advance(length);
        }
    }

    async fn write(
        &self,
        task: &ShardTask,
        batch: &[(u64, Vec<u8>)],
    ) -> Result<(), TransactionError> {
        // An attempt that failed wrote nothing, and the next one writes the same values.
        let mut notes = self.recording.begin(LOADER, Isolation::Snapshot);
        let transaction = task.local.begin_with(Isolation::Snapshot)?;
        for (record, key) in batch {
            let value = task.shape.value(*record, WriteTag::LOAD);
            let begun = notes.now();
            transaction.put(&task.keyspace, key, value)?;
            notes.write(begun, *record, WriteTag::LOAD);
        }
        let lsn = transaction.commit().await?.lsn();
        notes.end(Ok(lsn.as_u64()));
        for (record, _) in batch {
            self.ledger.acknowledge(*record, WriteTag::LOAD, lsn.as_u64());
        }
        Ok(())
    }
}
