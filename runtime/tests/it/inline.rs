//! The drivers that disks are measured with: system calls in place, and nothing at all.

use std::time::Duration;

use futures_channel::oneshot;
use sombra_runtime::{
    Create, DriverChoice, DriverKind, FlushScope, FlushVia, IoClass, IoQueue, OpenHow, Runtime,
    RuntimeOptions, Span, TaskClass, TaskSpec, WriteMode,
};

use crate::fallback::serve_one_page;
use crate::harness::{SHARD_0, SHARD_1, Scratch, on_shard, options, pattern};

const BLOCK: usize = 4096;

fn span(block: u64) -> Span {
    Span { offset: block * BLOCK as u64, from: 0, len: BLOCK }
}

fn start(driver: DriverChoice) -> Runtime {
    Runtime::start(options(driver)).unwrap()
}

#[test]
fn inline_driver_serves_files_and_each_operation_has_its_own_times() {
    let scratch = Scratch::new("inline_serves");
    let runtime = start(DriverChoice::Inline);
    assert_eq!(runtime.driver_kind(), DriverKind::Inline);
    serve_one_page(&runtime, &scratch);
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK * 32, 5)).unwrap();
    let times = on_shard(&runtime, SHARD_1, move |shard| async move {
        assert_eq!(shard.driver_kind(), DriverKind::Inline);
        let file = shard.open(&path, OpenHow::direct_rw()).await.unwrap();
        let queue = IoQueue::new(&shard, IoClass::Read, 32);
        for tag in 0..32 {
            queue.read(tag, &file, span(tag.into()), shard.alloc_buffer(BLOCK)).unwrap();
            assert_eq!(queue.done(), 0, "nothing completes while it is submitted");
        }
        queue.wait(usize::MAX).await;
        let whole = pattern(BLOCK * 32, 5);
        let mut times = Vec::new();
        while let Some(done) = queue.take() {
            assert_eq!((done.result.unwrap(), done.tag as usize), (BLOCK, times.len()));
            let at = times.len() * BLOCK;
            assert_eq!(done.buf.unwrap().as_bytes(), &whole[at..at + BLOCK]);
            times.push(done.times);
        }
        queue.flush(1, &file, FlushVia::Ring, FlushScope::All).unwrap();
        queue.wait(1).await;
        assert_eq!(queue.take().unwrap().result.unwrap(), 0);
        times
    });
    assert_eq!(times.len(), 32);
    for pair in times.windows(2) {
        assert!(pair[0].queued_at <= pair[1].queued_at);
        assert!(pair[0].completed_at <= pair[1].submitted_at, "one after the other");
    }
    assert!(times.iter().all(|one| one.queued_at <= one.submitted_at && one.submitted_ns() > 0));
    assert!(runtime.shutdown().is_clean());
}

/// What its descriptor cannot do is an error of the operation, as with a ring.
#[test]
fn inline_driver_hands_errors_and_buffers_back() {
    let scratch = Scratch::new("inline_errors");
    let runtime = start(DriverChoice::Inline);
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK, 5)).unwrap();
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
        let queue = IoQueue::new(&shard, IoClass::Log, 1);
        let buf = shard.alloc_buffer(BLOCK).into();
        queue.write(9, &file, span(0), buf, WriteMode::Dsync).unwrap();
        queue.wait(1).await;
        let done = queue.take().unwrap();
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(done.buf.unwrap().as_bytes().len(), BLOCK);
    });
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn null_driver_reports_full_lengths_and_leaves_the_file_alone() {
    let scratch = Scratch::new("null_file");
    let runtime = start(DriverChoice::Null);
    assert_eq!(runtime.driver_kind(), DriverKind::Null);
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK, 5)).unwrap();
    let inner = path.clone();
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
        let file = shard.open(&inner, how).await.unwrap();
        let mut buf = shard.alloc_buffer(BLOCK);
        buf.fill(7);
        let buf =
            shard.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Dsync).await.unwrap();
        let (buf, count) =
            shard.read_at(&file, IoClass::Read, 1 << 30, buf.into_owned().unwrap()).await.unwrap();
        assert!(count == BLOCK && buf.iter().all(|byte| *byte == 7));
        shard.flush(&file, FlushVia::Pool).await.unwrap();
        shard.trim(&file, IoClass::Merge, 0..BLOCK as u64).await.unwrap();
        assert_eq!(shard.file_len(&file).await.unwrap(), BLOCK as u64, "names are real");
    });
    assert!(runtime.shutdown().is_clean());
    assert_eq!(std::fs::read(&path).unwrap(), pattern(BLOCK, 5));
}

/// A shard that slept over its own completions would wait for the end of its longest sleep.
#[test]
fn shard_that_waits_for_such_completions_alone_does_not_sleep() {
    let scratch = Scratch::new("inline_wakes");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK, 5)).unwrap();
    for driver in [DriverChoice::Inline, DriverChoice::Null] {
        for idle_spin_us in [0, 50] {
            let options = RuntimeOptions { idle_spin_us, ..options(driver) };
            let runtime = Runtime::start(options).unwrap();
            let path = path.clone();
            let took = on_shard(&runtime, SHARD_0, move |shard| async move {
                let file = shard.open(&path, OpenHow::direct_read()).await.unwrap();
                let mut buf = shard.alloc_buffer(BLOCK);
                let began = shard.now();
                for _ in 0..500 {
                    (buf, _) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
                }
                shard.now().saturating_since(began)
            });
            assert!(took < Duration::from_secs(30), "{driver:?}: {took:?}");
            assert!(runtime.shutdown().is_clean());
        }
    }
}

/// Two tasks of one shard that never stop reading, and a third that wants to be heard.
#[test]
fn endless_inline_reads_leave_room_for_others() {
    let scratch = Scratch::new("inline_fair");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK, 5)).unwrap();
    let runtime = start(DriverChoice::Inline);
    for _ in 0..2 {
        let path = path.clone();
        runtime.run_on(SHARD_0, move |shard| {
            let inner = shard.clone();
            shard.spawn(TaskSpec::new("reader", TaskClass::Foreground), async move {
                let file = inner.open(&path, OpenHow::direct_read()).await.unwrap();
                let queue = IoQueue::new(&inner, IoClass::Read, 16);
                loop {
                    while queue.in_flight() < 16 {
                        let buf = inner.alloc_buffer(BLOCK);
                        queue.read(0, &file, span(0), buf).unwrap();
                    }
                    queue.wait(1).await;
                    while queue.take().is_some() {}
                }
            });
        });
    }
    for _ in 0..20 {
        on_shard(&runtime, SHARD_0, |shard| async move {
            shard.sleep(Duration::from_micros(100)).await;
        });
    }
    let report = runtime.shutdown();
    assert!(report.is_clean() && report.tasks_dropped == 2, "{report:?}");
}

#[test]
fn orphaned_queue_of_inline_writes_still_writes_and_shutdown_carries_out_the_rest() {
    let scratch = Scratch::new("inline_orphans");
    let path = scratch.path("file");
    std::fs::write(&path, vec![0; 2 * BLOCK]).unwrap();
    let runtime = start(DriverChoice::Inline);
    let inner = path.clone();
    let (sender, receiver) = oneshot::channel();
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&inner, OpenHow::direct_rw()).await.unwrap();
        let dropped = IoQueue::new(&shard, IoClass::Log, 1);
        let mut buf = shard.alloc_buffer(BLOCK);
        buf.fill(1);
        dropped.write(0, &file, span(0), buf.into(), WriteMode::Plain).unwrap();
        drop(dropped);
        shard.yield_now().await;
        let inner = shard.clone();
        shard.spawn(TaskSpec::new("writer", TaskClass::Foreground), async move {
            let queue = IoQueue::new(&inner, IoClass::Log, 1);
            let mut buf = inner.alloc_buffer(BLOCK);
            buf.fill(2);
            queue.write(0, &file, span(1), buf.into(), WriteMode::Plain).unwrap();
            let _ = sender.send(());
            std::future::pending::<()>().await;
        });
    });
    runtime.block_on(receiver).unwrap();
    let report = runtime.shutdown();
    assert!(report.is_clean(), "{report:?}");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes[..BLOCK].iter().all(|byte| *byte == 1));
    assert!(bytes[BLOCK..].iter().all(|byte| *byte == 2));
}

#[test]
fn files_need_not_be_registered_with_a_ring() {
    let scratch = Scratch::new("files_unregistered");
    let options = RuntimeOptions { register_files: false, ..options(DriverChoice::Uring) };
    let runtime = Runtime::start(options).unwrap();
    serve_one_page(&runtime, &scratch);
    assert!(runtime.shutdown().is_clean());
}
