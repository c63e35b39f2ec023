//! Recorded histories on themselves: they are clean, they replay, and they find what is planted.

mod smallbank;

use super::*;

#[test]
fn histories_of_the_engine_as_it_is_are_clean() {
    let mut report = HistoriesReport::default();
    (0..12).for_each(|seed| report.add(run_history(seed, HistoryOptions::default()).0));
    assert!(report.verdicts.is_clean(), "{report}");
    assert!(report.counted >= 10, "{report}");
    assert!(report.merges > 12 && report.crashes > 24, "{report}");
}

#[test]
fn history_is_the_same_when_its_seed_runs_again() {
    for seed in 100..103 {
        let first = run_history(seed, HistoryOptions::default());
        assert_eq!(first, run_history(seed, HistoryOptions::default()));
        assert_ne!(first.1, run_history(seed + 1_000, HistoryOptions::default()).1);
    }
}

#[test]
fn histories_without_validation_of_reads_are_found_out() {
    let options = HistoryOptions { is_mislabelled: true };
    let mut report = HistoriesReport::default();
    (0..12).for_each(|seed| report.add(run_history(seed, options).0));
    assert!(report.verdicts.is_clean(), "more than serializability was violated: {report}");
    assert!(report.violating > 8, "{report}");
}
