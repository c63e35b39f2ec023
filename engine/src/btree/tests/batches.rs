//! Random batches against the model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::store::Tree;
use crate::limits::WINDOW_KEY_BYTES_MAX;

/// One batch: keys out of a family, and what happens to them.
#[derive(Clone, Debug)]
enum Change {
    /// Puts and deletes of random keys.
    Mixed(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// Deletes of this share of the rows, in percent, chosen by a seed.
    Thin(u8, u64),
    /// Deletes of all rows between two of them.
    Cut(Index, Index),
    /// Deletes of keys that are not there.
    Nothing(Vec<Vec<u8>>),
    /// Rows behind the last one.
    Append(u16),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let number = (0_u32..3000).prop_map(|number| number.to_be_bytes().to_vec());
    let text = (0_u32..500, 0_usize..4).prop_map(|(number, shape)| {
        let prefix = ["", "user/", "a/rather/long/common/prefix/of/many/keys/", "z"][shape];
        format!("{prefix}{number}").into_bytes()
    });
    // Long keys in few families, so that prefixes come and go with single rows.
    let long =
        (0_u8..6, 0_u16..60, 990_usize..=WINDOW_KEY_BYTES_MAX).prop_map(|(family, number, len)| {
            let mut key = vec![b'a' + family; len];
            key[len - 2..].copy_from_slice(&number.to_be_bytes());
            key
        });
    prop_oneof![6 => number, 6 => text, 1 => long]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![8 => 0_usize..120, 2 => 0_usize..1500, 1 => 1000_usize..40_000];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

fn any_change() -> impl Strategy<Value = Change> {
    let put = (any_key(), prop::option::weighted(0.75, any_value()));
    prop_oneof![
        6 => prop::collection::vec(put, 0..400).prop_map(Change::Mixed),
        2 => (1_u8..100, any::<u64>()).prop_map(|(percent, seed)| Change::Thin(percent, seed)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => prop::collection::vec(any_key(), 0..20).prop_map(Change::Nothing),
        1 => (1_u16..400).prop_map(Change::Append),
    ]
}

fn batch_of(change: &Change, tree: &Tree) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let keys = || tree.model.keys().cloned();
    match change {
        Change::Mixed(puts) => puts.iter().cloned().collect(),
        Change::Thin(percent, seed) => {
            let is_chosen = |index: usize| {
                let hash = (index as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                hash % 100 < u64::from(*percent)
            };
            let chosen = keys().enumerate().filter(|(index, _)| is_chosen(*index));
            chosen.map(|(_, key)| (key, None)).collect()
        }
        Change::Cut(from, to) => {
            let count = tree.model.len() + 1;
            let (from, to) = (from.index(count), to.index(count));
            keys().take(from.max(to)).skip(from.min(to)).map(|key| (key, None)).collect()
        }
        Change::Nothing(absent) => {
            let absent = absent.iter().filter(|key| !tree.model.contains_key(*key));
            absent.map(|key| (key.clone(), None)).collect()
        }
        Change::Append(count) => {
            let lsn = tree.lsn as u32 + 1;
            let key =
                |number: u16| [&[0xFF; 3][..], &lsn.to_be_bytes(), &number.to_be_bytes()].concat();
            (0..*count).map(|number| (key(number), Some(vec![7; 20]))).collect()
        }
    }
}

fn check_batches(page_size: usize, can_be_absent: bool, changes: &[Change], probes: &[Vec<u8>]) {
    let mut tree = Tree::new(page_size);
    tree.store.set_absent(can_be_absent);
    for change in changes {
        let batch = batch_of(change, &tree);
        tree.apply(&batch);
        if matches!(change, Change::Nothing(_)) {
            assert!(tree.store.written.is_empty(), "deletes of absent keys write nothing");
        }
        let mut probes = probes.to_vec();
        probes.extend(batch.keys().step_by(batch.len() / 20 + 1).cloned());
        tree.compare(&probes);
        assert_eq!(tree.joinable(), 0, "sparse nodes that a neighbour could take in");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 48,
        max_shrink_iters: 500,
        ..Default::default()
    })]

    #[test]
    fn tree_equals_the_model_after_any_batches(
        page_size in prop::sample::select(vec![4096_usize, 4096, 8192, 16_384, 32_768]),
        can_be_absent in any::<bool>(),
        changes in prop::collection::vec(any_change(), 1..10),
        probes in prop::collection::vec(any_key(), 8),
    ) {
        check_batches(page_size, can_be_absent, &changes, &probes);
    }
}
