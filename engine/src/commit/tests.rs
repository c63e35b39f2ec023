use std::ops::Bound;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::ShardId;

use super::open::{OpenCommits, Waiter, Waiters};
use super::prepared::{PrepareId, PreparedTable};
use crate::ids::{KeyspaceId, Lsn};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::limits;
use crate::options::Routing;
use crate::txn::{ReadKey, ReadRange, ReadSet, Write, WriteSet};
use crate::wal::watermarks::NONE_OPEN;

mod dropped;
mod locking;
mod one_shard;
mod shared;
mod world;

#[test]
fn open_commit_closes_only_when_it_is_applied_and_durable() {
    let mut open = OpenCommits::default();
    open.open(100, Lsn::new(132), true);
    open.open(132, Lsn::new(164), true);
    assert!(!open.close(Lsn::new(164)), "durable, but not applied on every shard");
    open.mark_applied(132);
    assert!(!open.close(Lsn::new(163)), "applied, but its last byte is not durable");
    assert!(open.close(Lsn::new(164)));
    assert_eq!((open.lowest(), open.len()), (100, 1), "the lower one holds `visible` back");
    open.mark_applied(100);
    assert!(open.close(Lsn::new(164)));
    assert_eq!((open.lowest(), open.len()), (NONE_OPEN, 0));
}

#[test]
fn async_commit_closes_when_it_is_applied_whatever_is_durable() {
    let mut open = OpenCommits::default();
    open.open(100, Lsn::new(132), false);
    assert!(!open.close(Lsn::ZERO));
    open.mark_applied(100);
    assert!(open.close(Lsn::ZERO));
}

#[test]
#[should_panic(expected = "INV-4b")]
fn open_commits_refuse_two_commits_at_one_position() {
    let mut open = OpenCommits::default();
    open.open(100, Lsn::new(132), true);
    open.open(100, Lsn::new(140), true);
}

#[test]
fn waiters_are_taken_lowest_first_and_never_above_visible() {
    let mut waiters = Waiters::default();
    let mut ends = Vec::new();
    for lsn in [30, 10, 20, 10] {
        let (sender, receiver) = oneshot::channel();
        waiters.add(Lsn::new(lsn), Waiter::Step(sender));
        ends.push(receiver);
    }
    assert_eq!(waiters.lowest(), Some(Lsn::new(10)));
    let mut taken = 0;
    while let Some(Waiter::Step(sender)) = waiters.take_reached(Lsn::new(20)) {
        sender.send(()).expect("its receiver lives");
        taken += 1;
    }
    assert_eq!((taken, waiters.len()), (3, 1));
    assert!(ends[0].try_recv().expect("not dropped").is_none(), "the one at 30 still waits");
    assert!(waiters.take_any().is_some(), "a store that stopped answers all");
    assert_eq!(waiters.lowest(), None);
    assert!(ends[0].try_recv().is_err(), "dropped unanswered");
}

fn writes(keys: &[&str]) -> Vec<Write> {
    let id = KeyspaceId::new(1);
    let (name, routing) = ("k".to_owned(), Routing::range());
    let keyspace = Keyspace::new(KeyspaceDef { id, name, routing, created_lsn: Lsn::ZERO });
    let mut writes = WriteSet::default();
    for key in keys {
        let value = Some(Bytes::from_static(b"v"));
        writes.insert(&keyspace, key.as_bytes(), value).expect("in bounds");
    }
    writes.take()
}

#[test]
fn prepared_keys_are_held_until_their_commit_leaves_and_no_longer() {
    let mut table = PreparedTable::default();
    let id = |sequence| PrepareId { coordinator: ShardId::new(0), sequence };
    let probe = writes(&["b"]).remove(0);
    table.enter(id(1), writes(&["a", "b"]), ReadSet::default());
    table.enter(id(2), writes(&["c"]), ReadSet::default());
    assert!(table.is_held_from_writers(&probe));
    assert_eq!(table.leave(id(2)).len(), 1);
    assert!(table.is_held_from_writers(&probe), "another commit's leaving frees only its own keys");
    let left = table.leave(id(1));
    assert_eq!(left.iter().map(Write::key).collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(!table.is_held_from_writers(&probe));
    assert_eq!((table.len(), table.leave(id(1)).len()), (0, 0), "an abort may come twice");
}

/// A part that read a key and a range of the tablet that `writes` writes to.
fn reads(key: &str, from: &str, to: &str) -> ReadSet {
    let tablet = writes(&[key])[0].tablet;
    let window_key = |key: &str| writes(&[key]).remove(0).window_key;
    let (from, to) = (Bound::Included(window_key(from)), Bound::Excluded(window_key(to)));
    let mut reads = ReadSet::default();
    reads.keys.push(ReadKey { tablet, window_key: window_key(key) });
    reads.ranges.push(ReadRange { tablet, from, to });
    reads
}

#[test]
fn prepared_reads_hold_their_keys_and_ranges_from_writers_until_the_last_of_them_leaves() {
    let mut table = PreparedTable::default();
    let id = |sequence| PrepareId { coordinator: ShardId::new(0), sequence };
    let is_held =
        |table: &PreparedTable, key| table.is_held_from_writers(&writes(&[key]).remove(0));
    table.enter(id(1), Vec::new(), reads("a", "m", "p"));
    table.enter(id(2), Vec::new(), reads("a", "x", "z"));
    let held = |table: &PreparedTable| ["a", "b", "m", "p", "x"].map(|key| is_held(table, key));
    assert_eq!(held(&table), [true, false, true, false, true]);
    table.leave(id(1));
    assert_eq!(held(&table), [true, false, false, false, true], "two commits had read the key");
    table.leave(id(2));
    assert_eq!(held(&table), [false; 5]);
    table.enter(id(3), writes(&["q"]), ReadSet::default());
    assert_eq!(held(&table), [false; 5], "nothing of them is left beside another commit");
}

#[test]
fn prepared_writes_are_found_by_who_read_their_key_or_a_range_around_it() {
    let mut table = PreparedTable::default();
    let id = PrepareId { coordinator: ShardId::new(0), sequence: 1 };
    let shown = |table: &PreparedTable| {
        let (before, around) = (reads("a", "b", "m"), reads("m", "b", "n"));
        let keys = [&before, &around].map(|reads| table.is_being_written(&reads.keys[0]));
        let ranges = [&before, &around].map(|reads| table.first_being_written(&reads.ranges[0]));
        (keys, ranges.map(|key| key.is_some()))
    };
    assert_eq!(shown(&table), ([false, false], [false, false]), "nothing is prepared");
    table.enter(id, writes(&["m"]), ReadSet::default());
    assert_eq!(shown(&table), ([false, true], [false, true]));
    let empty = &reads("m", "n", "b").ranges[0];
    assert_eq!(table.first_being_written(empty), None, "a range turned round holds nothing");
}

#[test]
#[should_panic(expected = "no waiting while prepared")]
fn prepared_table_refuses_a_key_that_is_held_from_writers() {
    let mut table = PreparedTable::default();
    let id = |sequence| PrepareId { coordinator: ShardId::new(0), sequence };
    table.enter(id(1), writes(&["a"]), ReadSet::default());
    table.enter(id(2), writes(&["a"]), ReadSet::default());
}
