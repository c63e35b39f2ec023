//! Long transactions beside a load of short ones: how many abort, and how many of those abort
//! although nothing that they read or wrote was changed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use sombra::{CommitError, Isolation, Transaction, TransactionError};

use crate::client::{Client, ClientReport, PhaseShared};
use crate::error::BenchError;
use crate::history::Notes;
use crate::limits::{LONG_CLIENTS, LONG_READS, LONG_TRANSACTION_MS};
use crate::measure::{Abort, Aborts, History, Judgement, Version, Window, later};
use crate::plan::ClientsOn;
use crate::random::Random;
use crate::report::{MixFigures, Report};
use crate::session::Session;
use crate::site::Site;
use crate::workload::{Chooser, Mix, WriteTag, distinct};

use super::clients::{ClientsPhase, ClientsRun};
use super::crew::{Shift, Work, Worked};
use super::load::load;

/// The keys of a long transaction: what it reads, and the one that it writes.
const LONG_RECORDS: usize = LONG_READS + 1;
const LONG_TIME: Duration = Duration::from_millis(LONG_TRANSACTION_MS);

/// Serializable transactions that read uniform keys over a second and then write one.
#[derive(Clone, Debug, Serialize)]
pub struct LongFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub reads: usize,
    pub milliseconds: u64,
    pub committed: u64,
    pub aborted: u64,
    pub aborts: Aborts,
    /// Aborts whose named key was changed above the snapshot.
    pub true_aborts: u64,
    /// Aborts whose named key was not.
    pub false_aborts: u64,
    /// Those of them of which no other key was changed either.
    pub false_aborts_of_unchanged: u64,
    /// Aborts whose key was being changed when the client was told, or that name none.
    pub undecided_aborts: u64,
    pub false_share_of_aborts: f64,
    /// Commits although a key that was read, or written, had been changed: there must be none.
    pub wrong_commits: u64,
    /// Reads that found nothing, or the value of another record.
    pub wrong_reads: u64,
    /// What ran beside: YCSB A, one operation to a transaction.
    pub load: Option<MixFigures>,
}

/// One transaction that ended.
struct Ended {
    records: [u64; LONG_RECORDS],
    snapshot: u64,
    outcome: Outcome,
}

enum Outcome {
    Committed {
        lsn: u64,
    },
    /// The place of the key that was named, among the records.
    Aborted {
        named: Option<usize>,
        abort: Abort,
    },
}

struct LongClient {
    shared: Arc<PhaseShared>,
    random: Random,
    writer: u32,
}

#[derive(Default)]
struct LongReport {
    load: ClientReport,
    ended: Vec<Ended>,
    aborts: Aborts,
    wrong_reads: u64,
    failure: Option<String>,
}

enum Member {
    Short(Client),
    Long(LongClient),
}

/// Loads, runs both kinds of clients, and judges every abort.
pub(crate) fn measure_long(session: &Session, report: &mut Report) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    if session.is_to_end() {
        return Ok(());
    }
    let phase = ClientsPhase {
        name: "long transactions beside YCSB A",
        mix: Mix::A,
        distribution: session.transaction_distribution(),
        clients: session.plan.clients,
        on: session.plan.clients_on,
        rate_per_s: session.plan.rate_per_s,
        warmup: session.plan.warmup,
    };
    let history = Arc::new(History::default());
    let (warmup, measured) = (phase.warmup, session.plan.measured);
    session.progress.begin_timed(phase.name, warmup + measured);
    let shared = Arc::new(PhaseShared {
        mix: phase.mix,
        chooser: Chooser::new(phase.distribution, session.plan.records),
        shape: session.plan.shape,
        window: Window::starting(session.runtime.now(), warmup, measured),
        stop: session.stop.clone(),
        ledger: Arc::clone(&session.ledger),
        inserts: Arc::clone(&session.inserts),
        history: Some(Arc::clone(&history)),
        recording: session.recording.clone(),
        at_work: AtomicUsize::new(phase.clients + LONG_CLIENTS),
    });
    let short =
        (0..phase.clients).map(|index| Member::Short(session.new_client(&phase, &shared, index)));
    let long = (0..LONG_CLIENTS).map(|_| {
        let writer = session.ledger.new_writer();
        let random = Random::for_client(session.plan.seed, u64::from(writer));
        Member::Long(LongClient { shared: Arc::clone(&shared), random, writer })
    });
    let shift = Shift { on: phase.on, window: shared.window, at_work: &shared.at_work };
    let worked: Worked<LongReport> =
        session.run_crew::<Member>(short.chain(long).collect(), &shift)?;
    if let Some(failure) = worked.outcome.failure {
        return Err(BenchError::phase("long transactions", failure));
    }
    report.long_transactions = Some(LongFigures::of(worked, phase, &history));
    Ok(())
}

impl LongFigures {
    /// Reads and commits that the store must not have let happen.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.wrong_reads
            + self.wrong_commits
            + self.load.as_ref().map_or(0, |load| load.wrong_reads)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn of(worked: Worked<LongReport>, phase: ClientsPhase, history: &History) -> LongFigures {
        let Worked { outcome, counted, seconds } = worked;
        let mut figures = LongFigures {
            clients: LONG_CLIENTS,
            clients_on: phase.on,
            reads: LONG_READS,
            milliseconds: LONG_TRANSACTION_MS,
            committed: 0,
            aborted: outcome.aborts.total(),
            aborts: outcome.aborts,
            true_aborts: 0,
            false_aborts: 0,
            false_aborts_of_unchanged: 0,
            undecided_aborts: outcome.aborts.snapshot_too_old,
            false_share_of_aborts: 0.0,
            wrong_commits: 0,
            wrong_reads: outcome.wrong_reads,
            load: None,
        };
        outcome.ended.iter().for_each(|ended| figures.add(ended, history));
        figures.false_share_of_aborts = figures.false_aborts as f64 / figures.aborted.max(1) as f64;
        let load = ClientsRun { phase, report: outcome.load, seconds, counted };
        figures.load = Some(MixFigures::of(&load));
        figures
    }

    fn add(&mut self, ended: &Ended, history: &History) {
        match ended.outcome {
            Outcome::Committed { lsn } => {
                self.committed += 1;
                let is_changed =
                    |&record: &u64| history.is_changed_between(record, ended.snapshot, lsn);
                self.wrong_commits += u64::from(ended.records.iter().any(is_changed));
            }
            Outcome::Aborted { named, abort } => {
                let judge = |record: &u64| history.judge(*record, &abort);
                let Some(named) = named else {
                    self.undecided_aborts += 1;
                    return;
                };
                match judge(&ended.records[named]) {
                    Judgement::True => self.true_aborts += 1,
                    Judgement::Undecided => self.undecided_aborts += 1,
                    Judgement::False => {
                        self.false_aborts += 1;
                        let untouched =
                            ended.records.iter().all(|record| judge(record) == Judgement::False);
                        self.false_aborts_of_unchanged += u64::from(untouched);
                    }
                }
            }
        }
    }
}

impl Work for Member {
    type Outcome = LongReport;

    async fn work(self, site: impl Site) -> LongReport {
        match self {
            Member::Short(client) => {
                let load = client.work(site).await;
                let failure = load.failure.clone();
                LongReport { load, failure, ..LongReport::default() }
            }
            Member::Long(client) => client.run(site).await,
        }
    }

    fn merge(whole: &mut LongReport, part: LongReport) {
        whole.load.merge(part.load);
        whole.ended.extend(part.ended);
        whole.aborts.merge(&part.aborts);
        whole.wrong_reads += part.wrong_reads;
        whole.failure = whole.failure.take().or(part.failure);
    }
}

impl LongClient {
    async fn run(mut self, site: impl Site) -> LongReport {
        let shared = Arc::clone(&self.shared);
        let mut report = LongReport::default();
        // Or all of them would commit at the same moments.
        let head_start = Duration::from_millis(self.random.below(LONG_TRANSACTION_MS));
        site.wait_until(later(site.now(), head_start)).await;
        let mut number = 0;
        while later(site.now(), LONG_TIME) <= shared.window.end && !self.is_to_end() {
            match self.attempt(&site, number, &mut report).await {
                Ok(Some(ended)) => report.ended.push(ended),
                Ok(None) => break,
                Err(error) => {
                    if let Err(error) = report.aborts.note(error) {
                        report.failure = Some(error.to_string());
                        break;
                    }
                }
            }
            number += 1;
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        report
    }

    /// One transaction; `None` when a stop was requested meanwhile. A conflict is counted here
    /// already, and judged later.
    async fn attempt(
        &mut self,
        site: &impl Site,
        number: u64,
        report: &mut LongReport,
    ) -> Result<Option<Ended>, TransactionError> {
        let shared = Arc::clone(&self.shared);
        let (shape, existing) = (shared.shape, shared.inserts.existing());
        let records: [u64; LONG_RECORDS] = distinct(existing, || self.random.below(existing));
        let tag = WriteTag::new(self.writer, number);
        let mut notes = shared.recording.begin(self.writer, Isolation::Serializable);
        let transaction = site.handle().begin()?;
        let snapshot = transaction.snapshot_lsn().as_u64();
        let drawn = (&records, tag);
        let prepared =
            self.prepare(site, &transaction, drawn, (&mut report.wrong_reads, &mut notes)).await;
        match prepared {
            Ok(true) => {}
            Ok(false) => {
                notes.give_up();
                return Ok(None);
            }
            Err(error) => {
                notes.end(Err(&error));
                return Err(error);
            }
        }
        let set_out = site.now();
        let answer = transaction.commit().await.map(|committed| committed.lsn().as_u64());
        let answer = answer.map_err(TransactionError::from);
        notes.end(answer.as_ref().copied());
        let written = records[LONG_READS];
        let outcome = match answer {
            Ok(lsn) => {
                shared.ledger.acknowledge(written, tag, lsn);
                if let Some(history) = &shared.history {
                    history.record(written, Version { lsn, begun: set_out });
                }
                Outcome::Committed { lsn }
            }
            Err(TransactionError::Commit(CommitError::Conflict { keyspace, key, reason })) => {
                let told = site.now();
                let visible = site.handle().snapshot()?.lsn().as_u64();
                let named = records.iter().position(|&record| shape.key(record) == key);
                report.aborts.note(CommitError::Conflict { keyspace, key, reason }.into())?;
                Outcome::Aborted { named, abort: Abort { snapshot, visible, told } }
            }
            Err(error) => {
                if matches!(error, TransactionError::Commit(CommitError::Unknown { .. })) {
                    shared.ledger.doubt(written, tag);
                }
                return Err(error);
            }
        };
        Ok(Some(Ended { records, snapshot, outcome }))
    }

    /// Reads and writes over the whole time; `false` when a stop was requested meanwhile.
    async fn prepare<S: Site>(
        &self,
        site: &S,
        transaction: &Transaction<S::Port>,
        (records, tag): (&[u64; LONG_RECORDS], WriteTag),
        (wrong_reads, notes): (&mut u64, &mut Notes),
    ) -> Result<bool, TransactionError> {
        let (shape, keyspace, begun) = (self.shared.shape, site.keyspace(), site.now());
        for (place, &record) in records[..LONG_READS].iter().enumerate() {
            site.wait_until(later(begun, LONG_TIME * place as u32 / LONG_READS as u32)).await;
            if self.is_to_end() {
                return Ok(false);
            }
            let noted = notes.now();
            let found = transaction.get(keyspace, shape.key(record)).await?;
            notes.read(noted, record, found.as_ref());
            let right = found.is_some_and(|value| shape.names_record(&value, record));
            *wrong_reads += u64::from(!right);
        }
        site.wait_until(later(begun, LONG_TIME)).await;
        let (written, noted) = (records[LONG_READS], notes.now());
        transaction.put(keyspace, shape.key(written), shape.value(written, tag))?;
        notes.write(noted, written, tag);
        Ok(true)
    }

    fn is_to_end(&self) -> bool {
        self.shared.stop.is_requested() || self.shared.recording.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sombra_runtime::Moment;

    fn figures(ended: &[(usize, Outcome)], history: &History) -> LongFigures {
        let phase = ClientsPhase {
            name: "",
            mix: Mix::A,
            distribution: Mix::A.canonical_distribution(),
            clients: 1,
            on: ClientsOn::Handle,
            rate_per_s: None,
            warmup: Duration::ZERO,
        };
        let worked =
            Worked { outcome: LongReport::default(), counted: Default::default(), seconds: 1.0 };
        let mut figures = LongFigures::of(worked, phase, history);
        for (first, outcome) in ended {
            let records = std::array::from_fn(|place| (first + place) as u64);
            let outcome = match outcome {
                Outcome::Committed { lsn } => Outcome::Committed { lsn: *lsn },
                Outcome::Aborted { named, abort } => {
                    Outcome::Aborted { named: *named, abort: *abort }
                }
            };
            figures.add(&Ended { records, snapshot: 100, outcome }, history);
        }
        figures
    }

    /// Also the negative control of both checks: a false abort and a wrong commit are found.
    #[test]
    fn aborts_are_judged_by_the_named_key_and_commits_by_all_keys() {
        let history = History::default();
        let version = |lsn| Version { lsn, begun: Moment::from_nanos(lsn) };
        history.record(3, version(120));
        history.record(30, version(90));
        let abort = Abort { snapshot: 100, visible: 150, told: Moment::from_nanos(150) };
        let aborted = |named| Outcome::Aborted { named, abort };
        let found = figures(
            &[
                (0, aborted(Some(3))),
                (0, aborted(Some(4))),
                (20, aborted(Some(10))),
                (0, aborted(None)),
                (20, Outcome::Committed { lsn: 200 }),
                (0, Outcome::Committed { lsn: 120 }),
                (0, Outcome::Committed { lsn: 121 }),
            ],
            &history,
        );
        assert_eq!((found.true_aborts, found.false_aborts, found.undecided_aborts), (1, 2, 1));
        assert_eq!(found.false_aborts_of_unchanged, 1);
        assert_eq!((found.committed, found.wrong_commits), (3, 1));
    }
}
