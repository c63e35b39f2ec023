use std::cell::Cell;
use std::rc::Rc;

use sombra_runtime::ShardId;

use super::oracle::Oracle;
use super::registry::{SnapshotKind, SnapshotRegistry};
use super::states::Reserved;
use crate::ids::Lsn;
use crate::options::Durability;
use crate::wal::watermarks::{NONE_OPEN, Tail};

#[derive(Clone)]
struct FakeTail(Rc<Cell<u64>>);

impl Tail for FakeTail {
    fn reserved(&self) -> u64 {
        self.0.get()
    }
}

fn oracle(shards: usize) -> (Oracle<FakeTail>, Rc<Cell<u64>>) {
    let tail = Rc::new(Cell::new(100));
    (Oracle::new(FakeTail(Rc::clone(&tail)), shards, Lsn::new(100)), tail)
}

/// A commit of `shard` takes the next `len` bytes of the log.
fn reserve(oracle: &Oracle<FakeTail>, tail: &Cell<u64>, shard: ShardId, len: u64) -> u64 {
    oracle.marks().open(shard, || tail.replace(tail.get() + len), |start| *start)
}

#[test]
fn visible_never_passes_the_lowest_open_commit_of_any_shard() {
    let (oracle, tail) = oracle(2);
    let shards = [ShardId::new(0), ShardId::new(1)];
    let first = reserve(&oracle, &tail, shards[0], 16);
    let second = reserve(&oracle, &tail, shards[1], 16);
    let third = reserve(&oracle, &tail, shards[0], 16);
    assert_eq!((first, second, third), (100, 116, 132));
    assert_eq!(oracle.marks().pending(shards[0]), 100, "a later commit leaves the lower start");
    assert_eq!(oracle.recompute(), None);
    oracle.marks().set_pending(shards[1], NONE_OPEN);
    assert_eq!(oracle.recompute(), None, "the commit at 100 is open");
    oracle.marks().set_pending(shards[0], third);
    assert_eq!(oracle.recompute(), Some(Lsn::new(132)), "up to the start of the third");
    oracle.marks().set_pending(shards[0], NONE_OPEN);
    assert_eq!(oracle.recompute(), Some(Lsn::new(148)), "nothing is open: the whole tail");
    tail.set(152);
    assert_eq!(oracle.recompute(), Some(Lsn::new(152)), "padding has no closer of its own");
    assert_eq!(oracle.recompute(), None);
    assert_eq!(oracle.visible(), Lsn::new(152));
}

#[test]
fn oracle_names_only_the_shards_that_wait_at_or_below_visible() {
    let (oracle, _) = oracle(3);
    oracle.set_awaited(ShardId::new(0), Some(Lsn::new(120)));
    oracle.set_awaited(ShardId::new(2), Some(Lsn::new(140)));
    let waiting = |visible| oracle.waiting_shards(Lsn::new(visible)).collect::<Vec<_>>();
    assert_eq!(waiting(119), Vec::<usize>::new());
    assert_eq!(waiting(120), [0]);
    assert_eq!(waiting(140), [0, 2]);
    oracle.set_awaited(ShardId::new(0), None);
    assert_eq!(waiting(140), [2]);
}

#[test]
fn registry_publishes_again_when_visible_rises_under_it() {
    let registry = SnapshotRegistry::new(4);
    let loads = Cell::new(0_u64);
    let rising = || {
        loads.set(loads.get() + 1);
        Lsn::new(loads.get().min(3) * 16)
    };
    let guard = registry.acquire(rising, 0, SnapshotKind::ReadOnly).expect("a slot is free");
    assert_eq!(guard.lsn(), Lsn::new(48), "the newest, not the first that was loaded");
    assert_eq!(registry.active(), [Lsn::new(48)], "and that is what a pruner finds");
}

#[test]
fn registry_gives_all_slots_refuses_one_more_and_takes_them_back() {
    let registry = SnapshotRegistry::new(3);
    let acquire = |n: u64| registry.acquire(|| Lsn::new(8 * n), n * 100, SnapshotKind::ReadWrite);
    let mut guards: Vec<_> = (1..=3).filter_map(acquire).collect();
    assert_eq!(guards.len(), 3);
    assert!(acquire(4).is_none());
    assert_eq!(registry.census(), (3, Some(100)));
    drop(guards.remove(0));
    assert_eq!(registry.census(), (2, Some(200)));
    let again = acquire(5).expect("a slot came back");
    let mut active = registry.active();
    active.sort_unstable();
    assert_eq!(active, [16, 24, 40].map(Lsn::new));
    drop((guards, again));
    assert!(registry.active().is_empty());
    assert_eq!(registry.census(), (0, None));
}

#[test]
fn registry_tells_an_ended_snapshot_and_no_longer_counts_it() {
    let registry = SnapshotRegistry::new(2);
    let kind = SnapshotKind::ReadWrite;
    let old = registry.acquire(|| Lsn::new(8), 1, kind).expect("a slot is free");
    let young = registry.acquire(|| Lsn::new(16), 2, kind).expect("a slot is free");
    let found = registry.active_snapshots();
    let oldest = found.iter().min_by_key(|snapshot| snapshot.lsn).expect("two are active");
    assert_eq!((oldest.lsn, oldest.kind), (Lsn::new(8), kind));
    assert!(registry.end(oldest) && !registry.end(oldest), "it ends once");
    assert!(old.is_ended() && !young.is_ended());
    assert_eq!(registry.active(), [Lsn::new(16)]);
    drop(old);
    let next = registry.acquire(|| Lsn::new(24), 3, kind).expect("the owner freed the slot");
    assert!(!registry.end(oldest), "whoever has the slot now is another snapshot");
    assert!(!next.is_ended());
}

#[test]
fn registry_tells_what_a_snapshot_is_for_and_whether_it_still_reads() {
    let registry = SnapshotRegistry::new(2);
    let reader = registry.acquire(|| Lsn::new(8), 1, SnapshotKind::ReadOnly).expect("free");
    let writer = registry.acquire(|| Lsn::new(16), 2, SnapshotKind::ReadWrite).expect("free");
    let shown = || {
        let shown = registry.active_snapshots().into_iter();
        shown.map(|s| (s.lsn.as_u64(), s.kind, s.is_reading)).collect::<Vec<_>>()
    };
    assert_eq!(shown(), [(8, SnapshotKind::ReadOnly, true), (16, SnapshotKind::ReadWrite, true)]);
    writer.stop_reading();
    assert_eq!(shown()[1], (16, SnapshotKind::ReadWrite, false), "counts, and reads no more");
    assert_eq!(registry.active(), [reader.lsn()], "no version is kept for it");
    assert_eq!(registry.ended_total(), 0);
    assert!(registry.end(&registry.active_snapshots()[0]) && reader.is_ended());
    assert!(registry.end(&registry.active_snapshots()[0]) && writer.is_ended());
    assert_eq!(registry.ended_total(), 2);
}

#[test]
fn registry_tells_only_of_the_end_of_snapshots_below_what_is_kept() {
    let registry = SnapshotRegistry::new(1);
    let end_at = |lsn| {
        drop(registry.acquire(|| Lsn::new(lsn), 0, SnapshotKind::ReadOnly).expect("free"));
        registry.freed.try_consume()
    };
    assert!(!end_at(8), "nothing is kept for anybody");
    registry.watch_below(Lsn::new(24));
    assert_eq!([16, 24, 32].map(end_at), [true, false, false]);
    registry.watch_below(Lsn::new(16));
    assert!(end_at(16), "the watch never falls");
}

#[test]
fn commit_becomes_durable_and_visible_at_its_end_and_not_before() {
    let sync = Reserved::new(Lsn::new(64), Durability::Sync);
    let sync = sync.durable(Lsn::new(63)).expect_err("its last byte is not durable");
    let sync = sync.durable(Lsn::new(64)).expect("durable at its end");
    let sync = sync.visible(Lsn::new(63)).expect_err("not visible yet");
    assert_eq!(sync.visible(Lsn::new(64)).expect("visible at its end").lsn(), Lsn::new(64));
    let relaxed = Reserved::new(Lsn::new(64), Durability::Async);
    assert!(relaxed.durable(Lsn::ZERO).is_ok(), "an Async commit does not wait for the log");
}
