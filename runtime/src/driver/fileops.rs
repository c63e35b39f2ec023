//! Operations as blocking calls, for the pool's threads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, PosixFadviseAdvice, fallocate, posix_fadvise};

use crate::driver::{Op, OpDone, OpValue};
use crate::file::{
    Create, DirEntry, DirectAlignment, DmaFile, FileLock, FlushScope, LockKind, OpenHow,
};
use crate::limits::{DIRECTORY_ENTRIES_MAX, ZERO_CHUNK_BYTES};
use crate::probe;
use crate::runtime::Runtime;
use crate::sys;

/// Carries out one operation on the calling thread. Reads and writes may be short.
pub(crate) fn execute(op: Op, runtime: &Runtime) -> OpDone {
    match op {
        Op::Read { file, offset, mut buf, from, len } => {
            let part = &mut buf[from..from + len.min(runtime.short_io_bytes())];
            let result = retry(|| file.file().read_at(part, offset)).map(OpValue::Bytes);
            OpDone { result, buf: Some(buf.into()) }
        }
        Op::Write { file, offset, buf, from, len, mode } => {
            let part = &buf.as_bytes()[from..from + len.min(runtime.short_io_bytes())];
            let flags = mode.rwf_flags();
            let result = retry(|| sys::write_at(file.descriptor(), part, offset, flags));
            OpDone { result: result.map(OpValue::Bytes), buf: Some(buf) }
        }
        other => OpDone { result: execute_other(other, runtime), buf: None },
    }
}

fn execute_other(op: Op, runtime: &Runtime) -> io::Result<OpValue> {
    let unit = |()| OpValue::Unit;
    match op {
        Op::Read { .. } | Op::Write { .. } => panic!("reads and writes return their buffers"),
        Op::Flush { file, scope: FlushScope::Data, .. } => file.file().sync_data().map(unit),
        Op::Flush { file, scope: FlushScope::All, .. } => file.file().sync_all().map(unit),
        Op::Trim { file, offset, len } => trim(file.file(), offset, len).map(unit),
        Op::Open { path, how } => open(path, how, runtime).map(OpValue::File),
        Op::FileLen { file } => file_len(file.file()).map(OpValue::Len),
        Op::SetLen { file, len } => file.file().set_len(len).map(unit),
        Op::Allocate { file, offset, len } => allocate(file.file(), offset, len).map(unit),
        Op::DropCache { file } => drop_cache(file.file()).map(unit),
        Op::WriteZeroes { file, offset, len } => write_zeroes(file.file(), offset, len).map(unit),
        Op::ListDir { path } => list_dir(&path).map(OpValue::Dir),
        Op::CreateDir { path } => create_dir(&path).map(unit),
        Op::Rename { from, to } => rename(&from, &to).map(unit),
        Op::Symlink { target, path } => {
            std::os::unix::fs::symlink(&target, &path).and_then(|()| sync_parent(&path)).map(unit)
        }
        Op::Unlink { path } => fs::remove_file(&path).and_then(|()| sync_parent(&path)).map(unit),
        Op::Exists { path } => match fs::symlink_metadata(&path) {
            Ok(_) => Ok(OpValue::Bool(true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(OpValue::Bool(false)),
            Err(error) => Err(error),
        },
        Op::Lock { path, kind } => lock(&path, kind).map(OpValue::Lock),
        Op::ReplaceFile { path, content } => replace_file(&path, &content).map(unit),
        Op::DiskInfo { file } => {
            let info = probe::disk_info(file.file(), file.dio_alignment_bytes())?;
            Ok(OpValue::Disk(Box::new(info)))
        }
    }
}

/// Repeats a call that a signal interrupted before it did anything.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn open(path: PathBuf, how: OpenHow, runtime: &Runtime) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(how.read).write(how.write);
    match how.create {
        Create::No => {}
        Create::Yes => drop(options.create(true)),
        Create::New => drop(options.create_new(true)),
    }
    let mut flags = if how.direct { libc::O_DIRECT } else { 0 };
    if how.exclusive && fs::metadata(&path)?.file_type().is_block_device() {
        flags |= libc::O_EXCL;
    }
    options.custom_flags(flags);
    let file = options.open(&path).map_err(|error| explain_open(error, &path, how))?;
    let alignment = if how.direct {
        let bytes = probe::direct_alignment(&file, &path, how.read)?;
        DirectAlignment::Direct { bytes }
    } else {
        DirectAlignment::Buffered
    };
    if how.create != Create::No {
        file.sync_all()?;
        sync_parent(&path)?;
    }
    let file = DmaFile::real(file, path, alignment, runtime);
    Ok(if how.polled { file.asking_for_polling() } else { file })
}

/// A file system without direct I/O answers with a bare EINVAL; the caller needs the reason.
fn explain_open(error: io::Error, path: &Path, how: OpenHow) -> io::Error {
    if !how.direct || error.raw_os_error() != Some(libc::EINVAL) {
        return error;
    }
    if how.create == Create::New {
        // The kernel refuses O_DIRECT after it has created the file.
        let _ = fs::remove_file(path);
    }
    let text = format!("{}: the file system refuses O_DIRECT ({error})", path.display());
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Makes the names in the directory of `path` durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    File::open(path)?.sync_all()?;
    sync_parent(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)?;
    if parent_of(from) != parent_of(to) {
        sync_parent(from)?;
    }
    Ok(())
}

/// A block device has no length of its own, but an end.
fn file_len(mut file: &File) -> io::Result<u64> {
    let meta = file.metadata()?;
    if meta.file_type().is_block_device() {
        // Every read and write names its offset, so the position is nobody's.
        return file.seek(SeekFrom::End(0));
    }
    Ok(meta.len())
}

fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (file_place(offset)?, file_place(len)?);
    Ok(fallocate(file, FallocateFlags::empty(), offset, len)?)
}

fn drop_cache(file: &File) -> io::Result<()> {
    // Dirty pages stay in the cache unless they are written first.
    file.sync_data()?;
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

fn file_place(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Of a file: punches a hole and keeps the length. Of a block device: discards.
fn trim(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if file.metadata()?.file_type().is_block_device() {
        return sys::discard(file.as_fd(), offset, len);
    }
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(file, flags, file_place(offset)?, file_place(len)?)?)
}

fn write_zeroes(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let zeroes = vec![0u8; ZERO_CHUNK_BYTES.min(usize::try_from(len).unwrap_or(usize::MAX))];
    let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = offset;
    while at < end {
        let chunk = (end - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..chunk as usize], at)?;
        at += chunk;
    }
    Ok(())
}

fn list_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            let text = format!("{}: the name {name:?} is not UTF-8", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        if entries.len() == DIRECTORY_ENTRIES_MAX {
            let text = format!("{}: more than {DIRECTORY_ENTRIES_MAX} entries", path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let meta = match entry.metadata() {
            // Removed since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        entries.push(DirEntry { name, len_bytes: meta.len(), is_dir: meta.is_dir() });
    }
    entries.sort_unstable();
    Ok(entries)
}

fn lock(path: &Path, kind: LockKind) -> io::Result<FileLock> {
    let make = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(path)
    };
    let (file, how) = match kind {
        LockKind::Exclusive => (make()?, FlockArg::LockExclusiveNonblock),
        LockKind::Shared => {
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => make()?,
                opened => opened?,
            };
            (file, FlockArg::LockSharedNonblock)
        }
    };
    match Flock::lock(file, how) {
        Ok(flock) => {
            if kind == LockKind::Exclusive {
                sync_parent(path)?;
            }
            Ok(FileLock::real(flock))
        }
        Err((_, Errno::EWOULDBLOCK)) => Err(io::ErrorKind::WouldBlock.into()),
        Err((_, error)) => Err(error.into()),
    }
}

fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    let temporary = path.with_file_name(hidden);
    let replaced = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}
