//! The memory of the ring under loom: words whose every access loom checks for a data race.

use super::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES};
use loom::cell::UnsafeCell;

const WORD_BYTES: usize = 8;
const PAYLOAD_WORDS: usize = BLOCK_PAYLOAD_BYTES / WORD_BYTES;

pub(super) struct Storage {
    blocks: Box<[Block]>,
}

// SAFETY: loom panics in a model whose accesses to a cell are not ordered.
unsafe impl Sync for Storage {}

struct Block {
    header: UnsafeCell<[u8; BLOCK_HEADER_BYTES]>,
    payload: [UnsafeCell<[u8; WORD_BYTES]>; PAYLOAD_WORDS],
}

/// The blocks' content when they were taken.
pub(super) struct Image {
    first_slot: usize,
    content: Box<[u8]>,
}

impl Storage {
    pub(super) fn new(block_count: usize) -> Self {
        let new_block = |_| Block {
            header: UnsafeCell::new([0; BLOCK_HEADER_BYTES]),
            payload: std::array::from_fn(|_| UnsafeCell::new([0; WORD_BYTES])),
        };
        Self { blocks: (0..block_count).map(new_block).collect() }
    }

    /// # Safety
    /// No other thread accesses these payload bytes without an ordering to this call.
    pub(super) unsafe fn write_payload(&self, slot: usize, offset_bytes: usize, bytes: &[u8]) {
        let words = &self.blocks[slot].payload[offset_bytes / WORD_BYTES..];
        for (cell, word) in words.iter().zip(bytes.chunks_exact(WORD_BYTES)) {
            let word = word.try_into().expect("chunks of a word");
            // SAFETY: loom panics if another access is not ordered to this one.
            cell.with_mut(|target| unsafe { *target = word });
        }
    }

    /// # Safety
    /// As `write_payload`.
    pub(super) unsafe fn zero_payload(&self, slot: usize, offset_bytes: usize, len_bytes: usize) {
        let zeroes = vec![0; len_bytes];
        // SAFETY: passed on to the caller.
        unsafe { self.write_payload(slot, offset_bytes, &zeroes) };
    }

    /// # Safety
    /// No other thread accesses this header without an ordering to this call.
    pub(super) unsafe fn write_header(&self, slot: usize, bytes: &[u8; BLOCK_HEADER_BYTES]) {
        // SAFETY: loom panics if another access is not ordered to this one.
        self.blocks[slot].header.with_mut(|target| unsafe { *target = *bytes });
    }

    /// # Safety
    /// Nothing writes to this payload without an ordering to this call.
    pub(super) unsafe fn with_payload<R>(&self, slot: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.payload(slot))
    }

    fn payload(&self, slot: usize) -> Vec<u8> {
        let words = self.blocks[slot].payload.iter();
        // SAFETY: loom panics if a write is not ordered to this read.
        words.flat_map(|cell| cell.with(|word| unsafe { *word })).collect()
    }

    fn read(&self, first_slot: usize, block_count: usize) -> Box<[u8]> {
        let blocks = first_slot..first_slot + block_count;
        let content = blocks.flat_map(|slot| {
            // SAFETY: loom panics if a write is not ordered to this read.
            let header = self.blocks[slot].header.with(|header| unsafe { *header });
            header.into_iter().chain(self.payload(slot))
        });
        content.collect()
    }

    /// Sealed blocks are immutable until they complete.
    pub(super) fn check_unchanged(&self, image: &Image) {
        let content = self.read(image.first_slot, image.content.len() / BLOCK_BYTES);
        assert_eq!(content, image.content, "sealed blocks were written to");
    }
}

impl Image {
    pub(super) fn of(storage: &Storage, first_slot: usize, block_count: usize) -> Self {
        Self { first_slot, content: storage.read(first_slot, block_count) }
    }

    /// # Safety
    /// None; the signature is that of the real one.
    pub(super) unsafe fn bytes<'s>(&'s self, _storage: &'s Storage) -> &'s [u8] {
        &self.content
    }
}
