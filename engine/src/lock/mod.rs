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

/// When the first attempt of a transaction took its first lock: the higher is the younger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct LockAge(u64);

/// A transaction that locks; of two the greater is the younger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct LockOwner {
    age: LockAge,
    number: u64,
}

impl LockOwner {
    /// The `number`th that locks since the store was opened. What is tried again keeps its age.
    pub(crate) fn new(number: u64, age: Option<LockAge>) -> LockOwner {
        LockOwner { age: age.unwrap_or(LockAge(number)), number }
    }

    pub(crate) const fn age(self) -> LockAge {
        self.age
    }

    /// Its number since the store was opened.
    pub(crate) const fn as_u64(self) -> u64 {
        self.number
    }
}
