use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::driver::kit::RingKit;
use crate::driver::pool::Pool;
use crate::driver::threads::ThreadsDriver;
use crate::driver::uring::UringDriver;
use crate::driver::{Driver, Op};
use crate::file::{DirectAlignment, DmaFile, IoClass};
use crate::ids::ShardId;
use crate::port::ShardPort;
use crate::runtime::{Runtime, RuntimeOptions};
use crate::task::{TaskClass, TaskSpec};
use crate::time::Clock;
use crate::{buffer::DmaBuf, sys};

const SHARD: ShardId = ShardId::new(0);

/// A shard that the test itself turns, with virtual time.
pub(super) fn core_with_time() -> (ShardCore, Arc<AtomicU64>) {
    let nanos = Arc::new(AtomicU64::new(0));
    let clock = Clock::Virtual { nanos: Arc::clone(&nanos), wall_start_ms: Arc::new(1_000.into()) };
    let runtime = Runtime::assemble_simulated(clock, 1);
    let driver = Driver::Threads(ThreadsDriver::new(&runtime, SHARD));
    let parts = ShardParts { id: SHARD, runtime, driver, random_seed: [7; 32], buffers: None };
    (ShardCore::new(parts), nanos)
}

type Trace = Rc<RefCell<Vec<String>>>;

/// A task that yields `rounds` times and writes its name at each poll.
fn tracer(core: &ShardCore, trace: &Trace, name: &'static str, class: TaskClass, rounds: usize) {
    let (shard, trace) = (core.shard().clone(), Rc::clone(trace));
    core.shard().spawn(TaskSpec::new(name, class), async move {
        for _ in 0..rounds {
            trace.borrow_mut().push(name.to_owned());
            shard.yield_now().await;
        }
    });
}

#[test]
fn turn_runs_classes_in_order_while_they_are_within_their_shares() {
    let (mut core, _) = core_with_time();
    let trace = Trace::default();
    for _ in 0..5 {
        tracer(&core, &trace, "maintenance", TaskClass::Maintenance, 1);
        tracer(&core, &trace, "merge", TaskClass::Merge, 1);
        tracer(&core, &trace, "flush", TaskClass::Flush, 1);
        tracer(&core, &trace, "foreground", TaskClass::Foreground, 1);
    }
    let report = core.turn(usize::MAX, &mut Fifo);
    assert!(report.progressed && core.has_work());
    let expected = ["foreground", "flush", "merge", "maintenance"].map(|name| [name; 5]);
    assert_eq!(*trace.borrow(), expected.concat());
    while core.turn(usize::MAX, &mut Fifo).progressed {}
    assert!(!core.has_work());
    assert_eq!(core.shard().tasks().borrow().alive(), 0);
}

#[test]
fn turn_ends_when_its_polls_or_its_time_are_used_up() {
    let (mut core, _) = core_with_time();
    let trace = Trace::default();
    for _ in 0..2 * TASK_POLLS_PER_TURN_MAX {
        tracer(&core, &trace, "task", TaskClass::Foreground, 1);
    }
    assert_eq!(core.turn(usize::MAX, &mut Fifo).polls, TASK_POLLS_PER_TURN_MAX);

    let (mut core, nanos) = core_with_time();
    for _ in 0..10 {
        let nanos = Arc::clone(&nanos);
        core.shard().spawn(TaskSpec::new("slow", TaskClass::Foreground), async move {
            nanos.fetch_add(400_000, std::sync::atomic::Ordering::Relaxed);
        });
    }
    assert_eq!(core.turn(usize::MAX, &mut Fifo).polls, 3);
}

#[test]
fn turn_polls_no_more_than_allowed() {
    let (mut core, _) = core_with_time();
    let trace = Trace::default();
    for _ in 0..10 {
        tracer(&core, &trace, "task", TaskClass::Foreground, 1);
    }
    assert_eq!(core.turn(3, &mut Fifo).polls, 3);
    assert_eq!(trace.borrow().len(), 3);
}

/// Takes the last candidate: the opposite of the order of arrival.
struct Lifo;

impl Picker for Lifo {
    fn pick(&mut self, candidates: usize) -> usize {
        candidates - 1
    }
}

#[test]
fn picker_decides_the_order_within_a_class() {
    let run = |picker: &mut dyn FnMut(&mut ShardCore) -> TurnReport| {
        let (mut core, _) = core_with_time();
        let trace = Trace::default();
        for name in ["a", "b", "c"] {
            tracer(&core, &trace, name, TaskClass::Foreground, 2);
        }
        while picker(&mut core).progressed {}
        trace.take().concat()
    };
    assert_eq!(run(&mut |core| core.turn(usize::MAX, &mut Fifo)), "abcabc");
    // Alone in its class, a task that yields is ready again in the next turn only.
    assert_eq!(run(&mut |core| core.turn(usize::MAX, &mut Lifo)), "cbaabc");
}

#[test]
fn timers_follow_the_clock_that_the_shard_is_given() {
    let (mut core, nanos) = core_with_time();
    let trace = Trace::default();
    let (shard, inner) = (core.shard().clone(), Rc::clone(&trace));
    core.shard().spawn(TaskSpec::new("sleeper", TaskClass::Foreground), async move {
        shard.sleep(Duration::from_millis(3)).await;
        inner.borrow_mut().push(shard.wall_clock_ms().to_string());
    });
    while core.turn(usize::MAX, &mut Fifo).progressed {}
    assert_eq!(core.next_deadline(), Some(Moment::from_nanos(3_000_000)));
    nanos.store(2_999_999, std::sync::atomic::Ordering::Relaxed);
    assert!(!core.turn(usize::MAX, &mut Fifo).progressed);
    nanos.store(3_000_000, std::sync::atomic::Ordering::Relaxed);
    assert!(core.turn(usize::MAX, &mut Fifo).progressed);
    assert_eq!(*trace.borrow(), ["1003"]);
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn random_numbers_follow_from_the_seed() {
    let draw = || core_with_time().0.shard().random_u64();
    assert_eq!(draw(), draw());
}

#[test]
fn waker_of_an_ended_task_wakes_nobody_else() {
    let (mut core, _) = core_with_time();
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let keeper = Rc::clone(&kept);
    core.shard().spawn(TaskSpec::new("ends", TaskClass::Foreground), async move {
        std::future::poll_fn(|cx| {
            *keeper.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    });
    core.turn(usize::MAX, &mut Fifo);
    let polls = Rc::new(RefCell::new(0));
    let counter = Rc::clone(&polls);
    // Takes the slot of the ended task.
    core.shard().spawn(TaskSpec::new("next", TaskClass::Foreground), async move {
        std::future::poll_fn(|_| {
            *counter.borrow_mut() += 1;
            Poll::<()>::Pending
        })
        .await;
    });
    while core.turn(usize::MAX, &mut Fifo).polls > 0 {}
    kept.borrow().as_ref().unwrap().wake_by_ref();
    core.turn(usize::MAX, &mut Fifo);
    assert_eq!(*polls.borrow(), 1);
}

#[test]
fn task_that_spawns_while_it_is_dropped_leaves_nothing_behind() {
    struct Spawner(Shard);
    impl Drop for Spawner {
        fn drop(&mut self) {
            self.0.spawn(TaskSpec::new("late", TaskClass::Flush), async {});
        }
    }
    let (mut core, _) = core_with_time();
    let spawner = Spawner(core.shard().clone());
    core.shard().spawn(TaskSpec::new("early", TaskClass::Flush), async move {
        let _spawner = spawner;
        std::future::pending::<()>().await;
    });
    core.turn(usize::MAX, &mut Fifo);
    assert_eq!(core.drop_tasks(), 1);
    assert!(!core.has_work());
    assert_eq!(core.shard().tasks().borrow().alive(), 0);
}

/// A shard with a real ring, turned by the test.
fn core_with_ring() -> (ShardCore, Runtime) {
    let bell = sys::eventfd_new().unwrap();
    let port = Arc::new(ShardPort::new(Some(bell)));
    let pool = Pool::new(sys::allowed_cpus().unwrap(), 1);
    let runtime = Runtime::assemble(Clock::real(), vec![port], Some(pool), None);
    let options = RuntimeOptions::default();
    let (kit, _) = RingKit::new(&options, SHARD, runtime.port(SHARD)).unwrap();
    let buffers = kit.slab();
    let driver = Driver::Uring(Box::new(UringDriver::new(kit, &runtime, SHARD)));
    let parts =
        ShardParts { id: SHARD, runtime: runtime.clone(), driver, random_seed: [7; 32], buffers };
    (ShardCore::new(parts), runtime)
}

fn direct_file(runtime: &Runtime, file: std::fs::File) -> DmaFile {
    DmaFile::real(file, "test".into(), DirectAlignment::Direct { bytes: 4096 }, runtime)
}

/// A task with `count` reads in flight, of which it never takes a result.
fn start_reads(core: &mut ShardCore, file: &DmaFile, count: usize) {
    for _ in 0..count {
        let (shard, file) = (core.shard().clone(), file.clone());
        core.shard().spawn(TaskSpec::new("reader", TaskClass::Foreground), async move {
            let buf = shard.alloc_buffer(4096);
            let _ = shard.read_at(&file, IoClass::Read, 0, buf).await;
            std::future::pending::<()>().await;
        });
    }
    core.turn(usize::MAX, &mut Fifo);
}

#[test]
fn shutdown_reaps_reads_in_flight_to_zero() {
    let (mut core, runtime) = core_with_ring();
    let path = std::env::temp_dir().join(format!("sombra-reap-{}", std::process::id()));
    std::fs::write(&path, [9; 4096]).unwrap();
    let file = direct_file(&runtime, std::fs::File::open(&path).unwrap());
    start_reads(&mut core, &file, 100);
    std::fs::remove_file(&path).unwrap();
    // Completions are taken by turns only, and this turn took them before it polled.
    assert_eq!(core.in_flight(), 100);
    let report = core.shut_down(Duration::from_secs(3600));
    assert_eq!((report.tasks_dropped, report.operations_reaped), (100, 100));
    assert!(report.is_clean() && core.in_flight() == 0);
}

#[test]
fn shutdown_cancels_what_would_wait_for_ever() {
    let (mut core, runtime) = core_with_ring();
    let (reader, _writer) = nix::unistd::pipe().unwrap();
    let file = direct_file(&runtime, reader.into());
    start_reads(&mut core, &file, 3);
    assert_eq!(core.in_flight(), 3);
    let report = core.shut_down(Duration::from_secs(3600));
    assert_eq!((report.operations_reaped, report.operations_leaked), (3, 0));
}

#[test]
fn shutdown_leaks_and_tells_what_does_not_complete() {
    let (mut core, runtime) = core_with_ring();
    let file = direct_file(&runtime, std::fs::File::open("/dev/null").unwrap());
    let buf = DmaBuf::zeroed(4096);
    let op = Op::Read { file, offset: 0, buf, from: 0, len: 4096 };
    // No driver knows of it, so it stays in flight for ever.
    let now = core.shard().now();
    let key = core.shard().io().borrow_mut().slab.try_insert(op, IoClass::Read, now);
    assert!(key.is_ok());
    let report = core.shut_down(Duration::ZERO);
    assert_eq!((report.operations_reaped, report.operations_leaked), (0, 1));
    assert!(!report.is_clean());
}

#[test]
fn bell_rings_only_for_a_shard_that_announced_sleep() {
    let bell = sys::eventfd_new().unwrap();
    let port = ShardPort::new(Some(bell));
    let rung = || {
        let bell = port.bell().unwrap();
        nix::unistd::read(bell, &mut [0u8; 8]).is_ok()
    };
    port.push_control(Control::Stop);
    assert!(!rung(), "an awake shard looks by itself");
    assert!(!port.announce_park(), "there is work");
    assert!(port.pop_control().is_some());
    assert!(port.announce_park());
    port.push_control(Control::Stop);
    assert!(rung());
    port.push_control(Control::Stop);
    assert!(!rung(), "one ring is enough");
}
