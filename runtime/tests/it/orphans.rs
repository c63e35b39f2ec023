use std::pin::pin;
use std::task::Poll;

use sombra_runtime::{
    DmaFile, IoClass, OpenHow, Runtime, RuntimeOptions, Shard, TaskClass, TaskSpec, WriteMode,
};

use crate::harness::{SHARD_0, Scratch, on_shard, pattern, with_each_driver, with_each_driver_and};

/// Polls a future once, which must leave it waiting, and drops it.
async fn poll_once_and_drop<F: Future>(future: F) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A slab of one chunk: whoever gets its address has the only slab buffer.
fn one_chunk(mut options: RuntimeOptions) -> RuntimeOptions {
    options.buffer_slab_bytes = 4096;
    options
}

async fn opened(shard: &Shard, path: std::path::PathBuf) -> DmaFile {
    shard.open(&path, OpenHow::direct_rw()).await.unwrap()
}

#[test]
fn read_dropped_in_flight_keeps_its_buffer_until_the_completion() {
    let scratch = Scratch::new("orphaned_read");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(4096, 1)).unwrap();
    with_each_driver_and(one_chunk, |runtime| {
        let path = path.clone();
        let is_ring = runtime.driver_kind() == sombra_runtime::DriverKind::Uring;
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = opened(&shard, path).await;
            let buf = shard.alloc_buffer(4096);
            let address = buf.as_ptr() as usize;
            poll_once_and_drop(shard.read_at(&file, IoClass::Read, 0, buf)).await;
            // No turn has passed, so no completion was taken: the chunk is still the kernel's.
            let mut other = shard.alloc_buffer(4096);
            if is_ring {
                assert_ne!(other.as_ptr() as usize, address, "INV-8");
            }
            other.fill(0xee);
            settle(&shard).await;
            assert!(other.iter().all(|byte| *byte == 0xee), "INV-8");
            if is_ring {
                let again = shard.alloc_buffer(4096);
                assert_eq!(again.as_ptr() as usize, address, "the completion frees the buffer");
            }
        });
    });
}

/// The control of the test above: what never reached the driver is free at once.
#[test]
fn read_dropped_before_its_first_poll_frees_its_buffer_at_once() {
    let scratch = Scratch::new("unpolled_read");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(4096, 1)).unwrap();
    with_each_driver_and(one_chunk, |runtime| {
        let path = path.clone();
        let is_ring = runtime.driver_kind() == sombra_runtime::DriverKind::Uring;
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = opened(&shard, path).await;
            let buf = shard.alloc_buffer(4096);
            let address = buf.as_ptr() as usize;
            drop(shard.read_at(&file, IoClass::Read, 0, buf));
            let again = shard.alloc_buffer(4096);
            assert!(!is_ring || again.as_ptr() as usize == address);
        });
    });
}

#[test]
fn write_dropped_in_flight_still_reaches_the_file() {
    let scratch = Scratch::new("orphaned_write");
    let path = scratch.path("file");
    with_each_driver(|runtime| {
        std::fs::write(&path, [0; 4096]).unwrap();
        let inner = path.clone();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = opened(&shard, inner).await;
            let mut buf = shard.alloc_buffer(4096);
            buf.copy_from_slice(&pattern(4096, 8));
            let write = shard.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Plain);
            poll_once_and_drop(write).await;
            settle(&shard).await;
        });
        assert_eq!(std::fs::read(&path).unwrap(), pattern(4096, 8));
    });
}

/// Waits until the shard's metrics, which trail by a turn, say that nothing is in flight and
/// as much completed as was submitted.
async fn settle(shard: &Shard) {
    loop {
        shard.yield_now().await;
        let metrics = &shard.runtime().metrics()[shard.id().index()];
        let idle = |class: &sombra_runtime::ClassMetrics| class.submitted == class.completed;
        if metrics.in_flight == 0 && metrics.classes.iter().all(idle) {
            return;
        }
    }
}

#[test]
fn shutdown_reaps_what_tasks_left_in_flight() {
    const READS: u64 = 64;
    let scratch = Scratch::new("shutdown_reads");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(4096 * READS as usize, 1)).unwrap();
    for choice in [sombra_runtime::DriverChoice::Uring, sombra_runtime::DriverChoice::Threads] {
        let runtime = Runtime::start(crate::harness::options(choice)).unwrap();
        let path = path.clone();
        let file =
            on_shard(&runtime, SHARD_0, move |shard| async move { opened(&shard, path).await });
        let (sender, receiver) = futures_channel::oneshot::channel();
        runtime.run_on(SHARD_0, move |shard| {
            let inner = shard.clone();
            let spec = TaskSpec::new("reader", TaskClass::Foreground);
            shard.spawn(spec, async move {
                let mut reads = Vec::new();
                for index in 0..READS {
                    let buf = inner.alloc_buffer(4096);
                    let (inner, file) = (inner.clone(), file.clone());
                    reads.push(Box::pin(async move {
                        inner.read_at(&file, IoClass::Read, index * 4096, buf).await
                    }));
                }
                std::future::poll_fn(|cx| {
                    for read in &mut reads {
                        assert!(read.as_mut().poll(cx).is_pending());
                    }
                    Poll::Ready(())
                })
                .await;
                let _ = sender.send(());
                std::future::pending::<()>().await;
            });
        });
        runtime.block_on(receiver).unwrap();
        let report = runtime.shutdown();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.tasks_dropped, 1);
        assert_eq!(runtime.shutdown(), report, "a second call tells the same");
        // The shard is gone; whoever sends it a job learns that from the job's destruction.
        let (sender, receiver) = futures_channel::oneshot::channel::<()>();
        runtime.run_on(SHARD_0, move |_| sender.send(()).unwrap());
        assert!(runtime.block_on(receiver).is_err());
    }
}
