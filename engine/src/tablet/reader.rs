//! A read of one tablet at one snapshot: windows newest first, then the tree below them.

use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use sombra_runtime::IoClass;

use super::pages::{PageReadError, PageStore, Resident, TabletPages};
use super::{RootHandle, SharedWindow, Tablet};
use crate::btree::{self, Step};
use crate::ids::Lsn;
use crate::window::Lookup;

/// What a read looks at. While it lives, nothing that it needs is dropped or written over: the
/// snapshot keeps the versions, the handles keep windows and pages.
pub(crate) struct Reader {
    /// Newest first.
    pub(super) windows: SmallVec<[Rc<SharedWindow>; 2]>,
    pub(super) root: Rc<RootHandle>,
    pub(super) snapshot: Lsn,
}

/// What a point read found.
#[derive(Clone, Debug)]
pub(crate) struct PointRead {
    pub(crate) value: Option<Bytes>,
    /// A newer version was seen, visible or not: a transaction that is validated for this read
    /// will be refused. `false` says nothing.
    pub(crate) is_overwritten: bool,
}

impl PointRead {
    /// A read that met nothing newer.
    pub(crate) fn of(value: Option<Bytes>) -> PointRead {
        PointRead { value, is_overwritten: false }
    }
}

/// What a point read found without waiting.
pub(crate) enum Found {
    Value(PointRead),
    /// What the snapshot reads was given up.
    TooOld,
    /// A page has to be fetched first.
    Pending(PendingGet),
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    pub(crate) value: Option<Bytes>,
    /// Of the newest version. `None`: it is in the tree, at or below `floor`.
    pub(crate) lsn: Option<Lsn>,
    /// The tree holds nothing newer.
    pub(crate) floor: Lsn,
}

/// What a key holds now, visible or not.
pub(crate) enum Newest {
    Known(Present),
    /// A page has to be fetched first.
    Pending(PendingGet),
}

/// The value of a key below a root, fetched before.
pub(crate) struct Base {
    pub(crate) root: Rc<RootHandle>,
    pub(crate) value: Option<Bytes>,
}

/// A point read that waits for a page.
pub(crate) struct PendingGet {
    /// Keeps the pages of the root in place.
    root: Rc<RootHandle>,
    lookup: btree::Lookup,
    key: Bytes,
}

impl Reader {
    pub(super) fn new(
        windows: SmallVec<[Rc<SharedWindow>; 2]>,
        root: Rc<RootHandle>,
        snapshot: Lsn,
    ) -> Reader {
        Reader { windows, root, snapshot }
    }
}

impl Tablet {
    /// The value of `key` at `snapshot`, as far as memory tells. Cost of a hit in the cache: no
    /// allocation but the value's, no system call.
    pub(crate) fn get(&self, key: &[u8], snapshot: Lsn, pages: &PageStore) -> Found {
        let mut is_overwritten = false;
        let root = if snapshot >= self.view_floor {
            match look_in(self.windows(), key, snapshot, &mut is_overwritten) {
                ControlFlow::Break(value) => {
                    return Found::Value(PointRead { value, is_overwritten });
                }
                ControlFlow::Continue(()) => self.tree.current(),
            }
        } else {
            let covers = |view: &&super::View| (view.from..view.until).contains(&snapshot);
            let Some(view) = self.views.iter().find(covers) else { return Found::TooOld };
            match look_in(view.windows.iter(), key, snapshot, &mut is_overwritten) {
                ControlFlow::Break(value) => {
                    return Found::Value(PointRead { value, is_overwritten });
                }
                ControlFlow::Continue(()) => &view.root,
            }
        };
        let owner = pages.owner(self.id);
        match look_in_tree(root, key, &Resident { store: pages, owner }) {
            Found::Value(PointRead { value, .. }) => {
                Found::Value(PointRead { value, is_overwritten })
            }
            other => other,
        }
    }
}

impl Tablet {
    /// What `key` holds now, with what is not visible yet. `base` serves while its root is in
    /// force. Without `needs_value` no tree is looked at, and only the version is told.
    pub(crate) fn newest(
        &self,
        key: &[u8],
        base: Option<&Base>,
        needs_value: bool,
        pages: &PageStore,
    ) -> Newest {
        let floor = self.tree.merge_lsn();
        let in_window = self.windows().find_map(|shared| shared.with(|window| window.newest(key)));
        if let Some((lookup, lsn)) = in_window {
            let value = match lookup {
                Lookup::Found(value) => Some(value),
                Lookup::Deleted | Lookup::Miss => None,
            };
            return Newest::Known(Present { value, lsn: Some(lsn), floor });
        }
        let in_tree = |value| Newest::Known(Present { value, lsn: None, floor });
        if !needs_value {
            return in_tree(None);
        }
        let root = self.tree.current();
        if let Some(base) = base.filter(|base| Rc::ptr_eq(&base.root, root)) {
            return in_tree(base.value.clone());
        }
        match look_in_tree(root, key, &Resident { store: pages, owner: pages.owner(self.id) }) {
            Found::Value(read) => in_tree(read.value),
            Found::Pending(pending) => Newest::Pending(pending),
            Found::TooOld => unreachable!("INV-5: the newest root is never given up"),
        }
    }
}

fn look_in<'w>(
    windows: impl Iterator<Item = &'w Rc<SharedWindow>>,
    key: &[u8],
    snapshot: Lsn,
    is_overwritten: &mut bool,
) -> ControlFlow<Option<Bytes>> {
    for shared in windows {
        let (lookup, has_newer) = shared.with(|window| window.get_and_newer(key, snapshot));
        *is_overwritten |= has_newer;
        match lookup {
            Lookup::Miss => {}
            Lookup::Deleted => return ControlFlow::Break(None),
            Lookup::Found(value) => return ControlFlow::Break(Some(value)),
        }
    }
    ControlFlow::Continue(())
}

fn look_in_tree(handle: &Rc<RootHandle>, key: &[u8], pages: &Resident<'_>) -> Found {
    let mut lookup = btree::Lookup::new(handle.root);
    match lookup.step(pages, key) {
        Step::Done(None) => Found::Value(PointRead::of(None)),
        Step::Done(Some(btree::Value::Overflow(_))) | Step::NeedPage(_) => {
            let lookup = btree::Lookup::new(handle.root);
            let key = Bytes::copy_from_slice(key);
            Found::Pending(PendingGet { root: Rc::clone(handle), lookup, key })
        }
        Step::Done(Some(value)) => {
            let bytes = value.as_slice().map(Bytes::copy_from_slice);
            Found::Value(PointRead::of(bytes))
        }
    }
}

impl PendingGet {
    /// The root below which the value is.
    pub(crate) fn root(&self) -> Rc<RootHandle> {
        Rc::clone(&self.root)
    }

    /// Fetches what is missing and finishes.
    pub(crate) async fn finish(
        mut self,
        pages: TabletPages,
    ) -> Result<Option<Bytes>, PageReadError> {
        // The page fetched last stays in memory until the next step has seen it.
        let mut held = None;
        loop {
            match self.lookup.step(&pages, &self.key) {
                Step::NeedPage(page) => held = Some(pages.fetch(page, IoClass::Read).await?),
                Step::Done(value) => {
                    drop(held);
                    return match value {
                        None => Ok(None),
                        Some(value) => pages.value(value).await.map(Some),
                    };
                }
            }
        }
    }
}
