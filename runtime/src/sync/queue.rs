//! The bounded queues under mailbox and mesh, and their stand-ins under loom.

#[cfg(not(sombra_loom))]
pub(super) use real::{Bounded, Consumer, Producer, spsc};
#[cfg(sombra_loom)]
pub(super) use shim::{Bounded, Consumer, Producer, spsc};

#[cfg(not(sombra_loom))]
mod real {
    /// Many producers; any thread may pop.
    pub(crate) struct Bounded<M>(crossbeam_queue::ArrayQueue<M>);

    impl<M> Bounded<M> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self(crossbeam_queue::ArrayQueue::new(capacity))
        }

        pub(crate) fn push(&self, message: M) -> Result<(), M> {
            self.0.push(message)
        }

        pub(crate) fn pop(&self) -> Option<M> {
            self.0.pop()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    pub(crate) struct Producer<M>(rtrb::Producer<M>);
    pub(crate) struct Consumer<M>(rtrb::Consumer<M>);

    pub(crate) fn spsc<M>(capacity: usize) -> (Producer<M>, Consumer<M>) {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        (Producer(producer), Consumer(consumer))
    }

    impl<M> Producer<M> {
        pub(crate) fn push(&mut self, message: M) -> Result<(), M> {
            self.0.push(message).map_err(|rtrb::PushError::Full(message)| message)
        }

        pub(crate) fn is_abandoned(&self) -> bool {
            self.0.is_abandoned()
        }
    }

    impl<M> Consumer<M> {
        pub(crate) fn pop(&mut self) -> Option<M> {
            self.0.pop().ok()
        }
    }
}

#[cfg(sombra_loom)]
mod shim {
    use super::super::atomic::Mutex;
    use std::collections::VecDeque;
    use std::sync::Arc;

    pub(crate) struct Bounded<M> {
        messages: Mutex<VecDeque<M>>,
        capacity: usize,
    }

    impl<M> Bounded<M> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { messages: Mutex::new(VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, message: M) -> Result<(), M> {
            let mut messages = self.messages.lock();
            if messages.len() == self.capacity {
                return Err(message);
            }
            messages.push_back(message);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<M> {
            self.messages.lock().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.messages.lock().len()
        }
    }

    pub(crate) struct Producer<M>(Arc<Bounded<M>>);
    pub(crate) struct Consumer<M>(Arc<Bounded<M>>);

    pub(crate) fn spsc<M>(capacity: usize) -> (Producer<M>, Consumer<M>) {
        let queue = Arc::new(Bounded::new(capacity));
        (Producer(Arc::clone(&queue)), Consumer(queue))
    }

    impl<M> Producer<M> {
        pub(crate) fn push(&mut self, message: M) -> Result<(), M> {
            self.0.push(message)
        }

        pub(crate) fn is_abandoned(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }
    }

    impl<M> Consumer<M> {
        pub(crate) fn pop(&mut self) -> Option<M> {
            self.0.pop()
        }
    }
}
