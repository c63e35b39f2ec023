//! Runtimes and directories for tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sombra::{Db, Options};
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
