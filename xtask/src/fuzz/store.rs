//! A real store to take bytes from: made on a simulated disk, so that the same build makes the
//! same store. It has trees of both routings, values outside their leaves, a dropped keyspace,
//! several openings, and a log that was cut.

mod links;
mod pieces;

pub(super) use links::{Damage, Links};
pub(super) use pieces::{Page, Pieces};

use sombra::format::superblock::SuperblockCopy;
use sombra::{Db, Durability, DurabilityMethod, Isolation, Keyspace, Options, Routing};
use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::OnceLock;

/// Where the store lies on its disk.
pub(super) const STORE_DIR: &str = "/store";
pub(super) const DATA_FILE: &str = "/store/pages.sombra";
pub(super) const SUPERBLOCK_FILE: &str = "/store/superblock";
pub(super) const WAL_DIR: &str = "/store/wal/";
/// Steps of a world that one visit to the store may take.
pub(super) const STEPS_MAX: u64 = 2_000_000;
const SEED: u64 = 7;
const OPENINGS: u32 = 3;
const ROWS: u32 = 3_000;
const ROWS_PER_COMMIT: u32 = 50;
const SHORT_COMMITS: u32 = 40;

/// The store, closed.
pub(super) struct Store {
    pub(super) disk: SimDisk,
    /// Every file with its content.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Store {
    /// The one store of this process; made by the first who asks.
    pub(super) fn get() -> &'static Store {
        static STORE: OnceLock<Store> = OnceLock::new();
        STORE.get_or_init(Store::make)
    }

    fn make() -> Store {
        let disk = SimDisk::new(SimDiskOptions::new(SEED));
        for opening in 0..OPENINGS {
            let world = SimWorld::new(SimOptions::new(SEED + u64::from(opening), 2, disk.clone()));
            let runtime = world.runtime();
            visit(world, async move {
                let db = Db::open(&runtime, STORE_DIR, options()).await.expect("a sound disk");
                write(&db, opening).await;
                db.close().await.expect("a sound disk");
            })
            .expect("a sound disk");
        }
        let content = |path: String| {
            let bytes = disk.read_file(&path).expect("it is listed");
            (path, bytes)
        };
        let files = disk.files().into_iter().map(content).collect();
        Store { files, disk }
    }

    pub(super) fn file(&self, path: &str) -> &[u8] {
        let found = self.files.iter().find(|(found, _)| found == path);
        found.map_or(&[], |(_, bytes)| bytes)
    }

    /// One copy of the superblock, with what lies behind it in its first block.
    pub(super) fn superblock(&self, copy: SuperblockCopy) -> &[u8] {
        let at = usize::try_from(copy.offset()).expect("a small file");
        &self.file(SUPERBLOCK_FILE)[at..at + 4096]
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        let is_segment = |path: &str| path.starts_with(WAL_DIR) && path.ends_with(".log");
        self.files.iter().filter(move |(path, _)| is_segment(path))
    }
}

/// Runs one task in the world until it is done; why it is not, otherwise. Panics when a task of
/// the world does.
pub(super) fn visit<T: 'static>(
    mut world: SimWorld,
    task: impl Future<Output = T> + 'static,
) -> Result<T, String> {
    let answer = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&answer);
    world.spawn_client("visit", async move {
        let done = task.await;
        *slot.borrow_mut() = Some(done);
    });
    let end = world.run(STEPS_MAX, || answer.borrow().is_some());
    let described = if end == RunEnd::Done { String::new() } else { world.describe() };
    world.kill();
    let done = answer.borrow_mut().take();
    done.ok_or_else(|| format!("{end:?}: {described}"))
}

fn options() -> Options {
    Options {
        memory_bytes: sombra::limits::MEMORY_BYTES_MIN,
        segment_bytes: sombra::limits::SEGMENT_BYTES_MIN,
        log_bytes_max: 3 * sombra::limits::SEGMENT_BYTES_MIN,
        durability_method: Some(DurabilityMethod::RingFlush),
        metrics_file: false,
        ..Options::default()
    }
}

async fn write(db: &Db, opening: u32) {
    let hashed = keyspace(db, "hashed", Routing::hash_tablets(4, 3)).await;
    let ranged = keyspace(db, "ranged", Routing::range_split(["key-0001", "key-0002"])).await;
    let dropped = keyspace(db, "dropped", Routing::hash_tablets(1, 2)).await;
    db.put(&dropped, "gone", "soon").await.expect("a sound disk");
    db.drop_keyspace(&dropped).await.expect("a sound disk");
    for first in (0..ROWS).step_by(ROWS_PER_COMMIT as usize) {
        let transaction = db.begin_with(Isolation::Snapshot).expect("few transactions");
        transaction.durability(Durability::Async);
        for number in first..first + ROWS_PER_COMMIT {
            let key = format!("key-{number:06}");
            for keyspace in [&hashed, &ranged] {
                if number % 7 == opening && opening > 0 {
                    transaction.delete(keyspace, &key).expect("a small transaction");
                } else {
                    let value = value(number, opening);
                    transaction.put(keyspace, &key, value).expect("a small transaction");
                }
            }
        }
        transaction.commit().await.expect("a sound disk");
    }
    // Short records, of which one block holds several.
    for number in 0..SHORT_COMMITS {
        db.put(&ranged, format!("short-{number}"), "v").await.expect("a sound disk");
        db.delete(&hashed, format!("short-{number}")).await.expect("a sound disk");
    }
}

async fn keyspace(db: &Db, name: &str, routing: Routing) -> Keyspace {
    match db.keyspace(name) {
        Some(keyspace) => keyspace,
        None => db.create_keyspace(name, routing).await.expect("few keyspaces"),
    }
}

/// Mostly short, a few outside their leaf.
fn value(number: u32, opening: u32) -> Vec<u8> {
    let length = match number % 100 {
        0 => 9_000,
        1 => 1_500,
        _ => 20 + number as usize % 90,
    };
    format!("{number}/{opening}/").into_bytes().into_iter().cycle().take(length).collect()
}
