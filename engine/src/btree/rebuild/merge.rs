//! A leaf and its batch entries become rows of the new tree.

use super::{Micro, Rebuild, page_lsn};
use crate::btree::{BatchValue, PageOut};
use crate::format::node::{Leaf, LeafValue, must_overflow};
use crate::format::overflow::OverflowRef;
use crate::ids::PageAddr;
use crate::limits::{REBUILD_DELETES_LOOKED_UP_MAX, REBUILD_TURN_ENTRIES, WINDOW_KEY_BYTES_MAX};

/// A leaf on its way into the new tree.
#[derive(Debug)]
pub(super) struct Merging<P> {
    /// `None` when the tree was empty.
    pub(super) page: Option<P>,
    /// The next of its rows.
    pub(super) next: usize,
    pub(super) batch_end: usize,
}

impl<P: std::ops::Deref<Target = [u8]> + Clone> Rebuild<P> {
    /// Whether the batch entries only delete keys that are not in the leaf.
    pub(super) fn changes_nothing(&self, page: &[u8], batch_end: usize) -> bool {
        let (leaf, entries) = (Leaf::new(page), &self.batch[self.at..batch_end]);
        entries.len() <= REBUILD_DELETES_LOOKED_UP_MAX
            && entries.iter().all(|entry| {
                matches!(entry.value, BatchValue::Delete) && leaf.search(&entry.key).is_err()
            })
    }

    /// Begins to merge the child that the walk stands at, whose page this is.
    pub(super) fn take_leaf(&mut self, page: P, batch_end: usize, out: &mut impl PageOut) {
        let lsn = page_lsn(&page);
        let frame = self.frames.last_mut().expect("INV-6: the walk is inside a node");
        let child = frame.children.child(frame.next).child;
        let is_last = frame.is_last && frame.next + 1 == frame.children.len();
        let pending = &mut self.pending[0];
        if pending.is_empty() {
            pending.lower = frame.children.key(frame.next).to_vec();
        }
        pending.open_lsn = pending.open_lsn.max(lsn);
        if is_last && let Some(entry) = self.batch[self.at..batch_end].first() {
            let leaf = Leaf::new(&page);
            self.is_append = leaf.search(&entry.key) == Err(leaf.len());
        }
        frame.next += 1;
        self.nodes_opened += 1;
        out.obsolete(child.page.addr, 1);
        self.merging = Some(Merging { page: Some(page), next: 0, batch_end });
    }

    /// Merges until the leaf is done, or there is enough for some pages, or the turn is over.
    pub(super) fn merge(&mut self, out: &mut impl PageOut) -> Micro {
        let Some(mut merging) = self.merging.take() else { return Micro::Continue };
        let is_done = self.merge_entries(&mut merging, out);
        let pending = &mut self.pending[0];
        if !is_done {
            self.merging = Some(merging);
            pending.plan_full();
        } else {
            if let Some(page) = &merging.page {
                let leaf = Leaf::new(page);
                pending.items.push_rows(page, &leaf, merging.next..leaf.len());
            }
            pending.plan(self.is_append);
        }
        self.emit_all_but_last(0, out);
        Micro::Continue
    }

    /// Merges batch entries and the rows before them; returns whether none is left.
    fn merge_entries(&mut self, merging: &mut Merging<P>, out: &mut impl PageOut) -> bool {
        let leaf = merging.page.as_ref().map(|page| (&**page, Leaf::new(page)));
        while self.at < merging.batch_end {
            if self.pending[0].has_much_open() || self.entries_merged >= REBUILD_TURN_ENTRIES {
                return false;
            }
            let old = leaf.and_then(|(page, leaf)| {
                let found = leaf.search(&self.batch[self.at].key);
                let (Ok(index) | Err(index)) = found;
                self.pending[0].items.push_rows(page, &leaf, merging.next..index);
                merging.next = index + usize::from(found.is_ok());
                found.ok().map(|index| leaf.value(index))
            });
            let new = self.push_entry();
            if let Some(LeafValue::Overflow(run)) = old
                && new != Some(run.addr)
            {
                out.obsolete(run.addr, run.pages);
            }
            self.at += 1;
            self.entries_merged += 1;
        }
        true
    }

    /// Adds the row of the next batch entry, unless it is a delete; returns its run's address.
    fn push_entry(&mut self) -> Option<PageAddr> {
        let entry = &self.batch[self.at];
        let key: &[u8] = &entry.key;
        let is_key = (1..=WINDOW_KEY_BYTES_MAX).contains(&key.len());
        assert!(is_key, "INV-9: a key of {} bytes", key.len());
        let before = self.at.checked_sub(1).map(|before| &self.batch[before].key[..]);
        assert!(before < Some(key), "INV-6: a batch ascends by key");
        let pending = &mut self.pending[0];
        pending.open_lsn = pending.open_lsn.max(entry.lsn);
        match &entry.value {
            BatchValue::Delete => None,
            BatchValue::Inline(value) => {
                let is_small = !must_overflow(key.len(), value.len(), self.config.page_size);
                assert!(is_small, "INV-9: {} bytes of value lie in a leaf", value.len());
                pending.items.push_value([key, &[]], value);
                None
            }
            BatchValue::Overflow(reference) => {
                let OverflowRef { addr, .. } = *reference;
                pending.items.push_overflow([key, &[]], *reference);
                Some(addr)
            }
        }
    }
}
