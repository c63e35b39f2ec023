//! What a commit over two shards costs the log: commits one after the other on an idle store,
//! counted.

use serde::Serialize;
use sombra::{Isolation, TransactionError};

use crate::error::BenchError;
use crate::limits::{CROSSING_COMMITS, CROSSING_PARTNERS_MAX};
use crate::measure::{Latency, Recorder};
use crate::sample::Sample;
use crate::session::Session;
use crate::workload::WriteTag;

/// Serializable transactions of two writes, one after the other, from one plain thread.
#[derive(Clone, Debug, Serialize)]
pub struct CrossingFigures {
    /// The two records lie on two shards.
    pub across: CrossingRow,
    /// They lie on one.
    pub within: CrossingRow,
}

/// What one kind of commit took.
#[derive(Clone, Debug, Serialize)]
pub struct CrossingRow {
    pub commits: u64,
    /// How many the store counted as over several shards.
    pub across_shards: u64,
    pub log_records: u64,
    pub flushes: u64,
    /// Stamps of the log whenever it was idle for a while: no commit asked for them. Each is in
    /// `flushes` too, unless it went out with a commit or is still on its way.
    pub stamps: u64,
    pub log_bytes_per_commit: f64,
    pub cpu_us_per_commit: f64,
    #[serde(flatten)]
    pub latency: Latency,
}

impl CrossingRow {
    /// Exactly one record and one flush each.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.log_records == self.commits
            && self.commits <= self.flushes
            && self.flushes <= self.commits + self.stamps
    }
}

/// Counts both kinds; `None` when there is one shard, or the run was stopped.
pub(crate) fn measure_crossing(session: &Session) -> Result<Option<CrossingFigures>, BenchError> {
    if session.db.shard_count() < 2 || session.is_to_end() {
        return Ok(None);
    }
    let across = measure_kind(session, true)?;
    let within = measure_kind(session, false)?;
    Ok(across.zip(within).map(|(across, within)| CrossingFigures { across, within }))
}

fn measure_kind(session: &Session, is_across: bool) -> Result<Option<CrossingRow>, BenchError> {
    let writer = session.ledger.new_writer();
    let name = if is_across { "commits over two shards" } else { "commits on one shard" };
    session.progress.begin(name, CROSSING_COMMITS);
    let mut records = (0..session.plan.records).cycle();
    let stamps = || session.db.metrics().value("sombra_wal_stamps_total");
    let (before, stamps_before) = (Sample::take(&session.db), stamps());
    let mut recorder = Recorder::new();
    let mut looked_at = 0;
    while recorder.count() < CROSSING_COMMITS && !session.is_to_end() {
        let Some(record) = records.next().filter(|_| looked_at < CROSSING_COMMITS * 2) else {
            break;
        };
        looked_at += 1;
        let Some(partner) = partner_of(session, record, is_across) else { continue };
        let tag = WriteTag::new(writer, recorder.count());
        let started = session.runtime.now();
        let written = session.runtime.block_on(write(session, [record, partner], tag));
        written.map_err(|error| BenchError::phase("commits one by one", error))?;
        let took = session.runtime.now().saturating_since(started).as_nanos() as u64;
        recorder.record(took, took);
        session.progress.advance(1);
    }
    let counted = Sample::take(&session.db).since(&before);
    Ok((recorder.count() > 0).then(|| row_of(&recorder, &counted, stamps() - stamps_before)))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "counters only grow")]
fn row_of(recorder: &Recorder, counted: &Sample, stamps: f64) -> CrossingRow {
    let commits = recorder.count();
    CrossingRow {
        commits,
        across_shards: counted.across_shards as u64,
        log_records: counted.commits as u64,
        flushes: counted.flushes as u64,
        stamps: stamps as u64,
        log_bytes_per_commit: counted.log_bytes / commits as f64,
        cpu_us_per_commit: counted.cpu.as_secs_f64() * 1e6 / commits as f64,
        latency: recorder.service(),
    }
}

/// The next record whose key lies on another shard, or on the same.
fn partner_of(session: &Session, record: u64, is_across: bool) -> Option<u64> {
    let shard_of = |record| session.db.shard_of(&session.keyspace, session.plan.shape.key(record));
    let (own, records) = (shard_of(record), session.plan.records);
    (1..records.min(CROSSING_PARTNERS_MAX))
        .map(|step| (record + step) % records)
        .find(|&partner| (shard_of(partner) != own) == is_across)
}

async fn write(session: &Session, pair: [u64; 2], tag: WriteTag) -> Result<(), TransactionError> {
    let shape = session.plan.shape;
    let mut notes = session.recording.begin(tag.writer(), Isolation::Serializable);
    let transaction = session.db.begin()?;
    for record in pair {
        let begun = notes.now();
        transaction.put(&session.keyspace, shape.key(record), shape.value(record, tag))?;
        notes.write(begun, record, tag);
    }
    let committed = transaction.commit().await;
    let committed = committed.map(|committed| committed.lsn().as_u64()).map_err(Into::into);
    notes.end(committed.as_ref().copied());
    let lsn = committed?;
    pair.iter().for_each(|&record| session.ledger.acknowledge(record, tag, lsn));
    Ok(())
}
