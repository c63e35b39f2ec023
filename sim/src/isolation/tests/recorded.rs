//! Histories that the benchmark records of real runs.

use std::time::Duration;

use sombra_bench::workload::{Distribution, Shape};
use sombra_bench::{Mode, Plan, Progress, Stop};

use super::*;

/// A short run of so many records in the mode, and what it wrote down.
fn record(name: &str, mode: Mode, (records, seconds): (u64, u64)) -> String {
    let dir = std::env::temp_dir().join(format!("sombra-recorded-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("history");
    let plan = Plan {
        mode,
        dir: dir.join("data"),
        clients: 8,
        records,
        shape: Shape { key_len_bytes: 24, value_len_bytes: 100 },
        distribution: Some(Distribution::Uniform),
        warmup: Duration::ZERO,
        measured: Duration::from_secs(seconds),
        rate_per_s: Some(2_000).filter(|_| mode == Mode::LongTransactions),
        pairs: Some(1).filter(|_| mode == Mode::Transactions),
        history: Some(path.clone()),
        ..Plan::default()
    };
    let report = sombra_bench::run(plan, Stop::new(), Progress::new(false)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(!report.found_damage(), "{report}");
    let figures = report.history.unwrap();
    assert_eq!(figures.transactions, text.lines().count() as u64);
    text
}

fn found(text: &str) -> Report {
    check(&read_history(text.as_bytes()).unwrap())
}

/// Also the negative controls: snapshot isolation that calls itself serializable, a value that
/// nobody wrote, commits that call themselves aborted.
#[test]
fn transactions_of_the_benchmark_are_clean_and_their_tampered_history_is_not() {
    let text = record("transactions", Mode::Transactions, (40, 1));
    let report = found(&text);
    assert!(report.is_clean(), "{report}");
    assert!(report.committed > 1_000 && report.edges.rw > 1_000, "{report}");
    let mislabelled = found(&text.replace("\"snapshot\"", "\"serializable\""));
    assert!(mislabelled.violates(Isolation::Serializable), "{mislabelled}");
    assert!(!mislabelled.violates(Isolation::Snapshot), "{mislabelled}");
    let history = read_history(text.as_bytes()).unwrap();
    let tampered = |change: fn(&mut [Transaction])| {
        let mut transactions = history.transactions().to_vec();
        change(&mut transactions);
        check(&History::new(None, transactions).unwrap())
    };
    let garbled = tampered(|transactions| {
        let mut values = transactions.iter_mut().rev().flat_map(|transaction| {
            transaction.operations.iter_mut().filter_map(|operation| match &mut operation.action {
                Action::Read { value, .. } => Some(value),
                _ => None,
            })
        });
        *values.next().unwrap() = Some(hex("nobody's"));
    });
    assert_eq!(garbled.of(Phenomenon::Garbage).count(), 1, "{garbled}");
    let undone = tampered(|transactions| {
        let half = transactions.len() / 2;
        for transaction in &mut transactions[half..][..100] {
            transaction.outcome = Outcome::Aborted { reason: "tampered".to_owned() };
        }
    });
    assert!(undone.of(Phenomenon::G1a).count() > 0, "{undone}");
}

#[test]
fn long_transactions_of_the_benchmark_and_the_load_beside_them_are_clean() {
    let text = record("long", Mode::LongTransactions, (20_000, 3));
    let report = found(&text);
    assert!(report.is_clean(), "{report}");
    assert!(report.committed > 1_000 && report.edges.wr > 100, "{report}");
}
