//! The copy-on-write tree of one tablet as pure steps: no I/O, no clock, no tasks.
//!
//! A step takes the pages that are in memory and either finishes or names a page that it needs;
//! whoever called it fetches the page and steps again. Knows nodes, keys and rows. Must never
//! know versions, windows, how pages are cached or where free pages come from.

mod check;
#[cfg(test)]
mod count;
mod cursor;
mod lookup;
mod rebuild;

#[cfg(test)]
mod tests;

use std::ops::{Deref, Range};

use bytes::Bytes;

use crate::format::node::{ChildRef, LeafValue};
use crate::format::overflow::OverflowRef;
use crate::format::page::PageRef;
use crate::ids::{Lsn, PageAddr};

#[cfg(test)]
pub(crate) use count::{Nth, Rank};
pub(crate) use {
    check::{NodeExpectation, NodeSummary, check_node},
    cursor::{Cursor, Row},
    lookup::Lookup,
    rebuild::{Rebuild, RebuildConfig, RebuildStep},
};

/// The root of a tree that has rows; an empty tree has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TreeRoot {
    pub(crate) child: ChildRef,
    /// Level of the root page: 0 if it is a leaf.
    pub(crate) level: u8,
}

/// The pages that are in memory.
pub(crate) trait Pages {
    type Page: Deref<Target = [u8]> + Clone;

    /// The page, verified against its reference and validated as a node; `None` if it is not in
    /// memory.
    fn page(&self, page: PageRef) -> Option<Self::Page>;
}

/// What a step came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step<T> {
    Done(T),
    /// Fetch this page, then step again.
    NeedPage(PageRef),
}

/// A row's value: part of a page that stays alive with it, or a run to be read.
#[derive(Clone, Debug)]
pub(crate) enum Value<P> {
    Inline { page: P, range: Range<usize> },
    Overflow(OverflowRef),
}

impl<P: Deref<Target = [u8]>> Value<P> {
    fn new(page: P, value: LeafValue) -> Value<P> {
        match value {
            LeafValue::Inline(range) => Value::Inline { page, range },
            LeafValue::Overflow(reference) => Value::Overflow(reference),
        }
    }

    /// The value's bytes, unless they lie in a run.
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Value::Inline { page, range } => Some(&page[range.clone()]),
            Value::Overflow(_) => None,
        }
    }
}

/// One change of a rebuild.
#[derive(Clone, Debug)]
pub(crate) struct BatchEntry {
    pub(crate) key: Bytes,
    /// The commit that made the change.
    pub(crate) lsn: Lsn,
    pub(crate) value: BatchValue,
}

#[derive(Clone, Debug)]
pub(crate) enum BatchValue {
    Delete,
    /// A value for which `must_overflow` is false.
    Inline(Bytes),
    /// A value whose run is already sealed.
    Overflow(OverflowRef),
}

/// Where a rebuild puts new pages and says which old ones its tree no longer reaches.
pub(crate) trait PageOut {
    /// Gives a free page. The caller made sure that there are enough.
    fn alloc(&mut self) -> PageAddr;
    /// Has a zeroed page-sized buffer filled for the page just allocated.
    fn write(&mut self, addr: PageAddr, fill: &mut dyn FnMut(&mut [u8]));
    /// The new tree does not reach these pages; said once of each.
    fn obsolete(&mut self, addr: PageAddr, pages: u32);
}
