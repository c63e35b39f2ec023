//! Files that ask for polled I/O: on what this host has, and on an ordinary ring that stands in
//! for the polling one, so that all but the device's part runs everywhere.

use futures_channel::oneshot;
use sombra_runtime::{
    Create, DmaFile, DriverChoice, FlushScope, FlushVia, IoClass, IoQueue, OpenHow, PolledState,
    RingReport, Runtime, RuntimeOptions, Shard, Span, TaskClass, TaskSpec, WriteMode,
};

use crate::harness::{SHARD_0, SHARD_1, Scratch, on_shard, options, pattern};

const BLOCK: usize = 4096;
const BLOCKS: u32 = 64;
const POLLED: OpenHow = OpenHow { polled: true, create: Create::Yes, ..OpenHow::direct_rw() };

fn stand_in() -> RuntimeOptions {
    RuntimeOptions { inject_polled_ring_without_iopoll: true, ..options(DriverChoice::Uring) }
}

fn ring_of(runtime: &Runtime, shard: usize) -> RingReport {
    runtime.driver_report().shards[shard].ring.clone().unwrap()
}

fn span(block: u32) -> Span {
    Span { offset: u64::from(block) * BLOCK as u64, from: 0, len: BLOCK }
}

/// Writes every block, flushes and reads all back, many at a time.
async fn write_flush_and_read(shard: &Shard, file: &DmaFile, seed: u64) {
    let whole = pattern(BLOCK * BLOCKS as usize, seed);
    let queue = IoQueue::new(shard, IoClass::Merge, BLOCKS as usize);
    for tag in 0..BLOCKS {
        let mut buf = shard.alloc_buffer(BLOCK);
        buf.copy_from_slice(&whole[tag as usize * BLOCK..][..BLOCK]);
        let mode = if tag % 2 == 0 { WriteMode::Plain } else { WriteMode::Dsync };
        queue.write(tag, file, span(tag), buf.into(), mode).unwrap();
    }
    queue.wait(usize::MAX).await;
    while let Some(done) = queue.take() {
        assert_eq!(done.result.unwrap(), BLOCK);
    }
    queue.flush(0, file, FlushVia::Ring, FlushScope::Data).unwrap();
    queue.wait(1).await;
    assert_eq!(queue.take().unwrap().result.unwrap(), 0, "flushes do not go to a polling ring");
    for tag in 0..BLOCKS {
        queue.read(tag, file, span(tag), shard.alloc_buffer(BLOCK)).unwrap();
    }
    queue.wait(usize::MAX).await;
    while let Some(done) = queue.take() {
        assert_eq!(done.result.unwrap(), BLOCK);
        let expected = &whole[done.tag as usize * BLOCK..][..BLOCK];
        assert_eq!(done.buf.unwrap().as_bytes(), expected);
        assert!(done.times.queued_at <= done.times.submitted_at);
        assert!(done.times.submitted_at <= done.times.completed_at);
    }
}

/// Where the device has no poll queues, as on most virtual machines, this is the refusal.
#[test]
fn file_that_asks_for_polling_is_polled_or_the_reason_is_told() {
    let scratch = Scratch::new("polled_here");
    let runtime = Runtime::start(options(DriverChoice::Uring)).unwrap();
    assert_eq!(ring_of(&runtime, 0).polled, PolledState::NotAsked);
    let path = scratch.path("file");
    let polled = on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, POLLED).await.unwrap();
        for seed in 0..3 {
            write_flush_and_read(&shard, &file, seed).await;
        }
        file.is_polled_on(SHARD_0)
    });
    match ring_of(&runtime, 0).polled {
        PolledState::Ready { .. } => {
            println!("polled here");
            assert!(polled);
        }
        PolledState::Refused { reason } => {
            println!("not polled here: {reason}");
            assert!(!polled && runtime.driver_note().unwrap().contains(&reason));
        }
        PolledState::NotAsked => panic!("it was asked for"),
    }
    assert_eq!(ring_of(&runtime, 1).polled, PolledState::NotAsked, "the other shard");
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn polled_file_is_served_by_the_second_ring_with_shared_buffers() {
    let scratch = Scratch::new("polled_stand_in");
    for register_files in [true, false] {
        let runtime = Runtime::start(RuntimeOptions { register_files, ..stand_in() }).unwrap();
        let before = ring_of(&runtime, 1).registered_bytes;
        assert!(before > 0 && ring_of(&runtime, 1).files_registered == register_files);
        let paths = [scratch.path("a"), scratch.path("b")];
        on_shard(&runtime, SHARD_1, move |shard| async move {
            let first = shard.open(&paths[0], POLLED).await.unwrap();
            let second = shard.open(&paths[1], POLLED).await.unwrap();
            let ordinary = shard.open(&paths[0], OpenHow::direct_rw()).await.unwrap();
            assert!(!first.is_polled_on(SHARD_1), "undecided before its first read");
            for seed in 0..5 {
                write_flush_and_read(&shard, &first, seed).await;
                write_flush_and_read(&shard, &second, seed).await;
                write_flush_and_read(&shard, &ordinary, seed).await;
            }
            assert!(first.is_polled_on(SHARD_1) && second.is_polled_on(SHARD_1));
            assert!(!ordinary.is_polled_on(SHARD_1) && !first.is_polled_on(SHARD_0));
        });
        let ring = ring_of(&runtime, 1);
        assert_eq!(ring.polled, PolledState::Ready { buffers_shared: true });
        assert_eq!(ring.registered_bytes, before, "shared memory is counted once");
        assert!(runtime.shutdown().is_clean());
    }
}

/// Places in the shared table change hands while the second ring knows them.
#[test]
fn second_ring_forgets_pools_that_are_gone() {
    let scratch = Scratch::new("polled_pools");
    let runtime = Runtime::start(stand_in()).unwrap();
    let path = scratch.path("file");
    std::fs::write(&path, pattern(2 * BLOCK, 4)).unwrap();
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, POLLED).await.unwrap();
        for round in 0..40 {
            let pools = [0; 3].map(|_| shard.add_buffer_pool(4 << 20).unwrap());
            let kept = pools[round % 3].clone();
            for pool in pools {
                let buf = pool.alloc(2 * BLOCK).unwrap();
                let (buf, count) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
                assert!(count == 2 * BLOCK && *buf == pattern(2 * BLOCK, 4), "round {round}");
            }
            assert_eq!(kept.registered_bytes(), 2 << 20);
        }
    });
    let ring = ring_of(&runtime, 0);
    assert_eq!(ring.polled, PolledState::Ready { buffers_shared: true });
    assert!(runtime.driver_note().is_none_or(|note| !note.contains("polled")));
    assert!(runtime.shutdown().is_clean());
}

/// Nothing was transferred, so nothing is proven: a device without poll queues says no later.
#[test]
fn read_at_the_end_of_a_file_decides_nothing() {
    let scratch = Scratch::new("polled_empty");
    let runtime = Runtime::start(stand_in()).unwrap();
    let path = scratch.path("file");
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, POLLED).await.unwrap();
        let buf = shard.alloc_buffer(BLOCK);
        let (buf, count) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
        assert!(count == 0 && !file.is_polled_on(SHARD_0));
        let write = shard.write_all_at(&file, IoClass::Log, 0, buf.into(), WriteMode::Plain);
        let buf = write.await.unwrap().into_owned().unwrap();
        assert!(!file.is_polled_on(SHARD_0), "a file system may wait for a write by itself");
        shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
        assert!(file.is_polled_on(SHARD_0));
    });
    assert!(runtime.shutdown().is_clean());
}

/// Where the device has no poll queues the first read, of a hole, seems to work.
#[test]
fn file_that_seemed_to_be_polled_is_served_on() {
    let scratch = Scratch::new("polled_hole");
    let runtime = Runtime::start(options(DriverChoice::Uring)).unwrap();
    let path = scratch.path("file");
    let mut whole = vec![0; 4 * BLOCK];
    whole.extend(pattern(BLOCK, 4));
    let sparse = std::fs::File::create(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &whole[4 * BLOCK..], 4 * BLOCK as u64)
        .unwrap();
    sparse.sync_all().unwrap();
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let file = shard.open(&path, POLLED).await.unwrap();
        for block in [0, 4, 4, 0, 4] {
            let (at, buf) = (block * BLOCK, shard.alloc_buffer(BLOCK));
            let read = shard.read_at(&file, IoClass::Read, at as u64, buf);
            let (buf, _) = read.await.unwrap();
            assert_eq!(*buf, whole[at..at + BLOCK], "block {block}");
        }
        write_flush_and_read(&shard, &file, 8).await;
    });
    let report = runtime.driver_report();
    let polled = report.shards[0].ring.as_ref().unwrap().polled.clone();
    println!("{polled:?}");
    assert!(polled != PolledState::NotAsked);
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn polling_needs_direct_io() {
    let scratch = Scratch::new("polled_buffered");
    let runtime = Runtime::start(options(DriverChoice::Threads)).unwrap();
    let path = scratch.path("file");
    on_shard(&runtime, SHARD_0, move |shard| async move {
        let refused = shard.open(&path, OpenHow { direct: false, ..POLLED }).await;
        assert_eq!(refused.err().unwrap().kind(), std::io::ErrorKind::InvalidInput);
        let file = shard.open(&path, POLLED).await.unwrap();
        write_flush_and_read(&shard, &file, 1).await;
        assert!(!file.is_polled_on(SHARD_0), "threads do not poll");
    });
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn shutdown_reaps_reads_in_flight_on_the_second_ring() {
    let scratch = Scratch::new("polled_shutdown");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK * BLOCKS as usize, 4)).unwrap();
    let mut reaped = 0;
    for options in [stand_in(), options(DriverChoice::Uring)] {
        for _ in 0..10 {
            let runtime = Runtime::start(options.clone()).unwrap();
            let (sender, receiver) = oneshot::channel();
            let path = path.clone();
            runtime.run_on(SHARD_0, move |shard| {
                let inner = shard.clone();
                shard.spawn(TaskSpec::new("reader", TaskClass::Foreground), async move {
                    let file = inner.open(&path, POLLED).await.unwrap();
                    let queue = IoQueue::new(&inner, IoClass::Read, BLOCKS as usize);
                    for tag in 0..BLOCKS {
                        queue.read(tag, &file, span(tag), inner.alloc_buffer(BLOCK)).unwrap();
                    }
                    let _ = sender.send(());
                    std::future::pending::<()>().await;
                });
            });
            runtime.block_on(receiver).unwrap();
            let report = runtime.shutdown();
            assert!(report.is_clean(), "{report:?}");
            reaped += report.operations_reaped;
        }
    }
    assert!(reaped > 0, "some were in flight");
}
