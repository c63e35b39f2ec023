//! Overwrites a live set many times over and watches what the store takes meanwhile, with a
//! snapshot of the first state held open.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use sombra::Snapshot;
use sombra_runtime::{Moment, ShardId};

use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::limits::{
    CHURN_BATCH_RECORDS, CHURN_SAMPLE_MS, CHURN_SAMPLES_WANTED, CURVE_POINTS_MAX,
    LOAD_BATCH_BYTES_MAX,
};
use crate::measure::{Curve, Spread};
use crate::random::Random;
use crate::report::Report;
use crate::sample::{resident_bytes, resident_bytes_peak};
use crate::session::Session;
use crate::space::{SpaceFigures, ratio};

use super::first_state::{FirstState, SnapshotFigures, judge};
use super::load::load;
use super::overwrite::{Overwriting, Writer};
use super::settle::SettleFigures;

/// What overwriting took, and what was left of the first state.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnFigures {
    /// The live data is written this many times over.
    pub factor: u64,
    pub row_bytes: u64,
    pub memory_bytes: u64,
    pub clients: usize,
    pub batch_records: u64,
    pub settle_before: SettleFigures,
    pub written_bytes: u64,
    pub rows_written: u64,
    pub seconds: f64,
    pub rows_per_s: f64,
    pub bytes_per_s: f64,
    pub conflicts: u64,
    /// Commits that were refused for want of room, and tried again.
    pub refused_for_room: u64,
    /// Whether all of it was written.
    pub completed: bool,
    pub file_per_live: Option<Spread>,
    pub file_per_row_byte: Option<Spread>,
    pub data_file_bytes: Option<Spread>,
    pub data_live_bytes: Option<Spread>,
    pub data_waiting_bytes: Option<Spread>,
    pub log_bytes: Option<Spread>,
    pub window_bytes: Option<Spread>,
    pub resident_bytes: Option<Spread>,
    pub resident_bytes_peak: u64,
    pub resident_peak_per_memory: Option<f64>,
    pub snapshot: Option<SnapshotFigures>,
    /// Once the snapshot was let go and merging had settled.
    pub settle_after: SettleFigures,
    pub space_after: SpaceFigures,
    pub curve: Vec<ChurnPoint>,
}

/// One sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ChurnPoint {
    pub seconds: f64,
    /// Data written so far, as a multiple of the live data.
    pub written_factor: f64,
    pub file_per_live: Option<f64>,
    #[serde(flatten)]
    pub space: SpaceFigures,
    pub resident_bytes: u64,
}

const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// Loads, settles, opens the snapshot, overwrites, judges.
pub(crate) fn measure_churn(
    session: &Session,
    (factor, with_snapshot): (u64, bool),
    report: &mut Report,
) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    let settle_before = session.settle();
    let held = if with_snapshot { Some(Held::open(session)?) } else { None };
    let mut churn = Churn::new(session, factor, held);
    let outcome = churn.run()?;
    if let Some(failure) = outcome {
        report.notes.push(format!("churn: a client ended early: {failure}"));
    }
    let snapshot = churn.judge_snapshot()?;
    // Nothing but the newest state is needed from here on.
    churn.held = None;
    let settle_after = session.settle();
    report.churn = Some(churn.figures((settle_before, settle_after), snapshot));
    Ok(())
}

/// The snapshot of the first state.
struct Held {
    snapshot: Snapshot,
    since: Moment,
    ended_at_factor: Option<f64>,
}

impl Held {
    fn open(session: &Session) -> Result<Held, BenchError> {
        let snapshot = session.db.snapshot();
        let snapshot = snapshot.map_err(|error| BenchError::phase("snapshot", error))?;
        Ok(Held { snapshot, since: session.runtime.now(), ended_at_factor: None })
    }

    /// Reads one record, to learn when the snapshot ends if it does.
    fn probe(&mut self, session: &Session, written_factor: f64) -> Result<(), BenchError> {
        if self.ended_at_factor.is_some() {
            return Ok(());
        }
        let shape = session.plan.shape;
        let read = self.snapshot.get(&session.keyspace, shape.key(0));
        let state = FirstState::of((shape, 0), session.runtime.block_on(read));
        let state = state.map_err(|error| BenchError::phase("snapshot", error))?;
        if state == FirstState::TooOld {
            self.ended_at_factor = Some(written_factor);
        }
        Ok(())
    }
}

/// A churn at work.
struct Churn<'a> {
    session: &'a Session,
    factor: u64,
    shared: Arc<Overwriting>,
    held: Option<Held>,
    curve: Vec<ChurnPoint>,
    begun: Moment,
    seconds: f64,
}

impl<'a> Churn<'a> {
    fn new(session: &'a Session, factor: u64, held: Option<Held>) -> Churn<'a> {
        let plan = &session.plan;
        let batch_bytes = LOAD_BATCH_BYTES_MAX / plan.shape.record_bytes();
        let shared = Arc::new(Overwriting {
            keyspace: session.keyspace.clone(),
            shape: plan.shape,
            records: plan.records,
            batch_records: batch_bytes.clamp(1, CHURN_BATCH_RECORDS),
            ledger: Arc::clone(&session.ledger),
            stop: session.stop.clone(),
            rows_left: AtomicU64::new(plan.records.saturating_mul(factor)),
            rows_written: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            refused_for_room: AtomicU64::new(0),
            at_work: AtomicUsize::new(plan.clients),
        });
        let begun = session.runtime.now();
        Churn { session, factor, shared, held, curve: Vec::new(), begun, seconds: 0.0 }
    }

    /// Runs all writers to their end and samples meanwhile; gives why one ended early.
    fn run(&mut self) -> Result<Option<String>, BenchError> {
        let session = self.session;
        session.progress.begin("overwrite", self.rows_wanted());
        self.begun = session.runtime.now();
        let crew = Arc::clone(&self.shared);
        let outcome = Mutex::new(Ok(None));
        let watched = thread::scope(|scope| {
            scope.spawn(|| {
                let ended = overwrite(session, &crew);
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = ended;
                // Also when the writers never came to it.
                crew.at_work.store(0, Ordering::Relaxed);
            });
            self.watch()
        });
        self.seconds = session.runtime.now().saturating_since(self.begun).as_secs_f64();
        self.curve = watched?;
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_wanted(&self) -> u64 {
        self.session.plan.records.saturating_mul(self.factor)
    }

    fn watch(&mut self) -> Result<Vec<ChurnPoint>, BenchError> {
        let mut curve = Curve::new(CURVE_POINTS_MAX);
        let mut schedule = Schedule::of(self.rows_wanted());
        let mut failure = None;
        loop {
            let is_over = self.shared.at_work.load(Ordering::Relaxed) == 0;
            let elapsed = self.session.runtime.now().saturating_since(self.begun);
            let rows = self.shared.rows_written.load(Ordering::Relaxed);
            if is_over || schedule.is_due(elapsed, rows) {
                let point = self.sample(elapsed);
                curve.push(point);
                if let Some(held) = self.held.as_mut().filter(|_| failure.is_none()) {
                    failure = held.probe(self.session, point.written_factor).err();
                }
                self.session.progress.advance(schedule.advance(rows));
            }
            if is_over {
                // The writers are waited for first: an early return would leave them running.
                return failure.map_or(Ok(curve.into_points()), Err);
            }
            thread::sleep(WATCH_INTERVAL);
        }
    }

    fn sample(&self, elapsed: Duration) -> ChurnPoint {
        let space = SpaceFigures::take(&self.session.db, &self.session.place.store());
        let live = self.session.plan.live_bytes();
        ChurnPoint {
            seconds: elapsed.as_secs_f64(),
            written_factor: ratio(self.shared.written_bytes(), live).unwrap_or(0.0),
            file_per_live: space.file_per_live(),
            space,
            resident_bytes: resident_bytes(),
        }
    }

    /// Reads every followed record through the snapshot.
    fn judge_snapshot(&self) -> Result<Option<SnapshotFigures>, BenchError> {
        let Some(held) = &self.held else { return Ok(None) };
        let session = self.session;
        session.progress.begin("judge the snapshot", 1);
        let stride = session.ledger.stride() as usize;
        let records = (0..session.plan.records).step_by(stride);
        let reader = (&session.runtime, &session.stop);
        let view = (&held.snapshot, &session.keyspace);
        let judged = judge(reader, view, session.plan.shape, records)?;
        let held_seconds = session.runtime.now().saturating_since(held.since).as_secs_f64();
        let ended_at_factor = held.ended_at_factor;
        Ok(Some(SnapshotFigures { held_seconds, ended_at_factor, ..judged }))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn figures(
        self,
        (settle_before, settle_after): (SettleFigures, SettleFigures),
        snapshot: Option<SnapshotFigures>,
    ) -> ChurnFigures {
        let (session, shared) = (self.session, &self.shared);
        let (row_bytes, memory_bytes) = (session.plan.live_bytes(), session.plan.memory_bytes());
        let spread =
            |of: fn(&ChurnPoint) -> u64| Spread::of(self.curve.iter().map(|p| of(p) as f64));
        let rows_written = shared.rows_written.load(Ordering::Relaxed);
        let seconds = self.seconds.max(f64::MIN_POSITIVE);
        let peak = resident_bytes_peak();
        ChurnFigures {
            factor: self.factor,
            row_bytes,
            memory_bytes,
            clients: session.plan.clients,
            batch_records: shared.batch_records,
            settle_before,
            written_bytes: shared.written_bytes(),
            rows_written,
            seconds: self.seconds,
            rows_per_s: rows_written as f64 / seconds,
            bytes_per_s: shared.written_bytes() as f64 / seconds,
            conflicts: shared.conflicts.load(Ordering::Relaxed),
            refused_for_room: shared.refused_for_room.load(Ordering::Relaxed),
            completed: rows_written == self.rows_wanted(),
            file_per_live: Spread::of(self.curve.iter().filter_map(|point| point.file_per_live)),
            file_per_row_byte: Spread::of(
                self.curve.iter().filter_map(|p| ratio(p.space.data_file_bytes, row_bytes)),
            ),
            data_file_bytes: spread(|point| point.space.data_file_bytes),
            data_live_bytes: spread(|point| point.space.data_live_bytes),
            data_waiting_bytes: spread(|point| point.space.data_waiting_bytes),
            log_bytes: spread(|point| point.space.log_bytes),
            window_bytes: spread(|point| point.space.window_bytes),
            resident_bytes: spread(|point| point.resident_bytes),
            resident_bytes_peak: peak,
            resident_peak_per_memory: ratio(peak, memory_bytes),
            snapshot,
            settle_after,
            space_after: SpaceFigures::take(&session.db, &session.place.store()),
            curve: self.curve,
        }
    }
}

/// When the next sample is taken: after a second, or after a part of the work, whichever is first.
struct Schedule {
    next: Duration,
    next_rows: u64,
    step_rows: u64,
    told_rows: u64,
}

impl Schedule {
    fn of(rows_wanted: u64) -> Schedule {
        let step_rows = rows_wanted.div_ceil(CHURN_SAMPLES_WANTED).max(1);
        Schedule { next: Duration::ZERO, next_rows: 0, step_rows, told_rows: 0 }
    }

    fn is_due(&mut self, elapsed: Duration, rows: u64) -> bool {
        let is_due = elapsed >= self.next || rows >= self.next_rows;
        if is_due {
            self.next = elapsed + Duration::from_millis(CHURN_SAMPLE_MS);
            self.next_rows = rows + self.step_rows;
        }
        is_due
    }

    /// Rows since the last call.
    fn advance(&mut self, rows: u64) -> u64 {
        rows - std::mem::replace(&mut self.told_rows, rows)
    }
}

/// Runs the writers on their shards until the last has ended; gives why one ended early.
fn overwrite(session: &Session, shared: &Arc<Overwriting>) -> Result<Option<String>, BenchError> {
    let shards = session.runtime.shard_count();
    let writers = (0..session.plan.clients).map(|index| {
        let number = session.ledger.new_writer();
        let random = Random::for_client(session.plan.seed, u64::from(number));
        let writer = Writer { shared: Arc::clone(shared), random, number, sequence: 0 };
        session.db.on_shard(ShardId::new((index % shards) as u16), move |local| writer.run(local))
    });
    let mut failure = None;
    for outcome in session.runtime.block_on(Crowd::new(writers)) {
        let ended = outcome.map_err(|error| BenchError::phase("churn", error))?;
        failure = failure.or(ended.err().map(|error| error.to_string()));
    }
    Ok(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_samples_each_second_and_each_part_of_the_work() {
        let mut schedule = Schedule::of(2_000);
        let seconds = Duration::from_secs_f64;
        assert!(schedule.is_due(seconds(0.0), 0));
        assert!(!schedule.is_due(seconds(0.5), 9));
        assert!(schedule.is_due(seconds(0.6), 10));
        assert!(!schedule.is_due(seconds(1.5), 15));
        assert!(schedule.is_due(seconds(1.6), 15));
        assert_eq!((schedule.advance(15), schedule.advance(20)), (15, 5));
    }
}
