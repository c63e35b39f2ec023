//! From a write set to an acknowledged commit: validate, reserve, apply unseen, durable,
//! visible, reply.
//!
//! Knows the order of these and the messages between shards. Must never know sockets, clients
//! or how a message travels (it is carried by a [`Carrier`]).

mod across;
mod core;
mod dependent;
mod dropped;
mod locks;
mod open;
mod prepared;
mod shared;
mod single;

pub(crate) use self::across::{Carrier, CommitMessage, commit_across};
pub(crate) use self::core::Core;
pub(crate) use self::dependent::DependentRequest;
pub(crate) use self::dropped::Dropped;
pub use self::locks::LockWait;
pub(crate) use self::locks::{HeldLocks, LockAnswer, LockRefused, LockRequest};
pub(crate) use self::shared::{DataWork, ShardCounters, SnapshotAges, StoreCore, StoreCoreParts};

use std::sync::Arc;

use futures_channel::oneshot;
use sombra_runtime::ShardId;

use crate::error::CommitError;
use crate::ids::{Lsn, TabletId};
use crate::lock::LockOwner;
use crate::mvcc::registry::SnapshotGuard;
use crate::options::Durability;
use crate::txn::{ReadSet, Write};

#[cfg(test)]
mod tests;

/// How a commit is answered: its LSN, or why not. What its transaction has locked is let go of
/// with the answer.
pub(crate) struct CommitReply {
    sender: oneshot::Sender<Result<Lsn, CommitError>>,
    locks: Option<Arc<HeldLocks>>,
}

impl CommitReply {
    pub(crate) fn new(
        sender: oneshot::Sender<Result<Lsn, CommitError>>,
        locks: Option<Arc<HeldLocks>>,
    ) -> CommitReply {
        CommitReply { sender, locks }
    }

    fn send(self, outcome: Result<Lsn, CommitError>) {
        let CommitReply { sender, locks } = self;
        drop(locks);
        // A client that went away does not want the answer.
        let _ = sender.send(outcome);
    }

    /// Whose locks do not stop the commit.
    fn owner(&self) -> Option<LockOwner> {
        self.locks.as_ref().map(|locks| locks.owner())
    }
}

/// What of one commit lies on one shard: what it writes there, and what it must find there as it
/// was when it read it.
#[derive(Debug)]
pub(crate) struct ShardPart {
    pub(crate) shard: ShardId,
    pub(crate) writes: Vec<Write>,
    /// Empty unless the commit is serializable.
    pub(crate) reads: ReadSet,
}

impl ShardPart {
    pub(crate) fn new(shard: ShardId) -> ShardPart {
        ShardPart { shard, writes: Vec::new(), reads: ReadSet::default() }
    }

    /// The tablets that it names, one for each write, key and range.
    fn tablets(&self) -> impl Iterator<Item = TabletId> {
        let writes = self.writes.iter().map(|write| write.tablet);
        let keys = self.reads.keys.iter().map(|key| key.tablet);
        writes.chain(keys).chain(self.reads.ranges.iter().map(|range| range.tablet))
    }
}

/// One commit on its way to its coordinator.
pub(crate) struct CommitRequest {
    /// Held until the reservation. `None`: a blind write, which waits for invisible versions of
    /// its key instead of conflicting with them.
    pub(crate) snapshot: Option<SnapshotGuard>,
    pub(crate) durability: Durability,
    /// By shard; the coordinator's own part first.
    pub(crate) parts: Vec<ShardPart>,
    /// The encoded log record.
    pub(crate) record: Vec<u8>,
    pub(crate) reply: CommitReply,
}
