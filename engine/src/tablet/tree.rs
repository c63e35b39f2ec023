//! The tree of a tablet as its owner knows it: the root in force, older roots that somebody still
//! reads, and the pages that wait for their release.
//!
//! A page that root n no longer reaches is released when neither durable copy of the root table
//! can bring an older root back, and no reader or view holds an older root (INV-5).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::btree::TreeRoot;
use crate::format::root_table::TabletSpace;
use crate::ids::Lsn;
use crate::volume::{LiveSet, PageAllocator, PageRun, SlotGeneration};

/// A root; whoever holds the handle may read every page that it reaches.
#[derive(Debug)]
pub(crate) struct RootHandle {
    pub(crate) root: Option<TreeRoot>,
}

/// Pages that no root from some write of the root table on reaches.
#[derive(Debug)]
struct Obsolete {
    pages: Vec<PageRun>,
    /// The write with which the new root is in force.
    write: SlotGeneration,
}

/// A replaced root that somebody held when it was replaced.
struct Held {
    handle: Rc<RootHandle>,
    reached: LiveSet,
    /// Pages that wait for this root alone.
    pinned: Vec<PageRun>,
}

/// Root, space and what waits for release.
pub(crate) struct TreeState {
    current: Rc<RootHandle>,
    /// Oldest first.
    held: VecDeque<Held>,
    obsolete: VecDeque<Obsolete>,
    /// Every commit at or below it is in the tree.
    merge_lsn: Lsn,
    pub(crate) allocator: Rc<RefCell<PageAllocator>>,
    /// The durable space map of the root in force.
    pub(crate) space: Option<TabletSpace>,
}

/// What the slice that built a root did to the tablet's pages.
pub(crate) struct ReplacedPages {
    /// Reached by the new root and not by the one before.
    pub(crate) taken: Vec<PageRun>,
    /// The other way round.
    pub(crate) obsolete: Vec<PageRun>,
}

/// What a tablet begins with.
pub(crate) struct TreeParts {
    pub(crate) root: Option<TreeRoot>,
    pub(crate) merge_lsn: Lsn,
    pub(crate) allocator: PageAllocator,
    pub(crate) space: Option<TabletSpace>,
}

impl TreeState {
    pub(crate) fn new(parts: TreeParts) -> TreeState {
        TreeState {
            current: Rc::new(RootHandle { root: parts.root }),
            held: VecDeque::new(),
            obsolete: VecDeque::new(),
            merge_lsn: parts.merge_lsn,
            allocator: Rc::new(RefCell::new(parts.allocator)),
            space: parts.space,
        }
    }

    /// A tree without rows, for a tablet whose keyspace was made at `created_lsn`.
    pub(crate) fn empty(created_lsn: Lsn, page_size_bytes: u32) -> TreeState {
        let allocator = PageAllocator::new(page_size_bytes);
        TreeState::new(TreeParts { root: None, merge_lsn: created_lsn, allocator, space: None })
    }

    pub(crate) fn current(&self) -> &Rc<RootHandle> {
        &self.current
    }

    pub(crate) fn merge_lsn(&self) -> Lsn {
        self.merge_lsn
    }

    /// An idle tablet's tree holds everything up to `lsn` without a change.
    pub(crate) fn raise_merge_lsn(&mut self, lsn: Lsn) {
        assert!(lsn >= self.merge_lsn, "INV-4b: a merge LSN never falls");
        self.merge_lsn = lsn;
    }

    /// Puts a published root in force.
    pub(crate) fn replace_root(
        &mut self,
        root: Option<TreeRoot>,
        pages: ReplacedPages,
        (space, write): (Option<TabletSpace>, SlotGeneration),
    ) {
        let handle = std::mem::replace(&mut self.current, Rc::new(RootHandle { root }));
        let ReplacedPages { taken, obsolete: pages } = pages;
        // Only holders pass a root on, so one without any stays without.
        if Rc::strong_count(&handle) > 1 {
            let reached = self.allocator.borrow().live_before(&taken, &pages);
            self.held.push_back(Held { handle, reached, pinned: Vec::new() });
        }
        self.obsolete.push_back(Obsolete { pages, write });
        self.space = space;
    }

    /// Pages that only the older durable copy of the root table needs, found at open.
    pub(crate) fn pin_twin(&mut self, pages: Vec<PageRun>, write: SlotGeneration) {
        self.obsolete.push_back(Obsolete { pages, write });
    }

    /// Takes what may be released now: what both durable copies of the root table have given up
    /// (`is_in_both` tells it of a write), and no root that somebody holds reaches.
    pub(crate) fn take_releasable(
        &mut self,
        is_in_both: impl Fn(SlotGeneration) -> bool,
    ) -> Vec<PageRun> {
        let mut loose = Vec::new();
        self.held.retain_mut(|held| {
            let is_held = Rc::strong_count(&held.handle) > 1;
            if !is_held {
                loose.append(&mut held.pinned);
            }
            is_held
        });
        while self.obsolete.front().is_some_and(|front| is_in_both(front.write)) {
            loose.extend(self.obsolete.pop_front().into_iter().flat_map(|o| o.pages));
        }
        let mut released = Vec::new();
        for run in loose {
            match self.held.iter_mut().find(|held| held.reached.contains(run.addr)) {
                Some(held) => held.pinned.push(run),
                None => released.push(run),
            }
        }
        released
    }

    /// Whether somebody holds any of its roots.
    pub(crate) fn is_read(&self) -> bool {
        let mut handles = self.held.iter().map(|held| &held.handle).chain([&self.current]);
        handles.any(|handle| Rc::strong_count(handle) > 1)
    }

    pub(crate) fn has_obsolete(&self) -> bool {
        !self.obsolete.is_empty() || self.held.iter().any(|held| !held.pinned.is_empty())
    }

    /// Pages that wait for their release, and how many of them because a reader holds an older
    /// root.
    pub(crate) fn waiting_pages(&self) -> (u64, u64) {
        let count =
            |pages: &Vec<PageRun>| pages.iter().map(|run| u64::from(run.pages)).sum::<u64>();
        let pinned = self.held.iter().map(|held| count(&held.pinned)).sum::<u64>();
        let coming = self.obsolete.iter().map(|o| count(&o.pages)).sum::<u64>();
        (coming + pinned, pinned)
    }
}
