//! Runtimes and directories for tests.

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use sombra::{Db, Keyspace, OpenError, Options, Routing};
use sombra_runtime::sim::{RunEnd, SimWorld};
use sombra_runtime::{DriverChoice, Runtime, RuntimeOptions};

/// A directory of one test, removed when the test ends.
pub(crate) struct TestDir(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl TestDir {
    pub(crate) fn new() -> TestDir {
        let name = format!("it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        TestDir(path)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl TestDir {
    /// A second place beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn runtime(driver: DriverChoice, shards: usize) -> Runtime {
    let options = RuntimeOptions { shards, driver, pin: false, ..Default::default() };
    Runtime::start(options).unwrap()
}

/// Small segments and no measuring, so that a test makes a store quickly.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        durability_method: Some(sombra::DurabilityMethod::RingFlush),
        metrics_file: false,
        scrub_bytes_per_second: 0,
        ..Options::default()
    }
}

pub(crate) fn open(runtime: &Runtime, dir: &TestDir) -> Db {
    runtime.block_on(Db::open(runtime, dir.store(), options())).unwrap()
}

/// Runs a test body on both real drivers.
pub(crate) fn on_both_drivers(test: impl Fn(DriverChoice)) {
    test(DriverChoice::Uring);
    test(DriverChoice::Threads);
}

/// Runs a client of a simulated machine to its end.
pub(crate) fn run_client<T: 'static>(
    world: &mut SimWorld,
    steps_max: u64,
    client: impl Future<Output = T> + 'static,
) -> T {
    let result = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&result);
    world.spawn_client("test", async move {
        *slot.borrow_mut() = Some(client.await);
    });
    let end = world.run(steps_max, || result.borrow().is_some());
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    result.borrow_mut().take().unwrap()
}

/// A store on the portable driver that is opened, damaged and opened again.
pub(crate) struct Bench {
    pub(crate) dir: TestDir,
    pub(crate) runtime: Runtime,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { dir: TestDir::new(), runtime: runtime(DriverChoice::Threads, 2) }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.store()
    }

    pub(crate) fn try_open(&self) -> Result<Db, OpenError> {
        self.try_open_at(&self.store())
    }

    pub(crate) fn try_open_at(&self, store: &Path) -> Result<Db, OpenError> {
        self.runtime.block_on(Db::open(&self.runtime, store, options()))
    }

    pub(crate) fn open(&self) -> (Db, Keyspace) {
        self.open_at(&self.store())
    }

    /// Opens the store and makes its one keyspace if it is not there.
    pub(crate) fn open_at(&self, store: &Path) -> (Db, Keyspace) {
        let db = self.try_open_at(store).unwrap_or_else(|error| panic!("{error}"));
        let keyspace = match db.keyspace("k") {
            Some(keyspace) => keyspace,
            None => db.blocking().create_keyspace("k", Routing::hash(4)).unwrap(),
        };
        (db, keyspace)
    }

    /// One opening that writes each key to itself, one log block each, and closes.
    pub(crate) fn write_and_close(&self, keys: &[&'static str]) {
        let (db, keyspace) = self.open();
        for &key in keys {
            db.blocking().put(&keyspace, key, key).unwrap();
        }
        db.blocking().close().unwrap();
    }

    /// Two openings that write a and b, then the first one's superblock back in its place;
    /// returns the newer one.
    pub(crate) fn with_older_superblock(&self) -> Vec<u8> {
        let path = self.store().join("superblock");
        self.write_and_close(&["a"]);
        let older = std::fs::read(&path).unwrap();
        self.write_and_close(&["b"]);
        let newer = std::fs::read(&path).unwrap();
        std::fs::write(&path, older).unwrap();
        newer
    }

    /// The keys that one opening finds, and what it reports.
    pub(crate) fn keys_and_close(&self) -> (Vec<String>, sombra::OpenReport) {
        let (db, keyspace) = self.open();
        let keys = keys(&db, &keyspace);
        let report = db.open_report();
        db.blocking().close().unwrap();
        (keys, report)
    }

    /// The error with which the store refuses to open; it must not have changed a byte.
    pub(crate) fn refusal(&self) -> OpenError {
        let before = crate::disk::contents(&self.store());
        let error = self.try_open().map(drop).expect_err("the store must not open");
        let after = crate::disk::contents(&self.store());
        crate::disk::assert_same(&before, &after);
        error
    }

    pub(crate) fn end(self) {
        self.runtime.shutdown();
    }
}

/// All keys of the keyspace, sorted.
pub(crate) fn keys(db: &Db, keyspace: &Keyspace) -> Vec<String> {
    let snapshot = db.blocking().begin_with(sombra::Isolation::Snapshot).unwrap();
    let rows = snapshot.scan(keyspace, ..).map(|row| row.unwrap().0);
    let mut keys: Vec<String> =
        rows.map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
    keys.sort();
    keys
}
