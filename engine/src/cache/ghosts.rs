use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::format::page::PageRef;

/// Names of pages that were evicted on probation. One that comes back was evicted too early.
#[derive(Default)]
pub(super) struct Ghosts {
    order: VecDeque<(PageRef, u64)>,
    /// When each was evicted last; entries of `order` with another number count no more.
    known: HashMap<PageRef, u64, FixedState>,
    evicted: u64,
}

impl Ghosts {
    /// Remembers `page` and forgets the oldest, so that no more than `max` are remembered.
    pub(super) fn add(&mut self, page: PageRef, max: usize) {
        self.evicted += 1;
        self.known.insert(page, self.evicted);
        self.order.push_back((page, self.evicted));
        while self.order.len() > max
            && let Some((oldest, number)) = self.order.pop_front()
        {
            if self.known.get(&oldest) == Some(&number) {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether `page` was remembered; it is not any longer.
    pub(super) fn take(&mut self, page: PageRef) -> bool {
        self.known.remove(&page).is_some()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
