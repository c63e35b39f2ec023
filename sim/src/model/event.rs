//! What clients report while they work: the only way into a history.

use std::sync::{Arc, Mutex, PoisonError};

use super::history::History;
use super::value::{Found, KeyId, SpaceId, Stamp, TxnId};

/// One write of a transaction: the length of the value, or `None` for a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    pub key: KeyId,
    pub value_len: Option<u32>,
}

/// What a transaction is about to commit, reported before `commit` is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    pub id: TxnId,
    /// The snapshot it reads and is checked against; `None` for an auto-commit, which has none
    /// of its own and writes one key.
    pub snapshot: Option<u64>,
    /// The greatest LSN acknowledged to this process before the transaction began.
    pub floor: u64,
    /// Acknowledged before it is durable.
    pub relaxed: bool,
    pub writes: Vec<Write>,
}

impl Intent {
    /// The stamp that the value of write number `index` carries, `None` for a delete.
    #[must_use]
    pub fn stamp(&self, index: usize) -> Option<Stamp> {
        let count = u16::try_from(self.writes.len()).expect("writes of one transaction are few");
        let index_short = u16::try_from(index).expect("below the count");
        let len = self.writes[index].value_len?;
        Some(Stamp { txn: self.id, index: index_short, count, len })
    }
}

/// One report of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Intent(Intent),
    /// Committed at this LSN.
    Acknowledged {
        id: TxnId,
        lsn: u64,
    },
    /// Certainly not committed.
    Refused {
        id: TxnId,
    },
    /// Nobody can say; also a commit whose caller stopped waiting.
    Doubtful {
        id: TxnId,
    },
    /// What a snapshot at this LSN showed under a key.
    Read {
        snapshot: u64,
        key: KeyId,
        found: Found,
    },
    SpaceCreating {
        space: SpaceId,
        name: String,
    },
    SpaceCreated {
        space: SpaceId,
    },
    SpaceCreateRefused {
        space: SpaceId,
    },
    SpaceDropping {
        space: SpaceId,
    },
    SpaceDropped {
        space: SpaceId,
    },
    SpaceDropRefused {
        space: SpaceId,
    },
    /// The client itself saw something that must not be.
    Broken {
        what: String,
    },
}

/// Takes the reports of all clients of one store.
pub trait Recorder: Send + Sync {
    fn record(&self, event: Event);
}

/// A history that several clients report to.
#[derive(Clone, Default)]
pub struct Shared {
    history: Arc<Mutex<History>>,
}

impl Shared {
    /// Runs `work` on the history; nothing else reports meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        work(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorder for Shared {
    fn record(&self, event: Event) {
        self.with(|history| history.apply(event));
    }
}
