//! Locks that transactions take before they commit: who holds a key, who waits for it in which
//! order, and who waits for whom.
//!
//! Knows keys, owners and queues. Must never know versions, snapshots or how a request travels.

mod graph;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use graph::{Victim, WaitGraph};
pub(crate) use table::{LockTable, Place, Requested, Ticket};

/// How a key is locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum LockMode {
    /// Beside other shared locks; nobody else writes the key meanwhile.
    Shared,
    /// Alone.
    Exclusive,
}

impl LockMode {
    fn is_compatible(self, other: LockMode) -> bool {
        self == LockMode::Shared && other == LockMode::Shared
    }
}

/// A transaction that locks, numbered in the order in which they took their first locks: of two
/// the higher number is the younger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct LockOwner(pub(crate) u64);

impl LockOwner {
    /// Its number since the store was opened.
    pub(crate) const fn as_u64(self) -> u64 {
        self.0
    }
}
