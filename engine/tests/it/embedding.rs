//! The surface that programs embed: batches, many reads at once, pages of scans, keys alone,
//! temporary stores, code where a key lives.

use sombra::{
    CommitError, Db, Isolation, KeyRange, KeyspaceError, OpenError, Options, ReadError, Routing,
    RunOptions, TransactionError, WriteBatch, WriteError,
};
use sombra_runtime::DriverChoice;

use crate::support::{Bench, TestDir, runtime};

fn key(number: u32) -> String {
    format!("{number:06}")
}

#[test]
fn batch_is_there_as_a_whole_over_shards_and_never_conflicts() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 3));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::hash(6)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            let (blocking, keyspace) = (blocking.clone(), keyspace.clone());
            scope.spawn(move || {
                for round in 0..50_u32 {
                    let mut batch = WriteBatch::new();
                    for number in 0..20 {
                        batch.put(&keyspace, key(number), format!("{writer}/{round}"));
                    }
                    batch.delete(&keyspace, key(3)).put(&keyspace, key(4), "last one counts");
                    blocking.write(&batch).unwrap();
                }
            });
        }
        for _ in 0..50 {
            let snapshot = blocking.snapshot().unwrap();
            let rows: Vec<_> = snapshot.scan(&keyspace, ..).map(Result::unwrap).collect();
            assert!([0, 19].contains(&rows.len()), "all of a batch or nothing");
            let mut values: Vec<_> = rows.iter().map(|(_, value)| value).collect();
            values.retain(|value| *value != "last one counts");
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]));
        }
    });
    assert_eq!(blocking.get(&keyspace, key(3)).unwrap(), None);
    assert_eq!(blocking.get(&keyspace, key(4)).unwrap().unwrap(), "last one counts");
    let mut bad = WriteBatch::new();
    bad.put(&keyspace, key(0), "kept out").put(&keyspace, "", "no key");
    assert!(matches!(blocking.write(&bad), Err(TransactionError::Write(_))));
    assert_ne!(blocking.get(&keyspace, key(0)).unwrap().unwrap(), "kept out");
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn many_keys_are_read_at_once_in_their_order_own_writes_among_them() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 3));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::hash(6)).unwrap();
    for number in (0..100).step_by(2) {
        blocking.put(&keyspace, key(number), key(number)).unwrap();
    }
    let transaction = blocking.begin().unwrap();
    transaction.put(&keyspace, key(1), "own").unwrap();
    transaction.delete(&keyspace, key(2)).unwrap();
    let values = transaction.multi_get(&keyspace, (0..100).rev().map(key)).unwrap();
    for (number, value) in (0..100).rev().zip(&values) {
        let expected = match number {
            1 => Some("own".to_owned()),
            2 => None,
            even if even % 2 == 0 => Some(key(even)),
            _ => None,
        };
        let found = value.as_ref().map(|value| String::from_utf8(value.to_vec()).unwrap());
        assert_eq!(found, expected, "{number}");
    }
    // Each of them counts as read.
    blocking.put(&keyspace, key(77), "new").unwrap();
    assert!(matches!(transaction.commit(), Err(CommitError::Conflict { .. })));
    let snapshot = blocking.snapshot().unwrap();
    assert_eq!(snapshot.multi_get(&keyspace, [key(77), key(78)]).unwrap().len(), 2);
    assert!(snapshot.multi_get(&keyspace, [""]).is_err());
    drop(snapshot);
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn pages_of_a_scan_follow_each_other_in_every_routing_and_direction() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let routings = [
        Routing::range(),
        Routing::range_split([key(200), key(300), key(500)]),
        Routing::hash_tablets(6, 5),
        Routing::hash_tablets(2, 4),
    ];
    for (at, routing) in routings.into_iter().enumerate() {
        let keyspace = blocking.create_keyspace(&format!("k{at}"), routing).unwrap();
        let mut batch = WriteBatch::new();
        for number in 0..600 {
            batch.put(&keyspace, key(number), vec![7; 100]);
        }
        blocking.write(&batch).unwrap();
        let snapshot = runtime.block_on(async { db.snapshot() }).unwrap();
        for range in [KeyRange::all(), KeyRange::from(key(150)..key(450)), KeyRange::prefix(b"00")]
        {
            for is_reverse in [false, true] {
                let scan = || match is_reverse {
                    false => snapshot.scan(&keyspace, range.clone()),
                    true => snapshot.scan_reverse(&keyspace, range.clone()),
                };
                runtime.block_on(async {
                    let all = scan().collect().await.unwrap();
                    assert!(all.len() >= 300, "{}", all.len());
                    let keys = scan().keys().collect().await.unwrap();
                    assert!(keys.iter().eq(all.iter().map(|(key, _)| key)));
                    // Each page by a scan of its own, as a server does that keeps no state.
                    let (mut rows, mut last): (Vec<_>, Option<bytes::Bytes>) = (Vec::new(), None);
                    loop {
                        let mut page = match &last {
                            None => scan(),
                            Some(last) => scan().after(last),
                        };
                        let page = page.next_page(37).await.unwrap();
                        let Some((key, _)) = page.last() else { break };
                        last = Some(key.clone());
                        rows.extend(page);
                    }
                    assert_eq!(rows, all, "routing {at}, {range:?}, reverse {is_reverse}");
                });
            }
        }
        // A key of another range, or one that is not there, is a place as well.
        runtime.block_on(async {
            if at < 2 {
                let range = || KeyRange::from(key(150)..key(450));
                let from_before = snapshot.scan(&keyspace, range()).after(key(9));
                assert_eq!(from_before.collect().await.unwrap().len(), 300);
                let from_behind = snapshot.scan(&keyspace, range()).after(key(450));
                assert_eq!(from_behind.collect().await.unwrap().len(), 0);
                let between = snapshot.scan(&keyspace, range()).after("000151x");
                assert_eq!(between.collect().await.unwrap().len(), 298);
            }
        });
    }
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn key_only_scan_reads_no_values_from_their_own_pages_and_weaves_own_writes() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 1));
    let options =
        Options { memory_bytes: 16 << 20, log_bytes_max: 4 << 20, ..Options::temporary() };
    let db = runtime.block_on(Db::open(&runtime, dir.store(), options)).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::range()).unwrap();
    for number in 0..60 {
        blocking.put(&keyspace, key(number), vec![number as u8; 300 << 10]).unwrap();
    }
    let transaction = blocking.begin_with(Isolation::Snapshot).unwrap();
    transaction.put(&keyspace, key(100), "own").unwrap();
    transaction.delete(&keyspace, key(0)).unwrap();
    let reads = || {
        let metrics = db.metrics();
        let lines = metrics.lines().iter();
        let of_reads = lines.filter(|line| {
            line.name == "sombra_io_submitted_total"
                && line.labels.iter().any(|(_, class)| class == "read")
        });
        of_reads.map(|line| line.value).sum::<f64>()
    };
    let before = reads();
    let keys: Vec<_> = transaction.scan(&keyspace, ..).keys().map(Result::unwrap).collect();
    let expected: Vec<String> = (1..60).chain([100]).map(key).collect();
    assert!(keys.iter().eq(expected.iter()), "{keys:?}");
    let for_keys = reads() - before;
    let rows = transaction.scan(&keyspace, ..).map(Result::unwrap).count();
    let for_rows = reads() - before - for_keys;
    assert_eq!(rows, 60);
    assert!(for_rows >= 30.0 && for_keys < 10.0, "{for_rows} reads for rows, {for_keys} for keys");
    transaction.rollback();
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn temporary_store_is_made_anew_and_refuses_one_that_is_there() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 1));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    db.blocking().put(&keyspace, "a", "1").unwrap();
    db.blocking().close().unwrap();
    let refused = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary()));
    assert!(matches!(refused.map(drop), Err(OpenError::Exists { .. })));
    runtime.shutdown();
}

#[test]
fn code_runs_where_its_key_lives() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 3));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(6)).unwrap();
    for number in 0..20 {
        let (expected, there) = (db.shard_of(&keyspace, key(number)), keyspace.clone());
        let code = db.on_shard_of(&keyspace, key(number), move |local| async move {
            local.put(&there, key(number), "here").await.unwrap();
            local.shard()
        });
        assert_eq!(runtime.block_on(code).unwrap(), expected);
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn run_gives_up_with_the_conflict_when_its_budget_is_used_up() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 1));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::range()).unwrap();
    let attempts = |options: RunOptions| {
        let mut attempts = 0;
        let outcome = blocking.run_with(options, |transaction| {
            attempts += 1;
            transaction.get(&keyspace, "a")?;
            transaction.put(&keyspace, "b", "1")?;
            // Somebody else is always first.
            blocking.put(&keyspace, "a", attempts.to_string())?;
            Ok(())
        });
        let Err(TransactionError::Commit(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.is_retryable(), "{error}");
        attempts
    };
    assert_eq!(attempts(RunOptions { attempts_max: 5, ..RunOptions::default() }), 5);
    let no_time = RunOptions { time_max: std::time::Duration::ZERO, ..RunOptions::default() };
    assert_eq!(attempts(no_time), 1);
    assert_eq!(blocking.get(&keyspace, "b").unwrap(), None);
    blocking.close().unwrap();
    runtime.shutdown();
}

/// Polls a future once and drops it.
fn poll_once_and_drop<F: std::future::Future>(future: F) -> bool {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context).is_ready()
}

#[test]
fn commit_whose_future_was_dropped_is_resolved_by_a_marker() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::hash(6)).unwrap();
    let (mut happened, mut given_up) = (0, 0);
    for number in 0..60 {
        let (row, marker) = (format!("row {number}"), format!("marker {number}"));
        let transaction = db.begin().unwrap();
        transaction.put(&keyspace, &row, "1").unwrap();
        transaction.put(&keyspace, &marker, "done").unwrap();
        let commit = transaction.commit();
        match number % 3 {
            // Never polled: nothing was sent.
            0 => drop(commit),
            _ => _ = poll_once_and_drop(commit),
        }
        let is_there = blocking
            .run(|transaction| {
                if transaction.get(&keyspace, &marker)?.is_some() {
                    return Ok(true);
                }
                transaction.put(&keyspace, &marker, "given up")?;
                Ok(false)
            })
            .unwrap();
        if number % 3 == 0 {
            assert!(!is_there, "a commit that was never polled");
        }
        happened += u32::from(is_there);
        given_up += u32::from(!is_there);
        // Whatever was decided stays so.
        for _ in 0..3 {
            let found = blocking.get(&keyspace, &row).unwrap().is_some();
            assert_eq!(found, is_there, "{number}");
            std::thread::yield_now();
        }
    }
    assert!(happened > 0 && given_up >= 20, "{happened} happened, {given_up} given up");
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn reads_and_scans_whose_futures_were_dropped_change_nothing() {
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let db = runtime.block_on(Db::open(&runtime, dir.store(), Options::temporary())).unwrap();
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::hash(6)).unwrap();
    let mut batch = WriteBatch::new();
    for number in 0..500 {
        batch.put(&keyspace, key(number), key(number));
    }
    blocking.write(&batch).unwrap();
    let transaction = runtime.block_on(async { db.begin() }).unwrap();
    let mut scan = transaction.scan(&keyspace, ..);
    let (mut seen, mut dropped) = (0, 0);
    loop {
        dropped += u32::from(!poll_once_and_drop(transaction.get(&keyspace, key(seen))));
        // A dropped `next` has taken no row: it comes with the next call.
        if seen % 50 == 0 && !poll_once_and_drop(scan.next()) {
            dropped += 1;
        } else if seen % 50 == 0 {
            seen += 1;
        }
        match runtime.block_on(scan.next()).unwrap() {
            Some(_) => seen += 1,
            None => break,
        }
    }
    assert!(dropped > 0 && seen >= 500, "{dropped} dropped, {seen} rows seen");
    transaction.put(&keyspace, "own", "1").unwrap();
    drop(scan);
    runtime.block_on(transaction.commit()).unwrap();
    blocking.close().unwrap();
    runtime.shutdown();
}

#[test]
fn handle_of_another_store_is_refused_by_every_call_and_changes_nothing() {
    let (a, b) = (Bench::new(), Bench::new());
    let (db_a, db_b) = (a.try_open().unwrap().blocking(), b.try_open().unwrap().blocking());
    let foreign = db_a.create_keyspace("logs", Routing::range()).unwrap();
    let own = db_b.create_keyspace("users", Routing::range_split([b"m".to_vec()])).unwrap();
    assert_eq!(foreign.id(), own.id());
    db_b.put(&own, "ada", "1815").unwrap();
    let name = || "logs".to_owned();
    let write = WriteError::ForeignKeyspace { name: name() };
    let read = ReadError::ForeignKeyspace { name: name() };
    assert_eq!(db_b.put(&foreign, "ada", "x"), Err(CommitError::Write(write.clone())));
    assert_eq!(db_b.delete(&foreign, "ada"), Err(CommitError::Write(write.clone())));
    assert_eq!(db_b.get(&foreign, "ada"), Err(read.clone()));
    let tx = db_b.begin().unwrap();
    assert_eq!(tx.put(&foreign, "ada", "x"), Err(write.clone()));
    assert_eq!(tx.get(&foreign, "ada"), Err(read.clone()));
    assert_eq!(tx.multi_get(&foreign, ["ada"]), Err(read.clone()));
    assert_eq!(tx.scan(&foreign, ..).next(), Some(Err(read.clone())));
    tx.commit().unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&own, "grace", "1906").put(&foreign, "ada", "x");
    let refused = db_b.write(&batch).map_err(|error| error.to_string());
    assert_eq!(refused, Err(write.to_string()));
    let dropped = db_b.drop_keyspace(&foreign);
    assert_eq!(dropped, Err(KeyspaceError::ForeignKeyspace { name: name() }));
    let rows: Vec<_> = db_b.snapshot().unwrap().scan(&own, ..).map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    db_a.close().unwrap();
    db_b.close().unwrap();
    a.end();
    b.end();
}

#[test]
fn keyspace_is_opened_as_often_as_asked_and_made_once() {
    let bench = Bench::new();
    for _ in 0..2 {
        let db = bench.try_open().unwrap().blocking();
        let first = db.open_keyspace("users", Routing::hash(8)).unwrap();
        assert_eq!(db.open_keyspace("users", Routing::hash(8)).unwrap(), first);
        let other = db.open_keyspace("users", Routing::range()).unwrap_err();
        assert!(matches!(other, KeyspaceError::OtherRouting { .. }), "{other}");
        assert_eq!(db.keyspace("users").unwrap(), first);
        db.close().unwrap();
    }
    bench.end();
}
