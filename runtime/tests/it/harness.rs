use std::future::Future;
use std::path::{Path, PathBuf};

use futures_channel::oneshot;
use sombra_runtime::{
    DriverChoice, DriverKind, Runtime, RuntimeOptions, Shard, ShardId, TaskClass, TaskSpec,
};

pub(crate) const SHARD_0: ShardId = ShardId::new(0);
pub(crate) const SHARD_1: ShardId = ShardId::new(1);

/// Two shards, not pinned: tests run beside each other.
pub(crate) fn options(driver: DriverChoice) -> RuntimeOptions {
    RuntimeOptions { shards: 2, driver, pin: false, ..RuntimeOptions::default() }
}

/// Runs `test` on a runtime of each real driver and shuts it down cleanly.
pub(crate) fn with_each_driver(test: impl Fn(&Runtime)) {
    with_each_driver_and(|options| options, test);
}

pub(crate) fn with_each_driver_and(
    change: impl Fn(RuntimeOptions) -> RuntimeOptions,
    test: impl Fn(&Runtime),
) {
    for (choice, kind) in
        [(DriverChoice::Threads, DriverKind::Threads), (DriverChoice::Uring, DriverKind::Uring)]
    {
        let runtime = Runtime::start(change(options(choice))).unwrap();
        assert_eq!(runtime.driver_kind(), kind);
        test(&runtime);
        let report = runtime.shutdown();
        assert!(report.is_clean(), "{kind:?}: {report:?}");
    }
}

/// Runs an asynchronous function as a task of a shard and returns its result.
pub(crate) fn on_shard<T, F, Fut>(runtime: &Runtime, shard: ShardId, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce(Shard) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (sender, receiver) = oneshot::channel();
    runtime.run_on(shard, move |shard| {
        let future = work(shard.clone());
        shard.spawn(TaskSpec::new("test", TaskClass::Foreground), async move {
            let _ = sender.send(future.await);
        });
    });
    runtime.block_on(receiver).expect("the task panicked: see its message above")
}

/// An empty directory of one test, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Scratch {
        let name = format!("{test}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes in which every position tells itself.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}
