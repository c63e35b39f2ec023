//! The probe that chooses how a log write becomes durable on the device under a store.
//!
//! No static choice is right: where a drive has power-loss protection `RWF_DSYNC` costs nothing,
//! on consumer drives a write and a flush are more than twice as fast.

use std::io;
use std::path::Path;
use std::time::Duration;

use sombra_runtime::{Create, DmaFile, FlushVia, IoClass, OpenHow, Shard, WriteCache, WriteMode};

use crate::format::BLOCK_SIZE_BYTES;
use crate::limits;
use crate::options::DurabilityMethod;

/// Measures the methods on a scratch file in `dir` and returns the fastest; one on the ring wins
/// within `METHOD_RING_ADVANTAGE_PERCENT`. A device with a write-through cache needs no flush.
///
/// # Errors
/// I/O on the scratch file. The file is removed.
pub(crate) async fn choose(shard: &Shard, dir: &Path) -> io::Result<DurabilityMethod> {
    let path = dir.join("probe.tmp");
    let outcome = measure(shard, &path).await;
    // The probe's answer stands whether or not its scratch file could be removed.
    let _ = shard.unlink(&path).await;
    outcome
}

async fn measure(shard: &Shard, path: &Path) -> io::Result<DurabilityMethod> {
    let len_bytes = (limits::METHOD_PROBE_WRITES * BLOCK_SIZE_BYTES) as u64;
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let plain = shard.open(path, how).await?;
    shard.write_zeroes(&plain, 0, len_bytes).await?;
    shard.flush(&plain, FlushVia::Pool).await?;
    drop(plain);
    let file = shard.open(path, OpenHow::direct_rw()).await?;
    if shard.disk_info(&file).await?.write_cache == WriteCache::WriteThrough {
        return Ok(DurabilityMethod::WriteThrough);
    }
    let dsync = median(shard, &file, DurabilityMethod::Dsync).await?;
    let ring = median(shard, &file, DurabilityMethod::RingFlush).await?;
    let pool = median(shard, &file, DurabilityMethod::PoolFlush).await?;
    tracing::debug!(?dsync, ?ring, ?pool, "durable write of one block, median");
    let on_ring = dsync.min(ring);
    let advantage = u128::from(100 + limits::METHOD_RING_ADVANTAGE_PERCENT);
    if pool.as_nanos() * advantage < on_ring.as_nanos() * 100 {
        return Ok(DurabilityMethod::PoolFlush);
    }
    Ok(if dsync <= ring { DurabilityMethod::Dsync } else { DurabilityMethod::RingFlush })
}

async fn median(shard: &Shard, file: &DmaFile, method: DurabilityMethod) -> io::Result<Duration> {
    let mut took = Vec::with_capacity(limits::METHOD_PROBE_WRITES);
    for index in 0..limits::METHOD_PROBE_WRITES {
        let begun = shard.now();
        durable_write(shard, file, (index * BLOCK_SIZE_BYTES) as u64, method).await?;
        took.push(shard.now().saturating_since(begun));
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// Writes one block of zeroes at `offset` and makes it durable by `method`.
async fn durable_write(
    shard: &Shard,
    file: &DmaFile,
    offset: u64,
    method: DurabilityMethod,
) -> io::Result<()> {
    let buffer = shard.alloc_buffer(BLOCK_SIZE_BYTES).into();
    let mode = match method {
        DurabilityMethod::Dsync => WriteMode::Dsync,
        _ => WriteMode::Plain,
    };
    shard.write_all_at(file, IoClass::Log, offset, buffer, mode).await?;
    match method {
        DurabilityMethod::RingFlush => shard.flush(file, FlushVia::Ring).await,
        DurabilityMethod::PoolFlush => shard.flush(file, FlushVia::Pool).await,
        DurabilityMethod::Dsync | DurabilityMethod::WriteThrough => Ok(()),
    }
}
