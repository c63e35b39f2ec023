//! System calls of the tests that have no safe wrapper.

use std::alloc::Layout;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Denies `io_uring_setup` to this process and all its threads.
pub(crate) fn deny_io_uring() {
    refuse(libc::SYS_io_uring_setup, libc::EPERM);
}

/// Lets each `fsync` of this process and all its threads fail as on a broken device;
/// `fdatasync`, which the log and the data file use, goes on.
pub(crate) fn fail_fsync() {
    refuse(libc::SYS_fsync, libc::EIO);
}

/// Answers a system call with an error, for good.
fn refuse(call: libc::c_long, errno: libc::c_int) {
    let load_number = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // The system call's number is the first field of seccomp_data.
    let mut filter = [
        instruction(load_number, 0, 0, 0),
        instruction(jump_if_equal, 0, 1, call as u32),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: this option takes four plain numbers.
    let code = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: `program` describes `filter`; the kernel copies both before it returns.
    let code = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &program,
        )
    };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
}

/// Reads as many pages with a ring of its own and closes it without waiting. Returns how many
/// were empty when the ring was closed and full after `wait`. The memory is never freed.
pub(crate) fn reads_after_close(file: BorrowedFd<'_>, count: usize, wait: Duration) -> usize {
    const PAGE: usize = 4096;
    let layout = Layout::from_size_align(count * PAGE, PAGE).unwrap();
    // SAFETY: the layout has a size above zero.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    assert!(!start.is_null());
    let mut ring = io_uring::IoUring::new(count as u32).unwrap();
    for index in 0..count {
        // SAFETY: `index` is below the number of pages that were allocated.
        let page = unsafe { start.add(index * PAGE) };
        let fd = io_uring::types::Fd(file.as_raw_fd());
        let read = io_uring::opcode::Read::new(fd, page, PAGE as u32);
        let entry = read.offset((index * PAGE) as u64).build();
        // SAFETY: the pages are never freed and no reference to them is ever made.
        unsafe { ring.submission().push(&entry) }.unwrap();
    }
    ring.submit().unwrap();
    drop(ring);
    let is_full = |index: usize| {
        let last = start.wrapping_add(index * PAGE + PAGE - 1);
        // SAFETY: inside the allocation, as `index` is below `count`; the kernel may write the
        // byte meanwhile, which a volatile read of a byte bears.
        unsafe { last.read_volatile() != 0 }
    };
    let empty: Vec<usize> = (0..count).filter(|index| !is_full(*index)).collect();
    std::thread::sleep(wait);
    empty.into_iter().filter(|index| is_full(*index)).count()
}
