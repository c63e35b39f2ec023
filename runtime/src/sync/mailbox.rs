//! Bounded mailbox: many senders, one receiving task.

use super::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use super::fault::Faults;
use super::padded::Padded;
use super::queue::Bounded;
use super::signal::Signal;
use super::wait_list::WaitList;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Returns both ends of a mailbox that holds at most `capacity` messages.
pub fn mailbox<M>(capacity: usize) -> (MailboxSender<M>, MailboxReceiver<M>) {
    build(capacity, Faults::default())
}

pub(super) fn build<M>(capacity: usize, faults: Faults) -> (MailboxSender<M>, MailboxReceiver<M>) {
    assert!(capacity > 0, "INV-9: a mailbox holds at least one message");
    let shared = Arc::new(Shared {
        messages: Bounded::new(capacity),
        arrival: Signal::build(faults),
        room: WaitList::new(faults),
        sender_count: Padded::new(AtomicUsize::new(1)),
        is_closed: AtomicBool::new(false),
    });
    (MailboxSender { shared: Arc::clone(&shared) }, MailboxReceiver { shared })
}

struct Shared<M> {
    messages: Bounded<M>,
    arrival: Signal,
    room: WaitList,
    sender_count: Padded<AtomicUsize>,
    is_closed: AtomicBool,
}

/// Sending end; clone one per sender. Messages of one sender arrive in the order it sent them.
pub struct MailboxSender<M> {
    shared: Arc<Shared<M>>,
}

/// Receiving end, for one task at a time.
pub struct MailboxReceiver<M> {
    shared: Arc<Shared<M>>,
}

impl<M> MailboxSender<M> {
    /// Errors: the message, when the mailbox is full or its receiver is gone (`is_closed`).
    pub fn try_send(&self, message: M) -> Result<(), M> {
        let shared = &*self.shared;
        if shared.is_closed.load(Ordering::Acquire) {
            return Err(message);
        }
        shared.messages.push(message)?;
        shared.arrival.raise();
        // The receiver closes, fences and empties the queue; this thread pushes, fences (in case
        // `raise` did not) and looks: one of them removes the message, which may hold a reply
        // channel whose end somebody awaits.
        fence(Ordering::SeqCst);
        if shared.is_closed.load(Ordering::Relaxed) {
            shared.discard_all();
        }
        Ok(())
    }

    /// Waits for room. Errors: the message, when the receiver is gone.
    pub async fn send(&self, message: M) -> Result<(), M> {
        let mut unsent = Some(message);
        let mut place = self.shared.room.place();
        poll_fn(|context| {
            place.poll(context, || {
                let message = unsent.take().expect("a send ends with its message gone");
                match self.try_send(message) {
                    Ok(()) => Some(Ok(())),
                    Err(message) if self.is_closed() => Some(Err(message)),
                    Err(message) => {
                        unsent = Some(message);
                        None
                    }
                }
            })
        })
        .await
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }
}

impl<M> Clone for MailboxSender<M> {
    fn clone(&self) -> Self {
        self.shared.sender_count.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> Drop for MailboxSender<M> {
    fn drop(&mut self) {
        if self.shared.sender_count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.arrival.raise();
        }
    }
}

impl<M> MailboxReceiver<M> {
    /// Returns the next message, or `None` when the mailbox is empty and every sender is gone.
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<M> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The poll function of `recv`.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<M>> {
        loop {
            if let Some(message) = self.try_recv() {
                return Poll::Ready(Some(message));
            }
            if self.shared.sender_count.load(Ordering::Acquire) == 0 {
                // The last sender pushed before it left, so this look is final.
                return Poll::Ready(self.try_recv());
            }
            if self.shared.arrival.poll_wait(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Returns the next message if one is there.
    pub fn try_recv(&mut self) -> Option<M> {
        let message = self.shared.messages.pop()?;
        self.shared.room.wake_one();
        Some(message)
    }

    /// Hands over at most `limit` messages that are there now; returns how many.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(M)) -> usize {
        for taken in 0..limit {
            let Some(message) = self.try_recv() else { return taken };
            take(message);
        }
        limit
    }

    /// Messages waiting, exact only while nobody sends.
    pub fn len(&self) -> usize {
        self.shared.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<M> Drop for MailboxReceiver<M> {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.shared.discard_all();
        self.shared.room.wake_all();
    }
}

impl<M> Shared<M> {
    fn discard_all(&self) {
        while let Some(message) = self.messages.pop() {
            drop(message);
        }
    }
}
