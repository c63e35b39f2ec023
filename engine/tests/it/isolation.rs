//! Snapshot isolation on one and on several shards.

use sombra::{CommitError, ConflictReason, Db, Isolation, Keyspace, Routing};
use sombra_runtime::{DriverChoice, Runtime};

use crate::support::{TestDir, open, runtime};

struct Fixture {
    _dir: TestDir,
    runtime: Runtime,
    db: Db,
    keyspace: Keyspace,
}

fn fixture(shards: usize) -> Fixture {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, shards);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(8)).unwrap();
    Fixture { _dir: dir, runtime, db, keyspace }
}

impl Fixture {
    fn close(self) {
        self.db.blocking().close().unwrap();
        self.runtime.shutdown();
    }
}

#[test]
fn first_committer_wins_on_one_shard_and_across_shards() {
    let f = fixture(3);
    let db = f.db.blocking();
    let keys: Vec<String> = (0..12).map(|key| format!("key-{key}")).collect();
    let first = db.begin_with(Isolation::Snapshot).unwrap();
    let second = db.begin_with(Isolation::Snapshot).unwrap();
    for key in &keys {
        first.put(&f.keyspace, key, "first").unwrap();
    }
    second.put(&f.keyspace, &keys[5], "second").unwrap();
    first.commit().unwrap();
    let error = second.commit().unwrap_err();
    let CommitError::Conflict { keyspace, key, reason } = &error else { panic!("{error}") };
    assert_eq!((keyspace.as_str(), key.as_slice()), ("k", keys[5].as_bytes()));
    assert_eq!(*reason, ConflictReason::NewerVersion);
    assert!(error.is_retryable());
    for key in &keys {
        assert_eq!(db.get(&f.keyspace, key).unwrap().unwrap(), "first");
    }
    assert!(f.db.metrics().value("sombra_commits_across_shards_total") >= 1.0);
    assert!(f.db.metrics().value("sombra_conflicts_total") >= 1.0);
    f.close();
}

#[test]
fn snapshot_never_changes_while_others_write() {
    let f = fixture(2);
    let db = f.db.blocking();
    for key in 0..40_u32 {
        db.put(&f.keyspace, key.to_be_bytes(), "before").unwrap();
    }
    let reader = db.begin_with(Isolation::Snapshot).unwrap();
    for round in 0..5 {
        for key in 0..40_u32 {
            match round {
                3 => drop(db.delete(&f.keyspace, key.to_be_bytes()).unwrap()),
                _ => drop(db.put(&f.keyspace, key.to_be_bytes(), "after").unwrap()),
            }
        }
        for key in 0..40_u32 {
            let value = reader.get(&f.keyspace, key.to_be_bytes()).unwrap();
            assert_eq!(value.unwrap(), "before", "round {round}");
        }
    }
    assert_eq!(reader.scan(&f.keyspace, ..).count(), 40);
    reader.rollback();
    f.close();
}

#[test]
fn concurrent_transfers_across_shards_keep_the_sum_in_every_snapshot() {
    const ACCOUNTS: u32 = 16;
    let f = fixture(4);
    let db = f.db.blocking();
    for account in 0..ACCOUNTS {
        db.put(&f.keyspace, account.to_be_bytes(), 100_i64.to_le_bytes().to_vec()).unwrap();
    }
    let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
    std::thread::scope(|scope| {
        for writer in 0..6_u32 {
            let (db, keyspace) = (db.clone(), f.keyspace.clone());
            scope.spawn(move || {
                for step in 0..60_u32 {
                    let from = (writer * 7 + step * 3) % ACCOUNTS;
                    let to = (from + 1 + step % (ACCOUNTS - 1)) % ACCOUNTS;
                    db.run(|transaction| {
                        let read = |account: u32| {
                            let value = transaction.get(&keyspace, account.to_be_bytes())?;
                            Ok::<_, sombra::TransactionError>(number(&value.unwrap()))
                        };
                        let (a, b) = (read(from)?, read(to)?);
                        let write = |account: u32, value: i64| {
                            let value = value.to_le_bytes().to_vec();
                            transaction.put(&keyspace, account.to_be_bytes(), value)
                        };
                        write(from, a - 1)?;
                        write(to, b + 1)?;
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
        for _ in 0..40 {
            let snapshot = db.begin_with(Isolation::Snapshot).unwrap();
            let rows = snapshot.scan(&f.keyspace, ..);
            let sum: i64 = rows.map(|row| number(&row.unwrap().1)).sum();
            assert_eq!(sum, i64::from(ACCOUNTS) * 100);
        }
    });
    f.close();
}

#[test]
fn code_on_a_shard_sees_and_writes_the_same_store() {
    let f = fixture(2);
    f.db.blocking().put(&f.keyspace, "outside", "1").unwrap();
    let shard = f.db.shard_of(&f.keyspace, "outside");
    let keyspace = f.keyspace.clone();
    let on_shard = f.db.on_shard(shard, move |local| async move {
        assert_eq!(local.shard(), shard);
        let transaction = local.begin_with(Isolation::Snapshot).unwrap();
        let seen = transaction.get(&keyspace, "outside").await.unwrap();
        for key in 0..20_u32 {
            transaction.put(&keyspace, key.to_be_bytes(), "from the shard").unwrap();
        }
        transaction.commit().await.unwrap();
        seen
    });
    assert_eq!(f.runtime.block_on(on_shard).unwrap().unwrap(), "1");
    for key in 0..20_u32 {
        let value = f.db.blocking().get(&f.keyspace, key.to_be_bytes()).unwrap();
        assert_eq!(value.unwrap(), "from the shard");
    }
    f.close();
}

#[test]
fn a_panic_on_a_shard_stops_the_store_and_not_the_process() {
    let f = fixture(2);
    let db = f.db.blocking();
    db.put(&f.keyspace, "k", "acknowledged").unwrap();
    let shard = f.db.shard_of(&f.keyspace, "k");
    let outcome = f.runtime.block_on(f.db.on_shard(shard, |_| async {
        assert_eq!(1 + 1, 3, "a bug");
    }));
    assert!(outcome.is_err());
    let refused = db.put(&f.keyspace, "k", "later").unwrap_err();
    assert!(matches!(refused, CommitError::Poisoned { .. }), "{refused}");
    assert!(f.db.poison_reason().unwrap().contains("a bug"));
    let dir = f._dir;
    assert!(db.close().is_err());
    drop(f.db);
    f.runtime.shutdown();
    let runtime = runtime(DriverChoice::Threads, 1);
    let db = open(&runtime, &dir);
    assert_eq!(db.blocking().get(&f.keyspace, "k").unwrap().unwrap(), "acknowledged");
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn commit_is_refused_for_its_read_whether_that_came_before_or_after_the_other_write() {
    let f = fixture(3);
    let db = f.db.blocking();
    let keys: Vec<String> = (0..12).map(|key| format!("key-{key}")).collect();
    for is_read_first in [true, false] {
        for key in &keys {
            db.put(&f.keyspace, key, "before").unwrap();
            let begin = |isolation| db.begin_with(isolation).unwrap();
            let levels = [Isolation::Serializable, Isolation::Snapshot, Isolation::Serializable];
            let [writer, snapshot, reader] = levels.map(begin);
            let read = || {
                for transaction in [&writer, &snapshot, &reader] {
                    let found = transaction.get(&f.keyspace, key).unwrap();
                    assert_eq!(found.unwrap(), "before");
                }
            };
            if is_read_first {
                read();
            }
            db.put(&f.keyspace, key, "after").unwrap();
            if !is_read_first {
                read();
            }
            let conflicts = || f.db.metrics().value("sombra_conflicts_total");
            let before = conflicts();
            writer.put(&f.keyspace, "elsewhere", "w").unwrap();
            let error = writer.commit().expect_err("what it read has changed");
            let reason = ConflictReason::ReadChanged;
            let (keyspace, key) = ("k".to_owned(), key.clone().into_bytes());
            assert_eq!(error, CommitError::Conflict { keyspace, key, reason });
            assert_eq!(conflicts(), before + 1.0);
            snapshot.put(&f.keyspace, "elsewhere", "s").unwrap();
            snapshot.commit().unwrap();
            reader.commit().unwrap();
        }
    }
    f.close();
}
