//! A store that is opened to be read: what it serves, and that no byte of it changes.

use sombra::{CommitError, Db, Isolation, KeyspaceError, OpenError, OpenMode, Options, Routing};

use crate::disk;
use crate::support::{Bench, keys, options};

fn read_only() -> Options {
    Options { open_mode: OpenMode::ReadOnly, ..options() }
}

fn try_read(bench: &Bench) -> Result<Db, OpenError> {
    bench.runtime.block_on(Db::open(&bench.runtime, bench.store(), read_only()))
}

#[test]
fn read_only_store_serves_trees_and_log_and_no_byte_changes() {
    let bench = Bench::new();
    // More than the windows hold, so that part of it is merged into trees, part is in the log.
    let tight = Options { memory_bytes: 16 << 20, ..options() };
    let db = bench.runtime.block_on(Db::open(&bench.runtime, bench.store(), tight)).unwrap();
    let db = db.blocking();
    let rows = db.create_keyspace("rows", Routing::range_split(["m"])).unwrap();
    for key in 0..300_u32 {
        let side = if key % 2 == 0 { "a" } else { "z" };
        db.put(&rows, format!("{side}{key:04}"), vec![key as u8; 100_000]).unwrap();
    }
    db.delete(&rows, "a0000").unwrap();
    db.close().unwrap();
    let before = disk::contents(&bench.store());

    let (first, second) = (try_read(&bench).unwrap(), try_read(&bench).unwrap());
    assert!(first.open_report().read_only && first.open_report().replayed_records > 0);
    let shown = first.open_report().to_string();
    assert!(shown.contains("to read it"), "{shown}");
    for db in [&first, &second] {
        let rows = db.keyspace("rows").unwrap();
        assert_eq!(keys(db, &rows).len(), 299);
        let db = db.blocking();
        for key in 1..300_u32 {
            let side = if key % 2 == 0 { "a" } else { "z" };
            let value = db.get(&rows, format!("{side}{key:04}")).unwrap();
            assert_eq!(value.unwrap(), vec![key as u8; 100_000]);
        }
        assert_eq!(db.get(&rows, "a0000").unwrap(), None);
        let last = db.snapshot().unwrap().scan_reverse(&rows, ..).next().unwrap().unwrap();
        assert_eq!(last.0, "z0299");
    }
    first.blocking().close().unwrap();
    second.blocking().close().unwrap();
    disk::assert_same(&before, &disk::contents(&bench.store()));
    bench.end();
}

#[test]
fn read_only_store_refuses_every_write_and_goes_on_reading() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    let db = try_read(&bench).unwrap().blocking();
    let keyspace = db.keyspace("k").unwrap();
    assert_eq!(db.put(&keyspace, "a", "x").err(), Some(CommitError::ReadOnly));
    assert_eq!(db.delete(&keyspace, "a").err(), Some(CommitError::ReadOnly));
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let transaction = db.begin_with(isolation).unwrap();
        assert_eq!(transaction.get(&keyspace, "a").unwrap().unwrap(), "a");
        transaction.put(&keyspace, "c", "x").unwrap();
        let error = transaction.commit().expect_err("it has writes");
        assert_eq!(error, CommitError::ReadOnly);
        assert!(!error.is_retryable());
        let reads = db.begin_with(isolation).unwrap();
        assert_eq!(reads.scan(&keyspace, ..).count(), 2);
        reads.commit().unwrap();
    }
    let refused = Some(KeyspaceError::Commit(CommitError::ReadOnly));
    assert_eq!(db.create_keyspace("new", Routing::hash(4)).err(), refused);
    assert_eq!(db.drop_keyspace(&keyspace).err(), refused);
    assert_eq!(db.get(&keyspace, "b").unwrap().unwrap(), "b");
    db.close().unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "b"]);
    bench.end();
}

#[test]
fn read_only_store_tells_what_its_log_takes_on_disk() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    bench.write_and_close(&["b"]);
    let log_bytes: u64 = std::fs::read_dir(bench.store().join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let db = try_read(&bench).unwrap();
    assert_eq!(db.metrics().value("sombra_wal_disk_bytes"), log_bytes as f64);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn readers_share_a_store_and_writers_keep_them_away() {
    let bench = Bench::new();
    let (writer, _) = bench.open();
    let locked = |outcome: Result<Db, OpenError>| match outcome.map(drop) {
        Err(OpenError::Locked { path, .. }) => assert!(path.starts_with(bench.store())),
        other => panic!("{other:?}"),
    };
    locked(try_read(&bench));
    writer.blocking().close().unwrap();
    let (first, second) = (try_read(&bench).unwrap(), try_read(&bench).unwrap());
    locked(bench.try_open());
    first.blocking().close().unwrap();
    locked(bench.try_open());
    let store = bench.store();
    let check = sombra::inspect::check(&bench.runtime, &store, |_, _| ());
    assert!(bench.runtime.block_on(check).unwrap().problems.is_empty());
    second.blocking().close().unwrap();
    bench.open().0.blocking().close().unwrap();
    bench.end();
}

#[test]
fn reader_of_a_killed_store_sees_what_the_next_writer_sees() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let (db, keyspace) = bench.open();
    for key in ["b", "c", "d"] {
        db.blocking().put(&keyspace, key, key).unwrap();
    }
    let killed = Bench::new();
    disk::copy_as_killed(&bench.store(), &killed.store());
    db.blocking().close().unwrap();
    std::fs::write(killed.store().join("LOCK"), "").unwrap();
    let before = disk::contents(&killed.store());
    let read = try_read(&killed).unwrap();
    let (found, report) = (keys(&read, &read.keyspace("k").unwrap()), read.open_report());
    read.blocking().close().unwrap();
    disk::assert_same(&before, &disk::contents(&killed.store()));
    let (expected, next) = killed.keys_and_close();
    assert_eq!(found, ["a", "b", "c", "d"]);
    assert_eq!(found, expected);
    assert_eq!(report.replayed_to, next.replayed_to);
    bench.end();
    killed.end();
}

#[test]
fn reading_where_there_is_no_store_names_what_is_missing_and_makes_nothing() {
    let bench = Bench::new();
    let missing = |bench: &Bench| match try_read(bench).map(drop) {
        Err(OpenError::Missing { path, .. }) => assert_eq!(path, bench.store()),
        other => panic!("{other:?}"),
    };
    missing(&bench);
    assert!(!bench.store().exists());
    std::fs::create_dir(bench.store()).unwrap();
    missing(&bench);
    assert!(disk::contents(&bench.store()).is_empty());
    std::fs::write(bench.store().join("novel.txt"), "once").unwrap();
    missing(&bench);
    assert!(matches!(bench.try_open().map(drop), Err(OpenError::Missing { .. })));
    assert_eq!(disk::contents(&bench.store()).len(), 1, "not even a lock");
    std::fs::remove_file(bench.store().join("novel.txt")).unwrap();
    bench.write_and_close(&["a"]);
    std::fs::remove_file(bench.store().join("pages.sombra")).unwrap();
    let error = try_read(&bench).map(drop).unwrap_err();
    assert!(error.to_string().contains("pages.sombra"), "{error}");
    bench.end();
}
