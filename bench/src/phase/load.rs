//! Fills the keyspace: every record once, in durable transactions of many records.

use std::sync::Arc;

use serde::Serialize;
use sombra::{Isolation, TransactionError};

use crate::error::BenchError;
use crate::limits::{LOAD_BATCH_BYTES_MAX, LOAD_BATCH_RECORDS_MAX};
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
    stop: Stop,
    progress: Progress,
}

/// Loads all records of the plan.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn load(session: &Session) -> Result<LoadFigures, BenchError> {
    let plan = &session.plan;
    let batch_bytes = LOAD_BATCH_BYTES_MAX / plan.shape.record_bytes();
    let loader = Loader {
        batch_records: batch_bytes.clamp(1, LOAD_BATCH_RECORDS_MAX) as usize,
        ledger: Arc::clone(&session.ledger),
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
            self.write(&task, batch).await?;
            self.progress.advance(length);
        }
    }

    async fn write(
        &self,
        task: &ShardTask,
        batch: Vec<(u64, Vec<u8>)>,
    ) -> Result<(), TransactionError> {
        let transaction = task.local.begin(Isolation::Snapshot)?;
        for (record, key) in &batch {
            let value = task.shape.value(*record, WriteTag::LOAD);
            transaction.put(&task.keyspace, key, value)?;
        }
        let lsn = transaction.commit().await?.lsn();
        for (record, _) in batch {
            self.ledger.acknowledge(record, WriteTag::LOAD, lsn.as_u64());
        }
        Ok(())
    }
}
