//! What the device gives by itself: the reference that the store is measured against.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sombra::DurabilityMethod;
use sombra_runtime::{DmaBuf, DmaFile, FlushVia, IoBuf, IoClass, OpenHow, Runtime};
use sombra_runtime::{Shard, ShardId, WriteMode};

use crate::crowd::{Crowd, on_shard};
use crate::error::BenchError;
use crate::limits::{DISK_UNIT_BYTES, SCRATCH_BYTES, SCRATCH_CHUNK_BYTES, SCRATCH_DEPTH};
use crate::measure::{Recorder, Stop, Window};
use crate::progress::Progress;
use crate::random::Random;

use super::raw_reads::{RawFile, expect_full};

/// A file that was written fully and read once, on the store's file system.
#[derive(Clone)]
pub(crate) struct Scratch {
    runtime: Runtime,
    file: DmaFile,
    path: PathBuf,
}

/// One measurement of the device.
#[derive(Clone, Debug)]
pub(crate) struct DiskRun {
    pub(crate) recorder: Recorder,
    pub(crate) seconds: f64,
}

impl DiskRun {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn per_s(&self) -> f64 {
        self.recorder.count() as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// How long a measurement takes, and who may end it early.
#[derive(Clone)]
pub(crate) struct Stretch {
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    pub(crate) stop: Stop,
    pub(crate) progress: Progress,
}

impl Stretch {
    pub(crate) fn begin(&self, phase: &str) {
        self.progress.begin_timed(phase, self.warmup + self.measured);
    }
}

/// Only the progress bar believes in this.
const SCRATCH_TIME_EXPECTED: Duration = Duration::from_secs(3);
const UNITS: u64 = SCRATCH_BYTES / DISK_UNIT_BYTES as u64;
const CHUNKS: u64 = SCRATCH_BYTES / SCRATCH_CHUNK_BYTES as u64;
const _: () = assert!(SCRATCH_BYTES.is_multiple_of(SCRATCH_CHUNK_BYTES as u64 * SCRATCH_DEPTH));

impl Scratch {
    /// Writes the whole file with noise, flushes it, and reads it once.
    pub(crate) fn prepare(
        runtime: &Runtime,
        path: &Path,
        progress: &Progress,
    ) -> Result<Scratch, BenchError> {
        let target = path.to_path_buf();
        progress.begin_timed("prepare the scratch file", SCRATCH_TIME_EXPECTED);
        let made = on_shard(runtime, ShardId::new(0), progress, move |shard| async move {
            write_and_read_once(&shard, &target).await
        });
        let file = made?.map_err(|source| BenchError::Io {
            path: path.to_path_buf(),
            operation: "prepare the scratch file",
            source,
        })?;
        Ok(Scratch { runtime: runtime.clone(), file, path: path.to_path_buf() })
    }

    /// One stream of durable 4 KiB writes over the file, each after the last, made durable as
    /// the log's method does it. The stream spends an equal part of its time on each shard, so
    /// that it meets the same CPUs as what it is compared with.
    pub(crate) fn durable_writes(
        &self,
        method: DurabilityMethod,
        stretch: &Stretch,
    ) -> Result<DiskRun, BenchError> {
        let shards = self.runtime.shard_count();
        let mut whole = DiskRun { recorder: Recorder::new(), seconds: 0.0 };
        let mut part = stretch.clone();
        part.measured = stretch.measured / shards as u32;
        part.warmup = stretch.warmup / shards as u32;
        for index in 0..shards {
            part.begin("durable writes");
            let (file, of_task) = (self.file.clone(), part.clone());
            let shard = ShardId::new(index as u16);
            let run = on_shard(&self.runtime, shard, &part.progress, move |shard| async move {
                write_stream(&shard, &file, method, of_task).await
            });
            let run = run?.map_err(self.failed("durable write"))?;
            whole.recorder.merge(&run.recorder);
            whole.seconds += run.seconds;
        }
        Ok(whole)
    }

    /// Random 4 KiB reads, a fixed number of them in flight on one shard's ring.
    pub(crate) fn random_reads(&self, stretch: &Stretch) -> Result<DiskRun, BenchError> {
        let whole = RawFile::new(&self.runtime, (&self.path, self.file.clone()), 0, SCRATCH_BYTES);
        whole.random_reads(stretch)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> BenchError {
        let path = self.path.clone();
        move |source| BenchError::Io { path, operation, source }
    }
}

async fn write_and_read_once(shard: &Shard, path: &Path) -> io::Result<DmaFile> {
    let file = shard.open(path, OpenHow::create_new_direct()).await?;
    shard.set_len(&file, SCRATCH_BYTES).await?;
    let lanes = (0..SCRATCH_DEPTH).map(|lane| fill_lane(shard, &file, lane));
    Crowd::new(lanes).await.into_iter().collect::<io::Result<()>>()?;
    shard.flush(&file, FlushVia::Pool).await?;
    let lanes = (0..SCRATCH_DEPTH).map(|lane| read_lane(shard, &file, lane));
    Crowd::new(lanes).await.into_iter().collect::<io::Result<()>>()?;
    Ok(file)
}

async fn fill_lane(shard: &Shard, file: &DmaFile, lane: u64) -> io::Result<()> {
    let mut buffer = noise(SCRATCH_CHUNK_BYTES, lane);
    for chunk in (lane..CHUNKS).step_by(SCRATCH_DEPTH as usize) {
        let offset = chunk * SCRATCH_CHUNK_BYTES as u64;
        let class = IoClass::Maintenance;
        let written = shard.write_all_at(file, class, offset, buffer.into(), WriteMode::Plain);
        buffer = owned(written.await?)?;
    }
    Ok(())
}

async fn read_lane(shard: &Shard, file: &DmaFile, lane: u64) -> io::Result<()> {
    let mut buffer = DmaBuf::zeroed(SCRATCH_CHUNK_BYTES);
    for chunk in (lane..CHUNKS).step_by(SCRATCH_DEPTH as usize) {
        let offset = chunk * SCRATCH_CHUNK_BYTES as u64;
        let (returned, found) = shard.read_at(file, IoClass::Maintenance, offset, buffer).await?;
        expect_full(SCRATCH_CHUNK_BYTES, found)?;
        buffer = returned;
    }
    Ok(())
}

async fn write_stream(
    shard: &Shard,
    file: &DmaFile,
    method: DurabilityMethod,
    stretch: Stretch,
) -> io::Result<DiskRun> {
    let window = Window::starting(shard.now(), stretch.warmup, stretch.measured);
    let mut recorder = Recorder::new();
    let mut buffer = noise(DISK_UNIT_BYTES, 0);
    let mut unit = 0;
    while shard.now() < window.end && !stretch.stop.is_requested() {
        let offset = unit % UNITS * DISK_UNIT_BYTES as u64;
        let started = shard.now();
        buffer = write_durably(shard, file, (offset, buffer), method).await?;
        let done = shard.now();
        if window.counts(done) {
            let ns = done.saturating_since(started).as_nanos() as u64;
            recorder.record(ns, ns);
        }
        unit += 1;
    }
    Ok(DiskRun { recorder, seconds: window.measured(shard.now()).as_secs_f64() })
}

async fn write_durably(
    shard: &Shard,
    file: &DmaFile,
    (offset, buffer): (u64, DmaBuf),
    method: DurabilityMethod,
) -> io::Result<DmaBuf> {
    let (mode, flush) = match method {
        DurabilityMethod::Dsync => (WriteMode::Dsync, None),
        DurabilityMethod::RingFlush => (WriteMode::Plain, Some(FlushVia::Ring)),
        DurabilityMethod::PoolFlush => (WriteMode::Plain, Some(FlushVia::Pool)),
        DurabilityMethod::WriteThrough => (WriteMode::Plain, None),
    };
    let written = shard.write_all_at(file, IoClass::Log, offset, buffer.into(), mode).await?;
    if let Some(via) = flush {
        shard.flush(file, via).await?;
    }
    owned(written)
}

/// Bytes that no device can store for free, as it may zeros.
fn noise(len_bytes: usize, seed: u64) -> DmaBuf {
    let mut buffer = DmaBuf::zeroed(len_bytes);
    let mut random = Random::for_client(0x0A15E, seed);
    for word in buffer.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    buffer
}

fn owned(buffer: IoBuf) -> io::Result<DmaBuf> {
    buffer.into_owned().ok_or_else(|| io::Error::other("the write gave another buffer back"))
}
