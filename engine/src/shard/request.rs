//! What other shards and outside threads ask of a shard.

use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::ShardState;
use crate::commit::{CommitMessage, CommitRequest, DependentRequest, LockRequest};
use crate::error::KeyspaceError;
use crate::ids::{Direction, Lsn, TabletId};
use crate::keyspace::Keyspace;
use crate::options::Routing;
use crate::tablet::{PageReadError, PointRead};
use crate::window::RangePage;

/// Why a shard did not answer a read.
#[derive(Debug)]
pub(crate) enum TabletReadError {
    /// The tablet is not there (any more): its keyspace was dropped.
    Gone,
    /// What the snapshot reads was given up.
    TooOld,
    Page(PageReadError),
}

impl From<PageReadError> for TabletReadError {
    fn from(error: PageReadError) -> TabletReadError {
        TabletReadError::Page(error)
    }
}

/// One page of a scan of one tablet.
#[derive(Debug)]
pub(crate) struct ScanPage {
    pub(crate) tablet: TabletId,
    pub(crate) from: Bound<Bytes>,
    pub(crate) to: Bound<Bytes>,
    pub(crate) direction: Direction,
    pub(crate) is_keys_only: bool,
    pub(crate) snapshot: Lsn,
}

/// A change of the set of keyspaces.
#[derive(Debug)]
pub(crate) enum CatalogChange {
    Create { name: String, routing: Routing },
    Drop { keyspace: Keyspace },
}

pub(crate) type CatalogReply = oneshot::Sender<Result<Keyspace, KeyspaceError>>;

/// Code that runs on a shard with its state.
pub(crate) type Job = Box<dyn FnOnce(&Rc<ShardState>) + Send>;

/// One request; the reply goes out on the request's own channel, never through a queue.
pub(crate) enum Request {
    Get {
        tablet: TabletId,
        key: Bytes,
        snapshot: Lsn,
        reply: oneshot::Sender<Result<PointRead, TabletReadError>>,
    },
    Scan {
        page: ScanPage,
        reply: oneshot::Sender<Result<RangePage, TabletReadError>>,
    },
    /// To the owner of the key.
    CommitDependent(DependentRequest),
    Commit(CommitRequest),
    Message(CommitMessage),
    Lock(LockRequest),
    Catalog {
        change: CatalogChange,
        reply: CatalogReply,
    },
    /// Makes (`true`) or removes the tablets of a keyspace that this shard owns.
    Tablets {
        keyspace: Keyspace,
        exist: bool,
        reply: oneshot::Sender<()>,
    },
    Run(Job),
    /// Answers when no commit is on its way here.
    Drain {
        reply: oneshot::Sender<()>,
    },
}
