//! One page being read, and all who wait for it.
//!
//! There is no task behind a flight: whoever of its waiters is polled last drives the read. When
//! that one goes away, the others are woken and one of them drives on; when the last one goes
//! away, the read is given up.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use sombra_runtime::{DmaBuf, IoClass};

use super::FetchPage;
use super::page::Page;
use super::page_cache::PageCache;
use crate::format::page::{PageOwner, PageRef};

pub(super) type Reading<E> = Pin<Box<dyn Future<Output = Result<DmaBuf, E>>>>;

/// What is read, and for whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) page: PageRef,
    pub(super) owner: PageOwner,
}

enum State<E> {
    /// `None` only while a waiter polls it.
    Reading(Option<Reading<E>>),
    Landed(Result<Page, E>),
    /// A panic ended the read; whoever still waits starts another.
    Crashed,
}

pub(super) struct Flight<E> {
    wanted: Wanted,
    /// What the cache's budget was charged for it.
    charged_bytes: Cell<u64>,
    state: RefCell<State<E>>,
    waiting: Cell<usize>,
    next_waiter: Cell<u64>,
    /// Whoever polled the read last.
    driver: Cell<Option<u64>>,
    wakers: RefCell<Vec<(u64, Waker)>>,
}

/// What a waiter finds when it is polled.
enum Found<E> {
    /// To be polled by it.
    Reading(Reading<E>),
    /// Somebody further up the stack polls it.
    Busy,
    Landed(Result<Page, E>),
    Crashed,
}

impl<E: Clone> Flight<E> {
    pub(super) fn new(wanted: Wanted, charged_bytes: u64, reading: Reading<E>) -> Flight<E> {
        Flight {
            wanted,
            charged_bytes: Cell::new(charged_bytes),
            state: RefCell::new(State::Reading(Some(reading))),
            waiting: Cell::new(0),
            next_waiter: Cell::new(0),
            driver: Cell::new(None),
            wakers: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// What is charged for it, which the caller takes over.
    pub(super) fn take_charge(&self) -> u64 {
        self.charged_bytes.take()
    }

    #[cfg(test)]
    pub(super) fn charged_bytes(&self) -> u64 {
        self.charged_bytes.get()
    }

    fn join(&self) -> u64 {
        self.waiting.set(self.waiting.get() + 1);
        self.next_waiter.replace(self.next_waiter.get() + 1)
    }

    fn find(&self, waiter: u64, waker: &Waker) -> Found<E> {
        match &mut *self.state.borrow_mut() {
            State::Reading(reading) => {
                self.register(waiter, waker);
                match reading.take() {
                    Some(reading) => Found::Reading(reading),
                    None => Found::Busy,
                }
            }
            State::Landed(result) => Found::Landed(result.clone()),
            State::Crashed => Found::Crashed,
        }
    }

    fn register(&self, waiter: u64, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        match wakers.iter_mut().find(|(known, _)| *known == waiter) {
            Some((_, known)) => known.clone_from(waker),
            None => wakers.push((waiter, waker.clone())),
        }
    }

    fn put_back(&self, waiter: u64, reading: Reading<E>) {
        *self.state.borrow_mut() = State::Reading(Some(reading));
        self.driver.set(Some(waiter));
    }

    /// Ends the flight for everybody but `waiter`, who knows.
    fn end(&self, waiter: u64, state: State<E>) {
        self.wakers.borrow_mut().retain(|(known, _)| *known != waiter);
        *self.state.borrow_mut() = state;
        self.wake_all();
    }

    fn wake_all(&self) {
        let wakers = self.wakers.take();
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The waiter is gone. Returns the read if nobody waits for it any longer.
    fn leave(&self, waiter: u64) -> Option<Reading<E>> {
        self.wakers.borrow_mut().retain(|(known, _)| *known != waiter);
        self.waiting.set(self.waiting.get() - 1);
        if self.waiting.get() > 0 {
            if self.driver.get() == Some(waiter) {
                self.driver.set(None);
                self.wake_all();
            }
            return None;
        }
        match &mut *self.state.borrow_mut() {
            State::Reading(reading) => reading.take(),
            State::Landed(_) | State::Crashed => None,
        }
    }
}

enum Stage<E> {
    Resident(Page),
    Waiting { flight: Rc<Flight<E>>, waiter: u64 },
    Ended,
}

/// A page on its way to one who wants it.
#[must_use = "a fetch does nothing unless polled"]
pub(crate) struct PageFetch<F: FetchPage> {
    cache: PageCache<F>,
    class: IoClass,
    stage: Stage<F::Error>,
}

impl<F: FetchPage> PageFetch<F> {
    pub(super) fn resident(cache: PageCache<F>, class: IoClass, page: Page) -> PageFetch<F> {
        PageFetch { cache, class, stage: Stage::Resident(page) }
    }

    pub(super) fn waiting(
        cache: PageCache<F>,
        class: IoClass,
        flight: Rc<Flight<F::Error>>,
    ) -> PageFetch<F> {
        let waiter = flight.join();
        PageFetch { cache, class, stage: Stage::Waiting { flight, waiter } }
    }

    /// Polls the read on behalf of this waiter; `None` in it: start over.
    fn drive(
        &self,
        flight: &Rc<Flight<F::Error>>,
        waiter: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Page, F::Error>>> {
        let mut reading = match flight.find(waiter, cx.waker()) {
            Found::Reading(reading) => reading,
            Found::Busy => return Poll::Pending,
            Found::Landed(result) => return Poll::Ready(Some(result)),
            Found::Crashed => return Poll::Ready(None),
        };
        let guard = CrashGuard { cache: &self.cache, flight, waiter };
        let polled = reading.as_mut().poll(cx);
        let result = match polled {
            Poll::Ready(result) => self.cache.land(flight, result),
            Poll::Pending => {
                std::mem::forget(guard);
                flight.put_back(waiter, reading);
                return Poll::Pending;
            }
        };
        std::mem::forget(guard);
        flight.end(waiter, State::Landed(result.clone()));
        Poll::Ready(Some(result))
    }
}

/// Reached only by a panic in the read: nobody must wait for it.
struct CrashGuard<'a, F: FetchPage> {
    cache: &'a PageCache<F>,
    flight: &'a Rc<Flight<F::Error>>,
    waiter: u64,
}

impl<F: FetchPage> Drop for CrashGuard<'_, F> {
    fn drop(&mut self) {
        self.cache.give_up(self.flight);
        self.flight.end(self.waiter, State::Crashed);
    }
}

impl<F: FetchPage> Future for PageFetch<F> {
    type Output = Result<Page, F::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (flight, waiter) = match &self.stage {
                Stage::Waiting { flight, waiter } => (Rc::clone(flight), *waiter),
                Stage::Resident(page) => {
                    let page = page.clone();
                    self.stage = Stage::Ended;
                    return Poll::Ready(Ok(page));
                }
                Stage::Ended => panic!("a fetch was polled after its end"),
            };
            match self.drive(&flight, waiter, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(result)) => {
                    self.leave();
                    return Poll::Ready(result);
                }
                Poll::Ready(None) => {
                    self.leave();
                    let Wanted { page, owner } = flight.wanted();
                    *self = self.cache.fetch(page, owner, self.class);
                }
            }
        }
    }
}

impl<F: FetchPage> PageFetch<F> {
    fn leave(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let Stage::Waiting { flight, waiter } = stage else { return };
        if let Some(reading) = flight.leave(waiter) {
            self.cache.give_up(&flight);
            drop(reading);
        }
    }
}

impl<F: FetchPage> Drop for PageFetch<F> {
    fn drop(&mut self) {
        self.leave();
    }
}
