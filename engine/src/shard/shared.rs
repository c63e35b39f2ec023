//! What every handle of an open store shares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sombra_runtime::sync::{EpochCell, MailboxSender};
use sombra_runtime::{FileLock, Moment, Runtime, ShardId};

use super::Request;
use super::catalog::CatalogRequest;
use crate::commit::StoreCore;
use crate::error::{BeginError, CommitError, ConflictReason, ReadError};
use crate::ids::{KeyspaceId, TabletId};
use crate::keyspace::{Keyspace, Router};
use crate::limits;
use crate::merge::PublishRequest;
use crate::mvcc::registry::{SnapshotGuard, SnapshotKind};
use crate::recovery::OpenReport;
use crate::scrub::ScrubState;
use crate::txn::MergeOperator;

type Operators = BTreeMap<(KeyspaceId, String), Arc<dyn MergeOperator>>;

/// An open store as all its handles see it.
pub(crate) struct StoreShared {
    pub(crate) runtime: Runtime,
    pub(crate) core: Arc<StoreCore>,
    pub(crate) dir: PathBuf,
    pub(crate) report: OpenReport,
    pub(crate) scrubbed: ScrubState,
    /// Merge operators by keyspace and name.
    operators: Mutex<Operators>,
    router: EpochCell<Router>,
    mailboxes: Box<[MailboxSender<Request>]>,
    /// Changes of the set of keyspaces, taken one by one on shard 0.
    pub(super) catalog: MailboxSender<CatalogRequest>,
    pub(super) publisher: MailboxSender<PublishRequest>,
    /// Given back when everything else has stopped.
    lock: Mutex<Option<FileLock>>,
}

/// What [`StoreShared`] is made of.
pub(crate) struct StoreParts {
    pub(crate) runtime: Runtime,
    pub(crate) core: Arc<StoreCore>,
    pub(crate) dir: PathBuf,
    pub(crate) report: OpenReport,
    pub(crate) router: Router,
    pub(crate) mailboxes: Vec<MailboxSender<Request>>,
    pub(crate) catalog: MailboxSender<CatalogRequest>,
    pub(crate) publisher: MailboxSender<PublishRequest>,
    pub(crate) lock: FileLock,
}

impl StoreShared {
    pub(crate) fn new(parts: StoreParts) -> StoreShared {
        let (store, opening) = (parts.report.store_id, parts.report.incarnation);
        StoreShared {
            runtime: parts.runtime,
            core: parts.core,
            dir: parts.dir,
            report: parts.report,
            scrubbed: ScrubState::default(),
            operators: Mutex::default(),
            router: EpochCell::new(Arc::new(parts.router.at_opening(store, opening))),
            mailboxes: parts.mailboxes.into(),
            catalog: parts.catalog,
            publisher: parts.publisher,
            lock: Mutex::new(Some(parts.lock)),
        }
    }

    pub(crate) fn register(
        &self,
        keyspace: &Keyspace,
        name: &str,
        operator: Arc<dyn MergeOperator>,
    ) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.insert((keyspace.id(), name.to_owned()), operator);
    }

    pub(crate) fn operator(
        &self,
        keyspace: &Keyspace,
        name: &str,
    ) -> Option<Arc<dyn MergeOperator>> {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.get(&(keyspace.id(), name.to_owned())).cloned()
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.mailboxes.len()
    }

    pub(crate) fn router(&self) -> Arc<Router> {
        self.router.load()
    }

    pub(crate) fn replace_router(&self, router: Router) {
        self.router.replace(Arc::new(router));
    }

    pub(crate) fn owner(&self, keyspace: &Keyspace, tablet: TabletId) -> ShardId {
        let shard_count = self.shard_count();
        if keyspace.opening() == self.report.incarnation {
            return keyspace.owner(tablet, shard_count);
        }
        // A handle of another opening knows the tablets, not where they lie now.
        let router = self.router();
        router.get(keyspace.id()).unwrap_or(keyspace).owner(tablet, shard_count)
    }

    /// Sends a request from outside; waits for room on the way.
    pub(crate) async fn send(&self, to: ShardId, request: Request) -> Result<(), ()> {
        self.mailboxes[to.index()].send(request).await.map_err(drop)
    }

    /// Begins a snapshot at the newest visible state. Never waits.
    pub(crate) fn begin(&self, kind: SnapshotKind) -> Result<SnapshotGuard, BeginError> {
        if let Some(reason) = self.core.poison.reason() {
            return Err(BeginError::Poisoned { reason: reason.to_owned() });
        }
        if self.core.is_closing() {
            return Err(BeginError::Closed);
        }
        let now: Moment = self.runtime.now();
        let expected = limits::SNAPSHOTS_MAX;
        let visible = || self.core.oracle.visible();
        let guard = self.core.registry.acquire(visible, now.as_nanos(), kind);
        if kind == SnapshotKind::ReadWrite {
            // Its keys are remembered while it lives: somebody has to look at its age.
            self.core.tick_wanted.raise();
        }
        guard.ok_or(BeginError::TooManySnapshots { expected })
    }

    pub(crate) fn publisher(&self) -> MailboxSender<PublishRequest> {
        self.publisher.clone()
    }

    /// Lets the root table follow the set of keyspaces, and the log let go of its records.
    pub(crate) fn want_catalog(&self) {
        // A full queue is served soon, and the next tick asks again.
        let _ = self.publisher.try_send(PublishRequest::Catalog);
    }

    /// Why a read got no answer.
    pub(crate) fn read_refused(&self) -> ReadError {
        match self.core.poison.reason() {
            Some(reason) => ReadError::Poisoned { reason: reason.to_owned() },
            None => ReadError::Closed,
        }
    }

    /// Why a commit that was on its way got no answer.
    pub(crate) fn commit_lost(&self) -> CommitError {
        let reason = self.core.poison.reason().unwrap_or("the store was closed meanwhile");
        CommitError::Unknown { reason: reason.to_owned() }
    }

    /// The error of a commit whose read of a key is known to be out of date, counted where the
    /// key lives.
    pub(crate) fn refuse_overwritten(&self, keyspace: &Keyspace, window_key: &[u8]) -> CommitError {
        let key = window_key.get(keyspace.key_offset()..).unwrap_or_default().to_vec();
        let shard = self.owner(keyspace, keyspace.place(&key).tablet);
        let reason = ConflictReason::ReadChanged;
        self.core.counters[shard.index()].count_conflict(reason);
        CommitError::Conflict { keyspace: keyspace.name().to_owned(), key, reason }
    }

    /// The name of a keyspace that is another store's: its numbers mean something else here.
    pub(crate) fn foreign(&self, keyspace: &Keyspace) -> Option<String> {
        (keyspace.store() != self.report.store_id).then(|| keyspace.name().to_owned())
    }

    /// Replaces the number in an error by the keyspace's name and the window's key by the
    /// caller's.
    pub(crate) fn with_name(&self, error: CommitError, used: &[Keyspace]) -> CommitError {
        let find =
            |id: &str| used.iter().find(|keyspace| format!("#{}", keyspace.id().as_u32()) == id);
        let named = |id: String| find(&id).map_or(id, |keyspace| keyspace.name().to_owned());
        match error {
            CommitError::Conflict { keyspace: id, key, reason } => match find(&id) {
                Some(keyspace) => {
                    let key = key.get(keyspace.key_offset()..).unwrap_or_default().to_vec();
                    let keyspace = keyspace.name().to_owned();
                    CommitError::Conflict { keyspace, key, reason }
                }
                None => CommitError::Conflict { keyspace: id, key, reason },
            },
            CommitError::ConditionFailed { keyspace, key } => {
                CommitError::ConditionFailed { keyspace: named(keyspace), key }
            }
            CommitError::VersionTooOld { keyspace, key } => {
                CommitError::VersionTooOld { keyspace: named(keyspace), key }
            }
            CommitError::MergeRefused { keyspace, key, reason } => {
                CommitError::MergeRefused { keyspace: named(keyspace), key, reason }
            }
            CommitError::KeyspaceDropped { name } => {
                CommitError::KeyspaceDropped { name: named(name) }
            }
            other => other,
        }
    }

    /// Lets the next opener in.
    pub(crate) fn release_lock(&self) {
        self.core.volume.release_device();
        if let Ok(mut lock) = self.lock.lock() {
            drop(lock.take());
        }
    }
}
