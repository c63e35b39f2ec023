//! Where the log ends after a crash: torn writes are cut off, holes are never passed.

use sombra::format::BLOCK_PAYLOAD_BYTES;
use sombra::{Lsn, OpenError};

use crate::disk::{self, Block, blocks, crafted_commit, erase_stamps, newest_blocks};
use crate::support::Bench;

#[test]
fn recovery_cuts_off_a_torn_block_at_the_log_tail_and_reports_it() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    erase_stamps(&bench.store());
    let (data, _) = newest_blocks(&bench.store());
    data.last().unwrap().tear();
    let (keys, report) = bench.keys_and_close();
    assert_eq!(keys, ["a"]);
    assert!(report.stopped_by.contains("checksum"), "{}", report.stopped_by);
    assert_eq!(report.replayed_to, data.last().unwrap().header.first_lsn);
    assert!(report.to_string().contains(&report.stopped_by));
    bench.write_and_close(&["c"]);
    assert_eq!(bench.keys_and_close().0, ["a", "c"], "what was cut off never comes back");
    bench.end();
}

#[test]
fn recovery_of_a_clean_log_reports_a_blank_end_and_everything_vouched_for() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    let (keys, report) = bench.keys_and_close();
    assert_eq!(keys, ["a", "b"]);
    assert!(report.stopped_by.contains("blank"), "{}", report.stopped_by);
    let last = blocks(&bench.store()).into_iter().rfind(Block::holds_records).unwrap();
    assert!(report.newest_stamp > last.header.first_lsn, "the stamp of the close covers it");
    assert!(report.newest_stamp <= report.replayed_to);
    assert!(!report.to_string().contains("dropped"), "{report}");
    bench.end();
}

#[test]
fn recovery_drops_a_torn_record_whole_when_only_its_last_block_is_missing() {
    let bench = Bench::new();
    let (db, keyspace) = bench.open();
    db.blocking().put(&keyspace, "small", "1").unwrap();
    db.blocking().put(&keyspace, "spans blocks", vec![7; 20_000]).unwrap();
    db.blocking().close().unwrap();
    erase_stamps(&bench.store());
    let (data, _) = newest_blocks(&bench.store());
    assert!(data.len() > 5, "the record spans blocks");
    data.last().unwrap().tear();
    assert_eq!(bench.keys_and_close().0, ["small"]);
    bench.write_and_close(&["later"]);
    assert_eq!(bench.keys_and_close().0, ["later", "small"]);
    bench.end();
}

#[test]
fn rot_of_the_newest_block_below_a_stamp_is_damage_and_not_a_torn_write() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    let (data, stamps) = newest_blocks(&bench.store());
    assert!(!stamps.is_empty(), "closing stamps the log");
    let newest = data.last().unwrap();
    newest.rot();
    let error = bench.refusal();
    let OpenError::Damaged { path, offset, expected, found, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((path, *offset), (&newest.path, newest.offset));
    assert!(expected.contains("durable up to"), "{expected}");
    assert!(found.contains("checksum"), "{found}");
    newest.write(&newest.sealed());
    assert_eq!(bench.keys_and_close().0, ["a", "b"], "the store is unharmed");
    bench.end();
}

/// Makes a store whose log ends in a hole of one block, then a valid block of a commit that a
/// lost write held up: `durable` in it says whether the hole was ever whole.
fn with_block_behind_a_hole(bench: &Bench, durable_beyond_the_hole: bool) -> Block {
    bench.write_and_close(&["a", "b"]);
    erase_stamps(&bench.store());
    let keyspace = sombra::KeyspaceId::new(1);
    let last = newest_blocks(&bench.store()).0.pop().unwrap();
    let hole = last.header.first_lsn.as_u64() + BLOCK_PAYLOAD_BYTES as u64;
    let durable = hole + if durable_beyond_the_hole { BLOCK_PAYLOAD_BYTES as u64 } else { 0 };
    let stale = crafted_commit(&last, 2, Lsn::new(durable), (keyspace, "zombie"));
    stale.write(&stale.sealed());
    assert_eq!(blocks(&bench.store()).last().unwrap().header, stale.header, "it is valid");
    stale
}

#[test]
fn stale_block_behind_a_hole_is_dropped_and_never_comes_back() {
    let bench = Bench::new();
    let stale = with_block_behind_a_hole(&bench, false);
    let (db, keyspace) = bench.open();
    assert_eq!(crate::support::keys(&db, &keyspace), ["a", "b"]);
    let report = db.open_report();
    assert_eq!(report.dropped_blocks, 1);
    assert!(report.to_string().contains("dropped 1 blocks"), "{report}");
    // As many commits as would have filled the hole and met the stale block.
    for key in ["c", "d", "e", "f"] {
        db.blocking().put(&keyspace, key, key).unwrap();
    }
    let crashed = bench.dir.beside("crashed");
    disk::copy_as_killed(&bench.store(), &crashed);
    db.blocking().close().unwrap();
    for round in 0..3 {
        let (db, keyspace) = bench.open_at(&crashed);
        let found = crate::support::keys(&db, &keyspace);
        assert_eq!(found, ["a", "b", "c", "d", "e", "f"], "round {round}");
        db.blocking().close().unwrap();
    }
    let is_stale = |block: &Block| {
        block.header.incarnation == stale.header.incarnation
            && block.header.first_lsn >= stale.header.first_lsn
    };
    assert!(!blocks(&crashed).iter().any(is_stale), "its bytes are gone from the log");
    bench.end();
}

#[test]
fn valid_block_that_vouches_for_the_hole_before_it_is_damage() {
    let bench = Bench::new();
    let witness = with_block_behind_a_hole(&bench, true);
    let error = bench.refusal();
    let OpenError::Damaged { path, offset, expected, found, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((path, *offset), (&witness.path, witness.offset - 4096), "the hole is named");
    assert!(expected.contains(&witness.header.durable.to_string()), "{expected}");
    assert!(found.contains("blank"), "{found}");
    bench.end();
}

#[test]
fn stale_block_in_the_next_segment_is_dropped_when_that_segment_is_used_again() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    erase_stamps(&bench.store());
    let last = newest_blocks(&bench.store()).0.pop().unwrap();
    let next_segment = disk::next_segment(&bench.store(), &last);
    let blocks_to_its_start = (1 << 20) / 4096 - last.offset / 4096;
    let zombie = (sombra::KeyspaceId::new(1), "zombie");
    let durable = Lsn::new(last.header.first_lsn.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
    let mut stale = crafted_commit(&last, blocks_to_its_start, durable, zombie);
    (stale.path, stale.offset) = (next_segment, 4096);
    stale.write(&stale.sealed());
    for _ in 0..3 {
        assert_eq!(bench.keys_and_close().0, ["a"]);
    }
    bench.write_and_close(&["b", "c"]);
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c"]);
    bench.end();
}
