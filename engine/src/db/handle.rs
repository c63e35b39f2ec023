//! The store's handles: `Db` outside, `LocalDb` on a shard.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::{Runtime, ShardId, TaskClass};

use super::batch::WriteBatch;
use super::blocking::BlockingDb;
use super::open;
use super::port::{self, Local, Port, Remote};
use super::transaction::{Committed, Snapshot, Transaction, commit_blind};
use crate::error::{
    BeginError, CloseError, CommitError, KeyspaceError, OpenError, ReadError, TransactionError,
};
use crate::ids::Lsn;
use crate::keyspace::Keyspace;
use crate::limits;
use crate::metrics::Metrics;
use crate::mvcc::registry::SnapshotKind;
use crate::options::{Isolation, Options, Routing, RunOptions};
use crate::recovery::OpenReport;
use crate::shard::{CatalogChange, Request};

/// An open store, reached through `P`. Cheap to clone.
#[derive(Clone)]
pub struct DbHandle<P: Port> {
    pub(super) port: P,
}

/// An open store, for any thread and any async runtime. Dropping the last one closes the store
/// in the background; [`Db::close`] waits for that.
pub type Db = DbHandle<Remote>;

/// An open store on one of its shards: keys that live there are reached without a hop.
pub type LocalDb = DbHandle<Local>;

impl<P: Port> DbHandle<P> {
    /// Begins a serializable transaction on the newest visible state. Never waits.
    ///
    /// # Errors
    /// All slots in use, or the store stopped or closed.
    pub fn begin(&self) -> Result<Transaction<P>, BeginError> {
        self.begin_with(Isolation::Serializable)
    }

    /// As [`DbHandle::begin`], at the isolation level of the caller's choice.
    ///
    /// # Errors
    /// As [`DbHandle::begin`].
    pub fn begin_with(&self, isolation: Isolation) -> Result<Transaction<P>, BeginError> {
        let guard = self.port.shared().begin(SnapshotKind::ReadWrite)?;
        Ok(Transaction::new(self.port.clone(), guard, isolation))
    }

    /// A read-only view of the newest visible state. Never waits, never conflicts.
    ///
    /// # Errors
    /// As [`DbHandle::begin`].
    pub fn snapshot(&self) -> Result<Snapshot<P>, BeginError> {
        let guard = self.port.shared().begin(SnapshotKind::ReadOnly)?;
        // Without writes there is nothing to check.
        Ok(Snapshot::new(Transaction::new(self.port.clone(), guard, Isolation::Snapshot)))
    }

    /// Runs a serializable transaction: calls `f`, commits what it did, and does both again on a
    /// new snapshot after a conflict, with growing pauses, within the budget that
    /// `RunOptions::default()` gives.
    ///
    /// `f` may run several times: what it does outside the store it does each time.
    ///
    /// # Errors
    /// What `f` or the last commit said.
    pub async fn run<T, F, Fut>(&self, f: F) -> Result<T, TransactionError>
    where
        F: FnMut(Transaction<P>) -> Fut,
        Fut: Future<Output = Result<T, TransactionError>>,
    {
        self.run_with(RunOptions::default(), f).await
    }

    /// As [`DbHandle::run`], with the isolation level and the budget of the caller's choice.
    ///
    /// # Errors
    /// As [`DbHandle::run`].
    pub async fn run_with<T, F, Fut>(
        &self,
        options: RunOptions,
        f: F,
    ) -> Result<T, TransactionError>
    where
        F: FnMut(Transaction<P>) -> Fut,
        Fut: Future<Output = Result<T, TransactionError>>,
    {
        self.run_to_commit(options, f).await.map(|(value, _)| value)
    }

    async fn run_to_commit<T, F, Fut>(
        &self,
        options: RunOptions,
        mut f: F,
    ) -> Result<(T, Committed), TransactionError>
    where
        F: FnMut(Transaction<P>) -> Fut,
        Fut: Future<Output = Result<T, TransactionError>>,
    {
        let runtime = self.port.shared().runtime.clone();
        let begun = runtime.now();
        let (mut attempt, mut lock_age) = (0, None);
        loop {
            attempt += 1;
            let transaction = self.begin_with(options.isolation)?;
            transaction.state().lock_age = lock_age;
            let done = f(transaction.second()).await;
            lock_age = transaction.state().lock_age;
            let outcome = match done {
                Ok(value) => match transaction.commit().await {
                    Ok(committed) => Ok((value, committed)),
                    Err(error) => Err(error.into()),
                },
                Err(error) => {
                    // What it has locked is free while this pauses.
                    transaction.rollback();
                    Err(error)
                }
            };
            match outcome {
                Err(error)
                    if error.is_retryable()
                        && attempt < options.attempts_max
                        && runtime.now().saturating_since(begun) < options.time_max =>
                {
                    let doublings = attempt.min(limits::RUN_BACKOFF_DOUBLINGS_MAX);
                    let most = Duration::from_micros(limits::RUN_BACKOFF_US << doublings);
                    port::sleep_jittered(&self.port, most).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The newest visible value of `key`.
    ///
    /// # Errors
    /// As [`ReadError`].
    pub async fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        self.snapshot()?.get(keyspace, key).await
    }

    /// Writes one key durably, as a transaction of its own that never conflicts.
    ///
    /// # Errors
    /// As [`CommitError`].
    pub async fn put(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Lsn, CommitError> {
        commit_blind(&self.port, keyspace, key.as_ref(), Some(value.into())).await
    }

    /// Deletes one key durably, as a transaction of its own that never conflicts.
    ///
    /// # Errors
    /// As [`CommitError`].
    pub async fn delete(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Lsn, CommitError> {
        commit_blind(&self.port, keyspace, key.as_ref(), None).await
    }

    /// Commits a batch durably, all of it or nothing. It has read nothing, so it is tried again
    /// when another commit gets one of its keys first.
    ///
    /// # Errors
    /// What the last commit said, a conflict among them when `RunOptions::default()` is used up;
    /// or why no transaction began.
    pub async fn write(&self, batch: &WriteBatch) -> Result<Lsn, TransactionError> {
        let options = RunOptions { isolation: Isolation::Snapshot, ..RunOptions::default() };
        let committed = self.run_to_commit(options, |transaction| {
            let added = batch.writes.iter().try_for_each(|(keyspace, key, value)| match value {
                Some(value) => transaction.put(keyspace, key, value.clone()),
                None => transaction.delete(keyspace, key),
            });
            std::future::ready(added.map_err(TransactionError::from))
        });
        committed.await.map(|((), committed)| committed.lsn())
    }

    /// The keyspace of that name.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<Keyspace> {
        self.port.shared().router().by_name(name).cloned()
    }

    /// All keyspaces, in the order they were made.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<Keyspace> {
        self.port.shared().router().iter().cloned().collect()
    }

    /// The keyspace of that name with that routing; makes it when there is none, and then returns
    /// when it is durable.
    ///
    /// # Errors
    /// As [`KeyspaceError`]; `OtherRouting` when there is one that spreads its keys differently.
    pub async fn open_keyspace(
        &self,
        name: &str,
        routing: Routing,
    ) -> Result<Keyspace, KeyspaceError> {
        if self.keyspace(name).is_none() {
            match self.create_keyspace(name, routing.clone()).await {
                // Somebody else was first.
                Err(KeyspaceError::Exists { .. }) => {}
                made => return made,
            }
        }
        let name = name.to_owned();
        match self.keyspace(&name) {
            Some(found) if *found.routing() == routing => Ok(found),
            Some(found) => {
                let (expected, found) = (routing, found.routing().clone());
                Err(KeyspaceError::OtherRouting { name, expected, found })
            }
            None => Err(KeyspaceError::Dropped { name }),
        }
    }

    /// Makes a keyspace; returns when it is durable.
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub async fn create_keyspace(
        &self,
        name: &str,
        routing: Routing,
    ) -> Result<Keyspace, KeyspaceError> {
        let (expected, found) = (limits::KEYSPACE_NAME_BYTES_MAX, name.len());
        if !(1..=expected).contains(&found) {
            return Err(KeyspaceError::NameLength { expected, found });
        }
        routing.validate()?;
        self.change(CatalogChange::Create { name: name.to_owned(), routing }).await
    }

    /// Drops a keyspace with all its keys; returns when that is durable. Transactions that
    /// use it get `KeyspaceDropped`.
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub async fn drop_keyspace(&self, keyspace: &Keyspace) -> Result<(), KeyspaceError> {
        if let Some(name) = self.port.shared().foreign(keyspace) {
            return Err(KeyspaceError::ForeignKeyspace { name });
        }
        self.change(CatalogChange::Drop { keyspace: keyspace.clone() }).await.map(drop)
    }

    async fn change(&self, change: CatalogChange) -> Result<Keyspace, KeyspaceError> {
        if self.port.shared().report.read_only {
            return Err(KeyspaceError::Commit(CommitError::ReadOnly));
        }
        let (reply, answer) = oneshot::channel();
        let request = Request::Catalog { change, reply };
        let sent = self.port.send(ShardId::new(0), request).await;
        sent.map_err(|()| KeyspaceError::Commit(CommitError::Closed))?;
        let lost = |_| KeyspaceError::Commit(self.port.shared().commit_lost());
        answer.await.map_err(lost)?
    }

    /// The shard that owns `key`.
    #[must_use]
    pub fn shard_of(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> ShardId {
        let tablet = keyspace.place(key.as_ref()).tablet;
        self.port.shared().owner(keyspace, tablet)
    }

    /// How many shards the store runs on.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.port.shared().shard_count()
    }

    /// What the opening found, replayed and dropped.
    #[must_use]
    pub fn open_report(&self) -> OpenReport {
        self.port.shared().report.clone()
    }

    /// Why the store stopped, if it did.
    #[must_use]
    pub fn poison_reason(&self) -> Option<String> {
        self.port.shared().core.poison.reason().map(str::to_owned)
    }

    /// The store's counters, gauges and latencies.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.port.shared())
    }
}

impl Db {
    /// Opens the store in `dir`, or makes it. The directory's parent must exist.
    ///
    /// # Errors
    /// As [`OpenError`]; the store is unharmed and opens again.
    pub async fn open(
        runtime: &Runtime,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<Db, OpenError> {
        let handle = open::open(runtime, dir.as_ref(), options).await?;
        Ok(Db { port: Remote(Arc::new(handle)) })
    }

    /// The same store with methods that block the calling thread.
    #[must_use]
    pub fn blocking(&self) -> BlockingDb {
        BlockingDb::new(self.clone())
    }

    /// Runs code on a shard, with a handle for which that shard's keys need no hop. A panic in
    /// it stops the store.
    ///
    /// # Errors
    /// The store closed or stopped before the code had an answer.
    pub async fn on_shard<T, F, Fut>(&self, shard: ShardId, f: F) -> Result<T, BeginError>
    where
        F: FnOnce(LocalDb) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |state: &std::rc::Rc<crate::shard::ShardState>| {
            let local = LocalDb { port: Local(std::rc::Rc::clone(state)) };
            let spec = state.core.spec("code on a shard", TaskClass::Foreground);
            // A caller that went away does not want the answer.
            state.shard.spawn(spec, async move { drop(reply.send(f(local).await)) });
        });
        let stopped = || match self.poison_reason() {
            Some(reason) => BeginError::Poisoned { reason },
            None => BeginError::Closed,
        };
        let shared = self.port.0.shared();
        shared.send(shard, Request::Run(job)).await.map_err(|()| stopped())?;
        answer.await.map_err(|_| stopped())
    }

    /// As [`Db::on_shard`], on the shard that owns `key`.
    ///
    /// # Errors
    /// As [`Db::on_shard`].
    pub async fn on_shard_of<T, F, Fut>(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        f: F,
    ) -> Result<T, BeginError>
    where
        F: FnOnce(LocalDb) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        self.on_shard(self.shard_of(keyspace, key), f).await
    }

    /// Closes the store for all handles: refuses new work, settles the commits on their way,
    /// stamps the log, lets the next opener in. Unfinished reads get `Closed`.
    ///
    /// # Errors
    /// The store had stopped; what was acknowledged is there after reopening.
    pub async fn close(self) -> Result<(), CloseError> {
        open::close(Arc::clone(self.port.0.shared())).await
    }
}

impl LocalDb {
    /// The shard this handle lives on.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.port.0.id()
    }

    /// The runtime's handle of this shard: time, timers, tasks.
    #[must_use]
    pub fn runtime_shard(&self) -> sombra_runtime::Shard {
        self.port.0.shard.clone()
    }
}
