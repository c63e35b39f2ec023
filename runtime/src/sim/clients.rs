//! Foreign tasks of a simulated world: what would run in somebody else's async runtime.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crossbeam_queue::SegQueue;

use super::dice::Dice;
use crate::runtime::Runtime;
use crate::time::Moment;

type ClientFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Client {
    name: String,
    future: ClientFuture,
    waker: Waker,
}

/// The part of a client that wakers share; it never touches the future.
struct Header {
    number: u64,
    scheduled: AtomicBool,
    ready: Arc<SegQueue<u64>>,
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            self.ready.push(self.number);
        }
    }
}

struct Waiting {
    clients: BTreeMap<u64, (Arc<Header>, Option<Client>)>,
    ready: Vec<u64>,
    timers: BTreeMap<(Moment, u64), Waker>,
    next_number: u64,
}

struct Inner {
    runtime: Runtime,
    woken: Arc<SegQueue<u64>>,
    waiting: RefCell<Waiting>,
    dice: RefCell<Dice>,
    closed: Cell<bool>,
}

/// Handle to a world's foreign tasks, for spawning more of them and for virtual time.
#[derive(Clone)]
pub struct SimClients(Rc<Inner>);

impl SimClients {
    pub(super) fn new(runtime: Runtime, dice: Dice) -> SimClients {
        let waiting = Waiting {
            clients: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            next_number: 0,
        };
        SimClients(Rc::new(Inner {
            runtime,
            woken: Arc::new(SegQueue::new()),
            waiting: RefCell::new(waiting),
            dice: RefCell::new(dice),
            closed: Cell::new(false),
        }))
    }

    /// Starts a foreign task. After the world's end the future is dropped at once.
    pub fn spawn(&self, name: impl Into<String>, future: impl Future<Output = ()> + 'static) {
        if self.0.closed.get() {
            return;
        }
        let mut waiting = self.0.waiting.borrow_mut();
        let number = waiting.number();
        let ready = Arc::clone(&self.0.woken);
        let header = Arc::new(Header { number, scheduled: AtomicBool::new(true), ready });
        let waker = Waker::from(Arc::clone(&header));
        let client = Client { name: name.into(), future: Box::pin(future), waker };
        waiting.clients.insert(number, (header, Some(client)));
        waiting.ready.push(number);
    }

    pub fn now(&self) -> Moment {
        self.0.runtime.now()
    }

    pub fn random_u64(&self) -> u64 {
        self.0.dice.borrow_mut().next()
    }

    pub fn sleep(&self, duration: Duration) -> ClientSleep {
        let deadline = self.now().checked_add(duration);
        let deadline = deadline.expect("a simulated run is shorter than 585 years");
        ClientSleep { clients: self.clone(), deadline, registered: None }
    }

    /// Lets others run before the task goes on.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Clients that have not ended.
    pub(super) fn names(&self) -> Vec<String> {
        let waiting = self.0.waiting.borrow();
        let clients = waiting.clients.values().filter_map(|(_, client)| client.as_ref());
        clients.map(|client| client.name.clone()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let waiting = self.0.waiting.borrow();
        waiting.timers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Expires timers and says whether a client could run.
    pub(super) fn prepare(&self, now: Moment) -> bool {
        while let Some(waker) = self.0.waiting.borrow_mut().pop_expired(now) {
            waker.wake();
        }
        let mut waiting = self.0.waiting.borrow_mut();
        while let Some(number) = self.0.woken.pop() {
            waiting.ready.push(number);
        }
        !waiting.ready.is_empty()
    }

    /// Polls one of the ready clients; returns its number.
    pub(super) fn poll_one(&self, dice: &mut Dice) -> u64 {
        let mut waiting = self.0.waiting.borrow_mut();
        let number = waiting.take_ready(dice);
        // A waker may outlive its client; then there is nothing to poll.
        let Some((header, Some(mut client))) = waiting.clients.remove(&number) else {
            return number;
        };
        waiting.clients.insert(number, (Arc::clone(&header), None));
        drop(waiting);
        header.scheduled.store(false, Ordering::Release);
        let polled = client.future.as_mut().poll(&mut Context::from_waker(&client.waker));
        let mut waiting = self.0.waiting.borrow_mut();
        let ended = match polled {
            Poll::Ready(()) => {
                waiting.clients.remove(&number);
                Some(client)
            }
            Poll::Pending => {
                waiting.clients.insert(number, (header, Some(client)));
                None
            }
        };
        drop(waiting);
        // The future's destructors are the client's code: they may spawn.
        drop(ended);
        number
    }

    /// Drops every client. Nothing is polled or accepted any more.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
        let (clients, timers) = {
            let mut waiting = self.0.waiting.borrow_mut();
            waiting.ready.clear();
            (std::mem::take(&mut waiting.clients), std::mem::take(&mut waiting.timers))
        };
        drop(clients);
        drop(timers);
    }
}

impl Waiting {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn pop_expired(&mut self, now: Moment) -> Option<Waker> {
        let first = self.timers.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn take_ready(&mut self, dice: &mut Dice) -> u64 {
        let index = dice.index(self.ready.len());
        self.ready.swap_remove(index)
    }
}

/// Completes at its virtual deadline.
pub struct ClientSleep {
    clients: SimClients,
    deadline: Moment,
    registered: Option<(Moment, u64)>,
}

impl Future for ClientSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.clients.now() >= this.deadline {
            this.unregister();
            return Poll::Ready(());
        }
        let mut waiting = this.clients.0.waiting.borrow_mut();
        let number = match this.registered {
            Some((_, number)) => number,
            None => waiting.number(),
        };
        let key = (this.deadline, number);
        let replaced = waiting.timers.insert(key, cx.waker().clone());
        drop(waiting);
        drop(replaced);
        this.registered = Some(key);
        Poll::Pending
    }
}

impl ClientSleep {
    fn unregister(&mut self) {
        if let Some(key) = self.registered.take() {
            let waker = self.clients.0.waiting.borrow_mut().timers.remove(&key);
            drop(waker);
        }
    }
}

impl Drop for ClientSleep {
    fn drop(&mut self) {
        self.unregister();
    }
}
