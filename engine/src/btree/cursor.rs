//! Range reads in either direction. Knows the pages between the root and the row it stands at.

use std::ops::Bound;

use super::{Pages, Step, TreeRoot, Value};
use crate::format::node::{Inner, Leaf};
use crate::format::page::PageRef;
use crate::ids::Direction;

/// A row of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Row<P> {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Value<P>,
}

/// A node, and which of its entries are in the range and still to come.
#[derive(Clone, Debug)]
struct Held<P> {
    page: P,
    level: u8,
    next: usize,
    end: usize,
}

/// Walks the rows of a range.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<P> {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    direction: Direction,
    /// The page to enter next, and its level.
    wanted: Option<(PageRef, u8)>,
    /// The nodes between the root and the cursor's place, the root first.
    path: Vec<Held<P>>,
}

fn owned(bound: Bound<&[u8]>) -> Bound<Vec<u8>> {
    bound.map(<[u8]>::to_vec)
}

impl<P: std::ops::Deref<Target = [u8]> + Clone> Cursor<P> {
    /// A cursor before the first row of the range in its direction; an inverted range is empty.
    pub(crate) fn new(
        root: Option<TreeRoot>,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Cursor<P> {
        let wanted = root.map(|root| (root.child.page, root.level));
        Cursor { from: owned(from), to: owned(to), direction, wanted, path: Vec::new() }
    }

    /// The next row, or `None` at the end of the range. Cost per row: its key and a page handle.
    pub(crate) fn next<S: Pages<Page = P>>(&mut self, pages: &S) -> Step<Option<Row<P>>> {
        loop {
            if let Some((reference, level)) = self.wanted {
                let Some(page) = pages.page(reference) else { return Step::NeedPage(reference) };
                self.wanted = None;
                self.enter(page, level);
            }
            let Some(held) = self.path.last_mut() else { return Step::Done(None) };
            let Some(index) = held.take(self.direction) else {
                self.path.pop();
                continue;
            };
            if held.level == 0 {
                let leaf = Leaf::new(&held.page);
                let (key, value) = (leaf.key(index), leaf.value(index));
                return Step::Done(Some(Row { key, value: Value::new(held.page.clone(), value) }));
            }
            self.wanted = Some((Inner::new(&held.page).child(index).page, held.level - 1));
        }
    }

    /// Up to `n` leaves that come after the one that the cursor is in or waits for, as far as the
    /// nodes it holds know them: worth fetching ahead.
    pub(crate) fn upcoming(&self, n: usize) -> Vec<PageRef> {
        let Some(held) = self.path.iter().rev().find(|held| held.level == 1) else {
            return Vec::new();
        };
        let (mut rest, inner) = (held.clone(), Inner::new(&held.page));
        let indexes = std::iter::from_fn(|| rest.take(self.direction));
        indexes.take(n).map(|index| inner.child(index).page).collect()
    }

    /// Steps into a page: finds which of its entries may be in the range.
    fn enter(&mut self, page: P, level: u8) {
        let (next, end) = if level == 0 {
            let leaf = Leaf::new(&page);
            let at = |key: &[u8]| match leaf.search(key) {
                Ok(index) => (index, index + 1),
                Err(index) => (index, index),
            };
            let next = match &self.from {
                Bound::Unbounded => 0,
                Bound::Included(key) => at(key).0,
                Bound::Excluded(key) => at(key).1,
            };
            let end = match &self.to {
                Bound::Unbounded => leaf.len(),
                Bound::Included(key) => at(key).1,
                Bound::Excluded(key) => at(key).0,
            };
            (next, end)
        } else {
            let inner = Inner::new(&page);
            let next = match &self.from {
                Bound::Unbounded => 0,
                Bound::Included(key) | Bound::Excluded(key) => inner.find(key),
            };
            let end = match &self.to {
                Bound::Unbounded => inner.len(),
                Bound::Included(key) => inner.find(key) + 1,
                Bound::Excluded(key) => inner.find_below(key) + 1,
            };
            (next, end)
        };
        self.path.push(Held { page, level, next, end });
    }
}

impl<P> Held<P> {
    /// The next entry in this direction, once.
    fn take(&mut self, direction: Direction) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        match direction {
            Direction::Forward => {
                self.next += 1;
                Some(self.next - 1)
            }
            Direction::Reverse => {
                self.end -= 1;
                Some(self.end)
            }
        }
    }
}
