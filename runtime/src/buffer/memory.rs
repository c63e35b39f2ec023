//! Where buffers get their memory from.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::{NonNull, null_mut};

use crate::limits::{BUFFER_ALIGN_BYTES, HUGE_PAGE_BYTES};
use crate::probe;
use crate::sys;

/// The pages behind a stretch of buffer memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePages {
    /// Out of the pages that the operator set aside (`vm.nr_hugepages`).
    HugeTlb,
    /// As the kernel finds them; it was asked to.
    Transparent,
    None,
}

fn pages_layout(len_bytes: usize) -> Layout {
    Layout::from_size_align(len_bytes, BUFFER_ALIGN_BYTES)
        .expect("INV-9: a buffer's size is far below isize::MAX")
}

/// Zeroed memory from the allocator, aligned for direct I/O, for `free_pages` to end.
pub(super) fn alloc_pages(len_bytes: usize) -> NonNull<u8> {
    let layout = pages_layout(len_bytes);
    assert!(layout.size() > 0);
    // SAFETY: the size was asserted to be above zero in the line before.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
///
/// `start` came from `alloc_pages` of the same length, and nothing uses the memory any more.
pub(super) unsafe fn free_pages(start: NonNull<u8>, len_bytes: usize) {
    // SAFETY: allocated by `alloc_pages` with this very layout, as the caller promises.
    unsafe { dealloc(start.as_ptr(), pages_layout(len_bytes)) }
}

/// Zero pages straight from the kernel, aligned for huge pages. Ordinary ones are not resident
/// before they are used for the first time, which an allocator does not promise: asked for
/// zeroed memory of this alignment, it writes the zeroes.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len_bytes: usize,
    /// What was mapped: the memory with room to align it.
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    pages: HugePages,
}

impl Mapping {
    /// Takes pages that the operator has set aside where they suffice for all of it.
    pub(crate) fn new(len_bytes: usize) -> io::Result<Mapping> {
        if len_bytes >= HUGE_PAGE_BYTES
            && let Ok(mapping) = Mapping::in_huge_pages(len_bytes)
        {
            return Ok(mapping);
        }
        let mut mapping = Mapping::plain(len_bytes)?;
        let is_advised = sys::advise_huge_pages(mapping.start, mapping.len_bytes);
        if is_advised && probe::has_transparent_huge_pages() {
            mapping.pages = HugePages::Transparent;
        }
        Ok(mapping)
    }

    /// Of small pages only: a part of a huge page counts as all of it against the memory lock
    /// limit.
    pub(crate) fn in_small_pages(len_bytes: usize) -> io::Result<Mapping> {
        let mapping = Mapping::plain(len_bytes)?;
        sys::forbid_huge_pages(mapping.start, mapping.len_bytes);
        Ok(mapping)
    }

    fn plain(len_bytes: usize) -> io::Result<Mapping> {
        let rounded = len_bytes.max(1).checked_next_multiple_of(BUFFER_ALIGN_BYTES);
        let padded = rounded.and_then(|len| len.checked_add(HUGE_PAGE_BYTES));
        let (Some(len_bytes), Some(mapped_bytes)) = (rounded, padded) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mapped = map(mapped_bytes, libc::MAP_NORESERVE)?;
        let skipped = mapped.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: `skipped` is below the alignment, by which the mapping is longer.
        let start = unsafe { mapped.add(skipped) };
        Ok(Mapping { start, len_bytes, mapped, mapped_bytes, pages: HugePages::None })
    }

    /// Without MAP_NORESERVE the pages are reserved here; they are also touched here, by the
    /// thread that will use them. A page that a control group then refuses is an error now and
    /// not a SIGBUS later. Source: mmap(2), madvise(2) `MADV_POPULATE_WRITE` (Linux 5.14).
    fn in_huge_pages(len_bytes: usize) -> io::Result<Mapping> {
        let rounded = len_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES);
        let mapped_bytes = rounded.ok_or(io::ErrorKind::InvalidInput)?;
        let len_bytes = len_bytes.next_multiple_of(BUFFER_ALIGN_BYTES);
        let mapped = map(mapped_bytes, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)?;
        let pages = HugePages::HugeTlb;
        let mapping = Mapping { start: mapped, len_bytes, mapped, mapped_bytes, pages };
        sys::populate(mapping.mapped, mapped_bytes)?;
        Ok(mapping)
    }

    pub(crate) fn pages(&self) -> HugePages {
        self.pages
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

fn map(len_bytes: usize, kind: libc::c_int) -> io::Result<NonNull<u8>> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | kind;
    // SAFETY: without a wished address and a file, the call only adds a mapping of its own.
    let mapped = unsafe { libc::mmap(null_mut(), len_bytes, rights, kind, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(mapped.cast::<u8>())
        .expect("the kernel maps nothing at address 0 unless asked to"))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is exactly the range that was mapped, `Mapping` is not `Clone`, and
        // whoever took a pointer into it holds the `Mapping`.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
    }
}

// SAFETY: a `Mapping` is plain memory without thread affinity; it gives out no references itself.
unsafe impl Send for Mapping {}
// SAFETY: its methods only copy the address and the length.
unsafe impl Sync for Mapping {}
