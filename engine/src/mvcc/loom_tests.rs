//! Loom models of the oracle and the snapshot registry. Run them with
//! `RUSTFLAGS="--cfg sombra_loom" cargo test --release -p sombra --lib loom`.

use std::sync::Arc;

use loom::thread;
use sombra_runtime::ShardId;
use sombra_runtime::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::oracle::Oracle;
use super::registry::{SnapshotKind, SnapshotRegistry};
use crate::ids::Lsn;
use crate::wal::watermarks::{NONE_OPEN, Tail};

const RECORD_BYTES: u64 = 8;
const START: u64 = 8;

#[derive(Clone)]
struct FakeTail(Arc<AtomicU64>);

impl Tail for FakeTail {
    fn reserved(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What the models leave out, to see that they can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Omit {
    Nothing,
    Preset,
    CloserFence,
    TailFirst,
    SecondLook,
}

struct World {
    tail: FakeTail,
    oracle: Oracle<FakeTail>,
    /// By record number: applied on every shard.
    applied: [AtomicBool; 2],
    omit: Omit,
}

impl World {
    fn new(omit: Omit) -> Arc<World> {
        let tail = FakeTail(Arc::new(AtomicU64::new(START)));
        let oracle = Oracle::new(tail.clone(), 2, Lsn::new(START));
        let applied = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(World { tail, oracle, applied, omit })
    }

    /// One whole commit of a shard: open, apply, close, recompute.
    fn commit(&self, shard: ShardId) {
        let marks = self.oracle.marks();
        let reserve = || self.tail.0.fetch_add(RECORD_BYTES, Ordering::AcqRel);
        let start = match self.omit {
            Omit::Preset => {
                let start = reserve();
                marks.set_pending(shard, start);
                start
            }
            _ => marks.open(shard, reserve, |start| *start),
        };
        let record = ((start - START) / RECORD_BYTES) as usize;
        self.applied[record].store(true, Ordering::Release);
        match self.omit {
            Omit::CloserFence => marks.set_pending_unfenced(shard, NONE_OPEN),
            _ => marks.set_pending(shard, NONE_OPEN),
        }
        match self.omit {
            Omit::TailFirst => drop(self.oracle.recompute_tail_last()),
            Omit::CloserFence => drop(self.oracle.recompute_unfenced()),
            _ => drop(self.oracle.recompute()),
        }
    }

    fn check(&self) {
        let visible = self.oracle.visible().as_u64();
        for (record, applied) in self.applied.iter().enumerate() {
            let end = START + (record as u64 + 1) * RECORD_BYTES;
            let is_settled = end > visible || applied.load(Ordering::Acquire);
            assert!(is_settled, "INV-4: visible {visible} passed the open commit {end}");
        }
    }
}

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

fn two_commits_and_a_reader(omit: Omit) {
    model(3, move || {
        let world = World::new(omit);
        let other = Arc::clone(&world);
        let committer = thread::spawn(move || other.commit(ShardId::new(1)));
        let other = Arc::clone(&world);
        let reader = thread::spawn(move || other.check());
        world.commit(ShardId::new(0));
        world.check();
        committer.join().unwrap();
        reader.join().unwrap();
        let settled = START + 2 * RECORD_BYTES;
        assert_eq!(world.oracle.visible().as_u64(), settled, "one of two closers sees both closed");
    });
}

#[test]
fn loom_visible_never_passes_an_open_commit_and_reaches_all_closed_ones() {
    two_commits_and_a_reader(Omit::Nothing);
}

#[test]
#[should_panic(expected = "INV-4")]
fn loom_finds_a_reservation_without_preset() {
    two_commits_and_a_reader(Omit::Preset);
}

#[test]
#[should_panic(expected = "one of two closers")]
fn loom_finds_two_closers_without_fences() {
    two_commits_and_a_reader(Omit::CloserFence);
}

#[test]
#[should_panic(expected = "INV-4")]
fn loom_finds_the_tail_read_after_the_pendings() {
    two_commits_and_a_reader(Omit::TailFirst);
}

/// A waiter publishes what it waits for, then looks; a raiser raises, then looks who waits.
#[test]
fn loom_a_waiter_for_visible_is_seen_by_the_raiser_or_sees_the_raise() {
    model(3, || {
        let world = World::new(Omit::Nothing);
        let (other, woken) = (Arc::clone(&world), Arc::new(AtomicBool::new(false)));
        let wakes = Arc::clone(&woken);
        let raiser = thread::spawn(move || {
            other.tail.0.fetch_add(RECORD_BYTES, Ordering::AcqRel);
            if let Some(visible) = other.oracle.recompute() {
                let waits = other.oracle.waiting_shards(visible).any(|shard| shard == 0);
                wakes.store(waits, Ordering::Release);
            }
        });
        let wanted = Lsn::new(START + RECORD_BYTES);
        world.oracle.set_awaited(ShardId::new(0), Some(wanted));
        let saw_the_raise = world.oracle.visible() >= wanted;
        raiser.join().unwrap();
        assert!(saw_the_raise || woken.load(Ordering::Acquire), "a waiter sleeps for ever");
    });
}

/// Versions at 8 and 16 of one key; `visible` goes from 8 to 16 while a reader begins. The pruner
/// drops version 8 once it finds `visible` at 16 and no snapshot below.
fn reader_against_pruner(omit: Omit) {
    model(3, move || {
        let registry = SnapshotRegistry::new(1);
        let visible = Arc::new(AtomicU64::new(8));
        let dropped = Arc::new(AtomicBool::new(false));
        let (slots, mark, drops) =
            (Arc::clone(&registry), Arc::clone(&visible), Arc::clone(&dropped));
        let pruner = thread::spawn(move || {
            mark.fetch_max(16, Ordering::SeqCst);
            let seen = mark.load(Ordering::SeqCst);
            let is_read = slots.active().iter().any(|lsn| lsn.as_u64() < 16);
            if seen >= 16 && !is_read {
                drops.store(true, Ordering::Release);
            }
        });
        let load = || Lsn::new(visible.load(Ordering::SeqCst));
        let guard = match omit {
            Omit::SecondLook => registry.acquire_without_second_look(load),
            _ => registry.acquire(load, 0, SnapshotKind::ReadOnly),
        };
        let guard = guard.expect("the slot is free");
        pruner.join().unwrap();
        let is_there = guard.lsn().as_u64() >= 16 || !dropped.load(Ordering::Acquire);
        assert!(is_there, "a version was pruned under its reader");
    });
}

#[test]
fn loom_no_version_is_pruned_under_its_reader() {
    reader_against_pruner(Omit::Nothing);
}

#[test]
#[should_panic(expected = "pruned under its reader")]
fn loom_finds_a_claim_without_a_second_look() {
    reader_against_pruner(Omit::SecondLook);
}
