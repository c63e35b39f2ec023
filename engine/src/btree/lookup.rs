//! Point lookup. Knows the way from the root to one key.

use super::{Pages, Step, TreeRoot, Value};
use crate::format::node::{Inner, Leaf};
use crate::format::page::PageRef;

/// Finds the value of one key; goes on where it stopped for a page.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// The page to look at next, and its level.
    at: Option<(PageRef, u8)>,
}

impl Lookup {
    pub(crate) fn new(root: Option<TreeRoot>) -> Lookup {
        Lookup { at: root.map(|root| (root.child.page, root.level)) }
    }

    /// Goes on with the search of `key`, which is the same in every step. Cost: O(log n) and one
    /// page per level.
    pub(crate) fn step<S: Pages>(&mut self, pages: &S, key: &[u8]) -> Step<Option<Value<S::Page>>> {
        while let Some((reference, level)) = self.at {
            let Some(page) = pages.page(reference) else { return Step::NeedPage(reference) };
            if level == 0 {
                let leaf = Leaf::new(&page);
                let found = leaf.search(key).ok().map(|index| leaf.value(index));
                return Step::Done(found.map(|value| Value::new(page, value)));
            }
            let inner = Inner::new(&page);
            self.at = Some((inner.child(inner.find(key)).page, level - 1));
        }
        Step::Done(None)
    }
}
