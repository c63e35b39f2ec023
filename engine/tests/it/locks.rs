//! Locks: who waits, who is refused, who gives way, and that nobody loses an update.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use sombra::{
    BlockingDb, CommitError, ConflictReason, Db, Isolation, Keyspace, LockError, LockMode,
    LockOptions, LockWait, Options, ReadError, Routing, RunOptions, Runtime, WriteError,
};
use sombra_runtime::DriverChoice;
use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::support::{TestDir, open, run_client, runtime};

const SHARDS: usize = 4;
const STEPS_MAX: u64 = 1_000_000;

struct Store {
    runtime: Runtime,
    db: Db,
    keyspace: Keyspace,
    _dir: TestDir,
}

impl Store {
    fn new() -> Store {
        let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, SHARDS));
        let db = open(&runtime, &dir);
        let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
        Store { runtime, db, keyspace, _dir: dir }
    }

    fn blocking(&self) -> BlockingDb {
        self.db.blocking()
    }

    fn metric(&self, name: &str) -> f64 {
        self.db.metrics().value(name)
    }

    /// Waits until so many requests wait for a lock.
    fn wait_for_blocked(&self, count: usize) {
        while self.metric("sombra_transactions_blocked") < count as f64 {
            thread::yield_now();
        }
    }

    fn end(self) {
        self.db.blocking().close().unwrap();
        self.runtime.shutdown();
    }
}

fn shared() -> LockOptions {
    LockOptions { mode: LockMode::Shared, ..LockOptions::default() }
}

fn at_once() -> LockOptions {
    LockOptions { wait: LockWait::No, ..LockOptions::default() }
}

fn patient() -> LockOptions {
    LockOptions { wait: LockWait::AtMost(Duration::from_secs(1 << 30)), ..LockOptions::default() }
}

fn number(value: Option<bytes::Bytes>) -> u64 {
    value.map_or(0, |value| String::from_utf8_lossy(&value).parse().unwrap())
}

#[test]
fn counter_under_get_for_update_loses_no_update_and_meets_no_conflict() {
    const CLIENTS: u64 = 8;
    const ROUNDS: u64 = 25;
    let store = Store::new();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let db = store.blocking();
                for _ in 0..ROUNDS {
                    let transaction = db.begin().unwrap();
                    let before = transaction.get_for_update(&store.keyspace, "n").unwrap();
                    let after = (number(before) + 1).to_string();
                    transaction.put(&store.keyspace, "n", after).unwrap();
                    transaction.commit().unwrap();
                }
            });
        }
    });
    let value = store.blocking().get(&store.keyspace, "n").unwrap();
    assert_eq!(number(value), CLIENTS * ROUNDS);
    assert_eq!(store.metric("sombra_conflicts_total"), 0.0);
    store.end();
}

#[test]
fn optimistic_commit_of_a_locked_key_conflicts_and_a_single_write_waits() {
    let store = Store::new();
    let db = store.blocking();
    for options in [LockOptions::default(), shared()] {
        let holder = db.begin().unwrap();
        holder.lock(&store.keyspace, "a", options).unwrap();
        let other = db.begin().unwrap();
        assert_eq!(other.get(&store.keyspace, "a").unwrap().is_some(), options == shared());
        other.put(&store.keyspace, "a", "other").unwrap();
        let refused = other.commit().unwrap_err();
        let is_locked = matches!(
            &refused,
            CommitError::Conflict { key, reason: ConflictReason::Locked, .. } if key == b"a"
        );
        assert!(is_locked, "{refused}");
        thread::scope(|scope| {
            let (done, waits) = mpsc::channel();
            let writer = store.blocking();
            let keyspace = &store.keyspace;
            scope.spawn(move || {
                writer.put(keyspace, "a", "blind").unwrap();
                done.send(()).unwrap();
            });
            assert!(waits.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
            holder.put(&store.keyspace, "a", "holder").unwrap();
            holder.commit().unwrap();
            waits.recv().unwrap();
        });
        assert_eq!(db.get(&store.keyspace, "a").unwrap().as_deref(), Some(&b"blind"[..]));
    }
    assert_eq!(store.metric("sombra_transactions_blocked"), 0.0);
    store.end();
}

#[test]
fn lock_that_is_not_free_is_refused_at_once_or_after_the_time_and_the_transaction_goes_on() {
    let store = Store::new();
    let db = store.blocking();
    let holder = db.begin().unwrap();
    holder.lock(&store.keyspace, "a", LockOptions::default()).unwrap();
    let other = db.begin().unwrap();
    let busy = other.lock(&store.keyspace, "a", at_once()).unwrap_err();
    assert!(matches!(&busy, LockError::Busy { key, .. } if key == b"a"), "{busy}");
    let briefly = LockWait::AtMost(Duration::from_millis(10));
    let briefly = LockOptions { wait: briefly, mode: LockMode::Shared };
    let late = other.lock(&store.keyspace, "a", briefly).unwrap_err();
    assert!(matches!(&late, LockError::TimedOut { key, .. } if key == b"a"), "{late}");
    assert_eq!(store.metric("sombra_lock_timeouts_total"), 1.0);
    other.lock(&store.keyspace, "b", at_once()).unwrap();
    other.put(&store.keyspace, "b", "1").unwrap();
    other.commit().unwrap();
    drop(holder);
    let next = db.begin().unwrap();
    next.lock(&store.keyspace, "a", patient()).unwrap();
    next.rollback();
    store.end();
}

#[test]
fn transaction_that_has_read_conflicts_at_the_lock_and_one_that_has_not_sees_the_newest() {
    let store = Store::new();
    let db = store.blocking();
    let (reader, fresh) = (db.begin().unwrap(), db.begin().unwrap());
    assert_eq!(reader.get(&store.keyspace, "b").unwrap(), None);
    db.put(&store.keyspace, "a", "1").unwrap();
    let conflict = reader.lock(&store.keyspace, "a", LockOptions::default()).unwrap_err();
    let is_newer = matches!(
        &conflict,
        LockError::Conflict { key, reason: ConflictReason::NewerVersion, .. } if key == b"a"
    );
    assert!(is_newer && conflict.is_retryable(), "{conflict}");
    drop(reader);
    let before = fresh.snapshot_lsn();
    let value = fresh.get_for_update(&store.keyspace, "a").unwrap();
    assert_eq!(value.as_deref(), Some(&b"1"[..]));
    assert!(fresh.snapshot_lsn() > before);
    fresh.put(&store.keyspace, "a", "2").unwrap();
    fresh.commit().unwrap();
    store.end();
}

/// Parties that each hold a key and then ask for the next one's, in a circle.
fn deadlock_of(parties: usize) {
    let store = Store::new();
    let keys: Vec<String> = (0..parties).map(|party| format!("key-{party}")).collect();
    let (barrier, ended) = (Barrier::new(parties), AtomicU32::new(0));
    let outcomes: Vec<Result<(), LockError>> = thread::scope(|scope| {
        let run = |party: usize| {
            let (store, keys, barrier, ended) = (&store, &keys, &barrier, &ended);
            scope.spawn(move || {
                let transaction = store.blocking().begin().unwrap();
                // One after the other, so that the last is the youngest.
                while ended.load(Ordering::SeqCst) != party as u32 {
                    thread::yield_now();
                }
                transaction.lock(&store.keyspace, &keys[party], patient()).unwrap();
                ended.fetch_add(1, Ordering::SeqCst);
                barrier.wait();
                let next = &keys[(party + 1) % parties];
                transaction.lock(&store.keyspace, next, patient())?;
                transaction.put(&store.keyspace, next, "x").unwrap();
                transaction.commit().unwrap();
                Ok(())
            })
        };
        let running: Vec<_> = (0..parties).map(run).collect();
        running.into_iter().map(|party| party.join().unwrap()).collect()
    });
    let (last, others) = outcomes.split_last().unwrap();
    assert!(others.iter().all(Result::is_ok), "{parties} parties: {outcomes:?}");
    let Err(LockError::Deadlock { cycle }) = last else { panic!("{parties}: {outcomes:?}") };
    assert_eq!(cycle.len(), parties, "{cycle:?}");
    let youngest = cycle.iter().map(|step| step.transaction).max().unwrap();
    assert_eq!(cycle[0].transaction, youngest);
    let waited: Vec<&[u8]> = cycle.iter().map(|step| step.key.as_slice()).collect();
    let expected: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    assert_eq!(waited, expected, "each waits for the next one's key");
    assert!(cycle.iter().all(|step| step.keyspace == "k"));
    assert_eq!(store.metric("sombra_deadlocks_total"), 1.0);
    store.end();
}

#[test]
fn deadlock_of_two_to_eight_parties_over_four_shards_ends_the_youngest_and_names_the_cycle() {
    (2..=8).for_each(deadlock_of);
}

#[test]
fn two_readers_who_both_want_to_write_are_a_deadlock_that_run_gets_over() {
    const CLIENTS: u64 = 4;
    let store = Store::new();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let options = RunOptions {
                    isolation: Isolation::Snapshot,
                    attempts_max: u32::MAX,
                    ..RunOptions::default()
                };
                let keyspace = &store.keyspace;
                let counted = store.db.run_with(options, async |transaction| {
                    transaction.lock(keyspace, "n", shared()).await?;
                    let before = number(transaction.get(keyspace, "n").await?);
                    transaction.lock(keyspace, "n", LockOptions::default()).await?;
                    transaction.put(keyspace, "n", (before + 1).to_string())?;
                    Ok(())
                });
                store.runtime.block_on(counted).unwrap();
            });
        }
    });
    let value = store.blocking().get(&store.keyspace, "n").unwrap();
    assert_eq!(number(value), CLIENTS);
    store.end();
}

#[test]
fn request_that_is_dropped_and_transaction_that_is_dropped_let_the_next_one_in() {
    let store = Store::new();
    let db = store.blocking();
    let holder = db.begin().unwrap();
    holder.lock(&store.keyspace, "a", LockOptions::default()).unwrap();
    let impatient = store.db.begin().unwrap();
    {
        let asked = impatient.lock(&store.keyspace, "a", patient());
        let mut asked = std::pin::pin!(asked);
        let once = std::future::poll_fn(|context| {
            assert!(asked.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        });
        store.runtime.block_on(once);
        store.wait_for_blocked(1);
    }
    while store.metric("sombra_transactions_blocked") > 0.0 {
        thread::yield_now();
    }
    drop(holder);
    let next = db.begin().unwrap();
    next.lock(&store.keyspace, "a", patient()).unwrap();
    next.put(&store.keyspace, "a", "1").unwrap();
    next.commit().unwrap();
    store.end();
}

#[test]
fn waiters_are_refused_when_their_keyspace_is_dropped_and_when_the_store_closes() {
    let store = Store::new();
    let db = store.blocking();
    let other = db.create_keyspace("other", Routing::range()).unwrap();
    let holder = db.begin().unwrap();
    holder.lock(&other, "a", LockOptions::default()).unwrap();
    holder.lock(&store.keyspace, "a", LockOptions::default()).unwrap();
    thread::scope(|scope| {
        let wait = |keyspace: Keyspace| {
            let db = store.blocking();
            scope.spawn(move || db.begin().unwrap().lock(&keyspace, "a", patient()))
        };
        let (of_dropped, of_closed) = (wait(other.clone()), wait(store.keyspace.clone()));
        store.wait_for_blocked(2);
        db.drop_keyspace(&other).unwrap();
        let refused = of_dropped.join().unwrap().unwrap_err();
        let is_dropped = match &refused {
            LockError::Read(ReadError::KeyspaceDropped { name }) => name == "other",
            _ => false,
        };
        assert!(is_dropped, "{refused}");
        store.blocking().close().unwrap();
        let refused = of_closed.join().unwrap().unwrap_err();
        assert!(matches!(refused, LockError::Read(ReadError::Closed)), "{refused}");
    });
    drop(holder);
    store.runtime.shutdown();
}

#[test]
fn savepoint_is_gone_back_to_within_its_own_transaction_only_and_locks_stay() {
    let store = Store::new();
    let (db, keyspace) = (store.blocking(), &store.keyspace);
    db.put(keyspace, "a", "0").unwrap();
    let transaction = db.begin().unwrap();
    transaction.put(keyspace, "a", "1").unwrap();
    let mark = transaction.savepoint().unwrap();
    transaction.put(keyspace, "a", "2").unwrap();
    transaction.delete(keyspace, "b").unwrap();
    transaction.lock(keyspace, "c", LockOptions::default()).unwrap();
    let later = transaction.savepoint().unwrap();
    let keys = |of: &sombra::BlockingTransaction| -> Vec<String> {
        let rows = of.scan(keyspace, ..).map(|row| row.unwrap());
        rows.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
    };
    assert_eq!(keys(&transaction), ["2"]);
    let other = db.begin().unwrap();
    assert_eq!(other.rollback_to(&mark), Err(WriteError::NoSavepoint), "another transaction's");
    transaction.rollback_to(&mark).unwrap();
    assert_eq!(keys(&transaction), ["1"]);
    assert_eq!(transaction.rollback_to(&later), Err(WriteError::NoSavepoint));
    transaction.rollback_to(&mark).unwrap();
    let busy = other.lock(keyspace, "c", at_once()).unwrap_err();
    assert!(matches!(busy, LockError::Busy { .. }), "{busy}");
    transaction.commit().unwrap();
    assert_eq!(db.get(keyspace, "a").unwrap().as_deref(), Some(&b"1"[..]));
    drop(other);
    store.end();
}

#[test]
fn transaction_over_its_bound_of_locks_is_told_the_number_and_goes_on() {
    let store = Store::new();
    let transaction = store.blocking().begin().unwrap();
    let bound = sombra::limits::LOCKS_PER_TRANSACTION_MAX;
    let mut asked = 0_u64;
    let error = loop {
        let key = asked.to_be_bytes();
        match transaction.lock(&store.keyspace, key, at_once()) {
            Ok(()) => asked += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((asked, error), (bound, LockError::TooManyLocks { expected: bound }));
    transaction.put(&store.keyspace, "a", "1").unwrap();
    transaction.commit().unwrap();
    let next = store.blocking().begin().unwrap();
    next.lock(&store.keyspace, 0_u64.to_be_bytes(), patient()).unwrap();
    drop(next);
    store.end();
}

#[test]
fn ten_thousand_waiters_for_one_key_are_served_in_their_order_and_need_no_slots() {
    const WAITERS: usize = 10_000;
    const TOGETHER: usize = 500;
    const { assert!(WAITERS > sombra::limits::SNAPSHOTS_MAX) };
    let disk = SimDisk::new(SimDiskOptions::new(1));
    let mut world = SimWorld::new(SimOptions::new(1, SHARDS, disk));
    let runtime = world.runtime();
    let (db, keyspace) = run_client(&mut world, STEPS_MAX, async move {
        let db = Db::open(&runtime, "/store", Options::default()).await.unwrap();
        let keyspace = db.create_keyspace("k", Routing::hash(4)).await.unwrap();
        (db, keyspace)
    });
    let (of_holder, key) = (db.clone(), keyspace.clone());
    let holder = run_client(&mut world, STEPS_MAX, async move {
        let holder = of_holder.begin().unwrap();
        holder.lock(&key, "n", patient()).await.unwrap();
        holder
    });
    let (served, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let blocked = || db.metrics().value("sombra_transactions_blocked") as usize;
    for waiter in 0..WAITERS {
        let (db, keyspace) = (db.clone(), keyspace.clone());
        let (served, done) = (Rc::clone(&served), Rc::clone(&done));
        world.spawn_client("waiter", async move {
            let transaction = db.begin().unwrap();
            transaction.lock(&keyspace, "n", patient()).await.unwrap();
            let before = number(transaction.get(&keyspace, "n").await.unwrap());
            transaction.put(&keyspace, "n", (before + 1).to_string()).unwrap();
            served.borrow_mut().push(waiter);
            transaction.commit().await.unwrap();
            done.set(done.get() + 1);
        });
        // The order of those that begin together is the store's.
        if waiter % TOGETHER == TOGETHER - 1 {
            while blocked() <= waiter {
                assert_ne!(world.run(500, || false), RunEnd::Stuck, "{}", world.describe());
            }
        }
    }
    let active = db.metrics().value("sombra_transactions_active");
    assert!(active <= 1.0, "{active} have a slot, and only the holder needs one");
    holder.rollback();
    let end = world.run(100 * STEPS_MAX, || done.get() == WAITERS);
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    for (at, waiter) in served.borrow().iter().enumerate() {
        assert_eq!(at / TOGETHER, waiter / TOGETHER, "waiter {waiter} was served as number {at}");
    }
    let counted = run_client(&mut world, STEPS_MAX, async move {
        let counted = number(db.get(&keyspace, "n").await.unwrap());
        db.close().await.unwrap();
        counted
    });
    assert_eq!(counted, WAITERS as u64);
    world.kill();
}
