//! An allocator that keeps what is given back: once armed, it stamps large memory that anybody
//! frees and never hands it out again, so that whoever writes to it afterwards is found out, and
//! destroys nothing. Knows no executor.
#![expect(unsafe_code, reason = "an allocator is unsafe by its signature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::limits::{QUARANTINE_BLOCKS_MAX, QUARANTINE_BYTES_MIN};

/// Stands at the begin of each `STAMP_EVERY_BYTES` of what was given back. No byte of the file that
/// is read is one of these.
pub(crate) const STAMP: u8 = 0x5D;

/// The least that direct I/O moves. To stamp every byte takes so long that the kernel is done
/// meanwhile.
const STAMP_EVERY_BYTES: usize = 512;

pub(crate) struct Quarantine;

static IS_ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: [Block; QUARANTINE_BLOCKS_MAX] = [const { Block::new() }; QUARANTINE_BLOCKS_MAX];

struct Block {
    start: AtomicPtr<u8>,
    len_bytes: AtomicUsize,
}

impl Block {
    const fn new() -> Block {
        Block { start: AtomicPtr::new(std::ptr::null_mut()), len_bytes: AtomicUsize::new(0) }
    }
}

/// What is in quarantine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) blocks: usize,
    pub(crate) bytes: usize,
    /// What lies behind stamps that are gone.
    pub(crate) written_bytes: usize,
}

/// From here on nothing large is freed.
pub(crate) fn arm() {
    IS_ARMED.store(true, Ordering::SeqCst);
}

/// Looks at everything that was given back since.
pub(crate) fn inspect() -> Found {
    let blocks = COUNT.load(Ordering::SeqCst).min(QUARANTINE_BLOCKS_MAX);
    let (mut bytes, mut written_bytes) = (0, 0);
    for block in &BLOCKS[..blocks] {
        let start = block.start.load(Ordering::SeqCst);
        let len_bytes = block.len_bytes.load(Ordering::SeqCst);
        bytes += len_bytes;
        for index in (0..len_bytes).step_by(STAMP_EVERY_BYTES) {
            // SAFETY: `hold` stored the start of a block of that many bytes, or 0 bytes.
            let at = unsafe { start.add(index) };
            // SAFETY: `hold` has written this byte, and the block is never freed. The kernel may
            // write to it at this moment, hence volatile: any value is one to report.
            let byte = unsafe { at.read_volatile() };
            written_bytes += if byte == STAMP { 0 } else { STAMP_EVERY_BYTES };
        }
    }
    Found { blocks, bytes, written_bytes }
}

/// Takes the block in; false when there is no room left in the table.
fn hold(start: *mut u8, len_bytes: usize) -> bool {
    let Some(block) = BLOCKS.get(COUNT.fetch_add(1, Ordering::SeqCst)) else { return false };
    for index in (0..len_bytes).step_by(STAMP_EVERY_BYTES) {
        // SAFETY: the caller of `dealloc` gives up a block of that many bytes.
        let at = unsafe { start.add(index) };
        // SAFETY: as above, and nobody else in this process uses it any more.
        unsafe { at.write_volatile(STAMP) };
    }
    block.start.store(start, Ordering::SeqCst);
    block.len_bytes.store(len_bytes, Ordering::SeqCst);
    true
}

// SAFETY: as `System`, to which everything goes, but that some blocks are never freed.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promise on `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own promise on `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let is_large = layout.size() >= QUARANTINE_BYTES_MIN;
        if is_large && IS_ARMED.load(Ordering::SeqCst) && hold(start, layout.size()) {
            return;
        }
        // SAFETY: the caller's own promise: `start` came from here, that is from `System`.
        unsafe { System.dealloc(start, layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_written_after_it_was_freed_is_found() {
        arm();
        let mut freed = vec![1u8; QUARANTINE_BYTES_MIN + 1];
        let start = freed.as_mut_ptr();
        drop(freed);
        let bytes = QUARANTINE_BYTES_MIN + 1;
        assert_eq!(inspect(), Found { blocks: 1, bytes, written_bytes: 0 });
        // SAFETY: the block is in quarantine: it is still mapped, and nobody's.
        unsafe { start.write_bytes(7, 4096) };
        assert_eq!(inspect(), Found { blocks: 1, bytes, written_bytes: 4096 });
        drop(vec![1u8; QUARANTINE_BYTES_MIN - 1]);
        assert_eq!(inspect().blocks, 1);
    }
}
