use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::file::{Create, FlushVia, IoClass, OpenHow, WriteMode};
use crate::limits::SIM_YIELD_CALLS;
use crate::runtime::{DriverKind, Runtime};
use crate::shard::Shard;
use crate::sync::{Mesh, MeshPort, Signal, mailbox};
use crate::task::{TaskClass, TaskSpec};
use crate::{DmaBuf, Moment, ShardId};

const STEPS_MAX: u64 = 200_000;

fn world(seed: u64, shards: usize) -> SimWorld {
    SimWorld::new(SimOptions::new(seed, shards, SimDisk::new(SimDiskOptions::new(seed))))
}

fn spec(name: &'static str, class: TaskClass) -> TaskSpec {
    TaskSpec::new(name, class)
}

fn on_shard(runtime: &Runtime, shard: u16, job: impl FnOnce(&Shard) + Send + 'static) {
    runtime.run_on(ShardId::new(shard), job);
}

/// Runs one future on shard 0 of a fresh world until it ends.
fn on_one_shard<F>(world: &mut SimWorld, body: impl FnOnce(Shard) -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let done = Arc::new(AtomicUsize::new(0));
    let finished = Arc::clone(&done);
    on_shard(&world.runtime(), 0, move |shard| {
        let future = body(shard.clone());
        shard.spawn(spec("test", TaskClass::Foreground), async move {
            future.await;
            finished.store(1, Ordering::Relaxed);
        });
    });
    let end = world.run(STEPS_MAX, || done.load(Ordering::Relaxed) == 1);
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
}

fn filled(len_bytes: usize, byte: u8) -> DmaBuf {
    let mut buf = DmaBuf::zeroed(len_bytes);
    buf.fill(byte);
    buf
}

/// Counts how many of its copies are alive.
struct Guard(Arc<AtomicUsize>);

impl Guard {
    fn new(alive: &Arc<AtomicUsize>) -> Guard {
        alive.fetch_add(1, Ordering::Relaxed);
        Guard(Arc::clone(alive))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One task of a busy shard: timers, I/O, messages to the next shard, all by chance.
async fn busy_task(shard: Shard, number: usize) {
    let path = format!("/f{}-{number}", shard.id().index());
    let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
    let file = shard.open(Path::new(&path), how).await.expect("open");
    for round in 0..4u64 {
        shard.sleep(Duration::from_nanos(shard.random_u64() % 200_000)).await;
        let buf = filled(4096, (shard.random_u64() % 251) as u8);
        let mode = if round % 2 == 0 { WriteMode::Plain } else { WriteMode::Dsync };
        let wrote = shard.write_all_at(&file, IoClass::Log, round * 4096, buf.into(), mode).await;
        assert!(wrote.is_ok());
        shard.flush(&file, FlushVia::Ring).await.expect("flush");
        let (_, count) =
            shard.read_at(&file, IoClass::Read, 0, shard.alloc_buffer(16384)).await.expect("read");
        assert_eq!(count as u64, (round + 1) * 4096);
        shard.yield_now().await;
    }
}

type SharedOrder = Rc<RefCell<Vec<(usize, u64)>>>;

/// Tasks of all classes on all shards, a mesh between the shards and a mailbox to a client.
/// Returns the world at its end and what the client received, in order.
fn busy_run(seed: u64, shards: usize) -> (SimWorld, Vec<(usize, u64)>) {
    const TASKS: usize = 8;
    let mut world = world(seed, shards);
    let (sender, mut receiver) = mailbox::<(usize, u64)>(4);
    let mut expected = 0;
    for (index, port) in Mesh::<u64>::new(shards, 2).into_iter().enumerate() {
        let sender = sender.clone();
        expected += TASKS;
        on_shard(&world.runtime(), index as u16, move |shard| {
            let port = Rc::new(port);
            for number in 0..TASKS {
                let class = [TaskClass::Foreground, TaskClass::Flush, TaskClass::Merge][number % 3];
                let (here, port) = (shard.clone(), Rc::clone(&port));
                shard.spawn(spec("busy", class), async move {
                    busy_task(here.clone(), number).await;
                    let next = (here.id().index() + 1) % here.shard_count();
                    assert!(port.send(next, number as u64).await.is_ok());
                });
            }
            let here = shard.clone();
            shard.spawn(spec("relay", TaskClass::Maintenance), relay(here, port, sender));
        });
    }
    drop(sender);
    let order = SharedOrder::default();
    let seen = Rc::clone(&order);
    world.spawn_client("collector", async move {
        while let Some(message) = receiver.recv().await {
            seen.borrow_mut().push(message);
        }
    });
    let count = Rc::clone(&order);
    let end = world.run(STEPS_MAX, || count.borrow().len() == expected);
    assert_eq!(end, RunEnd::Done, "seed {seed}: {}", world.describe());
    let order = order.borrow().clone();
    (world, order)
}

async fn relay(
    shard: Shard,
    port: Rc<MeshPort<u64>>,
    sender: crate::sync::MailboxSender<(usize, u64)>,
) {
    for _ in 0..8 {
        let (_, message) = port.recv().await;
        let sent = sender.send((shard.id().index(), message)).await;
        assert!(sent.is_ok());
    }
    std::future::pending::<()>().await;
}

#[test]
fn seed_replays_to_the_same_trace_order_and_time() {
    for seed in 0..10 {
        let (first, order) = busy_run(seed, 3);
        let (second, again) = busy_run(seed, 3);
        assert_eq!(first.trace_hash(), second.trace_hash(), "seed {seed}");
        assert_eq!((first.steps(), first.now()), (second.steps(), second.now()));
        assert_eq!(order, again);
    }
}

#[test]
fn seed_replays_through_a_crash_and_the_next_world() {
    let history = |seed| {
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        let mut hashes = Vec::new();
        for life in 0..3 {
            let mut world = SimWorld::new(SimOptions::new(seed + life, 2, disk.clone()));
            for index in 0..2 {
                on_shard(&world.runtime(), index, move |shard| {
                    for number in 0..4 {
                        let future = busy_task_forever(shard.clone(), number);
                        shard.spawn(spec("busy", TaskClass::Foreground), future);
                    }
                });
            }
            world.run(300, || false);
            hashes.push(world.trace_hash());
            if life == 0 { world.kill() } else { world.power_cut() }
        }
        let content: Vec<_> = disk.files().iter().map(|path| disk.read_file(path)).collect();
        (hashes, content, disk.counters())
    };
    let (first, second) = (history(5), history(5));
    assert!(first == second, "a crash is part of the seed");
    assert!(history(6) != first);
}

async fn busy_task_forever(shard: Shard, number: usize) {
    let path = format!("/f{}-{number}", shard.id().index());
    let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
    let file = shard.open(Path::new(&path), how).await.expect("open");
    loop {
        let offset = shard.random_u64() % 16 * 4096;
        let buf = filled(4096, shard.random_u64() as u8);
        let wrote =
            shard.write_all_at(&file, IoClass::Log, offset, buf.into(), WriteMode::Plain).await;
        assert!(wrote.is_ok());
        if shard.random_u64().is_multiple_of(4) {
            shard.flush(&file, FlushVia::Pool).await.expect("flush");
        }
    }
}

#[test]
fn seeds_give_different_schedules() {
    let runs: Vec<_> = (0..20).map(|seed| busy_run(seed, 2)).collect();
    let hashes: BTreeSet<_> = runs.iter().map(|(world, _)| world.trace_hash()).collect();
    let orders: BTreeSet<_> = runs.iter().map(|(_, order)| order.clone()).collect();
    assert_eq!(hashes.len(), 20);
    assert!(orders.len() > 15, "messages arrive in {} orders", orders.len());
}

type Order = Arc<std::sync::Mutex<Vec<usize>>>;

/// The orders in which sixty seeds run what `start` starts.
fn orders(start: fn(&SimWorld, &Order)) -> BTreeSet<Vec<usize>> {
    let run = |seed| {
        let mut world = world(seed, 3);
        let order = Order::default();
        start(&world, &order);
        assert_eq!(world.run(100, || false), RunEnd::Stuck);
        order.lock().expect("one thread").clone()
    };
    (0..60).map(run).collect()
}

#[test]
fn scheduler_reaches_every_order_of_three_shards() {
    let seen = orders(|world, order| {
        for index in 0..3 {
            let order = Arc::clone(order);
            on_shard(&world.runtime(), index, move |shard| {
                order.lock().expect("one thread").push(shard.id().index());
            });
        }
    });
    assert_eq!(seen.len(), 6);
}

#[test]
fn scheduler_reaches_every_order_of_three_tasks_of_a_shard() {
    let seen = orders(|world, order| {
        let order = Arc::clone(order);
        on_shard(&world.runtime(), 0, move |shard| {
            for number in 0..3 {
                let order = Arc::clone(&order);
                shard.spawn(spec("equal", TaskClass::Merge), async move {
                    order.lock().expect("one thread").push(number);
                });
            }
        });
    });
    assert_eq!(seen.len(), 6);
}

#[test]
fn every_nth_call_of_yield_if_needed_yields_in_a_simulation() {
    let mut world = world(5, 1);
    on_one_shard(&mut world, |shard| async move {
        let calls = (1..=2 * SIM_YIELD_CALLS).map(|_| shard.is_slice_over());
        let over: Vec<u64> = (1..).zip(calls).filter_map(|(n, over)| over.then_some(n)).collect();
        assert_eq!(over, [SIM_YIELD_CALLS, 2 * SIM_YIELD_CALLS]);
    });
}

#[test]
fn scheduler_reaches_every_order_of_three_clients() {
    let seen = orders(|world, order| {
        for number in 0..3 {
            let order = Arc::clone(order);
            world.spawn_client("equal", async move {
                order.lock().expect("one thread").push(number);
            });
        }
    });
    assert_eq!(seen.len(), 6);
}

#[test]
fn world_reports_itself_as_simulated_and_its_time_is_virtual() {
    let mut world = world(1, 1);
    let runtime = world.runtime();
    assert_eq!(runtime.driver_kind(), DriverKind::Sim);
    assert_eq!((runtime.now(), runtime.shard_count()), (Moment::START, 1));
    let wall = runtime.wall_clock_ms();
    on_one_shard(&mut world, |shard| async move {
        let before = shard.now();
        shard.sleep(Duration::from_secs(3600)).await;
        assert!(shard.now().saturating_since(before) >= Duration::from_secs(3600));
    });
    assert!(runtime.now().as_nanos() >= 3_600_000_000_000);
    assert!((3_600_000..3_600_010).contains(&(runtime.wall_clock_ms() - wall)));
    let blocked = std::panic::catch_unwind(|| runtime.block_on(async {}));
    assert!(blocked.is_err(), "block_on would wait for a world that nobody turns");
}

#[test]
fn wall_clock_goes_on_in_the_next_world() {
    let disk = SimDisk::new(SimDiskOptions::new(1));
    let mut first = SimWorld::new(SimOptions::new(1, 1, disk.clone()));
    on_one_shard(&mut first, |shard| async move { shard.sleep(Duration::from_secs(5)).await });
    let before = first.runtime().wall_clock_ms();
    first.power_cut();
    let second = SimWorld::new(SimOptions::new(2, 1, disk));
    assert!(second.runtime().wall_clock_ms() > before);
    assert_eq!(second.now(), Moment::START);
}

#[test]
fn wall_clock_jumps_and_time_does_not() {
    let disk = SimDisk::new(SimDiskOptions::new(1));
    let world = SimWorld::new(SimOptions::new(1, 1, disk.clone()));
    let runtime = world.runtime();
    let (wall, now) = (runtime.wall_clock_ms(), runtime.now());
    world.jump_wall_clock(-5_000);
    assert_eq!(runtime.wall_clock_ms(), wall - 5_000);
    world.jump_wall_clock(3_600_000);
    assert_eq!((runtime.wall_clock_ms(), runtime.now()), (wall + 3_595_000, now));
    world.kill();
    disk.jump_wall_clock(i64::MIN);
    let counters = disk.counters();
    assert_eq!((counters.clock_jumps_forwards, counters.clock_jumps_backwards), (1, 2));
    let next = SimWorld::new(SimOptions::new(2, 1, disk));
    assert_eq!(next.runtime().wall_clock_ms(), 0, "a jump outlasts its world and stops at 1970");
}

/// A program with many operations in flight on two shards; gives the files it leaves.
fn run_in_parts(stops: &[u64]) -> (u64, SimDiskCounters) {
    let mut world = world(5, 2);
    let disk = world.disk();
    for shard in 0..2 {
        world.runtime().run_on(ShardId::new(shard), move |shard| {
            for task in 0..8 {
                let inner = shard.clone();
                let path = format!("/{}-{task}", shard.id().index());
                shard.spawn(TaskSpec::new("writer", TaskClass::Foreground), async move {
                    let how = OpenHow::create_new_direct();
                    let file = inner.open(Path::new(&path), how).await.expect("new file");
                    for block in 0..8 {
                        let buf = inner.alloc_buffer(4096).into();
                        let (class, mode) = (IoClass::Log, WriteMode::Plain);
                        let offset = block * 4096;
                        let written = inner.write_all_at(&file, class, offset, buf, mode).await;
                        written.expect("no fault is planned");
                    }
                });
            }
        });
    }
    for stop in stops {
        assert_eq!(world.run_to_completion(100_000, *stop, || false), RunEnd::Done);
        assert_eq!(disk.counters().completions, *stop);
    }
    assert_eq!(world.run(100_000, || false), RunEnd::Stuck);
    (world.trace_hash(), disk.counters())
}

#[test]
fn run_stops_after_exactly_the_nth_completion_and_goes_on_as_if_it_had_not() {
    let whole = run_in_parts(&[]);
    assert_eq!(whole.1.completions, 2 * 8 * 9);
    assert_eq!(run_in_parts(&(1..=100).collect::<Vec<_>>()), whole);
    assert_eq!(run_in_parts(&[37, 144]), whole);
}

#[test]
fn file_operations_work_through_the_shard() {
    let mut world = world(3, 1);
    on_one_shard(&mut world, |shard| async move {
        let dir = Path::new("/store");
        assert!(!shard.path_exists(dir).await.expect("look"));
        shard.create_dir(dir).await.expect("create");
        let error = shard.create_dir(dir).await.expect_err("exists");
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        let path = dir.join("a");
        let zeroed = shard.open(&path, OpenHow::create_new_buffered()).await.expect("create");
        shard.write_zeroes(&zeroed, 0, 65536).await.expect("zero");
        shard.flush(&zeroed, FlushVia::Pool).await.expect("flush");
        let file = shard.open(&path, OpenHow::direct_rw()).await.expect("open");
        assert_eq!((file.is_direct(), file.dio_alignment_bytes()), (true, 4096));
        let buf = filled(8192, 5);
        let wrote = shard.write_all_at(&file, IoClass::Log, 4096, buf.into(), WriteMode::Dsync);
        assert_eq!(wrote.await.expect("write").as_bytes(), &[5; 8192]);
        let (buf, count) =
            shard.read_at(&file, IoClass::Read, 8192, DmaBuf::zeroed(8192)).await.expect("read");
        assert_eq!((count, &buf[..4096], &buf[4096..]), (8192, &[5; 4096][..], &[0; 4096][..]));
        assert_eq!(shard.file_len(&file).await.expect("len"), 65536);
        shard.set_len(&file, 4096).await.expect("truncate");
        let (_, count) =
            shard.read_at(&file, IoClass::Read, 0, DmaBuf::zeroed(8192)).await.expect("read");
        assert_eq!(count, 4096);
        let info = shard.disk_info(&file).await.expect("info");
        assert_eq!(info.dio_alignment_bytes, 4096);
        shard.rename(&path, &dir.join("b")).await.expect("rename");
        shard.replace_file(&dir.join("m"), b"metrics".to_vec()).await.expect("replace");
        let entries = shard.list_dir(dir).await.expect("list");
        let entries: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.len_bytes)).collect();
        assert_eq!(entries, vec![("b", 4096), ("m", 7)]);
        shard.unlink(&dir.join("m")).await.expect("unlink");
        let lock = shard.lock_exclusive(&dir.join("LOCK")).await.expect("lock");
        let error = shard.lock_exclusive(&dir.join("LOCK")).await.expect_err("held");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        drop(lock);
        drop(shard.lock_exclusive(&dir.join("LOCK")).await.expect("lock again"));
    });
    assert_eq!(world.disk().files(), vec!["/store/LOCK", "/store/b"]);
}

#[test]
fn buffer_pool_serves_reads_and_writes_without_a_ring() {
    on_one_shard(&mut world(6, 1), |shard| async move {
        let pool = shard.add_buffer_pool(2 * 4096).expect("address space");
        let file = shard.open(Path::new("/f"), OpenHow::create_new_direct()).await.expect("open");
        let mut buf = pool.alloc(8192).expect("room");
        buf.fill(3);
        let written =
            shard.write_all_at(&file, IoClass::Merge, 0, buf.into(), WriteMode::Plain).await;
        drop(written.expect("write"));
        let buf = pool.alloc_for_read(8192).expect("the written buffer is back");
        let (buf, count) = shard.read_at(&file, IoClass::Read, 0, buf).await.expect("read");
        assert!(count == 8192 && buf.iter().all(|byte| *byte == 3));
        assert!(pool.alloc(1).is_none() && pool.registered_bytes() == 0);
    });
}

#[test]
fn short_io_is_continued_by_the_shard() {
    for seed in 0..20 {
        let options = SimDiskOptions { short_io_one_in: 2, ..SimDiskOptions::new(seed) };
        let disk = SimDisk::new(options);
        let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
        on_one_shard(&mut world, |shard| async move {
            let how = OpenHow::create_new_direct();
            let file = shard.open(Path::new("/f"), how).await.expect("open");
            let buf = filled(64 * 1024, 9);
            let wrote = shard.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Dsync);
            assert!(wrote.await.is_ok());
            let read = shard.read_at(&file, IoClass::Read, 0, DmaBuf::zeroed(64 * 1024)).await;
            let (buf, count) = read.expect("read");
            assert!(count == 64 * 1024 && buf.iter().all(|b| *b == 9));
        });
        world.power_cut();
        assert_eq!(disk.read_file("/f"), Some(vec![9; 64 * 1024]));
    }
}

#[test]
fn planned_error_reaches_the_caller_with_its_number() {
    let mut world = world(1, 1);
    world.disk().fail_next(DiskOp::Flush, 1, libc::EIO);
    on_one_shard(&mut world, |shard| async move {
        let how = OpenHow::create_new_direct();
        let file = shard.open(Path::new("/f"), how).await.expect("open");
        let error = shard.flush(&file, FlushVia::Ring).await.expect_err("planned");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    });
}

#[test]
fn world_without_events_is_stuck_and_says_who_waits() {
    let mut world = world(1, 2);
    world.spawn_client("waiter", std::future::pending());
    assert_eq!(world.run(100, || false), RunEnd::Stuck);
    assert!(world.describe().contains("waiter"), "{}", world.describe());
}

#[test]
fn world_that_never_rests_exhausts_its_steps() {
    let mut world = world(1, 1);
    on_shard(&world.runtime(), 0, |shard| {
        let here = shard.clone();
        shard.spawn(spec("spinner", TaskClass::Foreground), async move {
            loop {
                here.yield_now().await;
            }
        });
    });
    assert_eq!(world.run(100, || false), RunEnd::StepsExhausted);
    assert_eq!(world.steps(), 100);
}

#[test]
fn clients_wait_in_virtual_time_and_spawn_each_other() {
    let mut world = world(9, 1);
    let clients = world.clients();
    let order = Rc::new(RefCell::new(Vec::new()));
    for (name, wait_ms) in [("late", 20u64), ("early", 10)] {
        let (clients, order) = (clients.clone(), Rc::clone(&order));
        world.spawn_client(name, async move {
            clients.sleep(Duration::from_millis(wait_ms)).await;
            let again = clients.clone();
            clients.spawn("child", async move {
                again.yield_now().await;
                order.borrow_mut().push(name);
            });
        });
    }
    assert_eq!(world.run(1000, || false), RunEnd::Stuck);
    assert_eq!(*order.borrow(), vec!["early", "late"]);
    assert!(world.now().as_nanos() >= 20_000_000);
}

#[test]
fn signal_wakes_a_shard_task_from_a_client() {
    for seed in 0..50 {
        let mut world = world(seed, 2);
        let signal = Arc::new(Signal::new());
        let hits = Arc::new(AtomicUsize::new(0));
        let (waits, counter) = (Arc::clone(&signal), Arc::clone(&hits));
        on_shard(&world.runtime(), 1, move |shard| {
            shard.spawn(spec("consumer", TaskClass::Foreground), async move {
                waits.wait().await;
                counter.fetch_add(1, Ordering::Relaxed);
            });
        });
        world.spawn_client("raiser", async move { signal.raise() });
        assert_eq!(world.run(1000, || hits.load(Ordering::Relaxed) == 1), RunEnd::Done);
    }
}

#[test]
fn task_panic_is_fatal_to_the_world_unless_it_is_expected() {
    let run = |fatal| {
        let disk = SimDisk::new(SimDiskOptions::new(1));
        let options = SimOptions::new(1, 1, disk);
        let mut world = SimWorld::new(SimOptions { panics_are_fatal: fatal, ..options });
        on_shard(&world.runtime(), 0, |shard| {
            shard.spawn(spec("faulty", TaskClass::Foreground), async { panic!("on purpose") });
        });
        world.run(100, || false);
        world.panics()
    };
    assert_eq!(run(false), 1);
    assert!(std::panic::catch_unwind(|| run(true)).is_err());
}

/// Fills a world with everything that could keep something alive, and ends it in the middle.
fn drop_test(seed: u64, end: impl FnOnce(SimWorld)) {
    let alive = Arc::new(AtomicUsize::new(0));
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    let mut world = SimWorld::new(SimOptions::new(seed, 3, disk.clone()));
    let runtime = world.runtime();
    let held = Rc::new(Cell::new(0));
    let signals: Vec<_> = (0..3).map(|_| Arc::new(Signal::new())).collect();
    for index in 0..3 {
        let (guard, count) = (Guard::new(&alive), Arc::clone(&alive));
        let waited = Arc::clone(&signals[index as usize]);
        let next = Arc::clone(&signals[(index as usize + 1) % 3]);
        on_shard(&runtime, index, move |shard| {
            let lock = shard.clone();
            shard.spawn(spec("locker", TaskClass::Foreground), async move {
                let path = format!("/lock{}", lock.id().index());
                let _lock = lock.lock_exclusive(Path::new(&path)).await;
                let _guard = guard;
                loop {
                    waited.wait().await;
                }
            });
            for number in 0..4 {
                let (here, again) = (shard.clone(), shard.clone());
                let (alive, next) = (Arc::clone(&count), Arc::clone(&next));
                shard.spawn(spec("writer", TaskClass::Merge), async move {
                    let _guard = SpawnOnDrop { shard: again, number, alive, next };
                    busy_task_forever(here, number).await;
                });
            }
        });
    }
    for number in 0..4 {
        let (guard, held, clients) = (Guard::new(&alive), Rc::clone(&held), world.clients());
        let runtime = runtime.clone();
        world.spawn_client(format!("client {number}"), async move {
            held.set(held.get() + 1);
            let _guard = guard;
            loop {
                clients.sleep(Duration::from_millis(1)).await;
                let inner = runtime.clone();
                runtime.run_on(ShardId::new(0), move |_| drop(inner));
            }
        });
    }
    world.run(50 + seed * 20, || false);
    let guard = Guard::new(&alive);
    runtime.run_on(ShardId::new(1), move |_| drop(guard));
    end(world);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "seed {seed}: a task or a job survived");
    assert_eq!(Rc::strong_count(&held), 1, "seed {seed}: a client survived");
    assert_eq!(disk.owners(), 1, "seed {seed}: a shard or a lock survived");
    let ports = (0..3).map(|index| Arc::strong_count(runtime.port(ShardId::new(index))));
    assert_eq!(ports.collect::<Vec<_>>(), [1; 3], "seed {seed}: a waker keeps its shard's port");
}

/// A destructor that asks for more work while everything ends.
struct SpawnOnDrop {
    shard: Shard,
    number: usize,
    alive: Arc<AtomicUsize>,
    next: Arc<Signal>,
}

impl Drop for SpawnOnDrop {
    fn drop(&mut self) {
        let next = ShardId::from_index((self.shard.id().index() + 1) % self.shard.shard_count());
        let runtime = self.shard.runtime();
        let guard = Guard::new(&self.alive);
        self.shard.runtime().run_on(next, move |_| drop((runtime, guard)));
        self.next.raise();
        let future = busy_task_forever(self.shard.clone(), self.number);
        self.shard.spawn(spec("too late", TaskClass::Foreground), future);
    }
}

#[test]
fn ended_world_frees_everything_however_it_ends() {
    for seed in 0..30 {
        drop_test(seed, SimWorld::power_cut);
        drop_test(seed, SimWorld::kill);
        drop_test(seed, drop);
    }
}

#[test]
fn ended_world_frees_what_operations_in_flight_own() {
    let mut world = world(1, 1);
    let kept = Arc::new(std::sync::Mutex::new(None));
    let slot = Arc::clone(&kept);
    on_shard(&world.runtime(), 0, move |shard| {
        let here = shard.clone();
        shard.spawn(spec("writer", TaskClass::Foreground), async move {
            let how = OpenHow::create_new_direct();
            let file = here.open(Path::new("/f"), how).await.expect("open");
            *slot.lock().expect("one thread") = Some(file.downgrade());
            let buf = filled(4096, 1);
            drop(here.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Plain).await);
        });
    });
    let end = world.run(100, || kept.lock().expect("one thread").is_some());
    assert_eq!(end, RunEnd::Done);
    assert_eq!(world.cores_in_flight(), 1, "the write is in flight when the world ends");
    world.power_cut();
    let file = kept.lock().expect("one thread").take().expect("opened");
    assert!(file.upgrade().is_none(), "the write still owns its file");
}

#[test]
fn destructors_do_no_io_after_a_power_cut() {
    for seed in 0..30 {
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
        on_shard(&world.runtime(), 0, |shard| {
            let here = shard.clone();
            shard.spawn(spec("writer", TaskClass::Foreground), async move {
                let (alive, next) = (Arc::default(), Arc::new(Signal::new()));
                let _guard = SpawnOnDrop { shard: here, number: 7, alive, next };
                std::future::pending::<()>().await;
            });
        });
        world.run(10, || false);
        world.power_cut();
        assert_eq!(disk.files(), Vec::<String>::new());
    }
}

/// A counter kept in one block, twice, as a store would: new value to the copy that is not the
/// newest, then a flush, then the acknowledgement.
async fn count_durably(shard: Shard, acknowledged: Arc<AtomicUsize>) {
    let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
    let file = shard.open(Path::new("/counter"), how).await.expect("open");
    let read = shard.read_at(&file, IoClass::Read, 0, DmaBuf::zeroed(8192)).await;
    let (buf, _) = read.expect("read");
    let mut value = newest(&buf);
    loop {
        value += 1;
        let mut buf = DmaBuf::zeroed(4096);
        let bytes = [(value % 256) as u8, (value / 256) as u8];
        buf.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&bytes));
        let offset = (value % 2) as u64 * 4096;
        let wrote =
            shard.write_all_at(&file, IoClass::Log, offset, buf.into(), WriteMode::Plain).await;
        assert!(wrote.is_ok());
        shard.flush(&file, FlushVia::Ring).await.expect("flush");
        acknowledged.store(value, Ordering::Relaxed);
    }
}

/// The greater value of the copies that are whole.
fn newest(copies: &[u8]) -> usize {
    let whole = |copy: &&[u8]| copy.chunks(2).all(|pair| pair == &copy[..2]);
    let values = copies.chunks(4096).filter(|copy| copy.len() == 4096).filter(whole);
    values.map(|copy| copy[0] as usize + copy[1] as usize * 256).max().unwrap_or(0)
}

/// Lives of a counter with a crash after each; how many of them lost something acknowledged.
fn counter_losses(seed: u64, flush_suppressed: bool) -> u32 {
    let disk = SimDisk::new(SimDiskOptions { flush_suppressed, ..SimDiskOptions::new(seed) });
    let mut losses = 0;
    for life in 0..4 {
        let mut world = SimWorld::new(SimOptions::new(seed * 10 + life, 1, disk.clone()));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        on_shard(&world.runtime(), 0, move |shard| {
            let future = count_durably(shard.clone(), counter);
            shard.spawn(spec("counter", TaskClass::Foreground), future);
        });
        world.run(20 + seed % 40, || false);
        if life % 3 == 2 {
            world.kill()
        } else {
            world.power_cut()
        }
        let found = disk.read_file("/counter").map_or(0, |copies| newest(&copies));
        losses += u32::from(found < acknowledged.load(Ordering::Relaxed));
    }
    losses
}

#[test]
fn flushed_counter_survives_every_crash_and_loses_without_flushes() {
    assert_eq!((0..100).map(|seed| counter_losses(seed, false)).sum::<u32>(), 0);
    let losses = (0..100).map(|seed| counter_losses(seed, true)).sum::<u32>();
    assert!(losses > 50, "the negative control lost {losses} times");
}
