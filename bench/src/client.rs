//! One client: draws operations, times them, and keeps the ledger true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sombra::{CommitError, Isolation, TransactionError};

use crate::history::Recording;
use crate::limits::{CONFLICT_ATTEMPTS_MAX, OPS_BEFORE_YIELD, RECORDS_MAX};
use crate::measure::{History, Ledger, Pace, Recorder, Stop, Version, Window, later};
use crate::phase::crew::Work;
use crate::random::Random;
use crate::site::{Replaced, Rows, Site, back_off};
use crate::workload::{Chooser, Inserts, Mix, Operation, Shape, WriteTag, scan_rows};

/// What all clients of one phase share.
pub(crate) struct PhaseShared {
    pub(crate) mix: Mix,
    pub(crate) chooser: Chooser,
    pub(crate) shape: Shape,
    pub(crate) window: Window,
    pub(crate) stop: Stop,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) inserts: Arc<Inserts>,
    /// Where every commit is remembered, where somebody asks for that.
    pub(crate) history: Option<Arc<History>>,
    pub(crate) recording: Recording,
    /// Clients that are still at work: the phase ends early when none is.
    pub(crate) at_work: AtomicUsize,
}

/// One client's part in a phase.
pub(crate) struct Client {
    pub(crate) shared: Arc<PhaseShared>,
    pub(crate) pace: Pace,
    pub(crate) random: Random,
    pub(crate) writer: u32,
}

/// What one client saw, and what all clients saw when merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientReport {
    pub(crate) reads: Recorder,
    pub(crate) writes: Recorder,
    pub(crate) conflicts: u64,
    /// Reads of a loaded record that found nothing, or somebody else's value.
    pub(crate) wrong_reads: u64,
    /// Rows that scans gave back.
    pub(crate) scanned_rows: u64,
    /// Why the client ended before the phase did.
    pub(crate) failure: Option<String>,
}

impl ClientReport {
    pub(crate) fn merge(&mut self, other: ClientReport) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.conflicts += other.conflicts;
        self.wrong_reads += other.wrong_reads;
        self.scanned_rows += other.scanned_rows;
        self.failure = self.failure.take().or(other.failure);
    }
}

impl Work for Client {
    type Outcome = ClientReport;

    /// Works until the window ends, a stop is requested, or the store refuses.
    async fn work(mut self, site: impl Site) -> ClientReport {
        let shared = Arc::clone(&self.shared);
        let mut report = ClientReport::default();
        let mut number = 0;
        while !shared.stop.is_requested() && !shared.recording.is_over() {
            let due = self.pace.intended_start(number);
            let due = due.map(|after| later(shared.window.begin, after));
            if due.is_some_and(|due| due >= shared.window.end) {
                break;
            }
            if let Some(due) = due.filter(|due| *due > site.now()) {
                site.wait_until(due).await;
            } else if number.is_multiple_of(u64::from(OPS_BEFORE_YIELD)) {
                site.breathe().await;
            }
            let started = site.now();
            if started >= shared.window.end {
                break;
            }
            let operation = shared.mix.draw(&mut self.random);
            let record = match operation {
                Operation::Insert => shared.inserts.take(),
                _ => shared.chooser.draw(&mut self.random, shared.inserts.existing()),
            };
            let tag = WriteTag::new(self.writer, number);
            let outcome = self.perform(&site, operation, (record, tag), &mut report).await;
            if let Err(error) = outcome {
                report.failure = Some(error.to_string());
                break;
            }
            let done = site.now();
            if shared.window.counts(done) {
                let service = done.saturating_since(started).as_nanos() as u64;
                let response = done.saturating_since(due.unwrap_or(started)).as_nanos() as u64;
                report.recorder_for(operation).record(service, response);
            }
            number += 1;
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        report
    }

    fn merge(whole: &mut ClientReport, part: ClientReport) {
        whole.merge(part);
    }
}

impl Client {
    async fn perform(
        &mut self,
        site: &impl Site,
        operation: Operation,
        (record, tag): (u64, WriteTag),
        report: &mut ClientReport,
    ) -> Result<(), TransactionError> {
        let key = self.shared.shape.key(record);
        match operation {
            Operation::Read => {
                let mut notes = self.shared.recording.begin(self.writer, Isolation::Serializable);
                let begun = notes.now();
                let found = site.get(&key).await?;
                notes.read(begun, record, found.as_ref());
                // A lone read has no commit, and that of a reader means nothing.
                notes.end(Ok(0));
                self.check(record, found.as_ref(), report);
                Ok(())
            }
            Operation::Scan => {
                let rows = site.scan(&key, scan_rows(&mut self.random)).await?;
                self.check_rows(record, (&key, &rows), report);
                Ok(())
            }
            Operation::Insert if record >= RECORDS_MAX => {
                let reason = format!("inserts: expected at most {RECORDS_MAX} records in all");
                Err(TransactionError::abort(reason))
            }
            Operation::Update | Operation::ReadModifyWrite | Operation::Insert => {
                self.write(site, (operation, &key), (record, tag), report).await
            }
        }
    }

    async fn write(
        &mut self,
        site: &impl Site,
        (operation, key): (Operation, &[u8]),
        (record, tag): (u64, WriteTag),
        report: &mut ClientReport,
    ) -> Result<(), TransactionError> {
        let isolation = match operation {
            Operation::ReadModifyWrite => Isolation::Snapshot,
            _ => Isolation::Serializable,
        };
        let mut attempt = 1;
        loop {
            let value = self.shared.shape.value(record, tag);
            let mut notes = self.shared.recording.begin(self.writer, isolation);
            let noted = notes.now();
            let begun = site.now();
            let outcome = match operation {
                Operation::ReadModifyWrite => site.replace(key, value).await,
                _ => site.put(key, value).await.map(|lsn| Replaced { before: None, lsn }),
            };
            match outcome {
                Ok(Replaced { before, lsn }) => {
                    if operation == Operation::ReadModifyWrite {
                        notes.read(noted, record, before.as_ref());
                    }
                    notes.write(noted, record, tag);
                    notes.end(Ok(lsn.as_u64()));
                    self.shared.ledger.acknowledge(record, tag, lsn.as_u64());
                    if let Some(history) = &self.shared.history {
                        history.record(record, Version { lsn: lsn.as_u64(), begun });
                    }
                    match operation {
                        Operation::ReadModifyWrite => self.check(record, before.as_ref(), report),
                        Operation::Insert => self.shared.inserts.acknowledge(record),
                        _ => {}
                    }
                    return Ok(());
                }
                // Nothing of it happened, and the next attempt writes the same value.
                Err(error) if error.is_retryable() && attempt < CONFLICT_ATTEMPTS_MAX => {
                    report.conflicts += 1;
                    attempt += 1;
                    back_off(site, &mut self.random, attempt).await;
                }
                Err(error) => {
                    notes.write(noted, record, tag);
                    notes.end(Err(&error));
                    if matches!(error, TransactionError::Commit(CommitError::Unknown { .. })) {
                        self.shared.ledger.doubt(record, tag);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// A scan begins with the record it was sent to, which exists, and keeps the order of keys.
    fn check_rows(&self, record: u64, (key, rows): (&[u8], &Rows), report: &mut ClientReport) {
        let first = rows.first().filter(|(found, _)| found == key);
        self.check(record, first.map(|(_, value)| value), report);
        let in_order = rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        report.wrong_reads += u64::from(!in_order);
        report.scanned_rows += rows.len() as u64;
    }

    /// Every record is loaded before a phase begins, so a read finds a value of its own record.
    fn check(&self, record: u64, found: Option<&Bytes>, report: &mut ClientReport) {
        let right = found.is_some_and(|value| self.shared.shape.names_record(value, record));
        report.wrong_reads += u64::from(!right);
    }
}

impl ClientReport {
    fn recorder_for(&mut self, operation: Operation) -> &mut Recorder {
        match operation {
            Operation::Read | Operation::Scan => &mut self.reads,
            Operation::Update | Operation::ReadModifyWrite | Operation::Insert => &mut self.writes,
        }
    }
}
