//! What of a log is replayed, where it ends, and which ends are refused.

use super::world::{
    Log, SEGMENT_BLOCKS, SEGMENT_BYTES, block_lsn, blocks, commit, header, link, one_each,
    segment_path,
};
use crate::format::BLOCK_SIZE_BYTES;
use crate::format::log_block::LogBlockHeader;
use crate::ids::Lsn;
use crate::recovery::replay::RootMarks;

fn after(lsn: Lsn, bytes: usize) -> Lsn {
    Lsn::new(lsn.as_u64() + bytes as u64)
}

/// Openings 1, 2 and 3 in segments 1, 2 and 3, of keys a and b, c, and d.
fn three_openings() -> Log {
    let first_end = after(block_lsn(1, 1), commit("b", 10).len());
    let second_end = after(block_lsn(2, 0), commit("c", 10).len());
    let log = Log::new(vec![link(1, Lsn::ZERO, 1), link(2, first_end, 2), link(3, second_end, 3)]);
    log.segment(1, 1, &one_each(1, 1, &["a", "b"]));
    log.segment(2, 2, &one_each(2, 2, &["c"]));
    log.segment(3, 3, &one_each(3, 3, &["d"]));
    log
}

fn marks(start: Lsn, newest: Lsn) -> RootMarks {
    RootMarks { start, newest, floor: Lsn::ZERO }
}

#[test]
fn replay_reads_each_opening_up_to_the_next_ones_link_and_the_last_to_its_first_invalid_block() {
    let log = three_openings();
    let all = log.replay(RootMarks::NONE);
    all.outcome.unwrap();
    assert_eq!(all.keys, ["a", "b", "c", "d"]);
    assert_eq!((all.lsns.len(), all.end.records), (4, 4), "pads are no records");
    assert_eq!((all.end.incarnations, all.end.dropped_blocks), (3, 0));
    // The block at which the last one ends is looked at twice, and all behind it.
    let blocks_read = 2 + 1 + 2 + (SEGMENT_BLOCKS - 1);
    assert_eq!(all.end.read_bytes, (blocks_read * BLOCK_SIZE_BYTES) as u64);
    assert_eq!(all.end.end, block_lsn(3, 1), "the pad behind the last record has an end, too");
    let merged = all.lsns[1];
    let rest = log.replay(marks(merged, merged));
    rest.outcome.unwrap();
    assert_eq!((rest.keys, rest.end.incarnations), (vec!["c".to_owned(), "d".to_owned()], 2));
}

#[test]
fn bytes_behind_the_length_of_a_segment_are_none_of_its_log() {
    let log = three_openings();
    let path = segment_path(3);
    let mut bytes = log.disk.read_file(&path).unwrap();
    bytes.extend(one_each(4, 4, &["later"]).concat());
    log.disk.write_file(&path, &bytes);
    log.replay(RootMarks::NONE).outcome.unwrap();
}

#[test]
fn end_of_an_opening_inside_a_record_or_behind_what_is_left_is_damage() {
    let mut log = three_openings();
    log.superblock.links[2].previous_end = after(block_lsn(2, 0), 16);
    let (path, offset, reason, _) = log.replay(RootMarks::NONE).damage();
    assert_eq!(reason, "a record crosses the end of its opening");
    assert_eq!((path, offset), (segment_path(2), BLOCK_SIZE_BYTES as u64));
    let log = three_openings();
    log.segment(2, 2, &[]);
    let crossed = log.replay(RootMarks::NONE);
    assert_eq!(crossed.keys, ["a", "b"]);
    let (path, _, reason, _) = crossed.damage();
    assert_eq!(path, segment_path(2));
    assert_eq!(reason, "the log ends before the place where a later opening found its end");
    let log = three_openings();
    log.segment(2, 1, &[]);
    let found = log.replay(RootMarks::NONE).damage().3;
    assert!(found.contains("is of incarnation 1"), "{found}");
}

#[test]
fn log_that_ends_before_what_a_tree_holds_is_refused() {
    let log = three_openings();
    let end = log.replay(RootMarks::NONE).end.end;
    log.replay(marks(Lsn::ZERO, end)).outcome.unwrap();
    let lost = log.replay(marks(Lsn::ZERO, after(end, 40)));
    assert_eq!(lost.keys.len(), 4);
    let (path, offset, reason, _) = lost.damage();
    assert_eq!(reason, "the log ends before what is merged into the trees");
    assert_eq!((path, offset), (segment_path(3), 2 * BLOCK_SIZE_BYTES as u64));
}

#[test]
fn log_whose_last_block_is_gone_is_refused_for_what_was_in_it() {
    // Replay begins inside the block, and its segment is gone.
    let mut log = three_openings();
    log.disk = Log::new(Vec::new()).disk;
    log.segment(1, 1, &[]).segment(2, 2, &[]);
    let reason = |start, newest| log.replay(marks(start, newest)).damage().2;
    let (begin, within) = (block_lsn(3, 0), after(block_lsn(3, 0), 80));
    let in_trees = "the log ends before what is merged into the trees";
    assert_eq!(reason(within, after(within, 16)), in_trees);
    assert_eq!(reason(within, within), in_trees, "what shared the block was durable too");
    assert_eq!(reason(begin, begin), "a segment of the newest opening's log is lost");
}

/// The newest opening's log fills segment 3 to its last byte.
fn full_segment() -> Log {
    let log = three_openings();
    let keys: Vec<String> = (0..SEGMENT_BLOCKS).map(|at| format!("{at:03}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    log.segment(3, 3, &one_each(3, 3, &keys));
    log
}

#[test]
fn newest_opening_without_its_next_segment_is_refused_unless_an_opening_was_taking_it() {
    const LOST: &str = "a segment of the newest opening's log is lost";
    let (path, _, reason, found) = full_segment().replay(RootMarks::NONE).damage();
    assert_eq!((path, reason), (segment_path(4), LOST));
    assert_eq!(found, "segment 4 does not exist");
    let log = full_segment();
    log.segment(5, 3, &[]);
    assert_eq!(log.replay(RootMarks::NONE).damage().2, LOST, "a later one of its own is there");
    let log = full_segment();
    log.segment(5, 4, &[]);
    log.replay(RootMarks::NONE).outcome.unwrap();
    let log = full_segment();
    log.segment(4, 2, &[]);
    let (_, _, reason, found) = log.replay(RootMarks::NONE).damage();
    assert_eq!((reason, found.as_str()), (LOST, "segment 4 is of incarnation 2"));
    let log = full_segment();
    log.segment(4, 3, &[]);
    log.replay(RootMarks::NONE).outcome.unwrap();
}

#[test]
fn newest_openings_segment_that_was_cut_is_refused_with_its_length() {
    let log = three_openings();
    let len_bytes = SEGMENT_BYTES as usize - BLOCK_SIZE_BYTES;
    log.set_len(3, len_bytes);
    let (path, _, reason, found) = log.replay(RootMarks::NONE).damage();
    assert_eq!((path, reason), (segment_path(3), "the segment file was cut"));
    assert_eq!(found, format!("{len_bytes} bytes"));
    let log = three_openings();
    log.set_len(3, SEGMENT_BYTES as usize + BLOCK_SIZE_BYTES);
    log.replay(RootMarks::NONE).outcome.unwrap();
}

#[test]
fn later_segment_that_says_durable_beyond_the_end_is_evidence() {
    let log = three_openings();
    let behind = LogBlockHeader { durable: block_lsn(3, 2), ..header(3, block_lsn(4, 0)) };
    log.segment(4, 3, &blocks(&commit("e", 10), &[0], behind));
    assert_eq!(log.replay(RootMarks::NONE).damage().2, "a block that was durable is invalid");
    let log = three_openings();
    let behind = LogBlockHeader { durable: block_lsn(3, 1), ..header(3, block_lsn(4, 0)) };
    log.segment(4, 3, &blocks(&commit("e", 10), &[0], behind));
    let dropped = log.replay(RootMarks::NONE);
    dropped.outcome.unwrap();
    assert_eq!((dropped.keys.len(), dropped.end.dropped_blocks), (4, 1));
}

#[test]
fn segments_behind_the_last_record_are_spare_and_the_one_that_holds_its_end_is_not() {
    let log = three_openings();
    let end = log.replay(RootMarks::NONE).end;
    assert_eq!((end.last_first_segment(), end.first_spare_segment()), (3, 4));
    assert!(!end.is_last_empty(&log.superblock));
    assert_eq!(end.previous_end(&log.superblock), end.end);
    let log = full_segment();
    log.segment(4, 3, &[]);
    let end = log.replay(RootMarks::NONE).end;
    assert_eq!(end.end, block_lsn(4, 0), "the last record ends with its segment");
    assert_eq!((end.last_first_segment(), end.first_spare_segment()), (3, 4));
    let log = three_openings();
    log.segment(3, 3, &[]);
    let end = log.replay(RootMarks::NONE).end;
    assert_eq!((end.last_first_segment(), end.first_spare_segment()), (3, 3));
    assert!(end.is_last_empty(&log.superblock), "it wrote nothing");
    assert_eq!(end.previous_end(&log.superblock), log.superblock.links[2].previous_end);
    let log = Log::new(Vec::new());
    let end = log.replay(RootMarks::NONE).end;
    assert_eq!((end.last_first_segment(), end.first_spare_segment()), (0, 0));
}
