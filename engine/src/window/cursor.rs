//! A walk over a window that goes on after the window has changed.
//!
//! Knows a range and the key it stands at. Must never know what is below the window: a deleted
//! row is a result, because it hides what lies there.

use std::ops::Bound;

use super::block::KeyBlock;
use super::keys::KeyWalk;
use super::tree::Position;
use super::versions::ValueRef;
use super::{Lookup, Window, is_empty_range};
use crate::ids::Direction;
use crate::ids::Lsn;

/// A key and its version; `value` is `None` for a tombstone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowRow<'w> {
    pub(crate) key: &'w [u8],
    pub(crate) lsn: Lsn,
    pub(crate) value: Option<ValueRef<'w>>,
}

impl WindowRow<'_> {
    /// The version as an answer that outlives the window.
    #[must_use]
    pub(crate) fn lookup(&self) -> Lookup {
        self.value.map_or(Lookup::Deleted, |value| Lookup::Found(value.to_bytes()))
    }
}

/// What a cursor stands at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CursorStep<'w> {
    /// A key with a version at the snapshot, perhaps a tombstone.
    Row(WindowRow<'w>),
    /// The caller's bound of keys to look at is used up; the next peek goes on.
    Pause,
    /// Nothing more in the range.
    End,
}

/// A place in one window. It holds no borrow; every call takes the window it was made from.
///
/// Keys that were added since are found if they lie ahead. None is removed, so a cursor never
/// loses its place.
#[derive(Debug)]
pub(crate) struct WindowCursor {
    direction: Direction,
    /// The bound that the cursor runs towards.
    end: Bound<Box<[u8]>>,
    /// The key it stands at, and some after it.
    block: KeyBlock,
    /// The place after the block.
    next: Option<Position>,
    /// Keys of the window for which block and place are good.
    keys: usize,
}

impl Window {
    /// A cursor before the first key of a range in `direction`.
    #[must_use]
    pub(crate) fn cursor(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> WindowCursor {
        let (start, end) = direction.ends((from, to));
        let end = end.map(Box::from);
        let (block, next) = (KeyBlock::EMPTY, None);
        let mut cursor = WindowCursor { direction, end, block, next, keys: self.len() };
        if !is_empty_range(from, to) {
            cursor.start(self, start);
        }
        cursor
    }
}

impl WindowCursor {
    /// The row at the cursor; keys without a version at `snapshot` are skipped. `looks` is how
    /// many keys may be looked at, and counts down.
    pub(crate) fn peek<'w>(
        &mut self,
        window: &'w Window,
        snapshot: Lsn,
        looks: &mut usize,
    ) -> CursorStep<'w> {
        loop {
            let Some(at) = self.block.current() else { return CursorStep::End };
            if *looks == 0 {
                return CursorStep::Pause;
            }
            *looks -= 1;
            if let Some(row) = window.row_at(at, snapshot) {
                return CursorStep::Row(row);
            }
            self.advance(window);
        }
    }

    /// Goes past the key that the cursor stands at.
    pub(crate) fn advance(&mut self, window: &Window) {
        let Some(at) = self.block.current() else { return };
        if self.keys != window.len() {
            self.start(window, Bound::Excluded(window.keys.records.key(at)));
        } else if !self.block.step() {
            self.refill(window);
        }
    }

    /// Goes on at `key`, or at the next one in the cursor's direction. Going back is allowed.
    #[cfg(test)]
    pub(crate) fn seek(&mut self, window: &Window, key: &[u8]) {
        self.start(window, Bound::Included(key));
    }

    fn start(&mut self, window: &Window, start: Bound<&[u8]>) {
        self.keys = window.len();
        self.next = window.keys.start(start, self.direction);
        self.block = KeyBlock::EMPTY;
        self.refill(window);
    }

    fn refill(&mut self, window: &Window) {
        let end = self.end.as_ref().map(|end| &**end);
        let (direction, at) = (self.direction, self.next);
        let mut walk = KeyWalk { keys: &window.keys, end, direction, at };
        self.block.refill(window, &mut walk);
        self.next = walk.at;
    }
}
