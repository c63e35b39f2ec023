//! One tablet: its windows, the views that old snapshots need, and its tree.
//!
//! Knows which of these a read at a snapshot looks at, and which window a commit belongs to. Must
//! never know the log, other tablets, or when to merge.

mod pages;
mod range;
mod reader;
mod reduction;
#[cfg(test)]
mod tests;
mod tree;

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::memory::MemoryBudget;
use crate::window::{KeyIndex, PruneView, Window};

pub(crate) use pages::{PageReadError, PageStore, TabletPages};
pub(crate) use range::RangeRequest;
pub(crate) use reader::{Base, Found, Newest, PendingGet, PointRead, Present, Reader};
pub(crate) use tree::{ReplacedPages, RootHandle, TreeParts, TreeState};

/// A window that several readers may hold, whose memory is given back with the last of them.
pub(crate) struct SharedWindow {
    window: RefCell<Window>,
    memory: Arc<MemoryBudget>,
}

impl SharedWindow {
    fn new(memory: &Arc<MemoryBudget>) -> Rc<SharedWindow> {
        let (window, memory) = (RefCell::new(Window::default()), Arc::clone(memory));
        Rc::new(SharedWindow { window, memory })
    }

    /// Looks into the window; the closure must not write to it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Window) -> T) -> T {
        f(&self.window.borrow())
    }

    fn borrow(&self) -> Ref<'_, Window> {
        self.window.borrow()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.window.borrow().bytes()
    }

    /// Drops the versions and keeps the keys; the memory of what is left stays charged.
    fn into_index(self: Rc<SharedWindow>) -> KeyIndex {
        let window = self.window.take();
        let before = window.bytes();
        let index = window.into_key_index();
        self.memory.charge_unbounded(index.bytes());
        self.memory.release(before);
        index
    }
}

impl Drop for SharedWindow {
    fn drop(&mut self) {
        self.memory.release(self.window.borrow().bytes());
    }
}

/// A window that takes no commit above `upto` and is being merged, or waits for it.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) window: Rc<SharedWindow>,
    pub(crate) upto: Lsn,
}

/// The keys of a merged window with their newest LSNs.
enum MergedKeys {
    /// A view or a reader holds the window anyway.
    Window(Rc<SharedWindow>),
    Index {
        index: Box<KeyIndex>,
        memory: Arc<MemoryBudget>,
    },
}

impl MergedKeys {
    fn newest_lsn(&self, key: &[u8]) -> Option<Lsn> {
        match self {
            MergedKeys::Window(shared) => shared.with(|window| window.newest_lsn(key)),
            MergedKeys::Index { index, .. } => index.newest_lsn(key),
        }
    }

    fn newer_in(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        snapshot: Lsn,
    ) -> Option<(Bytes, Lsn)> {
        match self {
            MergedKeys::Window(shared) => {
                shared.with(|window| window.has_newer(from, to, snapshot))
            }
            MergedKeys::Index { index, .. } => index.has_newer(from, to, snapshot),
        }
    }

    /// Lets the versions go, when nobody else holds the window; tells whether it did.
    fn shrink(&mut self, memory: &Arc<MemoryBudget>) -> bool {
        let MergedKeys::Window(shared) = &*self else { return false };
        if Rc::strong_count(shared) > 1 {
            return false;
        }
        let index = Box::new(Rc::clone(shared).into_index());
        *self = MergedKeys::Index { index, memory: Arc::clone(memory) };
        true
    }

    /// Bytes that nothing else accounts for.
    fn bytes(&self) -> u64 {
        match self {
            MergedKeys::Window(_) => 0,
            MergedKeys::Index { index, .. } => index.bytes(),
        }
    }
}

impl Drop for MergedKeys {
    fn drop(&mut self) {
        if let MergedKeys::Index { index, memory } = self {
            memory.release(index.bytes());
        }
    }
}

/// What snapshots at or above `from` and below `until` read: the root before a merge and all
/// windows that were merged into its successor.
struct View {
    root: Rc<RootHandle>,
    windows: SmallVec<[Rc<SharedWindow>; 2]>,
    from: Lsn,
    until: Lsn,
    /// Its windows hold what its snapshots read and nothing else.
    is_reduced: bool,
}

/// What one shard owns of one range of a keyspace.
pub(crate) struct Tablet {
    id: TabletId,
    memory: Arc<MemoryBudget>,
    active: Rc<SharedWindow>,
    frozen: Option<Frozen>,
    pub(crate) tree: TreeState,
    /// Snapshots below this read a view.
    view_floor: Lsn,
    views: Vec<View>,
    /// What was written up to which LSN, for windows that are merged; oldest first.
    indexes: VecDeque<(Lsn, MergedKeys)>,
    /// Why nothing can be merged here any more.
    damage: Option<String>,
    /// Merges in a row that the device failed to read a page for.
    failed_reads: u32,
}

impl Tablet {
    pub(crate) fn new(id: TabletId, tree: TreeState, memory: &Arc<MemoryBudget>) -> Tablet {
        Tablet {
            id,
            active: SharedWindow::new(memory),
            memory: Arc::clone(memory),
            frozen: None,
            view_floor: tree.merge_lsn(),
            tree,
            views: Vec::new(),
            indexes: VecDeque::new(),
            damage: None,
            failed_reads: 0,
        }
    }

    pub(crate) fn id(&self) -> TabletId {
        self.id
    }

    /// What a read at `snapshot` looks at. `None`: what it needs was given up.
    pub(crate) fn reader(&self, snapshot: Lsn) -> Option<Reader> {
        if snapshot >= self.view_floor {
            let windows = self.windows().map(Rc::clone).collect();
            return Some(Reader::new(windows, Rc::clone(self.tree.current()), snapshot));
        }
        let view = self.views.iter().find(|v| (v.from..v.until).contains(&snapshot))?;
        Some(Reader::new(view.windows.clone(), Rc::clone(&view.root), snapshot))
    }

    /// What is not merged yet, newest first.
    fn windows(&self) -> impl Iterator<Item = &Rc<SharedWindow>> {
        let frozen = self.frozen.iter().map(|frozen| &frozen.window);
        std::iter::once(&self.active).chain(frozen)
    }

    /// LSN of the newest version of `key`, visible or not, as far as a transaction at `snapshot`
    /// has to know it: what the trees alone hold is at or below every such snapshot.
    pub(crate) fn newest_lsn(&self, key: &[u8], snapshot: Lsn) -> Option<Lsn> {
        let in_window =
            self.windows().find_map(|shared| shared.with(|window| window.newest_lsn(key)));
        if in_window.is_some() {
            return in_window;
        }
        let newer = self.indexes.iter().rev().take_while(|(upto, _)| *upto > snapshot);
        newer.filter_map(|(_, index)| index.newest_lsn(key)).next()
    }

    /// A key of a range with a version above `snapshot`, visible or not; as
    /// [`Tablet::newest_lsn`].
    pub(crate) fn newer_in(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        snapshot: Lsn,
    ) -> Option<(Bytes, Lsn)> {
        let in_window =
            |shared: &SharedWindow| shared.with(|window| window.has_newer(from, to, snapshot));
        let in_frozen = || self.frozen.as_ref().and_then(|frozen| in_window(&frozen.window));
        in_window(&self.active).or_else(in_frozen).or_else(|| {
            let newer = self.indexes.iter().rev().take_while(|(upto, _)| *upto > snapshot);
            newer.filter_map(|(_, keys)| keys.newer_in((from, to), snapshot)).next()
        })
    }

    /// Applies one write of the commit at `lsn`; returns the bytes that became free.
    pub(crate) fn apply(
        &mut self,
        key: Bytes,
        lsn: Lsn,
        value: Option<Bytes>,
        view: &PruneView,
    ) -> u64 {
        let late = self.frozen.as_ref().filter(|frozen| lsn <= frozen.upto);
        let shared = late.map_or(&self.active, |frozen| &frozen.window);
        shared.window.borrow_mut().insert(key, lsn, value, view)
    }

    /// Drops up to `steps` keys' versions that nobody can read any more; returns the bytes.
    pub(crate) fn collect_garbage(&mut self, view: &PruneView, steps: usize) -> u64 {
        self.active.window.borrow_mut().collect_garbage(view, steps)
    }

    pub(crate) fn has_garbage(&self) -> bool {
        self.active.with(|window| window.garbage_len() > 0)
    }

    /// Bytes of the window that takes commits.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.active.bytes()
    }

    /// Bytes of the windows that are not merged.
    pub(crate) fn window_bytes(&self) -> u64 {
        self.active_bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.window.bytes())
    }

    pub(crate) fn is_active_empty(&self) -> bool {
        self.active.with(Window::is_empty)
    }

    pub(crate) fn frozen(&self) -> Option<&Frozen> {
        self.frozen.as_ref()
    }

    /// Closes the active window at `upto`, the reserved tail: commits at or below it that are
    /// still on their way go to the frozen window, later ones to a new active one.
    pub(crate) fn freeze(&mut self, upto: Lsn) -> Frozen {
        assert!(self.frozen.is_none(), "INV-4b: one window is merged at a time");
        let window = std::mem::replace(&mut self.active, SharedWindow::new(&self.memory));
        let frozen = Frozen { window, upto };
        self.frozen = Some(frozen.clone());
        frozen
    }

    /// Begins the merge of the frozen window: every commit in it is durable and visible.
    /// `snapshots` were active after `visible` had passed `upto`. From now on snapshots at or
    /// above `upto` read the current root, however far the merge has come.
    pub(crate) fn begin_merge(&mut self, snapshots: &[Lsn]) {
        let Some(frozen) = &self.frozen else { return };
        let (from, until) = (self.view_floor, frozen.upto);
        if from >= until {
            return;
        }
        if snapshots.iter().any(|snapshot| (from..until).contains(snapshot)) {
            let windows = SmallVec::from_iter([Rc::clone(&frozen.window)]);
            let root = Rc::clone(self.tree.current());
            self.views.push(View { root, windows, from, until, is_reduced: false });
        }
        self.view_floor = until;
    }

    /// Ends the merge of the frozen window: the tree holds all of it. Keeps its keys while a
    /// read-write transaction below it is active.
    pub(crate) fn end_merge(&mut self, is_index_needed: bool) {
        let frozen = self.frozen.take().expect("INV-4b: a merge ends once");
        self.failed_reads = 0;
        if !is_index_needed {
            return;
        }
        let is_viewed = |view: &View| view.windows.iter().any(|w| Rc::ptr_eq(w, &frozen.window));
        let is_read = Rc::strong_count(&frozen.window) > 1;
        let keys = if is_read || self.views.iter().any(is_viewed) {
            MergedKeys::Window(frozen.window)
        } else {
            let memory = Arc::clone(&self.memory);
            MergedKeys::Index { index: Box::new(frozen.window.into_index()), memory }
        };
        self.indexes.push_back((frozen.upto, keys));
    }

    /// Drops views and key indexes that no active snapshot needs. `snapshots` and `read_write`
    /// are ascending. Tells whether anything went.
    pub(crate) fn drop_unneeded(&mut self, snapshots: &[Lsn], read_write: &[Lsn]) -> bool {
        let before = self.views.len() + self.indexes.len();
        self.views.retain(|view| {
            let first = snapshots.partition_point(|&snapshot| snapshot < view.from);
            snapshots.get(first).is_some_and(|&snapshot| snapshot < view.until)
        });
        let lowest = read_write.first().copied().unwrap_or(Lsn::MAX);
        while self.indexes.front().is_some_and(|&(upto, _)| upto <= lowest) {
            self.indexes.pop_front();
        }
        let is_dropped = self.views.len() + self.indexes.len() < before;
        // A window that only an index holds any more lets its versions go.
        let memory = Arc::clone(&self.memory);
        let shrunk =
            self.indexes.iter_mut().filter_map(|(_, keys)| keys.shrink(&memory).then_some(()));
        shrunk.count() > 0 || is_dropped
    }

    /// Only snapshots below it hold on to a view or a key index here.
    pub(crate) fn kept_below(&self) -> Lsn {
        let views = self.views.iter().map(|view| view.until);
        views.chain(self.indexes.iter().map(|(upto, _)| *upto)).max().unwrap_or(Lsn::ZERO)
    }

    pub(crate) fn view_count(&self) -> usize {
        self.views.len()
    }

    /// Bytes that only old snapshots need: windows of views and key indexes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let merging = self.frozen.as_ref().map(|frozen| Rc::as_ptr(&frozen.window));
        let windows = self.views.iter().flat_map(|view| &view.windows);
        let windows = windows.filter(|&window| Some(Rc::as_ptr(window)) != merging);
        let indexes = self.indexes.iter().map(|(_, index)| index.bytes());
        windows.map(|window| window.bytes()).sum::<u64>() + indexes.sum::<u64>()
    }

    /// Something holds on to a view or a key index.
    pub(crate) fn has_kept(&self) -> bool {
        !self.views.is_empty() || !self.indexes.is_empty()
    }

    /// The tree holds everything up to `lsn`: nothing was written since.
    pub(crate) fn raise_idle(&mut self, lsn: Lsn) {
        self.tree.raise_merge_lsn(lsn);
    }

    /// Lets go of all that is in memory; whoever reads it still has it.
    pub(crate) fn forget_versions(&mut self) {
        self.active = SharedWindow::new(&self.memory);
        self.frozen = None;
        self.views.clear();
        self.indexes.clear();
    }

    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Notes a merge that could not read a page. After several of them the page counts as
    /// damaged: waiting commits must hear of it.
    pub(crate) fn note_failed_read(&mut self, reason: &str) -> bool {
        self.failed_reads += 1;
        let is_final = self.failed_reads >= limits::MERGE_READ_FAILURES_MAX;
        if is_final {
            self.set_damage(reason.to_owned());
        }
        is_final
    }

    pub(crate) fn set_damage(&mut self, reason: String) {
        self.damage.get_or_insert(reason);
    }
}
