//! Marks within a transaction that it can go back to.

use std::sync::{Arc, Mutex, Weak};

use super::port::Port;
use super::transaction::{Transaction, TransactionState};
use crate::error::WriteError;
use crate::txn::SavepointId;

/// A moment of one transaction's writes; see [`Transaction::savepoint`].
#[derive(Clone, Debug)]
pub struct Savepoint {
    of: Weak<Mutex<TransactionState>>,
    id: SavepointId,
}

impl<P: Port> Transaction<P> {
    /// Marks the transaction's writes as they are now, for [`Transaction::rollback_to`].
    ///
    /// # Errors
    /// More savepoints than `limits::SAVEPOINTS_MAX` at once, or the transaction has ended.
    pub fn savepoint(&self) -> Result<Savepoint, WriteError> {
        let mut state = self.state();
        if !state.is_active() {
            return Err(WriteError::Ended);
        }
        Ok(Savepoint { of: Arc::downgrade(self.shared_state()), id: state.writes.set_savepoint()? })
    }

    /// Takes back what was written since the savepoint, which stays and can be gone back to
    /// again; savepoints that were set later are gone. What was read since then still counts at
    /// the commit, and locks are kept.
    ///
    /// # Errors
    /// `NoSavepoint`, and nothing is taken back; or the transaction has ended.
    pub fn rollback_to(&self, savepoint: &Savepoint) -> Result<(), WriteError> {
        let mut state = self.state();
        if !state.is_active() {
            return Err(WriteError::Ended);
        }
        let is_own = std::ptr::eq(savepoint.of.as_ptr(), Arc::as_ptr(self.shared_state()));
        if is_own && state.writes.roll_back_to(savepoint.id) {
            Ok(())
        } else {
            Err(WriteError::NoSavepoint)
        }
    }
}
