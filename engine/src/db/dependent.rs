//! Writes whose value follows from what the key holds: conditional ones and merges.

use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::blocking::BlockingDb;
use super::handle::DbHandle;
use super::port::{self, Port};
use crate::commit::{CommitReply, DependentRequest};
use crate::error::{CommitError, WriteError};
use crate::ids::Lsn;
use crate::keyspace::{Keyspace, Place};
use crate::shard::Request;
use crate::txn::{AddI64, Change, Condition, Dependent, MergeOperator, check_key, check_value};

impl<P: Port> DbHandle<P> {
    /// Adds to a number durably: an `i64` of 8 bytes in little-endian order; a key that is not
    /// there counts as 0. Sums never conflict with each other, whoever adds.
    ///
    /// # Errors
    /// `MergeRefused` where the value is no number or the sum does not fit; else as
    /// [`CommitError`].
    pub async fn add(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        by: i64,
    ) -> Result<Lsn, CommitError> {
        let operand = Bytes::copy_from_slice(&by.to_le_bytes());
        let change = Change::Merge { operator: Arc::new(AddI64), operand };
        self.commit_dependent(keyspace, key.as_ref(), change).await
    }

    /// Makes a merge operator known by a name, for this keyspace and until the store is closed;
    /// takes the place of one of the same name.
    ///
    /// # Errors
    /// The keyspace is another store's.
    pub fn register_merge_operator(
        &self,
        keyspace: &Keyspace,
        name: &str,
        operator: impl MergeOperator + 'static,
    ) -> Result<(), WriteError> {
        self.refuse_foreign(keyspace)?;
        self.port.shared().register(keyspace, name, Arc::new(operator));
        Ok(())
    }

    /// Merges an operand into a key durably, with an operator that was registered. Merges of one
    /// key happen one after the other, in the order of the log, upon whatever put or delete came
    /// before; they never conflict, and the log and the trees hold what the operator gave.
    ///
    /// # Errors
    /// `UnknownOperator`; `MergeRefused` with the operator's reason; else as [`CommitError`].
    pub async fn merge(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        operator: &str,
        operand: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        self.refuse_foreign(keyspace)?;
        let Some(found) = self.port.shared().operator(keyspace, operator) else {
            let (keyspace, name) = (keyspace.name().to_owned(), operator.to_owned());
            return Err(WriteError::UnknownOperator { keyspace, name }.into());
        };
        let operand = operand.into();
        check_value(Some(&operand))?;
        let change = Change::Merge { operator: found, operand };
        self.commit_dependent(keyspace, key.as_ref(), change).await
    }

    /// Puts durably if the key is what `condition` asks for when the put is committed.
    ///
    /// # Errors
    /// `ConditionFailed`; `VersionTooOld` where nobody knows; else as [`CommitError`].
    pub async fn put_if(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        condition: Condition,
        value: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        let value = value.into();
        check_value(Some(&value))?;
        let change = Change::If { condition, value: Some(value) };
        self.commit_dependent(keyspace, key.as_ref(), change).await
    }

    /// Deletes durably if the key is what `condition` asks for.
    ///
    /// # Errors
    /// As [`DbHandle::put_if`].
    pub async fn delete_if(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        condition: Condition,
    ) -> Result<Lsn, CommitError> {
        let change = Change::If { condition, value: None };
        self.commit_dependent(keyspace, key.as_ref(), change).await
    }

    fn refuse_foreign(&self, keyspace: &Keyspace) -> Result<(), WriteError> {
        match self.port.shared().foreign(keyspace) {
            Some(name) => Err(WriteError::ForeignKeyspace { name }),
            None => Ok(()),
        }
    }

    async fn commit_dependent(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        change: Change,
    ) -> Result<Lsn, CommitError> {
        self.refuse_foreign(keyspace)?;
        check_key(key)?;
        let shared = self.port.shared();
        let Place { tablet, window_key } = keyspace.place(key);
        let key_offset = keyspace.key_offset();
        let dependent = Dependent { tablet, window_key, key_offset, change };
        let (reply, answer) = oneshot::channel();
        let reply = CommitReply::new(reply, None);
        let wall_ms = shared.runtime.wall_clock_ms();
        let request = DependentRequest { dependent, wall_ms, reply };
        let to = shared.owner(keyspace, tablet);
        let sent =
            port::send_commit(&self.port, to, Request::CommitDependent(request), answer).await;
        sent.map_err(|error| shared.with_name(error, std::slice::from_ref(keyspace)))
    }
}

impl BlockingDb {
    /// As [`Db::add`](super::DbHandle::add).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn add(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        by: i64,
    ) -> Result<Lsn, CommitError> {
        self.wait(self.db.add(keyspace, key, by))
    }

    /// As [`Db::merge`](super::DbHandle::merge).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn merge(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        operator: &str,
        operand: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        self.wait(self.db.merge(keyspace, key, operator, operand))
    }

    /// As [`Db::put_if`](super::DbHandle::put_if).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn put_if(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        condition: Condition,
        value: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        self.wait(self.db.put_if(keyspace, key, condition, value))
    }

    /// As [`Db::delete_if`](super::DbHandle::delete_if).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn delete_if(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        condition: Condition,
    ) -> Result<Lsn, CommitError> {
        self.wait(self.db.delete_if(keyspace, key, condition))
    }
}
