//! Data beyond memory: windows merged into trees, the log truncated, old snapshots kept.

use std::collections::BTreeMap;

use sombra::{
    CommitError, Db, Durability, Isolation, KeyRange, Keyspace, KeyspaceError, Options, ReadError,
    Routing,
};
use sombra_runtime::{DriverChoice, Runtime};

use crate::support::{TestDir, on_both_drivers, options, runtime};

/// The smallest budget: 8 MiB of windows, merged from 4 MiB on.
fn tight() -> Options {
    Options { memory_bytes: 16 << 20, log_bytes_max: 16 << 20, ..options() }
}

fn open(runtime: &Runtime, dir: &TestDir, options: Options) -> Db {
    runtime.block_on(Db::open(runtime, dir.store(), options)).unwrap_or_else(|e| panic!("{e}"))
}

fn key(number: u32) -> String {
    format!("key-{number:08}")
}

fn value(number: u32, round: u32, len: usize) -> Vec<u8> {
    let stamp = format!("{number}/{round}/");
    stamp.into_bytes().into_iter().cycle().take(len).collect()
}

/// Writes rows in transactions of 100.
fn load(
    (db, keyspace): (&Db, &Keyspace),
    numbers: impl Iterator<Item = u32>,
    (round, len): (u32, usize),
) {
    let blocking = db.blocking();
    let mut numbers = numbers.peekable();
    while numbers.peek().is_some() {
        let transaction = blocking.begin_with(Isolation::Snapshot).unwrap();
        transaction.durability(Durability::Async);
        for number in numbers.by_ref().take(100) {
            transaction.put(keyspace, key(number), value(number, round, len)).unwrap();
        }
        transaction.commit().unwrap_or_else(|error| panic!("{error}"));
    }
}

fn metric(db: &Db, name: &str) -> f64 {
    db.metrics().value(name)
}

/// Waits until something has happened that the store does on its own.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never happened: {what}");
}

#[test]
fn data_larger_than_memory_is_read_scanned_and_there_after_reopening() {
    on_both_drivers(|driver| {
        let dir = TestDir::new();
        let count = 60_000_u32;
        for (opening, shards) in [2, 1, 3].into_iter().enumerate() {
            let runtime = runtime(driver, shards);
            let db = open(&runtime, &dir, tight());
            let keyspace = match db.keyspace("k") {
                Some(keyspace) => keyspace,
                None => {
                    let keyspace =
                        db.blocking().create_keyspace("k", Routing::hash_tablets(16, 4)).unwrap();
                    load((&db, &keyspace), 0..count, (0, 400));
                    assert!(metric(&db, "sombra_merges_total") > 0.0, "it did not fit the windows");
                    keyspace
                }
            };
            let snapshot = db.blocking().begin_with(Isolation::Snapshot).unwrap();
            for number in (0..count).step_by(97) {
                let found = snapshot.get(&keyspace, key(number)).unwrap();
                assert_eq!(found.as_deref(), Some(&value(number, 0, 400)[..]), "{number}");
            }
            assert_eq!(snapshot.get(&keyspace, "key-nowhere").unwrap(), None);
            let rows = snapshot.scan(&keyspace, ..).map(|row| row.unwrap());
            assert_eq!(rows.count(), count as usize, "opening {opening}");
            db.blocking().close().unwrap();
            runtime.shutdown();
        }
    });
}

#[test]
fn log_is_truncated_and_its_segments_are_recycled() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let db = open(&runtime, &dir, tight());
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    // Sixteen times the log's bound, and a keyspace that pins nothing although it is idle.
    db.blocking().create_keyspace("idle", Routing::range()).unwrap();
    for round in 0..13 {
        load((&db, &keyspace), 0..5_000, (round, 4_000));
    }
    assert!(metric(&db, "sombra_wal_disk_bytes") <= 16.0 * 1024.0 * 1024.0);
    assert!(metric(&db, "sombra_wal_recycled_segments_total") > 10.0);
    db.blocking().close().unwrap();
    let db = open(&runtime, &dir, tight());
    assert!(db.open_report().replayed_from.as_u64() > 0);
    let snapshot = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    for number in (0..5_000).step_by(13) {
        let found = snapshot.get(&keyspace_of(&db), key(number)).unwrap().unwrap();
        assert_eq!(found, value(number, 12, 4_000));
    }
    assert!(db.keyspace("idle").is_some());
    db.blocking().close().unwrap();
    runtime.shutdown();
}

fn keyspace_of(db: &Db) -> Keyspace {
    db.keyspace("k").unwrap()
}

#[test]
fn snapshot_held_over_many_merges_reads_its_first_state() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let db = open(&runtime, &dir, Options { memory_bytes: 32 << 20, ..tight() });
    let keyspace = db.blocking().create_keyspace("k", Routing::hash_tablets(16, 4)).unwrap();
    load((&db, &keyspace), 0..10_000, (0, 400));
    let held = runtime.block_on(async { db.snapshot() }).unwrap();
    for round in 1..12 {
        load((&db, &keyspace), 0..10_000, (round, 400));
    }
    assert!(metric(&db, "sombra_merges_total") > 4.0);
    for number in (0..10_000).step_by(7) {
        let found = runtime.block_on(held.get(&keyspace, key(number))).unwrap();
        assert_eq!(found.as_deref(), Some(&value(number, 0, 400)[..]), "{number}");
    }
    let rows = runtime.block_on(held.scan(&keyspace, ..).collect()).unwrap();
    assert_eq!(rows.len(), 10_000);
    let is_first = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
        let number = std::str::from_utf8(&key[4..]).unwrap().parse().unwrap();
        value == &self::value(number, 0, 400)
    };
    assert!(rows.iter().all(is_first));
    drop(held);
    load((&db, &keyspace), 0..10_000, (12, 400));
    wait_for("the views go with their snapshot", || metric(&db, "sombra_views_kept") == 0.0);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn write_over_what_was_committed_and_merged_meanwhile_is_a_conflict() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    // Room for the keys of all that is written meanwhile.
    let db = open(&runtime, &dir, Options { memory_bytes: 64 << 20, ..tight() });
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    load((&db, &keyspace), 0..100, (0, 400));
    let old = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    old.put(&keyspace, key(7), "from the past").unwrap();
    let other = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    other.put(&keyspace, key(200_000), "nobody else writes it").unwrap();
    load((&db, &keyspace), 0..40_000, (1, 400));
    assert!(metric(&db, "sombra_merges_total") > 0.0);
    let error = old.commit().expect_err("another was first, and is merged");
    assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
    other.commit().unwrap();
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn deleted_rows_are_gone_from_the_trees_and_their_space_is_used_again() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 1);
    let db = open(&runtime, &dir, tight());
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    let mut grown = 0.0;
    for round in 0..6 {
        load((&db, &keyspace), 0..30_000, (round, 400));
        for first in (0..30_000).step_by(500) {
            let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
            for number in first..first + 500 {
                transaction.delete(&keyspace, key(number)).unwrap();
            }
            transaction.commit().unwrap();
        }
        let snapshot = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        assert_eq!(snapshot.scan(&keyspace, ..).count(), 0, "round {round}");
        let bytes = metric(&db, "sombra_data_file_bytes");
        assert!(round < 2 || bytes <= 2.0 * grown, "round {round}: {bytes} after {grown}");
        grown = f64::max(grown, bytes);
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn values_of_every_size_up_to_the_largest_come_back_out_of_the_trees() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let wide = Options { memory_bytes: 512 << 20, log_bytes_max: 1 << 30, ..options() };
    let sizes = [0, 1, 255, 257, 1_300, 1_400, 4_000, 5_000, 300_000, 1 << 20, 16 << 20];
    let db = open(&runtime, &dir, wide);
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
    for (index, &size) in sizes.iter().enumerate() {
        let value = vec![index as u8 + 1; size];
        db.blocking().put(&keyspace, format!("size-{index}"), value).unwrap();
    }
    db.blocking().close().unwrap();
    // A smaller budget makes the next opening merge what it replays.
    let small = Options { memory_bytes: 64 << 20, ..tight() };
    let db = open(&runtime, &dir, small);
    wait_for("merged", || metric(&db, "sombra_merges_total") > 0.0);
    for (index, &size) in sizes.iter().enumerate() {
        let found = db.blocking().get(&keyspace_of(&db), format!("size-{index}")).unwrap();
        assert_eq!(found.unwrap(), vec![index as u8 + 1; size], "{size} bytes");
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn reverse_scans_are_forward_scans_turned_round() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 3);
    let db = open(&runtime, &dir, tight());
    let routings =
        [Routing::range_split(["key-00005000", "key-00009000"]), Routing::hash_tablets(16, 5)];
    for (index, routing) in routings.into_iter().enumerate() {
        let keyspace = db.blocking().create_keyspace(&format!("k{index}"), routing).unwrap();
        load((&db, &keyspace), (0..24_000).filter(|n| n % 3 != 0), (0, 400));
        let transaction = runtime.block_on(async { db.begin_with(Isolation::Snapshot) }).unwrap();
        for number in (0..24_000).step_by(999) {
            transaction.put(&keyspace, key(number), "own").unwrap();
            transaction.delete(&keyspace, key(number + 1)).unwrap();
        }
        let ranges: [KeyRange; 3] =
            [(..).into(), ("key-00004990".."key-00009100").into(), (.."key-00005000").into()];
        for range in ranges {
            let forward = transaction.scan(&keyspace, range.clone()).collect();
            let mut forward = runtime.block_on(forward).unwrap();
            let reverse = transaction.scan_reverse(&keyspace, range).collect();
            let reverse = runtime.block_on(reverse).unwrap();
            assert!(forward.len() > 1_000, "{}", forward.len());
            forward.reverse();
            assert_eq!(forward, reverse);
        }
        transaction.rollback();
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn damaged_page_is_an_error_for_its_keys_and_others_are_served() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let db = open(&runtime, &dir, tight());
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    load((&db, &keyspace), 0..40_000, (0, 400));
    db.blocking().close().unwrap();
    let path = dir.store().join("pages.sombra");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    for page in bytes[2 << 20..].chunks_exact_mut(4096).step_by(50) {
        // Leaves only: an inner page would take many of them along.
        if page[4] == 1 {
            page[2_000] ^= 0x20;
            damaged += 1;
        }
    }
    assert!(damaged > 10);
    std::fs::write(&path, &bytes).unwrap();
    let db = open(&runtime, &dir, tight());
    let (mut served, mut refused) = (0, 0);
    for number in 0..40_000 {
        match db.blocking().get(&keyspace_of(&db), key(number)) {
            Ok(found) => {
                assert_eq!(found.as_deref(), Some(&value(number, 0, 400)[..]), "never wrong data");
                served += 1;
            }
            Err(ReadError::Damaged { place, .. }) => {
                assert!(place.contains("pages.sombra"), "{place}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 10 && served > 30_000, "{served} served, {refused} refused");
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn full_data_file_refuses_data_and_takes_deletes_until_there_is_room() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let bounded = Options { data_bytes_max: 32 << 20, ..tight() };
    let db = open(&runtime, &dir, bounded);
    let keyspace = db.blocking().create_keyspace("k", Routing::hash_tablets(16, 4)).unwrap();
    let mut stored = 0_u32;
    let refused = loop {
        match db.blocking().put(&keyspace, key(stored), value(stored, 0, 8_000)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    let is_full = matches!(refused, CommitError::DiskFull { .. } | CommitError::MemoryFull { .. });
    assert!(is_full, "{refused}");
    assert!(stored > 1_000, "{stored}");
    assert!(db.blocking().get(&keyspace, key(0)).unwrap().is_some(), "reads go on");
    for number in 0..stored * 3 / 4 {
        db.blocking().delete(&keyspace, key(number)).unwrap_or_else(|error| panic!("{error}"));
    }
    wait_for("deletes make room", || {
        db.blocking().put(&keyspace, "again", value(1, 1, 8_000)).is_ok()
    });
    for number in stored * 3 / 4..stored {
        let found = db.blocking().get(&keyspace, key(number)).unwrap();
        assert_eq!(found.as_deref(), Some(&value(number, 0, 8_000)[..]));
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn snapshot_over_its_age_is_too_old_and_its_reader_is_told() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 1);
    let second = std::time::Duration::from_millis(50);
    let young =
        Options { snapshot_age_max: Some(second), transaction_age_max: Some(second), ..tight() };
    let db = open(&runtime, &dir, young);
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    db.blocking().put(&keyspace, "a", "1").unwrap();
    let reader = runtime.block_on(async { db.snapshot() }).unwrap();
    let writer = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    writer.put(&keyspace, "b", "2").unwrap();
    wait_for("the age limit", || {
        db.blocking().put(&keyspace, "tick", "t").unwrap();
        metric(&db, "sombra_snapshots_ended_total") >= 2.0
    });
    let error = runtime.block_on(reader.get(&keyspace, "a")).expect_err("given up");
    assert!(matches!(error, ReadError::SnapshotTooOld { .. }), "{error}");
    let error = writer.commit().expect_err("given up");
    assert!(matches!(error, CommitError::SnapshotTooOld { .. }), "{error}");
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn store_from_before_there_were_trees_opens_with_all_it_had() {
    use sombra::format::superblock::{SUPERBLOCK_COPY_BYTES, Superblock};
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Uring, 2);
    let db = open(&runtime, &dir, options());
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
    load((&db, &keyspace), 0..500, (0, 100));
    db.blocking().close().unwrap();
    // What version 0.1 leaves behind: no data file, and no feature that says there is one.
    std::fs::remove_file(dir.store().join("pages.sombra")).unwrap();
    let path = dir.store().join("superblock");
    let mut bytes = std::fs::read(&path).unwrap();
    for copy in bytes.chunks_exact_mut(SUPERBLOCK_COPY_BYTES) {
        let mut superblock = Superblock::decode(copy).unwrap();
        superblock.required_features = 0;
        let encoded = superblock.encode();
        copy[..encoded.len()].copy_from_slice(&encoded);
    }
    std::fs::write(&path, &bytes).unwrap();
    let db = open(&runtime, &dir, options());
    let snapshot = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    let rows: BTreeMap<_, _> =
        snapshot.scan(&keyspace_of(&db), ..).map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 500);
    assert!(rows.iter().all(|(key, _)| key.starts_with(b"key-")));
    assert!(dir.store().join("pages.sombra").exists());
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn keyspaces_beyond_the_root_table_are_refused_and_fit_once_another_is_dropped() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir, options());
    let create =
        |db: &Db, name: &str| db.blocking().create_keyspace(name, Routing::hash_tablets(8, 1024));
    let mut names = Vec::new();
    let refused = loop {
        let name = format!("k{}", names.len());
        match create(&db, &name) {
            Ok(keyspace) => {
                db.blocking().put(&keyspace, "a", name.clone()).unwrap();
                names.push(name);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, KeyspaceError::TableFull { tablets: 1024 }), "{refused}");
    assert!((8..16).contains(&names.len()), "{}", names.len());
    db.blocking().close().unwrap();
    let db = open(&runtime, &dir, options());
    for name in &names {
        let found = db.blocking().get(&db.keyspace(name).unwrap(), "a").unwrap();
        assert_eq!(found.as_deref(), Some(name.as_bytes()));
    }
    db.blocking().drop_keyspace(&db.keyspace("k0").unwrap()).unwrap();
    wait_for("its rows go", || create(&db, "again").is_ok());
    assert_eq!(db.poison_reason(), None);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn pages_of_a_dropped_keyspace_are_free_again_and_its_neighbour_keeps_its_own() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir, tight());
    let owned =
        |db: &Db| metric(db, "sombra_data_file_bytes") - metric(db, "sombra_data_free_bytes");
    let create = |name| db.blocking().create_keyspace(name, Routing::hash(4)).unwrap();
    let (stays, goes) = (create("stays"), create("goes"));
    load((&db, &stays), 0..1_000, (0, 400));
    let before = owned(&db);
    load((&db, &goes), 0..60_000, (0, 400));
    // 24 MB were written, of which the windows hold a third at most.
    let most = before + f64::from(8 << 20);
    wait_for("merges", || owned(&db) > most);
    db.blocking().drop_keyspace(&goes).unwrap();
    drop(goes);
    wait_for("its pages go", || owned(&db) < most);
    assert_eq!(db.poison_reason(), None);
    db.blocking().close().unwrap();
    let db = open(&runtime, &dir, tight());
    let stays = db.keyspace("stays").unwrap();
    for number in 0..1_000 {
        let found = db.blocking().get(&stays, key(number)).unwrap();
        assert_eq!(found.unwrap(), value(number, 0, 400));
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn scan_passes_over_many_keys_that_are_newer_than_its_snapshot() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir, options());
    for (name, routing) in [("range", Routing::range()), ("hash", Routing::hash_tablets(1, 1))] {
        let keyspace = db.blocking().create_keyspace(name, routing).unwrap();
        for key in ["a", "z"] {
            db.blocking().put(&keyspace, key, "old").unwrap();
        }
        let reader = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        load((&db, &keyspace), 0..10_001, (0, 10));
        let keys = |rows: Vec<(bytes::Bytes, bytes::Bytes)>| {
            rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let mut forward = keys(reader.scan(&keyspace, ..).map(Result::unwrap).collect());
        forward.sort_unstable();
        assert_eq!(forward, ["a", "z"], "{name}");
        let snapshot = runtime.block_on(async { db.snapshot() }).unwrap();
        assert_eq!(snapshot_rows(&runtime, &snapshot, &keyspace), 10_003, "{name}");
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

/// Rows counted forwards and backwards.
fn snapshot_rows(runtime: &Runtime, snapshot: &sombra::Snapshot, keyspace: &Keyspace) -> usize {
    let forward = runtime.block_on(snapshot.scan(keyspace, ..).collect()).unwrap();
    let reverse = runtime.block_on(snapshot.scan_reverse(keyspace, ..).collect()).unwrap();
    assert_eq!(forward.len(), reverse.len());
    forward.len()
}

#[test]
fn keyspace_that_is_dropped_at_once_gives_its_memory_back() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir, tight());
    for round in 0..8 {
        let name = format!("k{round}");
        let keyspace = db.blocking().create_keyspace(&name, Routing::hash_tablets(16, 4)).unwrap();
        load((&db, &keyspace), 0..4_000, (round, 400));
        db.blocking().drop_keyspace(&keyspace).unwrap();
    }
    let keyspace = db.blocking().create_keyspace("last", Routing::range()).unwrap();
    load((&db, &keyspace), 0..100, (0, 400));
    wait_for("windows are empty", || metric(&db, "sombra_window_bytes") < 500_000.0);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn tablets_give_back_the_room_that_their_merges_took_for_nothing() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    // A step of a merge may need 512 pages, so takes that many; these tablets need two.
    let options = Options { page_size_bytes: 32 << 10, ..tight() };
    let db = open(&runtime, &dir, options);
    let many = db.blocking().create_keyspace("many", Routing::hash_tablets(16, 8)).unwrap();
    load((&db, &many), 0..80, (0, 100));
    let hot = db.blocking().create_keyspace("hot", Routing::range()).unwrap();
    let extent = sombra::limits::EXTENT_BYTES as f64;
    let mut round = 0;
    // The log's bound lets every tablet that lags behind be merged.
    wait_for("every tablet is merged", || {
        load((&db, &hot), 0..1_000, (round, 2_000));
        round += 1;
        metric(&db, "sombra_merges_total") >= 9.0 && round > 10
    });
    let idle = ["sombra_merges_running", "sombra_data_waiting_bytes", "sombra_data_dropped_bytes"];
    let roots = f64::from(sombra::format::root_table::ROOT_EXTENTS) * extent;
    let mut free = 0.0;
    // Gauges are set one after the other, and a tick may begin one more merge.
    wait_for("nothing is merged and every extent is somebody's", || {
        let metrics = db.metrics();
        free = metrics.value("sombra_data_free_bytes");
        let held = roots + free + metrics.value("sombra_data_tablets_bytes");
        let is_idle = idle.iter().all(|name| metrics.value(name) == 0.0);
        is_idle && metrics.value("sombra_data_file_bytes") == held
    });
    db.blocking().close().unwrap();
    let store = dir.store();
    let checked = sombra::inspect::check(&runtime, &store, |_, _| ());
    let checked = runtime.block_on(checked).unwrap();
    assert_eq!(checked.tablets.iter().filter(|tablet| tablet.height > 0).count(), 9);
    let spare = f64::from(checked.free_extents) - free / extent;
    let kept_max = 9.0 * sombra::limits::EXTENTS_KEPT as f64;
    assert!((0.0..=kept_max).contains(&spare), "{spare} empty extents in 9 tablets");
    runtime.shutdown();
}
