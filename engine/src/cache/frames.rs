//! Which pages are resident, and which goes next.
//!
//! S3-FIFO: a page comes in on probation, and only pages that were hit there, or come back soon
//! after they were evicted, get into the main queue. One long scan therefore passes through the
//! probation queue and leaves the main queue alone. Inner nodes skip probation and stay longer:
//! each stands for hundreds of leaves.
//!
//! Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO Queues are All You Need for Cache Eviction",
//! SOSP 2023.

use std::cell::Cell;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use sombra_runtime::DmaBuf;

use super::ghosts::Ghosts;
use super::page::Page;
use crate::format::page::{PageOwner, PageRef};
use crate::ids::PageAddr;
use crate::limits::{
    CACHE_FRAME_OVERHEAD_BYTES, CACHE_GHOSTS_MIN, CACHE_INNER_HITS_MAX, CACHE_LEAF_HITS_MAX,
    CACHE_PINNED_SKIPS_MAX, CACHE_PROBATION_PERCENT, CACHE_PROMOTION_HITS_MIN,
};

/// No frame.
const NONE: u32 = u32::MAX;

/// Everything that one resident page takes.
pub(super) const fn frame_bytes(page_bytes: usize) -> u64 {
    page_bytes as u64 + CACHE_FRAME_OVERHEAD_BYTES
}

/// Everything that could make room is held by readers.
#[derive(Debug)]
pub(super) struct NoRoom;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Probation,
    Main,
}

struct Frame {
    page: Page,
    queue: Queue,
    /// Hits since the page came in or was last passed over; saturates.
    hits: Cell<u8>,
    newer: u32,
    older: u32,
}

struct List {
    newest: u32,
    oldest: u32,
    bytes: u64,
}

impl List {
    const EMPTY: List = List { newest: NONE, oldest: NONE, bytes: 0 };
}

pub(super) struct Frames {
    budget_bytes: u64,
    /// Frames of resident pages and of pages being read.
    charged_bytes: u64,
    slots: Vec<Option<Frame>>,
    free: Vec<u32>,
    by_addr: HashMap<PageAddr, u32, FixedState>,
    probation: List,
    main: List,
    ghosts: Ghosts,
    evictions: u64,
}

impl Frames {
    pub(super) fn new(budget_bytes: u64) -> Frames {
        Frames {
            budget_bytes,
            charged_bytes: 0,
            slots: Vec::new(),
            free: Vec::new(),
            by_addr: HashMap::default(),
            probation: List::EMPTY,
            main: List::EMPTY,
            ghosts: Ghosts::default(),
            evictions: 0,
        }
    }

    pub(super) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        self.charged_bytes
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The page, marked as used.
    pub(super) fn get(&self, page: PageRef, owner: &PageOwner) -> Option<Page> {
        let frame = self.find(page, owner)?;
        let hits = frame.hits.get();
        if frame.page.header().level > 0 {
            frame.hits.set(CACHE_INNER_HITS_MAX);
        } else if hits < CACHE_LEAF_HITS_MAX {
            frame.hits.set(hits + 1);
        }
        Some(frame.page.clone())
    }

    pub(super) fn contains(&self, page: PageRef, owner: &PageOwner) -> bool {
        self.find(page, owner).is_some()
    }

    fn find(&self, page: PageRef, owner: &PageOwner) -> Option<&Frame> {
        let frame = self.frame(*self.by_addr.get(&page.addr)?);
        frame.page.is(page, owner).then_some(frame)
    }

    /// Charges a frame to the budget, evicting for it. Returns a buffer that became free.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<Option<DmaBuf>, NoRoom> {
        let mut spare = None;
        while self.charged_bytes + bytes > self.budget_bytes {
            spare = Some(self.evict().ok_or(NoRoom)?);
        }
        self.charged_bytes += bytes;
        Ok(spare)
    }

    /// Gives back what was charged for a page that did not come in.
    pub(super) fn release(&mut self, bytes: u64) {
        let before = self.charged_bytes;
        assert!(before >= bytes, "INV-9: released {bytes} of {before} charged bytes");
        self.charged_bytes = before - bytes;
    }

    /// Takes in a page whose frame is charged. Whatever its address held before is forgotten.
    pub(super) fn admit(&mut self, page: Page) {
        let reference = page.reference();
        self.forget(reference.addr);
        let returns = self.ghosts.take(reference);
        let is_inner = page.header().level > 0;
        let queue = if returns || is_inner { Queue::Main } else { Queue::Probation };
        let frame = Frame { page, queue, hits: Cell::new(0), newer: NONE, older: NONE };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("INV-9: memory holds fewer pages")
            }
        };
        self.slots[slot as usize] = Some(frame);
        self.by_addr.insert(reference.addr, slot);
        self.enqueue(slot, queue);
    }

    /// Drops what is resident under `addr`; readers who hold it keep it.
    pub(super) fn forget(&mut self, addr: PageAddr) {
        if let Some(slot) = self.by_addr.get(&addr) {
            drop(self.remove(*slot));
        }
    }

    /// Evicts until the new budget holds or the rest is held by readers. Cost: what it evicts.
    #[cfg(test)]
    pub(super) fn set_budget(&mut self, bytes: u64) {
        self.budget_bytes = bytes;
        while self.charged_bytes > bytes && self.evict().is_some() {}
    }

    /// Evicts one page and returns its buffer, or `None` where readers hold all that was looked
    /// at. Cost: amortised constant, because each pass over a frame uses up one of its hits.
    pub(super) fn evict(&mut self) -> Option<DmaBuf> {
        let mut pinned = 0;
        loop {
            let queue = self.next_queue(pinned)?;
            let slot = self.list(queue).oldest;
            let frame = self.frame(slot);
            if frame.page.is_pinned() {
                pinned += 1;
                if pinned == CACHE_PINNED_SKIPS_MAX {
                    return None;
                }
                self.move_to(slot, queue);
                continue;
            }
            let hits = frame.hits.get();
            match queue {
                Queue::Probation if hits >= CACHE_PROMOTION_HITS_MIN => {
                    frame.hits.set(0);
                    self.move_to(slot, Queue::Main);
                }
                Queue::Main if hits > 0 => {
                    frame.hits.set(hits - 1);
                    self.move_to(slot, Queue::Main);
                }
                Queue::Probation | Queue::Main => return Some(self.evict_slot(slot, queue)),
            }
        }
    }

    fn evict_slot(&mut self, slot: u32, queue: Queue) -> DmaBuf {
        let page = self.remove(slot);
        if queue == Queue::Probation {
            self.ghosts.add(page.reference(), self.by_addr.len().max(CACHE_GHOSTS_MIN));
        }
        self.evictions += 1;
        page.into_buf().expect("a page that nobody holds was chosen")
    }

    /// Where the next victim is looked for; the other queue after half of the pinned frames
    /// that are looked at. `None`: nothing is resident.
    fn next_queue(&self, pinned: usize) -> Option<Queue> {
        let share = self.budget_bytes / 100 * CACHE_PROBATION_PERCENT;
        let is_over_share = self.probation.bytes > share;
        let wants_probation = is_over_share != (pinned > CACHE_PINNED_SKIPS_MAX / 2);
        match (self.probation.oldest != NONE, self.main.oldest != NONE) {
            (false, false) => None,
            (true, false) => Some(Queue::Probation),
            (false, true) => Some(Queue::Main),
            (true, true) if wants_probation => Some(Queue::Probation),
            (true, true) => Some(Queue::Main),
        }
    }

    fn remove(&mut self, slot: u32) -> Page {
        self.unlink(slot);
        let frame = self.slots[slot as usize].take();
        let page = frame.expect("a linked frame is in use").page;
        self.free.push(slot);
        self.by_addr.remove(&page.reference().addr);
        self.release(frame_bytes(page.len()));
        page
    }

    fn frame(&self, slot: u32) -> &Frame {
        self.slots[slot as usize].as_ref().expect("a linked frame is in use")
    }

    fn frame_mut(&mut self, slot: u32) -> &mut Frame {
        self.slots[slot as usize].as_mut().expect("a linked frame is in use")
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Probation => &mut self.probation,
            Queue::Main => &mut self.main,
        }
    }

    fn move_to(&mut self, slot: u32, queue: Queue) {
        self.unlink(slot);
        self.enqueue(slot, queue);
    }

    /// Makes the frame the newest of a queue.
    fn enqueue(&mut self, slot: u32, queue: Queue) {
        let list = self.list(queue);
        let older = std::mem::replace(&mut list.newest, slot);
        if older == NONE {
            list.oldest = slot;
        } else {
            self.frame_mut(older).newer = slot;
        }
        let frame = self.frame_mut(slot);
        (frame.queue, frame.newer, frame.older) = (queue, NONE, older);
        let bytes = frame_bytes(frame.page.len());
        self.list(queue).bytes += bytes;
    }

    fn unlink(&mut self, slot: u32) {
        let frame = self.frame(slot);
        let (queue, newer, older) = (frame.queue, frame.newer, frame.older);
        let bytes = frame_bytes(frame.page.len());
        match newer {
            NONE => self.list(queue).newest = older,
            newer => self.frame_mut(newer).older = older,
        }
        match older {
            NONE => self.list(queue).oldest = newer,
            older => self.frame_mut(older).newer = newer,
        }
        self.list(queue).bytes -= bytes;
    }
}

#[cfg(test)]
impl Frames {
    /// Panics unless lists, map, slots and charge agree; `reading_bytes` are charged for pages
    /// on their way.
    pub(super) fn check(&self, reading_bytes: u64) {
        let mut found = 0;
        for (list, queue) in [(&self.probation, Queue::Probation), (&self.main, Queue::Main)] {
            let (mut bytes, mut newer, mut slot) = (0, NONE, list.newest);
            while slot != NONE {
                let frame = self.frame(slot);
                assert!(frame.queue == queue && frame.newer == newer);
                assert_eq!(self.by_addr.get(&frame.page.reference().addr), Some(&slot));
                bytes += frame_bytes(frame.page.len());
                found += 1;
                (newer, slot) = (slot, frame.older);
            }
            assert_eq!((list.oldest, list.bytes), (newer, bytes));
        }
        assert_eq!(found, self.by_addr.len());
        assert_eq!(found + self.free.len(), self.slots.len());
        let resident_bytes = self.probation.bytes + self.main.bytes;
        assert_eq!(self.charged_bytes, resident_bytes + reading_bytes);
        assert!(self.ghosts.len() <= self.slots.len().max(CACHE_GHOSTS_MIN));
    }
}
