//! The same handles for plain threads: every method blocks its caller.

use std::future::Future;

use bytes::Bytes;
use sombra_runtime::Runtime;

use super::batch::WriteBatch;
use super::handle::Db;
use super::locking::LockOptions;
use super::savepoint::Savepoint;
use super::scan::{KeyScan, Scan};
use super::transaction::{Committed, Snapshot, Transaction};
use crate::error::{
    BeginError, CloseError, CommitError, KeyspaceError, LockError, ReadError, TransactionError,
    WriteError,
};
use crate::ids::Lsn;
use crate::keyspace::Keyspace;
use crate::metrics::Metrics;
use crate::options::{Durability, Isolation, Routing, RunOptions};
use crate::recovery::OpenReport;
use crate::scrub::ScrubReport;
use crate::txn::KeyRange;

/// An open store whose methods block the calling thread. Not for async code: there use [`Db`].
#[derive(Clone)]
pub struct BlockingDb {
    pub(crate) db: Db,
    pub(crate) runtime: Runtime,
}

impl BlockingDb {
    pub(super) fn new(db: Db) -> BlockingDb {
        let runtime = db.port.0.shared().runtime.clone();
        BlockingDb { db, runtime }
    }

    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// As [`Db::begin`](super::DbHandle::begin).
    ///
    /// # Errors
    /// As [`BeginError`].
    pub fn begin(&self) -> Result<BlockingTransaction, BeginError> {
        self.begin_with(Isolation::Serializable)
    }

    /// As [`Db::begin_with`](super::DbHandle::begin_with).
    ///
    /// # Errors
    /// As [`BeginError`].
    pub fn begin_with(&self, isolation: Isolation) -> Result<BlockingTransaction, BeginError> {
        let inner = self.db.begin_with(isolation)?;
        Ok(BlockingTransaction { inner, runtime: self.runtime.clone() })
    }

    /// As [`Db::run`](super::DbHandle::run).
    ///
    /// # Errors
    /// What `f` or the last commit said.
    pub fn run<T>(
        &self,
        f: impl FnMut(&BlockingTransaction) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        self.run_with(RunOptions::default(), f)
    }

    /// As [`Db::run_with`](super::DbHandle::run_with).
    ///
    /// # Errors
    /// What `f` or the last commit said.
    pub fn run_with<T>(
        &self,
        options: RunOptions,
        mut f: impl FnMut(&BlockingTransaction) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        self.wait(self.db.run_with(options, |inner| {
            // The closure blocks this thread, which is the one that waits anyway.
            let transaction = BlockingTransaction { inner, runtime: self.runtime.clone() };
            let outcome = f(&transaction);
            std::future::ready(outcome)
        }))
    }

    /// As [`Db::get`](super::DbHandle::get).
    ///
    /// # Errors
    /// As [`ReadError`].
    pub fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        self.wait(self.db.get(keyspace, key))
    }

    /// As [`Db::put`](super::DbHandle::put).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn put(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        self.wait(self.db.put(keyspace, key, value))
    }

    /// As [`Db::delete`](super::DbHandle::delete).
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn delete(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Lsn, CommitError> {
        self.wait(self.db.delete(keyspace, key))
    }

    /// As [`Db::scrub`](super::Db::scrub).
    ///
    /// # Errors
    /// As [`Db::scrub`](super::Db::scrub).
    pub fn scrub(&self) -> Result<ScrubReport, ReadError> {
        self.wait(self.db.scrub())
    }

    /// As [`Db::scrub_report`](super::DbHandle::scrub_report).
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        self.db.scrub_report()
    }

    /// As [`Db::write`](super::DbHandle::write).
    ///
    /// # Errors
    /// As [`TransactionError`].
    pub fn write(&self, batch: &WriteBatch) -> Result<Lsn, TransactionError> {
        self.wait(self.db.write(batch))
    }

    /// As [`Db::snapshot`](super::DbHandle::snapshot).
    ///
    /// # Errors
    /// As [`BeginError`].
    pub fn snapshot(&self) -> Result<BlockingSnapshot, BeginError> {
        let inner = self.db.snapshot()?;
        Ok(BlockingSnapshot { inner, runtime: self.runtime.clone() })
    }

    /// As [`Db::keyspace`](super::DbHandle::keyspace).
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<Keyspace> {
        self.db.keyspace(name)
    }

    /// As [`Db::keyspaces`](super::DbHandle::keyspaces).
    #[must_use]
    pub fn keyspaces(&self) -> Vec<Keyspace> {
        self.db.keyspaces()
    }

    /// As [`Db::open_report`](super::DbHandle::open_report).
    #[must_use]
    pub fn open_report(&self) -> OpenReport {
        self.db.open_report()
    }

    /// As [`Db::poison_reason`](super::DbHandle::poison_reason).
    #[must_use]
    pub fn poison_reason(&self) -> Option<String> {
        self.db.poison_reason()
    }

    /// As [`Db::metrics`](super::DbHandle::metrics).
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.db.metrics()
    }

    /// As [`Db::open_keyspace`](super::DbHandle::open_keyspace).
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub fn open_keyspace(&self, name: &str, routing: Routing) -> Result<Keyspace, KeyspaceError> {
        self.wait(self.db.open_keyspace(name, routing))
    }

    /// As [`Db::create_keyspace`](super::DbHandle::create_keyspace).
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub fn create_keyspace(&self, name: &str, routing: Routing) -> Result<Keyspace, KeyspaceError> {
        self.wait(self.db.create_keyspace(name, routing))
    }

    /// As [`Db::drop_keyspace`](super::DbHandle::drop_keyspace).
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub fn drop_keyspace(&self, keyspace: &Keyspace) -> Result<(), KeyspaceError> {
        self.wait(self.db.drop_keyspace(keyspace))
    }

    /// As [`Db::close`].
    ///
    /// # Errors
    /// As [`CloseError`].
    pub fn close(self) -> Result<(), CloseError> {
        let BlockingDb { db, runtime } = self;
        runtime.block_on(db.close())
    }
}

/// A transaction whose methods block the calling thread.
pub struct BlockingTransaction {
    pub(crate) inner: Transaction,
    pub(crate) runtime: Runtime,
}

impl BlockingTransaction {
    /// As [`Transaction::get`].
    ///
    /// # Errors
    /// As [`ReadError`].
    pub fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        self.runtime.block_on(self.inner.get(keyspace, key))
    }

    /// As [`Transaction::multi_get`].
    ///
    /// # Errors
    /// As [`ReadError`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.runtime.block_on(self.inner.multi_get(keyspace, keys))
    }

    /// As [`Transaction::lock`].
    ///
    /// # Errors
    /// As [`LockError`].
    pub fn lock(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        options: LockOptions,
    ) -> Result<(), LockError> {
        self.runtime.block_on(self.inner.lock(keyspace, key, options))
    }

    /// As [`Transaction::get_for_update`].
    ///
    /// # Errors
    /// As [`LockError`].
    pub fn get_for_update(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, LockError> {
        self.runtime.block_on(self.inner.get_for_update(keyspace, key))
    }

    /// As [`Transaction::put`].
    ///
    /// # Errors
    /// As [`WriteError`].
    pub fn put(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<(), WriteError> {
        self.inner.put(keyspace, key, value)
    }

    /// As [`Transaction::delete`].
    ///
    /// # Errors
    /// As [`WriteError`].
    pub fn delete(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<(), WriteError> {
        self.inner.delete(keyspace, key)
    }

    /// As [`Transaction::savepoint`].
    ///
    /// # Errors
    /// As [`Transaction::savepoint`].
    pub fn savepoint(&self) -> Result<Savepoint, WriteError> {
        self.inner.savepoint()
    }

    /// As [`Transaction::rollback_to`].
    ///
    /// # Errors
    /// As [`Transaction::rollback_to`].
    pub fn rollback_to(&self, savepoint: &Savepoint) -> Result<(), WriteError> {
        self.inner.rollback_to(savepoint)
    }

    /// As [`Transaction::durability`].
    pub fn durability(&self, durability: Durability) {
        self.inner.durability(durability);
    }

    /// The rows of a range, page by page.
    #[must_use]
    pub fn scan(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> BlockingScan {
        let inner = self.inner.scan(keyspace, range);
        BlockingScan { inner, runtime: self.runtime.clone() }
    }

    /// The rows of a range from its end to its beginning, page by page.
    #[must_use]
    pub fn scan_reverse(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> BlockingScan {
        let inner = self.inner.scan_reverse(keyspace, range);
        BlockingScan { inner, runtime: self.runtime.clone() }
    }

    /// As [`Transaction::snapshot_lsn`].
    #[must_use]
    pub fn snapshot_lsn(&self) -> Lsn {
        self.inner.snapshot_lsn()
    }

    /// As [`Transaction::commit`].
    ///
    /// # Errors
    /// As [`CommitError`].
    pub fn commit(self) -> Result<Committed, CommitError> {
        let BlockingTransaction { inner, runtime } = self;
        runtime.block_on(inner.commit())
    }

    /// As [`Transaction::rollback`].
    pub fn rollback(self) {
        self.inner.rollback();
    }
}

/// A read-only view of one moment whose methods block the calling thread.
pub struct BlockingSnapshot {
    pub(crate) inner: Snapshot,
    pub(crate) runtime: Runtime,
}

impl BlockingSnapshot {
    /// As [`Snapshot::lsn`].
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.inner.lsn()
    }

    /// As [`Snapshot::get`].
    ///
    /// # Errors
    /// As [`ReadError`].
    pub fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        self.runtime.block_on(self.inner.get(keyspace, key))
    }

    /// As [`Snapshot::multi_get`].
    ///
    /// # Errors
    /// As [`ReadError`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.runtime.block_on(self.inner.multi_get(keyspace, keys))
    }

    /// As [`BlockingTransaction::scan`].
    #[must_use]
    pub fn scan(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> BlockingScan {
        let inner = self.inner.scan(keyspace, range);
        BlockingScan { inner, runtime: self.runtime.clone() }
    }

    /// As [`BlockingTransaction::scan_reverse`].
    #[must_use]
    pub fn scan_reverse(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> BlockingScan {
        let inner = self.inner.scan_reverse(keyspace, range);
        BlockingScan { inner, runtime: self.runtime.clone() }
    }
}

/// The rows of a range; an iterator that blocks for each page.
pub struct BlockingScan {
    inner: Scan,
    runtime: Runtime,
}

impl BlockingScan {
    /// As [`Scan::after`].
    #[must_use]
    pub fn after(self, key: impl AsRef<[u8]>) -> BlockingScan {
        BlockingScan { inner: self.inner.after(key), runtime: self.runtime }
    }

    /// As [`Scan::keys`].
    #[must_use]
    pub fn keys(self) -> BlockingKeyScan {
        BlockingKeyScan { inner: self.inner.keys(), runtime: self.runtime }
    }
}

/// The keys of a range; an iterator that blocks for each page.
pub struct BlockingKeyScan {
    inner: KeyScan,
    runtime: Runtime,
}

impl Iterator for BlockingKeyScan {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.inner.next()).transpose()
    }
}

impl Iterator for BlockingScan {
    type Item = Result<(Bytes, Bytes), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.inner.next()).transpose()
    }
}
