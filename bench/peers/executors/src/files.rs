//! The files of a job: how they are opened for executors that take flags or a `std::fs::File`, and
//! how they are brought into one state before pairs are measured.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use sombra_bench::disk::job::{Direction, Job, Mix, WriteSync};
use sombra_bench::disk::plan::{JobThread, Plan};
use sombra_bench::disk::run::{Filler, region_of};
use sombra_bench::disk::stream::Region;

use crate::AnyError;
use crate::limits::SETTLE_CHUNK_BYTES;

pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) flags: i32,
}

/// How fio opens a job's files.
pub(crate) fn access_of(job: &Job) -> Access {
    let write = job.pattern.mix.has(Direction::Write);
    let sync = match job.write_sync {
        WriteSync::None => 0,
        WriteSync::Sync => libc::O_SYNC,
        WriteSync::Dsync => libc::O_DSYNC,
    };
    let direct = if job.direct { libc::O_DIRECT } else { 0 };
    let read = !write || job.pattern.mix == Mix::ReadWrite;
    Access { read, write, flags: direct | if write { sync } else { 0 } }
}

pub(crate) fn open(job: &Job, path: &Path) -> Result<File, AnyError> {
    let Access { read, write, flags } = access_of(job);
    let opened = OpenOptions::new().read(read).write(write).custom_flags(flags).open(path);
    opened.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Where a thread works in each of its files, which are there. A job that goes through the page
/// cache finds nothing of them in it, unless it asks for that.
pub(crate) fn regions(thread: &JobThread) -> Result<Vec<Region>, AnyError> {
    let mut regions = Vec::with_capacity(thread.files.len());
    for planned in &thread.files {
        let mut file = File::open(&planned.path)
            .map_err(|error| format!("{}: {error}", planned.path.display()))?;
        let len = file.seek(SeekFrom::End(0))?;
        regions.push(region_of(planned, len)?);
        if thread.job.invalidate && !thread.job.direct {
            drop_cache(&file)?;
        }
    }
    Ok(regions)
}

/// Brings the files of a plan, which have their length, into the state that every run after the
/// first finds: those that are written are written fully, all are read once, nothing is cached.
pub(crate) fn settle(plan: &Plan) -> Result<(), AnyError> {
    for thread in plan.threads() {
        for (planned, region) in thread.files.iter().zip(regions(thread)?) {
            let path = &planned.path;
            let settled = settle_one(&thread.job, path, region, thread.seed);
            settled.map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn settle_one(job: &Job, path: &Path, region: Region, seed: u64) -> io::Result<()> {
    let is_device = path.metadata()?.file_type().is_block_device();
    let writes = job.pattern.mix.has(Direction::Write) && !is_device;
    let mut file = OpenOptions::new().read(true).write(writes).open(path)?;
    let mut chunk = vec![0; SETTLE_CHUNK_BYTES];
    if writes {
        let filler = Filler::new(job, seed);
        filler.prime(&mut chunk, 0);
        file.seek(SeekFrom::Start(region.offset))?;
        let mut left = region.len;
        while left > 0 {
            let len = left.min(SETTLE_CHUNK_BYTES as u64);
            filler.prepare(&mut chunk[..len as usize], region.offset, left);
            file.write_all(&chunk[..len as usize])?;
            left -= len;
        }
        file.sync_all()?;
    }
    drop_cache(&file)?;
    file.seek(SeekFrom::Start(region.offset))?;
    let mut left = region.len;
    while left > 0 {
        let len = left.min(SETTLE_CHUNK_BYTES as u64);
        file.read_exact(&mut chunk[..len as usize])?;
        left -= len;
    }
    drop_cache(&file)
}

fn drop_cache(file: impl AsFd) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}
