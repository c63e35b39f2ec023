//! The tree and the hash table against an ordered set.

use crate::ids::Direction;
use std::collections::BTreeSet;

use super::*;
use crate::window::keys::KeyTable;

/// Adds keys in order and checks every answer against an ordered set.
fn table_of<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> (KeyTable, BTreeSet<Vec<u8>>) {
    let (mut table, mut set) = (KeyTable::default(), BTreeSet::new());
    for key in keys {
        let key = key.as_ref();
        assert_eq!(table.find(key, Tag::of(key)).is_some(), set.contains(key));
        if set.insert(key.to_vec()) {
            table.insert(key, Tag::of(key));
        }
    }
    (table, set)
}

fn walked(table: &KeyTable, range: Range<'_>, direction: Direction) -> Vec<Vec<u8>> {
    table.walk(range, direction).map(|at| table.records.key(at).to_vec()).collect()
}

fn check_whole(table: &KeyTable, set: &BTreeSet<Vec<u8>>) {
    let everything = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(table.len(), set.len());
    assert!(walked(table, everything, Direction::Forward).iter().eq(set));
    assert!(walked(table, everything, Direction::Reverse).iter().eq(set.iter().rev()));
    assert!(set.iter().all(|key| table.find(key, Tag::of(key)).is_some()));
}

fn check_probe(table: &KeyTable, set: &BTreeSet<Vec<u8>>, probe: &[u8]) {
    let first = |bound: Bound<&[u8]>, direction: Direction| {
        let found = table.start(bound, direction)?;
        Some(table.records.key(table.key_ref(found)).to_vec())
    };
    let (unbounded, reverse) = (Bound::Unbounded, Direction::Reverse);
    for bound in [Bound::Included(probe), Bound::Excluded(probe)] {
        let above = set.range::<[u8], _>((bound, unbounded)).next();
        assert_eq!(first(bound, Direction::Forward).as_ref(), above, "{probe:?}");
        let below = set.range::<[u8], _>((unbounded, bound)).next_back();
        assert_eq!(first(bound, reverse).as_ref(), below, "{probe:?}");
    }
    assert_eq!(table.find(probe, Tag::of(probe)).is_some(), set.contains(probe));
}

/// Keys that share long beginnings, end in zeros, are prefixes of each other.
fn awkward_key() -> impl Strategy<Value = Vec<u8>> {
    let part = || {
        prop_oneof![
            3 => Just(b"shared-prefix/".to_vec()),
            2 => Just(vec![0]),
            2 => vec(0..4_u8, 0..10),
            1 => Just(vec![255; 9]),
            1 => vec(any::<u8>(), 0..12),
        ]
    };
    (part(), part(), part(), vec(0..3_u8, 0..6)).prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn key_table_orders_and_finds_awkward_keys_as_an_ordered_set_does(
        keys in vec(awkward_key(), 1..1_500),
        probes in vec(awkward_key(), 40),
        bounds in (awkward_key(), awkward_key()),
    ) {
        let (table, set) = table_of(&keys);
        check_whole(&table, &set);
        probes.iter().chain(&keys[..keys.len().min(40)]).for_each(|probe| {
            check_probe(&table, &set, probe);
        });
        let range = (Bound::Excluded(bounds.0.as_slice()), Bound::Included(bounds.1.as_slice()));
        if bounds.0 < bounds.1 {
            let inside: Vec<_> = set.range::<[u8], _>(range).cloned().collect();
            prop_assert_eq!(walked(&table, range, Direction::Forward), inside);
        } else {
            prop_assert!(walked(&table, range, Direction::Forward).is_empty());
        }
    }
}

/// Numbers below `count` (a power of two) in an order that looks random.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count)
}

#[test]
fn key_table_of_several_levels_is_in_order_whatever_order_keys_come_in() {
    const COUNT: u64 = 1 << 17;
    let decimal = |number: u64| format!("tenant-0042/user:{number:020}").into_bytes();
    let orders: [Box<dyn Iterator<Item = Vec<u8>>>; 5] = [
        Box::new((0..COUNT).map(decimal)),
        Box::new((0..COUNT).rev().map(decimal)),
        Box::new(scattered(COUNT).map(decimal)),
        Box::new(scattered(COUNT).map(|number| number.to_be_bytes().to_vec())),
        // Outliers on both sides take what all keys share away, late.
        Box::new(scattered(COUNT).map(decimal).chain([
            b"a".to_vec(),
            b"z".to_vec(),
            b"tenant-0041".to_vec(),
            Vec::new(),
        ])),
    ];
    for keys in orders {
        let (table, set) = table_of(keys);
        check_whole(&table, &set);
        for number in scattered(1 << 10) {
            let probe = decimal(number * 131);
            check_probe(&table, &set, &probe);
            check_probe(&table, &set, &probe[..probe.len() - 2]);
            check_probe(&table, &set, &[&probe[..], b"\0"].concat());
        }
    }
}

#[test]
fn hash_index_finds_every_entry_when_all_tags_are_one() {
    let mut index = super::super::hash::HashIndex::default();
    let tag = Tag::of(b"one");
    for key in 0..1_000 {
        index.insert(tag, key);
    }
    assert!((0..1_000).all(|key| index.find(tag, |at| at == key) == Some(key)));
    assert_eq!(index.find(tag, |_| false), None);
    assert_eq!(index.find(Tag::of(b"other"), |_| true), None);
}

/// Keys that come in any order and are written again in between, so that leaves split with keys
/// of all ages in them.
#[test]
fn first_newer_key_is_that_of_a_look_at_every_key_over_many_leaves() {
    const KEYS: u64 = 1 << 12;
    let mut table = KeyTable::default();
    let mut lsns: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut written = scattered(KEYS).collect::<Vec<_>>();
    written.extend(scattered(KEYS).filter(|number| number % 5 == 0));
    for (step, number) in written.into_iter().enumerate() {
        let (key, lsn) = (number.to_be_bytes(), 8 * (step as u64 + 1));
        let at = match table.find(&key, Tag::of(&key)) {
            Some(at) => at,
            None => table.insert(&key, Tag::of(&key)),
        };
        table.set_newest(at, Lsn::new(lsn), NONE);
        lsns.insert(key.to_vec(), lsn);
        if step % 20 > 0 {
            continue;
        }
        for look in 0..6 {
            let drawn = (lsn + look).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (from, to) = ((drawn >> 52) % KEYS, (drawn >> 40) % KEYS);
            let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
            let snapshot = lsn.saturating_sub((drawn % 32_768) >> (lsn % 12));
            let range: Range<'_> = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
            let expected = if from < to {
                lsns.range::<[u8], _>(range).find(|&(_, &lsn)| lsn > snapshot)
            } else {
                None
            };
            let expected = expected.map(|(key, &lsn)| (key.clone(), Lsn::new(lsn)));
            let found = table.first_newer(range, Lsn::new(snapshot));
            assert_eq!(found.map(|(key, lsn)| (key.to_vec(), lsn)), expected);
        }
    }
}
