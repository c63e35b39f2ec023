//! A walk over one tree, page by page, each checked against what its parent says.
//!
//! Hands out the leaves that are what they should be, and passes over whatever is not: that
//! becomes a problem, with the keys that it costs.

use std::collections::BTreeSet;

use sombra_runtime::{DmaBuf, IoClass, Shard};

use super::problem::hash_prefix_len_bytes;
use super::{CheckProblem, KeyBounds, KeySpan, ProblemTablet, bounds, page_place, problem};
use crate::btree::{NodeExpectation, NodeSummary, TreeRoot, check_node};
use crate::format::node::ChildRef;
use crate::format::overflow::{OverflowRef, read_overflow};
use crate::format::page::{PageOwner, verify_page};
use crate::ids::PageAddr;
use crate::keyspace::HASH_BYTES;
use crate::options::Routing;
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

/// A leaf that is what its parent says.
pub(crate) struct SoundLeaf {
    pub(crate) page: DmaBuf,
    /// Its values that lie outside, with their keys.
    pub(crate) overflows: Vec<(Vec<u8>, OverflowRef)>,
}

/// The tablet whose tree is walked, and the keys that may be in it.
pub(crate) struct WalkedTablet {
    pub(crate) name: ProblemTablet,
    pub(crate) hash_prefix_len_bytes: Option<u16>,
    pub(crate) lower: Option<Vec<u8>>,
    pub(crate) upper: Option<Vec<u8>>,
}

impl WalkedTablet {
    /// A tablet of a keyspace with this routing, if that is known.
    pub(crate) fn new(name: ProblemTablet, routing: Option<&Routing>) -> WalkedTablet {
        let (lower, upper) = routing.map_or((None, None), |routing| bounds(routing, name.id.index));
        let hash_prefix_len_bytes = routing.and_then(hash_prefix_len_bytes);
        WalkedTablet { name, hash_prefix_len_bytes, lower, upper }
    }

    /// Bytes of the routing hash before each key of the tree.
    pub(crate) fn key_offset(&self) -> usize {
        self.hash_prefix_len_bytes.map_or(0, |_| HASH_BYTES)
    }

    /// All keys of the tablet.
    pub(crate) fn keys(&self) -> KeySpan {
        let (lower, upper) = (self.lower.clone(), self.upper.clone());
        let bounds = KeyBounds::Range { lower, upper };
        KeySpan { hash_prefix_len_bytes: self.hash_prefix_len_bytes, bounds }
    }
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
    fn is_walked(&self, upper: Option<&[u8]>) -> bool {
        self.from.as_deref().is_some_and(|from| upper.is_some_and(|upper| upper <= from))
    }
}

pub(crate) struct TreeWalk<'s> {
    shard: &'s Shard,
    volume: &'s Volume,
    owner: PageOwner,
    tablet: &'s WalkedTablet,
    part: WalkPart,
    waiting: Vec<Pending>,
    /// Every page that the root reaches.
    pub(crate) pages: BTreeSet<PageAddr>,
    pub(super) rows: u64,
    pub(super) leaf_pages: u64,
    pub(super) inner_pages: u64,
    pub(super) overflow_pages: u64,
    leaf_used_bytes: u64,
    /// No part of the tree was passed over for a problem above it.
    pub(super) is_complete: bool,
    pub(crate) problems: Vec<CheckProblem>,
}

impl<'s> TreeWalk<'s> {
    pub(crate) fn new(
        shard: &'s Shard,
        volume: &'s Volume,
        tablet: &'s WalkedTablet,
    ) -> TreeWalk<'s> {
        TreeWalk {
            shard,
            volume,
            owner: PageOwner { store_id: volume.store_id(), tablet: tablet.name.id },
            tablet,
            part: WalkPart::WHOLE,
            waiting: Vec::new(),
            pages: BTreeSet::new(),
            rows: 0,
            leaf_pages: 0,
            inner_pages: 0,
            overflow_pages: 0,
            leaf_used_bytes: 0,
            is_complete: true,
            problems: Vec::new(),
        }
    }

    pub(super) fn leaf_fill_percent(&self, page_size_bytes: u64) -> u64 {
        match self.leaf_pages {
            0 => 100,
            pages => self.leaf_used_bytes * 100 / (pages * page_size_bytes),
        }
    }

    /// Goes through the whole tree.
    pub(super) async fn walk(&mut self, root: Option<TreeRoot>) {
        let Some(root) = root else { return };
        let _whole = self.walk_part(root, WalkPart::WHOLE).await;
        if self.problems.is_empty() && self.rows != root.child.rows {
            let expected = format!("{} rows, as the root table says", root.child.rows);
            let rows = self.rows;
            self.note((root.child.page.addr, self.tablet.keys().bounds), &expected, &rows);
        }
    }

    /// Goes through a part of the tree; returns the key at which the next part begins, `None`
    /// when the tree's end was reached.
    pub(crate) async fn walk_part(&mut self, root: TreeRoot, part: WalkPart) -> Option<Vec<u8>> {
        self.part = part;
        self.begin(root);
        while let Some(node) = self.waiting.pop() {
            if self.part.ends_before(node.lower.as_deref(), self.pages.len()) {
                return node.lower;
            }
            let Some(leaf) = self.visit(node).await else { continue };
            for (key, overflow) in leaf.overflows {
                if self.part.is_behind(&key) {
                    continue;
                }
                if self.part.ends_before(Some(&key), self.pages.len()) {
                    return Some(key);
                }
                let _ = self.read_value(&key, &overflow).await;
            }
        }
        None
    }

    /// Stands before the first leaf.
    pub(crate) fn begin(&mut self, root: TreeRoot) {
        let (child, level) = (root.child, root.level);
        let (lower, upper) = (self.tablet.lower.clone(), self.tablet.upper.clone());
        self.waiting = vec![Pending { child, level, lower, upper, is_sparse: None }];
    }

    /// The next leaf that can be believed, or `None` behind the last.
    pub(crate) async fn next_leaf(&mut self) -> Option<SoundLeaf> {
        while let Some(node) = self.waiting.pop() {
            if let Some(leaf) = self.visit(node).await {
                return Some(leaf);
            }
        }
        None
    }

    async fn visit(&mut self, node: Pending) -> Option<SoundLeaf> {
        let page = node.child.page;
        if !self.pages.insert(page.addr) {
            self.note_lost(node, "one reference to a page", &"a second reference to it");
            return None;
        }
        let read = self.volume.read_run(self.shard, page.addr, 1, IoClass::Maintenance).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note_lost(node, "a page", &error);
                return None;
            }
        };
        match self.summary(&bytes, &node) {
            Ok(summary) => self.take(node.level, bytes, summary),
            Err((expected, found)) => {
                self.note_lost(node, expected, &found);
                None
            }
        }
    }

    /// What a node holds, if it is what its parent says; else what was expected and found.
    fn summary(&self, bytes: &[u8], node: &Pending) -> Result<NodeSummary, (&'static str, String)> {
        let header = verify_page(bytes, node.child.page, None, &self.owner)
            .map_err(|error| ("the page that its parent names", error.to_string()))?;
        let expected = NodeExpectation {
            level: node.level,
            lower: node.lower.as_deref(),
            upper: node.upper.as_deref(),
            rows: node.child.rows,
            is_sparse: node.is_sparse,
        };
        check_node(bytes, &header, &expected).map_err(|error| ("a sound node", error.to_string()))
    }

    fn take(&mut self, level: u8, page: DmaBuf, summary: NodeSummary) -> Option<SoundLeaf> {
        if level == 0 {
            self.leaf_pages += 1;
            self.rows += summary.rows;
            self.leaf_used_bytes += summary.used_bytes as u64;
            return Some(SoundLeaf { page, overflows: summary.overflows });
        }
        self.inner_pages += 1;
        // The leftmost child is looked at first: reads go through the file in order.
        let part = &self.part;
        let children = summary.children.into_iter().rev();
        for checked in children.filter(|child| !part.is_walked(child.upper.as_deref())) {
            self.waiting.push(Pending {
                child: checked.child,
                level: level - 1,
                lower: checked.lower,
                upper: checked.upper,
                is_sparse: Some(checked.is_sparse),
            });
        }
        None
    }

    /// The value of a key that lies outside its leaf; `None`, and a problem, if it cannot be
    /// believed.
    pub(crate) async fn read_value(
        &mut self,
        key: &[u8],
        overflow: &OverflowRef,
    ) -> Option<Vec<u8>> {
        self.overflow_pages += u64::from(overflow.pages);
        let costs = (overflow.addr, KeyBounds::Key(key.to_vec()));
        for at in 0..u64::from(overflow.pages) {
            if !self.pages.insert(overflow.addr.plus(at)) {
                self.note(costs, "one reference to a page", &"a second reference to it");
                return None;
            }
        }
        let class = IoClass::Maintenance;
        let read = self.volume.read_run(self.shard, overflow.addr, overflow.pages, class).await;
        match read {
            Err(error) => self.note(costs, "a value's pages", &error),
            Ok(run) => match read_overflow(&run, overflow, &self.owner) {
                Ok(value) => return Some(value.to_vec()),
                Err(error) => self.note(costs, "the value that its leaf names", &error),
            },
        }
        None
    }

    /// What lies below a node that cannot be read is not seen; a leaf's large values neither.
    fn note_lost(&mut self, node: Pending, expected: &str, found: &impl std::fmt::Display) {
        self.is_complete = false;
        let rows = node.child.rows;
        let expected = format!("{expected} ({rows} rows in it or below)");
        let keys = KeyBounds::Range { lower: node.lower, upper: node.upper };
        self.note((node.child.page.addr, keys), &expected, found);
    }

    fn note(
        &mut self,
        (addr, keys): (PageAddr, KeyBounds),
        expected: &str,
        found: &impl std::fmt::Display,
    ) {
        let problem = problem(page_place(self.volume, addr), expected, found);
        let hash_prefix_len_bytes = self.tablet.hash_prefix_len_bytes;
        let keys = KeySpan { hash_prefix_len_bytes, bounds: keys };
        self.problems.push(problem.of(&self.tablet.name).costing(keys));
    }
}
