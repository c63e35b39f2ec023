//! Random reads of a file, as fast as this runtime can ask for them: no store, no pages, no keys.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use sombra_runtime::{DmaFile, IoClass, OpenHow, Runtime, Shard, ShardId, TaskClass, TaskSpec};

use crate::crowd::on_shard;
use crate::error::BenchError;
use crate::limits::{DISK_READ_DEPTH, DISK_UNIT_BYTES};
use crate::measure::{Recorder, Stop, Window};
use crate::progress::Progress;
use crate::random::Random;

use super::disk::{DiskRun, Stretch};

/// A file, and which of its 4 KiB units are read.
pub(crate) struct RawFile {
    runtime: Runtime,
    file: DmaFile,
    path: PathBuf,
    units: Range<u64>,
}

impl RawFile {
    pub(crate) fn new(
        runtime: &Runtime,
        (path, file): (&Path, DmaFile),
        first_byte: u64,
        len_bytes: u64,
    ) -> RawFile {
        let units = first_byte / DISK_UNIT_BYTES as u64..len_bytes / DISK_UNIT_BYTES as u64;
        assert!(!units.is_empty(), "{}: expected something to read", path.display());
        RawFile { runtime: runtime.clone(), file, path: path.to_path_buf(), units }
    }

    /// Opens a file for reading only, whoever else has it open.
    pub(crate) fn open(
        (runtime, progress): (&Runtime, &Progress),
        path: &Path,
        first_byte: u64,
        len_bytes: u64,
    ) -> Result<RawFile, BenchError> {
        let target = path.to_path_buf();
        let opened = on_shard(runtime, ShardId::new(0), progress, move |shard| async move {
            shard.open(&target, OpenHow::direct_read()).await
        });
        let failed = |source| BenchError::Io {
            path: path.to_path_buf(),
            operation: "open for reading",
            source,
        };
        let file = opened?.map_err(failed)?;
        Ok(RawFile::new(runtime, (path, file), first_byte, len_bytes))
    }

    /// Random 4 KiB reads, a fixed number of them in flight on one shard's ring.
    pub(crate) fn random_reads(&self, stretch: &Stretch) -> Result<DiskRun, BenchError> {
        stretch.begin("random reads");
        let (file, units, of_task) = (self.file.clone(), self.units.clone(), stretch.clone());
        let shard = ShardId::new(0);
        let run = on_shard(&self.runtime, shard, &stretch.progress, move |shard| async move {
            read_at_depth(&shard, (&file, units), of_task).await
        });
        let failed =
            |source| BenchError::Io { path: self.path.clone(), operation: "random read", source };
        run?.map_err(failed)
    }
}

async fn read_at_depth(
    shard: &Shard,
    (file, units): (&DmaFile, Range<u64>),
    stretch: Stretch,
) -> io::Result<DiskRun> {
    let window = Window::starting(shard.now(), stretch.warmup, stretch.measured);
    let recorder = Rc::new(RefCell::new(Recorder::new()));
    let failure = Rc::new(RefCell::new(None));
    for reader in 0..DISK_READ_DEPTH as u64 {
        let (shard_of_task, file, units) = (shard.clone(), file.clone(), units.clone());
        let until = (window, stretch.stop.clone());
        let (recorder, failure) = (Rc::clone(&recorder), Rc::clone(&failure));
        let task = async move {
            let random = Random::for_client(0xD15C, reader);
            let of_reader = (&file, units, random);
            let ended = read_stream(&shard_of_task, of_reader, until, &recorder);
            if let Err(error) = ended.await {
                *failure.borrow_mut() = Some(error);
            }
        };
        shard.spawn(TaskSpec::new("bench-read", TaskClass::Foreground), task);
    }
    // Every reader holds the recorder until it has ended.
    while Rc::strong_count(&recorder) > 1 {
        shard.sleep(Duration::from_millis(1)).await;
    }
    if let Some(error) = failure.take() {
        return Err(error);
    }
    let recorder = recorder.take();
    Ok(DiskRun { recorder, seconds: window.measured(shard.now()).as_secs_f64() })
}

async fn read_stream(
    shard: &Shard,
    (file, units, mut random): (&DmaFile, Range<u64>, Random),
    (window, stop): (Window, Stop),
    recorder: &RefCell<Recorder>,
) -> io::Result<()> {
    let mut buffer = shard.alloc_buffer(DISK_UNIT_BYTES);
    while shard.now() < window.end && !stop.is_requested() {
        let unit = units.start + random.below(units.end - units.start);
        let offset = unit * DISK_UNIT_BYTES as u64;
        let started = shard.now();
        let (returned, found) = shard.read_at(file, IoClass::Read, offset, buffer).await?;
        expect_full(DISK_UNIT_BYTES, found)?;
        buffer = returned;
        let done = shard.now();
        if window.counts(done) {
            let ns = done.saturating_since(started).as_nanos() as u64;
            recorder.borrow_mut().record(ns, ns);
        }
    }
    Ok(())
}

pub(super) fn expect_full(expected: usize, found: usize) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    let text = format!("expected {expected} bytes of the file, found {found}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}
