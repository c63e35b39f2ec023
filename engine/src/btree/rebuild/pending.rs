//! What one level of the new tree holds back until its pages are certain.
//!
//! Content comes in chunks, one for each old node taken in; a chunk becomes one page, or several
//! when it grew. The last page is held back: should the next chunk be sparse, the two join.

use std::collections::VecDeque;
use std::ops::Range;

use super::items::{ChildItem, Items};
use crate::format::node::is_sparse;
use crate::ids::Lsn;
use crate::limits::{REBUILD_HELD_BACK_PAGES_MAX, REBUILD_OPEN_PAGES_MAX};

/// A page to be: where its items end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) end: usize,
    pub(super) size: usize,
    pub(super) lsn: Lsn,
}

/// One level's content that is in no page yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) items: Items,
    /// The separator before the first item (leaves; the items of other levels carry theirs).
    pub(super) lower: Vec<u8>,
    /// Newest commit of what came in since the last plan.
    pub(super) open_lsn: Lsn,
    /// Whether the node before the content was looked at.
    pub(super) is_left_checked: bool,
    page_size: usize,
    /// Items before this one are in pages already.
    start: usize,
    pages: VecDeque<Planned>,
}

impl Pending {
    pub(super) fn new(level: u8, page_size: usize) -> Pending {
        Pending {
            items: Items::new(level),
            lower: Vec::new(),
            open_lsn: Lsn::ZERO,
            is_left_checked: false,
            page_size,
            start: 0,
            pages: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.items.len()
    }

    /// Items that are in no page yet.
    pub(super) fn live(&self) -> Range<usize> {
        self.start..self.items.len()
    }

    /// Items that no planned page holds.
    fn open(&self) -> Range<usize> {
        self.pages.back().map_or(self.start, |page| page.end)..self.items.len()
    }

    pub(super) fn planned(&self) -> usize {
        self.pages.len()
    }

    /// Planned pages that later content may still change: the last, which a sparse chunk would
    /// join, and the sparse ones before it, which could then join what is left of it.
    pub(super) fn held_back(&self) -> usize {
        let before_last = self.pages.iter().rev().skip(1);
        let is_page_sparse = |page: &&Planned| is_sparse(page.size, self.page_size);
        1 + before_last.take(REBUILD_HELD_BACK_PAGES_MAX - 1).take_while(is_page_sparse).count()
    }

    pub(super) fn is_last_sparse(&self) -> bool {
        self.pages.back().is_some_and(|page| is_sparse(page.size, self.page_size))
    }

    /// Whether so much content is in no plan yet that full pages should be written.
    pub(super) fn has_much_open(&self) -> bool {
        let (open, much) = (self.open(), REBUILD_OPEN_PAGES_MAX * self.page_size);
        self.items.size_bound(&open) > much && self.items.size(&open) > much
    }

    /// Plans full pages out of the open content, down to the last.
    pub(super) fn plan_full(&mut self) {
        let open = self.open();
        let ends = self.items.divide_full(open, self.page_size);
        for &end in &ends[..ends.len().saturating_sub(1)] {
            self.push_page(end);
        }
    }

    /// Plans the open content as one chunk and joins sparse pages with their neighbours.
    pub(super) fn plan(&mut self, is_append: bool) {
        let open = self.open();
        if open.is_empty() {
            // A node that lost everything: whoever takes over its range takes over its LSN.
            if let Some(page) = self.pages.back_mut() {
                page.lsn = page.lsn.max(self.open_lsn);
                self.open_lsn = Lsn::ZERO;
            }
            return;
        }
        let ends = if self.items.size(&open) <= self.page_size {
            vec![open.end]
        } else if is_append {
            self.items.divide_full(open, self.page_size)
        } else {
            self.items.divide_evenly(open, self.page_size)
        };
        for end in ends {
            self.push_page(end);
        }
        self.open_lsn = Lsn::ZERO;
        self.join(is_append);
    }

    fn push_page(&mut self, end: usize) {
        let start = self.open().start;
        let size = self.items.size(&(start..end));
        self.pages.push_back(Planned { end, size, lsn: self.open_lsn });
    }

    /// Joins each sparse page with a neighbour, or divides the two evenly. Ends because every
    /// change leaves fewer pages or fewer sparse ones.
    fn join(&mut self, is_append: bool) {
        let (mut index, mut start) = (0, self.start);
        while index + 1 < self.pages.len() {
            let (left, right) = (self.pages[index], self.pages[index + 1]);
            let sparse = [left, right].map(|page| is_sparse(page.size, self.page_size));
            let is_end_of_append = is_append && index + 2 == self.pages.len() && !sparse[0];
            let both = start..right.end;
            let lsn = left.lsn.max(right.lsn);
            if (sparse[0] || sparse[1]) && self.items.size(&both) <= self.page_size {
                let size = self.items.size(&both);
                self.pages[index + 1] = Planned { end: right.end, size, lsn };
                self.pages.remove(index);
            } else if (sparse[0] || sparse[1])
                && !is_end_of_append
                && let Some([left, right]) = self.redivide(both, lsn)
            {
                self.pages[index] = left;
                self.pages[index + 1] = right;
            } else {
                start = left.end;
                index += 1;
                continue;
            }
            (index, start) = (0, self.start);
        }
    }

    /// Two pages of this range that are both half full, if there are such.
    fn redivide(&self, range: Range<usize>, lsn: Lsn) -> Option<[Planned; 2]> {
        let middle = self.items.divide_in_two(range.clone(), self.page_size)?;
        let parts = [range.start..middle, middle..range.end];
        let pages = parts.map(|part| {
            let size = self.items.size(&part);
            Planned { end: part.end, size, lsn }
        });
        let is_full = |page: &Planned| !is_sparse(page.size, self.page_size);
        pages.iter().all(is_full).then_some(pages)
    }

    /// Takes the first planned page: its items and its plan.
    pub(super) fn take_page(&mut self) -> Option<(Range<usize>, Planned)> {
        let page = self.pages.pop_front()?;
        let range = self.start..page.end;
        self.start = page.end;
        Some((range, page))
    }

    /// Gives back the memory of items that are in pages. Cost: amortized over those pages.
    pub(super) fn compact(&mut self) {
        if self.is_empty() {
            self.items.clear();
            self.start = 0;
            self.is_left_checked = false;
        } else if self.start > 4096 && self.start > self.items.len() / 2 {
            let mut items = Items::new(self.items.level());
            items.push_from(&self.items, self.live());
            self.items = items;
            let start = std::mem::take(&mut self.start);
            self.pages.iter_mut().for_each(|page| page.end -= start);
        }
    }

    /// The last item, which is a child.
    pub(super) fn last_child(&self) -> Option<ChildItem> {
        let live = self.live();
        (!live.is_empty()).then(|| self.items.child(live.end - 1))
    }

    /// Takes the last item, a child, back out; returns its separator.
    pub(super) fn pop_child(&mut self) -> Vec<u8> {
        if self.open().is_empty()
            && let Some(page) = self.pages.pop_back()
        {
            self.open_lsn = self.open_lsn.max(page.lsn);
        }
        let separator = self.items.key(self.items.len() - 1).to_vec();
        self.items.pop();
        separator
    }

    /// Puts the content of the node before in front, as a page of its own, and joins what is
    /// sparse.
    pub(super) fn prepend(&mut self, mut front: Items, lsn: Lsn) {
        let (live, count) = (self.live(), front.len());
        front.push_from(&self.items, live.clone());
        for page in &mut self.pages {
            page.end = page.end - live.start + count;
        }
        self.items = front;
        self.start = 0;
        let size = self.items.size(&(0..count));
        self.pages.push_front(Planned { end: count, size, lsn });
        self.join(false);
    }
}
