//! INV-8 at the end of a runtime: what was given back is never written by the kernel again.

use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_channel::oneshot;
use sombra_runtime::{
    BufferPool, DriverChoice, IoClass, IoQueue, OpenHow, Runtime, RuntimeOptions, Span, TaskClass,
    TaskSpec,
};

use crate::harness::{SHARD_0, Scratch, options};
use crate::sys::reads_after_close;

const BLOCK: usize = 4096;
const READS: usize = 64;
const ROUNDS: usize = 200;
/// The kernel was seen writing 60 ms after a ring was closed.
const LATE: Duration = Duration::from_millis(300);

fn file_of_ones(scratch: &Scratch) -> PathBuf {
    let path = scratch.path("file");
    std::fs::write(&path, vec![1; READS * BLOCK]).unwrap();
    path
}

/// Shuts a runtime down with reads in flight. Returns the pool whose buffers they went to, and
/// how many operations the shutdown waited for.
fn shut_down_while_reading(path: &Path, options: RuntimeOptions) -> (BufferPool, usize) {
    let runtime = Runtime::start(options).unwrap();
    let (sender, receiver) = oneshot::channel();
    let path = path.to_owned();
    runtime.run_on(SHARD_0, move |shard| {
        let inner = shard.clone();
        shard.spawn(TaskSpec::new("reader", TaskClass::Foreground), async move {
            let pool = inner.add_buffer_pool(READS * BLOCK).unwrap();
            let how = OpenHow { polled: true, ..OpenHow::direct_read() };
            let file = inner.open(&path, how).await.unwrap();
            let queue = IoQueue::new(&inner, IoClass::Read, READS);
            for tag in 0..READS {
                let buf = pool.alloc(BLOCK).unwrap();
                let span = Span { offset: (tag * BLOCK) as u64, from: 0, len: BLOCK };
                queue.read(tag as u32, &file, span, buf).unwrap();
            }
            let _ = sender.send(pool);
            std::future::pending::<()>().await;
        });
    });
    let pool = runtime.block_on(receiver).unwrap();
    let report = runtime.shutdown();
    assert!(report.is_clean(), "{report:?}");
    (pool, report.operations_reaped)
}

fn no_buffer_is_written_after_shutdown(options: &RuntimeOptions) {
    let scratch = Scratch::new(&format!("late_writes_{:?}_{}", options.driver, options.shards));
    let path = file_of_ones(&scratch);
    let mut reaped = 0;
    let mut filled = Vec::new();
    for _ in 0..ROUNDS {
        let (pool, count) = shut_down_while_reading(&path, options.clone());
        reaped += count;
        let mut all = pool.alloc(READS * BLOCK).expect("every buffer came back");
        all.fill(0xa5);
        filled.push(all);
    }
    std::thread::sleep(LATE);
    for (round, buf) in filled.iter().enumerate() {
        assert!(buf.iter().all(|byte| *byte == 0xa5), "INV-8, round {round}");
    }
    // Without operations in flight the rounds would have shown nothing.
    assert!(reaped > ROUNDS, "only {reaped} operations were in flight in all");
}

#[test]
fn shutdown_lets_the_kernel_finish_before_buffers_are_free() {
    no_buffer_is_written_after_shutdown(&RuntimeOptions {
        shards: 1,
        ..options(DriverChoice::Uring)
    });
}

#[test]
fn shutdown_lets_the_second_ring_finish_before_buffers_are_free() {
    no_buffer_is_written_after_shutdown(&RuntimeOptions {
        shards: 2,
        inject_polled_ring_without_iopoll: true,
        ..options(DriverChoice::Uring)
    });
}

/// The control of the tests above: closing a ring does not wait for what is in flight.
#[test]
fn ring_closed_without_reaping_is_written_to_afterwards() {
    let scratch = Scratch::new("late_writes_raw");
    let path = file_of_ones(&scratch);
    let mut open = std::fs::OpenOptions::new();
    let file = open.read(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
    let late: usize = (0..20).map(|_| reads_after_close(file.as_fd(), READS, LATE / 10)).sum();
    assert!(late > 0, "no buffer was written after its ring was closed");
}
