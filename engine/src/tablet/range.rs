//! A page of a range read: the windows and the tree interleaved in key order, either way.

use std::cell::Ref;
use std::cmp::Ordering;
use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use sombra_runtime::IoClass;

use super::pages::{PageReadError, TabletPages};
use super::reader::Reader;
use super::{RootHandle, SharedWindow};
use crate::btree::{Cursor, Pages, Row, Step};
use crate::format::page::PageRef;
use crate::ids::{Direction, Lsn};
use crate::limits;
use crate::window::{CursorStep, Lookup, RangePage, Window, WindowCursor, WindowRow};

/// Which keys, and which way.
#[derive(Clone, Debug)]
pub(crate) struct RangeRequest {
    pub(crate) from: Bound<Bytes>,
    pub(crate) to: Bound<Bytes>,
    pub(crate) direction: Direction,
    /// Values are left empty, and none that lies outside its leaf is read.
    pub(crate) is_keys_only: bool,
}

type TreePage = <TabletPages as Pages>::Page;

/// How far the tree's side of the read is.
enum TreeSide {
    /// Its next row is not looked up yet.
    Unknown,
    Row(Row<TreePage>),
    Ended,
}

impl Reader {
    /// Rows of the range in its direction, up to the page bounds of `limits`.
    ///
    /// # Errors
    /// A page that cannot be read or is not what its reference says.
    pub(crate) async fn range(
        self,
        pages: TabletPages,
        request: RangeRequest,
    ) -> Result<RangePage, PageReadError> {
        let mut read = RangeRead::new(self, &request);
        // The page fetched last stays in memory until the next step has seen it.
        let mut held = None;
        loop {
            match read.step(&pages) {
                Wanted::Page(page) => {
                    let upcoming = read.tree.upcoming(limits::SCAN_PREFETCH_PAGES);
                    pages.prefetch(&upcoming, IoClass::Read);
                    held = Some(pages.fetch(page, IoClass::Read).await?);
                }
                Wanted::Value(row) => {
                    let value = pages.value(row.value).await?;
                    read.push(Bytes::from(row.key), value);
                }
                Wanted::Turn => pages.store.shard.yield_now().await,
                Wanted::Nothing => break,
            }
        }
        drop(held);
        Ok(read.page)
    }
}

/// Why a read cannot go on by itself.
enum Wanted {
    Page(PageRef),
    /// A value that lies outside its leaf.
    Value(Row<TreePage>),
    /// Others' turn: many keys were looked at.
    Turn,
    /// The page is complete.
    Nothing,
}

/// What became of the next key of all sides.
enum Taken {
    Row,
    Overflow(Row<TreePage>),
    /// The bound of keys to look at is used up.
    Pause,
    End,
}

struct RangeRead {
    snapshot: Lsn,
    direction: Direction,
    is_keys_only: bool,
    windows: SmallVec<[(Rc<SharedWindow>, WindowCursor); 2]>,
    /// Keeps the pages of the tree in place.
    _root: Rc<RootHandle>,
    tree: Cursor<TreePage>,
    side: TreeSide,
    page: RangePage,
    page_bytes: usize,
    /// Keys that may still be looked at.
    looks: usize,
}

impl RangeRead {
    fn new(reader: Reader, request: &RangeRequest) -> RangeRead {
        let direction = request.direction;
        let from = request.from.as_ref().map(AsRef::as_ref);
        let to = request.to.as_ref().map(AsRef::as_ref);
        let tree = Cursor::new(reader.root.root, from, to, direction);
        let windows = reader.windows.into_iter().map(|shared| {
            let cursor = shared.borrow().cursor(from, to, direction);
            (shared, cursor)
        });
        RangeRead {
            snapshot: reader.snapshot,
            direction,
            is_keys_only: request.is_keys_only,
            windows: windows.collect(),
            _root: reader.root,
            tree,
            side: TreeSide::Unknown,
            page: RangePage::default(),
            page_bytes: 0,
            looks: limits::SCAN_PAGE_LOOKED_AT_MAX,
        }
    }

    /// Goes on until something has to be awaited.
    fn step(&mut self, pages: &TabletPages) -> Wanted {
        loop {
            let is_full = self.page.rows.len() >= limits::SCAN_PAGE_ROWS_MAX
                || self.page_bytes >= limits::SCAN_PAGE_BYTES_MAX;
            if is_full {
                return Wanted::Nothing;
            }
            if self.looks == 0 {
                return self.pause();
            }
            if matches!(self.side, TreeSide::Unknown) {
                match self.tree.next(pages) {
                    Step::NeedPage(page) => return Wanted::Page(page),
                    Step::Done(None) => self.side = TreeSide::Ended,
                    Step::Done(Some(row)) => self.side = TreeSide::Row(row),
                }
            }
            match self.take_next() {
                Taken::Row => {}
                Taken::Overflow(row) => return Wanted::Value(row),
                Taken::Pause => return self.pause(),
                Taken::End => {
                    self.page.resume_after = None;
                    return Wanted::Nothing;
                }
            }
        }
    }

    /// Ends the page, unless nothing was found yet that the next one could begin behind: an empty
    /// page would say that the range has ended.
    fn pause(&mut self) -> Wanted {
        if self.page.resume_after.is_some() {
            return Wanted::Nothing;
        }
        self.looks = limits::SCAN_PAGE_LOOKED_AT_MAX;
        Wanted::Turn
    }

    /// Takes the first key of all sides; the newest window that has it decides.
    fn take_next(&mut self) -> Taken {
        let direction = self.direction;
        let order = |a: &[u8], b: &[u8]| match direction {
            Direction::Forward => a.cmp(b),
            Direction::Reverse => b.cmp(a),
        };
        let shared: SmallVec<[Rc<SharedWindow>; 2]> =
            self.windows.iter().map(|(shared, _)| Rc::clone(shared)).collect();
        let borrowed: SmallVec<[Ref<'_, Window>; 2]> =
            shared.iter().map(|shared| shared.borrow()).collect();
        let mut first: Option<WindowRow<'_>> = None;
        let mut at_first: SmallVec<[usize; 2]> = SmallVec::new();
        for (index, (_, cursor)) in self.windows.iter_mut().enumerate() {
            let row = match cursor.peek(&borrowed[index], self.snapshot, &mut self.looks) {
                CursorStep::Row(row) => row,
                CursorStep::Pause => return Taken::Pause,
                CursorStep::End => continue,
            };
            match first.as_ref().map(|best| order(row.key, best.key)) {
                None | Some(Ordering::Less) => {
                    first = Some(row);
                    at_first.clear();
                    at_first.push(index);
                }
                Some(Ordering::Equal) => at_first.push(index),
                Some(Ordering::Greater) => {}
            }
        }
        let tree_order = match (&self.side, &first) {
            (TreeSide::Row(row), Some(first)) => Some(order(&row.key, first.key)),
            (TreeSide::Row(_), None) => Some(Ordering::Less),
            (TreeSide::Unknown | TreeSide::Ended, _) => None,
        };
        if tree_order == Some(Ordering::Less) {
            return self.take_tree_row();
        }
        let Some(first) = first else { return Taken::End };
        if tree_order == Some(Ordering::Equal) {
            self.side = TreeSide::Unknown;
        }
        for index in at_first {
            self.windows[index].1.advance(&borrowed[index]);
        }
        let key = Bytes::copy_from_slice(first.key);
        match first.lookup() {
            Lookup::Found(_) if self.is_keys_only => self.push(key, Bytes::new()),
            Lookup::Found(value) => self.push(key, value),
            Lookup::Deleted | Lookup::Miss => self.page.resume_after = Some(key),
        }
        Taken::Row
    }

    fn take_tree_row(&mut self) -> Taken {
        let TreeSide::Row(row) = std::mem::replace(&mut self.side, TreeSide::Unknown) else {
            return Taken::End;
        };
        self.looks = self.looks.saturating_sub(1);
        if self.is_keys_only {
            self.push(Bytes::from(row.key), Bytes::new());
            return Taken::Row;
        }
        match row.value.as_slice() {
            Some(value) => {
                let value = Bytes::copy_from_slice(value);
                self.push(Bytes::from(row.key), value);
                Taken::Row
            }
            None => Taken::Overflow(row),
        }
    }

    fn push(&mut self, key: Bytes, value: Bytes) {
        self.page_bytes += key.len() + value.len();
        self.page.resume_after = Some(key.clone());
        self.page.rows.push((key, value));
    }
}
