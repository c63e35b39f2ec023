//! A view's window cut down to what its snapshots read.
//!
//! A merge leaves the whole window to the view, most of it newer than the snapshots that hold on
//! to it: those read the old root for every key that was only written later. No snapshot joins a
//! view, so what its snapshots read can be copied in steps while they go on reading.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{MergedKeys, SharedWindow, Tablet};
use crate::ids::Lsn;
use crate::limits;
use crate::window::PruneView;

/// A smaller window under construction.
pub(crate) struct Reduction {
    window: Rc<SharedWindow>,
    reduced: Rc<SharedWindow>,
    /// Ascending.
    snapshots: Vec<Lsn>,
    position: Option<Bytes>,
}

impl Reduction {
    /// Goes on by a bounded number of keys; tells whether that was the end.
    pub(crate) fn step(&mut self) -> bool {
        let (versions, last) = self.window.with(|window| {
            let after = self.position.as_deref();
            window.versions_read(after, &self.snapshots, limits::VIEW_REDUCE_STEP_KEYS)
        });
        let mut reduced = self.reduced.window.borrow_mut();
        let before = reduced.bytes();
        // Nothing is visible below the first version: each of them stays.
        let keep_all = PruneView::new(Lsn::ZERO, Vec::new());
        for (key, lsn, value) in versions {
            reduced.insert(key, lsn, value, &keep_all);
        }
        self.reduced.memory.charge_unbounded(reduced.bytes() - before);
        let is_end = last.is_none();
        self.position = last;
        is_end
    }
}

impl Tablet {
    /// Begins to cut down the largest window that is kept for snapshots of `settled` (ascending)
    /// alone. `active`: all active snapshots, ascending.
    pub(crate) fn begin_reduction(&self, active: &[Lsn], settled: &[Lsn]) -> Option<Reduction> {
        let merging = self.frozen.as_ref().map(|frozen| Rc::as_ptr(&frozen.window));
        let within = |all: &[Lsn], view: &super::View| {
            let first = all.partition_point(|&snapshot| snapshot < view.from);
            let end = all.partition_point(|&snapshot| snapshot < view.until);
            all[first..end].to_vec()
        };
        let candidates = self.views.iter().filter_map(|view| {
            let [window] = &view.windows[..] else { return None };
            let snapshots = within(active, view);
            let is_fit = !view.is_reduced
                && merging != Some(Rc::as_ptr(window))
                && snapshots.len() <= limits::VIEW_REDUCE_SNAPSHOTS_MAX
                && snapshots == within(settled, view);
            is_fit.then_some((window, snapshots))
        });
        let (window, snapshots) = candidates.max_by_key(|(window, _)| window.bytes())?;
        let (window, reduced) = (Rc::clone(window), SharedWindow::new(&self.memory));
        Some(Reduction { window, reduced, snapshots, position: None })
    }

    /// Gives the view its smaller window, unless the view has gone meanwhile.
    pub(crate) fn end_reduction(&mut self, reduction: Reduction) {
        let Reduction { window, reduced, .. } = reduction;
        let is_its = |view: &&mut super::View| view.windows.iter().any(|w| Rc::ptr_eq(w, &window));
        if let Some(view) = self.views.iter_mut().find(is_its) {
            view.windows = SmallVec::from_iter([reduced]);
            view.is_reduced = true;
        }
        let mut indexes = self.indexes.iter_mut();
        let index = indexes.find_map(|(_, keys)| match keys {
            MergedKeys::Window(shared) if Rc::ptr_eq(shared, &window) => Some(keys),
            MergedKeys::Window(_) | MergedKeys::Index { .. } => None,
        });
        drop(window);
        if let Some(keys) = index {
            keys.shrink(&self.memory);
        }
    }
}
