//! A walk over one tree, page by page, each checked against what its parent says.

use std::collections::BTreeSet;

use sombra_runtime::{IoClass, Shard};

use super::{CheckProblem, problem};
use crate::btree::{NodeExpectation, TreeRoot, check_node};
use crate::format::node::{ChildRef, Leaf};
use crate::format::overflow::{OverflowRef, read_overflow};
use crate::format::page::{PageOwner, verify_page};
use crate::ids::{PageAddr, TabletId};
use crate::volume::Volume;

/// A node that waits to be read, with what its parent says of it.
struct Pending {
    child: ChildRef,
    level: u8,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
    /// What the parent says of its fill; nothing of the root's.
    is_sparse: Option<bool>,
}

/// A part of a walk, for those who must not hold a root for long.
pub(crate) struct WalkPart {
    /// Keys below it were walked before.
    pub(crate) from: Option<Vec<u8>>,
    /// Once so many pages are read, the part ends at the next key.
    pub(crate) pages_max: usize,
}

impl WalkPart {
    const WHOLE: WalkPart = WalkPart { from: None, pages_max: usize::MAX };

    /// Every part gets at least one leaf's row further than the one before it.
    fn ends_before(&self, key: Option<&[u8]>, pages: usize) -> bool {
        pages >= self.pages_max && key > self.from.as_deref()
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_some_and(|from| key < from)
    }

    /// Whether all keys below `upper` were walked before.
    fn is_walked(&self, upper: &[u8]) -> bool {
        self.from.as_deref().is_some_and(|from| upper <= from)
    }
}

pub(crate) struct TreeWalk<'s> {
    shard: &'s Shard,
    volume: &'s Volume,
    owner: PageOwner,
    /// Every page that the root reaches.
    pub(crate) pages: BTreeSet<PageAddr>,
    pub(crate) rows: u64,
    pub(crate) leaf_pages: u64,
    pub(crate) inner_pages: u64,
    pub(crate) overflow_pages: u64,
    leaf_used_bytes: u64,
    part: WalkPart,
    /// Where the next part begins, once this one has ended.
    next: Option<Vec<u8>>,
    /// No part of the tree was passed over for a problem above it.
    pub(crate) is_complete: bool,
    pub(crate) problems: Vec<CheckProblem>,
}

impl<'s> TreeWalk<'s> {
    pub(crate) fn new(shard: &'s Shard, volume: &'s Volume, tablet: TabletId) -> TreeWalk<'s> {
        TreeWalk {
            shard,
            volume,
            owner: PageOwner { store_id: volume.store_id(), tablet },
            pages: BTreeSet::new(),
            rows: 0,
            leaf_pages: 0,
            inner_pages: 0,
            overflow_pages: 0,
            leaf_used_bytes: 0,
            part: WalkPart::WHOLE,
            next: None,
            is_complete: true,
            problems: Vec::new(),
        }
    }

    pub(crate) fn leaf_fill_percent(&self, page_size_bytes: u64) -> u64 {
        match self.leaf_pages {
            0 => 100,
            pages => self.leaf_used_bytes * 100 / (pages * page_size_bytes),
        }
    }

    /// Goes through the whole tree; `lower` and `upper` bound the keys of its tablet.
    pub(crate) async fn walk(
        &mut self,
        root: Option<TreeRoot>,
        bounds: (Option<Vec<u8>>, Option<Vec<u8>>),
    ) {
        let Some(root) = root else { return };
        let _whole = self.walk_part(root, bounds, WalkPart::WHOLE).await;
        if self.problems.is_empty() && self.rows != root.child.rows {
            let expected = format!("{} rows, as the root table says", root.child.rows);
            let place = self.place(root.child.page.addr);
            self.problems.push(problem(place, &expected, self.rows));
        }
    }

    /// Goes through a part of the tree; returns the key at which the next part begins, `None`
    /// when the tree's end was reached.
    pub(crate) async fn walk_part(
        &mut self,
        root: TreeRoot,
        (lower, upper): (Option<Vec<u8>>, Option<Vec<u8>>),
        part: WalkPart,
    ) -> Option<Vec<u8>> {
        self.part = part;
        let (child, level) = (root.child, root.level);
        let mut waiting = vec![Pending { child, level, lower, upper, is_sparse: None }];
        while let Some(node) = waiting.pop() {
            if self.part.ends_before(node.lower.as_deref(), self.pages.len()) {
                return node.lower;
            }
            self.visit(&node, &mut waiting).await;
            if self.next.is_some() {
                return self.next.take();
            }
        }
        None
    }

    async fn visit(&mut self, node: &Pending, waiting: &mut Vec<Pending>) {
        let page = node.child.page;
        if !self.pages.insert(page.addr) {
            let found = "a second reference to it";
            self.problems.push(problem(self.place(page.addr), "one reference to a page", found));
            return;
        }
        let read = self.volume.read_run(self.shard, page.addr, 1, IoClass::Maintenance).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return self.note_lost(node, "a page", &error),
        };
        let header = match verify_page(&bytes, page, None, &self.owner) {
            Ok(header) => header,
            Err(error) => {
                return self.note_lost(node, "the page that its parent names", &error);
            }
        };
        let expected = NodeExpectation {
            level: node.level,
            lower: node.lower.as_deref(),
            upper: node.upper.as_deref(),
            rows: node.child.rows,
            is_sparse: node.is_sparse,
        };
        let summary = match check_node(&bytes, &header, &expected) {
            Ok(summary) => summary,
            Err(error) => return self.note_lost(node, "a sound node", &error),
        };
        if node.level == 0 {
            self.leaf_pages += 1;
            self.rows += summary.rows;
            self.leaf_used_bytes += summary.used_bytes as u64;
        } else {
            self.inner_pages += 1;
        }
        for (row, overflow) in summary.overflows {
            let key = Leaf::new(&bytes).key(row);
            if self.part.is_behind(&key) {
                continue;
            }
            if self.part.ends_before(Some(&key), self.pages.len()) {
                self.next = Some(key);
                return;
            }
            self.visit_overflow(&overflow).await;
        }
        // The leftmost child is looked at first: reads go through the file in order.
        for checked in summary.children.into_iter().rev() {
            if checked.upper.as_ref().is_some_and(|upper| self.part.is_walked(upper)) {
                continue;
            }
            waiting.push(Pending {
                child: checked.child,
                level: node.level - 1,
                lower: checked.lower,
                upper: checked.upper,
                is_sparse: Some(checked.is_sparse),
            });
        }
    }

    async fn visit_overflow(&mut self, overflow: &OverflowRef) {
        self.overflow_pages += u64::from(overflow.pages);
        for at in 0..u64::from(overflow.pages) {
            if !self.pages.insert(overflow.addr.plus(at)) {
                let place = self.place(overflow.addr);
                let found = "a second reference to it";
                self.problems.push(problem(place, "one reference to a page", found));
                return;
            }
        }
        let class = IoClass::Maintenance;
        let read = self.volume.read_run(self.shard, overflow.addr, overflow.pages, class).await;
        match read {
            Err(error) => self.note(overflow.addr, "a value's pages", &error),
            Ok(run) => {
                if let Err(error) = read_overflow(&run, overflow, &self.owner) {
                    self.note(overflow.addr, "the value that its leaf names", &error);
                }
            }
        }
    }

    fn place(&self, addr: PageAddr) -> String {
        let offset = addr.offset_bytes(self.volume.page_size_bytes());
        format!("{} at byte {offset} (page {addr})", self.volume.path().display())
    }

    /// What lies below a node that cannot be read is not seen; a leaf's large values neither.
    fn note_lost(&mut self, node: &Pending, expected: &str, found: &impl std::fmt::Display) {
        self.is_complete = false;
        let rows = node.child.rows;
        let expected = format!("{expected} ({rows} rows in it or below)");
        self.note(node.child.page.addr, &expected, found);
    }

    fn note(&mut self, addr: PageAddr, expected: &str, found: &impl std::fmt::Display) {
        self.problems.push(problem(self.place(addr), expected, found));
    }
}
