//! Fills the keyspace: every record once, in durable transactions of many records.

use std::sync::Arc;

use serde::Serialize;
use sombra::{Isolation, Lsn, TransactionError};

use crate::error::BenchError;
use crate::limits::{LOAD_BATCH_BYTES_MAX, LOAD_BATCH_RECORDS_MAX};
use crate::measure::{Ledger, Stop};
use crate::progress::Progress;
use crate::session::{Session, ShardTask};
use crate::workload::{Shape, WriteTag};

/// What loading took.
#[derive(Clone, Debug, Serialize)]
pub struct LoadFigures {
    pub records: u64,
    pub seconds: f64,
    pub per_s: f64,
    pub batch_records: u64,
}

#[derive(Clone)]
struct Loader {
    records: u64,
    batch_records: u64,
    shape: Shape,
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
        records: plan.records,
        batch_records: batch_bytes.clamp(1, LOAD_BATCH_RECORDS_MAX),
        shape: plan.shape,
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
    /// Loads every batch whose turn is this task's.
    async fn run(self, task: ShardTask) -> Result<(), TransactionError> {
        let batches = self.records.div_ceil(self.batch_records);
        for batch in (task.index..batches).step_by(task.tasks as usize) {
            if self.stop.is_requested() {
                break;
            }
            let first = batch * self.batch_records;
            let end = (first + self.batch_records).min(self.records);
            let lsn = self.write(&task, first..end).await?;
            for record in first..end {
                self.ledger.acknowledge(record, WriteTag::LOAD, lsn.as_u64());
            }
            self.progress.advance(end - first);
        }
        Ok(())
    }

    async fn write(
        &self,
        task: &ShardTask,
        records: std::ops::Range<u64>,
    ) -> Result<Lsn, TransactionError> {
        let transaction = task.local.begin(Isolation::Snapshot)?;
        for record in records {
            let value = self.shape.value(record, WriteTag::LOAD);
            transaction.put(&task.keyspace, self.shape.key(record), value)?;
        }
        Ok(transaction.commit().await?.lsn())
    }
}
