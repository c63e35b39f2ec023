use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use foldhash::fast::FixedState;
use sombra_runtime::{BufferPool, DmaBuf, IoClass, PanicSink, Shard, TaskClass, TaskSpec};

use super::FetchPage;
use super::flight::{Flight, PageFetch, Wanted};
use super::frames::{Frames, NoRoom, frame_bytes};
use super::page::Page;
use crate::format::page::{PageOwner, PageRef};
use crate::ids::PageAddr;
use crate::limits::{CACHE_PREFETCH_PERCENT_MAX, CACHE_PREFETCHES_MAX};

/// What a cache is made of.
pub(crate) struct CacheParts<F> {
    pub(crate) shard: Shard,
    pub(crate) source: F,
    /// Where frames come from; heap buffers replace it when it is exhausted.
    pub(crate) pool: BufferPool,
    pub(crate) page_size_bytes: usize,
    pub(crate) budget_bytes: u64,
    /// Told of a panic while a page is read ahead.
    pub(crate) on_panic: Option<PanicSink>,
}

/// What a cache has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct CacheCounters {
    /// Pages that were found.
    pub(crate) hits: u64,
    /// Fetches of a page that was not there.
    pub(crate) misses: u64,
    /// Reads started: less than misses where several wanted one page.
    pub(crate) reads: u64,
    /// Reads started ahead.
    pub(crate) prefetches: u64,
    pub(crate) evictions: u64,
    /// Pages that were given to their readers without a frame: all the others were held.
    pub(crate) unframed: u64,
}

#[derive(Default)]
struct Tally {
    hits: Cell<u64>,
    misses: Cell<u64>,
    reads: Cell<u64>,
    prefetches: Cell<u64>,
    unframed: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

type Flights<E> = HashMap<PageAddr, Rc<Flight<E>>, FixedState>;

struct Inner<F: FetchPage> {
    parts: CacheParts<F>,
    frames: RefCell<Frames>,
    /// The reads whose pages will be taken in, one per address.
    flights: RefCell<Flights<F::Error>>,
    prefetching: Cell<usize>,
    tally: Tally,
}

/// The resident pages of one shard. Clones share them.
///
/// The budget holds for resident pages and for those being read. Where readers hold so much of
/// it that nothing can be evicted, a page is read for its readers alone and freed with its last
/// holder: no fetch ever waits for another reader to let go, so none can wait for ever.
pub(crate) struct PageCache<F: FetchPage>(Rc<Inner<F>>);

impl<F: FetchPage> Clone for PageCache<F> {
    fn clone(&self) -> PageCache<F> {
        PageCache(Rc::clone(&self.0))
    }
}

impl<F: FetchPage> PageCache<F> {
    pub(crate) fn new(parts: CacheParts<F>) -> PageCache<F> {
        PageCache(Rc::new(Inner {
            frames: RefCell::new(Frames::new(parts.budget_bytes)),
            flights: RefCell::new(HashMap::default()),
            prefetching: Cell::new(0),
            tally: Tally::default(),
            parts,
        }))
    }

    /// The page if it is resident, marked as used. Cost: one look into a hash map.
    #[must_use]
    pub(crate) fn get(&self, page: PageRef, owner: &PageOwner) -> Option<Page> {
        let found = self.0.frames.borrow().get(page, owner);
        if found.is_some() {
            count(&self.0.tally.hits);
        }
        found
    }

    /// The page, read if it is not resident. All who want it at once share one read and get the
    /// page or the error; an error is not kept.
    pub(crate) fn fetch(&self, page: PageRef, owner: PageOwner, class: IoClass) -> PageFetch<F> {
        if let Some(found) = self.get(page, &owner) {
            return PageFetch::resident(self.clone(), class, found);
        }
        count(&self.0.tally.misses);
        let wanted = Wanted { page, owner };
        let known = self.0.flights.borrow().get(&page.addr).cloned();
        let flight = match known.filter(|flight| flight.wanted() == wanted) {
            Some(flight) => flight,
            None => {
                let room = self.0.frames.borrow_mut().charge(self.page_frame_bytes());
                self.start(wanted, class, room)
            }
        };
        PageFetch::waiting(self.clone(), class, flight)
    }

    /// Starts to read pages in the background, in the given order. Never waits; what does not
    /// fit is left out, and errors are left to whoever fetches the page.
    pub(crate) fn prefetch(&self, pages: &[PageRef], owner: PageOwner, class: IoClass) {
        let mut batch = Vec::new();
        for &page in pages {
            if self.0.prefetching.get() >= self.prefetches_max() {
                break;
            }
            let is_coming = self.0.flights.borrow().contains_key(&page.addr);
            if is_coming || self.0.frames.borrow().contains(page, &owner) {
                continue;
            }
            let room = self.0.frames.borrow_mut().charge(self.page_frame_bytes());
            if room.is_err() {
                break;
            }
            count(&self.0.tally.prefetches);
            let flight = self.start(Wanted { page, owner }, class, room);
            let seat = PrefetchSeat::take(self);
            let mut fetch = PageFetch::waiting(self.clone(), class, flight);
            // Submits the read together with its neighbours; the task listens for its end.
            let polled = Pin::new(&mut fetch).poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                batch.push((fetch, seat));
            }
        }
        if !batch.is_empty() {
            self.finish_in_background(batch, class);
        }
    }

    fn finish_in_background(&self, batch: Vec<(PageFetch<F>, PrefetchSeat<F>)>, class: IoClass) {
        let task_class = match class {
            IoClass::Log | IoClass::Read | IoClass::Evict => TaskClass::Foreground,
            IoClass::Merge => TaskClass::Merge,
            IoClass::Maintenance => TaskClass::Maintenance,
        };
        let mut spec = TaskSpec::new("prefetch", task_class);
        spec.on_panic = self.0.parts.on_panic.clone();
        self.0.parts.shard.spawn(spec, async move {
            for (fetch, seat) in batch {
                drop(fetch.await);
                drop(seat);
            }
        });
    }

    fn prefetches_max(&self) -> usize {
        let share = self.0.frames.borrow().budget_bytes() / 100 * CACHE_PREFETCH_PERCENT_MAX;
        let fit = usize::try_from(share / self.page_frame_bytes()).unwrap_or(usize::MAX);
        fit.clamp(1, CACHE_PREFETCHES_MAX)
    }

    /// Takes in a page that was just sealed and written. What its address held before is
    /// forgotten.
    pub(crate) fn insert(&self, page: PageRef, buf: DmaBuf) -> Page {
        let page = Page::believe(page, buf);
        self.forget(page.reference().addr);
        let mut frames = self.0.frames.borrow_mut();
        match frames.charge(frame_bytes(page.len())) {
            Ok(spare) => {
                drop(spare);
                frames.admit(page.clone());
            }
            Err(NoRoom) => count(&self.0.tally.unframed),
        }
        page
    }

    /// The address was released: what it holds from now on is another page. Who reads or holds
    /// the old one still gets it.
    pub(crate) fn forget(&self, addr: PageAddr) {
        self.0.frames.borrow_mut().forget(addr);
        let flight = self.0.flights.borrow_mut().remove(&addr);
        if let Some(flight) = flight {
            self.0.frames.borrow_mut().release(flight.take_charge());
        }
    }

    /// A zeroed buffer for a page that is going to be written and inserted.
    #[must_use]
    pub(crate) fn page_buffer(&self) -> DmaBuf {
        let len_bytes = self.0.parts.page_size_bytes;
        self.0.parts.pool.alloc(len_bytes).unwrap_or_else(|| DmaBuf::zeroed(len_bytes))
    }

    /// Evicts at once what the new budget has no room for.
    #[cfg(test)]
    pub(crate) fn set_budget(&self, bytes: u64) {
        self.0.frames.borrow_mut().set_budget(bytes);
    }

    /// Bytes of resident pages and of those being read, with what it takes to manage them.
    #[must_use]
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.0.frames.borrow().charged_bytes()
    }

    #[must_use]
    pub(crate) fn counters(&self) -> CacheCounters {
        let tally = &self.0.tally;
        CacheCounters {
            hits: tally.hits.get(),
            misses: tally.misses.get(),
            reads: tally.reads.get(),
            prefetches: tally.prefetches.get(),
            evictions: self.0.frames.borrow().evictions(),
            unframed: tally.unframed.get(),
        }
    }

    fn page_frame_bytes(&self) -> u64 {
        frame_bytes(self.0.parts.page_size_bytes)
    }

    /// Starts a read. Another read of the same address goes on without a frame: what it reads
    /// is an older page, or an attempt that will fail.
    fn start(
        &self,
        wanted: Wanted,
        class: IoClass,
        room: Result<Option<DmaBuf>, NoRoom>,
    ) -> Rc<Flight<F::Error>> {
        count(&self.0.tally.reads);
        let (charged_bytes, spare) = match room {
            Ok(spare) => (self.page_frame_bytes(), spare),
            Err(NoRoom) => (0, None),
        };
        let buf = self.buffer_for_read(spare);
        let Wanted { page, owner } = wanted;
        let reading = Box::pin(self.0.parts.source.fetch(page, owner, class, buf));
        let flight = Rc::new(Flight::new(wanted, charged_bytes, reading));
        let before = self.0.flights.borrow_mut().insert(page.addr, Rc::clone(&flight));
        if let Some(before) = before {
            self.0.frames.borrow_mut().release(before.take_charge());
        }
        flight
    }

    fn buffer_for_read(&self, spare: Option<DmaBuf>) -> DmaBuf {
        let len_bytes = self.0.parts.page_size_bytes;
        let fits = |buf: &DmaBuf| buf.len() == len_bytes;
        spare
            .filter(fits)
            .or_else(|| self.0.parts.pool.alloc_for_read(len_bytes))
            .or_else(|| self.0.frames.borrow_mut().evict().filter(fits))
            .unwrap_or_else(|| DmaBuf::zeroed(len_bytes))
    }

    /// The read has ended: its page gets a frame, if the address still means this page.
    pub(super) fn land(
        &self,
        flight: &Rc<Flight<F::Error>>,
        result: Result<DmaBuf, F::Error>,
    ) -> Result<Page, F::Error> {
        let landed = result.map(|buf| self.believe(flight.wanted(), buf));
        let is_current = self.detach(flight);
        let charged_bytes = flight.take_charge();
        let mut frames = self.0.frames.borrow_mut();
        let Ok(page) = &landed else {
            frames.release(charged_bytes);
            return landed;
        };
        if is_current && (charged_bytes > 0 || frames.charge(self.page_frame_bytes()).is_ok()) {
            frames.admit(page.clone());
        } else {
            frames.release(charged_bytes);
            count(&self.0.tally.unframed);
        }
        landed
    }

    fn believe(&self, wanted: Wanted, buf: DmaBuf) -> Page {
        let Wanted { page: reference, owner } = wanted;
        let page = Page::believe(reference, buf);
        let addr = reference.addr;
        assert_eq!(page.len(), self.0.parts.page_size_bytes, "INV-6: length of page {addr}");
        assert_eq!(page.header().owner, owner, "INV-6: owner of page {addr}");
        page
    }

    /// The read ends without a result.
    pub(super) fn give_up(&self, flight: &Rc<Flight<F::Error>>) {
        self.detach(flight);
        self.0.frames.borrow_mut().release(flight.take_charge());
    }

    /// Whether the flight was the one whose page is to be taken in; it no longer is.
    fn detach(&self, flight: &Rc<Flight<F::Error>>) -> bool {
        let mut flights = self.0.flights.borrow_mut();
        let addr = flight.wanted().page.addr;
        let is_current = flights.get(&addr).is_some_and(|known| Rc::ptr_eq(known, flight));
        if is_current {
            flights.remove(&addr);
        }
        is_current
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let flights = self.0.flights.borrow();
        let reading_bytes = flights.values().map(|flight| flight.charged_bytes()).sum();
        self.0.frames.borrow().check(reading_bytes);
    }
}

/// One of the pages that may be read ahead at once.
struct PrefetchSeat<F: FetchPage>(PageCache<F>);

impl<F: FetchPage> PrefetchSeat<F> {
    fn take(cache: &PageCache<F>) -> PrefetchSeat<F> {
        let taken = &cache.0.prefetching;
        taken.set(taken.get() + 1);
        PrefetchSeat(cache.clone())
    }
}

impl<F: FetchPage> Drop for PrefetchSeat<F> {
    fn drop(&mut self) {
        let taken = &self.0.0.prefetching;
        taken.set(taken.get() - 1);
    }
}
