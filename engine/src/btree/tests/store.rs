//! An in-memory store of pages, and a tree in it beside the map that it must equal.

use crate::ids::Direction;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::btree::*;
use crate::format::node::{NodeStamp, is_sparse, must_overflow, validate_node};
use crate::format::overflow::{encode_overflow, overflow_pages, read_overflow};
use crate::format::page::{PageOwner, verify_page};
use crate::ids::{KeyspaceId, StoreId, TabletId};
use crate::limits::REBUILD_UNIT_PAGES_MAX;

pub(super) const OWNER: PageOwner = PageOwner {
    store_id: StoreId::from_bytes(*b"0123456789abcdef"),
    tablet: TabletId { keyspace: KeyspaceId::new(3), index: 2 },
};

/// A key with its value, as the model has it.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Pages by address; runs lie under the address of their first page.
pub(super) struct Store {
    pub(super) page_size: usize,
    pages: BTreeMap<u64, Rc<[u8]>>,
    next_addr: u64,
    /// When there are absent pages: those that were asked for and are in memory once.
    fetched: Option<RefCell<BTreeSet<u64>>>,
    pub(super) written: BTreeSet<u64>,
    pub(super) obsolete: Vec<(u64, u32)>,
    allocs_of_unit: usize,
}

impl Pages for Store {
    type Page = Rc<[u8]>;

    fn page(&self, page: PageRef) -> Option<Rc<[u8]>> {
        let addr = page.addr.as_u64();
        if let Some(fetched) = &self.fetched
            && !fetched.borrow().contains(&addr)
        {
            return None;
        }
        let bytes = self.pages.get(&addr).expect("a page that nobody wrote");
        let header = verify_page(bytes, page, None, &OWNER).unwrap();
        validate_node(bytes, &header).unwrap();
        Some(bytes.clone())
    }
}

impl PageOut for Store {
    fn alloc(&mut self) -> PageAddr {
        self.allocs_of_unit += 1;
        self.take_addrs(1)
    }

    fn write(&mut self, addr: PageAddr, fill: &mut dyn FnMut(&mut [u8])) {
        let mut page = vec![0; self.page_size];
        fill(&mut page);
        self.put(addr, page);
    }

    fn obsolete(&mut self, addr: PageAddr, pages: u32) {
        self.obsolete.push((addr.as_u64(), pages));
    }
}

impl Store {
    fn new(page_size: usize) -> Store {
        Store {
            page_size,
            pages: BTreeMap::new(),
            next_addr: 1,
            fetched: None,
            written: BTreeSet::new(),
            obsolete: Vec::new(),
            allocs_of_unit: 0,
        }
    }

    fn take_addrs(&mut self, pages: u32) -> PageAddr {
        let addr = self.next_addr;
        self.next_addr += u64::from(pages);
        PageAddr::new(addr)
    }

    fn put(&mut self, addr: PageAddr, bytes: Vec<u8>) {
        assert!(self.pages.insert(addr.as_u64(), bytes.into()).is_none(), "overwritten: {addr}");
        for page in self.pages_of(addr.as_u64()) {
            assert!(self.written.insert(page));
        }
    }

    fn pages_of(&self, addr: u64) -> std::ops::Range<u64> {
        addr..addr + (self.pages[&addr].len() / self.page_size) as u64
    }

    /// Makes the pages available for the next step only, when pages can be absent.
    pub(super) fn fetch(&self, pages: &[PageRef]) {
        if let Some(fetched) = &self.fetched {
            *fetched.borrow_mut() = pages.iter().map(|page| page.addr.as_u64()).collect();
        }
    }

    pub(super) fn set_absent(&mut self, can_be_absent: bool) {
        self.fetched = can_be_absent.then(RefCell::default);
    }

    fn write_run(&mut self, value: &[u8], lsn: Lsn) -> OverflowRef {
        let pages = overflow_pages(value.len(), self.page_size);
        let stamp = NodeStamp { addr: self.take_addrs(pages), owner: OWNER, page_lsn: lsn };
        let mut run = vec![0; pages as usize * self.page_size];
        let reference = encode_overflow(&mut run, self.page_size, &stamp, value);
        self.put(reference.addr, run);
        reference
    }

    pub(super) fn read(&self, value: &Value<Rc<[u8]>>) -> Vec<u8> {
        match value {
            Value::Inline { .. } => value.as_slice().unwrap().to_vec(),
            Value::Overflow(reference) => {
                let run = &self.pages[&reference.addr.as_u64()];
                read_overflow(run, reference, &OWNER).unwrap().to_vec()
            }
        }
    }

    /// Steps until done, fetching what is asked for.
    pub(super) fn run<T>(&self, mut step: impl FnMut(&Store) -> Step<T>) -> T {
        loop {
            match step(self) {
                Step::Done(result) => return result,
                Step::NeedPage(page) => self.fetch(&[page]),
            }
        }
    }
}

/// What `walk` finds in a tree.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) pages: BTreeSet<u64>,
    pub(super) rows: u64,
    /// By level: used bytes of the nodes, in key order.
    pub(super) used: Vec<Vec<usize>>,
    pub(super) newest_lsn: u64,
}

/// A tree, its store and its model.
pub(super) struct Tree {
    pub(super) store: Store,
    pub(super) root: Option<TreeRoot>,
    pub(super) model: Rows,
    pub(super) lsn: u64,
}

impl Tree {
    pub(super) fn new(page_size: usize) -> Tree {
        Tree { store: Store::new(page_size), root: None, model: Rows::new(), lsn: 0 }
    }

    /// Applies a batch to the tree and to the model; `None` deletes.
    pub(super) fn apply(&mut self, batch: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
        let before = self.walk();
        self.store.written.clear();
        self.store.obsolete.clear();
        self.lsn += 1;
        let mut entries = Vec::new();
        for (key, value) in batch {
            entries.push(self.entry(key, value.as_deref()));
        }
        self.rebuild(entries);
        for (key, value) in batch {
            match value {
                Some(value) => self.model.insert(key.clone(), value.clone()),
                None => self.model.remove(key),
            };
        }
        self.check_pages(&before);
    }

    fn rebuild(&mut self, batch: Vec<BatchEntry>) {
        let (page_size, root) = (self.store.page_size, self.root);
        let mut rebuild = Rebuild::new(RebuildConfig { page_size, owner: OWNER, root }, batch);
        let mut steps = 0;
        self.root = loop {
            steps += 1;
            assert!(steps < 20_000, "a rebuild that does not end");
            self.store.allocs_of_unit = 0;
            // The store is both what is read and what is written, so the reader is a snapshot.
            let snapshot = Store {
                pages: self.store.pages.clone(),
                fetched: self.store.fetched.clone(),
                ..Store::new(page_size)
            };
            let step = rebuild.advance(&snapshot, &mut self.store);
            assert!(self.store.allocs_of_unit <= REBUILD_UNIT_PAGES_MAX);
            match step {
                RebuildStep::Done(root) => break root,
                RebuildStep::Progress => {}
                RebuildStep::NeedPages(pages) => {
                    assert!(!pages.is_empty() && self.store.fetched.is_some());
                    self.store.fetch(&pages);
                }
            }
        };
    }

    fn entry(&mut self, key: &[u8], value: Option<&[u8]>) -> BatchEntry {
        let lsn = Lsn::new(self.lsn);
        let value = match value {
            None => BatchValue::Delete,
            Some(value) if must_overflow(key.len(), value.len(), self.store.page_size) => {
                BatchValue::Overflow(self.store.write_run(value, lsn))
            }
            Some(value) => BatchValue::Inline(Bytes::copy_from_slice(value)),
        };
        BatchEntry { key: Bytes::copy_from_slice(key), lsn, value }
    }

    /// What the old tree reached and what was written is now reached or obsolete, never both.
    fn check_pages(&mut self, before: &Walked) {
        let after = self.walk();
        let mut released = BTreeSet::new();
        for &(addr, pages) in &self.store.obsolete {
            assert_eq!(self.store.pages_of(addr), addr..addr + u64::from(pages));
            for page in addr..addr + u64::from(pages) {
                assert!(released.insert(page), "page {page} is obsolete twice");
            }
        }
        assert!(released.is_disjoint(&after.pages), "an obsolete page is reached");
        assert!(before.pages.is_disjoint(&self.store.written), "a live page is overwritten");
        let known: BTreeSet<u64> = before.pages.union(&self.store.written).copied().collect();
        let accounted: BTreeSet<u64> = after.pages.union(&released).copied().collect();
        assert_eq!(accounted, known, "reached or obsolete == was reached or written");
        assert_eq!(after.rows, self.model.len() as u64);
        if !self.store.written.is_empty() && self.root.is_some() {
            assert!(after.newest_lsn <= self.lsn);
        }
        for (addr, _) in self.store.obsolete.clone() {
            self.store.pages.remove(&addr);
        }
    }

    /// Checks every node against its parent and collects what the tree consists of.
    pub(super) fn walk(&self) -> Walked {
        let mut walked = Walked::default();
        if let Some(root) = self.root {
            assert!(root.child.rows > 0);
            let expected = NodeExpectation {
                level: root.level,
                lower: None,
                upper: None,
                rows: root.child.rows,
                is_sparse: None,
            };
            walked.used = vec![Vec::new(); usize::from(root.level) + 1];
            self.walk_node(root.child.page, &expected, &mut walked);
        }
        walked
    }

    fn walk_node(&self, page: PageRef, expected: &NodeExpectation<'_>, walked: &mut Walked) -> u64 {
        let bytes = &self.store.pages[&page.addr.as_u64()];
        let header = verify_page(bytes, page, None, &OWNER).unwrap();
        let summary = check_node(bytes, &header, expected).unwrap();
        assert!(walked.pages.insert(page.addr.as_u64()));
        walked.used[usize::from(expected.level)].push(summary.used_bytes);
        for (_, run) in &summary.overflows {
            for page in run.addr.as_u64()..run.addr.as_u64() + u64::from(run.pages) {
                assert!(walked.pages.insert(page));
            }
            assert!(self.store.pages.contains_key(&run.addr.as_u64()));
        }
        if expected.level == 0 {
            walked.rows += summary.rows;
        } else {
            assert!(
                expected.is_sparse.is_some() || summary.children.len() > 1,
                "a root with one child"
            );
        }
        let lsn = header.page_lsn.as_u64();
        for child in &summary.children {
            let expected = NodeExpectation {
                level: expected.level - 1,
                lower: child.lower.as_deref(),
                upper: child.upper.as_deref(),
                rows: child.child.rows,
                is_sparse: Some(child.is_sparse),
            };
            let below = self.walk_node(child.child.page, &expected, walked);
            assert!(below <= lsn, "a node's LSN covers its children");
        }
        walked.newest_lsn = walked.newest_lsn.max(lsn);
        lsn
    }

    /// Compares lookups, counts and cursors with the model.
    pub(super) fn compare(&self, probes: &[Vec<u8>]) {
        for probe in probes {
            let mut lookup = Lookup::new(self.root);
            let found = self.store.run(|store| lookup.step(store, probe));
            let found = found.map(|value| self.store.read(&value));
            assert_eq!(found.as_ref(), self.model.get(probe), "lookup of {probe:?}");
            let mut rank = Rank::new(self.root);
            let below = self.model.range(..probe.clone()).count() as u64;
            assert_eq!(self.store.run(|store| rank.step(store, probe)), below);
            let mut nth = Nth::new(self.root, below);
            let row = self.store.run(|store| nth.step(store));
            let expected = self.model.range(probe.clone()..).next();
            assert_eq!(row.as_ref().map(|row| &row.key), expected.map(|(key, _)| key));
        }
        for pair in probes.chunks(2) {
            let (from, to) = (&pair[0], pair.last().unwrap());
            for (from, to) in [
                (Bound::Included(&from[..]), Bound::Excluded(&to[..])),
                (Bound::Excluded(&from[..]), Bound::Included(&to[..])),
                (Bound::Unbounded, Bound::Included(&to[..])),
                (Bound::Excluded(&from[..]), Bound::Unbounded),
            ] {
                self.compare_range(from, to, 64);
            }
        }
        self.compare_range(Bound::Unbounded, Bound::Unbounded, usize::MAX);
    }

    pub(super) fn compare_range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, rows: usize) {
        let is_inside = |key: &[u8]| {
            (match from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            }) && (match to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            })
        };
        let expected: Vec<_> = self.model.iter().filter(|(key, _)| is_inside(key)).collect();
        let found = self.collect(from, to, Direction::Forward, rows);
        assert!(
            found.iter().map(|(key, value)| (key, value)).eq(expected.iter().copied().take(rows))
        );
        let found = self.collect(from, to, Direction::Reverse, rows);
        let expected = expected.iter().rev().copied().take(rows);
        assert!(found.iter().map(|(key, value)| (key, value)).eq(expected));
    }

    fn collect(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        rows: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cursor = Cursor::new(self.root, from, to, direction);
        let next = || self.store.run(|store| cursor.next(store));
        let found = std::iter::from_fn(next).take(rows);
        found.map(|row| (row.key, self.store.read(&row.value))).collect()
    }

    /// Pages of nodes that are below the half though a page beside them under their parent could
    /// take them in whole; the last node of a level is let off.
    pub(super) fn joinable(&self) -> usize {
        let Some(root) = self.root.filter(|root| root.level > 0) else { return 0 };
        self.joinable_below(root.child.page, root.level, true)
    }

    fn joinable_below(&self, page: PageRef, level: u8, is_last: bool) -> usize {
        use crate::format::node::Inner;
        let inner = Inner::new(&self.store.pages[&page.addr.as_u64()]);
        let count = inner.len();
        let mut sum = 0;
        for index in 0..count {
            let child = inner.child(index).page;
            let is_last = is_last && index + 1 == count;
            if level > 1 {
                sum += self.joinable_below(child, level - 1, is_last);
            }
            if !inner.is_sparse(index) || is_last || count == 1 {
                continue;
            }
            let fits = |left: usize| {
                let size = self.size_of_both([left, left + 1], &inner, level - 1);
                size <= self.store.page_size
            };
            let left = index.checked_sub(1).is_none_or(fits);
            let right = index + 1 == count || fits(index);
            sum += usize::from(left && right);
        }
        sum
    }

    fn size_of_both(
        &self,
        pair: [usize; 2],
        inner: &crate::format::node::Inner<'_>,
        level: u8,
    ) -> usize {
        use crate::format::node::{Inner, Leaf};
        let mut items = rebuild::items::Items::new(level);
        for index in pair {
            let page = &self.store.pages[&inner.child(index).page.addr.as_u64()];
            if level == 0 {
                let leaf = Leaf::new(page);
                items.push_rows(page, &leaf, 0..leaf.len());
            } else {
                let separator = if index == 0 { Vec::new() } else { inner.separator(index) };
                items.push_children(&Inner::new(page), &separator);
            }
        }
        items.size(&(0..items.len()))
    }

    /// By level: nodes below the half, not counting the root and the last of each level.
    pub(super) fn sparse_nodes(&self) -> Vec<usize> {
        let walked = self.walk();
        let is_below = |used: &&usize| is_sparse(**used, self.store.page_size);
        walked.used.iter().map(|used| used.iter().rev().skip(1).filter(is_below).count()).collect()
    }
}
