//! A transaction's hold on one of the store's slots for snapshots.

use super::transaction::TransactionState;
use crate::error::BeginError;
use crate::mvcc::registry::{SnapshotGuard, SnapshotKind};
use crate::shard::StoreShared;

/// Whether a transaction has a slot.
pub(super) enum Slot {
    Held(SnapshotGuard),
    /// Given up while it waits for a lock and has read nothing: its next step takes another.
    Lent,
    /// The transaction has ended.
    Ended,
}

impl Slot {
    /// Ends the transaction; its slot, if it has one.
    pub(super) fn end(&mut self) -> Option<SnapshotGuard> {
        match std::mem::replace(self, Slot::Ended) {
            Slot::Held(guard) => Some(guard),
            Slot::Lent | Slot::Ended => None,
        }
    }
}

impl TransactionState {
    /// Gives the slot up unless something was read at its snapshot: so many wait for a lock that
    /// there are not slots for all of them.
    pub(super) fn lend_slot(&mut self) {
        if !self.has_read && matches!(self.slot, Slot::Held(_)) {
            self.slot = Slot::Lent;
        }
    }

    /// Takes a slot, and with it a newer snapshot, in the place of one that was given up.
    ///
    /// # Errors
    /// There is none; the transaction goes on without, and takes one with its next step.
    pub(super) fn take_slot(&mut self, shared: &StoreShared) -> Result<(), BeginError> {
        if matches!(self.slot, Slot::Lent) {
            self.renew(shared.begin(SnapshotKind::ReadWrite)?);
        }
        Ok(())
    }
}
