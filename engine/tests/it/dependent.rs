//! Merges and conditional writes: nobody loses one, and each is about what the key held then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bytes::Bytes;
use sombra::{
    CommitError, Condition, Db, Durability, Isolation, Keyspace, MergeOperator, Options, Routing,
    Runtime, WriteError,
};
use sombra_runtime::DriverChoice;

use crate::support::{TestDir, on_both_drivers, options, runtime};

/// Makes a list with commas.
struct Append;

impl MergeOperator for Append {
    fn merge(&self, value: Option<&[u8]>, operand: &[u8]) -> Result<Option<Bytes>, String> {
        if operand.is_empty() {
            return Err("expected an entry, found none".to_owned());
        }
        let parts: Vec<&[u8]> = value.into_iter().chain([operand]).collect();
        Ok(Some(parts.join(&b","[..]).into()))
    }
}

/// The smallest budgets, so that values go into trees and out of the cache.
fn open(runtime: &Runtime, dir: &TestDir) -> (Db, Keyspace) {
    let options = Options { memory_bytes: 16 << 20, log_bytes_max: 16 << 20, ..options() };
    let db = runtime.block_on(Db::open(runtime, dir.store(), options)).unwrap();
    let keyspace = db.keyspace("k").unwrap_or_else(|| {
        db.blocking().create_keyspace("k", Routing::hash_tablets(16, 4)).unwrap()
    });
    db.register_merge_operator(&keyspace, "append", Append).unwrap();
    (db, keyspace)
}

fn number(value: Option<Bytes>) -> i64 {
    value.map_or(0, |value| i64::from_le_bytes(value[..].try_into().unwrap()))
}

/// Writes so much elsewhere that what was written before is in the trees.
fn push_into_trees(db: &Db, keyspace: &Keyspace) {
    for hundred in 0..80_u32 {
        let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        transaction.durability(Durability::Async);
        for number in 0..100 {
            let key = format!("filler-{:04}", hundred % 30 * 100 + number);
            transaction.put(keyspace, key, vec![7; 2_000]).unwrap();
        }
        transaction.commit().unwrap();
    }
    assert!(db.metrics().value("sombra_merges_total") > 0.0);
}

#[test]
fn sums_of_many_clients_lose_nothing_and_meet_no_conflict() {
    const CLIENTS: i64 = 8;
    const ROUNDS: i64 = 200;
    on_both_drivers(|driver| {
        let (dir, runtime) = (TestDir::new(), runtime(driver, 2));
        let (db, keyspace) = open(&runtime, &dir);
        thread::scope(|scope| {
            for client in 1..=CLIENTS {
                let (db, keyspace) = (db.blocking(), &keyspace);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        db.add(keyspace, "n", client).unwrap();
                    }
                });
            }
        });
        let expected = ROUNDS * CLIENTS * (CLIENTS + 1) / 2;
        assert_eq!(number(db.blocking().get(&keyspace, "n").unwrap()), expected);
        assert_eq!(db.metrics().value("sombra_conflicts_total"), 0.0);
        db.blocking().close().unwrap();
        let (db, keyspace) = open(&runtime, &dir);
        assert_eq!(number(db.blocking().get(&keyspace, "n").unwrap()), expected, "reopened");
        db.blocking().close().unwrap();
        runtime.shutdown();
    });
}

#[test]
fn merges_follow_puts_and_deletes_in_the_order_of_commits() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let (db, keyspace) = open(&runtime, &dir);
    let blocking = db.blocking();
    let merge = |entry: &'static str| blocking.merge(&keyspace, "list", "append", entry).unwrap();
    let list = || blocking.get(&keyspace, "list").unwrap();
    merge("a");
    merge("b");
    assert_eq!(list().as_deref(), Some(&b"a,b"[..]));
    let snapshot = blocking.snapshot().unwrap();
    blocking.put(&keyspace, "list", "z").unwrap();
    merge("c");
    assert_eq!(list().as_deref(), Some(&b"z,c"[..]));
    blocking.delete(&keyspace, "list").unwrap();
    assert_eq!(list(), None);
    merge("d");
    assert_eq!(list().as_deref(), Some(&b"d"[..]));
    let before = snapshot.get(&keyspace, "list").unwrap();
    assert_eq!(before.as_deref(), Some(&b"a,b"[..]), "a snapshot never changes");
    drop(snapshot);
    drop(blocking);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn values_in_trees_and_in_overflow_runs_are_merged_with() {
    on_both_drivers(|driver| {
        let (dir, runtime) = (TestDir::new(), runtime(driver, 2));
        let (db, keyspace) = open(&runtime, &dir);
        let blocking = db.blocking();
        let long = vec![b'x'; 100_000];
        blocking.add(&keyspace, "n", 40).unwrap();
        blocking.put(&keyspace, "long", long.clone()).unwrap();
        for _ in 0..2 {
            push_into_trees(&db, &keyspace);
            blocking.add(&keyspace, "n", 1).unwrap();
            blocking.merge(&keyspace, "long", "append", "y").unwrap();
        }
        assert_eq!(number(blocking.get(&keyspace, "n").unwrap()), 42);
        let found = blocking.get(&keyspace, "long").unwrap().unwrap();
        assert_eq!(found[..long.len()], long[..]);
        assert_eq!(&found[long.len()..], b",y,y");
        blocking.close().unwrap();
        runtime.shutdown();
    });
}

#[test]
fn merge_that_is_refused_changes_nothing_and_says_why() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let (db, keyspace) = open(&runtime, &dir);
    let blocking = db.blocking();
    blocking.put(&keyspace, "word", "seven").unwrap();
    let error = blocking.add(&keyspace, "word", 1).unwrap_err();
    let CommitError::MergeRefused { keyspace: name, key, reason } = &error else {
        panic!("{error}")
    };
    assert_eq!((&name[..], &key[..]), ("k", &b"word"[..]));
    assert!(reason.contains("8 bytes"), "{reason}");
    let error = blocking.merge(&keyspace, "list", "append", "").unwrap_err();
    assert!(matches!(&error, CommitError::MergeRefused { .. }), "{error}");
    let error = blocking.merge(&keyspace, "list", "upend", "a").unwrap_err();
    let unknown = CommitError::Write(WriteError::UnknownOperator {
        keyspace: "k".to_owned(),
        name: "upend".to_owned(),
    });
    assert_eq!(error, unknown);
    assert_eq!(blocking.get(&keyspace, "word").unwrap().as_deref(), Some(&b"seven"[..]));
    assert_eq!(blocking.get(&keyspace, "list").unwrap(), None);
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn one_of_many_puts_if_absent_wins_and_swaps_form_a_chain() {
    const CLIENTS: u32 = 8;
    const ROUNDS: u32 = 50;
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let (db, keyspace) = open(&runtime, &dir);
    let (won, swapped) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (db, keyspace, won, swapped) = (db.blocking(), &keyspace, &won, &swapped);
            scope.spawn(move || {
                let put = db.put_if(keyspace, "owner", Condition::Absent, client.to_string());
                match put {
                    Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                    Err(CommitError::ConditionFailed { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                let mut done = 0;
                while done < ROUNDS {
                    let before = db.get(keyspace, "n").unwrap();
                    let next = (number(before.clone()) + 1).to_le_bytes().to_vec();
                    let condition = before.map_or(Condition::Absent, Condition::Value);
                    match db.put_if(keyspace, "n", condition, next) {
                        Ok(_) => done += 1,
                        Err(CommitError::ConditionFailed { .. }) => {
                            swapped.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
    let expected = i64::from(CLIENTS * ROUNDS);
    assert_eq!(number(db.blocking().get(&keyspace, "n").unwrap()), expected);
    assert!(swapped.into_inner() > 0, "clients were in each other's way");
    let absent = db.blocking().delete_if(&keyspace, "nothing", Condition::Present).unwrap_err();
    assert!(matches!(absent, CommitError::ConditionFailed { .. }), "{absent}");
    db.blocking().delete_if(&keyspace, "owner", Condition::Present).unwrap();
    assert_eq!(db.blocking().get(&keyspace, "owner").unwrap(), None);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn version_decides_while_it_is_known_and_is_too_old_once_it_is_not() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let (db, keyspace) = open(&runtime, &dir);
    let blocking = db.blocking();
    let first = blocking.put(&keyspace, "a", "1").unwrap();
    let since = Condition::UnchangedSince;
    let second = blocking.put_if(&keyspace, "a", since(first), "2").unwrap();
    let error = blocking.put_if(&keyspace, "a", since(first), "3").unwrap_err();
    assert!(matches!(error, CommitError::ConditionFailed { .. }), "{error}");
    blocking.put(&keyspace, "b", "other").unwrap();
    blocking.delete_if(&keyspace, "a", since(second)).unwrap();
    let snapshot = blocking.snapshot().unwrap().lsn();
    push_into_trees(&db, &keyspace);
    let error = blocking.put_if(&keyspace, "a", since(first), "4").unwrap_err();
    let is_known = matches!(error, CommitError::ConditionFailed { .. });
    assert!(is_known || matches!(error, CommitError::VersionTooOld { .. }), "{error}");
    match blocking.put_if(&keyspace, "a", since(snapshot), "5") {
        Ok(_) => {}
        Err(CommitError::VersionTooOld { .. }) => {
            let snapshot = blocking.snapshot().unwrap().lsn();
            blocking.put_if(&keyspace, "a", since(snapshot), "5").unwrap();
        }
        Err(error) => panic!("nobody wrote it since: {error}"),
    }
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn merge_waits_for_a_key_that_is_locked_and_conflicts_with_who_has_read_it() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let (db, keyspace) = open(&runtime, &dir);
    let blocking = db.blocking();
    blocking.add(&keyspace, "n", 1).unwrap();
    let transaction = blocking.begin_with(Isolation::Serializable).unwrap();
    let before = number(transaction.get_for_update(&keyspace, "n").unwrap());
    thread::scope(|scope| {
        let adder = scope.spawn(|| db.blocking().add(&keyspace, "n", 10).unwrap());
        let doubled = (before * 2).to_le_bytes().to_vec();
        transaction.put(&keyspace, "n", doubled).unwrap();
        transaction.commit().unwrap();
        adder.join().unwrap();
    });
    assert_eq!(number(blocking.get(&keyspace, "n").unwrap()), 12, "doubled, then added to");
    let reader = blocking.begin_with(Isolation::Serializable).unwrap();
    reader.get(&keyspace, "n").unwrap();
    blocking.add(&keyspace, "n", 1).unwrap();
    reader.put(&keyspace, "copy", "12").unwrap();
    let error = reader.commit().unwrap_err();
    assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    blocking.close().unwrap();
    runtime.shutdown();
}
