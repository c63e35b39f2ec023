//! Positions, blocks and slots: pure arithmetic.

use super::{BLOCK_PAYLOAD_BYTES, PAYLOAD, POSITION_ALIGNMENT_BYTES};

/// Where the ring begins and how many blocks it holds.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    start: u64,
    block_count: u64,
}

/// The part of a range of positions that lies in one block.
pub(super) struct Span {
    pub(super) block: u64,
    pub(super) offset_bytes: usize,
    pub(super) len_bytes: usize,
}

impl Geometry {
    pub(super) fn new(block_count: usize, start: u64) -> Self {
        assert!(
            block_count >= 2,
            "INV-9: a ring of one block cannot be filled while it is written"
        );
        assert!(start.is_multiple_of(PAYLOAD), "the log starts at a block boundary, not {start}");
        Self { start, block_count: block_count as u64 }
    }

    pub(super) fn capacity_bytes(self) -> u64 {
        self.block_count * PAYLOAD
    }

    pub(super) fn block_count(self) -> u64 {
        self.block_count
    }

    /// Number of the block that holds `position`.
    pub(super) fn block_of(self, position: u64) -> u64 {
        (position - self.start) / PAYLOAD
    }

    pub(super) fn first_position(self, block: u64) -> u64 {
        self.start + block * PAYLOAD
    }

    pub(super) fn slot_index(self, block: u64) -> usize {
        (block % self.block_count) as usize
    }

    /// `filled` of the slot of `block` before its first byte is filled.
    pub(super) fn filled_before(self, block: u64) -> u64 {
        block / self.block_count * PAYLOAD
    }

    /// `completed` of the slot of `block` before that block completes.
    pub(super) fn completed_before(self, block: u64) -> u64 {
        (block + 1).saturating_sub(self.block_count)
    }

    /// Cuts `start..end` at block boundaries.
    pub(super) fn spans(self, start: u64, end: u64) -> impl Iterator<Item = Span> {
        let mut position = start;
        std::iter::from_fn(move || {
            if position == end {
                return None;
            }
            let offset = position % PAYLOAD;
            let len = (PAYLOAD - offset).min(end - position);
            let block = self.block_of(position);
            position += len;
            Some(Span { block, offset_bytes: offset as usize, len_bytes: len as usize })
        })
    }
}

pub(super) const fn round_up(position: u64) -> u64 {
    position.next_multiple_of(PAYLOAD)
}

pub(super) const fn round_down(position: u64) -> u64 {
    position - position % PAYLOAD
}

pub(super) fn check_aligned(position: u64) {
    let is_aligned = position.is_multiple_of(POSITION_ALIGNMENT_BYTES);
    assert!(is_aligned, "log positions are multiples of 8, not {position}");
}

const _: () = assert!(round_up(PAYLOAD) == PAYLOAD && round_up(1) == PAYLOAD);
const _: () = assert!(round_down(PAYLOAD + 8) as usize == BLOCK_PAYLOAD_BYTES);
