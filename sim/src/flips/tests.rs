use std::collections::BTreeSet;

use super::{FlipReport, Noticed, Part, StoreEnd, Sweep};

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
