use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::executor::tests::core_with_time;
use crate::executor::{Fifo, ShardCore};
use crate::limits::TASK_CLASS_SHARES;
use crate::task::{TaskClass, TaskSpec};

const FOREGROUND: usize = TaskClass::Foreground.index();
const MERGE: usize = TaskClass::Merge.index();

/// A task that is always ready and takes `poll_ns` in each poll.
fn burner(core: &ShardCore, clock: &Arc<AtomicU64>, class: TaskClass, poll_ns: u64) {
    let (shard, clock) = (core.shard().clone(), Arc::clone(clock));
    core.shard().spawn(TaskSpec::new("burner", class), async move {
        loop {
            clock.fetch_add(poll_ns, Ordering::Relaxed);
            shard.yield_now().await;
        }
    });
}

fn run_until(core: &mut ShardCore, clock: &AtomicU64, end_ns: u64) {
    while clock.load(Ordering::Relaxed) < end_ns {
        assert!(core.turn(usize::MAX, &mut Fifo).progressed);
    }
}

fn cpu_ns(core: &ShardCore) -> [u64; TASK_CLASS_COUNT] {
    core.shard().runtime().metrics()[0].task_classes.map(|class| class.cpu_ns)
}

/// What four classes get of 10 s, each with tasks that are always ready, some with long polls.
fn cpu_of_four_under(shares: [u64; TASK_CLASS_COUNT]) -> [u64; TASK_CLASS_COUNT] {
    let (mut core, clock) = core_with_time();
    core.shares = CpuShares::new(shares);
    for _ in 0..3 {
        burner(&core, &clock, TaskClass::Foreground, 3_000);
    }
    burner(&core, &clock, TaskClass::Flush, 40_000);
    burner(&core, &clock, TaskClass::Merge, 500_000);
    burner(&core, &clock, TaskClass::Maintenance, 7_000);
    run_until(&mut core, &clock, 10_000_000_000);
    cpu_ns(&core)
}

fn follows_shares(cpu_ns: [u64; TASK_CLASS_COUNT]) -> bool {
    let whole: u64 = cpu_ns.iter().sum();
    let shares: u64 = TASK_CLASS_SHARES.iter().sum();
    (0..TASK_CLASS_COUNT).all(|class| {
        let due = whole as f64 * TASK_CLASS_SHARES[class] as f64 / shares as f64;
        (cpu_ns[class] as f64 / due - 1.0).abs() < 0.1
    })
}

#[test]
fn classes_that_are_always_ready_get_cpu_time_by_their_shares() {
    let cpu_ns = cpu_of_four_under(TASK_CLASS_SHARES);
    assert!(follows_shares(cpu_ns), "{cpu_ns:?}");
}

/// The control of the test above: its claim is one about shares.
#[test]
fn equal_shares_do_not_look_like_the_shares_in_force() {
    let cpu_ns = cpu_of_four_under([1_000; TASK_CLASS_COUNT]);
    assert!(!follows_shares(cpu_ns), "{cpu_ns:?}");
}

#[test]
fn polls_are_shared_out_where_the_clock_stands_still() {
    let (mut core, clock) = core_with_time();
    burner(&core, &clock, TaskClass::Foreground, 0);
    burner(&core, &clock, TaskClass::Merge, 0);
    for _ in 0..20_000 {
        core.turn(usize::MAX, &mut Fifo);
    }
    let polls = core.shard().runtime().metrics()[0].task_classes.map(|class| class.polls);
    let ratio = polls[FOREGROUND] as f64 / polls[MERGE] as f64;
    assert!((4.5..5.5).contains(&ratio), "{polls:?}");
}

#[test]
fn lone_class_gets_everything() {
    let (mut core, clock) = core_with_time();
    burner(&core, &clock, TaskClass::Maintenance, 10_000);
    run_until(&mut core, &clock, 1_000_000_000);
    assert_eq!(cpu_ns(&core)[TaskClass::Maintenance.index()], clock.load(Ordering::Relaxed));
}

#[test]
fn class_that_was_idle_has_banked_nothing() {
    let (mut core, clock) = core_with_time();
    burner(&core, &clock, TaskClass::Merge, 10_000);
    run_until(&mut core, &clock, 1_000_000_000);
    let before = cpu_ns(&core)[MERGE];
    burner(&core, &clock, TaskClass::Foreground, 10_000);
    run_until(&mut core, &clock, 1_060_000_000);
    let merge_ns = cpu_ns(&core)[MERGE] - before;
    // A sixth is its share; with a second of credit the foreground would have taken all.
    assert!((9_000_000..=11_000_000).contains(&merge_ns), "{merge_ns}");
}

#[test]
fn class_that_came_back_does_not_pay_for_time_that_nobody_else_wanted() {
    let mut shares = CpuShares::new(TASK_CLASS_SHARES);
    let (only_merge, both) = ([false, false, true, false], [true, false, true, false]);
    shares.set_ready(&only_merge);
    for _ in 0..1_000 {
        shares.add_poll(MERGE, 10_000_000);
    }
    shares.set_ready(&[false; TASK_CLASS_COUNT]);
    shares.set_ready(&[true, false, false, false]);
    shares.set_ready(&both);
    assert_eq!(shares.pick(&both), Some(FOREGROUND), "they begin equal");
    shares.add_poll(FOREGROUND, 1_000_000);
    assert_eq!(shares.pick(&both), Some(MERGE), "the foreground is a millisecond ahead");
}

#[test]
fn one_stall_is_paid_for_a_bounded_time() {
    let mut shares = CpuShares::new(TASK_CLASS_SHARES);
    let both = [true, false, true, false];
    shares.set_ready(&both);
    shares.add_poll(MERGE, 3_600_000_000_000);
    let mut waited_ns = 0;
    while shares.pick(&both) != Some(MERGE) {
        shares.add_poll(FOREGROUND, 1_000_000);
        waited_ns += 1_000_000;
    }
    assert!(waited_ns <= CLASS_POLL_NS_MAX * 5 + 1_000_000, "{waited_ns}");
}

#[test]
fn lagging_class_that_ran_dry_is_asked_again_before_one_beyond_its_share_runs() {
    let mut shares = CpuShares::new(TASK_CLASS_SHARES);
    let both = [true, false, true, false];
    shares.set_ready(&both);
    shares.add_poll(MERGE, 1_000_000);
    let dry = [false, false, true, false];
    assert_eq!(shares.pick(&dry), None);
    shares.set_ready(&dry);
    assert_eq!(shares.pick(&dry), Some(MERGE), "idle since: whoever has work takes the time");
}
