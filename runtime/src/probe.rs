//! What the host allows, found out instead of assumed.

pub(crate) mod io_workers;
pub(crate) mod topology;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;

use crate::buffer::DmaBuf;
use crate::file::{DiskInfo, WriteCache};
use crate::limits::{BUFFER_ALIGN_BYTES, MEMORY_LIMIT_NONE};
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

/// Whether the kernel heeds a wish for huge pages; it accepts it even where it is told never to.
pub(crate) fn has_transparent_huge_pages() -> bool {
    let told = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    told.is_ok_and(|told| !told.contains("[never]"))
}

/// The least memory limit of the control groups that this process is in; `None` without any.
/// Source: cgroups(7), `memory.max` of version 2, `memory.limit_in_bytes` of version 1.
pub(crate) fn memory_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    memory_limit_below(Path::new("/sys/fs/cgroup"), &groups)
}

fn memory_limit_below(mount: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        least_limit(&root, group, file)
    });
    limits.min()
}

/// A group's limit is the least of its own and those of the groups around it.
fn least_limit(root: &Path, group: &str, file: &str) -> Option<u64> {
    let own = root.join(group.trim_start_matches('/'));
    let limit = |dir: &Path| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        text.trim().parse::<u64>().ok().filter(|&bytes| bytes < MEMORY_LIMIT_NONE)
    };
    own.ancestors().take_while(|dir| dir.starts_with(root)).filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limit_is_the_least_of_the_group_and_those_around_it() {
        let mount = std::env::temp_dir().join(format!("sombra-cgroup-{}", std::process::id()));
        let inner = mount.join("pod/box");
        fs::create_dir_all(&inner).unwrap();
        fs::write(mount.join("pod/memory.max"), "1000000\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        let of = |groups: &str| memory_limit_below(&mount, groups);
        assert_eq!(of("0::/pod/box\n"), Some(1_000_000), "the outer one counts");
        fs::write(inner.join("memory.max"), "999\n").unwrap();
        assert_eq!(of("0::/pod/box\n"), Some(999));
        assert_eq!(of("0::/elsewhere\n"), None);
        let old = mount.join("memory/pod");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("memory.limit_in_bytes"), "5000\n").unwrap();
        assert_eq!(of("3:cpu:/pod\n4:memory,hugetlb:/pod\n"), Some(5000));
        fs::write(old.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(of("4:memory:/pod\n"), None, "the old way to say unlimited");
        assert_eq!(of("garbage\n"), None);
        fs::remove_dir_all(&mount).unwrap();
    }
}
