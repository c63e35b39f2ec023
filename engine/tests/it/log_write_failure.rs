//! A failed log write stops the store: no retry, no later acknowledgement; reopening recovers.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use sombra::format::segment::segment_file_name;
use sombra::{
    BeginError, CommitError, Db, DurabilityMethod, Isolation, Keyspace, Options, ReadError, Routing,
};
use sombra_runtime::sim::{DiskOp, RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::support::{options, run_client};

const STEPS_MAX: u64 = 2_000_000;
const EIO: i32 = 5;
/// The segment that a new store writes; one that is under preparation has another ending.
const SEGMENT: &str = ".log";

fn open_options(method: DurabilityMethod) -> Options {
    Options { durability_method: Some(method), ..options() }
}

/// Runs a client to its end.
fn run<T: 'static>(world: &mut SimWorld, client: impl Future<Output = T> + 'static) -> T {
    run_client(world, STEPS_MAX, client)
}

/// Lets the store do what it still wants to do, stamps and prepared segments included.
fn settle(world: &mut SimWorld) {
    assert_eq!(world.run(STEPS_MAX, || false), RunEnd::Stuck, "{}", world.describe());
}

fn open(world: &mut SimWorld, method: DurabilityMethod) -> (Db, Keyspace) {
    let runtime = world.runtime();
    run(world, async move {
        let db = Db::open(&runtime, "/store", open_options(method)).await.unwrap();
        let keyspace = match db.keyspace("k") {
            Some(keyspace) => keyspace,
            None => db.create_keyspace("k", Routing::hash(4)).await.unwrap(),
        };
        (db, keyspace)
    })
}

fn put(
    world: &mut SimWorld,
    (db, keyspace): &(Db, Keyspace),
    key: &'static str,
) -> Result<(), CommitError> {
    let (db, keyspace) = (db.clone(), keyspace.clone());
    run(world, async move { db.put(&keyspace, key, key).await.map(drop) })
}

fn get(
    world: &mut SimWorld,
    (db, keyspace): &(Db, Keyspace),
    key: &'static str,
) -> Result<bool, ReadError> {
    let (db, keyspace) = (db.clone(), keyspace.clone());
    run(world, async move { Ok(db.get(&keyspace, key).await?.is_some_and(|value| value == key)) })
}

fn world(seed: u64, disk: &SimDisk) -> SimWorld {
    SimWorld::new(SimOptions::new(seed, 2, disk.clone()))
}

fn fail_and_recover(seed: u64, method: DurabilityMethod, on: DiskOp) {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    let mut running = world(seed, &disk);
    let store = open(&mut running, method);
    put(&mut running, &store, "acknowledged").unwrap();
    settle(&mut running);

    disk.fail_next_at(SEGMENT, on, 1, EIO);
    let error = put(&mut running, &store, "doubtful").unwrap_err();
    assert!(matches!(error, CommitError::Unknown { .. }), "seed {seed}: {error}");
    assert_eq!(disk.counters().faults, 1, "the failure came from the log");
    let after_failure = disk.counters();
    settle(&mut running);
    let error = put(&mut running, &store, "refused").unwrap_err();
    assert!(matches!(error, CommitError::Poisoned { .. }), "seed {seed}: {error}");
    let error = get(&mut running, &store, "acknowledged").unwrap_err();
    assert!(matches!(error, ReadError::Poisoned { .. }), "seed {seed}: {error}");
    let begun = store.0.begin_with(Isolation::Snapshot).err();
    assert!(matches!(begun, Some(BeginError::Poisoned { .. })), "{begun:?}");
    settle(&mut running);
    let at_the_end = disk.counters();
    assert_eq!(at_the_end.writes, after_failure.writes, "seed {seed}: nothing is written again");
    assert_eq!(at_the_end.flushes, after_failure.flushes, "seed {seed}: nor flushed again");
    let reason = store.0.poison_reason().unwrap();
    assert!(reason.contains("log write at LSN"), "{reason}");
    assert_eq!(store.0.metrics().value("sombra_wal_flush_errors_total"), 1.0);
    assert_eq!(store.0.metrics().value("sombra_poisoned"), 1.0);
    drop(store);
    running.kill();
    disk.power_cut();

    let mut again = world(seed + 1_000, &disk);
    let store = open(&mut again, method);
    assert_eq!(get(&mut again, &store, "acknowledged"), Ok(true), "seed {seed}");
    assert_eq!(get(&mut again, &store, "refused"), Ok(false), "seed {seed}");
    get(&mut again, &store, "doubtful").expect("there, or not there");
    put(&mut again, &store, "later").unwrap();
    drop(store);
    again.power_cut();
}

#[test]
fn failed_log_write_answers_unknown_then_poisons_and_reopening_recovers() {
    for seed in 0..8 {
        fail_and_recover(seed, DurabilityMethod::Dsync, DiskOp::Write);
        fail_and_recover(seed, DurabilityMethod::RingFlush, DiskOp::Write);
    }
}

#[test]
fn failed_log_flush_answers_unknown_then_poisons_and_reopening_recovers() {
    for seed in 0..8 {
        fail_and_recover(seed, DurabilityMethod::RingFlush, DiskOp::Flush);
        fail_and_recover(seed, DurabilityMethod::PoolFlush, DiskOp::Flush);
    }
}

/// What a crowd of clients was told.
#[derive(Default)]
struct Answers {
    acknowledged: RefCell<Vec<u32>>,
    running: Cell<u32>,
}

async fn crowd_member(db: Db, keyspace: Keyspace, first_key: u32, answers: Rc<Answers>) {
    for key in first_key.. {
        let transaction = match db.begin_with(Isolation::Snapshot) {
            Ok(transaction) => transaction,
            Err(error) => {
                assert!(matches!(error, BeginError::Poisoned { .. }), "{error}");
                break;
            }
        };
        // Two keys on two shards, or one, by turns.
        transaction.put(&keyspace, key.to_be_bytes(), "v").unwrap();
        if key % 2 == 0 {
            transaction.put(&keyspace, (key | 1 << 31).to_be_bytes(), "v").unwrap();
        }
        match transaction.commit().await {
            Ok(_) => answers.acknowledged.borrow_mut().push(key),
            Err(CommitError::Unknown { .. } | CommitError::Poisoned { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    answers.running.update(|count| count - 1);
}

#[test]
fn crowd_hears_of_a_failed_flush_and_everything_acknowledged_outlives_the_power() {
    for seed in 0..24 {
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        let mut running = world(seed, &disk);
        let (db, keyspace) = open(&mut running, DurabilityMethod::RingFlush);
        let answers = Rc::new(Answers::default());
        answers.running.set(6);
        disk.fail_next_at(SEGMENT, DiskOp::Flush, 5 + seed, EIO);
        for client in 0..6_u32 {
            let member =
                crowd_member(db.clone(), keyspace.clone(), client << 16, Rc::clone(&answers));
            running.spawn_client(format!("client {client}"), member);
        }
        let end = running.run(STEPS_MAX, || answers.running.get() == 0);
        assert_eq!(end, RunEnd::Done, "seed {seed}: {}", running.describe());
        drop((db, keyspace));
        running.power_cut();

        let mut again = world(seed + 1_000, &disk);
        let (db, keyspace) = open(&mut again, DurabilityMethod::RingFlush);
        let acknowledged = answers.acknowledged.borrow().clone();
        assert!(!acknowledged.is_empty(), "seed {seed}");
        for key in acknowledged {
            let (db, keyspace) = (db.clone(), keyspace.clone());
            let found = run(&mut again, async move {
                let low = db.get(&keyspace, key.to_be_bytes()).await.unwrap().is_some();
                let high = db.get(&keyspace, (key | 1 << 31).to_be_bytes()).await.unwrap();
                (low, high.is_some())
            });
            assert_eq!(found, (true, key % 2 == 0), "seed {seed}, key {key}");
        }
        drop((db, keyspace));
        again.power_cut();
    }
}

#[test]
fn close_of_a_store_that_stopped_ends_and_lets_the_next_opener_in() {
    for seed in 0..16 {
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        let mut running = world(seed, &disk);
        let (db, keyspace) = open(&mut running, DurabilityMethod::Dsync);
        disk.fail_next_at(SEGMENT, DiskOp::Write, 1, EIO);
        // Several commits are open when the write fails, on both shards.
        for key in 0..8_u32 {
            let (db, keyspace) = (db.clone(), keyspace.clone());
            running.spawn_client("writer", async move {
                let refused = db.put(&keyspace, key.to_be_bytes(), "v").await.unwrap_err();
                let stopped = CommitError::is_retryable(&refused);
                assert!(!stopped, "{refused}");
            });
        }
        let runtime = running.runtime();
        let closed = run(&mut running, async move {
            while db.poison_reason().is_none() {
                // The crowd's first write fails sooner or later; each look takes some steps.
                drop(db.get(&keyspace, "k").await);
            }
            let closed = db.close().await;
            let again = Db::open(&runtime, "/store", open_options(DurabilityMethod::Dsync)).await;
            (closed, again.map(drop).map_err(|error| error.to_string()))
        });
        assert!(matches!(closed.0, Err(sombra::CloseError::Poisoned { .. })), "seed {seed}");
        assert_eq!(closed.1, Ok(()), "seed {seed}");
        running.power_cut();
    }
}

/// Writes until the store refuses; tells what was acknowledged, and the refusal.
async fn fill(db: Db, keyspace: Keyspace) -> (u32, CommitError) {
    for number in 0_u32.. {
        let key = (number % 50).to_be_bytes();
        if let Err(error) = db.put(&keyspace, key, vec![number as u8; 4_000]).await {
            return (number, error);
        }
    }
    unreachable!("a device failed")
}

#[test]
fn failed_header_of_a_segment_taken_again_stops_the_store_and_reopening_recovers() {
    for (seed, on) in (0..12).zip([DiskOp::Write, DiskOp::Flush].into_iter().cycle()) {
        let small = || Options {
            log_bytes_max: 2 << 20,
            memory_bytes: 16 << 20,
            ..open_options(DurabilityMethod::Dsync)
        };
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        let mut running = world(seed, &disk);
        let runtime = running.runtime();
        let store = run(&mut running, async move {
            let db = Db::open(&runtime, "/store", small()).await.unwrap();
            let keyspace = db.create_keyspace("k", Routing::hash(2)).await.unwrap();
            (db, keyspace)
        });
        // The log's bound has room for two: the fourth is an older one under a new name.
        let fourth = segment_file_name(4);
        disk.fail_next_at(&fourth, on, 1, EIO);
        let writing = fill(store.0.clone(), store.1.clone());
        let (acknowledged, error) = run(&mut running, writing);
        assert!(!error.is_retryable(), "seed {seed}: {error}");
        let reason = store.0.poison_reason().unwrap();
        assert!(reason.contains(&fourth) && reason.contains("take the segment into use"));
        drop(store);
        running.power_cut();

        let mut again = world(seed + 1_000, &disk);
        let runtime = again.runtime();
        let found = run(&mut again, async move {
            let db = Db::open(&runtime, "/store", small()).await.unwrap();
            let keyspace = db.keyspace("k").unwrap();
            let key = ((acknowledged - 1) % 50).to_be_bytes();
            let value = db.get(&keyspace, key).await.unwrap().unwrap();
            db.put(&keyspace, "later", "v").await.unwrap();
            value[0]
        });
        assert_eq!(found, (acknowledged - 1) as u8, "seed {seed}");
        again.power_cut();
    }
}
