use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

const START: u64 = 7 * PAYLOAD;
const PAD_TAG: u32 = u32::MAX;

fn pad_header(len: u32) -> [u8; 8] {
    record_header(len, PAD_TAG)
}

fn record_header(len: u32, tag: u32) -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..].copy_from_slice(&tag.to_le_bytes());
    header
}

/// A record whose every byte depends on `tag`.
fn record(len: u32, tag: u32) -> Vec<u8> {
    let mut record = record_header(len, tag).to_vec();
    record.extend((8..len).map(|index| (tag.wrapping_mul(31).wrapping_add(index) % 251) as u8));
    record
}

fn new_ring(block_count: usize) -> Arc<LogRing> {
    let ring = LogRing::new(LogRingConfig { block_count, start: START, pad_header });
    ring.set_space_end(u64::MAX);
    ring
}

fn commit(ring: &LogRing, len: u32, tag: u32) -> Result<u64, ChargeError> {
    let reservation = ring.reserve(ring.try_charge(len)?);
    let start = reservation.start();
    reservation.fill(&record(len, tag));
    Ok(start)
}

fn block_header(view: BlockView<'_>) -> [u8; BLOCK_HEADER_BYTES] {
    let mut header = [0xEE; BLOCK_HEADER_BYTES];
    header[..8].copy_from_slice(&view.first_position.to_le_bytes());
    header[8] = view.payload[0];
    header
}

/// The device: what was written, block by block.
#[derive(Default)]
struct Device(BTreeMap<u64, Vec<u8>>);

impl Device {
    fn write(&mut self, sealed: &SealedBlocks) {
        let bytes = sealed.as_bytes();
        assert_eq!(bytes.as_ptr() as usize % BLOCK_BYTES, 0, "direct I/O needs aligned memory");
        assert_eq!(bytes.len(), sealed.block_count() * BLOCK_BYTES);
        let mut position = sealed.first_position();
        for block in bytes.chunks(BLOCK_BYTES) {
            assert_eq!(block[..8], position.to_le_bytes());
            assert_eq!(block[8], block[BLOCK_HEADER_BYTES]);
            let before = self.0.insert(position, block[BLOCK_HEADER_BYTES..].to_vec());
            assert_eq!(before, None, "block at {position} written twice");
            position += PAYLOAD;
        }
        assert_eq!(position, sealed.end_position());
    }

    /// Position and bytes of every record that is not a pad.
    fn records(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut stream = Vec::new();
        for (&position, payload) in &self.0 {
            assert_eq!(position, START + stream.len() as u64, "a hole between blocks");
            stream.extend_from_slice(payload);
        }
        let mut records = BTreeMap::new();
        let mut offset = 0;
        while offset < stream.len() {
            let len = stream[offset..offset + 4].try_into().expect("four bytes");
            let len = u32::from_le_bytes(len) as usize;
            assert!(len >= 8, "no record at {offset}");
            let record = &stream[offset..offset + len];
            if record[4..8] == PAD_TAG.to_le_bytes() {
                assert!(record[8..].iter().all(|&byte| byte == 0), "a pad is zero");
            } else {
                records.insert(START + offset as u64, record.to_vec());
            }
            offset += len;
        }
        records
    }
}

fn take(ring: &Arc<LogRing>, max_blocks: usize, stop_at: u64) -> Option<SealedBlocks> {
    let mut seat = ring.try_take_seat()?;
    seat.seal_tail();
    seat.take_filled(max_blocks, stop_at, block_header)
}

#[test]
fn log_ring_before_its_space_is_set_refuses_charges() {
    let ring = LogRing::new(LogRingConfig { block_count: 4, start: START, pad_header });
    assert_eq!(ring.try_charge(8).err(), Some(ChargeError::SpaceFull));
    ring.set_space_end(START + 2 * PAYLOAD + 17);
    assert_eq!(ring.space_end(), START + 2 * PAYLOAD, "whole blocks");
    ring.set_space_end(START);
    assert_eq!(ring.space_end(), START + 2 * PAYLOAD, "the space never shrinks");
    assert!(ring.try_charge(PAYLOAD as u32).is_ok());
    assert_eq!(ring.try_charge(PAYLOAD as u32 + 8).err(), Some(ChargeError::SpaceFull));
}

#[test]
fn log_ring_charge_dropped_gives_its_room_back() {
    let ring = new_ring(4);
    let len = 2 * PAYLOAD as u32;
    assert!(matches!(ring.try_charge(len + 8).err(), Some(ChargeError::TooLong { .. })));
    let charge = ring.try_charge(len).unwrap();
    assert_eq!(ring.try_charge(8).err(), Some(ChargeError::RingFull));
    drop(charge);
    assert!(ring.try_charge(8).is_ok());
    assert_eq!(ring.tail(), START, "a charge does not move the tail");
}

#[test]
fn log_ring_reservation_returns_the_waste_it_did_not_cause() {
    let ring = new_ring(4);
    // Each charge alone costs more than a block; the records together fill two of four and begin
    // a third. The next charge might need the fourth and more.
    for tag in 0..=2 * PAYLOAD as u32 / 8 {
        commit(&ring, 8, tag).unwrap();
    }
    assert_eq!(ring.tail(), START + 2 * PAYLOAD + 8);
    assert_eq!(ring.try_charge(8).err(), Some(ChargeError::RingFull));
}

#[test]
fn log_ring_lone_record_is_sealed_taken_and_durable() {
    let ring = new_ring(4);
    assert!(!ring.has_flushable());
    let start = commit(&ring, 24, 1).unwrap();
    assert!(ring.has_flushable());
    assert_eq!(ring.pending_bytes(), 24);
    let sealed = take(&ring, 8, u64::MAX).unwrap();
    assert!(!ring.has_flushable());
    assert_eq!((ring.pending_bytes(), ring.tail()), (0, START + PAYLOAD));
    assert_eq!(ring.durable(), START);
    let mut device = Device::default();
    device.write(&sealed);
    assert_eq!(ring.complete(sealed), START + PAYLOAD);
    assert_eq!(device.records(), BTreeMap::from([(start, record(24, 1))]));
}

#[test]
fn log_ring_with_an_unfilled_reservation_has_nothing_to_flush() {
    let ring = new_ring(4);
    let stalled = ring.reserve(ring.try_charge(16).unwrap());
    commit(&ring, 16, 1).unwrap();
    assert!(!ring.has_flushable(), "the block's owner will ask");
    let mut seat = ring.try_take_seat().unwrap();
    assert!(!seat.seal_tail(), "the block stays open");
    assert!(seat.take_filled(8, u64::MAX, block_header).is_none());
    drop(seat);
    drop(stalled);
    assert!(ring.has_flushable());
    let mut device = Device::default();
    device.write(&take(&ring, 8, u64::MAX).unwrap());
    assert_eq!(device.records(), BTreeMap::from([(START + 16, record(16, 1))]));
}

#[test]
fn log_ring_takes_full_blocks_up_to_stop_limit_and_wrap() {
    let ring = new_ring(4);
    let len = 2 * PAYLOAD as u32;
    commit(&ring, len, 1).unwrap();
    assert!(take(&ring, 8, START + PAYLOAD - 1).is_none(), "the block ends beyond the stop");
    let first = take(&ring, 8, START + 2 * PAYLOAD - 1).unwrap();
    assert_eq!(first.block_count(), 1);
    let second = take(&ring, 1, u64::MAX).unwrap();
    ring.complete(second);
    assert_eq!(ring.durable(), START, "the first block is not durable yet");
    assert_eq!(ring.complete(first), START + 2 * PAYLOAD);
    commit(&ring, PAYLOAD as u32, 2).unwrap();
    commit(&ring, len, 3).unwrap();
    let before_wrap = take(&ring, 8, u64::MAX).unwrap();
    assert_eq!(before_wrap.end_position(), START + 4 * PAYLOAD, "memory is one piece");
    let after_wrap = take(&ring, 8, u64::MAX).unwrap();
    assert_eq!(after_wrap.block_count(), 1);
    ring.complete(after_wrap);
    assert_eq!(ring.complete(before_wrap), START + 5 * PAYLOAD);
}

#[test]
fn log_ring_fail_freezes_durable() {
    let ring = new_ring(4);
    commit(&ring, 8, 1).unwrap();
    let sealed = take(&ring, 8, u64::MAX).unwrap();
    ring.fail();
    assert_eq!(ring.complete(sealed), START);
    assert_eq!((ring.durable(), ring.is_failed()), (START, true));
}

#[test]
fn log_ring_sealed_blocks_dropped_uncompleted_fail_it() {
    let ring = new_ring(4);
    commit(&ring, 8, 1).unwrap();
    drop(take(&ring, 8, u64::MAX));
    assert!(ring.is_failed());
}

#[test]
fn log_ring_seat_is_free_again_after_its_holder() {
    let ring = new_ring(2);
    let seat = ring.try_take_seat().unwrap();
    assert!(ring.try_take_seat().is_none());
    assert!(ring.try_take_seat().is_none(), "asking in vain does not free it");
    drop(seat);
    assert!(ring.try_take_seat().is_some());
}

#[test]
#[should_panic(expected = "9 bytes for 8 reserved ones")]
fn log_ring_fill_of_another_length_panics() {
    let ring = new_ring(2);
    ring.reserve(ring.try_charge(8).unwrap()).fill(&[0; 9]);
}

#[test]
#[should_panic(expected = "multiples of 8")]
fn log_ring_charge_of_an_odd_length_panics() {
    let _ = new_ring(2).try_charge(12);
}

#[derive(Clone, Debug)]
enum Step {
    Commit { words: u32 },
    Abandon { words: u32 },
    Reserve { words: u32 },
    FillHeld { index: usize },
    Take { max_blocks: usize, without_seal: bool },
    Complete { index: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let words = || prop_oneof![1..20_u32, 1..1200_u32, 490..520_u32];
    let step = prop_oneof![
        4 => words().prop_map(|words| Step::Commit { words }),
        1 => words().prop_map(|words| Step::Abandon { words }),
        2 => words().prop_map(|words| Step::Reserve { words }),
        2 => any::<usize>().prop_map(|index| Step::FillHeld { index }),
        3 => (1..4_usize, any::<bool>())
            .prop_map(|(max_blocks, without_seal)| Step::Take { max_blocks, without_seal }),
        3 => any::<usize>().prop_map(|index| Step::Complete { index }),
    ];
    prop::collection::vec(step, 1..200)
}

/// One thread's run beside the simplest account of it.
#[derive(Default)]
struct Run<'r> {
    device: Device,
    expected: BTreeMap<u64, Vec<u8>>,
    held: Vec<(Reservation<'r>, Vec<u8>)>,
    flights: Vec<SealedBlocks>,
}

impl<'r> Run<'r> {
    fn step(&mut self, ring: &'r Arc<LogRing>, step: Step, tag: u32) {
        match step {
            Step::Commit { words } => {
                if let Ok(start) = commit(ring, words * 8, tag) {
                    self.expected.insert(start, record(words * 8, tag));
                }
            }
            Step::Abandon { words } => {
                drop(ring.try_charge(words * 8).map(|charge| ring.reserve(charge)));
            }
            Step::Reserve { words } => {
                if let Ok(charge) = ring.try_charge(words * 8) {
                    let reservation = ring.reserve(charge);
                    let record = record(words * 8, tag);
                    self.expected.insert(reservation.start(), record.clone());
                    self.held.push((reservation, record));
                }
            }
            Step::FillHeld { index } if !self.held.is_empty() => {
                let (reservation, record) = self.held.swap_remove(index % self.held.len());
                reservation.fill(&record);
            }
            Step::Take { max_blocks, without_seal } => {
                let mut seat = ring.try_take_seat().expect("one thread");
                if !without_seal {
                    seat.seal_tail();
                }
                if let Some(sealed) = seat.take_filled(max_blocks, u64::MAX, block_header) {
                    self.device.write(&sealed);
                    self.flights.push(sealed);
                }
            }
            Step::Complete { index } if !self.flights.is_empty() => {
                let sealed = self.flights.swap_remove(index % self.flights.len());
                ring.complete(sealed);
            }
            Step::FillHeld { .. } | Step::Complete { .. } => {}
        }
        let oldest_flight = self.flights.iter().map(SealedBlocks::first_position).min();
        let written = ring.tail() - ring.pending_bytes();
        assert_eq!(ring.durable(), oldest_flight.unwrap_or(written));
    }
}

proptest! {
    #[test]
    fn log_ring_stream_parses_back_to_the_reserved_records(
        block_count in 2..9_usize,
        steps in steps(),
    ) {
        let ring = new_ring(block_count);
        let mut run = Run::default();
        for (tag, step) in steps.into_iter().enumerate() {
            run.step(&ring, step, tag as u32);
        }
        while !run.held.is_empty() {
            run.step(&ring, Step::FillHeld { index: 0 }, 0);
        }
        while ring.has_flushable() {
            run.step(&ring, Step::Take { max_blocks: 3, without_seal: false }, 0);
        }
        while !run.flights.is_empty() {
            run.step(&ring, Step::Complete { index: 1 }, 0);
        }
        prop_assert_eq!(ring.durable(), ring.tail());
        prop_assert_eq!(run.device.records(), run.expected);
    }
}

/// A xorshift: the threads need variety, not quality.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

struct Shared {
    ring: Arc<LogRing>,
    device: Mutex<Device>,
    /// Flights in the air, for any thread to land.
    flights: Mutex<Vec<SealedBlocks>>,
}

impl Shared {
    /// Flushes like a shard, except that a flight may be completed late and by another thread.
    fn flush(&self, random: &mut u64) {
        while self.ring.has_flushable() {
            let Some(mut seat) = self.ring.try_take_seat() else { return };
            seat.seal_tail();
            let max_blocks = 1 + next_random(random) as usize % 4;
            let sealed = seat.take_filled(max_blocks, u64::MAX, block_header);
            drop(seat);
            let Some(sealed) = sealed else { continue };
            self.device.lock().expect("no thread panics").write(&sealed);
            self.flights.lock().expect("no thread panics").push(sealed);
            self.land(random, 2);
        }
    }

    fn land(&self, random: &mut u64, keep: usize) {
        loop {
            let mut flights = self.flights.lock().expect("no thread panics");
            if flights.len() <= keep {
                return;
            }
            let index = next_random(random) as usize % flights.len();
            let sealed = flights.swap_remove(index);
            drop(flights);
            let end = sealed.end_position();
            let durable = self.ring.complete(sealed);
            assert!(durable <= self.ring.durable() && self.ring.durable() <= self.ring.tail());
            assert!(end <= self.ring.tail());
        }
    }
}

fn stress_thread(shared: &Shared, index: u32, record_count: u32) -> BTreeMap<u64, Vec<u8>> {
    let mut random = 0x9E37_79B9_7F4A_7C15 ^ u64::from(index + 1);
    let mut reserved = BTreeMap::new();
    for number in 0..record_count {
        let long = next_random(&mut random).is_multiple_of(16);
        let words_max = if long { 1_500 } else { 40 };
        let len = 8 * (1 + next_random(&mut random) % words_max) as u32;
        let charge = loop {
            match shared.ring.try_charge(len) {
                Ok(charge) => break charge,
                Err(ChargeError::RingFull) => {
                    shared.flush(&mut random);
                    shared.land(&mut random, 0);
                    thread::yield_now();
                }
                Err(other) => panic!("{other}"),
            }
        };
        let reservation = shared.ring.reserve(charge);
        match next_random(&mut random) % 32 {
            0 => drop(reservation),
            stall => {
                if stall == 1 {
                    thread::yield_now();
                }
                let record = record(len, index << 24 | number);
                let start = reservation.start();
                reservation.fill(&record);
                reserved.insert(start, record);
            }
        }
        shared.flush(&mut random);
    }
    reserved
}

#[test]
fn log_ring_under_threads_flushes_every_record_exactly_once() {
    const THREADS: u32 = 4;
    const RECORDS: u32 = 20_000;
    let shared = Shared { ring: new_ring(8), device: Mutex::default(), flights: Mutex::default() };
    let mut reserved = BTreeMap::new();
    thread::scope(|scope| {
        let shared = &shared;
        let start = |index| scope.spawn(move || stress_thread(shared, index, RECORDS));
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        for thread in threads {
            reserved.extend(thread.join().unwrap());
        }
    });
    assert!(!shared.ring.has_flushable(), "bytes left behind without a flusher");
    shared.land(&mut 1, 0);
    assert_eq!(shared.ring.durable(), shared.ring.tail());
    assert_eq!(shared.device.lock().unwrap().records(), reserved);
}
