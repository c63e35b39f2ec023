//! The shared log buffer: one `fetch_add` reserves, every shard copies its own record in, and
//! whoever holds the seat hands full blocks to the device.
//!
//! A *position* counts payload bytes from the beginning of the log. Block `g` of the ring's life
//! holds the positions from `start + g * BLOCK_PAYLOAD_BYTES` and lives in slot `g % n`. Nothing
//! is ever reset: `filled` of a slot counts the bytes of all its blocks so far, `completed` names
//! the last block whose I/O is durable, so a late reader can mistake no lap for another.
//!
//! Why the memory of a block has one kind of user at a time: its bytes are written by holders of
//! disjoint reservations; `take_filled` takes it only when all of them were filled; from then on
//! it is only read until `complete`; and only when `durable` has passed it can a charge, and so
//! a reservation, reach its slot's next lap.

mod flush;
mod position;
mod reserve;
#[cfg(not(sombra_loom))]
mod storage;
#[cfg(sombra_loom)]
#[path = "storage_loom.rs"]
mod storage;
#[cfg(all(test, not(sombra_loom)))]
mod tests;

pub use flush::{BlockView, SealedBlocks, Seat};
pub use reserve::{Charge, ChargeError, Reservation};

use super::atomic::{AtomicBool, AtomicU64, Ordering};
use super::fault::{Fault, Faults};
use super::padded::Padded;
use position::Geometry;
use std::sync::Arc;
use storage::Storage;

/// One unit of log I/O: header and payload.
pub const BLOCK_BYTES: usize = BLOCK_HEADER_BYTES + BLOCK_PAYLOAD_BYTES;
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Payload of one block.
#[cfg(not(sombra_loom))]
pub const BLOCK_PAYLOAD_BYTES: usize = 4032;
/// Payload of one block: two words are enough to have a boundary inside, and few enough for loom.
#[cfg(sombra_loom)]
pub const BLOCK_PAYLOAD_BYTES: usize = 16;
/// Every position and every length is a multiple of this, which is also the smallest pad record.
pub const POSITION_ALIGNMENT_BYTES: u64 = 8;

/// `BLOCK_PAYLOAD_BYTES` where positions are computed.
const PAYLOAD: u64 = BLOCK_PAYLOAD_BYTES as u64;

const _: () = assert!(cfg!(sombra_loom) || BLOCK_BYTES == 4096);
const _: () = assert!(PAYLOAD.is_multiple_of(POSITION_ALIGNMENT_BYTES));
// `durable` keeps the failure mark in its lowest bit.
const _: () = assert!(PAYLOAD.is_multiple_of(2));

/// Lowest bit of the `durable` word, which is otherwise a block boundary.
const FAILED: u64 = 1;

pub struct LogRingConfig {
    pub block_count: usize,
    /// First position, a multiple of `BLOCK_PAYLOAD_BYTES`.
    pub start: u64,
    /// Header of the pad record of `len` bytes that fills a gap; the rest of it is zero.
    pub pad_header: fn(len: u32) -> [u8; 8],
}

pub struct LogRing {
    geometry: Geometry,
    pad_header: fn(len: u32) -> [u8; 8],
    faults: Faults,
    storage: Storage,
    slots: Box<[Padded<Slot>]>,
    /// End of the last reservation.
    tail: Padded<AtomicU64>,
    /// `tail` rounded up to its block's end, plus the costs of all charges not yet reserved.
    claimed: Padded<AtomicU64>,
    /// Boundary below which every block is durable, with the `FAILED` bit.
    durable: Padded<AtomicU64>,
    /// Boundary below which every block was taken; written under the seat.
    next_unwritten: Padded<AtomicU64>,
    seat_is_taken: Padded<AtomicBool>,
    space_end: Padded<AtomicU64>,
}

struct Slot {
    /// Payload bytes filled in this slot since the start.
    filled: AtomicU64,
    /// Number of the last completed block in this slot plus one; 0 before the first.
    completed: AtomicU64,
}

impl LogRing {
    /// Nothing can be charged before `set_space_end` tells how much space the log has.
    pub fn new(config: LogRingConfig) -> Arc<Self> {
        Self::build(config, Faults::default())
    }

    pub(super) fn build(config: LogRingConfig, faults: Faults) -> Arc<Self> {
        let geometry = Geometry::new(config.block_count, config.start);
        let new_slot =
            |_| Padded::new(Slot { filled: AtomicU64::new(0), completed: AtomicU64::new(0) });
        let at_start = || Padded::new(AtomicU64::new(config.start));
        Arc::new(Self {
            geometry,
            pad_header: config.pad_header,
            faults,
            storage: Storage::new(config.block_count),
            slots: (0..config.block_count).map(new_slot).collect(),
            tail: at_start(),
            claimed: at_start(),
            durable: at_start(),
            next_unwritten: at_start(),
            seat_is_taken: Padded::new(AtomicBool::new(false)),
            space_end: at_start(),
        })
    }

    /// End of the last reservation; later reservations start here or above.
    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// Every record that ends at or below this position is durable. Always a block boundary.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire) & !FAILED
    }

    /// Bytes the ring can hold.
    pub fn capacity_bytes(&self) -> u64 {
        self.geometry.capacity_bytes()
    }

    /// End of the prepared log space, a block boundary.
    pub fn space_end(&self) -> u64 {
        self.space_end.load(Ordering::Acquire)
    }

    /// Allows charges up to `end`, rounded down to a block boundary. The space never shrinks.
    pub fn set_space_end(&self, end: u64) {
        self.space_end.fetch_max(end - end % PAYLOAD, Ordering::AcqRel);
    }

    /// Freezes `durable` for good: it has its last value when this returns.
    pub fn fail(&self) {
        if !self.faults.omits(Fault::FailFreezes) {
            self.durable.fetch_or(FAILED, Ordering::AcqRel);
        }
    }

    pub fn is_failed(&self) -> bool {
        self.durable.load(Ordering::Acquire) & FAILED != 0
    }

    /// First position not yet taken for writing; it stays while the caller holds the seat.
    pub fn next_unwritten(&self) -> u64 {
        self.next_unwritten.load(Ordering::Acquire)
    }

    /// Bytes reserved and not yet taken for writing.
    pub fn pending_bytes(&self) -> u64 {
        let next_unwritten = self.next_unwritten.load(Ordering::Acquire);
        // Loaded second: the tail was at or above `next_unwritten` when that was stored.
        self.tail() - next_unwritten
    }

    fn slot_of(&self, block: u64) -> &Slot {
        &self.slots[self.geometry.slot_index(block)]
    }
}

impl std::fmt::Debug for LogRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = formatter.debug_struct("LogRing");
        out.field("tail", &self.tail()).field("durable", &self.durable());
        out.field("is_failed", &self.is_failed()).finish_non_exhaustive()
    }
}
