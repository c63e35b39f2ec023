//! What a host can do to a store: a clear error, or a loud fallback; the store is unharmed and
//! opens again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sombra::{
    CommitError, Db, Isolation, OpenError, OpenMode, Options, ReadError, Routing, WriteError,
    limits,
};
use sombra_runtime::{DriverChoice, DriverKind, Runtime, RuntimeOptions};

use crate::support::{Bench, TestDir, keys, open, options, runtime};
use crate::{child, disk};

#[test]
fn second_opener_in_another_process_is_refused_until_the_first_has_gone() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let mut holder = child::command(&[], "bad_input::child_holds_the_store", &bench.store());
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("HOLDING")));
    let error = bench.try_open().map(drop).unwrap_err();
    let OpenError::Locked { path, .. } = &error else { panic!("{error}") };
    assert_eq!(*path, bench.store().join("LOCK"));
    assert!(error.to_string().contains("another process"), "{error}");
    // Killed, not closed: the lock goes with the process, the commit stays.
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "from the child"]);
    bench.end();
}

#[test]
#[ignore = "runs in a child process of another test"]
fn child_holds_the_store() {
    let Some(store) = child::dir() else { return };
    let bench = Bench::new();
    let (db, keyspace) = bench.open_at(&store);
    db.blocking().put(&keyspace, "from the child", "v").unwrap();
    println!("HOLDING");
    std::io::stdout().flush().unwrap();
    // Nothing is ever written to it: the parent kills this process.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn full_disk_refuses_commits_with_the_reason_and_goes_on_when_there_is_room() {
    let dir = TestDir::new();
    let image = dir.beside("image");
    let mounts = dir.beside("mounts");
    fs::create_dir(&mounts).unwrap();
    let test = "bad_input::child_fills_its_disk";
    let ext4 = make_image(&image).map(|()| format!("-o loop '{}'", image.display()));
    for mount in [Ok("-t tmpfs -o size=24m none".to_owned()), ext4] {
        let wrapper = mount.and_then(|mount| child::mounted(&mount, &mounts));
        match wrapper {
            Ok(wrapper) => {
                let wrapper = wrapper.each_ref().map(String::as_str);
                child::run(child::command(&wrapper, test, &mounts));
            }
            Err(why) => println!("SKIPPED a full disk: {why}"),
        }
    }
}

fn make_image(path: &Path) -> Result<(), String> {
    fs::File::create(path).and_then(|file| file.set_len(28 << 20)).map_err(|e| e.to_string())?;
    match Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(path).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(child::text_of(&output)),
        Err(error) => Err(format!("mkfs.ext4: {error}")),
    }
}

#[test]
#[ignore = "runs in a child process of another test"]
fn child_fills_its_disk() {
    let Some(dir) = child::dir() else { return };
    let (store, ballast) = (dir.join("store"), dir.join("ballast"));
    let bench = Bench::new();
    let (db, keyspace) = bench.open_at(&store);
    db.blocking().put(&keyspace, "before", "v").unwrap();
    // Until the data file has grown ahead of need, or nothing but its reserve would be left.
    while db.metrics().value("sombra_data_free_bytes") < (5 << 20) as f64 {
        std::thread::yield_now();
    }
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 65_536]).is_ok() {}
    while file.write_all(&[0; 512]).is_ok() {}
    let mut stored = 0_u32;
    let put = |number: u32| db.blocking().put(&keyspace, number.to_be_bytes(), vec![7; 50_000]);
    let error = loop {
        match put(stored) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 200, "the disk is not full");
    };
    let CommitError::DiskFull { needed, reason } = &error else { panic!("{error}") };
    assert!((1 << 20..4 << 20).contains(needed), "{needed}");
    assert!(reason.contains("No space left"), "{reason}");
    assert!(stored > 0, "the segment that was there took commits");
    for number in 0..stored {
        let value = db.blocking().get(&keyspace, number.to_be_bytes()).unwrap();
        assert_eq!(value.map(|value| value.len()), Some(50_000));
    }
    assert_eq!(db.poison_reason(), None, "back-pressure, not poison");
    drop(file);
    fs::remove_file(&ballast).unwrap();
    // The next attempt may still hear of the last one's failure.
    while let Err(error) = put(stored) {
        assert!(matches!(error, CommitError::DiskFull { .. }), "{error}");
    }
    put(stored + 1).unwrap();
    db.blocking().close().unwrap();
    let (db, keyspace) = bench.open_at(&store);
    for number in 0..stored + 2 {
        assert!(db.blocking().get(&keyspace, number.to_be_bytes()).unwrap().is_some());
    }
    db.blocking().close().unwrap();
    refuse_to_be_opened_or_made_on_a_full_disk(&bench, &dir);
    bench.end();
}

fn refuse_to_be_opened_or_made_on_a_full_disk(bench: &Bench, dir: &Path) {
    let mut file = fs::File::create(dir.join("ballast")).unwrap();
    let (first, second) = (dir.join("store"), dir.join("second"));
    for store in [&first, &second] {
        // Segments made ahead serve a few openings that write.
        let refused = (0..8).find_map(|number: u32| {
            while file.write_all(&[0; 65_536]).is_ok() {}
            while file.write_all(&[0; 512]).is_ok() {}
            let db = match bench.try_open_at(store) {
                Ok(db) => db,
                Err(error) => return Some(error),
            };
            let keyspace = db.keyspace("k").unwrap();
            db.blocking().put(&keyspace, number.to_be_bytes(), "v").unwrap();
            db.blocking().close().map(|()| None).unwrap()
        });
        let error = refused.expect("the disk is full");
        let OpenError::DiskFull { path, .. } = &error else { panic!("{error}") };
        assert!(path.starts_with(store), "{error}");
        let before = disk::contents(store);
        assert!(bench.try_open_at(store).is_err());
        disk::assert_same(&before, &disk::contents(store));
    }
    drop(file);
    fs::remove_file(dir.join("ballast")).unwrap();
    for store in [&first, &second] {
        let (db, keyspace) = bench.open_at(store);
        db.blocking().put(&keyspace, "a", "b").unwrap();
        db.blocking().close().unwrap();
    }
}

#[test]
fn file_system_without_direct_io_is_refused_by_name() {
    let dir = TestDir::new();
    let mounts = dir.beside("mounts");
    fs::create_dir(&mounts).unwrap();
    match child::mounted("-t ramfs none", &mounts) {
        Ok(wrapper) => {
            let wrapper = wrapper.each_ref().map(String::as_str);
            let test = "bad_input::child_works_without_direct_io";
            child::run(child::command(&wrapper, test, &mounts));
        }
        Err(why) => println!("SKIPPED a file system without O_DIRECT: {why}"),
    }
}

#[test]
#[ignore = "runs in a child process of another test"]
fn child_works_without_direct_io() {
    let Some(dir) = child::dir() else { return };
    let bench = Bench::new();
    let store = dir.join("store");
    for _ in 0..2 {
        let error = bench.try_open_at(&store).map(drop).unwrap_err();
        let OpenError::Io { path, .. } = &error else { panic!("{error}") };
        assert!(path.starts_with(&store), "{error}");
        let text = error.to_string();
        assert!(text.contains("O_DIRECT") && text.contains(store.to_str().unwrap()), "{text}");
        assert!(!store.join("superblock").exists(), "nothing is left that counts");
    }
    bench.end();
}

/// `nobody`: what this process may do as root says nothing about permissions.
const NOBODY: u32 = 65_534;

#[test]
fn store_without_permission_is_refused_by_path_and_unharmed() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let test = "bad_input::child_has_no_permission";
    let mut command = child::command(&[], test, &bench.store());
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !is_root {
        return println!("SKIPPED no permission: only root can become somebody else");
    }
    command.uid(NOBODY).gid(NOBODY);
    let readable = Command::new("test")
        .arg("-x")
        .arg(std::env::current_exe().unwrap())
        .uid(NOBODY)
        .gid(NOBODY)
        .status();
    if !readable.is_ok_and(|status| status.success()) {
        return println!("SKIPPED no permission: nobody may not run this test binary");
    }
    let before = crate::disk::contents(&bench.store());
    child::run(command);
    crate::disk::assert_same(&before, &crate::disk::contents(&bench.store()));
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
#[ignore = "runs in a child process of another test"]
fn child_has_no_permission() {
    let Some(store) = child::dir() else { return };
    let runtime = runtime(DriverChoice::Threads, 1);
    let beside = store.with_file_name("new store");
    for path in [&store, &beside] {
        let error = runtime.block_on(Db::open(&runtime, path, options())).map(drop).unwrap_err();
        let OpenError::Io { path: named, source, .. } = &error else { panic!("{error}") };
        assert!(named.starts_with(path), "{error}");
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
    }
    runtime.shutdown();
}

#[test]
fn read_only_file_system_is_refused_by_path_and_the_store_unharmed() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let mounts = bench.dir.beside("mounts");
    fs::create_dir(&mounts).unwrap();
    let mount = format!("-o bind,ro '{}'", bench.store().display());
    match child::mounted(&mount, &mounts) {
        Ok(wrapper) => {
            let wrapper = wrapper.each_ref().map(String::as_str);
            let test = "bad_input::child_may_only_read";
            child::run(child::command(&wrapper, test, &mounts));
        }
        Err(why) => println!("SKIPPED a read-only file system: {why}"),
    }
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
#[ignore = "runs in a child process of another test"]
fn child_may_only_read() {
    let Some(store) = child::dir() else { return };
    let bench = Bench::new();
    let error = bench.try_open_at(&store).map(drop).unwrap_err();
    let OpenError::Io { path, source, .. } = &error else { panic!("{error}") };
    assert!(path.starts_with(&store), "{error}");
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    let read_only = Options { open_mode: OpenMode::ReadOnly, ..options() };
    let opened = Db::open(&bench.runtime, &store, read_only);
    let db = bench.runtime.block_on(opened).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(keys(&db, &db.keyspace("k").unwrap()), ["a"]);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn keys_and_values_over_their_limits_are_refused_by_number_and_the_transaction_goes_on() {
    let bench = Bench::new();
    let (db, keyspace) = bench.open();
    let db = db.blocking();
    let transaction = db.begin_with(Isolation::Snapshot).unwrap();
    let long_key = vec![b'k'; limits::KEY_BYTES_MAX + 1];
    let long_value = vec![b'v'; limits::VALUE_BYTES_MAX + 1];
    for key in [&long_key[..], b""] {
        let (expected, found) = (limits::KEY_BYTES_MAX, key.len());
        let error = WriteError::KeyLength { expected, found };
        assert_eq!(transaction.put(&keyspace, key, "v"), Err(error.clone()));
        assert_eq!(transaction.delete(&keyspace, key), Err(error.clone()));
        assert_eq!(db.put(&keyspace, key, "v"), Err(CommitError::Write(error)));
        let error = ReadError::KeyLength { expected, found };
        assert_eq!(transaction.get(&keyspace, key), Err(error.clone()));
        assert_eq!(db.get(&keyspace, key), Err(error));
    }
    let (expected, found) = (limits::VALUE_BYTES_MAX, long_value.len());
    let error = WriteError::ValueLength { expected, found };
    assert_eq!(transaction.put(&keyspace, "k", long_value), Err(error.clone()));
    assert!(error.to_string().contains("16777216"), "{error}");
    transaction.put(&keyspace, &long_key[1..], vec![b'v'; limits::VALUE_BYTES_MAX]).unwrap();
    transaction.commit().unwrap();
    for name in ["", &"n".repeat(limits::KEYSPACE_NAME_BYTES_MAX + 1)] {
        let error = db.create_keyspace(name, Routing::range()).unwrap_err();
        assert!(error.to_string().contains("1 to 255"), "{error}");
    }
    for routing in [
        Routing::hash(0),
        Routing::hash_tablets(4, 0),
        Routing::hash_tablets(4, limits::TABLETS_PER_KEYSPACE_MAX as u32 + 1),
        Routing::range_split(["b", "a"]),
        Routing::range_split([""]),
        Routing::range_split([long_key.clone()]),
    ] {
        let error = db.create_keyspace("other", routing).unwrap_err();
        assert!(error.to_string().contains("routing"), "{error}");
    }
    db.close().unwrap();
    let (db, keyspace) = bench.open();
    let value = db.blocking().get(&keyspace, &long_key[1..]).unwrap().unwrap();
    assert_eq!(value.len(), limits::VALUE_BYTES_MAX, "the largest of both comes back");
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn blocked_io_uring_falls_back_to_threads_with_a_note_and_the_store_works() {
    for errno in [1, 12, 38] {
        let dir = TestDir::new();
        let options = RuntimeOptions {
            shards: 2,
            pin: false,
            inject_uring_setup_errno: Some(errno),
            ..Default::default()
        };
        let runtime = Runtime::start(options.clone()).unwrap();
        assert_eq!(runtime.driver_kind(), DriverKind::Threads, "errno {errno}");
        let notes = runtime.driver_note().expect("a note");
        assert!(notes.contains("io_uring"), "errno {errno}: {notes:?}");
        let db = open(&runtime, &dir);
        let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
        db.blocking().put(&keyspace, "a", "b").unwrap();
        db.blocking().close().unwrap();
        let db = open(&runtime, &dir);
        assert_eq!(db.blocking().get(&keyspace, "a").unwrap().unwrap(), "b");
        db.blocking().close().unwrap();
        runtime.shutdown();
        // Whoever insists on the ring hears that there is none.
        let insisting = RuntimeOptions { driver: DriverChoice::Uring, ..options };
        let error = Runtime::start(insisting).map(drop).unwrap_err();
        assert!(error.to_string().contains("io_uring"), "{error}");
    }
}

#[test]
fn scan_of_a_range_that_ends_before_it_begins_is_empty_on_any_tablets() {
    let bench = Bench::new();
    let (db, hashed) = bench.open();
    let split = Routing::range_split(["g", "n", "t"]);
    let split = db.blocking().create_keyspace("split", split).unwrap();
    for keyspace in [&hashed, &split] {
        for letter in b'a'..=b'z' {
            db.blocking().put(keyspace, [letter], "v").unwrap();
        }
        let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        for (from, to) in [("u", "b"), ("h", "g"), ("n", "n"), ("zz", "a")] {
            let mut rows = transaction.scan(keyspace, from..to);
            assert!(rows.next().is_none(), "{from}..{to}");
        }
        assert_eq!(transaction.scan(keyspace, "g".."n").count(), 7);
        transaction.rollback();
    }
    db.blocking().close().unwrap();
    bench.end();
}
