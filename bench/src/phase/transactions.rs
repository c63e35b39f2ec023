//! Clients with transactions of four operations, at one isolation level for a fixed time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use sombra::{CommitError, Isolation, Transaction, TransactionError};

use crate::error::BenchError;
use crate::history::{Notes, Recording};
use crate::limits::OPS_BEFORE_YIELD;
use crate::measure::{Aborts, Latency, Ledger, Recorder, Stop, Window};
use crate::random::Random;
use crate::sample::CommitCost;
use crate::session::Session;
use crate::site::Site;
use crate::workload::{
    Chooser, Distribution, Mix, RecordsOfA, Shape, TRANSACTION_RECORDS, WriteTag,
};

use super::crew::{Shift, Work, Worked};

/// Transactions of two reads and two updates. One that was aborted is not run again: the next
/// one is drawn.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionFigures {
    pub isolation: &'static str,
    pub committed: u64,
    pub seconds: f64,
    pub per_s: f64,
    /// Of those that committed, from `begin` on.
    #[serde(flatten)]
    pub latency: Latency,
    pub aborted: u64,
    /// Aborted, of all that ended.
    pub abort_share: f64,
    pub aborts: Aborts,
    #[serde(flatten)]
    pub cost: CommitCost,
    /// Reads that found nothing, or the value of another record.
    pub wrong_reads: u64,
}

struct Shared {
    isolation: Isolation,
    chooser: Chooser,
    shape: Shape,
    records: u64,
    window: Window,
    stop: Stop,
    ledger: Arc<Ledger>,
    recording: Recording,
    at_work: AtomicUsize,
}

struct TransactionClient {
    shared: Arc<Shared>,
    random: Random,
    writer: u32,
}

#[derive(Default)]
struct TransactionReport {
    committed: Recorder,
    aborts: Aborts,
    wrong_reads: u64,
    failure: Option<String>,
}

/// Transactions after which a client on a shard lets its neighbours run.
const TRANSACTIONS_BEFORE_YIELD: u64 = OPS_BEFORE_YIELD as u64 / TRANSACTION_RECORDS as u64;

pub(super) const fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Serializable => "serializable",
        Isolation::Snapshot => "snapshot",
    }
}

impl Session {
    pub(crate) fn transaction_distribution(&self) -> Distribution {
        self.plan.distribution.unwrap_or(Mix::A.canonical_distribution())
    }

    /// Runs all clients at one level.
    pub(crate) fn run_transactions(
        &self,
        isolation: Isolation,
    ) -> Result<TransactionFigures, BenchError> {
        let (warmup, measured) = (self.plan.warmup, self.plan.measured);
        self.progress.begin_timed(isolation_name(isolation), warmup + measured);
        let records = self.plan.records;
        let shared = Arc::new(Shared {
            isolation,
            chooser: Chooser::new(self.transaction_distribution(), records),
            shape: self.plan.shape,
            records,
            window: Window::starting(self.runtime.now(), warmup, measured),
            stop: self.stop.clone(),
            ledger: Arc::clone(&self.ledger),
            recording: self.recording.clone(),
            at_work: AtomicUsize::new(self.plan.clients),
        });
        let new_client = |_| {
            let writer = self.ledger.new_writer();
            let random = Random::for_client(self.plan.seed, u64::from(writer));
            TransactionClient { shared: Arc::clone(&shared), random, writer }
        };
        let crew = (0..self.plan.clients).map(new_client).collect();
        let on = self.plan.clients_on;
        let shift = Shift { on, window: shared.window, at_work: &shared.at_work };
        let worked: Worked<TransactionReport> = self.run_crew::<TransactionClient>(crew, &shift)?;
        if let Some(failure) = worked.outcome.failure {
            return Err(BenchError::phase("transactions", failure));
        }
        Ok(figures_of(isolation, &worked))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn figures_of(isolation: Isolation, worked: &Worked<TransactionReport>) -> TransactionFigures {
    let Worked { outcome, counted, seconds } = worked;
    let committed = outcome.committed.count();
    let aborted = outcome.aborts.total();
    TransactionFigures {
        isolation: isolation_name(isolation),
        committed,
        seconds: *seconds,
        per_s: committed as f64 / seconds.max(f64::MIN_POSITIVE),
        latency: outcome.committed.service(),
        aborted,
        abort_share: aborted as f64 / (committed + aborted).max(1) as f64,
        aborts: outcome.aborts,
        cost: counted.cost_of(committed),
        wrong_reads: outcome.wrong_reads,
    }
}

impl Work for TransactionClient {
    type Outcome = TransactionReport;

    async fn work(mut self, site: impl Site) -> TransactionReport {
        let shared = Arc::clone(&self.shared);
        let mut report = TransactionReport::default();
        let mut number = 0;
        while !shared.stop.is_requested() && !shared.recording.is_over() {
            if number % TRANSACTIONS_BEFORE_YIELD == 0 {
                site.breathe().await;
            }
            let started = site.now();
            if started >= shared.window.end {
                break;
            }
            let drawn = RecordsOfA::draw(&shared.chooser, &mut self.random, shared.records);
            let outcome = self.attempt(&site, &drawn, (number, &mut report.wrong_reads)).await;
            number += 1;
            let done = site.now();
            let counts = shared.window.counts(done);
            match outcome {
                Ok(()) if counts => {
                    let nanoseconds = done.saturating_since(started).as_nanos() as u64;
                    report.committed.record(nanoseconds, nanoseconds);
                }
                Ok(()) => {}
                Err(error) => {
                    let mut uncounted = Aborts::default();
                    let aborts = if counts { &mut report.aborts } else { &mut uncounted };
                    if let Err(error) = aborts.note(error) {
                        report.failure = Some(error.to_string());
                        break;
                    }
                }
            }
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        report
    }

    fn merge(whole: &mut TransactionReport, part: TransactionReport) {
        whole.committed.merge(&part.committed);
        whole.aborts.merge(&part.aborts);
        whole.wrong_reads += part.wrong_reads;
        whole.failure = whole.failure.take().or(part.failure);
    }
}

impl TransactionClient {
    async fn attempt(
        &self,
        site: &impl Site,
        drawn: &RecordsOfA,
        (number, wrong_reads): (u64, &mut u64),
    ) -> Result<(), TransactionError> {
        let isolation = self.shared.isolation;
        let mut notes = self.shared.recording.begin(self.writer, isolation);
        let transaction = site.handle().begin_with(isolation)?;
        let tag = WriteTag::new(self.writer, number);
        let outcome =
            self.perform(site, transaction, (drawn, tag), (wrong_reads, &mut notes)).await;
        notes.end(outcome.as_ref().copied());
        let ledger = &self.shared.ledger;
        match &outcome {
            Ok(lsn) => drawn.updates.iter().for_each(|&record| {
                ledger.acknowledge(record, tag, *lsn);
            }),
            Err(TransactionError::Commit(CommitError::Unknown { .. })) => {
                drawn.updates.iter().for_each(|&record| ledger.doubt(record, tag));
            }
            Err(_) => {}
        }
        outcome.map(drop)
    }

    /// One transaction behind its begin; gives the LSN of its commit.
    async fn perform<S: Site>(
        &self,
        site: &S,
        transaction: Transaction<S::Port>,
        (drawn, tag): (&RecordsOfA, WriteTag),
        (wrong_reads, notes): (&mut u64, &mut Notes),
    ) -> Result<u64, TransactionError> {
        let (shape, keyspace) = (self.shared.shape, site.keyspace());
        for record in drawn.reads {
            let begun = notes.now();
            let found = transaction.get(keyspace, shape.key(record)).await?;
            notes.read(begun, record, found.as_ref());
            let right = found.is_some_and(|value| shape.names_record(&value, record));
            *wrong_reads += u64::from(!right);
        }
        for record in drawn.updates {
            let begun = notes.now();
            transaction.put(keyspace, shape.key(record), shape.value(record, tag))?;
            notes.write(begun, record, tag);
        }
        Ok(transaction.commit().await?.lsn().as_u64())
    }
}
