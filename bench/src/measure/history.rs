//! Every commit of every record, to tell afterwards whether an abort had a reason.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sombra_runtime::Moment;

use crate::limits::{HISTORY_SHELVES, HISTORY_VERSIONS_MAX};

/// One commit of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    pub lsn: u64,
    /// When its writer set out: it was nowhere in the store before.
    pub begun: Moment,
}

/// An abort as its client saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    pub snapshot: u64,
    /// The newest visible commit, looked up after the client was told.
    pub visible: u64,
    pub told: Moment,
}

/// Whether an abort had the reason that it named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// The record has a commit that the snapshot did not see and that was there at the abort.
    True,
    /// It has none.
    False,
    /// It has one that was on its way when the client was told: perhaps in time, perhaps not.
    Undecided,
}

/// Remembers the commits of every record, up to a bound.
#[derive(Debug)]
pub struct History {
    shelves: Vec<Mutex<HashMap<u64, Vec<Version>>>>,
    versions: AtomicU64,
}

impl Default for History {
    fn default() -> History {
        let shelves = (0..HISTORY_SHELVES).map(|_| Mutex::default()).collect();
        History { shelves, versions: AtomicU64::new(0) }
    }
}

impl History {
    /// Remembers one commit.
    pub fn record(&self, record: u64, version: Version) {
        if self.versions.fetch_add(1, Ordering::Relaxed) < HISTORY_VERSIONS_MAX {
            self.with(record, |versions| versions.push(version));
        }
    }

    /// Whether nothing was left out for want of room.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.versions.load(Ordering::Relaxed) <= HISTORY_VERSIONS_MAX
    }

    /// Whether a record was committed above one position and below another.
    #[must_use]
    pub fn is_changed_between(&self, record: u64, above: u64, below: u64) -> bool {
        self.with(record, |versions| {
            versions.iter().any(|version| above < version.lsn && version.lsn < below)
        })
    }

    /// Judges an abort for the sake of one record. Ask when every writer has been answered: an
    /// acknowledgement may arrive after the abort that it explains.
    #[must_use]
    pub fn judge(&self, record: u64, abort: &Abort) -> Judgement {
        if !self.is_complete() {
            return Judgement::Undecided;
        }
        self.with(record, |versions| {
            let mut newer = versions.iter().filter(|version| version.lsn > abort.snapshot);
            let mut on_its_way = false;
            let seen = newer.any(|version| {
                on_its_way |= version.begun <= abort.told;
                version.lsn <= abort.visible
            });
            match (seen, on_its_way) {
                (true, _) => Judgement::True,
                (false, true) => Judgement::Undecided,
                (false, false) => Judgement::False,
            }
        })
    }

    fn with<T>(&self, record: u64, look: impl FnOnce(&mut Vec<Version>) -> T) -> T {
        let shelf = &self.shelves[(record % self.shelves.len() as u64) as usize];
        // Held for a few instructions and never across an await.
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        look(shelf.entry(record).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Moment {
        Moment::from_nanos(ns)
    }

    #[test]
    fn abort_is_true_only_for_a_commit_between_its_snapshot_and_its_end() {
        let history = History::default();
        for (lsn, begun) in [(10, 1), (20, 2), (30, 3)] {
            history.record(7, Version { lsn, begun: at(begun) });
        }
        let abort = |snapshot, visible, told| Abort { snapshot, visible, told: at(told) };
        let judge = |abort| history.judge(7, &abort);
        assert_eq!(judge(abort(15, 25, 2)), Judgement::True);
        assert_eq!(judge(abort(9, 10, 1)), Judgement::True);
        // The commit at 20 was not there yet, though somebody made it later.
        assert_eq!(judge(abort(10, 15, 1)), Judgement::False);
        // It had set out, and nobody can say how far it was.
        assert_eq!(judge(abort(10, 15, 2)), Judgement::Undecided);
        assert_eq!(judge(abort(30, 40, 9)), Judgement::False);
        assert_eq!(history.judge(8, &abort(0, 99, 99)), Judgement::False);
    }

    #[test]
    fn change_between_two_positions_leaves_both_out() {
        let history = History::default();
        history.record(1, Version { lsn: 20, begun: at(0) });
        assert!(history.is_changed_between(1, 19, 21));
        assert!(!history.is_changed_between(1, 20, 30) && !history.is_changed_between(1, 10, 20));
        assert!(history.is_complete());
    }
}
