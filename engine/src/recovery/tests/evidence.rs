//! What a root proves of the block of the log in which replay begins.

use sombra_runtime::sim::Corruption;

use super::world::{Log, block_lsn, blocks, commit, header, link, segment_path};
use crate::error::OpenError;
use crate::format::BLOCK_SIZE_BYTES;
use crate::ids::Lsn;
use crate::recovery::replay::RootMarks;

/// A log of one opening with one block, which holds commits of a and b, and the ends of these.
fn one_block() -> (Log, Lsn, Lsn) {
    let start = block_lsn(1, 0);
    let records = [commit("a", 1), commit("b", 1)];
    let [first, second] = [0, 1].map(|last| records[..=last].concat().len());
    let log = Log::new(vec![link(1, Lsn::ZERO, 1)]);
    log.segment(1, 1, &blocks(&records.concat(), &[0, first], header(1, start)));
    let end = |bytes: usize| Lsn::new(start.as_u64() + bytes as u64);
    (log, end(first), end(second))
}

fn flip_a_bit(log: &Log) {
    let offset = BLOCK_SIZE_BYTES as u64 + 200;
    log.disk.corrupt(segment_path(1), offset, Corruption::FlipBit { bit: 2 });
}

/// A tree holds a commit of the block, so all of the block was durable, and what follows that
/// commit in it had been acknowledged.
#[test]
fn root_proves_that_the_block_was_durable_in_which_replay_begins() {
    let (log, first, end) = one_block();
    let marks = RootMarks { start: first, newest: first, floor: first };
    let found = log.replay(marks);
    assert_eq!(found.keys, ["b"]);
    assert!(found.outcome.is_ok() && found.end.end >= end, "the block is whole");
    flip_a_bit(&log);
    let found = log.replay(marks);
    assert!(found.keys.is_empty());
    let error = found.outcome.expect_err("the commit of b was acknowledged");
    assert!(matches!(&error, OpenError::Damaged { offset: 4096, .. }), "{error}");
    assert!(error.to_string().contains("a tree holds"), "{error}");
}

#[test]
fn torn_block_behind_all_that_trees_hold_is_the_end_of_the_log() {
    let (log, _, _) = one_block();
    let start = block_lsn(1, 0);
    flip_a_bit(&log);
    let found = log.replay(RootMarks { start, newest: start, floor: start });
    assert!(found.keys.is_empty());
    found.outcome.unwrap();
    assert_eq!(found.end.end, start);
}
