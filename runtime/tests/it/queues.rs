//! `IoQueue` on both real drivers.

use std::collections::BTreeSet;

use sombra_runtime::{
    Create, FlushScope, FlushVia, IoClass, IoQueue, OpKind, OpenHow, Shard, ShardId, Span,
    WriteMode,
};

use crate::harness::{SHARD_0, Scratch, on_shard, pattern, with_each_driver, with_each_driver_and};

const BLOCK: usize = 4096;
const BLOCKS: u32 = 64;

fn span(block: u32) -> Span {
    Span { offset: u64::from(block) * BLOCK as u64, from: 0, len: BLOCK }
}

async fn read_all(shard: &Shard, path: std::path::PathBuf, direct: bool) {
    let how = if direct { OpenHow::direct_read() } else { OpenHow::buffered_read() };
    let file = shard.open(&path, how).await.unwrap();
    let queue = IoQueue::new(shard, IoClass::Read, BLOCKS as usize);
    for tag in 0..BLOCKS {
        queue.read(tag, &file, span(tag), shard.alloc_buffer(BLOCK)).unwrap();
    }
    assert_eq!(queue.in_flight() + queue.done(), BLOCKS as usize);
    let whole = pattern(BLOCK * BLOCKS as usize, 3);
    let mut seen = BTreeSet::new();
    while seen.len() < BLOCKS as usize {
        queue.wait(5).await;
        let left = BLOCKS as usize - seen.len();
        assert!(queue.done() >= left.min(5), "{} of {left} are there", queue.done());
        while let Some(done) = queue.take() {
            assert_eq!(done.result.unwrap(), BLOCK);
            let at = done.tag as usize * BLOCK;
            assert_eq!(done.buf.unwrap().as_bytes(), &whole[at..at + BLOCK]);
            assert!(done.times.queued_at <= done.times.submitted_at);
            assert!(done.times.submitted_at <= done.times.completed_at);
            assert!(seen.insert(done.tag), "each completes once");
        }
    }
    assert!(queue.take().is_none() && queue.in_flight() == 0);
}

#[test]
fn queue_gives_each_read_back_under_its_tag() {
    let scratch = Scratch::new("queue_reads");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK * BLOCKS as usize, 3)).unwrap();
    for direct in [true, false] {
        with_each_driver(|runtime| {
            let path = path.clone();
            on_shard(runtime, SHARD_0, move |shard| async move {
                read_all(&shard, path, direct).await;
            });
            // The numbers trail the shard by a turn.
            on_shard(runtime, SHARD_0, |_| async {});
            let metrics = &runtime.metrics()[SHARD_0.index()];
            let reads = metrics.op(IoClass::Read, OpKind::Read).unwrap();
            assert_eq!(reads.completed_ns.len(), u64::from(BLOCKS));
            let (whole, part) = (reads.completed_ns.max(), reads.submitted_ns.max());
            assert!(whole >= part && part > 0);
            assert!(metrics.op(IoClass::Read, OpKind::Write).is_none());
        });
    }
}

#[test]
fn queue_writes_flushes_and_trims_a_file() {
    let scratch = Scratch::new("queue_writes");
    let path = scratch.path("file");
    with_each_driver(|runtime| {
        let _ = std::fs::remove_file(&path);
        let inner = path.clone();
        on_shard(runtime, ShardId::new(1), move |shard| async move {
            let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
            let file = shard.open(&inner, how).await.unwrap();
            let queue = IoQueue::new(&shard, IoClass::Log, 4);
            for (tag, mode) in
                [WriteMode::Plain, WriteMode::Dsync, WriteMode::Sync].into_iter().enumerate()
            {
                let mut buf = shard.alloc_buffer(BLOCK);
                buf.fill(tag as u8 + 1);
                queue.write(tag as u32, &file, span(tag as u32), buf.into(), mode).unwrap();
                queue.wait(1).await;
                assert_eq!(queue.take().unwrap().result.unwrap(), BLOCK);
            }
            queue.flush(7, &file, FlushVia::Ring, FlushScope::All).unwrap();
            queue.flush(8, &file, FlushVia::Pool, FlushScope::Data).unwrap();
            queue.trim(9, &file, BLOCK as u64, BLOCK as u64).unwrap();
            queue.wait(usize::MAX).await;
            let mut tags: Vec<u32> = std::iter::from_fn(|| queue.take())
                .map(|done| {
                    assert_eq!(done.result.unwrap(), 0);
                    done.tag
                })
                .collect();
            tags.sort_unstable();
            assert_eq!(tags, [7, 8, 9]);
        });
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK, "trimming keeps the length");
        let expected = [1, 0, 3];
        for (block, byte) in bytes.chunks(BLOCK).zip(expected) {
            assert!(block.iter().all(|found| *found == byte), "{byte}");
        }
    });
}

#[test]
fn queue_dropped_in_flight_keeps_its_buffers_until_the_completions() {
    let scratch = Scratch::new("queue_dropped");
    let path = scratch.path("file");
    std::fs::write(&path, pattern(BLOCK, 1)).unwrap();
    let one_chunk =
        |options| sombra_runtime::RuntimeOptions { buffer_slab_bytes: BLOCK, ..options };
    with_each_driver_and(one_chunk, |runtime| {
        let path = path.clone();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_rw()).await.unwrap();
            let queue = IoQueue::new(&shard, IoClass::Read, 1);
            let buf = shard.alloc_buffer(BLOCK);
            let address = buf.as_ptr() as usize;
            queue.read(0, &file, span(0), buf).unwrap();
            drop(queue);
            let is_ring = shard.driver_kind() == sombra_runtime::DriverKind::Uring;
            let mut other = shard.alloc_buffer(BLOCK);
            // No turn has passed, so no completion was taken: the chunk is still the kernel's.
            assert!(!is_ring || other.as_ptr() as usize != address, "INV-8");
            other.fill(0xee);
            while shard.runtime().metrics()[0].class(IoClass::Read).completed == 0 {
                shard.yield_now().await;
            }
            assert!(other.iter().all(|byte| *byte == 0xee), "INV-8");
            let again = shard.alloc_buffer(BLOCK);
            assert!(!is_ring || again.as_ptr() as usize == address, "the completion frees it");
        });
    });
}
