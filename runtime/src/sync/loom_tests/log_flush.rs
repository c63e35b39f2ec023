//! The log ring's committers and flushers: every reserved byte is flushed exactly once, in order
//! and with the right content, and nobody is left with a full buffer and no flusher.

use super::super::log_ring::{BLOCK_PAYLOAD_BYTES, LogRing, LogRingConfig, SealedBlocks, Seat};
use super::{Fault, Faults, model, model_with, without};
use loom::thread;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const PAYLOAD: u64 = BLOCK_PAYLOAD_BYTES as u64;
const PAD_TAG: u32 = u32::MAX;
/// Committers look for work again after they released the seat.
const SECOND_LOOK: bool = true;

/// A record and a pad alike: its length, its tag, zeroes.
fn header(len: u32, tag: u32) -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..].copy_from_slice(&tag.to_le_bytes());
    header
}

fn record(len: u32, tag: u32) -> Vec<u8> {
    let mut record = header(len, tag).to_vec();
    record.resize(len as usize, tag as u8);
    record
}

/// A ring and everything it handed over for writing. The log is a plain mutex that loom does not
/// know, so it orders nothing that the ring should order.
pub(super) struct Bench {
    pub(super) ring: Arc<LogRing>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// Payload of the blocks taken, by position.
    taken: BTreeMap<u64, Vec<u8>>,
    /// Records reserved, by position.
    reserved: BTreeMap<u64, Vec<u8>>,
    /// End of the contiguous blocks whose completion has begun.
    completing: BTreeMap<u64, u64>,
}

impl Bench {
    pub(super) fn new(block_count: usize, faults: Faults) -> Arc<Self> {
        let pad_header = |len| header(len, PAD_TAG);
        let ring = LogRing::build(LogRingConfig { block_count, start: 32, pad_header }, faults);
        ring.set_space_end(u64::MAX);
        Arc::new(Self { ring, log: Mutex::default() })
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves and fills; false if the ring has no room.
    pub(super) fn commit(&self, len: u32, tag: u32) -> bool {
        let Ok(charge) = self.ring.try_charge(len) else { return false };
        let reservation = self.ring.reserve(charge);
        let record = record(len, tag);
        self.log().reserved.insert(reservation.start(), record.clone());
        reservation.fill(&record);
        true
    }

    pub(super) fn take(&self, blocks_max: usize) -> Option<SealedBlocks> {
        self.take_with(self.ring.try_take_seat()?, blocks_max)
    }

    fn take_with(&self, mut seat: Seat<'_>, blocks_max: usize) -> Option<SealedBlocks> {
        seat.seal_tail();
        let sealed = seat.take_filled(blocks_max, u64::MAX, |block| {
            let mut header = [0; 64];
            header[..8].copy_from_slice(&block.first_position.to_le_bytes());
            let before = self.log().taken.insert(block.first_position, block.payload.to_vec());
            assert_eq!(before, None, "block taken twice");
            header
        });
        drop(seat);
        sealed
    }

    pub(super) fn complete(&self, sealed: SealedBlocks) -> u64 {
        let (first, end) = (sealed.first_position(), sealed.end_position());
        for (index, block) in sealed.as_bytes().chunks(64 + BLOCK_PAYLOAD_BYTES).enumerate() {
            let position = first + index as u64 * PAYLOAD;
            assert_eq!(block[..8], position.to_le_bytes());
            assert_eq!(block[64..], self.log().taken[&position]);
        }
        self.log().completing.insert(first, end);
        let durable = self.ring.complete(sealed);
        self.check_durable(durable);
        durable
    }

    /// `durable` stands on completed blocks only.
    pub(super) fn check_durable(&self, durable: u64) {
        let mut end = 32;
        for (&first, &flight_end) in &self.log().completing {
            if first == end {
                end = flight_end;
            }
        }
        assert!(durable <= end, "durable {durable} over a hole at {end}");
    }

    /// What a committer does after each fill.
    pub(super) fn flush(&self, looks_again: bool) {
        while self.ring.has_flushable() {
            let Some(seat) = self.ring.try_take_seat() else { return };
            if let Some(sealed) = self.take_with(seat, 8) {
                self.complete(sealed);
            }
            if !looks_again {
                return;
            }
        }
    }

    /// Everything was flushed and parses back to exactly the reserved records.
    pub(super) fn check_flushed(&self) {
        let log = self.log();
        let tail = self.ring.tail();
        assert_eq!(self.ring.durable(), tail, "bytes left behind without a flusher");
        assert_eq!(self.ring.pending_bytes(), 0);
        let mut stream = Vec::new();
        for (&position, payload) in &log.taken {
            assert_eq!(position, 32 + stream.len() as u64, "a hole between blocks");
            stream.extend_from_slice(payload);
        }
        assert_eq!(32 + stream.len() as u64, tail);
        let mut found = BTreeMap::new();
        let mut offset = 0;
        while offset < stream.len() {
            let len = stream[offset..offset + 4].try_into().expect("four bytes");
            let len = u32::from_le_bytes(len) as usize;
            assert!(len > 0, "no record at {offset}");
            let record = &stream[offset..offset + len];
            if record[4..8] != PAD_TAG.to_le_bytes() {
                found.insert(32 + offset as u64, record.to_vec());
            }
            offset += len;
        }
        assert_eq!(found, log.reserved);
    }
}

/// Two committers; each flushes what it finds. `lens` are their record lengths.
fn two_committers(faults: Faults, looks_again: bool, lens: [u32; 2]) {
    let bench = Bench::new(4, faults);
    let other = {
        let bench = Arc::clone(&bench);
        thread::spawn(move || {
            assert!(bench.commit(lens[0], 1));
            bench.flush(looks_again);
        })
    };
    assert!(bench.commit(lens[1], 2));
    bench.flush(looks_again);
    other.join().expect("no thread panics");
    bench.check_flushed();
}

#[test]
fn log_ring_flushes_two_committers_of_one_block() {
    model(|| two_committers(Faults::default(), SECOND_LOOK, [8, 8]));
}

#[test]
fn log_ring_flushes_records_that_span_blocks() {
    model(|| two_committers(Faults::default(), SECOND_LOOK, [24, 8]));
}

#[test]
#[should_panic(expected = "left behind")]
fn log_ring_without_a_second_look_leaves_bytes_behind() {
    model(|| two_committers(Faults::default(), !SECOND_LOOK, [8, 8]));
}

#[test]
#[should_panic(expected = "left behind")]
fn log_ring_without_the_seats_fence_leaves_bytes_behind() {
    model(|| two_committers(without(Fault::SeatFence), SECOND_LOOK, [8, 8]));
}

#[test]
fn log_ring_flushes_three_committers() {
    // More switches than one take minutes here; the models of two threads have them.
    model_with(1, || {
        let bench = Bench::new(6, Faults::default());
        let others = [1, 2].map(|tag| {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                assert!(bench.commit(8, tag));
                bench.flush(SECOND_LOOK);
            })
        });
        assert!(bench.commit(16, 3));
        bench.flush(SECOND_LOOK);
        for other in others {
            other.join().expect("no thread panics");
        }
        bench.check_flushed();
    });
}

#[test]
fn log_ring_seat_has_one_holder() {
    model(|| {
        let bench = Bench::new(2, Faults::default());
        let holders = Arc::new(Mutex::new(0));
        let sit = |bench: &Bench, holders: &Mutex<u32>| {
            let Some(seat) = bench.ring.try_take_seat() else { return };
            let count = |change: fn(u32) -> u32| {
                let mut holders = holders.lock().unwrap_or_else(PoisonError::into_inner);
                *holders = change(*holders);
                *holders
            };
            assert_eq!(count(|holders| holders + 1), 1);
            // Something that loom may switch at while the seat is held.
            bench.ring.tail();
            count(|holders| holders - 1);
            drop(seat);
        };
        let others = [(); 2].map(|()| {
            let (bench, holders) = (Arc::clone(&bench), Arc::clone(&holders));
            thread::spawn(move || sit(&bench, &holders))
        });
        sit(&bench, &holders);
        for other in others {
            other.join().expect("no thread panics");
        }
    });
}
