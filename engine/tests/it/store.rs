//! Open, commit, close, reopen.

use sombra::{
    CommitError, Db, Isolation, KeyRange, KeyspaceError, OpenError, OpenMode, Options, Routing,
};
use sombra_runtime::DriverChoice;

use crate::support::{TestDir, on_both_drivers, open, options, runtime};

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn handles_and_their_futures_are_send_for_any_executor() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    runtime.block_on(assert_send(async {
        let users = assert_send(db.create_keyspace("users", Routing::hash(4))).await.unwrap();
        let transaction = assert_send(db.begin_with(Isolation::Snapshot).unwrap());
        assert_send(transaction.get(&users, "k")).await.unwrap();
        let mut scan = assert_send(transaction.scan(&users, KeyRange::all()));
        assert_send(scan.next()).await.unwrap();
        assert_send(transaction.commit()).await.unwrap();
        assert_send(db.put(&users, "k", "v")).await.unwrap();
        let run = db.run(|transaction| {
            let users = users.clone();
            async move {
                transaction.put(&users, "a", "b")?;
                Ok(transaction.get(&users, "k").await?)
            }
        });
        assert_eq!(assert_send(run).await.unwrap().unwrap(), "v");
        assert_send(db.clone().close()).await.unwrap();
    }));
    runtime.shutdown();
}

#[test]
fn commits_survive_close_and_reopen_on_other_shard_counts() {
    on_both_drivers(|driver| {
        let dir = TestDir::new();
        for (round, shards) in [2, 1, 4, 3].into_iter().enumerate() {
            let runtime = runtime(driver, shards);
            let db = open(&runtime, &dir);
            runtime.block_on(async {
                let spread = match db.keyspace("spread") {
                    Some(spread) => spread,
                    None => db.create_keyspace("spread", Routing::hash(8)).await.unwrap(),
                };
                for earlier in 0..round {
                    for key in 0..50_u32 {
                        let key = format!("{earlier}-{key:04}");
                        let value = db.get(&spread, &key).await.unwrap();
                        assert_eq!(value.unwrap(), key.repeat(30), "round {round}");
                    }
                }
                for chunk in 0..5_u32 {
                    let transaction = db.begin_with(Isolation::Snapshot).unwrap();
                    for key in chunk * 10..(chunk + 1) * 10 {
                        let key = format!("{round}-{key:04}");
                        transaction.put(&spread, &key, key.repeat(30)).unwrap();
                    }
                    transaction.commit().await.unwrap();
                }
                let snapshot = db.snapshot().unwrap();
                let rows = snapshot.scan(&spread, KeyRange::all()).collect().await.unwrap();
                assert_eq!(rows.len(), (round + 1) * 50);
                db.close().await.unwrap();
            });
            runtime.shutdown();
        }
    });
}

#[test]
fn range_keyspace_scans_in_key_order_across_tablets_with_own_writes_woven_in() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 3);
    let db = open(&runtime, &dir);
    runtime.block_on(async {
        let routing = Routing::range_split(["g", "n", "t"]);
        let letters = db.create_keyspace("letters", routing).await.unwrap();
        for letter in b'a'..=b'z' {
            db.put(&letters, [letter], vec![letter]).await.unwrap();
        }
        let transaction = db.begin_with(Isolation::Snapshot).unwrap();
        transaction.delete(&letters, "h").unwrap();
        transaction.put(&letters, "hh", "own").unwrap();
        transaction.put(&letters, "z", "changed").unwrap();
        let range = KeyRange::from("f".."p");
        let keys = transaction.scan(&letters, range).collect().await.unwrap();
        let keys: Vec<String> =
            keys.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        assert_eq!(keys, ["f", "g", "hh", "i", "j", "k", "l", "m", "n", "o"]);
        let all = transaction.scan(&letters, ..).collect().await.unwrap();
        assert_eq!(all.len(), 26);
        assert_eq!(all.last().unwrap().1, "changed");
        transaction.rollback();
        db.close().await.unwrap();
    });
    runtime.shutdown();
}

#[test]
fn hash_keyspace_scans_one_prefix_in_key_order() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    runtime.block_on(async {
        let rows = db.create_keyspace("rows", Routing::hash(4)).await.unwrap();
        for node in 0..20_u32 {
            for edge in 0..10_u32 {
                let key = [node.to_be_bytes(), edge.to_be_bytes()].concat();
                db.put(&rows, key, "e").await.unwrap();
            }
        }
        let snapshot = db.snapshot().unwrap();
        let prefix = 7_u32.to_be_bytes();
        let found = snapshot.scan(&rows, KeyRange::prefix(&prefix)).collect().await.unwrap();
        let edges: Vec<u8> = found.iter().map(|(key, _)| key[7]).collect();
        assert_eq!(edges, (0..10).collect::<Vec<u8>>());
        let from = [prefix, 3_u32.to_be_bytes()].concat();
        let to = [prefix, 6_u32.to_be_bytes()].concat();
        let found = snapshot.scan(&rows, KeyRange::from(from..to)).collect().await.unwrap();
        assert_eq!(found.len(), 3);
        drop(snapshot);
        db.close().await.unwrap();
    });
    runtime.shutdown();
}

#[test]
fn keyspaces_are_made_listed_dropped_and_stay_so_after_reopen() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    runtime.block_on(async {
        let one = db.create_keyspace("one", Routing::range()).await.unwrap();
        let two = db.create_keyspace("two", Routing::hash(2)).await.unwrap();
        db.put(&one, "k", "1").await.unwrap();
        db.put(&two, "k", "2").await.unwrap();
        let exists = db.create_keyspace("one", Routing::range()).await.unwrap_err();
        assert_eq!(exists, KeyspaceError::Exists { name: "one".to_owned() });
        db.drop_keyspace(&one).await.unwrap();
        let gone = db.put(&one, "k", "3").await.unwrap_err();
        assert_eq!(gone, CommitError::KeyspaceDropped { name: "one".to_owned() });
        let again = db.create_keyspace("one", Routing::range()).await.unwrap();
        assert_ne!(again.id(), one.id(), "ids are never reused");
        db.close().await.unwrap();
    });
    let db = open(&runtime, &dir);
    runtime.block_on(async {
        let names: Vec<String> = db.keyspaces().iter().map(|k| k.name().to_owned()).collect();
        assert_eq!(names, ["two", "one"]);
        let one = db.keyspace("one").unwrap();
        assert_eq!(db.get(&one, "k").await.unwrap(), None);
        let two = db.keyspace("two").unwrap();
        assert_eq!(db.get(&two, "k").await.unwrap().unwrap(), "2");
        db.close().await.unwrap();
    });
    runtime.shutdown();
}

#[test]
fn second_opener_is_refused_and_the_first_goes_on() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 1);
    let db = open(&runtime, &dir);
    let refused = runtime.block_on(Db::open(&runtime, dir.store(), options()));
    assert!(matches!(refused, Err(OpenError::Locked { .. })), "{:?}", refused.err());
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    db.blocking().put(&keyspace, "a", "b").unwrap();
    db.blocking().close().unwrap();
    open(&runtime, &dir).blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn dropping_the_last_handle_lets_the_next_opener_in() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    db.blocking().put(&keyspace, "a", "b").unwrap();
    drop(db);
    let db = loop {
        match runtime.block_on(Db::open(&runtime, dir.store(), options())) {
            Ok(db) => break db,
            Err(OpenError::Locked { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(db.blocking().get(&keyspace, "a").unwrap().unwrap(), "b");
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn open_mode_and_options_are_checked_before_anything_is_made() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 1);
    let must_exist = Options { open_mode: OpenMode::MustExist, ..options() };
    let missing = runtime.block_on(Db::open(&runtime, dir.store(), must_exist));
    assert!(matches!(missing, Err(OpenError::Missing { .. })));
    let small = Options { memory_bytes: 1, ..options() };
    let refused = runtime.block_on(Db::open(&runtime, dir.store(), small)).err().unwrap();
    assert!(refused.to_string().contains("memory_bytes"), "{refused}");
    let large = Options { memory_bytes: 1 << 50, ..options() };
    let refused = runtime.block_on(Db::open(&runtime, dir.store(), large)).err().unwrap();
    assert!(refused.to_string().contains("memory_bytes: expected at most"), "{refused}");
    assert!(!dir.store().exists());
    open(&runtime, &dir).blocking().close().unwrap();
    let create_new = Options { open_mode: OpenMode::CreateNew, ..options() };
    let exists = runtime.block_on(Db::open(&runtime, dir.store(), create_new));
    assert!(matches!(exists, Err(OpenError::Exists { .. })));
    runtime.shutdown();
}

#[test]
fn commit_over_the_windows_share_is_refused_and_smaller_ones_and_reads_go_on() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let tight = Options { memory_bytes: 16 << 20, ..options() };
    let db = runtime.block_on(Db::open(&runtime, dir.store(), tight)).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(8)).unwrap();
    let put_many = |count: u32| {
        let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        for key in 0..count {
            transaction.put(&keyspace, key.to_be_bytes(), vec![7; 100_000]).unwrap();
        }
        transaction.commit()
    };
    let refused = put_many(90).expect_err("9 MB of 8 MiB");
    let CommitError::MemoryFull { expected, found } = refused else { panic!("{refused}") };
    assert!(expected <= 8 << 20 && found > 9_000_000, "{expected} {found}");
    for _ in 0..150 {
        // Ten times the windows' share altogether: merging makes the room.
        put_many(6).unwrap();
    }
    assert!(db.blocking().get(&keyspace, 0_u32.to_be_bytes()).unwrap().is_some());
    assert_eq!(db.blocking().get(&keyspace, 89_u32.to_be_bytes()).unwrap(), None);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn log_at_its_bound_is_truncated_by_merging_and_commits_go_on() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let log_bytes_max = 3 << 20;
    let tight = Options { log_bytes_max, ..options() };
    let db = runtime.block_on(Db::open(&runtime, dir.store(), tight.clone())).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    for key in 0..2_000_u32 {
        db.blocking().put(&keyspace, key.to_be_bytes(), vec![1; 10_000]).unwrap();
    }
    assert!(db.metrics().value("sombra_wal_disk_bytes") <= log_bytes_max as f64);
    db.blocking().close().unwrap();
    let db = runtime.block_on(Db::open(&runtime, dir.store(), tight)).unwrap();
    for key in 0..2_000_u32 {
        assert!(db.blocking().get(&keyspace, key.to_be_bytes()).unwrap().is_some());
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn commit_larger_than_a_segment_finds_room_on_an_idle_store() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    for key in 0..3_u8 {
        transaction.put(&keyspace, [key], vec![key; 1 << 20]).unwrap();
    }
    transaction.commit().unwrap();
    db.blocking().close().unwrap();
    runtime.shutdown();
}
