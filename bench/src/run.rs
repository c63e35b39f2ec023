//! A whole run, phase after phase.

use sombra::DurabilityMethod;

use crate::error::BenchError;
use crate::limits::{COLD_DEVICE_READS_MIN, PAIR_SIDE_SECONDS_MIN, PAIRS_MIN_FOR_RATIO};
use crate::measure::Stop;
use crate::phase::churn::measure_churn;
use crate::phase::clients::{ClientsPhase, ClientsRun};
use crate::phase::counter::measure_counter;
use crate::phase::disk::Scratch;
use crate::phase::idle::measure_idle;
use crate::phase::larger::{LargerFigures, measure_larger};
use crate::phase::load::load;
use crate::phase::long_transactions::measure_long;
use crate::phase::pairs::run_pairs;
use crate::phase::tpcc::measure_tpcc;
use crate::phase::transaction_pairs::measure_transactions;
use crate::phase::verify::verify;
use crate::plan::{ClientsOn, Mode, Plan};
use crate::progress::Progress;
use crate::report::{
    CommitFigures, DiskFigures, Environment, MixFigures, RatioFigures, ReadFigures, Report,
    WorkloadFacts,
};
use crate::session::Session;
use crate::workload::Mix;

/// Runs a plan from the empty directory to the verification, and reports.
///
/// A stop request ends the phase at work and skips the rest; what was measured is reported.
///
/// # Errors
/// The plan is outside its bounds, there is too little space, or the store or the device refused
/// something that a phase cannot go on without. The run's files are removed on every way out,
/// unless the plan keeps them.
pub fn run(plan: Plan, stop: Stop, progress: Progress) -> Result<Report, BenchError> {
    let mut session = Session::open(plan, stop, progress)?;
    let outcome = measure(&mut session);
    session.progress.end();
    let ended = session.end();
    let report = outcome?;
    ended?;
    Ok(report)
}

fn measure(session: &mut Session) -> Result<Report, BenchError> {
    let opened = session.db.open_report();
    let method = opened.durability_method;
    let directory = session.place.run_dir();
    let environment = Environment::of(&session.runtime, directory, method.name());
    let mut report = Report::new(environment, WorkloadFacts::of(&session.plan));
    match session.plan.mode {
        Mode::Phases => measure_beside_disk(session, method, &mut report)?,
        Mode::LargerThanCache => measure_larger(session, &mut report)?,
        Mode::Churn { factor, snapshot } => {
            measure_churn(session, (factor, snapshot), &mut report)?;
        }
        Mode::Transactions => measure_transactions(session, &mut report)?,
        Mode::LongTransactions => measure_long(session, &mut report)?,
        Mode::Tpcc { warehouses } => measure_tpcc(session, warehouses, &mut report)?,
        Mode::Idle => measure_idle(session, &mut report)?,
        Mode::Counter => measure_counter(session, &mut report)?,
    }
    report.history = session.recording.finish()?;
    // Orders and payments were looked at when the store was open again.
    if report.tpcc.is_none() && !session.stop.is_requested() {
        report.verify = Some(verify(session)?);
    }
    report.interrupted = session.stop.is_requested();
    report.close(session);
    Ok(report)
}

fn measure_beside_disk(
    session: &Session,
    method: DurabilityMethod,
    report: &mut Report,
) -> Result<(), BenchError> {
    let path = session.place.scratch();
    let scratch = Scratch::prepare(&session.runtime, &path, &session.progress)?;
    if session.plan.pairs.is_some() {
        measure_pairs(session, &scratch, method, report)
    } else {
        measure_phases(session, &scratch, method, report)
    }
}

fn measure_pairs(
    session: &Session,
    scratch: &Scratch,
    method: DurabilityMethod,
    report: &mut Report,
) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    report.pairs = run_pairs(session, scratch, method, session.commit_phase())?;
    Ok(())
}

fn measure_phases(
    session: &Session,
    scratch: &Scratch,
    method: DurabilityMethod,
    report: &mut Report,
) -> Result<(), BenchError> {
    report.disk = Some(measure_disk(session, scratch, method)?);
    if session.stop.is_requested() {
        return Ok(());
    }
    report.load = Some(load(session)?);
    let here = session.plan.clients_on;
    let commit = session.commit_phase();
    report.commit = session.step(commit, report)?.map(|run| CommitFigures::of(&run));
    let beside = ClientsPhase { on: here.other(), name: "commits, beside", ..commit };
    report.commit_beside = session.step(beside, report)?.map(|run| CommitFigures::of(&run));
    let lone = ClientsPhase { clients: 1, rate_per_s: None, name: "lone client", ..commit };
    let lone = ClientsPhase { on: ClientsOn::Shards, ..lone };
    report.lone_client = session.step(lone, report)?.map(|run| CommitFigures::of(&run));
    let read = ClientsPhase { mix: Mix::Read, name: "reads", ..commit };
    report.read = session.step(read, report)?.map(|run| ReadFigures::of(&run));
    let beside = ClientsPhase { on: here.other(), name: "reads, beside", ..read };
    report.read_beside = session.step(beside, report)?.map(|run| ReadFigures::of(&run));
    for mix in session.plan.mixes.clone() {
        let run = session.step(session.mix_phase(mix), report)?;
        report.ycsb.extend(run.map(|run| MixFigures::of(&run)));
    }
    Ok(())
}

fn measure_disk(
    session: &Session,
    scratch: &Scratch,
    method: DurabilityMethod,
) -> Result<DiskFigures, BenchError> {
    let writes = scratch.durable_writes(method, &session.stretch())?;
    if session.stop.is_requested() {
        return Ok(DiskFigures::of(&writes, None));
    }
    let reads = scratch.random_reads(&session.stretch())?;
    Ok(DiskFigures::of(&writes, Some(&reads)))
}

impl Session {
    fn commit_phase(&self) -> ClientsPhase {
        ClientsPhase { name: "commits", ..self.mix_phase(Mix::Commit) }
    }

    fn mix_phase(&self, mix: Mix) -> ClientsPhase {
        let canonical = mix.canonical_distribution();
        ClientsPhase {
            name: "mixed operations",
            mix,
            distribution: self.plan.distribution.unwrap_or(canonical),
            clients: self.plan.clients,
            on: self.plan.clients_on,
            rate_per_s: self.plan.rate_per_s,
            warmup: self.plan.warmup,
        }
    }

    /// Runs one phase and notes what a reader of its figures must know; nothing after a stop.
    pub(crate) fn step(
        &self,
        phase: ClientsPhase,
        report: &mut Report,
    ) -> Result<Option<ClientsRun>, BenchError> {
        if self.stop.is_requested() {
            return Ok(None);
        }
        let run = self.run_clients(phase)?;
        let place = phase.on.name();
        if let Some(failure) = &run.report.failure {
            report.notes.push(format!("{} {place}: a client ended early: {failure}", phase.mix));
        }
        if run.report.wrong_reads > 0 {
            let wrong = run.report.wrong_reads;
            report.notes.push(format!("{} {place}: {wrong} reads found no value", phase.mix));
        }
        Ok(Some(run))
    }
}

impl Report {
    fn new(environment: Environment, workload: WorkloadFacts) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            environment,
            workload,
            disk: None,
            load: None,
            commit: None,
            commit_beside: None,
            lone_client: None,
            read: None,
            read_beside: None,
            ycsb: Vec::new(),
            pairs: None,
            larger_than_cache: None,
            churn: None,
            transactions: None,
            long_transactions: None,
            tpcc: None,
            idle: None,
            counter: None,
            history: None,
            verify: None,
            ratio: None,
            notes: Vec::new(),
            interrupted: false,
        }
    }

    /// Adds what follows from the figures, and what people must know beside them.
    fn close(&mut self, session: &Session) {
        let ratio = self.disk.as_ref().zip(self.commit.as_ref());
        self.ratio = ratio.map(|(disk, commit)| RatioFigures {
            commit_per_durable_write: commit.per_s / disk.durable_write_per_s,
            is_median_of_pairs: false,
        });
        if let Some(pairs) = &self.pairs {
            let commit_per_durable_write = pairs.commit_against_reference.median;
            self.ratio = Some(RatioFigures { commit_per_durable_write, is_median_of_pairs: true });
            let (number, side_seconds) = (pairs.pairs, pairs.side_seconds);
            self.note_few_pairs(number, side_seconds);
        }
        if let Some(pairs) = &self.transactions {
            let (number, side_seconds) = (pairs.pairs, pairs.side_seconds);
            self.note_few_pairs(number, side_seconds);
        }
        if let Some(pairs) = &self.counter {
            let (number, side_seconds) = (pairs.pairs, pairs.side_seconds);
            self.note_few_pairs(number, side_seconds);
        }
        if let Some(history) = &self.history {
            self.notes.push("the figures include writing the history".to_owned());
            if history.is_full {
                let number = history.transactions;
                self.notes.push(format!("the history is full with {number}; the run ended there"));
            }
        }
        if let Some(note) = &self.environment.driver_note {
            self.notes.push(note.clone());
        }
        if self.environment.build == "debug" {
            self.notes.push("a debug build: its figures say nothing about the store".to_owned());
        }
        if session.place.is_kept() {
            let kept = session.place.run_dir().display();
            self.notes.push(format!("files kept in {kept}"));
        }
    }

    fn note_few_pairs(&mut self, pairs: usize, side_seconds: f64) {
        if pairs < PAIRS_MIN_FOR_RATIO || side_seconds < PAIR_SIDE_SECONDS_MIN {
            self.notes.push(format!(
                "a glance, not a measurement: that takes {PAIRS_MIN_FOR_RATIO} pairs or more, \
                 each side {PAIR_SIDE_SECONDS_MIN} s or longer"
            ));
        }
    }

    /// What a reader of lookups must know beside their figures.
    pub(crate) fn note_lookups(&mut self, figures: &LargerFigures) {
        if let Some(lookups) = figures.lookups.as_ref().filter(|lookups| !lookups.is_cold()) {
            self.notes.push(format!(
                "the lookups were not cold: {:.2} device reads each, where \
                 {COLD_DEVICE_READS_MIN} make it a measurement of the disk",
                lookups.device_reads_per_lookup,
            ));
        }
        if let Some(pairs) = &figures.pairs {
            self.note_few_pairs(pairs.pairs, pairs.side_seconds);
            let wrong: u64 = pairs.rows.iter().map(|row| row.lookups.wrong).sum();
            if wrong > 0 {
                self.notes.push(format!("pairs: {wrong} lookups found no value"));
            }
        }
        if figures.settle.is_some_and(|settle| !settle.settled) {
            self.notes.push("merging had not settled before the lookups".to_owned());
        }
    }
}
