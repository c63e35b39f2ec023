//! Why transactions were aborted.

use serde::Serialize;
use sombra::{CommitError, ConflictReason, LockError, ReadError, TransactionError};

/// Aborted transactions by reason, as the clients were told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Aborts {
    pub newer_version: u64,
    pub read_changed: u64,
    pub range_changed: u64,
    pub prepared: u64,
    pub locked: u64,
    pub deadlock: u64,
    pub snapshot_too_old: u64,
}

impl Aborts {
    /// Counts an error that another transaction, or the age of the snapshot, is to blame for;
    /// gives back any other.
    ///
    /// # Errors
    /// The error, when it is no such one.
    pub fn note(&mut self, error: TransactionError) -> Result<(), TransactionError> {
        let counter = match &error {
            TransactionError::Commit(CommitError::Conflict { reason, .. }) => match reason {
                ConflictReason::NewerVersion => &mut self.newer_version,
                ConflictReason::ReadChanged => &mut self.read_changed,
                ConflictReason::RangeChanged => &mut self.range_changed,
                ConflictReason::Prepared => &mut self.prepared,
                ConflictReason::Locked => &mut self.locked,
            },
            TransactionError::Lock(LockError::Conflict { .. }) => &mut self.newer_version,
            TransactionError::Lock(LockError::Deadlock { .. }) => &mut self.deadlock,
            TransactionError::Commit(CommitError::SnapshotTooOld { .. })
            | TransactionError::Read(ReadError::SnapshotTooOld { .. }) => {
                &mut self.snapshot_too_old
            }
            _ => return Err(error),
        };
        *counter += 1;
        Ok(())
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.newer_version
            + self.read_changed
            + self.range_changed
            + self.prepared
            + self.locked
            + self.deadlock
            + self.snapshot_too_old
    }

    /// Adds those that another client met.
    pub fn merge(&mut self, other: &Aborts) {
        self.newer_version += other.newer_version;
        self.read_changed += other.read_changed;
        self.range_changed += other.range_changed;
        self.prepared += other.prepared;
        self.locked += other.locked;
        self.deadlock += other.deadlock;
        self.snapshot_too_old += other.snapshot_too_old;
    }

    /// The reasons with their counts, in the words of `sombra_conflicts_total`.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            (ConflictReason::NewerVersion.name(), self.newer_version),
            (ConflictReason::ReadChanged.name(), self.read_changed),
            (ConflictReason::RangeChanged.name(), self.range_changed),
            (ConflictReason::Prepared.name(), self.prepared),
            (ConflictReason::Locked.name(), self.locked),
            ("deadlock", self.deadlock),
            ("snapshot_too_old", self.snapshot_too_old),
        ]
    }
}
