//! Checks a history against the levels that its transactions asked for.
//!
//! What snapshot isolation forbids counts whatever a transaction declared, because serializable
//! transactions are promised no less. A cycle that only serializability forbids counts if every
//! transaction in it declared serializable: through a snapshot transaction it may close.

use std::fmt;

use super::checks;
use super::cycles::{Cycle, Pattern, shortest_cycles};
use super::graph::{EdgeKind, Evidence, Graph};
use super::history::{History, Isolation, Outcome};
use super::phenomenon::{Phenomenon, Violation};
use super::versions::{KeyTable, TxnIndex};
use super::view::view;
use crate::limits;

const WRITES: &[EdgeKind] = &[EdgeKind::WriteWrite];
const READS: &[EdgeKind] = &[EdgeKind::WriteRead];
const DEPENDENCIES: &[EdgeKind] = &[EdgeKind::WriteWrite, EdgeKind::WriteRead];
const ANTI_DEPENDENCIES: &[EdgeKind] = &[EdgeKind::ReadWrite, EdgeKind::PredicateReadWrite];
const ITEM_READS: &[EdgeKind] = &[EdgeKind::ReadWrite];
const ITEMS: &[EdgeKind] = &[EdgeKind::WriteWrite, EdgeKind::WriteRead, EdgeKind::ReadWrite];
const PREDICATE_READS: &[EdgeKind] = &[EdgeKind::PredicateReadWrite];

/// What makes a cycle each of the phenomena, and how many `rw` edges it has at least: with one
/// alone it is a G-single.
#[rustfmt::skip]
const CYCLES: [(Phenomenon, Pattern, usize); 6] = [
    (Phenomenon::G0, Pattern { first: WRITES, rest: WRITES, apart: false }, 0),
    (Phenomenon::G1c, Pattern { first: READS, rest: DEPENDENCIES, apart: false }, 0),
    (Phenomenon::GSingle,
        Pattern { first: ANTI_DEPENDENCIES, rest: DEPENDENCIES, apart: true }, 1),
    (Phenomenon::GNonadjacent,
        Pattern { first: ANTI_DEPENDENCIES, rest: &EdgeKind::ALL, apart: true }, 2),
    (Phenomenon::G2Item, Pattern { first: ITEM_READS, rest: ITEMS, apart: false }, 2),
    (Phenomenon::G2, Pattern { first: PREDICATE_READS, rest: &EdgeKind::ALL, apart: false }, 2),
];

/// Edges of the graph by kind, parallel ones of one kind counted once.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct EdgeCounts {
    pub ww: usize,
    pub wr: usize,
    pub rw: usize,
    pub rw_predicate: usize,
}

/// What the checker found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Report {
    pub transactions: usize,
    pub committed: usize,
    pub aborted: usize,
    pub unknown: usize,
    /// Those of the unknown ones that must have committed.
    pub unknown_seen: usize,
    pub edges: EdgeCounts,
    /// At most `limits::VIOLATIONS_LISTED_MAX` of each kind.
    pub violations: Vec<Violation>,
    /// All of them. Of each kind of cycle one is counted per strongly connected component.
    pub violation_count: usize,
}

/// Looks for every phenomenon that a level of `history` forbids.
#[must_use]
pub fn check(history: &History) -> Report {
    let table = KeyTable::new(history);
    let mut report = Report::default();
    let mut evidence = Evidence::new(history.transactions.len());
    for index in 0..history.transactions.len() {
        let index = TxnIndex::new(index);
        let view = view(history, &table, index);
        for text in view.broken {
            let text = format!("{}: {text}", checks::name(history, index));
            report.add(Phenomenon::Internal, text);
        }
        for observation in view.observations {
            evidence.add(&table, observation);
        }
    }
    let graph = Graph::new(history, &table, &evidence);
    report.count(history, &graph);
    for unexplained in &evidence.unexplained {
        if let Some((kind, text)) = checks::misread(history, &table, &graph, unexplained) {
            report.add(kind, text);
        }
    }
    for text in checks::lost_updates(history, &table, &graph) {
        report.add(Phenomenon::LostUpdate, text);
    }
    let serializable = serializable(history, &graph);
    for (kind, pattern, rw_min) in CYCLES {
        let allowed = match kind.level() {
            Isolation::Snapshot => &graph.members,
            Isolation::Serializable => &serializable,
        };
        for cycle in shortest_cycles(&graph, allowed, pattern) {
            if cycle.iter().filter(|edge| edge.kind.is_rw()).count() >= rw_min {
                report.add(kind, path(history, &table, &cycle));
            }
        }
    }
    report
}

fn serializable(history: &History, graph: &Graph) -> Vec<bool> {
    let declared = history.transactions.iter().map(|transaction| transaction.isolation);
    let members = graph.members.iter().zip(declared);
    members.map(|(takes_part, level)| *takes_part && level == Isolation::Serializable).collect()
}

/// `T12 -wr(space/6b31)-> T17 -rw(space/6b32)-> T12`
fn path(history: &History, table: &KeyTable<'_>, cycle: &Cycle) -> String {
    let mut text = checks::name(history, cycle[0].from);
    for edge in cycle {
        let (kind, key) = (edge.kind.name(), table.versions(edge.key).name);
        text.push_str(&format!(" -{kind}({key})-> {}", checks::name(history, edge.to)));
    }
    text
}

impl Report {
    /// Nothing forbidden was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }

    /// Whether something was found that `isolation` forbids.
    #[must_use]
    pub fn violates(&self, isolation: Isolation) -> bool {
        self.violations.iter().any(|violation| violation.kind.is_forbidden_by(isolation))
    }

    /// The listed violations of one kind.
    pub fn of(&self, kind: Phenomenon) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(move |violation| violation.kind == kind)
    }

    fn add(&mut self, kind: Phenomenon, text: String) {
        self.violation_count += 1;
        if self.of(kind).count() < limits::VIOLATIONS_LISTED_MAX {
            self.violations.push(Violation { kind, level: kind.level(), text });
        }
    }

    fn count(&mut self, history: &History, graph: &Graph) {
        self.transactions = history.transactions.len();
        for (transaction, takes_part) in history.transactions.iter().zip(&graph.members) {
            match transaction.outcome {
                Outcome::Committed { .. } => self.committed += 1,
                Outcome::Aborted { .. } => self.aborted += 1,
                Outcome::Unknown => {
                    self.unknown += 1;
                    self.unknown_seen += usize::from(*takes_part);
                }
            }
        }
        for edge in graph.edges() {
            match edge.kind {
                EdgeKind::WriteWrite => self.edges.ww += 1,
                EdgeKind::WriteRead => self.edges.wr += 1,
                EdgeKind::ReadWrite => self.edges.rw += 1,
                EdgeKind::PredicateReadWrite => self.edges.rw_predicate += 1,
            }
        }
    }
}

impl fmt::Display for EdgeCounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EdgeCounts { ww, wr, rw, rw_predicate } = self;
        write!(formatter, "{ww} ww, {wr} wr, {rw} rw, {rw_predicate} rw-predicate")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} transactions: {} committed, {} aborted, {} unknown ({} seen)",
            self.transactions, self.committed, self.aborted, self.unknown, self.unknown_seen
        )?;
        writeln!(formatter, "edges: {}", self.edges)?;
        writeln!(
            formatter,
            "{} violations, {} listed",
            self.violation_count,
            self.violations.len()
        )?;
        self.violations.iter().try_for_each(|violation| writeln!(formatter, "  {violation}"))
    }
}
