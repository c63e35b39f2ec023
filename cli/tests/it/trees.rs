//! Stores whose rows are in trees on disk, made through the engine, and a look into their files.

use std::fs;
use std::path::Path;

use sombra::inspect::{self, SpaceReport};
use sombra::{Db, Durability, Isolation, Keyspace, Options, Routing};
use sombra_runtime::{Runtime, RuntimeOptions};

use crate::harness::Scratch;

/// Rows of each keyspace: more than the windows of a small memory budget hold.
const ROWS: u32 = 20_000;
const VALUE_BYTES: usize = 400;
/// Openings after which rows must have been merged.
const REOPENINGS_MAX: usize = 50;
/// Byte of a page that says its kind, and the kinds.
const KIND_OFFSET: usize = 4;
pub(crate) const LEAF: u8 = 1;
pub(crate) const INNER: u8 = 2;
pub(crate) const OVERFLOW: u8 = 3;
pub(crate) const SPACE_MAP: u8 = 4;

pub(crate) fn runtime() -> Runtime {
    Runtime::start(RuntimeOptions { shards: 1, pin: false, ..Default::default() }).unwrap()
}

fn options() -> Options {
    Options {
        memory_bytes: 32 << 20,
        segment_bytes: 1 << 20,
        log_bytes_max: 32 << 20,
        metrics_file: false,
        ..Default::default()
    }
}

/// A store with the keyspaces `ranges` and `hashes`, most rows of which are in trees.
pub(crate) fn tree_store(scratch: &Scratch) -> String {
    let store = scratch.store();
    let runtime = runtime();
    let db = runtime.block_on(Db::open(&runtime, &store, options())).unwrap();
    let blocking = db.blocking();
    let split = Routing::range_split(["key-00010000"]);
    let ranges = blocking.create_keyspace("ranges", split).unwrap();
    let hashes = blocking.create_keyspace("hashes", Routing::hash_tablets(8, 3)).unwrap();
    for keyspace in [&ranges, &hashes] {
        fill(&db, keyspace);
    }
    runtime.block_on(db.close()).unwrap();
    for _ in 0..REOPENINGS_MAX {
        if has_every_kind(&store) {
            runtime.shutdown();
            return store;
        }
        // Replaying the log fills the windows again, and time lets merges publish their roots.
        let db = runtime.block_on(Db::open(&runtime, &store, options())).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        runtime.block_on(db.close()).unwrap();
    }
    panic!("rows did not get into trees");
}

fn has_every_kind(store: &str) -> bool {
    let has = |kind, least| pages_of_kind(store, kind).len() >= least;
    has(LEAF, 100) && has(INNER, 1) && has(OVERFLOW, 1) && has(SPACE_MAP, 1)
}

fn fill(db: &Db, keyspace: &Keyspace) {
    let blocking = db.blocking();
    for first in (0..ROWS).step_by(100) {
        // A transaction that waits for merges may lose its snapshot to them.
        let mut attempts = 0..100;
        loop {
            let transaction = blocking.begin_with(Isolation::Snapshot).unwrap();
            transaction.durability(Durability::Async);
            for number in first..first + 100 {
                let value = vec![number as u8; VALUE_BYTES];
                transaction.put(keyspace, format!("key-{number:08}"), value).unwrap();
            }
            if first == 0 {
                for (key, value) in odd_rows() {
                    transaction.put(keyspace, key, value).unwrap();
                }
            }
            match transaction.commit() {
                Ok(_) => break,
                Err(error) => assert!(attempts.next().is_some(), "{error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Keys and values at the bounds of what is allowed, or nearly.
pub(crate) fn odd_rows() -> Rows {
    let large: Vec<u8> = (0..1_u32 << 20).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    vec![
        (vec![0], Vec::new()),
        (vec![0, 255, 10, 9], b"binary\0key\n".to_vec()),
        (vec![255; 1_024], b"longest key".to_vec()),
        (b"empty".to_vec(), Vec::new()),
        (b"large".to_vec(), large),
    ]
}

/// Keys and values.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// All rows of all keyspaces, with their routing.
pub(crate) fn contents(store: &str) -> Vec<(String, Routing, Rows)> {
    let runtime = runtime();
    let options = Options { metrics_file: false, ..Default::default() };
    let db = runtime.block_on(Db::open(&runtime, store, options)).unwrap();
    let snapshot = db.snapshot().unwrap();
    let mut all = Vec::new();
    for keyspace in db.keyspaces() {
        let rows = runtime.block_on(snapshot.scan(&keyspace, ..).collect()).unwrap();
        let rows = rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
        all.push((keyspace.name().to_owned(), keyspace.routing().clone(), rows.collect()));
    }
    drop(snapshot);
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
    all
}

pub(crate) fn space(store: &str) -> SpaceReport {
    let runtime = runtime();
    let report = runtime.block_on(inspect::space(&runtime, Path::new(store))).unwrap();
    runtime.shutdown();
    report
}

/// Pages in use, by their number, whose first bytes say that they are of this kind.
pub(crate) fn pages_of_kind(store: &str, kind: u8) -> Vec<u64> {
    let report = space(store);
    let bytes = fs::read(pages_file(store)).unwrap();
    let page_size = report.page_size_bytes as usize;
    let per_extent = report.extent_bytes / u64::from(report.page_size_bytes);
    let tablets = report.data.unwrap().tablets;
    let extents = tablets.iter().flat_map(|tablet| &tablet.extents);
    let live = extents.flat_map(|extent| {
        let (first, live) = (u64::from(extent.extent) * per_extent, extent.live);
        (0..per_extent).filter(move |place| live >> place & 1 == 1).map(move |at| first + at)
    });
    let says_so = |page: &u64| {
        let at = *page as usize * page_size;
        let number = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
        bytes[at + KIND_OFFSET] == kind && number == *page
    };
    live.filter(says_so).collect()
}

pub(crate) fn pages_file(store: &str) -> String {
    format!("{store}/pages.sombra")
}

/// Flips one bit of a page.
pub(crate) fn flip(store: &str, page: u64, offset: usize) {
    let page_size = space(store).page_size_bytes as usize;
    let mut bytes = fs::read(pages_file(store)).unwrap();
    bytes[page as usize * page_size + offset] ^= 1;
    fs::write(pages_file(store), bytes).unwrap();
}
