//! What steps ask for, and how they go on.

use crate::ids::Direction;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::store::{OWNER, Tree};
use crate::btree::*;
use crate::limits::REBUILD_NEED_PAGES_MAX;

fn loaded(rows: u32) -> Tree {
    let mut tree = Tree::new(4096);
    let row = |number: u32| (number.to_be_bytes().to_vec(), Some(vec![1; 40]));
    tree.apply(&(0..rows).map(row).collect());
    tree
}

#[test]
fn rebuild_names_all_touched_leaves_of_a_node_at_once() {
    let mut tree = loaded(20_000);
    tree.store.set_absent(true);
    let batch: Vec<BatchEntry> = (0..20_000_u32)
        .step_by(200)
        .map(|number| BatchEntry {
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
            lsn: Lsn::new(9),
            value: BatchValue::Inline(Bytes::from_static(&[2; 40])),
        })
        .collect();
    let config = RebuildConfig { page_size: 4096, owner: OWNER, root: tree.root };
    let mut rebuild = Rebuild::new(config, batch);
    let (mut rounds, mut most) = (0, 0);
    let mut out = Tree::new(4096).store;
    loop {
        match rebuild.advance(&tree.store, &mut out) {
            RebuildStep::Done(_) => break,
            RebuildStep::Progress => {}
            RebuildStep::NeedPages(pages) => {
                (rounds, most) = (rounds + 1, most.max(pages.len()));
                assert!(pages.len() <= REBUILD_NEED_PAGES_MAX);
                tree.store.fetch(&pages);
            }
        }
    }
    // A node of 4 KiB has about 120 children, and every third is touched.
    assert!(most >= 40, "{most} pages at once");
    assert!(rounds <= 12, "{rounds} rounds of reads for 100 leaves");
}

#[test]
fn cursor_knows_the_leaves_that_come_next() {
    let mut tree = loaded(5000);
    let from = 1000_u32.to_be_bytes();
    let to = 3000_u32.to_be_bytes();
    for direction in [Direction::Forward, Direction::Reverse] {
        tree.store.set_absent(true);
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut cursor = Cursor::new(tree.root, bounds.0, bounds.1, direction);
        let (mut rows, mut asked, mut foreseen) = (0, Vec::new(), Vec::new());
        loop {
            match cursor.next(&tree.store) {
                Step::Done(None) => break,
                Step::Done(Some(_)) => rows += 1,
                Step::NeedPage(page) => {
                    asked.push(page);
                    if foreseen.is_empty() {
                        foreseen = cursor.upcoming(1000);
                        assert_eq!(cursor.upcoming(3), foreseen[..foreseen.len().min(3)]);
                    }
                    tree.store.fetch(&[page]);
                }
            }
        }
        assert_eq!(rows, 2000);
        assert!(foreseen.len() > 20);
        assert!(asked.ends_with(&foreseen), "all leaves of the range but the first, in order");
    }
}

#[test]
fn overflow_runs_are_obsolete_once_their_rows_are_gone() {
    let mut tree = Tree::new(4096);
    let keys: Vec<Vec<u8>> = (0..9_u8).map(|number| vec![b'k', number]).collect();
    let with = |len: usize| keys.iter().map(|key| (key.clone(), Some(vec![5; len]))).collect();
    tree.apply(&with(20_000));
    assert_eq!(tree.store.written.len(), 9 * 5 + 1);
    tree.compare(&keys);
    tree.apply(&with(10));
    assert_eq!(tree.store.obsolete.len(), 10);
    tree.apply(&with(5000));
    tree.apply(&keys.iter().map(|key| (key.clone(), None)).collect::<BTreeMap<_, _>>());
    assert_eq!(tree.store.obsolete.len(), 10);
    assert_eq!(tree.root, None);
}

#[test]
fn page_lsn_of_a_leaf_that_vanished_is_inherited() {
    let mut tree = loaded(5000);
    let middle: BTreeMap<_, _> =
        (2000..2300_u32).map(|number| (number.to_be_bytes().to_vec(), None)).collect();
    tree.apply(&middle);
    assert_eq!(tree.walk().newest_lsn, 2);
    let rows_before = tree.model.len();
    tree.apply(&[(2500_u32.to_be_bytes().to_vec(), None)].into());
    assert_eq!((tree.model.len(), tree.walk().newest_lsn), (rows_before - 1, 3));
}
