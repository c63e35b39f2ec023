//! What commits meet on one shard, in the order of their steps.

use sombra_runtime::sync::atomic::Ordering;

use super::world::{
    SEGMENT_BYTES, SHARD, add_tablet, commit, commit_durably, is_ready, part, record, serve, sized,
    snapshot, window_bytes, with_core, with_log,
};
use super::*;
use crate::commit::single::refuse_if_ended;
use crate::commit::{Core, ShardPart};
use crate::error::{CommitError, ConflictReason};
use crate::format::segment::payload_bytes_per_segment;
use crate::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES};
use crate::options::Durability;
use crate::volume::VolumeState;

fn reason(answer: Result<Lsn, CommitError>) -> ConflictReason {
    match answer {
        Err(CommitError::Conflict { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn commit_conflicts_with_versions_above_its_snapshot_and_not_with_the_one_at_it() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let older = snapshot(&core);
        let first = commit_durably(&core, None, writes(&["a"])).await.unwrap();
        // At the version itself: `visible` also passes the padding of the block behind it.
        let at = |part| core.find_conflict(&part, Some(first), None);
        let reading = |key| ShardPart { reads: reads(key, "a", "b"), ..ShardPart::new(SHARD) };
        assert!(at(reading("a")).is_none() && at(part(writes(&["a"]))).is_none());
        let below = Lsn::new(first.as_u64() - 8);
        let below = |part| core.find_conflict(&part, Some(below), None).map(|found| found.reason);
        assert_eq!(below(reading("a")), Some(ConflictReason::ReadChanged));
        let around = ShardPart { reads: reads("z", "a", "b"), ..ShardPart::new(SHARD) };
        assert_eq!(below(around), Some(ConflictReason::RangeChanged));
        let refused = commit_durably(&core, older, writes(&["a"])).await;
        assert_eq!(reason(refused), ConflictReason::NewerVersion);
    });
}

#[test]
fn commit_into_a_tablet_that_is_gone_or_damaged_is_refused_and_reserves_nothing() {
    with_core(|core| async move {
        let gone = commit_durably(&core, None, writes(&["a"])).await;
        assert!(matches!(gone, Err(CommitError::KeyspaceDropped { .. })), "{gone:?}");
        let only_read = ShardPart { reads: reads("a", "b", "c"), ..ShardPart::new(SHARD) };
        let gone = commit(&core, snapshot(&core), only_read).await.unwrap();
        assert!(matches!(gone, Err(CommitError::KeyspaceDropped { .. })), "{gone:?}");
        let tablet = add_tablet(&core, &writes(&["a"]));
        core.with_tablet_mut(tablet, |tablet| tablet.set_damage("rot".to_owned()));
        let damaged = commit_durably(&core, None, writes(&["a"])).await;
        assert!(matches!(&damaged, Err(CommitError::Damaged { reason }) if reason == "rot"));
        assert_eq!(core.store.log.ring().tail(), core.store.oracle.visible().as_u64());
        assert_eq!(core.store.memory.used_bytes(), 0);
    });
}

#[test]
fn store_that_stopped_or_closes_refuses_commits() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        assert!(!core.store.set_closing(), "the first to close it");
        assert!(core.store.set_closing() && core.store.is_closing());
        let closed = commit_durably(&core, None, writes(&["a"])).await;
        assert!(matches!(closed, Err(CommitError::Closed)), "{closed:?}");
        core.store.poison.set("a reason");
        let stopped = commit_durably(&core, None, writes(&["a"])).await;
        assert!(matches!(&stopped, Err(CommitError::Poisoned { reason }) if reason == "a reason"));
    });
}

#[test]
fn transaction_whose_snapshot_was_ended_does_not_commit() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let guard = snapshot(&core);
        assert!(refuse_if_ended(guard.as_ref()).is_ok() && refuse_if_ended(None).is_ok());
        assert!(core.store.registry.end(&core.store.registry.active_snapshots()[0]));
        assert!(refuse_if_ended(guard.as_ref()).is_err());
        let refused = commit_durably(&core, guard, writes(&["a"])).await;
        assert!(matches!(refused, Err(CommitError::SnapshotTooOld { .. })), "{refused:?}");
        assert_eq!(core.store.memory.used_bytes(), 0, "what it was charged is given back");
    });
}

/// A write to a tablet that is not there.
fn elsewhere() -> Vec<Write> {
    let mut elsewhere = writes(&["gone"]);
    elsewhere[0].tablet.index = 9;
    elsewhere
}

#[test]
fn memory_is_charged_for_what_windows_hold_and_for_nothing_else() {
    with_core(|core| async move {
        let tablet = add_tablet(&core, &writes(&["a"]));
        let used = || core.store.memory.used_bytes();
        let reader = snapshot(&core);
        for _ in 0..20 {
            commit_durably(&core, None, sized(writes(&["a"]), 2_000)).await.unwrap();
            assert_eq!(used(), window_bytes(&core, tablet));
        }
        let held = used();
        drop(reader);
        core.tidy(limits::GARBAGE_STEP_MAX);
        assert_eq!(used(), window_bytes(&core, tablet));
        assert!(used() < held, "{held} bytes stay of one version");
        let elsewhere = elsewhere();
        let (before, cost) = (used(), elsewhere[0].cost_bytes());
        core.store.memory.try_charge(cost).unwrap();
        core.apply(Lsn::new(core.store.oracle.visible().as_u64() + 8), elsewhere);
        assert_eq!(used(), before, "its keyspace was dropped: nothing of it stays");
    });
}

#[test]
fn shard_is_woken_to_merge_when_windows_pass_their_threshold_and_not_below_it() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let wakes = core.store.merge_signal(SHARD);
        let (most, used) = (core.store.merge_above_bytes, || core.store.memory.used_bytes());
        for key in ["a", "b", "c", "d"] {
            assert!(used() <= most && !wakes.try_consume());
            commit_durably(&core, None, sized(writes(&[key]), 200_000)).await.unwrap();
        }
        assert!(used() > most && wakes.try_consume());
        // A write that frees what it was charged for leaves the rest as it was.
        let apply_above = |bytes: u64| {
            let elsewhere = elsewhere();
            core.store.memory.charge_unbounded(elsewhere[0].cost_bytes() + bytes);
            core.apply(Lsn::new(core.store.oracle.visible().as_u64() + 8), elsewhere);
            (used(), wakes.try_consume())
        };
        core.store.memory.release(used() - most);
        assert_eq!(apply_above(0), (most, false));
        assert_eq!(apply_above(1), (most + 1, true));
        core.store.memory.charge_unbounded(most);
    });
}

/// Takes a commit's place in the log, which nobody waits for.
fn reserve(core: &Core) -> (u64, Lsn) {
    let record = record(&writes(&["a"]));
    let charge = core.store.log.ring().try_charge(record.len() as u32).unwrap();
    let (start, reserved) = core.reserve(charge, &record, Durability::Sync);
    (start, reserved.lsn())
}

#[test]
fn commit_that_nobody_waits_for_is_visible_once_it_is_settled() {
    with_core(|core| async move {
        let (start, lsn) = reserve(&core);
        core.mark_applied(start);
        core.start_flights();
        while core.store.log.durable() < lsn {
            core.shard.yield_now().await;
        }
        assert!(core.store.oracle.visible() >= lsn);
    });
}

#[test]
fn commit_is_acknowledged_when_another_shard_settles_what_is_below_it() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let (other, marks) = (ShardId::new(1), core.store.oracle.marks());
        let reserve = || {
            let charge = core.store.log.ring().try_charge(64).unwrap();
            core.store.log.ring().reserve(charge)
        };
        drop(marks.open(other, reserve, |reservation| reservation.start()));
        let mut answered = commit(&core, None, part(writes(&["a"])));
        core.start_flights();
        while core.store.log.durable() < Lsn::new(core.store.log.ring().tail()) {
            core.shard.yield_now().await;
        }
        assert_eq!(answered.try_recv().unwrap().map(drop), None, "one below it is open");
        marks.set_pending(other, NONE_OPEN);
        core.progress();
        assert!(answered.try_recv().unwrap().is_some_and(|answer| answer.is_ok()));
    });
}

#[test]
fn shard_is_quiet_only_without_commits_in_any_step() {
    with_core(|core| async move {
        assert!(core.is_quiet());
        let open_commits = || {
            core.progress();
            core.counters().open_commits.load(Ordering::Relaxed)
        };
        let (start, lsn) = reserve(&core);
        assert!(!core.is_quiet(), "a commit is open");
        assert_eq!(open_commits(), 1);
        let id = PrepareId { coordinator: ShardId::new(1), sequence: 0 };
        core.prepared.borrow_mut().enter(id, writes(&["b"]), ReadSet::default());
        assert_eq!(open_commits(), 2);
        core.prepared.borrow_mut().leave(id);
        core.mark_applied(start);
        core.start_flights();
        while core.store.log.durable() < lsn {
            core.shard.yield_now().await;
        }
        assert!(core.is_quiet() && open_commits() == 0);
        let id = PrepareId { sequence: 1, ..id };
        core.prepared.borrow_mut().enter(id, writes(&["a"]), ReadSet::default());
        assert!(!core.is_quiet(), "a commit is prepared");
        core.prepared.borrow_mut().leave(id);
        assert!(core.is_quiet());
        let mut waits = std::pin::pin!(core.wait_until(|| false));
        assert!(!is_ready(&mut waits).await);
        assert!(!core.is_quiet() && core.store.is_room_wanted(), "somebody waits for room");
        core.progress();
        assert!(is_ready(waits).await && core.is_quiet() && !core.store.is_room_wanted());
    });
}

#[test]
fn waiting_for_memory_ends_at_once_when_there_is_room_or_none_can_come() {
    with_core(|core| async move {
        let (store, most) = (&core.store, core.store.memory.max_bytes());
        assert!(is_ready(core.wait_for_memory(most)).await, "it fits");
        store.memory.charge_unbounded(1);
        assert!(!is_ready(core.wait_for_memory(most)).await, "one byte is missing");
        assert!(is_ready(core.wait_for_memory(most - 1)).await);
        store.set_merge_stuck(ShardId::new(1), true);
        assert!(is_ready(core.wait_for_memory(most)).await, "nothing will make it fit");
        store.set_merge_stuck(ShardId::new(1), false);
        store.poison.set("a reason");
        assert!(is_ready(core.wait_for_memory(most)).await, "nobody will be served");
    });
}

#[test]
fn commits_that_add_data_are_refused_while_the_data_file_has_only_its_reserve() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let volume = std::sync::Arc::clone(&core.store.volume);
        let on_shard = core.shard.clone();
        let spec = core.spec("keeper", sombra_runtime::TaskClass::Maintenance);
        core.shard.spawn(spec, async move { volume.keep(&on_shard, || {}).await });
        let volume = &core.store.volume;
        while volume.state() == VolumeState::Fine {
            drop(volume.take_extents(1, false));
            core.shard.yield_now().await;
        }
        while volume.take_extents(1, false).is_some() {}
        let full = commit_durably(&core, None, writes(&["a"])).await;
        assert!(matches!(full, Err(CommitError::DiskFull { .. })), "{full:?}");
        let delete = writes(&["a"]).into_iter().map(|write| Write { value: None, ..write });
        commit_durably(&core, None, delete.collect()).await.unwrap();
    });
}

/// Settles what is signalled, and keeps segments prepared as far as the log may grow.
fn serve_and_keep(core: &std::rc::Rc<Core>) {
    serve(core);
    let kept = std::rc::Rc::clone(core);
    let spec = core.spec("keeper", sombra_runtime::TaskClass::Maintenance);
    core.shard.spawn(spec, async move {
        let (store, shard) = (&kept.store, kept.shard.clone());
        let ring = store.log.ring();
        let Err(broken) = store.log.segments().keep(&shard, ring, || store.wake_all()).await;
        panic!("{broken}");
    });
}

/// Fills the log's one segment, with a keeper that may make no second one.
async fn fill_the_log(core: &std::rc::Rc<Core>) {
    add_tablet(core, &writes(&["a"]));
    serve_and_keep(core);
    while core.store.log.ring().try_charge(40_000).is_ok() {
        commit_durably(core, None, sized(writes(&["a"]), 30_000)).await.unwrap();
    }
}

#[test]
fn commit_waits_for_room_in_the_log_while_merges_can_make_it_and_no_longer() {
    with_core(|core| async move {
        fill_the_log(&core).await;
        let large = || commit(&core, None, part(sized(writes(&["a"]), 60_000)));
        let mut waiting = large();
        core.shard.sleep(std::time::Duration::from_millis(50)).await;
        assert!(waiting.try_recv().unwrap().is_none(), "merging may truncate the log");
        assert!(core.store.merge_signal(SHARD).try_consume(), "and is asked to");
        assert!(!core.may_have_room(60_000));
        core.store.set_damaged(0);
        assert!(core.may_have_room(60_000), "to hear that there is none");
        let refused = waiting.await.unwrap();
        assert!(matches!(refused, Err(CommitError::LogFull { .. })), "{refused:?}");
        let refused = large().await.unwrap();
        assert!(matches!(refused, Err(CommitError::LogFull { .. })), "{refused:?}");
    });
}

/// What lies ahead is counted in whole segments: near their ends a few bytes decide.
#[test]
fn commit_longer_than_a_segment_gets_the_room_that_it_needs_and_hardly_more() {
    let segment = payload_bytes_per_segment(SEGMENT_BYTES) as usize;
    let overhead = record(&sized(writes(&["a"]), 0)).len();
    for short_by in (0..=3 * BLOCK_SIZE_BYTES).step_by(504) {
        with_log(1_024, 8, move |core| async move {
            add_tablet(&core, &writes(&["a"]));
            serve_and_keep(&core);
            // Two segments, the last block of the second being held back.
            let len = 2 * segment - BLOCK_PAYLOAD_BYTES - short_by;
            let long = sized(writes(&["a"]), len - overhead);
            commit(&core, None, part(long)).await.unwrap().unwrap();
            core.shard.sleep(std::time::Duration::from_secs(2)).await;
            let count = core.store.log.segments().numbers_on_disk().len();
            assert!((2..=4).contains(&count), "{count} segments for {len} bytes");
        });
    }
}

#[test]
fn charge_of_the_log_is_worth_another_attempt_when_it_fits_or_the_store_stopped() {
    with_core(|core| async move {
        let fits = BLOCK_SIZE_BYTES as u32;
        assert!(core.may_have_room(fits));
        let (ring, mut charges) = (core.store.log.ring(), Vec::new());
        while let Ok(charge) = ring.try_charge(fits) {
            charges.push(charge);
        }
        assert!(!core.may_have_room(fits), "a segment may be on its way");
        core.store.poison.set("a reason");
        assert!(core.may_have_room(fits));
    });
}
