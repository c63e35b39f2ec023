//! The two places where a client can stand, behind one vocabulary.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sombra::{
    Db, DbHandle, Isolation, Keyspace, Local, LocalDb, Lsn, Port, Remote, TransactionError,
};
use sombra_runtime::{Moment, Runtime, Shard};

use crate::limits::{BACK_OFF_US_MAX, BACK_OFF_US_MIN};
use crate::measure::later;
use crate::random::Random;

/// Where a client stands: it reads, writes, knows the time, and can wait.
///
/// Used within this crate only and never as an object, so that its futures need no bounds.
pub(crate) trait Site {
    type Port: Port;
    /// The store as it is reached from here, for transactions of the client's own.
    fn handle(&self) -> &DbHandle<Self::Port>;
    fn keyspace(&self) -> &Keyspace;
    fn now(&self) -> Moment;
    async fn wait_until(&self, moment: Moment);
    /// Lets neighbours run, where a client that never waits would hold them up.
    async fn breathe(&self);
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TransactionError>;
    async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<Lsn, TransactionError>;
    /// The first rows from a key on, in key order.
    async fn scan(&self, from: &[u8], rows_max: usize) -> Result<Rows, TransactionError>;
    /// Reads a key and replaces its value in one transaction.
    async fn replace(&self, key: &[u8], value: Vec<u8>) -> Result<Replaced, TransactionError>;
}

/// Waits before another attempt, longer each time: until the winner's write is visible, every
/// attempt would lose to it again.
pub(crate) async fn back_off(site: &impl Site, random: &mut Random, attempt: u32) {
    let ceiling = (BACK_OFF_US_MIN << attempt.min(16)).min(BACK_OFF_US_MAX);
    let pause = Duration::from_micros(ceiling / 2 + random.below(ceiling / 2));
    site.wait_until(later(site.now(), pause)).await;
}

/// Rows in the order of their keys.
pub(crate) type Rows = Vec<(Bytes, Bytes)>;

/// Reads the first rows from a key on, on a snapshot of its own.
async fn scan_from<P: Port>(
    db: &DbHandle<P>,
    keyspace: &Keyspace,
    (from, rows_max): (&[u8], usize),
) -> Result<Rows, TransactionError> {
    let mut scan = db.snapshot()?.scan(keyspace, from.to_vec()..);
    let mut rows = Vec::with_capacity(rows_max);
    while rows.len() < rows_max {
        let Some(row) = scan.next().await? else { break };
        rows.push(row);
    }
    Ok(rows)
}

/// What a read-modify-write read, and where it was committed.
pub(crate) struct Replaced {
    pub(crate) before: Option<Bytes>,
    pub(crate) lsn: Lsn,
}

/// A task on a shard.
pub(crate) struct ShardSite {
    pub(crate) local: LocalDb,
    pub(crate) shard: Shard,
    pub(crate) keyspace: Keyspace,
}

impl Site for ShardSite {
    type Port = Local;

    fn handle(&self) -> &DbHandle<Local> {
        &self.local
    }

    fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    fn now(&self) -> Moment {
        self.shard.now()
    }

    async fn wait_until(&self, moment: Moment) {
        self.shard.sleep_until(moment).await;
    }

    async fn breathe(&self) {
        self.shard.yield_now().await;
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TransactionError> {
        Ok(self.local.get(&self.keyspace, key).await?)
    }

    async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<Lsn, TransactionError> {
        Ok(self.local.put(&self.keyspace, key, value).await?)
    }

    async fn scan(&self, from: &[u8], rows_max: usize) -> Result<Rows, TransactionError> {
        scan_from(&self.local, &self.keyspace, (from, rows_max)).await
    }

    async fn replace(&self, key: &[u8], value: Vec<u8>) -> Result<Replaced, TransactionError> {
        let transaction = self.local.begin_with(Isolation::Snapshot)?;
        let before = transaction.get(&self.keyspace, key).await?;
        transaction.put(&self.keyspace, key, value)?;
        let lsn = transaction.commit().await?.lsn();
        Ok(Replaced { before, lsn })
    }
}

/// A plain thread with the public handle.
pub(crate) struct HandleSite {
    pub(crate) db: Db,
    pub(crate) runtime: Runtime,
    pub(crate) keyspace: Keyspace,
}

impl Site for HandleSite {
    type Port = Remote;

    fn handle(&self) -> &DbHandle<Remote> {
        &self.db
    }

    fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    fn now(&self) -> Moment {
        self.runtime.now()
    }

    /// Sleeps the client's own thread: nothing else runs there.
    async fn wait_until(&self, moment: Moment) {
        thread::sleep(moment.saturating_since(self.runtime.now()));
    }

    async fn breathe(&self) {}

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TransactionError> {
        Ok(self.db.get(&self.keyspace, key).await?)
    }

    async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<Lsn, TransactionError> {
        Ok(self.db.put(&self.keyspace, key, value).await?)
    }

    async fn scan(&self, from: &[u8], rows_max: usize) -> Result<Rows, TransactionError> {
        scan_from(&self.db, &self.keyspace, (from, rows_max)).await
    }

    async fn replace(&self, key: &[u8], value: Vec<u8>) -> Result<Replaced, TransactionError> {
        let transaction = self.db.begin_with(Isolation::Snapshot)?;
        let before = transaction.get(&self.keyspace, key).await?;
        transaction.put(&self.keyspace, key, value)?;
        let lsn = transaction.commit().await?.lsn();
        Ok(Replaced { before, lsn })
    }
}
