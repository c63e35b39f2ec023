//! The log ring's order: flights completing out of turn, failure, the charge bound, reuse of
//! slots.

use super::log_flush::Bench;
use super::{Fault, Faults, model, without};
use loom::thread;
use std::sync::Arc;

const START: u64 = 32;
const PAYLOAD: u64 = 16;

/// Two flights of a block each complete at the same time.
fn two_flights(faults: Faults) {
    let bench = Bench::new(4, faults);
    assert!(bench.commit(16, 1) && bench.commit(16, 2));
    let first = bench.take(1).expect("two full blocks");
    let second = bench.take(1).expect("one full block");
    let other = {
        let bench = Arc::clone(&bench);
        thread::spawn(move || bench.complete(second))
    };
    bench.check_durable(bench.ring.durable());
    bench.complete(first);
    other.join().expect("no thread panics");
    bench.check_flushed();
}

#[test]
fn log_ring_durable_follows_contiguous_completions() {
    model(|| two_flights(Faults::default()));
}

#[test]
#[should_panic(expected = "over a hole")]
fn log_ring_durable_over_a_hole_is_noticed() {
    model(|| two_flights(without(Fault::DurableContiguous)));
}

#[test]
#[should_panic(expected = "left behind")]
fn log_ring_without_the_completers_fence_stops_durable_early() {
    model(|| two_flights(without(Fault::CompleteFence)));
}

/// A flight completes while the ring fails; nothing becomes durable after `fail` has returned.
fn failing(faults: Faults) {
    let bench = Bench::new(4, faults);
    assert!(bench.commit(16, 1) && bench.commit(16, 2));
    let first = bench.take(1).expect("two full blocks");
    let second = bench.take(1).expect("one full block");
    let other = {
        let bench = Arc::clone(&bench);
        thread::spawn(move || {
            bench.complete(second);
            bench.complete(first);
        })
    };
    bench.ring.fail();
    let durable = bench.ring.durable();
    other.join().expect("no thread panics");
    assert_eq!(bench.ring.durable(), durable, "a failed ring became more durable");
}

#[test]
fn log_ring_fail_freezes_durable_against_a_completion() {
    model(|| failing(Faults::default()));
}

#[test]
#[should_panic(expected = "more durable")]
fn log_ring_that_does_not_freeze_is_noticed() {
    model(|| failing(without(Fault::FailFreezes)));
}

#[test]
fn log_ring_dropping_a_flight_freezes_durable_before_it() {
    model(|| {
        let bench = Bench::new(4, Faults::default());
        assert!(bench.commit(16, 1) && bench.commit(16, 2));
        let first = bench.take(1).expect("two full blocks");
        let second = bench.take(1).expect("one full block");
        let other = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.complete(second))
        };
        drop(first);
        other.join().expect("no thread panics");
        assert_eq!(bench.ring.durable(), START);
        assert!(bench.ring.is_failed());
    });
}

/// Two threads commit and seal, twice each if they may, into a ring that nobody empties; the ring
/// itself asserts that no reservation passes its bound.
fn crowd(faults: Faults) {
    let bench = Bench::new(3, faults);
    let commit_twice = |bench: &Bench, tag| {
        let charges = [bench.ring.try_charge(8).ok(), bench.ring.try_charge(8).ok()];
        let mut count = 0;
        for charge in charges.into_iter().flatten() {
            let reservation = bench.ring.reserve(charge);
            reservation.fill(&[tag; 8]);
            if let Some(mut seat) = bench.ring.try_take_seat() {
                seat.seal_tail();
            }
            count += 1;
        }
        count
    };
    let other = {
        let bench = Arc::clone(&bench);
        thread::spawn(move || commit_twice(&bench, 1))
    };
    let count = commit_twice(&bench, 2) + other.join().expect("no thread panics");
    assert!(count >= 2, "two charges of 8 + 16 bytes fit in 48");
    assert!(bench.ring.tail() <= START + 3 * PAYLOAD);
}

#[test]
fn log_ring_charges_bound_the_tail() {
    model(|| crowd(Faults::default()));
}

#[test]
#[should_panic(expected = "INV-9: log tail")]
fn log_ring_without_charging_the_waste_passes_its_bound() {
    model(|| crowd(without(Fault::ChargeSealingWaste)));
}

/// One thread's reservation stays unfilled for a while, the other's lies behind it.
fn stalled_owner(faults: Faults) {
    let bench = Bench::new(4, faults);
    let charge = bench.ring.try_charge(8).expect("the ring is empty");
    let stalled = bench.ring.reserve(charge);
    let other = {
        let bench = Arc::clone(&bench);
        thread::spawn(move || {
            assert!(bench.commit(16, 1));
            bench.flush(true);
        })
    };
    // Dropped unfilled it becomes a pad record.
    drop(stalled);
    bench.flush(true);
    other.join().expect("no thread panics");
    bench.check_flushed();
}

#[test]
fn log_ring_waits_for_an_owner_that_stalls_before_its_fill() {
    model(|| stalled_owner(Faults::default()));
}

#[test]
#[should_panic]
fn log_ring_taking_a_block_before_it_is_full_is_noticed() {
    model(|| stalled_owner(without(Fault::TakeFullOnly)));
}

#[test]
fn log_ring_reuses_a_slot_after_its_block_is_durable() {
    model(|| {
        // Full: three blocks reserved and filled, the first of them in flight.
        let bench = Bench::new(3, Faults::default());
        for tag in 1..=2 {
            assert!(bench.commit(16, tag));
        }
        let first = bench.take(1).expect("two full blocks");
        assert!(!bench.commit(16, 3), "16 + 16 bytes more do not fit");
        let other = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                bench.complete(first);
                bench.flush(true);
            })
        };
        // Fits once the first block is durable; spans the last slot and the first.
        bench.flush(true);
        while !bench.commit(24, 3) {
            thread::yield_now();
        }
        bench.flush(true);
        other.join().expect("no thread panics");
        bench.check_flushed();
    });
}
