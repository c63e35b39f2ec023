//! Terminals that order and pay, and whether the books are right afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use sombra::{CommitError, Isolation, Remote, TransactionError};

use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::limits::LOADERS_PER_SHARD;
use crate::measure::{Aborts, Latency, Recorder, Stop, Window};
use crate::plan::ClientsOn;
use crate::random::Random;
use crate::report::Report;
use crate::sample::CommitCost;
use crate::session::Session;
use crate::site::{Site, back_off};
use crate::workload::tpcc::{
    Consistency, Scale, Stage, Terminal, check_consistency, load, new_order, payment,
};

use super::crew::{Shift, Work, Worked};

/// Orders and payments in the shape of TPC-C; not a result of that benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct TpccFigures {
    pub warehouses: u32,
    /// How many of them each shard holds.
    pub warehouses_on_shards: Vec<u32>,
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub rows_loaded: u64,
    pub load_seconds: f64,
    pub seconds: f64,
    pub new_orders: TpccRow,
    pub payments: TpccRow,
    /// Orders of an item that does not exist.
    pub rolled_back: u64,
    /// Orders and payments.
    pub per_s: f64,
    #[serde(flatten)]
    pub cost: CommitCost,
    /// The four conditions when the last terminal had ended, and again after reopening.
    pub consistency: Consistency,
    pub consistency_reopened: Option<Consistency>,
    pub books: Books,
}

/// One kind of transaction.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TpccRow {
    pub committed: u64,
    pub per_s: f64,
    #[serde(flatten)]
    pub latency: Latency,
    pub aborts: Aborts,
}

/// What was acknowledged over the whole run, warm-up included, against what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Books {
    pub orders_acknowledged: u64,
    pub orders_found: u64,
    pub cents_acknowledged: u64,
    pub cents_found: u64,
    /// Transactions of which the store could not say whether they happened.
    pub unknown: u64,
}

impl Books {
    /// Whether nothing acknowledged is missing and nothing is there that nobody asked for.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        let exact = self.orders_found == self.orders_acknowledged
            && self.cents_found == self.cents_acknowledged;
        let at_least = self.orders_found >= self.orders_acknowledged
            && self.cents_found >= self.cents_acknowledged;
        exact || (self.unknown > 0 && at_least)
    }
}

impl TpccFigures {
    /// Whether a condition does not hold, or something acknowledged is not there.
    #[must_use]
    pub fn found_damage(&self) -> bool {
        let looks = [Some(&self.consistency), self.consistency_reopened.as_ref()];
        !self.books.is_balanced() || looks.into_iter().flatten().any(|found| !found.is_whole())
    }
}

struct Shared {
    window: Window,
    stop: Stop,
    at_work: AtomicUsize,
}

struct TpccClient {
    shared: Arc<Shared>,
    terminal: Terminal,
    /// For pauses, so that what is drawn does not depend on how often one was needed.
    random: Random,
}

#[derive(Default)]
struct Kind {
    committed: Recorder,
    aborts: Aborts,
    /// Over the whole run.
    acknowledged: u64,
}

#[derive(Default)]
struct TpccReport {
    new_orders: Kind,
    payments: Kind,
    rolled_back: u64,
    cents: u64,
    unknown: u64,
    failure: Option<String>,
}

/// Loads, runs the terminals, and checks the conditions before closing and after reopening.
pub(crate) fn measure_tpcc(
    session: &mut Session,
    warehouses: u32,
    report: &mut Report,
) -> Result<(), BenchError> {
    let scale = Scale::of(warehouses);
    let started = session.runtime.now();
    let rows_loaded = load_all(session, scale)?;
    let load_seconds = session.runtime.now().saturating_since(started).as_secs_f64();
    let before = check(session, scale)?;
    let worked = run_terminals(session, scale)?;
    if let Some(failure) = &worked.outcome.failure {
        report.notes.push(format!("a terminal ended early: {failure}"));
    }
    let mut figures = figures_of(session, &worked);
    (figures.rows_loaded, figures.load_seconds) = (rows_loaded, load_seconds);
    figures.consistency = check(session, scale)?;
    let mut last = &figures.consistency;
    if !session.stop.is_requested() {
        session.progress.begin("close and reopen", 1);
        session.reopen()?;
        last = figures.consistency_reopened.insert(check(session, scale)?);
    }
    figures.books = Books {
        orders_acknowledged: worked.outcome.new_orders.acknowledged,
        orders_found: last.orders.saturating_sub(before.orders),
        cents_acknowledged: worked.outcome.cents,
        cents_found: last.ytd_cents.saturating_sub(before.ytd_cents),
        unknown: worked.outcome.unknown,
    };
    report.workload.records = rows_loaded;
    report.tpcc = Some(figures);
    Ok(())
}

fn stage_of(session: &Session) -> Stage<Remote> {
    Stage {
        db: session.db.clone(),
        keyspace: session.keyspace.clone(),
        isolation: Isolation::Serializable,
    }
}

fn load_all(session: &Session, scale: Scale) -> Result<u64, BenchError> {
    session.progress.begin("load", 1);
    let stage = stage_of(session);
    let lanes = LOADERS_PER_SHARD.min(scale.warehouses as usize);
    let loads = (0..lanes).map(|lane| {
        let which = (1..=scale.warehouses).skip(lane).step_by(lanes);
        load(&stage, (scale, which), session.plan.seed)
    });
    let loaded = session.runtime.block_on(Crowd::new(loads));
    let rows = loaded.into_iter().sum::<Result<u64, TransactionError>>();
    rows.map_err(|error| BenchError::phase("load", error))
}

fn check(session: &Session, scale: Scale) -> Result<Consistency, BenchError> {
    session.progress.begin("check the four conditions", 1);
    let stage = stage_of(session);
    let found = session.runtime.block_on(check_consistency(&stage, scale));
    found.map_err(|error| BenchError::phase("consistency", error))
}

fn warehouses_on_shards(session: &Session) -> Vec<u32> {
    let stage = stage_of(session);
    let mut numbers = vec![0; session.db.shard_count()];
    for warehouse in 1..=session.plan.warehouses() {
        numbers[stage.shard_of(warehouse).index()] += 1;
    }
    numbers
}

/// The homes of terminals in their order: on shards, where terminals go round, each gets one of
/// its own shard as long as there is one.
fn homes(session: &Session) -> Vec<u32> {
    let stage = stage_of(session);
    let mut left: Vec<u32> = (1..=session.plan.warehouses()).collect();
    let mut homes = Vec::with_capacity(left.len());
    for turn in (0..session.db.shard_count()).cycle() {
        if left.is_empty() {
            break;
        }
        let own = left.iter().position(|warehouse| stage.shard_of(*warehouse).index() == turn);
        homes.push(left.remove(own.unwrap_or(0)));
    }
    homes
}

fn run_terminals(session: &Session, scale: Scale) -> Result<Worked<TpccReport>, BenchError> {
    let (warmup, measured) = (session.plan.warmup, session.plan.measured);
    session.progress.begin_timed("orders and payments", warmup + measured);
    let clients = session.plan.clients;
    let shared = Arc::new(Shared {
        window: Window::starting(session.runtime.now(), warmup, measured),
        stop: session.stop.clone(),
        at_work: AtomicUsize::new(clients),
    });
    let homes = homes(session);
    let new_client = |index: usize| {
        let random = Random::for_client(session.plan.seed, index as u64);
        let home = homes[index % homes.len()];
        let terminal = Terminal::new(scale, (home, index as u32 + 1), random);
        let random = Random::for_client(!session.plan.seed, index as u64);
        TpccClient { shared: Arc::clone(&shared), terminal, random }
    };
    let crew = (0..clients).map(new_client).collect();
    let on = session.plan.clients_on;
    let shift = Shift { on, window: shared.window, at_work: &shared.at_work };
    session.run_crew::<TpccClient>(crew, &shift)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn figures_of(session: &Session, worked: &Worked<TpccReport>) -> TpccFigures {
    let Worked { outcome, counted, seconds } = worked;
    let per_s = |count: u64| count as f64 / seconds.max(f64::MIN_POSITIVE);
    let row = |kind: &Kind| TpccRow {
        committed: kind.committed.count(),
        per_s: per_s(kind.committed.count()),
        latency: kind.committed.service(),
        aborts: kind.aborts,
    };
    let (new_orders, payments) = (row(&outcome.new_orders), row(&outcome.payments));
    let committed = new_orders.committed + payments.committed;
    TpccFigures {
        warehouses: session.plan.warehouses(),
        warehouses_on_shards: warehouses_on_shards(session),
        clients: session.plan.clients,
        clients_on: session.plan.clients_on,
        rows_loaded: 0,
        load_seconds: 0.0,
        seconds: *seconds,
        new_orders,
        payments,
        rolled_back: outcome.rolled_back,
        per_s: per_s(committed),
        cost: counted.cost_of(committed),
        consistency: Consistency::default(),
        consistency_reopened: None,
        books: Books::default(),
    }
}

impl Work for TpccClient {
    type Outcome = TpccReport;

    async fn work(mut self, site: impl Site) -> TpccReport {
        let shared = Arc::clone(&self.shared);
        let (db, keyspace) = (site.handle().clone(), site.keyspace().clone());
        let stage = Stage { db, keyspace, isolation: Isolation::Serializable };
        let mut report = TpccReport::default();
        let mut aborted_in_a_row = 0;
        while !shared.stop.is_requested() {
            site.breathe().await;
            let started = site.now();
            if started >= shared.window.end {
                break;
            }
            let is_order = self.terminal.is_order_next();
            let outcome = self.attempt(&stage, is_order, &mut report).await;
            let done = site.now();
            let counts = shared.window.counts(done);
            let kind = if is_order { &mut report.new_orders } else { &mut report.payments };
            let mut uncounted = Aborts::default();
            aborted_in_a_row = if outcome.is_ok() { 0 } else { aborted_in_a_row + 1 };
            match outcome {
                Ok(is_committed) if is_committed && counts => {
                    let nanoseconds = done.saturating_since(started).as_nanos() as u64;
                    kind.committed.record(nanoseconds, nanoseconds);
                }
                Ok(_) => {}
                Err(error) => {
                    let aborts = if counts { &mut kind.aborts } else { &mut uncounted };
                    if let Err(error) = aborts.note(error) {
                        report.failure = Some(error.to_string());
                        break;
                    }
                    back_off(&site, &mut self.random, aborted_in_a_row).await;
                }
            }
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        report
    }

    fn merge(whole: &mut TpccReport, part: TpccReport) {
        for (whole, part) in
            [(&mut whole.new_orders, part.new_orders), (&mut whole.payments, part.payments)]
        {
            whole.committed.merge(&part.committed);
            whole.aborts.merge(&part.aborts);
            whole.acknowledged += part.acknowledged;
        }
        whole.rolled_back += part.rolled_back;
        whole.cents += part.cents;
        whole.unknown += part.unknown;
        whole.failure = whole.failure.take().or(part.failure);
    }
}

impl TpccClient {
    /// One transaction; whether it committed. One that conflicts is not run again: after a pause
    /// the next one is drawn.
    async fn attempt<P: sombra::Port>(
        &mut self,
        stage: &Stage<P>,
        is_order: bool,
        report: &mut TpccReport,
    ) -> Result<bool, TransactionError> {
        let outcome = if is_order {
            let placed = new_order(stage, &self.terminal.new_order()).await;
            placed.map(|placed| {
                report.rolled_back += u64::from(placed.is_none());
                report.new_orders.acknowledged += u64::from(placed.is_some());
                placed.is_some()
            })
        } else {
            let due = self.terminal.payment();
            payment(stage, &due).await.map(|_| {
                report.payments.acknowledged += 1;
                report.cents += due.amount_cents;
                true
            })
        };
        if let Err(TransactionError::Commit(CommitError::Unknown { .. })) = &outcome {
            report.unknown += 1;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The negative control of the books: a lost order, a lost payment and one too many are found.
    #[test]
    fn books_balance_only_when_found_is_what_was_acknowledged_or_unknown() {
        let right = Books {
            orders_acknowledged: 5,
            orders_found: 5,
            cents_acknowledged: 900,
            cents_found: 900,
            unknown: 0,
        };
        assert!(right.is_balanced());
        assert!(!Books { orders_found: 4, ..right }.is_balanced());
        assert!(!Books { cents_found: 800, ..right }.is_balanced());
        let more = Books { orders_found: 6, ..right };
        assert!(!more.is_balanced());
        assert!(Books { unknown: 1, ..more }.is_balanced());
        assert!(!Books { unknown: 1, orders_found: 4, ..right }.is_balanced());
    }
}
