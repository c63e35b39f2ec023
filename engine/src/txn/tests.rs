use std::ops::Bound;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::error::WriteError;
use crate::ids::{KeyspaceId, Lsn};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::limits;
use crate::options::Routing;

fn keyspace(id: u32, routing: Routing) -> Keyspace {
    Keyspace::new(KeyspaceDef {
        id: KeyspaceId::new(id),
        name: format!("k{id}"),
        routing,
        created_lsn: Lsn::ZERO,
    })
}

fn put(writes: &mut WriteSet, keyspace: &Keyspace, key: &[u8]) -> Result<(), WriteError> {
    writes.insert(keyspace, key, Some(Bytes::new()))
}

#[test]
fn write_set_names_the_limit_that_a_key_or_value_is_over() {
    let keyspace = keyspace(1, Routing::range());
    let mut writes = WriteSet::default();
    let longest = vec![b'k'; limits::KEY_BYTES_MAX];
    put(&mut writes, &keyspace, &longest).expect("a key of the longest length");
    for len in [0, limits::KEY_BYTES_MAX + 1] {
        let error = put(&mut writes, &keyspace, &vec![b'k'; len]).expect_err("over the limit");
        assert_eq!(error, WriteError::KeyLength { expected: 1024, found: len });
        let text = error.to_string();
        assert!(text.contains("1024") && text.contains(&len.to_string()), "{text}");
    }
    let value = Bytes::from(vec![0; limits::VALUE_BYTES_MAX]);
    writes.insert(&keyspace, b"largest", Some(value)).expect("a value of the largest length");
    let value = Bytes::from(vec![0; limits::VALUE_BYTES_MAX + 1]);
    let error = writes.insert(&keyspace, b"larger", Some(value)).expect_err("over the limit");
    let (expected, found) = (limits::VALUE_BYTES_MAX, limits::VALUE_BYTES_MAX + 1);
    assert_eq!(error, WriteError::ValueLength { expected, found });
    assert_eq!(writes.take().len(), 2, "what was refused is not in the set");
}

#[test]
fn write_set_refuses_what_no_log_record_holds_and_goes_on_without_it() {
    let keyspace = keyspace(1, Routing::range());
    let mut writes = WriteSet::default();
    let value = Bytes::from(vec![0; 5 << 20]);
    let mut taken = 0_u32;
    let error = loop {
        let key = taken.to_be_bytes();
        match writes.insert(&keyspace, &key, Some(value.clone())) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(taken, 3, "three values of 5 MiB fit a record of 17 MiB with their keys");
    assert!(matches!(error, WriteError::TooLarge { unit: "bytes", .. }), "{error}");
    // A smaller write over an earlier one makes room again.
    put(&mut writes, &keyspace, &0_u32.to_be_bytes()).expect("smaller than before");
    writes.insert(&keyspace, &3_u32.to_be_bytes(), Some(value)).expect("there is room now");
    assert_eq!(writes.take().len(), 4);
    assert!(writes.is_empty());
    put(&mut writes, &keyspace, b"again").expect("an emptied set begins anew");
}

#[test]
fn write_set_bounds_the_number_of_writes_but_not_of_overwrites() {
    let keyspace = keyspace(1, Routing::range());
    let mut writes = WriteSet::default();
    for number in 0..limits::TRANSACTION_OPS_MAX as u32 {
        put(&mut writes, &keyspace, &number.to_be_bytes()).expect("within the bound");
    }
    put(&mut writes, &keyspace, &0_u32.to_be_bytes()).expect("not one more");
    let error = put(&mut writes, &keyspace, b"one more").expect_err("over the bound");
    let (expected, found) = (limits::TRANSACTION_OPS_MAX, limits::TRANSACTION_OPS_MAX + 1);
    assert_eq!(error, WriteError::TooLarge { unit: "writes", expected, found });
}

#[test]
fn write_set_shows_the_newest_own_write_of_its_own_keyspace_only() {
    let (one, two) = (keyspace(1, Routing::hash(2)), keyspace(2, Routing::hash(2)));
    let mut writes = WriteSet::default();
    writes.insert(&one, b"key", Some(Bytes::from_static(b"old"))).expect("in bounds");
    writes.insert(&one, b"key", Some(Bytes::from_static(b"new"))).expect("in bounds");
    writes.insert(&one, b"gone", None).expect("in bounds");
    let own = |keyspace: &Keyspace, key: &[u8]| {
        writes.get(keyspace.id(), &keyspace.place(key).window_key)
    };
    assert_eq!(own(&one, b"key"), Some(Some(Bytes::from_static(b"new"))));
    assert_eq!(own(&one, b"gone"), Some(None), "an own delete is not a miss");
    assert_eq!(own(&one, b"other"), None);
    assert_eq!(own(&two, b"key"), None);
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xFE), Just(0xFF), any::<u8>()], 1..5)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #[test]
    fn write_set_range_is_what_the_bounds_contain(
        keys in prop::collection::btree_set(key(), 0..30),
        from in bound(),
        to in bound(),
    ) {
        let (one, two) = (keyspace(1, Routing::range()), keyspace(2, Routing::range()));
        let mut writes = WriteSet::default();
        for key in &keys {
            put(&mut writes, &one, key).expect("in bounds");
            put(&mut writes, &two, key).expect("in bounds");
        }
        let as_bytes = |bound: &Bound<Vec<u8>>| bound.clone().map(Bytes::from);
        let found = writes.range(one.id(), as_bytes(&from), as_bytes(&to));
        let found: Vec<&[u8]> = found.iter().map(Write::key).collect();
        let range = KeyRange::new(from, to);
        let expected: Vec<&Vec<u8>> = keys.iter().filter(|key| range.contains(key)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn key_range_prefix_contains_exactly_the_keys_with_that_prefix(
        prefix in vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 0..4),
        keys in vec(key(), 1..20),
    ) {
        let range = KeyRange::prefix(&prefix);
        let made = keys.iter().map(|key| [prefix.as_slice(), key].concat());
        for key in keys.iter().cloned().chain(made).filter(|key| !key.is_empty()) {
            prop_assert_eq!(range.contains(&key), key.starts_with(&prefix), "{:?}", key);
        }
    }

    #[test]
    fn successor_of_prefix_lies_above_every_key_with_the_prefix_and_nothing_between(
        prefix in vec(prop_oneof![Just(0xFF_u8), any::<u8>()], 0..4),
        key in key(),
    ) {
        match successor_of_prefix(&prefix) {
            None => prop_assert!(prefix.iter().all(|&byte| byte == 0xFF)),
            Some(successor) => {
                let below = key < successor;
                let at_or_above_prefix = key >= prefix;
                prop_assert_eq!(below && at_or_above_prefix, key.starts_with(&prefix));
            }
        }
    }

    #[test]
    fn key_range_common_prefix_is_shared_by_every_key_inside(
        from in bound(),
        to in bound(),
        keys in vec(key(), 1..40),
    ) {
        let range = KeyRange::new(from, to);
        let prefix = range.common_prefix();
        for key in keys.iter().filter(|key| range.contains(key)) {
            prop_assert!(key.starts_with(&prefix), "{:?} without {:?}", key, prefix);
        }
    }
}

#[test]
fn key_range_of_rust_ranges_means_what_it_means_in_rust() {
    let contains = |range: KeyRange| ["a", "b", "c"].map(|key| range.contains(key.as_bytes()));
    assert_eq!(contains(KeyRange::from(..)), [true, true, true]);
    assert_eq!(contains(KeyRange::from("a".."c")), [true, true, false]);
    assert_eq!(contains(KeyRange::from("b"..="c")), [false, true, true]);
    assert_eq!(contains(KeyRange::from("b"..)), [false, true, true]);
    assert_eq!(contains(KeyRange::from(.."b")), [true, false, false]);
    assert_eq!(contains(KeyRange::from("c".."a")), [false, false, false]);
    let all_of_it = KeyRange::prefix(b"node-7");
    assert_eq!(all_of_it.common_prefix(), b"node-7", "one prefix, one tablet");
}

proptest! {
    #[test]
    fn savepoints_take_the_writes_back_to_what_they_were(
        steps in vec((0_u8..8, 0_u8..6, 0_usize..4, 0_usize..6), 1..80),
    ) {
        let keyspace = keyspace(1, Routing::range());
        let mut writes = WriteSet::default();
        let mut model: std::collections::BTreeMap<u8, Option<usize>> = Default::default();
        let mut marks: Vec<(SavepointId, std::collections::BTreeMap<u8, Option<usize>>)> = vec![];
        let mut gone: Vec<SavepointId> = vec![];
        for (what, key, len, which) in steps {
            match what {
                0 => marks.push((writes.set_savepoint().expect("a few"), model.clone())),
                1 if !marks.is_empty() => {
                    let at = which % marks.len();
                    prop_assert!(writes.roll_back_to(marks[at].0));
                    model = marks[at].1.clone();
                    gone.extend(marks.drain(at + 1..).map(|(id, _)| id));
                }
                2 => {
                    if let Some(id) = gone.get(which) {
                        prop_assert!(!writes.roll_back_to(*id), "it went with an earlier one");
                    }
                }
                _ => {
                    let value = (what > 3).then(|| Bytes::from(vec![0; len]));
                    writes.insert(&keyspace, &[key + 1], value).expect("within all limits");
                    model.insert(key + 1, (what > 3).then_some(len));
                }
            }
            for key in 1..7 {
                let own = writes.get(keyspace.id(), &Bytes::copy_from_slice(&[key]));
                let own = own.map(|value| value.map(|value| value.len()));
                prop_assert_eq!(own, model.get(&key).copied());
            }
        }
        // The bytes are right too: what is left may grow to the bound, and no further.
        let mut fresh = WriteSet::default();
        for (key, value) in &model {
            let value = value.map(|len| Bytes::from(vec![0; len]));
            fresh.insert(&keyspace, &[*key], value).expect("within all limits");
        }
        let large = Bytes::from(vec![0; limits::VALUE_BYTES_MAX]);
        for writes in [&mut writes, &mut fresh] {
            writes.insert(&keyspace, b"large", Some(large.clone())).expect("the largest value");
        }
        let mut room = limits::RECORD_BYTES_MAX - limits::VALUE_BYTES_MAX;
        while room > 0 {
            let value = Some(Bytes::from(vec![0; room]));
            let taken = fresh.insert(&keyspace, b"rest", value.clone());
            prop_assert_eq!(&writes.insert(&keyspace, b"rest", value), &taken);
            room = if taken.is_ok() { 0 } else { room - 1 };
        }
    }
}

#[test]
fn savepoints_beyond_their_bounds_are_refused_by_name() {
    let keyspace = keyspace(1, Routing::range());
    let mut writes = WriteSet::default();
    for _ in 0..limits::SAVEPOINTS_MAX {
        writes.set_savepoint().expect("within the limit");
    }
    let error = writes.set_savepoint().expect_err("one too many");
    let (expected, found) = (limits::SAVEPOINTS_MAX, limits::SAVEPOINTS_MAX + 1);
    assert_eq!(error, WriteError::TooLarge { unit: "savepoints", expected, found });
    // Each savepoint remembers the large value that a small one takes the place of.
    let mut writes = WriteSet::default();
    let large = Bytes::from(vec![0; 5 << 20]);
    let error = loop {
        writes.insert(&keyspace, b"a", Some(large.clone())).expect("one large value");
        writes.set_savepoint().expect("a few");
        if let Err(error) = writes.insert(&keyspace, b"a", Some(Bytes::new())) {
            break error;
        }
        writes.set_savepoint().expect("a few");
    };
    let is_named = matches!(
        error,
        WriteError::TooLarge { unit: "bytes kept for savepoints", expected, .. }
            if expected == limits::RECORD_BYTES_MAX
    );
    assert!(is_named, "{error}");
}
