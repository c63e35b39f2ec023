//! One face for the two ways to the store: the handle that any thread may use, and the handle
//! of a task on a shard.

use bytes::Bytes;
use sombra::{
    BeginError, CommitError, Committed, Condition, Db, Durability, Isolation, KeyRange, Keyspace,
    Local, LocalDb, LocalTransaction, LockError, LockOptions, Lsn, Port, ReadError, Savepoint,
    Scan, Snapshot, Transaction, WriteError,
};

/// How a client reaches the store.
pub enum Session {
    Handle(Db),
    OnShard(LocalDb),
}

/// An open transaction of either kind.
pub(crate) enum Tx {
    Handle(Transaction),
    OnShard(LocalTransaction),
}

/// An open snapshot of either kind.
pub(crate) enum View {
    Handle(Snapshot),
    OnShard(Snapshot<Local>),
}

impl Session {
    pub(crate) fn begin(&self, isolation: Isolation) -> Result<Tx, BeginError> {
        match self {
            Session::Handle(db) => db.begin_with(isolation).map(Tx::Handle),
            Session::OnShard(db) => db.begin_with(isolation).map(Tx::OnShard),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<View, BeginError> {
        match self {
            Session::Handle(db) => db.snapshot().map(View::Handle),
            Session::OnShard(db) => db.snapshot().map(View::OnShard),
        }
    }

    pub(crate) async fn put(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<Lsn, CommitError> {
        match self {
            Session::Handle(db) => db.put(keyspace, key, value).await,
            Session::OnShard(db) => db.put(keyspace, key, value).await,
        }
    }

    pub(crate) async fn merge(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        operator: &str,
        operand: Vec<u8>,
    ) -> Result<Lsn, CommitError> {
        match self {
            Session::Handle(db) => db.merge(keyspace, key, operator, operand).await,
            Session::OnShard(db) => db.merge(keyspace, key, operator, operand).await,
        }
    }

    /// Puts, or deletes without a value, on a condition.
    pub(crate) async fn write_if(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        condition: Condition,
        value: Option<Vec<u8>>,
    ) -> Result<Lsn, CommitError> {
        match (self, value) {
            (Session::Handle(db), Some(value)) => db.put_if(keyspace, key, condition, value).await,
            (Session::Handle(db), None) => db.delete_if(keyspace, key, condition).await,
            (Session::OnShard(db), Some(value)) => db.put_if(keyspace, key, condition, value).await,
            (Session::OnShard(db), None) => db.delete_if(keyspace, key, condition).await,
        }
    }

    pub(crate) async fn delete(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Lsn, CommitError> {
        match self {
            Session::Handle(db) => db.delete(keyspace, key).await,
            Session::OnShard(db) => db.delete(keyspace, key).await,
        }
    }
}

impl Tx {
    pub(crate) fn snapshot_lsn(&self) -> Lsn {
        match self {
            Tx::Handle(tx) => tx.snapshot_lsn(),
            Tx::OnShard(tx) => tx.snapshot_lsn(),
        }
    }

    pub(crate) async fn get(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
    ) -> Result<Option<Bytes>, ReadError> {
        match self {
            Tx::Handle(tx) => tx.get(keyspace, key).await,
            Tx::OnShard(tx) => tx.get(keyspace, key).await,
        }
    }

    pub(crate) fn put(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<(), WriteError> {
        match self {
            Tx::Handle(tx) => tx.put(keyspace, key, value),
            Tx::OnShard(tx) => tx.put(keyspace, key, value),
        }
    }

    pub(crate) fn delete(&self, keyspace: &Keyspace, key: &[u8]) -> Result<(), WriteError> {
        match self {
            Tx::Handle(tx) => tx.delete(keyspace, key),
            Tx::OnShard(tx) => tx.delete(keyspace, key),
        }
    }

    pub(crate) async fn lock(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        options: LockOptions,
    ) -> Result<(), LockError> {
        match self {
            Tx::Handle(tx) => tx.lock(keyspace, key, options).await,
            Tx::OnShard(tx) => tx.lock(keyspace, key, options).await,
        }
    }

    pub(crate) fn savepoint(&self) -> Result<Savepoint, WriteError> {
        match self {
            Tx::Handle(tx) => tx.savepoint(),
            Tx::OnShard(tx) => tx.savepoint(),
        }
    }

    pub(crate) fn rollback_to(&self, savepoint: &Savepoint) -> Result<(), WriteError> {
        match self {
            Tx::Handle(tx) => tx.rollback_to(savepoint),
            Tx::OnShard(tx) => tx.rollback_to(savepoint),
        }
    }

    /// Up to `rows_max` rows of `range`, and whether there are no more.
    pub(crate) async fn rows(
        &self,
        keyspace: &Keyspace,
        range: KeyRange,
        is_reverse: bool,
        rows_max: usize,
    ) -> Result<(Vec<(Bytes, Bytes)>, bool), ReadError> {
        match (self, is_reverse) {
            (Tx::Handle(tx), false) => take(tx.scan(keyspace, range), rows_max).await,
            (Tx::Handle(tx), true) => take(tx.scan_reverse(keyspace, range), rows_max).await,
            (Tx::OnShard(tx), false) => take(tx.scan(keyspace, range), rows_max).await,
            (Tx::OnShard(tx), true) => take(tx.scan_reverse(keyspace, range), rows_max).await,
        }
    }

    pub(crate) fn relax(&self) {
        match self {
            Tx::Handle(tx) => tx.durability(Durability::Async),
            Tx::OnShard(tx) => tx.durability(Durability::Async),
        }
    }

    pub(crate) async fn commit(self) -> Result<Committed, CommitError> {
        match self {
            Tx::Handle(tx) => tx.commit().await,
            Tx::OnShard(tx) => tx.commit().await,
        }
    }

    pub(crate) fn rollback(self) {
        match self {
            Tx::Handle(tx) => tx.rollback(),
            Tx::OnShard(tx) => tx.rollback(),
        }
    }
}

async fn take<P: Port>(
    mut scan: Scan<P>,
    rows_max: usize,
) -> Result<(Vec<(Bytes, Bytes)>, bool), ReadError> {
    let mut rows = Vec::new();
    while rows.len() < rows_max {
        match scan.next().await? {
            Some(row) => rows.push(row),
            None => return Ok((rows, true)),
        }
    }
    Ok((rows, false))
}

impl View {
    pub(crate) fn lsn(&self) -> Lsn {
        match self {
            View::Handle(view) => view.lsn(),
            View::OnShard(view) => view.lsn(),
        }
    }

    pub(crate) async fn get(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
    ) -> Result<Option<Bytes>, ReadError> {
        match self {
            View::Handle(view) => view.get(keyspace, key).await,
            View::OnShard(view) => view.get(keyspace, key).await,
        }
    }

    /// Every row of `range`, as the scan hands them out; from the last one down on demand.
    pub(crate) async fn rows(
        &self,
        keyspace: &Keyspace,
        range: KeyRange,
        is_reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        match (self, is_reverse) {
            (View::Handle(view), false) => view.scan(keyspace, range).collect().await,
            (View::Handle(view), true) => view.scan_reverse(keyspace, range).collect().await,
            (View::OnShard(view), false) => view.scan(keyspace, range).collect().await,
            (View::OnShard(view), true) => view.scan_reverse(keyspace, range).collect().await,
        }
    }
}
