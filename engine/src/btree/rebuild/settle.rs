//! When waiting content becomes pages, which neighbours it takes in first, and what the root is.

use super::items::{ChildItem, Items};
use super::pending::Pending;
use super::{Micro, Rebuild, page_lsn};
use crate::btree::{PageOut, Pages, TreeRoot};
use crate::format::node::{ChildRef, Inner, Leaf, NodeStamp, is_sparse, shortest_separator};
use crate::format::page::PageRef;
use crate::limits::TREE_LEVEL_MAX;

/// What must happen before an untouched child keeps its page.
pub(super) enum Verdict {
    /// Nothing: everything before it is in pages.
    Settled,
    /// The node before the waiting content of this level joins it.
    TakeLeft(u8),
    /// The child's own content joins what waits; all of it if `whole`, else its first nodes.
    TakeRight { whole: bool },
}

impl<P: std::ops::Deref<Target = [u8]> + Clone> Rebuild<P> {
    /// Writes what waits at `level` and below, since an untouched node of `level` follows; or says
    /// which node is needed because a page would stay sparse.
    pub(super) fn settle(
        &mut self,
        level: u8,
        is_next_sparse: bool,
        out: &mut impl PageOut,
    ) -> Verdict {
        for below in 0..=level {
            let pending = &mut self.pending[usize::from(below)];
            if pending.is_empty() {
                pending.is_left_checked = false;
                self.hand_up_lsn(below);
                continue;
            }
            pending.plan(false);
            self.emit_all_but_last(below, out);
            let pending = &self.pending[usize::from(below)];
            let is_sparse = pending.is_last_sparse();
            if below == level {
                if is_sparse || is_next_sparse {
                    return Verdict::TakeRight { whole: true };
                }
            } else if is_sparse && pending.planned() == 1 {
                if self.left_of(below).is_some() {
                    return Verdict::TakeLeft(below);
                }
                return Verdict::TakeRight { whole: false };
            }
            self.emit(below, 0, out);
        }
        Verdict::Settled
    }

    /// The old node before what waits at `level`, if it hangs under the same new parent.
    fn left_of(&self, level: u8) -> Option<ChildItem> {
        let above = self.pending.get(usize::from(level) + 1)?;
        above.last_child().filter(|child| !child.is_new)
    }

    /// Takes in the node before a group of changed ones if it is sparse: it may fit now.
    pub(super) fn check_left<S: Pages<Page = P>>(
        &mut self,
        level: u8,
        pages: &S,
        out: &mut impl PageOut,
    ) -> Option<Micro> {
        let pending = &mut self.pending[usize::from(level)];
        if pending.is_left_checked {
            return None;
        }
        if self.left_of(level).is_some_and(|left| left.is_sparse) {
            let micro = self.take_left(level, pages, out);
            if matches!(micro, Micro::Continue) {
                self.pending[usize::from(level)].is_left_checked = true;
            }
            return Some(micro);
        }
        self.pending[usize::from(level)].is_left_checked = true;
        None
    }

    /// Moves the content of the old node before what waits at `level` in front of it.
    pub(super) fn take_left<S: Pages<Page = P>>(
        &mut self,
        level: u8,
        pages: &S,
        out: &mut impl PageOut,
    ) -> Micro {
        let left = self.left_of(level).expect("INV-6: there is a node on the left");
        let reference = left.child.page;
        let Some(page) = pages.page(reference) else { return self.missing(pages, reference) };
        let separator = self.pending[usize::from(level) + 1].pop_child();
        let mut items = Items::new(level);
        if level == 0 {
            let leaf = Leaf::new(&page);
            items.push_rows(&page, &leaf, 0..leaf.len());
        } else {
            items.push_children(&Inner::new(&page), &separator);
        }
        let pending = &mut self.pending[usize::from(level)];
        pending.prepend(items, page_lsn(&page));
        pending.lower = separator;
        self.nodes_opened += 1;
        out.obsolete(reference.addr, 1);
        Micro::Continue
    }

    /// Writes planned pages of a level that has more content than it needs to hold back.
    pub(super) fn relieve(&mut self, out: &mut impl PageOut) {
        let mut level = 1;
        while usize::from(level) < self.pending.len() {
            let pending = &mut self.pending[usize::from(level)];
            if pending.has_much_open() {
                pending.plan_full();
                self.emit_all_but_last(level, out);
            }
            level += 1;
        }
    }

    /// Writes the planned pages of a level but those that may yet be joined.
    pub(super) fn emit_all_but_last(&mut self, level: u8, out: &mut impl PageOut) {
        self.emit(level, self.pending[usize::from(level)].held_back(), out);
    }

    /// Writes the planned pages of a level but the last `keep`, and hands them to the level above.
    fn emit(&mut self, level: u8, keep: usize, out: &mut impl PageOut) {
        let (page_size, owner) = (self.config.page_size, self.config.owner);
        while self.pending.len() <= usize::from(level) + 1 {
            let above = self.pending.len() as u8;
            assert!(above <= TREE_LEVEL_MAX + 1, "INV-9: a tree of {above} levels");
            self.pending.push(Pending::new(above, page_size));
        }
        let (below, above) = self.pending.split_at_mut(usize::from(level) + 1);
        let (pending, above) = (&mut below[usize::from(level)], &mut above[0]);
        while pending.planned() > keep {
            let Some((range, page)) = pending.take_page() else { break };
            let stamp = NodeStamp { addr: out.alloc(), owner, page_lsn: page.lsn };
            let mut crc = 0;
            out.write(stamp.addr, &mut |bytes| {
                crc = pending.items.encode(range.clone(), &stamp, bytes);
            });
            self.pages_written += 1;
            let child = ChildRef {
                page: PageRef { addr: stamp.addr, crc },
                rows: pending.items.rows(&range),
            };
            let is_sparse = is_sparse(page.size, page_size);
            let item = ChildItem { child, is_sparse, is_new: true };
            if level == 0 {
                above.items.push_child([&pending.lower, &[]], item);
                if range.end < pending.items.len() {
                    let (left, right) = (range.end - 1, range.end);
                    let (left, right) = (pending.items.key(left), pending.items.key(right));
                    pending.lower = shortest_separator(left, right).to_vec();
                }
            } else {
                above.items.push_child([pending.items.key(range.start), &[]], item);
            }
            above.open_lsn = above.open_lsn.max(page.lsn);
        }
        pending.compact();
    }

    /// A level without content hands the LSN of what vanished to the level above.
    fn hand_up_lsn(&mut self, level: u8) {
        let lsn = std::mem::replace(
            &mut self.pending[usize::from(level)].open_lsn,
            crate::ids::Lsn::ZERO,
        );
        if let Some(above) = self.pending.get_mut(usize::from(level) + 1) {
            above.open_lsn = above.open_lsn.max(lsn);
        }
    }

    /// Behind the last node: writes what waits, level by level, up to the root.
    pub(super) fn finish<S: Pages<Page = P>>(
        &mut self,
        pages: &S,
        out: &mut impl PageOut,
    ) -> Micro {
        if let Some(root) = self.root {
            return self.collapse(root, pages, out);
        }
        let level = self.finishing;
        let Some(pending) = self.pending.get_mut(usize::from(level)) else {
            return Micro::Done(None);
        };
        if pending.is_empty() {
            self.hand_up_lsn(level);
            self.finishing += 1;
            return Micro::Continue;
        }
        pending.plan(self.is_append);
        self.emit_all_but_last(level, out);
        let pending = &self.pending[usize::from(level)];
        let (planned, is_sparse) = (pending.planned(), pending.is_last_sparse());
        let above = &self.pending[usize::from(level) + 1..];
        let first_above = above.iter().position(|pending| !pending.is_empty());
        if planned == 1 && level > 0 && first_above.is_none() && pending.live().len() == 1 {
            self.root = pending.last_child();
            self.finishing = level - 1;
            return Micro::Continue;
        }
        if planned == 1
            && is_sparse
            && !self.is_append
            && let Some(distance) = first_above
            && self.left_of(level + distance as u8).is_some()
        {
            return self.take_left(level + distance as u8, pages, out);
        }
        self.emit(level, 0, out);
        self.finishing += 1;
        Micro::Continue
    }

    /// Takes away levels whose only node has a single child.
    fn collapse<S: Pages<Page = P>>(
        &mut self,
        root: ChildItem,
        pages: &S,
        out: &mut impl PageOut,
    ) -> Micro {
        let (child, level) = (root.child, self.finishing);
        let done = Micro::Done(Some(TreeRoot { child, level }));
        if root.is_new || level == 0 {
            return done;
        }
        let Some(page) = pages.page(child.page) else { return Micro::Need(vec![child.page]) };
        let inner = Inner::new(&page);
        if inner.len() > 1 {
            return done;
        }
        out.obsolete(child.page.addr, 1);
        self.root = Some(ChildItem { child: inner.child(0), ..root });
        self.finishing = level - 1;
        Micro::Continue
    }
}
