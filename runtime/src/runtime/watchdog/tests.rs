use super::*;
use crate::heartbeat::NameId;
use crate::limits::STALL_BUDGET_US_DEFAULT;
use crate::runtime::{DriverChoice, RuntimeOptions};
use crate::task::{TaskClass, TaskSpec};

const SHARD_0: ShardId = ShardId::new(0);
const SHARD_1: ShardId = ShardId::new(1);
const BUDGET: Duration = Duration::from_micros(STALL_BUDGET_US_DEFAULT);

fn at_ms(ms: u64) -> Moment {
    Moment::from_nanos(ms * 1_000_000)
}

fn look(watchdog: &mut Watchdog, watch: &Watch, now: Moment) -> Vec<Stall> {
    let mut stalls = Vec::new();
    watchdog.look(watch, now, &mut |stall| stalls.push(stall));
    stalls
}

#[test]
fn stall_is_reported_while_it_lasts_at_doubling_times_and_new_once() {
    let (watch, mut watchdog) = (Watch::new(2), Watchdog::new(2, BUDGET));
    let name = watch.names().id_of("blocker");
    watch.heart(SHARD_1).begin(at_ms(100), name);
    let mut reports = Vec::new();
    for ms in 100..200 {
        for stall in look(&mut watchdog, &watch, at_ms(ms)) {
            assert_eq!((stall.shard, stall.name), (SHARD_1, name));
            reports.push((stall.lasts.as_millis(), stall.is_new));
        }
    }
    assert_eq!(reports, [(6, true), (12, false), (24, false), (48, false), (96, false)]);
    watch.heart(SHARD_1).end();
    assert_eq!(look(&mut watchdog, &watch, at_ms(300)), []);
    watch.heart(SHARD_1).begin(at_ms(300), NameId::JOB);
    let stalls = look(&mut watchdog, &watch, at_ms(306));
    assert!(stalls.len() == 1 && stalls[0].is_new && stalls[0].name == NameId::JOB);
}

#[test]
fn poll_is_asked_to_give_way_after_its_slice_and_the_next_one_is_not() {
    let (watch, mut watchdog) = (Watch::new(1), Watchdog::new(1, BUDGET));
    let heart = watch.heart(SHARD_0);
    let is_asked = || heart.is_asked_to_give_way(heart.beat());
    heart.begin(Moment::START, NameId::JOB);
    look(&mut watchdog, &watch, Moment::from_nanos(POLL_SLICE_US * 1_000 - 1));
    assert!(!is_asked());
    assert_eq!(look(&mut watchdog, &watch, Moment::from_nanos(POLL_SLICE_US * 1_000)), []);
    assert!(is_asked());
    heart.end();
    heart.begin(at_ms(1), NameId::JOB);
    assert!(!is_asked());
}

#[test]
fn looks_are_idle_only_when_all_shards_sleep_and_none_has_polled_since() {
    let (watch, mut watchdog) = (Watch::new(2), Watchdog::new(2, BUDGET));
    let mut idle_looks = || {
        look(&mut watchdog, &watch, at_ms(1));
        watchdog.idle_looks
    };
    watch.heart(SHARD_0).set_awake(false);
    assert_eq!(idle_looks(), 0, "the other one is awake");
    watch.heart(SHARD_1).set_awake(false);
    assert_eq!((idle_looks(), idle_looks()), (1, 2));
    watch.heart(SHARD_0).begin(at_ms(1), NameId::JOB);
    watch.heart(SHARD_0).end();
    assert_eq!((idle_looks(), idle_looks()), (0, 1), "it has slept again already");
}

fn start_two() -> Runtime {
    let options = RuntimeOptions {
        shards: 2,
        driver: DriverChoice::Threads,
        pin: false,
        stall_budget_us: 50_000,
        ..RuntimeOptions::default()
    };
    Runtime::start(options).unwrap()
}

fn wait_until_it_sleeps(runtime: &Runtime) {
    while runtime.watch().pace.load(Ordering::Relaxed) != Pace::Asleep as u8 {
        std::thread::yield_now();
    }
}

/// Without an end by the clock: a watchdog that misses the stall shows as a test that hangs.
#[test]
fn blocked_shard_is_reported_by_name_while_it_blocks_and_a_sleeping_one_is_not() {
    let runtime = start_two();
    wait_until_it_sleeps(&runtime);
    let (sender, receiver) = futures_channel::oneshot::channel();
    runtime.run_on(SHARD_0, |shard| {
        let sleep = shard.sleep(Duration::from_secs(3600));
        shard.spawn(TaskSpec::new("sleeper", TaskClass::Foreground), sleep);
    });
    runtime.run_on(SHARD_1, |shard| {
        let runtime = shard.runtime();
        shard.spawn(TaskSpec::new("blocker", TaskClass::Merge), async move {
            while runtime.metrics()[1].stalls_seen_by_watchdog == 0 {
                std::hint::spin_loop();
            }
            sender.send(runtime.metrics()).unwrap();
        });
    });
    let metrics = runtime.block_on(receiver).unwrap();
    assert_eq!(metrics[1].last_stalled_task, Some("blocker"));
    assert_eq!(metrics[1].stalls, 0, "counted before the poll has ended");
    assert_eq!((metrics[0].stalls_seen_by_watchdog, metrics[0].last_stalled_task), (0, None));
    assert!(runtime.shutdown().is_clean());
}

/// Ends only if the watchdog, asleep when the loop begins, is woken and says when to yield.
#[test]
fn long_loop_yields_when_its_slice_is_over() {
    let runtime = start_two();
    for _ in 0..3 {
        wait_until_it_sleeps(&runtime);
        let (sender, receiver) = futures_channel::oneshot::channel();
        runtime.run_on(SHARD_0, move |shard| {
            let inner = shard.clone();
            shard.spawn(TaskSpec::new("loop", TaskClass::Merge), async move {
                let began = inner.heart().running().unwrap().began;
                while !inner.is_slice_over() {}
                sender.send(inner.now().saturating_since(began)).unwrap();
            });
        });
        let held = runtime.block_on(receiver).unwrap();
        assert!(held >= Duration::from_micros(POLL_SLICE_US), "{held:?}");
    }
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn watchdog_ends_with_its_runtime() {
    let runtime = start_two();
    wait_until_it_sleeps(&runtime);
    assert!(runtime.shutdown().is_clean());
    assert!(runtime.watch().handle.lock().unwrap().is_none());
    assert!(runtime.shutdown().is_clean(), "again, as anybody may");
}
