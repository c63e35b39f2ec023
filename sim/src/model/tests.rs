//! Hand-made histories: the honest ones pass, each kind of violation is caught.

use super::*;
use std::collections::BTreeMap;

const MAIN: SpaceId = SpaceId(0);

/// A history with one keyspace, and the state that a faultless store would show.
struct Bench {
    history: History,
    shown: BTreeMap<u32, Found>,
    next: u32,
}

fn key(index: u32) -> KeyId {
    KeyId { space: MAIN, index }
}

impl Bench {
    fn new() -> Bench {
        let mut history = History::default();
        history.apply(Event::SpaceCreating { space: MAIN, name: "main".to_owned() });
        history.apply(Event::SpaceCreated { space: MAIN });
        Bench { history, shown: BTreeMap::new(), next: 0 }
    }

    fn intend(&mut self, snapshot: Option<u64>, relaxed: bool, writes: &[(u32, bool)]) -> Intent {
        self.next += 1;
        let write =
            |(index, put): &(u32, bool)| Write { key: key(*index), value_len: put.then_some(100) };
        let intent = Intent {
            id: TxnId::new(1, 1, self.next),
            snapshot,
            floor: 0,
            relaxed,
            writes: writes.iter().map(write).collect(),
        };
        self.history.apply(Event::Intent(intent.clone()));
        intent
    }

    fn put(&mut self, snapshot: u64, keys: &[u32]) -> Intent {
        let writes: Vec<_> = keys.iter().map(|index| (*index, true)).collect();
        self.intend(Some(snapshot), false, &writes)
    }

    fn acknowledge(&mut self, intent: &Intent, lsn: u64) {
        self.history.apply(Event::Acknowledged { id: intent.id, lsn });
    }

    /// Makes the store show the whole transaction.
    fn show(&mut self, intent: &Intent) {
        (0..intent.writes.len()).for_each(|index| self.show_one(intent, index));
    }

    fn show_one(&mut self, intent: &Intent, index: usize) {
        let found = intent.stamp(index).map(Found::Value);
        match found {
            Some(found) => self.shown.insert(intent.writes[index].key.index, found),
            None => self.shown.remove(&intent.writes[index].key.index),
        };
    }

    fn committed(&mut self, snapshot: u64, keys: &[u32], lsn: u64) -> Intent {
        let intent = self.put(snapshot, keys);
        self.acknowledge(&intent, lsn);
        self.show(&intent);
        intent
    }

    fn reopen(&mut self) -> &[Violation] {
        let spaces = BTreeMap::from([("main".to_owned(), self.shown.clone())]);
        self.history.settle(&Observation { spaces }, false);
        self.history.violations()
    }
}

#[test]
fn judge_accepts_acknowledged_commits_with_and_without_open_ones() {
    for survives in [false, true] {
        let mut bench = Bench::new();
        bench.committed(0, &[1, 2], 10);
        bench.committed(10, &[2, 3], 20);
        let open = bench.put(20, &[1, 4]);
        if survives {
            bench.show(&open);
        }
        assert_eq!(bench.reopen(), []);
        bench.committed(30, &[1, 2, 3, 4], 40);
        assert_eq!(bench.reopen(), []);
    }
}

#[test]
fn judge_finds_a_lost_commit() {
    let mut bench = Bench::new();
    bench.committed(0, &[1, 2], 10);
    let before = bench.shown.clone();
    bench.committed(10, &[1, 2], 20);
    bench.shown = before;
    assert!(bench.reopen().iter().all(|found| matches!(found, Violation::Lost { lsn: 20, .. })));
    assert_eq!(bench.history.violation_count(), 2);
}

#[test]
fn judge_finds_a_lost_commit_under_an_open_one_that_began_before_it() {
    let mut bench = Bench::new();
    let open = bench.put(0, &[1]);
    bench.committed(10, &[1], 20);
    bench.show(&open);
    assert!(matches!(bench.reopen(), [Violation::Lost { lsn: 20, .. }]));
}

#[test]
fn judge_accepts_an_open_commit_that_began_after_the_acknowledged_one() {
    let mut bench = Bench::new();
    bench.committed(10, &[1], 20);
    let open = bench.put(20, &[1, 2]);
    bench.show(&open);
    assert_eq!(bench.reopen(), []);
}

#[test]
fn judge_finds_an_open_commit_that_is_half_applied() {
    let mut bench = Bench::new();
    bench.committed(0, &[1, 2], 10);
    let open = bench.put(10, &[1, 2]);
    bench.show_one(&open, 1);
    assert!(matches!(bench.reopen(), [Violation::HalfApplied { .. }]));
}

#[test]
fn judge_finds_an_acknowledged_commit_that_is_half_applied() {
    let mut bench = Bench::new();
    let intent = bench.put(0, &[1, 2]);
    bench.acknowledge(&intent, 10);
    bench.show_one(&intent, 0);
    let found = bench.reopen();
    assert!(found.iter().any(|violation| violation.half_applied() == Some(intent.id)));
    assert!(found.iter().any(|violation| violation.lost() == Some(intent.id)));
}

#[test]
fn judge_accepts_a_half_overwritten_open_commit() {
    let mut bench = Bench::new();
    let first = bench.put(5, &[1, 2]);
    bench.show(&first);
    bench.committed(9, &[2], 12);
    let last = bench.put(13, &[1]);
    bench.show(&last);
    assert_eq!(bench.reopen(), []);
}

#[test]
fn judge_finds_lost_deletes_and_accepts_kept_ones() {
    for kept in [true, false] {
        let mut bench = Bench::new();
        bench.committed(0, &[1, 2], 10);
        let delete = bench.intend(Some(10), false, &[(1, false), (2, true)]);
        bench.acknowledge(&delete, 20);
        if kept {
            bench.show(&delete);
        } else {
            bench.show_one(&delete, 1);
        }
        let lost = bench.reopen().iter().filter_map(Violation::lost).count();
        assert_eq!(lost, usize::from(!kept));
    }
}

#[test]
fn judge_explains_an_absent_key_by_an_open_delete_only_if_all_of_it_is_there() {
    for whole in [true, false] {
        let mut bench = Bench::new();
        bench.committed(0, &[1, 2], 10);
        let delete = bench.intend(Some(10), false, &[(1, false), (2, true)]);
        bench.show_one(&delete, 0);
        if whole {
            bench.show_one(&delete, 1);
        }
        assert_eq!(bench.reopen().is_empty(), whole);
    }
}

#[test]
fn judge_allows_relaxed_commits_to_go_as_a_suffix_only() {
    for survivors in 0..=3_usize {
        let mut bench = Bench::new();
        for number in 0..3 {
            let (index, lsn) = (number as u32, 10 + 10 * number as u64);
            let intent = bench.intend(Some(lsn - 1), true, &[(index, true), (9, true)]);
            bench.acknowledge(&intent, lsn);
            if number < survivors {
                bench.show(&intent);
            }
        }
        assert_eq!(bench.reopen(), [], "{survivors} survive");
    }
    let mut bench = Bench::new();
    for (index, shown) in [(0, true), (1, false), (2, true)] {
        let lsn = 10 + 10 * u64::from(index);
        let intent = bench.intend(Some(lsn - 1), true, &[(index, true)]);
        bench.acknowledge(&intent, lsn);
        if shown {
            bench.show(&intent);
        }
    }
    let found = bench.reopen();
    assert!(matches!(found, [Violation::LostFromTheMiddle { lsn: 20, survived: 30, .. }]));
}

#[test]
fn judge_demands_relaxed_commits_below_a_synchronous_one_and_after_a_clean_close() {
    for clean in [true, false] {
        let mut bench = Bench::new();
        let relaxed = bench.intend(Some(0), true, &[(1, true)]);
        bench.acknowledge(&relaxed, 10);
        if !clean {
            bench.committed(10, &[2], 20);
        }
        let spaces = BTreeMap::from([("main".to_owned(), bench.shown.clone())]);
        bench.history.settle(&Observation { spaces }, clean);
        assert_eq!(bench.history.violation_count(), 1, "clean: {clean}");
    }
}

#[test]
fn judge_finds_an_open_commit_above_a_lost_relaxed_one() {
    let mut bench = Bench::new();
    let relaxed = bench.intend(Some(0), true, &[(1, true)]);
    bench.acknowledge(&relaxed, 10);
    let open = bench.put(10, &[2]);
    bench.show(&open);
    assert!(bench.reopen().iter().any(|violation| violation.lost() == Some(relaxed.id)));
}

#[test]
fn judge_finds_refused_zombie_and_garbled_values() {
    let mut bench = Bench::new();
    let refused = bench.put(0, &[1]);
    bench.history.apply(Event::Refused { id: refused.id });
    bench.show(&refused);
    assert!(matches!(bench.reopen(), [Violation::Resurrected { .. }]));

    let mut bench = Bench::new();
    bench.committed(0, &[1], 10);
    let open = bench.put(10, &[1, 2]);
    assert_eq!(bench.reopen(), []);
    bench.show(&open);
    let found = bench.reopen();
    assert!(found.iter().all(|violation| matches!(violation, Violation::Zombie { .. })));
    assert_eq!(found.len(), 2);

    let mut bench = Bench::new();
    let intent = bench.committed(0, &[1, 2], 10);
    bench.shown.insert(1, intent.stamp(1).map_or(Found::Absent, Found::Value));
    assert!(matches!(bench.reopen(), [Violation::Garbled { .. }]));
    let mut bench = Bench::new();
    bench.shown.insert(1, Found::Garbled);
    assert!(matches!(bench.reopen(), [Violation::Garbled { .. }]));
}

#[test]
fn judge_keeps_what_it_has_once_seen_after_a_reopening() {
    let mut bench = Bench::new();
    let open = bench.put(0, &[1]);
    bench.show(&open);
    assert_eq!(bench.reopen(), []);
    bench.shown.clear();
    assert!(matches!(bench.reopen(), [Violation::Unexplained { .. }]));
}

#[test]
fn judge_demands_a_synchronous_commit_that_a_reader_saw() {
    let mut bench = Bench::new();
    let open = bench.put(5, &[1]);
    let found = open.stamp(0).map_or(Found::Absent, Found::Value);
    bench.history.apply(Event::Read { snapshot: 9, key: key(1), found });
    assert!(matches!(bench.reopen(), [Violation::SeenThenLost { .. }]));
}

#[test]
fn judge_accepts_auto_commits_in_any_order_among_open_ones() {
    let mut bench = Bench::new();
    let blind = bench.intend(None, false, &[(1, true)]);
    let open = bench.put(5, &[1, 2]);
    bench.show(&blind);
    bench.show(&open);
    assert_eq!(bench.reopen(), []);
}

#[test]
fn reads_judge_catches_a_snapshot_that_changes_or_misses_a_commit() {
    let mut bench = Bench::new();
    let first = bench.committed(0, &[1, 2], 10);
    let second = bench.committed(10, &[1, 2], 20);
    let shows =
        |intent: &Intent, index: usize| intent.stamp(index).map_or(Found::Absent, Found::Value);
    let good = [
        (5, 1, Found::Absent),
        (10, 1, shows(&first, 0)),
        (19, 2, shows(&first, 1)),
        (20, 2, shows(&second, 1)),
    ];
    let bad = [
        (5, 1, shows(&first, 0)),
        (15, 1, shows(&second, 0)),
        (25, 2, shows(&first, 1)),
        (25, 2, Found::Absent),
        (25, 2, shows(&second, 0)),
        (25, 7, shows(&second, 0)),
    ];
    for (snapshot, index, found) in good {
        bench.history.apply(Event::Read { snapshot, key: key(index), found });
    }
    bench.history.judge_reads();
    assert_eq!(bench.history.violations(), []);
    for (number, (snapshot, index, found)) in bad.into_iter().enumerate() {
        bench.history.apply(Event::Read { snapshot, key: key(index), found });
        bench.history.judge_reads();
        assert_eq!(bench.history.violation_count(), number as u64 + 1);
    }
}

#[test]
fn reads_judge_catches_an_open_commit_that_shows_by_halves_or_goes_away() {
    for (snapshot, found_first, wrong) in [(12, true, true), (9, false, false), (12, false, true)] {
        let mut bench = Bench::new();
        let open = bench.put(5, &[1, 2]);
        let at = |index| open.stamp(index).map_or(Found::Absent, Found::Value);
        bench.history.apply(Event::Read { snapshot: 10, key: key(1), found: at(0) });
        let second = if found_first { Found::Absent } else { at(1) };
        let second = if wrong { Found::Absent } else { second };
        bench.history.apply(Event::Read { snapshot, key: key(2), found: second });
        bench.history.judge_reads();
        assert_eq!(bench.history.violation_count() > 0, wrong, "at {snapshot}");
    }
}

#[test]
fn history_catches_wrong_order_stale_snapshots_and_lost_updates() {
    let mut bench = Bench::new();
    bench.committed(0, &[1], 10);
    bench.committed(9, &[1], 20);
    bench.history.judge_reads();
    assert!(matches!(bench.history.violations(), [Violation::SecondCommitterWon { .. }]));

    let mut bench = Bench::new();
    bench.committed(10, &[1], 10);
    assert!(matches!(bench.history.violations(), [Violation::WrongLsn { .. }]));

    let mut bench = Bench::new();
    bench.committed(0, &[1], 10);
    assert_eq!(bench.reopen(), []);
    bench.committed(0, &[2], 9);
    assert!(matches!(bench.history.violations(), [Violation::WrongLsn { .. }]));

    let mut bench = Bench::new();
    let mut intent = bench.put(10, &[1]);
    intent.id = TxnId::new(1, 2, 1);
    intent.floor = 11;
    bench.history.apply(Event::Intent(intent));
    assert!(matches!(bench.history.violations(), [Violation::StaleSnapshot { .. }]));
}

#[test]
fn judge_watches_keyspaces_come_and_go() {
    let temp = SpaceId(7);
    let name = "temp".to_owned();
    for (events, shown, violations) in [
        (vec![], false, 0),
        (vec![], true, 0),
        (vec![Event::SpaceCreated { space: temp }], true, 0),
        (vec![Event::SpaceCreated { space: temp }], false, 1),
        (vec![Event::SpaceCreateRefused { space: temp }], true, 1),
        (vec![Event::SpaceCreated { space: temp }, Event::SpaceDropping { space: temp }], true, 0),
        (vec![Event::SpaceCreated { space: temp }, Event::SpaceDropping { space: temp }], false, 0),
        (vec![Event::SpaceCreated { space: temp }, Event::SpaceDropped { space: temp }], true, 1),
    ] {
        let mut bench = Bench::new();
        bench.history.apply(Event::SpaceCreating { space: temp, name: name.clone() });
        events.iter().cloned().for_each(|event| bench.history.apply(event));
        let mut spaces = BTreeMap::from([("main".to_owned(), BTreeMap::new())]);
        if shown {
            spaces.insert(name.clone(), BTreeMap::new());
        }
        bench.history.settle(&Observation { spaces }, false);
        assert_eq!(bench.history.violation_count(), violations, "{events:?}, shown: {shown}");
    }
    let mut bench = Bench::new();
    bench.history.settle(&Observation::default(), false);
    assert!(matches!(bench.history.violations(), [Violation::SpaceLost { .. }]));
}

#[test]
fn judge_forgets_the_keys_of_a_dropped_keyspace() {
    let mut bench = Bench::new();
    bench.committed(0, &[1], 10);
    bench.history.apply(Event::SpaceDropping { space: MAIN });
    bench.history.settle(&Observation::default(), false);
    assert_eq!(bench.history.violations(), []);
}
