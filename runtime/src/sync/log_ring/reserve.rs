//! Charging, reserving and filling: the side of the committers.

use super::position::{check_aligned, round_up};
use super::{FAILED, Fault, LogRing, Ordering, PAYLOAD};
use std::mem::ManuallyDrop;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChargeError {
    /// Caller: wait for `durable` to advance, or for another charge to be dropped, and try again.
    #[error("the log buffer is full")]
    RingFull,
    /// Caller: wait for `set_space_end`, and try again.
    #[error("the prepared log space is used up")]
    SpaceFull,
    /// Caller: refuse the transaction.
    #[error("a record of {len_bytes} bytes does not fit, {len_bytes_max} is the most")]
    TooLong { len_bytes: u32, len_bytes_max: u64 },
}

/// The right to reserve `len` bytes without waiting; given back when dropped.
#[must_use]
pub struct Charge<'r> {
    ring: &'r LogRing,
    len_bytes: u32,
}

/// Positions `start..end` of the log, to be filled by one record. Dropped unfilled, it becomes a
/// pad record.
#[must_use]
pub struct Reservation<'r> {
    ring: &'r LogRing,
    start: u64,
    end: u64,
}

impl LogRing {
    /// Longest record, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.geometry.capacity_bytes() / 2
    }

    /// Sets room aside for a record of `len` bytes, a multiple of 8, and for the waste of sealing
    /// the block it ends in.
    ///
    /// It bounds the tail: `claimed` is at least the tail's block end plus all open charges, and
    /// is raised only up to a limit that holds. Errors: see `ChargeError`; which of two exceeded
    /// limits is named is not defined.
    pub fn try_charge(&self, len: u32) -> Result<Charge<'_>, ChargeError> {
        assert!(len > 0, "a record has at least its header");
        check_aligned(u64::from(len));
        if u64::from(len) > self.record_bytes_max() {
            let len_bytes_max = self.record_bytes_max();
            return Err(ChargeError::TooLong { len_bytes: len, len_bytes_max });
        }
        let charge = ManuallyDrop::new(Charge { ring: self, len_bytes: len });
        let mut claimed = self.claimed.load(Ordering::Relaxed);
        loop {
            let wanted = claimed + charge.cost_bytes();
            if wanted > self.ring_limit() {
                return Err(ChargeError::RingFull);
            }
            if wanted > self.space_end() {
                return Err(ChargeError::SpaceFull);
            }
            match self.claimed.compare_exchange_weak(
                claimed,
                wanted,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(ManuallyDrop::into_inner(charge)),
                Err(current) => claimed = current,
            }
        }
    }

    /// Takes the next positions. The only shared step is one `fetch_add` on the tail, which the
    /// engine uses as its source of timestamps.
    pub fn reserve<'r>(&'r self, charge: Charge<'r>) -> Reservation<'r> {
        assert!(std::ptr::eq(charge.ring, self), "a charge is good for its own ring only");
        let charge = ManuallyDrop::new(charge);
        let len = u64::from(charge.len_bytes);
        let start = self.tail.fetch_add(len, Ordering::AcqRel);
        let end = start + len;
        check_aligned(start);
        // The reservation order makes the `durable` that allowed every earlier charge visible
        // here, and with it the completion of the blocks whose slots this record overwrites.
        let limit = self.ring_limit().min(self.space_end());
        assert!(round_up(end) <= limit, "INV-9: log tail {end} beyond its limit {limit}");
        let growth = round_up(end) - round_up(start);
        assert!(growth <= PAYLOAD + len, "INV-9: a record claims at most one block of waste");
        self.claimed.fetch_sub(charge.cost_bytes().saturating_sub(growth), Ordering::Release);
        Reservation { ring: self, start, end }
    }

    /// End of the positions whose slots are free to be written.
    fn ring_limit(&self) -> u64 {
        let durable = self.durable.load(Ordering::Acquire) & !FAILED;
        durable + self.geometry.capacity_bytes()
    }

    /// Counts `len` bytes of `block` as filled, which are then never written again in this lap.
    fn add_filled(&self, block: u64, len: u64) {
        let before = self.slot_of(block).filled.fetch_add(len, Ordering::Release);
        let floor = self.geometry.filled_before(block);
        assert!(
            before >= floor && before + len <= floor + PAYLOAD,
            "log block {block} filled beyond its reservations: {before} + {len} over {floor}"
        );
    }

    /// Makes `start..end`, which the caller reserved and nobody fills, a pad record.
    pub(super) fn fill_with_pad(&self, start: u64, end: u64) {
        let len = u32::try_from(end - start).expect("INV-9: a gap is no longer than a record");
        let header = (self.pad_header)(len);
        for span in self.geometry.spans(start, end) {
            let slot = self.geometry.slot_index(span.block);
            let first = self.geometry.first_position(span.block) + span.offset_bytes as u64;
            // SAFETY: `first..first + len_bytes` is part of one reservation that nobody else
            // fills, so no other thread accesses these bytes before `add_filled` tells it to.
            unsafe { self.storage.zero_payload(slot, span.offset_bytes, span.len_bytes) };
            if first == start {
                // SAFETY: as above; a reservation has at least 8 bytes and begins at a multiple
                // of 8, so the header lies in its first block.
                unsafe { self.storage.write_payload(slot, span.offset_bytes, &header) };
            }
            self.add_filled(span.block, span.len_bytes as u64);
        }
    }
}

impl Charge<'_> {
    pub fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    /// What the tail's block end can grow by: the record and, at worst, almost a whole block.
    fn cost_bytes(&self) -> u64 {
        let waste = if self.ring.faults.omits(Fault::ChargeSealingWaste) { 0 } else { PAYLOAD };
        u64::from(self.len_bytes) + waste
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.ring.claimed.fetch_sub(self.cost_bytes(), Ordering::Release);
    }
}

impl Reservation<'_> {
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The record's LSN: it is durable when `durable` has reached this.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Copies the record in. The caller then looks for something to flush (`has_flushable`).
    pub fn fill(self, bytes: &[u8]) {
        let reservation = ManuallyDrop::new(self);
        let (ring, start, end) = (reservation.ring, reservation.start, reservation.end);
        let len = end - start;
        assert!(bytes.len() as u64 == len, "{} bytes for {len} reserved ones", bytes.len());
        let mut rest = bytes;
        for span in ring.geometry.spans(start, end) {
            let (part, later) = rest.split_at(span.len_bytes);
            let slot = ring.geometry.slot_index(span.block);
            // SAFETY: the span lies in this reservation, which `fill` consumes, so no other
            // thread accesses these bytes before `add_filled` tells it to.
            unsafe { ring.storage.write_payload(slot, span.offset_bytes, part) };
            ring.add_filled(span.block, span.len_bytes as u64);
            rest = later;
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.ring.fill_with_pad(self.start, self.end);
    }
}
