use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::file::{Create, FlushScope, FlushVia, IoClass, OpenHow, WriteMode};
use crate::task::{TaskClass, TaskSpec};
use crate::{DmaBuf, IoQueue, ShardId, Span};

const BLOCK: usize = 4096;

fn run(seed: u64) -> (SimDisk, Vec<SubmittedIo>) {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    disk.start_recording();
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    world.runtime().run_on(ShardId::new(0), move |shard| {
        let inner = shard.clone();
        shard.spawn(TaskSpec::new("stream", TaskClass::Foreground), async move {
            let how = OpenHow { create: Create::Yes, ..OpenHow::direct_rw() };
            let file = inner.open("/f".as_ref(), how).await.unwrap();
            let queue = IoQueue::new(&inner, IoClass::Log, 4);
            let block = |index: u64| Span { offset: index * BLOCK as u64, from: 0, len: BLOCK };
            for (index, mode) in
                [WriteMode::Plain, WriteMode::Dsync, WriteMode::Sync].into_iter().enumerate()
            {
                let mut buf = DmaBuf::zeroed(BLOCK);
                buf.fill(9);
                queue.write(0, &file, block(index as u64), buf.into(), mode).unwrap();
                queue.wait(1).await;
            }
            queue.trim(0, &file, BLOCK as u64, 8 * BLOCK as u64).unwrap();
            queue.wait(4).await;
            queue.flush(0, &file, FlushVia::Ring, FlushScope::Data).unwrap();
            queue.flush(0, &file, FlushVia::Pool, FlushScope::All).unwrap();
            queue.read(0, &file, block(2), DmaBuf::zeroed(BLOCK)).unwrap();
            queue.wait(7).await;
            while let Some(done) = queue.take() {
                done.result.unwrap();
            }
            finished.store(true, Ordering::Relaxed);
        });
    });
    let end = world.run(100_000, || done.load(Ordering::Relaxed));
    assert_eq!(end, RunEnd::Done, "{}", world.describe());
    world.kill();
    let recorded = disk.take_recording();
    (disk, recorded)
}

#[test]
fn recording_tells_kind_place_and_order_of_what_was_submitted() {
    let (disk, recorded) = run(5);
    use SubmittedKind::*;
    let kinds: Vec<_> = recorded.iter().map(|io| (io.kind, io.offset, io.len_bytes)).collect();
    let block = BLOCK as u64;
    let expected = [
        (Write, 0, block),
        (WriteDsync, block, block),
        (WriteSync, 2 * block, block),
        (Trim, block, 8 * block),
        (FlushData, 0, 0),
        (FlushAll, 0, 0),
        (Read, 2 * block, block),
    ];
    assert_eq!(kinds, expected);
    assert!(recorded.iter().all(|io| io.path == "f" && io.shard == 0));
    assert!(recorded.is_sorted_by_key(|io| io.at_ns));
    let counters = disk.counters();
    assert_eq!((counters.trims, counters.dsync_writes, counters.flushes), (1, 2, 2));
    let bytes = disk.read_file("/f").unwrap();
    assert_eq!(bytes.len(), 3 * BLOCK, "a trim makes nothing longer");
    assert!(bytes[..BLOCK].iter().all(|byte| *byte == 9));
    assert!(bytes[BLOCK..].iter().all(|byte| *byte == 0), "trimmed bytes read as zeroes");
}

#[test]
fn recording_of_the_same_seed_is_the_same() {
    assert_eq!(run(6).1, run(6).1);
    assert_ne!(run(6).1, run(7).1, "times differ with the seed");
}
