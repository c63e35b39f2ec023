//! Locks that a transaction takes before its commit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::port::Port;
use super::transaction::Transaction;
use crate::commit::{HeldLocks, LockRefused, LockRequest, LockWait};
use crate::error::{ConflictReason, DeadlockStep, LockError, ReadError};
use crate::keyspace::Keyspace;
use crate::limits;
use crate::lock::{LockMode, LockOwner, Place};
use crate::mvcc::registry::SnapshotKind;
use crate::shard::{Request, StoreShared};

/// How [`Transaction::lock`] locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockOptions {
    pub mode: LockMode,
    pub wait: LockWait,
}

impl Default for LockOptions {
    /// Exclusive; waits for at most `limits::LOCK_WAIT_DEFAULT_MS`.
    fn default() -> LockOptions {
        LockOptions {
            mode: LockMode::Exclusive,
            wait: LockWait::AtMost(Duration::from_millis(limits::LOCK_WAIT_DEFAULT_MS)),
        }
    }
}

impl<P: Port> Transaction<P> {
    /// Locks a key, there or not, until the transaction ends. Locks of one key are granted in the
    /// order in which they were asked for, but that a holder who wants more of its key goes
    /// first; shared ones beside each other. While a key is locked nobody else's commit writes
    /// it: those of transactions conflict, single writes wait.
    ///
    /// A transaction that has read nothing yet reads, from the grant on, all that was committed
    /// before it, and has no snapshot's slot while it waits. One that has read conflicts when the
    /// key was written since its snapshot.
    ///
    /// Dropping the future gives the request up.
    ///
    /// # Errors
    /// As [`LockError`]. After `Deadlock` the transaction has ended; after `Conflict` its commit
    /// would conflict too; otherwise it may go on without the lock.
    pub async fn lock(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        options: LockOptions,
    ) -> Result<(), LockError> {
        let key = key.as_ref();
        let (request, answer) = self.lock_request(keyspace, key, options)?;
        let shared = self.port.shared();
        let shard = shared.owner(keyspace, request.tablet);
        let refused = || LockError::from(shared.read_refused());
        self.port.send(shard, Request::Lock(request)).await.map_err(|()| refused())?;
        self.state().lend_slot();
        let answer = answer.await;
        self.state().take_slot(shared).map_err(ReadError::from)?;
        let refusal = match answer.map_err(|_| refused())? {
            Ok(granted) => return self.granted(keyspace, key, granted.newest),
            Err(refusal) => refusal,
        };
        let (name, key) = (keyspace.name().to_owned(), key.to_vec());
        Err(match refusal {
            LockRefused::Busy => LockError::Busy { keyspace: name, key },
            LockRefused::TimedOut => LockError::TimedOut { keyspace: name, key },
            LockRefused::Full => {
                LockError::TooManyLocks { expected: limits::LOCKS_PER_SHARD_MAX as u64 }
            }
            LockRefused::Gone => ReadError::KeyspaceDropped { name }.into(),
            LockRefused::Stopped => refused(),
            LockRefused::Deadlock(cycle) => {
                self.end();
                let steps = cycle.into_iter().map(|step| deadlock_step(shared, step));
                LockError::Deadlock { cycle: steps.collect() }
            }
        })
    }

    /// Locks a key for this transaction alone and reads it.
    ///
    /// # Errors
    /// As [`Transaction::lock`] with `LockOptions::default()`.
    pub async fn get_for_update(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, LockError> {
        let key = key.as_ref();
        self.lock(keyspace, key, LockOptions::default()).await?;
        Ok(self.get(keyspace, key).await?)
    }

    fn lock_request(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        LockOptions { mode, wait }: LockOptions,
    ) -> Result<(LockRequest, oneshot::Receiver<crate::commit::LockAnswer>), LockError> {
        let place = self.place_of(keyspace, key)?;
        let shared = self.port.shared();
        if shared.report.read_only {
            return Err(LockError::ReadOnly);
        }
        let mut state = self.state();
        if !state.is_active() {
            return Err(ReadError::Ended.into());
        }
        let age = state.lock_age;
        let new = || HeldLocks::new(Arc::clone(&shared.core), age);
        let held = Arc::clone(state.locks.get_or_insert_with(new));
        state.lock_age = Some(held.owner().age());
        let expected = limits::LOCKS_PER_TRANSACTION_MAX;
        if held.note_asked(shared.owner(keyspace, place.tablet)) >= expected {
            return Err(LockError::TooManyLocks { expected });
        }
        let snapshot = state.has_read.then_some(state.snapshot);
        let (reply, answer) = oneshot::channel();
        let (tablet, window_key) = (place.tablet, place.window_key);
        Ok((LockRequest { held, tablet, window_key, mode, wait, snapshot, reply }, answer))
    }

    fn granted(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        newest: Option<crate::ids::Lsn>,
    ) -> Result<(), LockError> {
        let shared = self.port.shared();
        let mut state = self.state();
        if !state.is_active() {
            return Err(ReadError::Ended.into());
        }
        let Some(newest) = newest.filter(|newest| *newest > state.snapshot) else { return Ok(()) };
        if !state.has_read {
            let guard = shared.begin(SnapshotKind::ReadWrite).map_err(ReadError::from)?;
            assert!(guard.lsn() >= newest, "INV-4b: {newest} was visible when it was told of");
            state.renew(guard);
            return Ok(());
        }
        let shard = shared.owner(keyspace, keyspace.place(key).tablet);
        let reason = ConflictReason::NewerVersion;
        shared.core.counters[shard.index()].count_conflict(reason);
        let (keyspace, key) = (keyspace.name().to_owned(), key.to_vec());
        Err(LockError::Conflict { keyspace, key, reason })
    }
}

/// One of a deadlock, by the names that callers use.
fn deadlock_step(shared: &StoreShared, (owner, (tablet, key)): (LockOwner, Place)) -> DeadlockStep {
    let router = shared.router();
    let keyspace = router.get(tablet.keyspace);
    let offset = keyspace.map_or(0, Keyspace::key_offset);
    DeadlockStep {
        transaction: owner.as_u64(),
        keyspace: keyspace.map_or_else(String::new, |keyspace| keyspace.name().to_owned()),
        key: key.get(offset..).unwrap_or_default().to_vec(),
    }
}
