//! `Signal` and `WaitList`, with plain atomics as the data they announce.

use super::super::atomic::{AtomicU64, Ordering};
use super::super::signal::Signal;
use super::super::wait_list::WaitList;
use super::{Fault, Faults, block_on, model, without};
use loom::thread;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A raiser publishes twice; the consumer sleeps until it has seen the second.
fn signal_model(faults: Faults) {
    let signal = Arc::new(Signal::build(faults));
    let published = Arc::new(AtomicU64::new(0));
    let raiser = {
        let (signal, published) = (Arc::clone(&signal), Arc::clone(&published));
        thread::spawn(move || {
            for value in 1..=2 {
                published.store(value, Ordering::Relaxed);
                signal.raise();
            }
        })
    };
    while published.load(Ordering::Relaxed) < 2 {
        block_on(signal.wait());
    }
    raiser.join().expect("no thread panics");
}

#[test]
fn signal_raised_while_going_to_sleep_is_not_lost() {
    model(|| signal_model(Faults::default()));
}

#[test]
fn signal_of_two_raisers_wakes_for_both() {
    model(|| {
        let signal = Arc::new(Signal::new());
        let published = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
        let raisers = published.clone().map(|published| {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                published.store(1, Ordering::Relaxed);
                signal.raise();
            })
        });
        while published.iter().any(|published| published.load(Ordering::Relaxed) == 0) {
            block_on(signal.wait());
        }
        for raiser in raisers {
            raiser.join().expect("no thread panics");
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn signal_without_its_fence_is_lost() {
    model(|| signal_model(without(Fault::SignalFence)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn signal_without_its_second_look_is_lost() {
    model(|| signal_model(without(Fault::SignalSecondLook)));
}

/// Takes the one place if it is free.
fn take_place(free: &AtomicU64) -> Option<()> {
    free.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).ok().map(drop)
}

fn free_place(free: &AtomicU64, list: &WaitList) {
    free.store(1, Ordering::Release);
    list.wake_one();
}

/// A waiter takes the place that this thread frees.
fn room_model(faults: Faults) {
    let list = Arc::new(WaitList::new(faults));
    let free = Arc::new(AtomicU64::new(0));
    let waiter = {
        let (list, free) = (Arc::clone(&list), Arc::clone(&free));
        thread::spawn(move || {
            let mut place = list.place();
            block_on(poll_fn(|context| place.poll(context, || take_place(&free))));
        })
    };
    free_place(&free, &list);
    waiter.join().expect("no thread panics");
}

#[test]
fn wait_list_wakes_the_waiter_when_room_appears() {
    model(|| room_model(Faults::default()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn wait_list_without_its_fence_loses_the_waiter() {
    model(|| room_model(without(Fault::RoomFence)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn wait_list_without_its_second_look_loses_the_waiter() {
    model(|| room_model(without(Fault::RoomSecondLook)));
}

/// One waiter enters and gives up, another one stays; the place goes to the one that stayed.
fn baton_model(faults: Faults) {
    let list = Arc::new(WaitList::new(faults));
    let free = Arc::new(AtomicU64::new(0));
    let quitter = {
        let list = Arc::clone(&list);
        thread::spawn(move || {
            let mut place = list.place();
            let mut future = pin!(poll_fn(|context| place.poll(context, || None::<()>)));
            let mut context = Context::from_waker(Waker::noop());
            assert_eq!(future.as_mut().poll(&mut context), Poll::Pending);
        })
    };
    let waiter = {
        let (list, free) = (Arc::clone(&list), Arc::clone(&free));
        thread::spawn(move || {
            let mut place = list.place();
            block_on(poll_fn(|context| place.poll(context, || take_place(&free))));
        })
    };
    free_place(&free, &list);
    quitter.join().expect("no thread panics");
    waiter.join().expect("no thread panics");
}

#[test]
fn wait_list_passes_the_turn_of_a_waiter_that_gave_up() {
    model(|| baton_model(Faults::default()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn wait_list_without_the_baton_loses_the_next_waiter() {
    model(|| baton_model(without(Fault::RoomBaton)));
}

/// Two waiters, two places freed one after the other: a waiter that helped itself to the first
/// must not keep the wake-up of the second.
fn two_places_model(faults: Faults) {
    let list = Arc::new(WaitList::new(faults));
    let free = Arc::new(AtomicU64::new(0));
    let waiters = [(); 2].map(|()| {
        let (list, free) = (Arc::clone(&list), Arc::clone(&free));
        thread::spawn(move || {
            let mut place = list.place();
            let take = || {
                let less = |free: u64| free.checked_sub(1);
                free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less).ok()
            };
            block_on(poll_fn(|context| place.poll(context, take)));
        })
    });
    for _ in 0..2 {
        free.fetch_add(1, Ordering::Release);
        list.wake_one();
    }
    for waiter in waiters {
        waiter.join().expect("no thread panics");
    }
}

#[test]
fn wait_list_wakes_a_waiter_for_each_of_two_places() {
    model(|| two_places_model(Faults::default()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn wait_list_without_the_baton_loses_the_second_place() {
    model(|| two_places_model(without(Fault::RoomBaton)));
}
