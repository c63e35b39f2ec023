//! Planned refusals of what a program asks for beside I/O: pages, file growth, memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault_point::FaultPoint;
use crate::runtime::Runtime;

struct Plan {
    point: FaultPoint,
    skip: u64,
    times: u64,
}

#[derive(Default)]
struct Points {
    plans: Vec<Plan>,
    refused: u64,
}

/// What is going to be refused. Clones share it, and it outlives the worlds that ask it, so that
/// requests are counted over all of them.
#[derive(Clone, Default)]
pub struct FaultPoints(Arc<Mutex<Points>>);

impl FaultPoints {
    /// Refuses `times` requests at `point` from the `nth` from now on; 1 is the next one.
    pub fn refuse(&self, point: FaultPoint, nth: u64, times: u64) {
        assert!(nth > 0 && times > 0, "requests are counted from 1");
        self.points().plans.push(Plan { point, skip: nth - 1, times });
    }

    /// Forgets what was planned; what was refused stays counted.
    pub fn clear(&self) {
        self.points().plans.clear();
    }

    /// Requests that were refused so far.
    pub fn refused(&self) -> u64 {
        self.points().refused
    }

    fn points(&self) -> MutexGuard<'_, Points> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and tells whether its turn to be refused has come.
    fn refuses(&self, point: FaultPoint) -> bool {
        let mut points = self.points();
        let mut is_due = false;
        points.plans.retain_mut(|plan| {
            if plan.point != point {
                return true;
            }
            if plan.skip > 0 {
                plan.skip -= 1;
                return true;
            }
            is_due = true;
            plan.times -= 1;
            plan.times > 0
        });
        points.refused += u64::from(is_due);
        is_due
    }
}

impl Runtime {
    /// Asks the world; a runtime outside of one refuses nothing.
    pub(crate) fn refuses(&self, point: FaultPoint) -> bool {
        self.fault_points().is_some_and(|points| points.refuses(point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_points_refuse_the_nth_request_of_their_own_point_and_so_many_after_it() {
        let points = FaultPoints::default();
        points.refuse(FaultPoint::PageAllocation, 2, 3);
        points.refuse(FaultPoint::MemoryCharge, 1, 1);
        let asked = |point, count: u64| -> Vec<bool> {
            (0..count).map(|_| points.refuses(point)).collect()
        };
        assert_eq!(asked(FaultPoint::FileGrowth, 3), [false; 3]);
        assert_eq!(asked(FaultPoint::MemoryCharge, 2), [true, false]);
        let expected = [false, true, true, true, false];
        assert_eq!(asked(FaultPoint::PageAllocation, 5), expected);
        assert_eq!(points.refused(), 4);
        points.refuse(FaultPoint::FileGrowth, 1, u64::MAX);
        assert_eq!(asked(FaultPoint::FileGrowth, 2), [true; 2]);
        points.clear();
        assert_eq!(asked(FaultPoint::FileGrowth, 1), [false]);
    }
}
