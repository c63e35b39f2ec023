//! The memory of the ring: `block_count` blocks in one allocation, aligned for direct I/O.
//!
//! The allocation is one block longer than asked for and the blocks are aligned within it: an
//! aligned zeroed allocation is filled by hand, this one comes zeroed from the kernel, page by
//! page as it is first used, so that opening a store does not touch the whole ring.

use super::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

pub(super) struct Storage {
    allocation: NonNull<u8>,
    layout: Layout,
    /// The first block, within `allocation`.
    blocks: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the allocation belongs to `Storage` alone, which has no thread affinity.
unsafe impl Send for Storage {}
// SAFETY: every access goes through an unsafe function whose caller vouches that no other thread
// accesses the same bytes in conflict.
unsafe impl Sync for Storage {}

/// Which blocks a `SealedBlocks` shows.
pub(super) struct Image {
    first_slot: usize,
    block_count: usize,
}

impl Storage {
    pub(super) fn new(block_count: usize) -> Self {
        let len_bytes = block_count.checked_mul(BLOCK_BYTES).expect("INV-9: a ring fits in memory");
        assert!(len_bytes > 0, "a ring has blocks");
        let padded_bytes =
            len_bytes.checked_add(BLOCK_BYTES).expect("INV-9: a ring fits in memory");
        let layout =
            Layout::from_size_align(padded_bytes, 1).expect("INV-9: a ring fits in memory");
        // SAFETY: the layout's size is not zero, as asserted.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(pointer) else { handle_alloc_error(layout) };
        let padding_bytes = pointer.align_offset(BLOCK_BYTES);
        assert!(padding_bytes < BLOCK_BYTES, "a byte pointer can be aligned");
        // SAFETY: less than one block further, within an allocation that is one block too long.
        let blocks = unsafe { allocation.add(padding_bytes) };
        Self { allocation, layout, blocks, len_bytes }
    }

    /// Address of `offset_bytes` in block `slot`, from where `len_bytes` lie within the block.
    fn address(&self, slot: usize, offset_bytes: usize, len_bytes: usize) -> *mut u8 {
        let in_block = offset_bytes + len_bytes <= BLOCK_BYTES;
        assert!(in_block, "{len_bytes} bytes at {offset_bytes} leave the block");
        let offset = slot * BLOCK_BYTES + offset_bytes;
        assert!(offset + len_bytes <= self.len_bytes, "slot {slot} is not in the ring");
        // SAFETY: the offset is inside the allocation, as asserted.
        unsafe { self.blocks.as_ptr().add(offset) }
    }

    /// # Safety
    /// No other thread accesses these payload bytes without an ordering to this call.
    pub(super) unsafe fn write_payload(&self, slot: usize, offset_bytes: usize, bytes: &[u8]) {
        let target = self.address(slot, BLOCK_HEADER_BYTES + offset_bytes, bytes.len());
        // SAFETY: `address` checked that the target is inside the ring; the caller excludes other
        // users of these bytes, so `bytes` cannot be part of them either.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// # Safety
    /// As `write_payload`.
    pub(super) unsafe fn zero_payload(&self, slot: usize, offset_bytes: usize, len_bytes: usize) {
        let target = self.address(slot, BLOCK_HEADER_BYTES + offset_bytes, len_bytes);
        // SAFETY: `address` checked that the target is inside the ring; the caller excludes other
        // users of these bytes.
        unsafe { std::ptr::write_bytes(target, 0, len_bytes) };
    }

    /// # Safety
    /// No other thread accesses this header without an ordering to this call.
    pub(super) unsafe fn write_header(&self, slot: usize, bytes: &[u8; BLOCK_HEADER_BYTES]) {
        let target = self.address(slot, 0, bytes.len());
        // SAFETY: `address` checked that the target is inside the ring; the caller excludes other
        // users of these bytes, so `bytes` cannot be part of them either.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// # Safety
    /// Nothing writes to this payload during the call.
    pub(super) unsafe fn with_payload<R>(&self, slot: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        let first = self.address(slot, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES);
        // SAFETY: `address` checked that the range is inside the ring, whose bytes are
        // initialised from the start; the caller excludes writers.
        look(unsafe { std::slice::from_raw_parts(first, BLOCK_PAYLOAD_BYTES) })
    }

    /// Loom alone can look; here the types are the proof.
    pub(super) fn check_unchanged(&self, _image: &Image) {}
}

impl Drop for Storage {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed here only.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

impl Image {
    pub(super) fn of(_storage: &Storage, first_slot: usize, block_count: usize) -> Self {
        Self { first_slot, block_count }
    }

    /// # Safety
    /// `storage` is the one of `of`, and nothing writes to these blocks while the result lives.
    pub(super) unsafe fn bytes<'s>(&'s self, storage: &'s Storage) -> &'s [u8] {
        let len_bytes = self.block_count * BLOCK_BYTES;
        let first = storage.address(self.first_slot, 0, BLOCK_BYTES);
        let offset = self.first_slot * BLOCK_BYTES;
        assert!(offset + len_bytes <= storage.len_bytes, "sealed blocks do not wrap");
        // SAFETY: the range is inside the allocation, as asserted, whose bytes are initialised
        // from the start; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(first, len_bytes) }
    }
}
