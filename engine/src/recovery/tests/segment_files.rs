//! Which files of the log's directory stay after an opening, and how much of them.

use std::collections::BTreeMap;

use super::world::{Log, SEGMENT_BYTES, block_lsn, link, one_each, segment_path};
use crate::format::BLOCK_SIZE_BYTES;
use crate::ids::Lsn;
use crate::recovery::replay::RootMarks;
use crate::recovery::{add_link, next_link};

/// Segments 1 to 6 of openings 1, 1, 2, 2, none that is linked, and 4. Opening 1 ends with a
/// block of segment 2, opening 2 in the middle of one of segment 3.
fn log() -> Log {
    let log = Log::new(vec![
        link(1, Lsn::ZERO, 1),
        link(2, block_lsn(2, 5), 3),
        link(4, Lsn::new(block_lsn(3, 7).as_u64() + 8), 6),
    ]);
    for (number, incarnation) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 4)] {
        log.segment(number, incarnation, &[]);
    }
    log
}

fn reclaim(log: &Log, floor: Lsn) -> BTreeMap<u64, u64> {
    log.with_files(move |shard, superblock, files| async move {
        files.reclaim(&shard, (&superblock.links, floor), 6).await.unwrap()
    })
}

#[test]
fn files_that_no_replay_reads_go_and_the_others_keep_what_it_reads() {
    let log = log();
    let kept = reclaim(&log, Lsn::ZERO);
    let (ends_with_a_block, ends_inside) = (6 * BLOCK_SIZE_BYTES, 9 * BLOCK_SIZE_BYTES);
    let lengths = [SEGMENT_BYTES as usize, ends_with_a_block, ends_inside];
    assert_eq!(kept, (1..).zip(lengths.map(|length| length as u64)).collect());
    let found = (1..=6).map(|number| log.len_bytes(number)).collect::<Vec<_>>();
    let whole = Some(SEGMENT_BYTES as usize);
    let expected = [whole, Some(ends_with_a_block), Some(ends_inside), None, None, whole];
    assert_eq!(found, expected);
    assert_eq!(reclaim(&log, Lsn::ZERO), kept, "once more changes nothing");
}

#[test]
fn files_below_the_floor_go_with_all_that_they_hold() {
    let log = log();
    assert_eq!(reclaim(&log, block_lsn(2, 1)).keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(reclaim(&log, block_lsn(3, 0)).keys().copied().collect::<Vec<_>>(), [3]);
}

#[test]
fn opening_of_a_log_is_numbered_above_every_header_and_link_and_drops_links_below_the_floor() {
    let log = log();
    log.segment(9, 7, &[]);
    log.with_files(|_, superblock, files| async move {
        let newest = files.newest_incarnation();
        assert_eq!(newest, 7);
        assert_eq!(files.path(2), segment_path(2));
        let above = files.above(3).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(above, [4, 5, 6, 9]);
        assert_eq!(superblock.links.len(), 3);
    });
    let first = Log::new(vec![link(1, Lsn::ZERO, 1), link(2, block_lsn(1, 1), 2)]);
    first.segment(1, 1, &one_each(1, 1, &["a"])).segment(2, 2, &one_each(2, 2, &["b"]));
    first.segment(3, 5, &[]);
    let replayed = first.replay(RootMarks::NONE).end;
    first.with_files(move |_, superblock, files| async move {
        let next = next_link(&superblock, &files, &replayed);
        assert_eq!(next, link(6, block_lsn(2, 1), 4));
        for (floor, kept) in [(block_lsn(1, 1), 3), (block_lsn(2, 0), 2), (block_lsn(2, 1), 2)] {
            let mut linked = superblock.clone();
            add_link(&mut linked, next, (&replayed, floor));
            assert_eq!(linked.links.len(), kept, "floor {floor}");
            assert_eq!(linked.links.last(), Some(&next));
        }
    });
}
