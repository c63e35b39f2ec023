use std::collections::BTreeSet;

use super::{Flip, FlipReport, Noticed, Part, StoreEnd, Sweep};

/// One byte in so many: another one in each page.
const EVERY: u64 = 8_209;

fn sampled(seed: u64, end: StoreEnd) -> (Sweep, FlipReport) {
    let sweep = Sweep::new(seed, end).unwrap_or_else(|error| panic!("{error}"));
    let disk = sweep.fork();
    let mut report = FlipReport::of(&sweep);
    for place in sweep.sample(EVERY, 32 * EVERY) {
        let flip = sweep.flip(&disk, place).unwrap_or_else(|error| panic!("{place:?}: {error}"));
        report.add(&sweep, &flip);
    }
    (sweep, report)
}

#[test]
fn flipped_bits_of_a_closed_store_are_noticed_or_lie_where_nothing_is() {
    let (sweep, report) = sampled(1, StoreEnd::Closed);
    assert!(report.failed == 0 && report.silent_changes == 0, "{report}");
    let never = BTreeSet::from([Part::OlderOnly, Part::LogMerged]);
    let missing: Vec<Part> = Part::ALL
        .into_iter()
        .filter(|p| !never.contains(p) && !sweep.parts().contains(p))
        .collect();
    assert!(missing.is_empty(), "the store has no {missing:?}");
    // Every part is noticed by the one that is there for it.
    for (part, noticed) in [
        (Part::Superblock, Noticed::Reported),
        (Part::RootInForce, Noticed::Reported),
        (Part::RootBlank, Noticed::Reported),
        (Part::Leaf, Noticed::Read),
        (Part::LogReplayed, Noticed::Refused),
    ] {
        assert!(report.count(part, Some(noticed)) > 0, "{part:?} by {noticed:?}: {report}");
    }
}

#[test]
fn flipped_bits_of_a_killed_store_change_data_in_the_tail_at_most() {
    let (sweep, report) = sampled(2, StoreEnd::Killed);
    assert!(report.failed == 0 && report.silent_changes == report.tail_changes, "{report}");
    assert!(sweep.parts().contains(&Part::OlderOnly), "copies of a root page differ");
}

#[test]
fn every_byte_on_which_something_depends_is_flipped_under_its_decoder() {
    for (seed, end) in [(1, StoreEnd::Closed), (2, StoreEnd::Killed)] {
        let sweep = Sweep::new(seed, end).unwrap_or_else(|error| panic!("{error}"));
        let mut report = FlipReport::of(&sweep);
        // One unit of each part is tried, all are counted.
        let mut tried = BTreeSet::new();
        for unit in sweep.units() {
            let unnoticed = match tried.insert(unit.part) {
                true => sweep.unnoticed(&unit).unwrap_or_else(|error| panic!("{error}")),
                false => Vec::new(),
            };
            report.add_unit(&sweep, &unit, &unnoticed);
        }
        let disk = sweep.fork();
        let blocks = sweep.idle_blocks();
        let first = sweep.flip_block(&disk, blocks[0]).unwrap_or_else(|error| panic!("{error}"));
        for (place, len_bytes) in blocks {
            let (part, place) = (sweep.part_of(place), place);
            report.add_block(&sweep, len_bytes, &Flip { part, place, ..first.clone() });
        }
        report.expect_all_bytes();
        assert!(report.failed == 0 && tried.len() >= 10, "{tried:?}: {report}");
    }
}

#[test]
fn byte_that_no_decoder_covers_and_row_that_vanishes_are_found() {
    let sweep = Sweep::new(1, StoreEnd::Closed).unwrap_or_else(|error| panic!("{error}"));
    let mut report = FlipReport::of(&sweep);
    let unit = sweep.units()[0];
    report.add_unit(&sweep, &unit, &[unit.place.offset]);
    assert_eq!(report.failed, 1, "{report}");
    report.expect_all_bytes();
    assert!(report.failed > 1, "most bytes were not flipped: {report}");
    let control = sweep.control().unwrap_or_else(|error| panic!("{error}"));
    assert!(!control.is_right(), "{control:?}");
}
