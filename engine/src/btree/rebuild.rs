//! Batch rebuild: an old tree and a sorted batch of changes make a new tree.
//!
//! Old nodes are opened in key order where the batch touches them; their content, changed, waits
//! level by level (`pending`) until it is certain which page it goes to, and every new page is
//! written once. What the batch does not touch keeps its pages. A small step asks for the page it
//! needs before it changes anything, so that it can be tried again; one page at a time suffices.
//!
//! A page's LSN is the newest of the commits merged into it and of the pages whose content or
//! whose range it took over; a node's covers its children too.
//!
//! Fill: a node below the half is joined with a neighbour, or the two are divided evenly, across
//! parents if need be. It stays below only if keys or prefixes are so long that neither helps, if
//! it is the root, or if it is the last of its level after an append, which fills pages whole.

pub(super) mod items;
mod merge;
mod pending;
mod settle;

use crate::btree::{BatchEntry, PageOut, Pages, TreeRoot};
use crate::format::node::Inner;
use crate::format::page::{PageOwner, PageRef, peek_page};
use crate::ids::{Lsn, PageAddr};
use crate::limits::{
    REBUILD_HELD_BACK_PAGES_MAX, REBUILD_NEED_PAGES_MAX, REBUILD_OPEN_PAGES_MAX,
    REBUILD_TURN_ENTRIES, REBUILD_TURN_NODES, REBUILD_TURN_PAGES, REBUILD_UNIT_PAGES_MAX,
    TREE_LEVEL_MAX,
};

use items::{ChildItem, Items};
use merge::Merging;
use pending::Pending;

/// Pages that one small step writes in one level at most. What is open there is at most what
/// counts as much and one node more, and a page holds at least two fifths of a page of it even
/// when the longest keys and rows leave gaps; then come those that were held back.
const STEP_PAGES_PER_LEVEL: usize =
    (REBUILD_OPEN_PAGES_MAX + 1) * 5 / 2 + 1 + REBUILD_HELD_BACK_PAGES_MAX;
const _: () = assert!(
    REBUILD_TURN_PAGES + (TREE_LEVEL_MAX as usize + 1) * STEP_PAGES_PER_LEVEL
        <= REBUILD_UNIT_PAGES_MAX
);

/// What a rebuild works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RebuildConfig {
    pub(crate) page_size: usize,
    pub(crate) owner: PageOwner,
    pub(crate) root: Option<TreeRoot>,
}

/// How far a rebuild came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RebuildStep {
    /// Fetch these pages, then call again; only the first is needed for certain.
    NeedPages(Vec<PageRef>),
    /// Some work is done: call again.
    Progress,
    /// The new tree; `None` if it is empty.
    Done(Option<TreeRoot>),
}

/// What one small step came to.
enum Micro {
    Continue,
    Need(Vec<PageRef>),
    Done(Option<TreeRoot>),
}

/// An old inner node that is being walked.
#[derive(Debug)]
struct Frame {
    level: u8,
    /// `None` for the node above the root, which has no page.
    addr: Option<PageAddr>,
    lsn: Lsn,
    children: Items,
    next: usize,
    /// The batch entries before this one belong to the node.
    batch_end: usize,
    /// Whether it is the last node of its level.
    is_last: bool,
    /// Whether its content changed: then its children wait in `pending` up to `next`.
    is_dirty: bool,
}

/// Makes a new tree out of an old one and a batch.
#[derive(Debug)]
pub(crate) struct Rebuild<P> {
    config: RebuildConfig,
    batch: Vec<BatchEntry>,
    /// The first batch entry that is not merged yet.
    at: usize,
    /// The way down to where the walk is.
    frames: Vec<Frame>,
    merging: Option<Merging<P>>,
    /// The leaf to be entered, while a node on its left is fetched: nobody promises that a page
    /// that was there once is there again.
    held: Option<(PageRef, P)>,
    /// By level.
    pending: Vec<Pending>,
    /// Whether the batch goes on behind the old tree's last row.
    is_append: bool,
    /// The level that is being finished once the walk is over.
    finishing: u8,
    /// The root, once it is certain but for levels with a single child.
    root: Option<ChildItem>,
    pages_written: usize,
    entries_merged: usize,
    nodes_opened: usize,
    result: Option<Option<TreeRoot>>,
}

impl<P: std::ops::Deref<Target = [u8]> + Clone> Rebuild<P> {
    /// A rebuild of the tree at `config.root` with `batch`, ascending by key, each key once.
    pub(crate) fn new(config: RebuildConfig, batch: Vec<BatchEntry>) -> Rebuild<P> {
        let level = config.root.map_or(0, |root| root.level);
        let top = level + 1;
        let mut children = Items::new(top);
        if let Some(TreeRoot { child, .. }) = config.root {
            let child = ChildItem { child, is_sparse: false, is_new: false };
            children.push_child([&[], &[]], child);
        }
        let batch_end = batch.len();
        let frame = Frame {
            level: top,
            addr: None,
            lsn: Lsn::ZERO,
            children,
            next: 0,
            batch_end,
            is_last: true,
            is_dirty: config.root.is_none(),
        };
        let pending = (0..=top).map(|level| Pending::new(level, config.page_size)).collect();
        let mut rebuild = Rebuild {
            config,
            batch,
            at: 0,
            frames: vec![frame],
            merging: None,
            held: None,
            pending,
            is_append: false,
            finishing: 0,
            root: None,
            pages_written: 0,
            entries_merged: 0,
            nodes_opened: 0,
            result: None,
        };
        if config.root.is_none() {
            rebuild.is_append = true;
            rebuild.merging = Some(Merging { page: None, next: 0, batch_end });
        }
        rebuild
    }

    /// Does some work: at most `REBUILD_UNIT_PAGES_MAX` pages are allocated.
    pub(crate) fn advance<S: Pages<Page = P>>(
        &mut self,
        pages: &S,
        out: &mut impl PageOut,
    ) -> RebuildStep {
        (self.pages_written, self.entries_merged, self.nodes_opened) = (0, 0, 0);
        loop {
            if let Some(result) = self.result {
                return RebuildStep::Done(result);
            }
            let step = self.step(pages, out);
            let written = self.pages_written;
            assert!(written <= REBUILD_UNIT_PAGES_MAX, "INV-9: a unit of {written} pages");
            match step {
                Micro::Need(missing) => return RebuildStep::NeedPages(missing),
                Micro::Done(root) => self.result = Some(root),
                Micro::Continue => {}
            }
            let is_turn_over = self.pages_written >= REBUILD_TURN_PAGES
                || self.entries_merged >= REBUILD_TURN_ENTRIES
                || self.nodes_opened >= REBUILD_TURN_NODES;
            if is_turn_over && self.result.is_none() {
                return RebuildStep::Progress;
            }
        }
    }

    /// The smallest step. It asks for a missing page before it changes anything.
    fn step<S: Pages<Page = P>>(&mut self, pages: &S, out: &mut impl PageOut) -> Micro {
        let micro = if self.merging.is_some() {
            self.merge(out)
        } else if let Some(frame) = self.frames.last() {
            if frame.next == frame.children.len() {
                self.leave(out)
            } else if self.child_batch_end(frame.next) > self.at {
                self.enter_touched(pages, out)
            } else {
                self.pass(pages, out)
            }
        } else {
            self.finish(pages, out)
        };
        self.relieve(out);
        micro
    }

    fn frame(&self) -> &Frame {
        self.frames.last().expect("INV-6: the walk is inside a node")
    }

    /// Where the batch entries of a child of the last frame end. Cost: O(log n) of them.
    fn child_batch_end(&self, child: usize) -> usize {
        let frame = self.frame();
        self.batch_end_in(frame, child, self.at)
    }

    fn batch_end_in(&self, frame: &Frame, child: usize, at: usize) -> usize {
        if child + 1 == frame.children.len() {
            return frame.batch_end;
        }
        let separator = frame.children.key(child + 1);
        let is_before = |entry: &BatchEntry| entry.key.as_ref() < separator;
        let rest = &self.batch[at..frame.batch_end];
        // Most children have few entries, so the search grows from the start.
        let mut step = 1;
        while step <= rest.len() && is_before(&rest[step - 1]) {
            step *= 2;
        }
        let (from, to) = (step / 2, step.min(rest.len()));
        at + from + rest[from..to].partition_point(is_before)
    }

    /// `first` if it is missing, and the missing pages of children that the batch touches.
    fn missing<S: Pages<Page = P>>(&self, pages: &S, first: PageRef) -> Micro {
        let mut missing = vec![first];
        let Some(frame) = self.frames.last() else { return Micro::Need(missing) };
        let mut at = self.at;
        for index in frame.next..frame.children.len() {
            if at == frame.batch_end || missing.len() == REBUILD_NEED_PAGES_MAX {
                break;
            }
            let end = self.batch_end_in(frame, index, at);
            let page = frame.children.child(index).child.page;
            if end > at && page != first && pages.page(page).is_none() {
                missing.push(page);
            }
            at = end;
        }
        Micro::Need(missing)
    }

    /// Goes into a child that the batch touches.
    fn enter_touched<S: Pages<Page = P>>(&mut self, pages: &S, out: &mut impl PageOut) -> Micro {
        let frame = self.frame();
        let (index, level) = (frame.next, frame.level - 1);
        let batch_end = self.child_batch_end(index);
        let reference = frame.children.child(index).child.page;
        let held = self.held.take().filter(|(held, _)| *held == reference);
        let Some(page) = held.map(|(_, page)| page).or_else(|| pages.page(reference)) else {
            return self.missing(pages, reference);
        };
        if level > 0 {
            self.open(&page, reference.addr, batch_end);
            return Micro::Continue;
        }
        if self.changes_nothing(&page, batch_end) {
            self.entries_merged += batch_end - self.at;
            self.at = batch_end;
            return Micro::Continue;
        }
        self.touch_path(out);
        for level in 0..self.config.root.map_or(0, |root| root.level) {
            if let Some(micro) = self.check_left(level, pages, out) {
                self.held = Some((reference, page));
                return micro;
            }
        }
        self.take_leaf(page, batch_end, out);
        Micro::Continue
    }

    /// Lets an untouched child be, unless something before it needs its content.
    fn pass<S: Pages<Page = P>>(&mut self, pages: &S, out: &mut impl PageOut) -> Micro {
        let frame = self.frame();
        let (index, level) = (frame.next, frame.level - 1);
        let ChildItem { child, is_sparse, is_new } = frame.children.child(index);
        match self.settle(level, is_sparse, out) {
            settle::Verdict::Settled => {
                let frame = self.frames.last_mut().expect("INV-6: the walk is inside a node");
                frame.next += 1;
                if frame.is_dirty {
                    let key = [frame.children.key(index), &[]];
                    let item = ChildItem { child, is_sparse, is_new };
                    self.pending[usize::from(level) + 1].items.push_child(key, item);
                }
                Micro::Continue
            }
            settle::Verdict::TakeLeft(below) => self.take_left(below, pages, out),
            settle::Verdict::TakeRight { whole } => {
                let Some(page) = pages.page(child.page) else {
                    return self.missing(pages, child.page);
                };
                if level == 0 {
                    self.touch_path(out);
                    self.take_leaf(page, self.at, out);
                } else {
                    self.open(&page, child.page.addr, self.at);
                    if whole {
                        self.touch_path(out);
                    }
                }
                Micro::Continue
            }
        }
    }

    /// Begins the walk of a child of the last frame.
    fn open(&mut self, page: &[u8], addr: PageAddr, batch_end: usize) {
        let frame = self.frame();
        let level = frame.level - 1;
        let mut children = Items::new(level);
        children.push_children(&Inner::new(page), frame.children.key(frame.next));
        let is_last = frame.is_last && frame.next + 1 == frame.children.len();
        let lsn = page_lsn(page);
        self.nodes_opened += 1;
        self.frames.push(Frame {
            level,
            addr: Some(addr),
            lsn,
            children,
            next: 0,
            batch_end,
            is_last,
            is_dirty: false,
        });
    }

    /// Marks the nodes on the way as changed: what was passed in them waits for new pages.
    fn touch_path(&mut self, out: &mut impl PageOut) {
        for frame in self.frames.iter_mut().filter(|frame| !frame.is_dirty) {
            frame.is_dirty = true;
            let pending = &mut self.pending[usize::from(frame.level)];
            pending.items.push_from(&frame.children, 0..frame.next);
            pending.open_lsn = pending.open_lsn.max(frame.lsn);
            if let Some(addr) = frame.addr {
                out.obsolete(addr, 1);
            }
        }
    }

    /// Ends the walk of a node.
    fn leave(&mut self, out: &mut impl PageOut) -> Micro {
        let frame = self.frames.pop().expect("INV-6: the walk is inside a node");
        if !frame.is_dirty {
            // The parent passes it; without a parent nothing changed at all.
            return match self.frames.is_empty() {
                true => Micro::Done(self.config.root),
                false => Micro::Continue,
            };
        }
        let is_append = self.is_append && frame.is_last;
        if frame.addr.is_some() {
            self.pending[usize::from(frame.level)].plan(is_append);
            self.emit_all_but_last(frame.level, out);
        }
        if let Some(parent) = self.frames.last_mut() {
            parent.next += 1;
        }
        Micro::Continue
    }
}

/// The LSN in a validated page's header.
fn page_lsn(page: &[u8]) -> Lsn {
    peek_page(page).expect("INV-6: a validated page has a header").page_lsn
}
