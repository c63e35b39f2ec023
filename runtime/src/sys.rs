//! System calls that have no safe wrapper elsewhere, and small ones that belong together.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

pub(crate) fn eventfd_new() -> io::Result<OwnedFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags)?.into())
}

/// Cannot fail in a way that matters: a full counter is a bell that rings already.
pub(crate) fn eventfd_ring(bell: &OwnedFd) {
    let _ = nix::unistd::write(bell, &1u64.to_ne_bytes());
}

pub(crate) fn eventfd_drain(bell: &OwnedFd) {
    let _ = nix::unistd::read(bell, &mut [0u8; 8]);
}

/// Sleeps until the bell rings or the time has passed; a signal ends the sleep early.
pub(crate) fn wait_readable(bell: &OwnedFd, timeout: Option<Duration>) {
    let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
    let _ = ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None);
}

/// The monotonic clock as one number: two looks are taken for every operation, and `Instant`
/// spends as much on its arithmetic as the clock itself costs.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one timespec, which `time` is.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(code, 0, "every Linux has a monotonic clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The CPUs that the calling thread may run on, in order.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Restricts the calling thread to these CPUs.
pub(crate) fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

pub(crate) fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0u8; 32];
    // SAFETY: the pointer and length describe `seed`, which nothing else uses during the call.
    let count = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    match usize::try_from(count) {
        Ok(count) if count == seed.len() => Ok(seed),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A wish: without huge pages everything works, only slower. False: the kernel has none.
pub(crate) fn advise_huge_pages(start: NonNull<u8>, len_bytes: usize) -> bool {
    // SAFETY: MADV_HUGEPAGE changes no content and no mapping; on a range that is not a whole
    // mapping it fails without effect.
    let code = unsafe { libc::madvise(start.as_ptr().cast(), len_bytes, libc::MADV_HUGEPAGE) };
    code == 0
}

pub(crate) fn forbid_huge_pages(start: NonNull<u8>, len_bytes: usize) {
    // SAFETY: MADV_NOHUGEPAGE changes no content and no mapping; on a range that is not a whole
    // mapping it fails without effect.
    unsafe { libc::madvise(start.as_ptr().cast(), len_bytes, libc::MADV_NOHUGEPAGE) };
}

/// Makes every page of a mapping resident and writable, or tells why one cannot be.
pub(crate) fn populate(start: NonNull<u8>, len_bytes: usize) -> io::Result<()> {
    // SAFETY: MADV_POPULATE_WRITE faults pages in as a write would and changes no content; on
    // a range that is not mapped it fails without effect.
    let code =
        unsafe { libc::madvise(start.as_ptr().cast(), len_bytes, libc::MADV_POPULATE_WRITE) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tells a block device that the bytes are not needed any more (BLKDISCARD, ioctl_list(2)).
pub(crate) fn discard(device: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    /// `_IO(0x12, 119)`
    const BLKDISCARD: libc::Ioctl = 0x1277;
    let range = [offset, len];
    // SAFETY: BLKDISCARD reads two 64-bit numbers, which `range` is; it changes no memory.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes at an offset with flags of pwritev2(2). May write less than asked.
pub(crate) fn write_at(
    file: BorrowedFd<'_>,
    bytes: &[u8],
    offset: u64,
    flags: c_int,
) -> io::Result<usize> {
    let offset = libc::off64_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: `part` is one iovec over `bytes`, which is borrowed during the call; a write only
    // reads through it.
    let count = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, offset, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectIoAlignment {
    pub(crate) memory_bytes: u32,
    pub(crate) offset_bytes: u32,
}

/// What the file system says about direct I/O on this file; `None` if it says nothing.
pub(crate) fn direct_io_alignment(file: BorrowedFd<'_>) -> io::Result<Option<DirectIoAlignment>> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty C string, as AT_EMPTY_PATH wants, and `status` has room for
    // one statx.
    let code = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            status.as_mut_ptr(),
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, which is a valid statx, before the kernel filled it.
    let status = unsafe { status.assume_init() };
    let told = status.stx_mask & libc::STATX_DIOALIGN != 0 && status.stx_dio_offset_align != 0;
    Ok(told.then_some(DirectIoAlignment {
        memory_bytes: status.stx_dio_mem_align,
        offset_bytes: status.stx_dio_offset_align,
    }))
}
