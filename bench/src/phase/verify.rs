//! Reads back, from the reopened store, every write that was acknowledged.

use std::sync::Arc;

use serde::Serialize;
use sombra::ReadError;

use crate::error::BenchError;
use crate::limits::MISSING_NAMED_MAX;
use crate::measure::{Ledger, Stop, Verdict};
use crate::progress::Progress;
use crate::session::{Session, ShardTask};

/// What the reopened store still holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyFigures {
    /// Writes that the store acknowledged during the run, loading included.
    pub acknowledged: u64,
    /// Records whose newest acknowledged write is not there.
    pub missing: u64,
    /// Records with a value that no write of this run made.
    pub foreign: u64,
    /// Records read back: all, or every how-manieth in modes that load too many to remember. A
    /// write that a later one replaced is covered by the later one.
    pub records_read: u64,
    /// The first missing or foreign keys.
    pub examples: Vec<String>,
    pub reopen_seconds: f64,
    pub seconds: f64,
    /// Whether every record was read: not so when the run was stopped meanwhile.
    pub complete: bool,
}

#[derive(Clone)]
struct Verifier {
    ledger: Arc<Ledger>,
    stop: Stop,
    progress: Progress,
}

/// Records read between two reports to the progress bar, and between two yields.
const STRIDE: u64 = 64;

/// Closes and reopens the store, then reads every record back.
pub(crate) fn verify(session: &mut Session) -> Result<VerifyFigures, BenchError> {
    session.progress.begin("close and reopen", 1);
    let reopen_seconds = session.reopen()?.as_secs_f64();
    let records = session.inserts.taken().div_ceil(session.ledger.stride());
    session.progress.begin("verify", records);
    let verifier = Verifier {
        ledger: Arc::clone(&session.ledger),
        stop: session.stop.clone(),
        progress: session.progress.clone(),
    };
    let started = session.runtime.now();
    let parts = session.on_every_shard(move |task| verifier.clone().run(task))?;
    let seconds = session.runtime.now().saturating_since(started).as_secs_f64();
    let acknowledged = session.ledger.acknowledged();
    let mut whole =
        VerifyFigures { acknowledged, reopen_seconds, seconds, ..VerifyFigures::default() };
    for part in parts {
        let part = part.map_err(|error: ReadError| BenchError::phase("verify", error))?;
        whole.missing += part.missing;
        whole.foreign += part.foreign;
        whole.records_read += part.records_read;
        whole.examples.extend(part.examples);
    }
    whole.examples.truncate(MISSING_NAMED_MAX);
    whole.complete = whole.records_read == records;
    Ok(whole)
}

impl Verifier {
    async fn run(self, task: ShardTask) -> Result<VerifyFigures, ReadError> {
        let mut part = VerifyFigures::default();
        for (record, key) in task.records_every(self.ledger.stride()) {
            let found = task.local.get(&task.keyspace, &key).await?;
            let tag = found.map(|value| task.shape.tag_of(&value, record));
            match self.ledger.judge(record, tag) {
                Verdict::Present | Verdict::Untouched => {}
                Verdict::Missing => part.missing += 1,
                Verdict::Foreign => part.foreign += 1,
            }
            let bad = part.missing + part.foreign;
            if bad > part.examples.len() as u64 && part.examples.len() < MISSING_NAMED_MAX {
                part.examples.push(key.escape_ascii().to_string());
            }
            part.records_read += 1;
            if part.records_read.is_multiple_of(STRIDE) {
                self.progress.advance(STRIDE);
                task.shard.yield_now().await;
                if self.stop.is_requested() {
                    break;
                }
            }
        }
        Ok(part)
    }
}
