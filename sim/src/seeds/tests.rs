//! The simulation on itself: it replays, it counts, and it finds what is planted.

use super::*;

fn short() -> SeedOptions {
    SeedOptions { operations_min: 400, ..SeedOptions::default() }
}

#[test]
fn seeds_pass_on_the_engine_as_it_is() {
    let mut report = RangeReport::default();
    (0..12).for_each(|seed| report.add(run_seed(seed, &SeedOptions::default())));
    assert!(report.verdicts.is_clean(), "{report}");
    assert!(report.counted >= 10, "{report}");
    assert!(report.work.acknowledged > 1_000 && report.crashes > 12, "{report}");
}

#[test]
fn seed_takes_the_same_course_when_it_runs_again() {
    for seed in 100..104 {
        let first = run_seed(seed, &short());
        assert_eq!(first, run_seed(seed, &short()));
        assert_ne!(first.trace_hash, run_seed(seed + 1_000, &short()).trace_hash);
    }
}

#[test]
fn seeds_lose_commits_when_flushes_do_nothing() {
    let options = SeedOptions { flush_suppressed: true, ..short() };
    let reports: Vec<SeedReport> = (0..20).map(|seed| run_seed(seed, &options)).collect();
    let lost = reports.iter().filter(|report| report.lost > 0).count();
    assert!(lost >= 5, "{lost} of 20 seeds lost commits: {reports:#?}");
}
