//! What a store costs that is open and has nothing to do.

use std::thread;
use std::time::Duration;

use serde::Serialize;
use sombra::TransactionError;

use crate::error::BenchError;
use crate::limits::IDLE_LOOK_MS;
use crate::measure::later;
use crate::report::Report;
use crate::sample::{Sample, sleeps};
use crate::session::Session;
use crate::workload::WriteTag;

use super::load::load;
use super::settle::SettleFigures;

/// An open store with data and the default options, after the last write and merge.
#[derive(Clone, Debug, Serialize)]
pub struct IdleFigures {
    pub settle: SettleFigures,
    pub rows: Vec<IdleRow>,
}

/// One stretch without anything to do.
#[derive(Clone, Debug, Serialize)]
pub struct IdleRow {
    /// What the one who opened the store holds meanwhile.
    pub holds: &'static str,
    pub seconds: f64,
    /// User and system time of the whole process; the thread that measures sleeps too.
    pub cpu_ms: f64,
    pub percent_of_a_core: f64,
    /// Times that a thread went to sleep, which is how often one woke.
    pub wakeups_per_s: f64,
    /// Flushes and bytes of a log that nobody writes to.
    pub flushes: f64,
    pub log_bytes: f64,
}

/// Loads, lets merging end, and measures the store with nothing, a snapshot, and a transaction
/// held open.
pub(crate) fn measure_idle(session: &Session, report: &mut Report) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    let mut figures = IdleFigures { settle: session.settle(), rows: Vec::new() };
    figures.rows.extend(rest(session, "nothing"));
    let failed = |error| BenchError::phase("idle", error);
    let snapshot = session.db.snapshot().map_err(|error| failed(error.into()))?;
    figures.rows.extend(rest(session, "a snapshot"));
    drop(snapshot);
    let transaction = session.db.begin().map_err(|error| failed(error.into()))?;
    let touched = async {
        let (keyspace, shape) = (&session.keyspace, session.plan.shape);
        transaction.get(keyspace, shape.key(0)).await?;
        let value = shape.value(0, WriteTag::new(session.ledger.new_writer(), 0));
        Ok::<_, TransactionError>(transaction.put(keyspace, shape.key(0), value)?)
    };
    session.runtime.block_on(touched).map_err(failed)?;
    figures.rows.extend(rest(session, "a transaction that has read and written"));
    transaction.rollback();
    report.idle = Some(figures);
    Ok(())
}

/// Does nothing for the measured time, once the warm-up has passed; nothing after a stop.
fn rest(session: &Session, holds: &'static str) -> Option<IdleRow> {
    let (warmup, measured) = (session.plan.warmup, session.plan.measured);
    session.progress.begin_timed(holds, warmup + measured);
    sleep(session, warmup);
    let begun = session.runtime.now();
    let (before, sleeps_before) = (Sample::take(&session.db), sleeps());
    sleep(session, measured);
    let (after, sleeps_after) = (Sample::take(&session.db), sleeps());
    if session.stop.is_requested() {
        return None;
    }
    let seconds = session.runtime.now().saturating_since(begun).as_secs_f64();
    Some(row_of(holds, seconds, &after.since(&before), sleeps_after - sleeps_before))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn row_of(holds: &'static str, seconds: f64, counted: &Sample, sleeps: u64) -> IdleRow {
    let cpu_seconds = counted.cpu.as_secs_f64();
    IdleRow {
        holds,
        seconds,
        cpu_ms: cpu_seconds * 1e3,
        percent_of_a_core: 100.0 * cpu_seconds / seconds.max(f64::MIN_POSITIVE),
        wakeups_per_s: sleeps as f64 / seconds.max(f64::MIN_POSITIVE),
        flushes: counted.flushes,
        log_bytes: counted.log_bytes,
    }
}

/// Sleeps with as few looks at the clock as a stop allows.
fn sleep(session: &Session, time: Duration) {
    let until = later(session.runtime.now(), time);
    while !session.stop.is_requested() {
        let left = until.saturating_since(session.runtime.now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(IDLE_LOOK_MS)));
    }
}
