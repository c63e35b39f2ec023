//! N×N bounded queues between shards.

use super::queue::{Consumer, Producer, spsc};
use super::signal::Signal;
use super::wait_list::WaitList;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Builds the ports of a mesh.
pub struct Mesh<M>(PhantomData<M>);

/// One shard's end of the mesh: `Send`, to reach its shard, and used only there.
///
/// Any number of tasks of the shard send; one task receives.
pub struct MeshPort<M> {
    own_index: usize,
    outgoing: Box<[Outgoing<M>]>,
    incoming: Box<[Incoming<M>]>,
    /// Raised by peers after they pushed to this port.
    arrival: Arc<Signal>,
    /// Where the next `recv` looks first, so that no peer starves another.
    next_source: Cell<usize>,
}

struct Outgoing<M> {
    ring: RefCell<Producer<M>>,
    room: Arc<WaitList>,
    arrival: Arc<Signal>,
}

struct Incoming<M> {
    /// `None` once the port is being dropped.
    ring: RefCell<Option<Consumer<M>>>,
    room: Arc<WaitList>,
}

impl<M> Mesh<M> {
    /// Returns `port_count` ports, in order of index; each ordered pair of ports, a port and
    /// itself included, is joined by a queue of `capacity` messages.
    // The mesh has no state of its own: its ports are all there is.
    #[expect(clippy::new_ret_no_self)]
    pub fn new(port_count: usize, capacity: usize) -> Vec<MeshPort<M>> {
        assert!(port_count > 0 && capacity > 0, "INV-9: a mesh has ports, its queues have room");
        let arrivals: Vec<_> = (0..port_count).map(|_| Arc::new(Signal::new())).collect();
        let mut incoming: Vec<Vec<Incoming<M>>> = (0..port_count).map(|_| Vec::new()).collect();
        let mut outgoing: Vec<Vec<Outgoing<M>>> = (0..port_count).map(|_| Vec::new()).collect();
        for from in &mut outgoing {
            for (to, to_incoming) in incoming.iter_mut().enumerate() {
                let (producer, consumer) = spsc(capacity);
                let room = Arc::new(WaitList::new(Default::default()));
                let arrival = Arc::clone(&arrivals[to]);
                let ring = RefCell::new(producer);
                from.push(Outgoing { ring, room: Arc::clone(&room), arrival });
                to_incoming.push(Incoming { ring: RefCell::new(Some(consumer)), room });
            }
        }
        let ends = outgoing.into_iter().zip(incoming).zip(arrivals).enumerate();
        ends.map(|(own_index, ((outgoing, incoming), arrival))| MeshPort {
            own_index,
            outgoing: outgoing.into(),
            incoming: incoming.into(),
            arrival,
            next_source: Cell::new(0),
        })
        .collect()
    }
}

impl<M> MeshPort<M> {
    pub fn index(&self) -> usize {
        self.own_index
    }

    pub fn port_count(&self) -> usize {
        self.outgoing.len()
    }

    /// Errors: the message, when the queue is full or port `to` is gone (`is_closed`).
    pub fn try_send(&self, to: usize, message: M) -> Result<(), M> {
        let outgoing = &self.outgoing[to];
        if self.is_closed(to) {
            return Err(message);
        }
        outgoing.ring.borrow_mut().push(message)?;
        outgoing.arrival.raise();
        Ok(())
    }

    /// Waits for room. Errors: the message, when port `to` is gone.
    pub async fn send(&self, to: usize, message: M) -> Result<(), M> {
        let mut unsent = Some(message);
        let mut place = self.outgoing[to].room.place();
        poll_fn(|context| {
            place.poll(context, || {
                let message = unsent.take().expect("a send ends with its message gone");
                match self.try_send(to, message) {
                    Ok(()) => Some(Ok(())),
                    Err(message) if self.is_closed(to) => Some(Err(message)),
                    Err(message) => {
                        unsent = Some(message);
                        None
                    }
                }
            })
        })
        .await
    }

    /// Whether port `to` was dropped.
    pub fn is_closed(&self, to: usize) -> bool {
        self.outgoing[to].ring.borrow().is_abandoned()
    }

    /// Returns the next message and its sender's index. Messages of one sender keep their order;
    /// senders take turns. Dropping the future loses nothing.
    pub async fn recv(&self) -> (usize, M) {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The poll function of `recv`.
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<(usize, M)> {
        loop {
            if let Some(received) = self.try_recv() {
                return Poll::Ready(received);
            }
            if self.arrival.poll_wait(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Returns the next message and its sender's index if one is there.
    pub fn try_recv(&self) -> Option<(usize, M)> {
        let source_count = self.incoming.len();
        for step in 0..source_count {
            let source = (self.next_source.get() + step) % source_count;
            let incoming = &self.incoming[source];
            let popped = incoming.ring.borrow_mut().as_mut().and_then(Consumer::pop);
            if let Some(message) = popped {
                self.next_source.set((source + 1) % source_count);
                incoming.room.wake_one();
                return Some((source, message));
            }
        }
        None
    }
}

impl<M> Drop for MeshPort<M> {
    fn drop(&mut self) {
        for incoming in &self.incoming {
            drop(incoming.ring.borrow_mut().take());
            incoming.room.wake_all();
        }
    }
}
