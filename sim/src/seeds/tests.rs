//! The simulation on itself: it replays, it counts, and it finds what is planted.

use sombra::limits::{EXTENT_BYTES, EXTENTS_KEPT};

use super::look::Looking;
use super::space::Believed;
use super::*;
use crate::model::{Stamp, TxnId};

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
    assert!(report.trees.spaces_compared >= 10, "{report}");
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
    let reports: Vec<SeedReport> = (0..40).map(|seed| run_seed(seed, &options)).collect();
    let lost = reports.iter().filter(|report| report.lost > 0).count();
    assert!(lost >= 5, "{lost} of 40 seeds lost commits: {reports:#?}");
}

/// A run whose store has been worked in and closed.
fn closed() -> Run {
    let mut run = Run::new(7, &short());
    run.last_opening(true).expect("a store without faults");
    run.last_opening(false).expect("a store without faults");
    run
}

#[test]
fn look_finds_a_key_that_shows_something_else() {
    let mut run = closed();
    let expected = run.expected();
    let seen = run.look(&expected, Looking::sober(5)).expect("all is as it was");
    assert!(seen.refused.is_none() && seen.damaged_reads == 0 && !seen.stopped);
    let stamp = Stamp { txn: TxnId::new(1, 1, 1), index: 0, count: 1, len: 24 };
    expected.expect("split", 3, stamp);
    let error = run.look(&expected, Looking::sober(0)).expect_err("nobody wrote that");
    assert!(error.contains("\"split\" key 3"), "{error}");
}

#[test]
fn store_that_holds_a_snapshot_for_nobody_is_found() {
    let mut run = Run::new(8, &short());
    // A store that is never idle takes long to be found holding something.
    run.options.scrub_bytes_per_second = 0;
    let (mut world, shards) = run.world();
    let opened = run.open(&mut world, None).expect("a new store").expect("nothing cuts it off");
    let held = opened.db.snapshot().expect("an open store");
    let error = run.make_progress(&mut world, &opened, shards).expect_err("one is held");
    assert!(error.contains("slots of snapshots"), "{error}");
    drop(held);
    run.let_go(&mut world, &opened.db).expect("nothing is held any more");
    drop(opened);
    world.kill();
}

#[test]
fn space_that_is_nobodys_is_found() {
    let mut run = closed();
    let mut report = run.space().expect("a closed store");
    assert_eq!(space::set_aside(&report), Ok(()));
    let data = report.data.as_mut().expect("it was worked in");
    data.free_extents_bytes -= report.extent_bytes;
    assert!(space::set_aside(&report).is_err());
}

#[test]
fn page_or_extent_that_leaks_is_found() {
    let mut run = Run::new(7, &SeedOptions { load: Some(Load::Log), ..short() });
    let mut worked = || {
        run.last_opening(true).expect("a store without faults");
        run.believed.filter(|believed| believed.live > 0)
    };
    let believed = (0..40).find_map(|_| worked()).expect("so much that some of it is merged");
    let files = run.check().expect("a whole store").expect("a store that was opened");
    let outcome = |believed: Believed, files: &sombra::inspect::CheckReport| {
        let owned = believed.extents_are_owned().and_then(|()| believed.pages_are_owned());
        owned.and_then(|()| believed.agrees_with(files, false))
    };
    assert_eq!(outcome(believed, &files), Ok(()));
    assert!(believed.live > 0 && believed.tablets > 0, "{believed:?}");
    let (page, extent) = (u64::from(files.page_size_bytes), EXTENT_BYTES);
    let spare = (files.tablets.len() * EXTENTS_KEPT + 1) as u64 * extent;
    let (free, tablets, live, held) =
        (believed.free, believed.tablets, believed.live, believed.held);
    for (leak, wrong) in [
        ("an extent that nobody has", Believed { free: free - extent, ..believed }),
        ("a page that nobody needs", Believed { held: held + page, ..believed }),
        (
            "a page that its files do not reach",
            Believed { live: live + page, held: held + page, ..believed },
        ),
        ("free, and used by a tree", Believed { free: free + tablets, tablets: 0, ..believed }),
        ("empty and kept", Believed { free: free - spare, tablets: tablets + spare, ..believed }),
    ] {
        assert!(outcome(wrong, &files).is_err(), "{leak}: {wrong:?}");
    }
}

#[test]
fn shorter_run_is_sought_below_the_first_that_fails_and_fails_itself() {
    for least in [1, 25, 26, 300, 777, 1_000] {
        let found = fewest(1_000, |operations| operations >= least);
        assert!(
            found >= least && found <= least + limits::SHRUNK_OPERATIONS_GAP,
            "{least}: {found}"
        );
    }
    let odd = fewest(1_000, |operations| operations % 3 == 1);
    assert!(odd == 1_000 || odd % 3 == 1, "{odd}");
}

#[test]
fn failures_of_one_kind_differ_in_names_and_numbers_only() {
    let lost =
        |key: u32| kind_of(&format!("after episode {key}: \"split\" key {key} is not there"));
    assert_eq!(lost(3), lost(70));
    assert_ne!(lost(3), kind_of("episode 3: clients hang: no progress in 60 s"));
}

#[test]
fn shorter_run_of_a_failing_seed_fails_in_the_same_way() {
    let options = SeedOptions { flush_suppressed: true, ..short() };
    let failure = |options: &SeedOptions, seed| run_seed(seed, options).failure;
    let seed = (0..40).find(|seed| failure(&options, *seed).is_some());
    let seed = seed.expect("flushes do nothing");
    let operations_min = shrink(seed, &options).expect("it fails");
    let shorter = SeedOptions { operations_min, ..options.clone() };
    let kinds = [&options, &shorter].map(|options| failure(options, seed).map(|f| kind_of(&f)));
    assert!(operations_min <= options.operations_min && kinds[0] == kinds[1], "{kinds:?}");
}
