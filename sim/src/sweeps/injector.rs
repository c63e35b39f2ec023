//! Makes one case's failure happen, and undoes it.

use std::cell::Cell;
use std::rc::Rc;

use sombra_runtime::sim::{DiskOp, FaultPoints, SimDisk};

use super::kind::{Case, Control, SweepKind};
use crate::limits;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Shared by whoever turns the world and the worker in it.
#[derive(Clone)]
pub(super) struct Injector {
    pub(super) case: Case,
    pub(super) disk: SimDisk,
    pub(super) points: FaultPoints,
    /// The disk was made full.
    is_full: Rc<Cell<bool>>,
}

impl Injector {
    /// Plans the failure; requests are counted from here on.
    pub(super) fn arm(case: Case, disk: SimDisk) -> Injector {
        let points = FaultPoints::default();
        let injector = Injector { case, disk, points, is_full: Rc::default() };
        if let Some(point) = case.kind.fault_point() {
            let times = match (case.kind, case.sticky) {
                (_, false) => 1,
                (SweepKind::Extent, true) => u64::MAX,
                // Refused for ever although there is room would be a wait without an end.
                (_, true) => limits::SWEEP_REFUSALS,
            };
            injector.points.refuse(point, case.nth, times);
        }
        match case.kind.disk_op() {
            Some(on) if !injector.fills_disk() => injector.plan(on),
            _ => {}
        }
        injector
    }

    fn plan(&self, on: DiskOp) {
        let Case { kind, target, sticky, nth, .. } = self.case;
        let errno = if kind == SweepKind::NoSpace { ENOSPC } else { EIO };
        match (sticky, target) {
            (true, "") => self.disk.fail_from(on, nth, errno),
            (true, _) => {
                // Requests on one file are few: planned one by one, they fail to the end.
                let plan = |at| self.disk.fail_next_at(target, on, at, errno);
                (0..limits::SWEEP_STICKY_FAULTS).for_each(|_| plan(nth));
            }
            (false, "") => self.disk.fail_next(on, nth, errno),
            (false, _) => self.disk.fail_next_at(target, on, nth, errno),
        }
    }

    fn fills_disk(&self) -> bool {
        self.case.kind == SweepKind::NoSpace && self.case.sticky
    }

    /// Looked at between the steps of the world: a full disk is not an I/O of its own.
    pub(super) fn tick(&self) {
        let is_due = self.fills_disk() && !self.is_full.get();
        if is_due && self.disk.counters().writes >= self.case.nth {
            self.is_full.set(true);
            self.disk.set_options(|options| options.capacity_bytes = 0);
        }
    }

    /// Whether the failure has happened.
    pub(super) fn is_hit(&self) -> bool {
        self.is_full.get() || self.disk.counters().faults + self.points.refused() > 0
    }

    /// From here on nothing fails.
    pub(super) fn lift(&self) {
        self.disk.clear_faults();
        self.points.clear();
        self.disk.set_options(|options| options.capacity_bytes = u64::MAX);
    }

    pub(super) fn is_control(&self, control: Control) -> bool {
        self.case.control == Some(control)
    }
}
