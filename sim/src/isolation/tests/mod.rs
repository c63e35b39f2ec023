//! Hand-made histories of every phenomenon, each beside a legal one that differs little, and
//! random executions of a model store.

mod absences;
mod anomalies;
mod format;
mod internal;
mod random;
mod recorded;
mod unknown;

use std::collections::BTreeSet;

use super::*;

const SPACE: &str = "s";

fn hex(text: &str) -> Hex {
    Hex::of(text.as_bytes())
}

/// A transaction in the making. Unless told, all of them run at the same time.
#[derive(Clone)]
struct Txn(Transaction);

fn txn(transaction: u64) -> Txn {
    let client = u32::try_from(transaction).unwrap();
    let outcome = Outcome::Unknown;
    let (isolation, begin_ns, end_ns, operations) = (Isolation::Serializable, 0, 1000, Vec::new());
    let record =
        Transaction { client, transaction, isolation, begin_ns, end_ns, operations, outcome };
    Txn(record)
}

impl Txn {
    fn act(mut self, action: Action) -> Txn {
        let at = self.0.operations.last().map_or(0, |last| last.begin_ns);
        self.0.operations.push(Operation { begin_ns: at, end_ns: at, action });
        self
    }

    /// The last operation and all that follow happen at this time.
    fn at(mut self, at_ns: u64) -> Txn {
        let last = self.0.operations.last_mut().unwrap();
        (last.begin_ns, last.end_ns) = (at_ns, at_ns);
        self
    }

    fn snapshot(mut self) -> Txn {
        self.0.isolation = Isolation::Snapshot;
        self
    }

    fn read(self, key: &str, value: &str) -> Txn {
        let (keyspace, value) = (SPACE.to_owned(), Some(hex(value)));
        self.act(Action::Read { keyspace, key: hex(key), value })
    }

    fn absent(self, key: &str) -> Txn {
        self.act(Action::Read { keyspace: SPACE.to_owned(), key: hex(key), value: None })
    }

    fn write(self, key: &str, value: &str) -> Txn {
        let (keyspace, value) = (SPACE.to_owned(), Some(hex(value)));
        self.act(Action::Write { keyspace, key: hex(key), value })
    }

    fn delete(self, key: &str) -> Txn {
        self.act(Action::Write { keyspace: SPACE.to_owned(), key: hex(key), value: None })
    }

    /// Scans `from..=to`.
    fn scan(self, from: &str, to: &str, rows: &[(&str, &str)]) -> Txn {
        let rows = rows.iter().map(|(key, value)| (hex(key), hex(value))).collect();
        let (from, to) = (KeyBound::Included(hex(from)), KeyBound::Included(hex(to)));
        self.act(Action::Scan { keyspace: SPACE.to_owned(), from, to, rows })
    }

    fn commit(mut self, lsn: u64) -> Transaction {
        self.0.outcome = Outcome::Committed { lsn };
        self.0
    }

    fn abort(mut self) -> Transaction {
        self.0.outcome = Outcome::Aborted { reason: "conflict".to_owned() };
        self.0
    }

    fn unknown(self) -> Transaction {
        self.0
    }
}

fn initial(rows: &[(&str, &str)]) -> Option<Vec<InitialRow>> {
    let row = |(key, value): &(&str, &str)| InitialRow {
        keyspace: SPACE.to_owned(),
        key: hex(key),
        value: hex(value),
    };
    Some(rows.iter().map(row).collect())
}

/// Checks transactions on a store in which `x` is `x0` and `y` is `y0`.
fn report(transactions: impl IntoIterator<Item = Transaction>) -> Report {
    let transactions = transactions.into_iter().collect();
    check(&History::new(initial(&[("x", "x0"), ("y", "y0")]), transactions).unwrap())
}

/// The same with every transaction declared snapshot.
fn report_under_snapshot(transactions: impl IntoIterator<Item = Transaction>) -> Report {
    report(transactions.into_iter().map(|mut transaction| {
        transaction.isolation = Isolation::Snapshot;
        transaction
    }))
}

#[track_caller]
fn assert_finds(report: &Report, expected: &[Phenomenon]) {
    let found: BTreeSet<Phenomenon> = report.violations.iter().map(|found| found.kind).collect();
    assert_eq!(found, expected.iter().copied().collect(), "{report}");
}
