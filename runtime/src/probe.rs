//! What the host allows, found out instead of assumed.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;

use crate::buffer::DmaBuf;
use crate::file::{DiskInfo, WriteCache};
use crate::limits::BUFFER_ALIGN_BYTES;
use crate::sys;

/// The alignment that direct I/O on an open file needs. Where the file system names none, a
/// page is assumed and a read tries it.
pub(crate) fn direct_alignment(file: &File, path: &Path, readable: bool) -> io::Result<u32> {
    let bytes = match sys::direct_io_alignment(file.as_fd())? {
        Some(told) => told.offset_bytes.max(told.memory_bytes),
        None => {
            if readable {
                try_direct_read(file, path)?;
            }
            BUFFER_ALIGN_BYTES as u32
        }
    };
    if !bytes.is_power_of_two() || bytes as usize > BUFFER_ALIGN_BYTES {
        let text = format!(
            "{}: O_DIRECT needs an alignment of {bytes} bytes, supported is {BUFFER_ALIGN_BYTES}",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(bytes)
}

fn try_direct_read(file: &File, path: &Path) -> io::Result<()> {
    let mut buf = DmaBuf::zeroed(BUFFER_ALIGN_BYTES);
    file.read_at(&mut buf, 0).map(|_| ()).map_err(|error| {
        let text = format!("{}: a read with O_DIRECT of one page fails: {error}", path.display());
        io::Error::new(io::ErrorKind::Unsupported, text)
    })
}

pub(crate) fn disk_info(file: &File, dio_alignment_bytes: u32) -> io::Result<DiskInfo> {
    let meta = file.metadata()?;
    let is_device = meta.file_type().is_block_device();
    let device = if is_device { meta.rdev() } else { meta.dev() };
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let (kind, free_bytes) = if is_device {
        ("block device".to_owned(), 0)
    } else {
        let space = fstatvfs(file)?;
        let free_bytes = space.blocks_available().saturating_mul(space.fragment_size());
        (format!("fs {:#x}", fstatfs(file)?.filesystem_type().0), free_bytes)
    };
    Ok(DiskInfo {
        identity: format!("{major}:{minor} {kind}"),
        write_cache: write_cache(major, minor),
        free_bytes,
        dio_alignment_bytes,
        is_block_device: is_device,
    })
}

/// What the block device reports; a file system over several devices has none to ask.
fn write_cache(major: u64, minor: u64) -> WriteCache {
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has no queue of its own; its disk is the directory above.
    let told = fs::read_to_string(format!("{device}/queue/write_cache"))
        .or_else(|_| fs::read_to_string(format!("{device}/../queue/write_cache")));
    match told.as_deref().map(str::trim) {
        Ok("write through") => WriteCache::WriteThrough,
        Ok("write back") => WriteCache::WriteBack,
        _ => WriteCache::Unknown,
    }
}

/// The reason for an operator why a ring could not be had.
pub(crate) fn explain_ring_error(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp or container policy, or sysctl kernel.io_uring_disabled, forbids it"
        }
        Some(libc::ENOSYS) => "the kernel has no io_uring, or a seccomp policy hides it",
        Some(libc::ENOMEM) => "RLIMIT_MEMLOCK is too small for a ring",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptors are left",
        _ => "the kernel refuses this io_uring",
    };
    format!("{error}: {hint}")
}
