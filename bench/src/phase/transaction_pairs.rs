//! What serializability costs, as it must be measured: pairs in alternating order, beside a row
//! that shows how far the machine can be trusted.

use serde::Serialize;
use sombra::Isolation;

use crate::error::BenchError;
use crate::measure::{Ratio, ratio_of_pairs};
use crate::plan::ClientsOn;
use crate::report::Report;
use crate::session::Session;
use crate::workload::Distribution;

use super::crossing::{CrossingFigures, measure_crossing};
use super::load::load;
use super::pairs::is_too_wide;
use super::transactions::TransactionFigures;

/// Alternating runs of `Snapshot` (A) and of `Serializable` (B).
#[derive(Clone, Debug, Serialize)]
pub struct TransactionPairsFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub distribution: Distribution,
    /// Commits one after the other on the idle store, before the pairs; `null` on one shard.
    pub crossing: Option<CrossingFigures>,
    pub pairs: usize,
    pub side_seconds: f64,
    pub snapshot_against_itself: Option<Ratio>,
    pub serializable_against_snapshot: Option<Ratio>,
    /// The same of the CPU time that a commit takes.
    pub cpu_snapshot_against_itself: Option<Ratio>,
    pub cpu_serializable_against_snapshot: Option<Ratio>,
    /// The first row is too wide for the second to count.
    pub undecided: bool,
    pub rows: Vec<TransactionPairRow>,
}

/// One pair.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionPairRow {
    /// Which sides ran in which order.
    pub order: &'static str,
    /// The neighbour of the serializable side first.
    pub snapshot: [TransactionFigures; 2],
    pub serializable: TransactionFigures,
}

impl TransactionPairsFigures {
    /// Reads of all sides that found no value of their own record.
    #[must_use]
    pub fn wrong_reads(&self) -> u64 {
        let sides = self.rows.iter().flat_map(|row| row.snapshot.iter().chain([&row.serializable]));
        sides.map(|side| side.wrong_reads).sum()
    }
}

/// Loads, counts what a commit over two shards costs on the idle store, and runs pairs until the
/// wanted number is reached or a stop is requested.
///
/// Each pair runs `Snapshot` twice and `Serializable` once, A A B and B A A by turns.
pub(crate) fn measure_transactions(
    session: &Session,
    report: &mut Report,
) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    session.settle();
    let mut figures = TransactionPairsFigures {
        clients: session.plan.clients,
        clients_on: session.plan.clients_on,
        distribution: session.transaction_distribution(),
        crossing: measure_crossing(session)?,
        pairs: 0,
        side_seconds: session.plan.measured.as_secs_f64(),
        snapshot_against_itself: None,
        serializable_against_snapshot: None,
        cpu_snapshot_against_itself: None,
        cpu_serializable_against_snapshot: None,
        undecided: false,
        rows: Vec::new(),
    };
    for pair in 0..session.plan.pairs.unwrap_or(0) {
        if session.is_to_end() {
            break;
        }
        let row = run_pair(session, pair)?;
        if !session.is_to_end() {
            figures.rows.push(row);
        }
    }
    figures.summarize();
    report.transactions = Some(figures);
    Ok(())
}

fn run_pair(session: &Session, pair: usize) -> Result<TransactionPairRow, BenchError> {
    let snapshot = || session.run_transactions(Isolation::Snapshot);
    let serializable = || session.run_transactions(Isolation::Serializable);
    if pair.is_multiple_of(2) {
        let (far, near) = (snapshot()?, snapshot()?);
        let serializable = serializable()?;
        return Ok(TransactionPairRow { order: "A A B", snapshot: [near, far], serializable });
    }
    let serializable = serializable()?;
    let (near, far) = (snapshot()?, snapshot()?);
    Ok(TransactionPairRow { order: "B A A", snapshot: [near, far], serializable })
}

impl TransactionPairsFigures {
    fn summarize(&mut self) {
        let ratio = |side: fn(&TransactionPairRow) -> &TransactionFigures,
                     reference: fn(&TransactionPairRow) -> &TransactionFigures,
                     value: fn(&TransactionFigures) -> f64| {
            let ratios = self
                .rows
                .iter()
                .map(|row| value(side(row)) / value(reference(row)).max(f64::MIN_POSITIVE));
            ratio_of_pairs(&ratios.collect::<Vec<_>>())
        };
        let rate = (ratio(near, far, per_s), ratio(serializable, near, per_s));
        let cpu = (ratio(near, far, cpu_us), ratio(serializable, near, cpu_us));
        self.pairs = self.rows.len();
        (self.snapshot_against_itself, self.serializable_against_snapshot) = rate;
        (self.cpu_snapshot_against_itself, self.cpu_serializable_against_snapshot) = cpu;
        self.undecided = self.snapshot_against_itself.as_ref().is_some_and(is_too_wide);
    }
}

fn near(row: &TransactionPairRow) -> &TransactionFigures {
    &row.snapshot[0]
}

fn far(row: &TransactionPairRow) -> &TransactionFigures {
    &row.snapshot[1]
}

fn serializable(row: &TransactionPairRow) -> &TransactionFigures {
    &row.serializable
}

fn per_s(side: &TransactionFigures) -> f64 {
    side.per_s
}

fn cpu_us(side: &TransactionFigures) -> f64 {
    side.cost.cpu_us_per_commit
}
