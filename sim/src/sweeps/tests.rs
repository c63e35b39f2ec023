//! Sampled sweeps, and what they must find when something is wrong on purpose.

use super::*;

/// Adds every `every`-th case like `first`, up to the last request that the workload makes.
fn sample(first: Case, every: u64) -> SweepRow {
    let mut row = SweepRow::new(first.kind, first.target, first.sticky);
    for nth in (first.nth..).step_by(every as usize) {
        let case = Case { nth, ..first };
        let report = run_case(case);
        row.add(case, &report);
        if !report.is_hit {
            break;
        }
    }
    row
}

/// Both kinds of failures, on every kind of file; some of them must have been met.
fn assert_clean(kind: SweepKind, first: u64, every: u64) {
    let mut injected = 0;
    for target in kind.targets() {
        for sticky in [false, true] {
            let row = sample(Case { target, sticky, ..Case::new(kind, first) }, every);
            assert!(row.is_clean(), "{}\n{row}", SweepRow::heading());
            assert_eq!(row.total.reopened, row.total.reopened_clean, "{row}");
            injected += row.injected;
        }
    }
    assert!(injected > 0, "{kind:?}");
}

#[test]
fn workload_without_a_failure_goes_through_all_that_a_store_does() {
    let report = run_case(Case::new(SweepKind::Read, u64::MAX));
    assert!(!report.is_hit && report.findings.is_empty(), "{report:#?}");
    assert_eq!(report.reopened_clean, 2);
    let WorkReport { lives, replayed, merges, root_writes, recycled, across } = report.work;
    assert!(lives == 5 && replayed >= 2, "{report:#?}");
    assert!(merges >= 6 && root_writes > merges && recycled > 0 && across > 20, "{report:#?}");
}

#[test]
fn case_takes_the_same_course_when_it_runs_again() {
    let case = Case::new(SweepKind::Write, 150);
    assert_eq!(run_case(case), run_case(case));
    assert_ne!(run_case(case).trace_hash, run_case(Case { nth: 151, ..case }).trace_hash);
}

#[test]
fn store_that_cannot_read_says_so_and_goes_on() {
    assert_clean(SweepKind::Read, 2, 29);
}

#[test]
fn store_that_cannot_write_stops_and_reopens_clean() {
    assert_clean(SweepKind::Write, 1, 41);
}

#[test]
fn store_that_cannot_flush_stops_and_reopens_clean() {
    assert_clean(SweepKind::Flush, 2, 31);
}

#[test]
fn store_that_cannot_change_names_reopens_clean() {
    assert_clean(SweepKind::Path, 1, 13);
}

#[test]
fn store_without_disk_space_goes_on_when_there_is_some() {
    assert_clean(SweepKind::NoSpace, 7, 59);
}

#[test]
fn store_without_pages_for_its_merges_merges_when_there_are_some() {
    assert_clean(SweepKind::PageAllocation, 1, 31);
}

#[test]
fn store_whose_data_file_cannot_grow_goes_on_when_it_can() {
    assert_clean(SweepKind::Extent, 1, 1);
}

#[test]
fn store_without_memory_for_a_commit_takes_it_when_there_is_some() {
    assert_clean(SweepKind::Memory, 1, 31);
}

#[test]
fn sweep_finds_lost_commits_when_flushes_do_nothing_after_the_failure() {
    let control = Some(Control::FlushesSuppressed);
    let row = sample(Case { control, ..Case::new(SweepKind::Read, 40) }, 40);
    assert!(row.total.lost > 0 && row.failed > 0, "{row}");
}

#[test]
fn sweep_finds_a_refused_commit_that_was_reported_as_acknowledged() {
    let control = Some(Control::ReplyMisreported);
    let case = Case { target: ".log", control, ..Case::new(SweepKind::Write, 20) };
    let row = sample(case, 60);
    assert!(row.injected > 0 && row.total.poisoned > 0, "{row}");
    assert!(row.total.lost > 0 && row.failed > 0, "{row}");
}
