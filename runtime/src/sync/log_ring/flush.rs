//! Sealing, taking and completing blocks: the side of the flusher.

use super::position::{round_down, round_up};
use super::storage::Image;
use super::{BLOCK_BYTES, BLOCK_HEADER_BYTES, FAILED, Fault, LogRing, Ordering, PAYLOAD};
use std::sync::Arc;

/// A full block about to be written, as its header's author sees it.
pub struct BlockView<'b> {
    pub first_position: u64,
    pub payload: &'b [u8],
}

/// The right to seal and take blocks; one holder at a time, released when dropped.
///
/// Its holder does not wait for anything while it holds it, and asks `has_flushable` again after
/// the release: whoever filled a block meanwhile found the seat taken and relies on that.
#[must_use]
pub struct Seat<'r> {
    ring: &'r Arc<LogRing>,
}

/// Full blocks, one after another in memory and in the log, to be written once and completed.
///
/// Dropped without `LogRing::complete`, it fails the ring: the log would have a hole.
#[must_use]
pub struct SealedBlocks {
    ring: Arc<LogRing>,
    first_block: u64,
    block_count: u64,
    image: Image,
    is_completed: bool,
}

impl LogRing {
    /// Whether the seat's holder would find something to write: the oldest block not taken is
    /// full, or it is the tail's and everything reserved in it so far is filled.
    ///
    /// To be asked after each fill, each release of the seat and each completion. Nothing is
    /// overlooked: while a reservation in that block is unfilled, its owner will ask later.
    pub fn has_flushable(&self) -> bool {
        self.faults.fence(Fault::SeatFence);
        let next_unwritten = self.next_unwritten.load(Ordering::Acquire);
        let tail = self.tail();
        if tail == next_unwritten {
            return false;
        }
        let block = self.geometry.block_of(next_unwritten);
        self.filled_in(block) >= PAYLOAD.min(tail - next_unwritten)
    }

    /// Takes the flusher's seat if it is free.
    pub fn try_take_seat(self: &Arc<Self>) -> Option<Seat<'_>> {
        // A taken seat is read, not written, by those who find it so. Who filled a block before
        // this fence and finds the seat taken is seen by its holder's `has_flushable`.
        self.faults.fence(Fault::SeatFence);
        if self.seat_is_taken.load(Ordering::Relaxed) {
            return None;
        }
        let taken =
            self.seat_is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        // Made only by the winner: dropping a `Seat` frees the seat.
        taken.is_ok().then(|| Seat { ring: self })
    }

    /// Marks `sealed`, whose I/O is durable, and advances `durable` over every block that is
    /// completed without a gap before it; returns `durable`. A failed ring does not advance.
    pub fn complete(&self, mut sealed: SealedBlocks) -> u64 {
        assert!(std::ptr::eq(&*sealed.ring, self), "blocks complete in their own ring");
        self.storage.check_unchanged(&sealed.image);
        for block in sealed.blocks() {
            let before = self.slot_of(block).completed.swap(block + 1, Ordering::AcqRel);
            let expected = self.geometry.completed_before(block);
            assert!(before == expected, "log block {block} completed out of turn, after {before}");
        }
        sealed.is_completed = true;
        if self.faults.omits(Fault::DurableContiguous) {
            self.durable.fetch_max(sealed.end_position(), Ordering::AcqRel);
        }
        // Each of two completers marks, fences and looks at the other's mark: one sees both, so
        // `durable` does not stop before a completed block.
        self.faults.fence(Fault::CompleteFence);
        self.advance_durable()
    }

    fn advance_durable(&self) -> u64 {
        let mut durable = self.durable.load(Ordering::Acquire);
        // Bounded: each turn passes a completed block, or somebody else did.
        while durable & FAILED == 0 {
            let block = self.geometry.block_of(durable);
            if self.slot_of(block).completed.load(Ordering::Acquire) != block + 1 {
                break;
            }
            match self.durable.compare_exchange(
                durable,
                durable + PAYLOAD,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => durable += PAYLOAD,
                Err(current) => durable = current,
            }
        }
        durable & !FAILED
    }

    /// Payload bytes of `block` that are filled, if `block` is in the ring.
    fn filled_in(&self, block: u64) -> u64 {
        let filled = self.slot_of(block).filled.load(Ordering::Acquire);
        filled.saturating_sub(self.geometry.filled_before(block))
    }
}

impl Seat<'_> {
    /// Closes the tail's block with a pad record if it is partly reserved and all of that is
    /// filled; tells whether it did.
    ///
    /// A block with an unfilled reservation stays open: it could not be written now anyway, and
    /// more commits fit in while its owner copies.
    pub fn seal_tail(&mut self) -> bool {
        let ring = self.ring;
        let mut tail = ring.tail();
        // Bounded: each failed turn means that another record was reserved in this block.
        loop {
            let reserved = tail % PAYLOAD;
            if reserved == 0 || ring.filled_in(ring.geometry.block_of(tail)) < reserved {
                return false;
            }
            let end = round_up(tail);
            match ring.tail.compare_exchange(tail, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    ring.fill_with_pad(tail, end);
                    return true;
                }
                Err(current) => tail = current,
            }
        }
    }

    /// Takes the longest run of full blocks from the oldest not taken: at most `max_blocks`, in
    /// one piece of memory, and ending at or below position `stop_at`. `header` makes the header
    /// of each. Returns `None` if the oldest block is not full or not below `stop_at`.
    pub fn take_filled(
        &mut self,
        max_blocks: usize,
        stop_at: u64,
        mut header: impl FnMut(BlockView<'_>) -> [u8; BLOCK_HEADER_BYTES],
    ) -> Option<SealedBlocks> {
        let ring = self.ring;
        let geometry = ring.geometry;
        let from = ring.next_unwritten.load(Ordering::Acquire);
        let first_block = geometry.block_of(from);
        let until_wrap = geometry.block_count() - first_block % geometry.block_count();
        let below_stop = round_down(stop_at).saturating_sub(from) / PAYLOAD;
        let run_max = until_wrap.min(below_stop).min(max_blocks as u64);
        let run = (first_block..first_block + run_max).take_while(|&block| self.is_full(block));
        let block_count = run.count() as u64;
        if block_count == 0 {
            return None;
        }
        for block in first_block..first_block + block_count {
            self.write_header(block, &mut header);
        }
        let end = from + block_count * PAYLOAD;
        let before = ring.next_unwritten.swap(end, Ordering::AcqRel);
        assert!(before == from && end <= ring.tail(), "blocks {from}..{end} taken twice");
        let first_slot = geometry.slot_index(first_block);
        let image = Image::of(&ring.storage, first_slot, block_count as usize);
        let ring = Arc::clone(ring);
        Some(SealedBlocks { ring, first_block, block_count, image, is_completed: false })
    }

    fn is_full(&self, block: u64) -> bool {
        self.ring.filled_in(block) == PAYLOAD
            || self.ring.faults.omits(Fault::TakeFullOnly)
                && self.ring.geometry.first_position(block) < self.ring.tail()
    }

    fn write_header(
        &self,
        block: u64,
        header: &mut impl FnMut(BlockView<'_>) -> [u8; BLOCK_HEADER_BYTES],
    ) {
        let ring = self.ring;
        let slot = ring.geometry.slot_index(block);
        let completed = ring.slot_of(block).completed.load(Ordering::Acquire);
        let expected = ring.geometry.completed_before(block);
        assert!(completed == expected, "log block {block} taken before its slot was free");
        let first_position = ring.geometry.first_position(block);
        let view = |payload: &[u8]| header(BlockView { first_position, payload });
        // SAFETY: the block is full, so every write to its payload happened before this (acquired
        // with `filled`), and the next lap's begin only after `complete` of this block.
        let bytes = unsafe { ring.storage.with_payload(slot, view) };
        // SAFETY: headers are written under the seat only, which `self` is, and read only through
        // the `SealedBlocks` made after this; those of the last lap were completed, as asserted.
        unsafe { ring.storage.write_header(slot, &bytes) };
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let was_taken = self.ring.seat_is_taken.swap(false, Ordering::Release);
        assert!(was_taken, "the log's seat was freed by somebody who did not hold it");
    }
}

impl SealedBlocks {
    pub fn first_position(&self) -> u64 {
        self.ring.geometry.first_position(self.first_block)
    }

    /// Position after the last payload byte.
    pub fn end_position(&self) -> u64 {
        self.first_position() + self.block_count * PAYLOAD
    }

    pub fn block_count(&self) -> usize {
        self.block_count as usize
    }

    /// Headers and payloads, `block_count * BLOCK_BYTES` bytes at an address aligned for direct
    /// I/O.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: from `take_filled` to `complete`, which consumes `self`, nothing writes to
        // these blocks; dropping `self` otherwise fails the ring, which keeps them for ever. The
        // `Arc` keeps the memory.
        let bytes = unsafe { self.image.bytes(&self.ring.storage) };
        debug_assert_eq!(bytes.len(), self.block_count() * BLOCK_BYTES);
        bytes
    }

    fn blocks(&self) -> std::ops::Range<u64> {
        self.first_block..self.first_block + self.block_count
    }
}

impl Drop for SealedBlocks {
    fn drop(&mut self) {
        if !self.is_completed {
            self.ring.fail();
        }
    }
}

impl std::fmt::Debug for SealedBlocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let range = self.first_position()..self.end_position();
        formatter.debug_tuple("SealedBlocks").field(&range).finish()
    }
}
