//! How full pages are, and how many are written.

use std::collections::BTreeMap;

use super::store::Tree;

type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn row(number: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    (number.to_be_bytes().to_vec(), Some(vec![number as u8; 40]))
}

/// A number that looks random.
fn mix(number: u32) -> u32 {
    let number = (number ^ (number >> 16)).wrapping_mul(0x7FEB_352D);
    let number = (number ^ (number >> 15)).wrapping_mul(0x846C_A68B);
    number ^ (number >> 16)
}

fn loaded(page_size: usize, rows: u32) -> Tree {
    let mut tree = Tree::new(page_size);
    tree.apply(&(0..rows).map(|number| row(number * 16)).collect());
    tree
}

#[test]
fn load_fills_pages_whole() {
    let tree = loaded(4096, 100_000);
    let walked = tree.walk();
    let leaves = &walked.used[0];
    assert!(leaves[..leaves.len() - 1].iter().all(|&used| used > 4096 - 64), "{leaves:?}");
    assert_eq!(tree.root.unwrap().level, 2);
}

#[test]
fn appends_fill_pages_whole_in_small_batches() {
    let mut tree = Tree::new(4096);
    for batch in 0..400 {
        tree.apply(&(0..23).map(|number| row(batch * 23 + number)).collect());
    }
    let leaves = &tree.walk().used[0];
    // No room for one more row of 58 bytes, which may shorten the prefix that all rows share.
    let full = 4096 - 58 - 75;
    assert!(leaves[..leaves.len() - 1].iter().all(|&used| used > full), "{leaves:?}");
    assert!(leaves.len() < 150);
}

#[test]
fn leaves_stay_half_full_under_random_deletes() {
    for page_size in [4096, 8192, 16_384, 32_768] {
        let mut tree = loaded(page_size, 20_000);
        for round in 0..40_u32 {
            let keys: Vec<_> = tree.model.keys().cloned().collect();
            let chosen = keys.iter().enumerate().filter(|(index, _)| {
                mix(*index as u32 ^ mix(round)).is_multiple_of(if round % 4 == 0 { 3 } else { 16 })
            });
            tree.apply(&chosen.map(|(_, key)| (key.clone(), None)).collect());
            let sparse = tree.sparse_nodes();
            assert!(sparse.iter().all(|&count| count == 0), "round {round}: {sparse:?}");
        }
        tree.compare(&[]);
    }
}

#[test]
fn nodes_stay_half_full_under_random_puts_and_deletes() {
    let mut tree = loaded(4096, 3000);
    for round in 0..60_u32 {
        let numbers = (0..150).map(|index| mix(round * 1000 + index) % 200_000);
        let batch: Batch = numbers
            .map(|number| {
                let (key, value) = row(number);
                (key, value.filter(|_| mix(number + round) % 5 > 1))
            })
            .collect();
        tree.apply(&batch);
        assert_eq!(tree.sparse_nodes().iter().sum::<usize>(), 0, "round {round}");
    }
    tree.compare(&[]);
}

#[test]
fn lone_sparse_leaves_of_many_parents_are_joined() {
    // Two rows stay under each node of level 1.
    let mut tree = loaded(4096, 100_000);
    let parents = tree.walk().used[1].len() as u32;
    assert!(parents > 5);
    let keeps = |number: u32| number % (100_000 / (2 * parents)) == 7;
    let gone = (0..100_000).filter(|&number| !keeps(number));
    tree.apply(&gone.map(|number| (row(number * 16).0, None)).collect());
    assert_eq!(tree.walk().used[0].len(), 1);
    assert_eq!(tree.root.unwrap().level, 0);
    tree.compare(&[]);
}

#[test]
fn one_update_writes_one_page_per_level() {
    let mut tree = loaded(4096, 100_000);
    let (key, _) = row(16 * 31_000);
    tree.apply(&[(key, Some(vec![1; 40]))].into());
    assert_eq!(tree.store.written.len(), 3);
    assert_eq!(tree.store.obsolete.len(), 3);
}

#[test]
fn tree_is_none_once_the_last_row_is_gone() {
    let mut tree = loaded(4096, 30_000);
    tree.apply(&(0..30_000).map(|number| (row(number * 16).0, None)).collect());
    assert_eq!(tree.root, None);
    tree.apply(&[(b"absent".to_vec(), None)].into());
    assert_eq!(tree.root, None);
    tree.compare(&[b"absent".to_vec()]);
}

#[test]
fn many_rows_between_two_others_fill_pages() {
    let mut tree = loaded(4096, 5000);
    let between = |number: u32| {
        let key = [&(16_u32 * 2500).to_be_bytes()[..], &number.to_be_bytes()].concat();
        (key, Some(vec![3; 40]))
    };
    tree.apply(&(0..50_000).map(between).collect());
    assert_eq!(tree.sparse_nodes().iter().sum::<usize>(), 0);
    let leaves = &tree.walk().used[0];
    assert!(leaves.iter().filter(|&&used| used > 3900).count() > leaves.len() * 9 / 10);
    tree.compare(&[]);
}
