use super::{EpochCell, Mesh, Signal, mailbox};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl CountWakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<CountWakes>, Waker) {
    let wakes = Arc::new(CountWakes::default());
    (Arc::clone(&wakes), Waker::from(wakes))
}

#[test]
fn signal_coalesces_raises_and_wakes_a_waiter_once() {
    let signal = Signal::new();
    let (wakes, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    signal.raise();
    signal.raise();
    assert!(signal.poll_wait(&mut context).is_ready(), "raised before the wait");
    assert!(signal.poll_wait(&mut context).is_pending(), "two raises count once");
    signal.raise();
    signal.raise();
    assert_eq!(wakes.count(), 1);
    assert!(signal.try_consume());
    assert!(!signal.try_consume());
}

#[test]
fn signal_hands_every_value_over_between_threads() {
    let (signal, value) = (Arc::new(Signal::new()), Arc::new(AtomicU64::new(0)));
    let raiser = {
        let (signal, value) = (Arc::clone(&signal), Arc::clone(&value));
        thread::spawn(move || {
            for next in 1..=100_000 {
                value.store(next, Ordering::Relaxed);
                signal.raise();
            }
        })
    };
    while value.load(Ordering::Relaxed) < 100_000 {
        block_on(signal.wait());
    }
    raiser.join().unwrap();
}

#[test]
fn mailbox_when_full_returns_the_message_and_drains_up_to_its_limit() {
    let (sender, mut receiver) = mailbox(3);
    for message in 0..3 {
        sender.try_send(message).unwrap();
    }
    assert_eq!(sender.try_send(3), Err(3));
    assert_eq!(receiver.len(), 3);
    let mut drained = Vec::new();
    assert_eq!(receiver.drain(2, |message| drained.push(message)), 2);
    assert_eq!(receiver.drain(2, |message| drained.push(message)), 1);
    assert_eq!(drained, [0, 1, 2]);
    assert!(receiver.is_empty());
}

#[test]
fn mailbox_ends_when_its_senders_are_gone_and_it_is_empty() {
    let (sender, mut receiver) = mailbox(2);
    let other = sender.clone();
    sender.try_send(1).unwrap();
    drop(sender);
    assert_eq!(block_on(receiver.recv()), Some(1));
    drop(other);
    assert_eq!(block_on(receiver.recv()), None);
}

#[test]
fn mailbox_without_a_receiver_gives_the_message_back() {
    let (sender, receiver) = mailbox(1);
    let message = Arc::new(());
    sender.try_send(Arc::clone(&message)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&message), 1, "queued messages go with the receiver");
    assert!(sender.is_closed());
    assert!(block_on(sender.send(Arc::clone(&message))).is_err());
}

#[test]
fn mailbox_passes_on_the_turn_of_a_cancelled_send() {
    let (sender, mut receiver) = mailbox(1);
    sender.try_send(0).unwrap();
    let (first_wakes, first_waker) = counting_waker();
    let (second_wakes, second_waker) = counting_waker();
    {
        let mut first = Box::pin(sender.send(1));
        let mut second = Box::pin(sender.send(2));
        assert!(first.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
        assert_eq!(receiver.try_recv(), Some(0));
        assert_eq!((first_wakes.count(), second_wakes.count()), (1, 0));
        drop(first);
        assert_eq!(second_wakes.count(), 1);
        assert!(second.as_mut().poll(&mut Context::from_waker(&second_waker)).is_ready());
    }
    assert_eq!(receiver.try_recv(), Some(2));
}

#[test]
fn mailbox_of_many_waiting_senders_keeps_each_ones_order() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 5_000;
    let (sender, mut receiver) = mailbox(3);
    let senders: Vec<_> = (0..SENDERS)
        .map(|index| {
            let sender = sender.clone();
            thread::spawn(move || {
                for message in 0..MESSAGES {
                    block_on(sender.send((index, message))).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; SENDERS];
    while let Some((index, message)) = block_on(receiver.recv()) {
        assert_eq!(message, next[index], "sender {index}");
        next[index] += 1;
    }
    assert_eq!(next, [MESSAGES; SENDERS]);
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn mesh_lets_senders_take_turns_and_keeps_each_ones_order() {
    let ports = Mesh::new(3, 4);
    for message in 0..3 {
        ports[0].try_send(2, message).unwrap();
        ports[1].try_send(2, 10 + message).unwrap();
    }
    let received: Vec<_> = std::iter::from_fn(|| ports[2].try_recv()).collect();
    assert_eq!(received, [(0, 0), (1, 10), (0, 1), (1, 11), (0, 2), (1, 12)]);
    assert_eq!((ports[2].index(), ports[2].port_count()), (2, 3));
}

#[test]
fn mesh_port_gone_gives_the_message_back() {
    let mut ports = Mesh::new(2, 1);
    drop(ports.pop());
    assert!(ports[0].is_closed(1));
    assert_eq!(ports[0].try_send(1, 7), Err(7));
    assert_eq!(block_on(ports[0].send(1, 7)), Err(7));
}

#[test]
fn mesh_send_waiting_for_a_port_that_goes_away_ends() {
    let mut ports = Mesh::new(2, 1);
    let gone = ports.pop().unwrap();
    ports[0].try_send(1, 0).unwrap();
    let (wakes, waker) = counting_waker();
    let mut send = pin!(ports[0].send(1, 1));
    assert!(send.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(gone);
    assert_eq!(wakes.count(), 1);
    assert_eq!(send.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Err(1)));
}

#[test]
fn mesh_of_threads_delivers_everything() {
    const MESSAGES: u64 = 20_000;
    let mut ports = Mesh::new(2, 8);
    let one = ports.pop().unwrap();
    let zero = ports.pop().unwrap();
    let echo = thread::spawn(move || {
        for _ in 0..MESSAGES {
            let (from, message) = block_on(one.recv());
            block_on(one.send(from, message + 1)).unwrap();
        }
    });
    let mut sent = 0;
    let mut received = 0;
    while received < MESSAGES {
        while sent < MESSAGES && zero.try_send(1, sent).is_ok() {
            sent += 1;
        }
        assert_eq!(block_on(zero.recv()), (1, received + 1));
        received += 1;
    }
    echo.join().unwrap();
}

#[test]
fn epoch_cell_moves_its_epoch_with_each_value() {
    let cell = EpochCell::new(Arc::new("old"));
    assert_eq!((cell.epoch(), *cell.load()), (1, "old"));
    let kept = cell.load();
    assert_eq!(cell.replace(Arc::new("new")), 2);
    assert_eq!(cell.load_with_epoch(), (2, Arc::new("new")));
    assert_eq!(*kept, "old");
}
