use sombra_runtime::{DriverChoice, DriverKind, FlushVia, OpenHow, Runtime};

use crate::harness::{SHARD_0, Scratch, on_shard, options};

/// The kernel carries out no flush inline, so the ring of the shard has a worker afterwards,
/// which stays for some seconds. Its name says whose it is.
#[test]
fn flush_through_a_ring_shows_in_the_count_of_io_workers() {
    let scratch = Scratch::new("io_workers");
    let runtime = Runtime::start(options(DriverChoice::Auto)).unwrap();
    if runtime.driver_kind() != DriverKind::Uring {
        println!("skipped, there is no ring: {:?}", runtime.driver_note());
        return;
    }
    let path = scratch.path("file");
    let inner = runtime.clone();
    let (worker, count) = on_shard(&runtime, SHARD_0, |shard| async move {
        let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
        shard.flush(&file, FlushVia::Ring).await.unwrap();
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let worker = format!("iou-wrk-{}", thread.file_name().unwrap().to_str().unwrap());
        (worker, inner.io_workers())
    });
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    let is_there = names.flatten().any(|name| name.trim() == worker);
    assert!(is_there, "no thread is called {worker}");
    assert!(count.unwrap() >= 1);
    assert!(runtime.shutdown().is_clean());
}
