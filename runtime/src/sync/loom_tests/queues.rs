//! Mailbox and mesh: the queue itself is a mutex here, the wake-ups around it are the real ones.

use super::super::mailbox;
use super::super::mesh::Mesh;
use super::{Fault, Faults, block_on, model, model_with, without};
use loom::thread;
use std::mem::ManuallyDrop;

fn two_senders(faults: Faults) {
    let (sender, receiver) = mailbox::build(2, faults);
    // Kept from being dropped when loom gives up.
    let mut receiver = ManuallyDrop::new(receiver);
    let senders = [(sender.clone(), 1), (sender, 2)].map(|(sender, message)| {
        thread::spawn(move || sender.try_send(message).expect("there is room for both"))
    });
    let mut received = Vec::new();
    while let Some(message) = block_on(receiver.recv()) {
        received.push(message);
    }
    received.sort_unstable();
    assert_eq!(received, [1, 2]);
    for sender in senders {
        sender.join().expect("no thread panics");
    }
    drop(ManuallyDrop::into_inner(receiver));
}

#[test]
fn mailbox_of_two_senders_loses_no_message_and_no_wake() {
    model_with(2, || two_senders(Faults::default()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn mailbox_without_the_signals_second_look_hangs() {
    model(|| two_senders(without(Fault::SignalSecondLook)));
}

fn full_mailbox(faults: Faults) {
    let (sender, receiver) = mailbox::build(1, faults);
    let mut receiver = ManuallyDrop::new(receiver);
    sender.try_send(1).expect("the mailbox is empty");
    let sender = thread::spawn(move || {
        let sender = ManuallyDrop::new(sender);
        for message in 2..=3 {
            block_on(sender.send(message)).expect("the receiver stays");
        }
        drop(ManuallyDrop::into_inner(sender));
    });
    for expected in 1..=3 {
        assert_eq!(block_on(receiver.recv()), Some(expected), "messages keep their order");
    }
    sender.join().expect("no thread panics");
    drop(ManuallyDrop::into_inner(receiver));
}

#[test]
fn mailbox_when_full_wakes_its_sender_for_room() {
    model(|| full_mailbox(Faults::default()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn mailbox_without_the_senders_second_look_hangs() {
    model(|| full_mailbox(without(Fault::RoomSecondLook)));
}

#[test]
fn mailbox_with_two_waiting_senders_wakes_both() {
    // The models of `WaitList` have more switches.
    model_with(2, || {
        let (sender, mut receiver) = mailbox::build(1, Faults::default());
        sender.try_send(0).expect("the mailbox is empty");
        let senders = [(sender.clone(), 1), (sender, 2)].map(|(sender, message)| {
            thread::spawn(move || block_on(sender.send(message)).expect("the receiver stays"))
        });
        let mut sum = 0;
        for _ in 0..3 {
            sum += block_on(receiver.recv()).expect("a message is on its way");
        }
        assert_eq!(sum, 3);
        for sender in senders {
            sender.join().expect("no thread panics");
        }
    });
}

#[test]
fn mailbox_receiver_going_away_ends_a_waiting_send_and_drops_the_messages() {
    model(|| {
        let (sender, receiver) = mailbox::build(1, Faults::default());
        let message = std::sync::Arc::new(());
        let (first, second) = (message.clone(), message.clone());
        let sender = thread::spawn(move || {
            // Each is queued or given back, as the receiver goes away sooner or later.
            drop(block_on(sender.send(first)));
            drop(block_on(sender.send(second)));
            sender
        });
        drop(receiver);
        let sender = sender.join().expect("no thread panics");
        assert_eq!(std::sync::Arc::strong_count(&message), 1, "a message outlived its mailbox");
        drop(sender);
    });
}

#[test]
fn mesh_in_both_directions_loses_no_message_and_no_wake() {
    model(|| {
        let mut ports = Mesh::new(2, 1);
        let one = ports.pop().expect("two ports");
        let zero = ports.pop().expect("two ports");
        let peer = thread::spawn(move || {
            block_on(one.send(0, "ping")).expect("the port stays");
            assert_eq!(block_on(one.recv()), (0, "pong"));
            one
        });
        assert_eq!(block_on(zero.recv()), (1, "ping"));
        block_on(zero.send(1, "pong")).expect("the port stays");
        drop(peer.join().expect("no thread panics"));
    });
}

#[test]
fn mesh_when_full_wakes_its_sender_for_room() {
    model(|| {
        let mut ports = Mesh::new(2, 1);
        let one = ports.pop().expect("two ports");
        let zero = ports.pop().expect("two ports");
        let peer = thread::spawn(move || {
            for message in 0..2 {
                block_on(one.send(0, message)).expect("the port stays");
            }
            one
        });
        for message in 0..2 {
            assert_eq!(block_on(zero.recv()), (1, message), "messages keep their order");
        }
        drop(peer.join().expect("no thread panics"));
    });
}
