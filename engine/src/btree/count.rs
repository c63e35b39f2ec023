//! Positions of rows, out of the counts that child references carry.

use super::cursor::Row;
use super::{Pages, Step, TreeRoot, Value};
use crate::format::node::{Inner, Leaf};
use crate::format::page::PageRef;

/// Counts the rows below a key.
#[derive(Clone, Debug)]
pub(crate) struct Rank {
    at: Option<(PageRef, u8)>,
    rows_before: u64,
}

impl Rank {
    pub(crate) fn new(root: Option<TreeRoot>) -> Rank {
        Rank { at: root.map(|root| (root.child.page, root.level)), rows_before: 0 }
    }

    /// The number of rows with keys below `probe`, which is the same in every step. Cost: one
    /// page per level.
    pub(crate) fn step<S: Pages>(&mut self, pages: &S, probe: &[u8]) -> Step<u64> {
        while let Some((reference, level)) = self.at {
            let Some(page) = pages.page(reference) else { return Step::NeedPage(reference) };
            if level == 0 {
                let index = match Leaf::new(&page).search(probe) {
                    Ok(index) | Err(index) => index,
                };
                return Step::Done(self.rows_before + index as u64);
            }
            let inner = Inner::new(&page);
            let index = inner.find(probe);
            self.rows_before += inner.rows_before(index);
            self.at = Some((inner.child(index).page, level - 1));
        }
        Step::Done(0)
    }
}

/// Finds the row at a position.
#[derive(Clone, Debug)]
pub(crate) struct Nth {
    at: Option<(PageRef, u8)>,
    /// Position of the row below the page in `at`.
    index: u64,
}

impl Nth {
    /// Looks for the row that `index` rows precede.
    pub(crate) fn new(root: Option<TreeRoot>, index: u64) -> Nth {
        let at = root.filter(|root| index < root.child.rows);
        Nth { at: at.map(|root| (root.child.page, root.level)), index }
    }

    /// The row, or `None` if the tree has no more than `index` rows. Cost: one page per level.
    pub(crate) fn step<S: Pages>(&mut self, pages: &S) -> Step<Option<Row<S::Page>>> {
        while let Some((reference, level)) = self.at {
            let Some(page) = pages.page(reference) else { return Step::NeedPage(reference) };
            if level == 0 {
                let leaf = Leaf::new(&page);
                let index = usize::try_from(self.index).expect("INV-6: the counts hold");
                let (key, value) = (leaf.key(index), leaf.value(index));
                return Step::Done(Some(Row { key, value: Value::new(page, value) }));
            }
            let inner = Inner::new(&page);
            let mut children = (0..inner.len()).map(|index| inner.child(index));
            let child = children.find(|child| {
                let is_here = self.index < child.rows;
                self.index -= if is_here { 0 } else { child.rows };
                is_here
            });
            let child = child.expect("INV-6: a node has the rows that its parent counts");
            self.at = Some((child.page, level - 1));
        }
        Step::Done(None)
    }
}
