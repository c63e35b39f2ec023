//! Commits between their reservation and their close, and who waits for what.

use std::collections::BTreeMap;

use futures_channel::oneshot;

use super::CommitReply;
use crate::ids::Lsn;
use crate::mvcc::states::Reserved;
use crate::wal::watermarks::NONE_OPEN;

/// A commit is open until it is durable (unless `Async`) and applied on every shard it touches.
#[derive(Debug)]
struct OpenCommit {
    end: Lsn,
    waits_for_durable: bool,
    is_applied: bool,
}

/// Open commits of one coordinator, by start.
#[derive(Debug, Default)]
pub(super) struct OpenCommits {
    by_start: BTreeMap<u64, OpenCommit>,
}

impl OpenCommits {
    pub(super) fn open(&mut self, start: u64, end: Lsn, waits_for_durable: bool) {
        let commit = OpenCommit { end, waits_for_durable, is_applied: false };
        let before = self.by_start.insert(start, commit);
        assert!(before.is_none(), "INV-4b: two commits at log position {start}");
    }

    pub(super) fn mark_applied(&mut self, start: u64) {
        let commit = self.by_start.get_mut(&start);
        commit.expect("INV-4: a commit is open until it is applied").is_applied = true;
    }

    /// Closes what may close at `durable`; tells whether anything did.
    pub(super) fn close(&mut self, durable: Lsn) -> bool {
        let before = self.by_start.len();
        self.by_start.retain(|_, commit| {
            let is_settled = !commit.waits_for_durable || commit.end <= durable;
            !(commit.is_applied && is_settled)
        });
        self.by_start.len() < before
    }

    /// Start of the lowest open commit.
    pub(super) fn lowest(&self) -> u64 {
        self.by_start.first_key_value().map_or(NONE_OPEN, |(&start, _)| start)
    }

    pub(super) fn len(&self) -> usize {
        self.by_start.len()
    }
}

/// Who waits for `visible` to reach an LSN.
pub(super) enum Waiter {
    /// A client: to be acknowledged.
    Commit { reserved: Reserved, reply: CommitReply, begun_ns: u64 },
    /// A step of our own that goes on then. Dropped unanswered when the store stops.
    Step(oneshot::Sender<()>),
}

/// Waiters by LSN.
#[derive(Default)]
pub(super) struct Waiters {
    by_lsn: BTreeMap<(Lsn, u64), Waiter>,
    sequence: u64,
}

impl Waiters {
    pub(super) fn add(&mut self, lsn: Lsn, waiter: Waiter) {
        self.sequence += 1;
        self.by_lsn.insert((lsn, self.sequence), waiter);
    }

    pub(super) fn lowest(&self) -> Option<Lsn> {
        self.by_lsn.first_key_value().map(|((lsn, _), _)| *lsn)
    }

    /// Takes the lowest waiter at or below `visible`.
    pub(super) fn take_reached(&mut self, visible: Lsn) -> Option<Waiter> {
        let entry = self.by_lsn.first_entry()?;
        (entry.key().0 <= visible).then(|| entry.remove())
    }

    /// Takes any waiter: the store has stopped.
    pub(super) fn take_any(&mut self) -> Option<Waiter> {
        self.by_lsn.pop_first().map(|(_, waiter)| waiter)
    }

    pub(super) fn len(&self) -> usize {
        self.by_lsn.len()
    }
}
