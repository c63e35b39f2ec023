//! Tablets of dropped keyspaces: their pages stay until nobody can find them any more.

use std::rc::Rc;

use crate::format::root_table::RowKey;
use crate::ids::TabletId;
use crate::tablet::Tablet;
use crate::volume::{RootTable, SlotGeneration};

/// A tablet whose keyspace was dropped.
pub(crate) struct Dropped {
    tablet: Tablet,
    /// The write of the root table without its row; `None` while the row may be in force.
    unpublished: Option<SlotGeneration>,
}

impl Dropped {
    pub(crate) fn new(tablet: Tablet) -> Dropped {
        let mut tablet = tablet;
        tablet.forget_versions();
        Dropped { tablet, unpublished: None }
    }

    pub(crate) fn id(&self) -> TabletId {
        self.tablet.id()
    }

    pub(crate) fn set_unpublished(&mut self, write: SlotGeneration) {
        self.unpublished = Some(write);
    }

    /// Whether neither durable copy of its row, nor a reader, nor a merge needs its pages.
    pub(crate) fn is_free(&self, roots: &RootTable) -> bool {
        // A tablet that was never published has no row to wait for, and gets none.
        let row = RowKey::Tablet(self.id());
        let is_gone = match self.unpublished {
            Some(write) => roots.is_in_both(write),
            None => roots.row(row).is_none(),
        };
        let tree = &self.tablet.tree;
        is_gone && Rc::strong_count(&tree.allocator) == 1 && !tree.is_read()
    }

    pub(crate) fn extent_count(&self) -> u64 {
        self.tablet.tree.allocator.borrow().extent_count()
    }

    /// Everything that it owned.
    pub(crate) fn into_extents(self) -> Vec<u32> {
        self.tablet.tree.allocator.borrow().extents().collect()
    }
}
