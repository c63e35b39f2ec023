//! A job's files: made long enough before the run, and opened by each of its threads.

use std::io;
use std::path::{Path, PathBuf};

use sombra_runtime::{Create, DmaFile, FlushVia, IoClass, OpenHow, Shard, WriteMode};

use crate::crowd::Crowd;
use crate::disk::job::{Direction, Engine, Extent, Job, Mix, Preallocate};
use crate::disk::plan::{JobThread, PlannedFile};
use crate::disk::stream::Region;
use crate::limits::{DISK_LAYOUT_CHUNK_BYTES, DISK_LAYOUT_DEPTH};
use crate::measure::Stop;

use super::content;

/// Why a job's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {what}", path.display())]
    Io {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// Caller: give the job a `size`.
    #[error("{}: expected `size` for a file that is not there, found none", path.display())]
    NoSize { path: PathBuf },
    /// Caller: ask for less.
    #[error(
        "{}: the job needs {needed} bytes from {offset} on, the device has {found}",
        path.display()
    )]
    DeviceTooSmall { path: PathBuf, offset: u64, needed: u64, found: u64 },
    #[error("{}: no room for one request of {block} bytes in {found}", path.display())]
    RegionTooSmall { path: PathBuf, block: u64, found: u64 },
    /// Caller: larger blocks, or `direct=0`.
    #[error(
        "{}: direct I/O here needs multiples of {expected} bytes, found {found} ({option})",
        path.display()
    )]
    Alignment { path: PathBuf, option: &'static str, expected: u32, found: u64 },
}

impl FileError {
    /// The error number that reports give.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            FileError::Io { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                nix::libc::EOPNOTSUPP
            }
            FileError::Io { source, .. } => source.raw_os_error().unwrap_or(nix::libc::EIO),
            FileError::DeviceTooSmall { .. } => nix::libc::ENOSPC,
            _ => nix::libc::EINVAL,
        }
    }
}

/// A file that is open, and the part of it that the job works on.
#[derive(Clone, Debug)]
pub(super) struct JobFile {
    pub(super) file: DmaFile,
    pub(super) region: Region,
    /// Neither a device nor a stand-in: it may be unlinked.
    pub(super) is_regular: bool,
}

fn failed<'a>(path: &'a Path, what: &'static str) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io { path: path.to_owned(), what, source }
}

/// Stands in for a file where the engine touches none.
const NOTHING: &str = "/dev/null";

fn changes(job: &Job) -> bool {
    job.pattern.mix.has(Direction::Write) || job.pattern.mix.has(Direction::Trim)
}

/// Where the region of a file lies, given the file's length now.
///
/// # Errors
/// There is nothing to work on.
pub fn region_of(planned: &PlannedFile, len: u64) -> Result<Region, FileError> {
    let part = |extent: Extent| match extent {
        Extent::Bytes(bytes) => bytes,
        Extent::Percent(percent) => (u128::from(len) * u128::from(percent) / 100) as u64,
    };
    let offset = part(planned.offset);
    let len = match planned.size {
        Some(size @ Extent::Bytes(_)) => part(size),
        Some(size @ Extent::Percent(_)) => part(size).min(len.saturating_sub(offset)),
        None => len.saturating_sub(offset),
    };
    if len == 0 {
        return Err(FileError::NoSize { path: planned.path.clone() });
    }
    Ok(Region { offset, len })
}

/// Makes every file of a thread as long as the job needs it, before anything runs: a job that
/// reads finds data there, one that writes finds room.
///
/// Returns the devices among them that the job writes to.
pub(super) async fn prepare(
    shard: &Shard,
    thread: &JobThread,
    stop: &Stop,
) -> Result<Vec<PathBuf>, FileError> {
    let mut devices = Vec::new();
    if thread.job.engine == Engine::Null {
        return Ok(devices);
    }
    for planned in &thread.files {
        let is_device = prepare_one(shard, &thread.job, planned, stop).await?;
        if is_device && changes(&thread.job) {
            devices.push(planned.path.clone());
        }
    }
    Ok(devices)
}

/// Holds a device for as long as the file is open: nobody mounts it or claims it meanwhile.
pub(super) async fn claim(shard: &Shard, path: &Path) -> Result<DmaFile, FileError> {
    shard.open(path, OpenHow::exclusive_read()).await.map_err(failed(path, "hold the device"))
}

/// True: it is a block device.
async fn prepare_one(
    shard: &Shard,
    job: &Job,
    planned: &PlannedFile,
    stop: &Stop,
) -> Result<bool, FileError> {
    let path = &planned.path;
    let is_there = shard.path_exists(path).await.map_err(failed(path, "look"))?;
    let how = OpenHow { create: Create::No, ..OpenHow::buffered_read() };
    let mut len = 0;
    if is_there {
        let file = shard.open(path, how).await.map_err(failed(path, "open"))?;
        len = shard.file_len(&file).await.map_err(failed(path, "length"))?;
        let info = shard.disk_info(&file).await.map_err(failed(path, "look"))?;
        if info.is_block_device {
            let Region { offset, len: needed } = region_of(planned, len)?;
            if offset.saturating_add(needed) > len {
                let (path, found) = (path.clone(), len);
                return Err(FileError::DeviceTooSmall { path, offset, needed, found });
            }
            return Ok(true);
        }
    }
    let Region { offset, len: needed } = region_of(planned, len)?;
    let end = offset.saturating_add(needed);
    if len >= end {
        return Ok(false);
    }
    let has_data = job.overwrite || job.pattern.mix.has(Direction::Read);
    match has_data {
        true => lay_out(shard, path, (len, end), stop).await?,
        false => make_room(shard, job, path, end).await?,
    }
    Ok(false)
}

/// Writes noise over a range, in large requests side by side, and flushes it. A stop leaves the
/// file shorter.
async fn lay_out(
    shard: &Shard,
    path: &Path,
    range: (u64, u64),
    stop: &Stop,
) -> Result<(), FileError> {
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let file = shard.open(path, how).await.map_err(failed(path, "create"))?;
    let lanes = (0..DISK_LAYOUT_DEPTH).map(|lane| lay_out_lane(shard, &file, range, (lane, stop)));
    let written: io::Result<()> = Crowd::new(lanes).await.into_iter().collect();
    written.map_err(failed(path, "lay out"))?;
    shard.flush(&file, FlushVia::Pool).await.map_err(failed(path, "flush"))
}

/// Every `DISK_LAYOUT_DEPTH`-th request of a range.
async fn lay_out_lane(
    shard: &Shard,
    file: &DmaFile,
    (from, end): (u64, u64),
    (lane, stop): (usize, &Stop),
) -> io::Result<()> {
    let chunk = DISK_LAYOUT_CHUNK_BYTES as u64;
    let first = from + lane as u64 * chunk;
    let mut noise = vec![0; DISK_LAYOUT_CHUNK_BYTES];
    content::fill(&mut noise, lane as u64);
    for at in (first..end).step_by(DISK_LAYOUT_CHUNK_BYTES * DISK_LAYOUT_DEPTH) {
        if stop.is_requested() {
            break;
        }
        let len = (end - at).min(chunk) as usize;
        let mut buf = shard.alloc_buffer(len);
        buf.copy_from_slice(&noise[..len]);
        content::scramble(&mut buf, at);
        let class = IoClass::Maintenance;
        shard.write_all_at(file, class, at, buf.into(), WriteMode::Plain).await?;
    }
    Ok(())
}

/// Gives the file its length, with blocks reserved where the job and the file system want that.
async fn make_room(shard: &Shard, job: &Job, path: &Path, end: u64) -> Result<(), FileError> {
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let file = shard.open(path, how).await.map_err(failed(path, "create"))?;
    let room = match job.preallocate {
        Preallocate::None => return Ok(()),
        Preallocate::Native => shard.allocate(&file, 0..end).await,
        Preallocate::Truncate => shard.set_len(&file, end).await,
    };
    match room {
        // As with fio, a file system without reservation grows the file as it is written.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        room => room.map_err(failed(path, "reserve room")),
    }
}

/// Opens a thread's files as its job wants them.
pub(super) async fn open(shard: &Shard, thread: &JobThread) -> Result<Vec<JobFile>, FileError> {
    if thread.job.engine == Engine::Null {
        return open_nothing(shard, thread).await;
    }
    let mut files = Vec::with_capacity(thread.files.len());
    for planned in &thread.files {
        files.push(open_one(shard, &thread.job, planned).await?);
    }
    Ok(files)
}

async fn open_nothing(shard: &Shard, thread: &JobThread) -> Result<Vec<JobFile>, FileError> {
    let path = Path::new(NOTHING);
    let how = OpenHow::buffered_rw();
    let file = shard.open(path, how).await.map_err(failed(path, "open"))?;
    let of_job =
        PlannedFile { path: path.to_owned(), offset: Extent::Bytes(0), size: thread.job.size };
    let planned = if thread.files.is_empty() { vec![of_job] } else { thread.files.clone() };
    let opened = planned.iter().map(|planned| {
        let region = region_of(planned, 0)?;
        Ok(JobFile { file: file.clone(), region, is_regular: false })
    });
    opened.collect()
}

async fn open_one(shard: &Shard, job: &Job, planned: &PlannedFile) -> Result<JobFile, FileError> {
    let path = &planned.path;
    let writes = changes(job);
    let how = OpenHow {
        read: !writes || job.verify || job.pattern.mix == Mix::ReadWrite,
        write: writes,
        create: Create::No,
        direct: job.direct,
        // A device that is written to is held by the run, once for all of its threads.
        exclusive: false,
        polled: job.hipri && job.direct,
    };
    let file = shard.open(path, how).await.map_err(failed(path, "open"))?;
    let len = shard.file_len(&file).await.map_err(failed(path, "length"))?;
    let region = region_of(planned, len)?;
    check_region(job, path, region, file.dio_alignment_bytes())?;
    if job.invalidate && !job.direct {
        shard.drop_cache(&file).await.map_err(failed(path, "drop its cached pages"))?;
    }
    let info = shard.disk_info(&file).await.map_err(failed(path, "look"))?;
    Ok(JobFile { file, region, is_regular: !info.is_block_device })
}

fn check_region(job: &Job, path: &Path, region: Region, unit: u32) -> Result<(), FileError> {
    let used = Direction::ALL.into_iter().filter(|direction| job.pattern.mix.has(*direction));
    let block = used.map(|direction| job.block.of(direction).min_bytes()).max().unwrap_or(0);
    if region.len < block {
        let path = path.to_owned();
        return Err(FileError::RegionTooSmall { path, block, found: region.len });
    }
    let used = Direction::ALL.into_iter().filter(|direction| job.pattern.mix.has(*direction));
    let sizes = used.map(|direction| ("bs", job.block.of(direction).min_bytes()));
    for (option, found) in sizes.chain([("offset", region.offset)]) {
        if job.direct && !found.is_multiple_of(unit.into()) {
            let path = path.to_owned();
            return Err(FileError::Alignment { path, option, expected: unit, found });
        }
    }
    Ok(())
}
