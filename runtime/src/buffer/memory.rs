//! Where buffers get their memory from.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::{NonNull, null_mut};

use crate::limits::BUFFER_ALIGN_BYTES;
use crate::sys;

/// Memory of slabs is aligned for huge pages.
const MAPPING_ALIGN_BYTES: usize = 2 * 1024 * 1024;

/// A zeroed allocation that is freed with its owner.
pub(super) struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    pub(super) fn zeroed(len_bytes: usize, align_bytes: usize) -> Region {
        let layout = Layout::from_size_align(len_bytes, align_bytes)
            .expect("INV-9: a buffer's size is far below isize::MAX");
        assert!(layout.size() > 0);
        // SAFETY: the size was asserted to be above zero in the line before.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Region { start, layout }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout, in `zeroed`, which is
        // the only constructor, and `Region` is not `Clone`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: a `Region` is plain memory without thread affinity; it gives out no references itself.
unsafe impl Send for Region {}
// SAFETY: all its methods take `&mut self` or only copy the address.
unsafe impl Sync for Region {}

/// Zero pages straight from the kernel, aligned for huge pages. None of them is resident before
/// it is used for the first time, which an allocator does not promise: asked for zeroed memory
/// of this alignment, it writes the zeroes.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len_bytes: usize,
    /// What was mapped: the memory with room to align it.
    mapped: NonNull<u8>,
    mapped_bytes: usize,
}

impl Mapping {
    pub(crate) fn new(len_bytes: usize) -> io::Result<Mapping> {
        let rounded = len_bytes.max(1).checked_next_multiple_of(BUFFER_ALIGN_BYTES);
        let padded = rounded.and_then(|len| len.checked_add(MAPPING_ALIGN_BYTES));
        let (Some(len_bytes), Some(mapped_bytes)) = (rounded, padded) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: without a wished address and a file, the call only adds a mapping of its own.
        let mapped = unsafe { libc::mmap(null_mut(), mapped_bytes, rights, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped = NonNull::new(mapped.cast::<u8>())
            .expect("the kernel maps nothing at address 0 unless asked to");
        let skipped = mapped.as_ptr().align_offset(MAPPING_ALIGN_BYTES);
        // SAFETY: `skipped` is below the alignment, by which the mapping is longer.
        let start = unsafe { mapped.add(skipped) };
        sys::advise_huge_pages(start, len_bytes);
        Ok(Mapping { start, len_bytes, mapped, mapped_bytes })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is exactly the range that `new` mapped, `Mapping` is not `Clone`, and
        // whoever took a pointer into it holds the `Mapping`.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
    }
}

// SAFETY: a `Mapping` is plain memory without thread affinity; it gives out no references itself.
unsafe impl Send for Mapping {}
// SAFETY: its methods only copy the address and the length.
unsafe impl Sync for Mapping {}
