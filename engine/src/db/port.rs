//! How a handle reaches a shard: through its mailbox from outside, through the mesh or not at
//! all on a shard.

#![allow(
    private_interfaces,
    reason = "the trait is sealed: its methods cannot be named outside this crate"
)]

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use sombra_runtime::{ShardId, TaskClass};

use crate::commit::CommitRequest;
use crate::error::{CommitError, ReadError};
use crate::ids::{Lsn, TabletId};
use crate::keyspace::Keyspace;
use crate::shard::{Request, ScanPage, ShardState, StoreShared, TabletReadError};
use crate::tablet::{Found, PointRead};
use crate::window::RangePage;

/// A way to the shards of an open store; [`Remote`] or [`Local`].
pub trait Port: Clone + Requests {}

impl Port for Remote {}
impl Port for Local {}

/// What a port carries. Not to be named outside this crate.
pub trait Requests {
    #[doc(hidden)]
    fn shared(&self) -> &Arc<StoreShared>;
    #[doc(hidden)]
    fn preferred(&self) -> Option<ShardId>;
    #[doc(hidden)]
    fn send(&self, to: ShardId, request: Request) -> impl Future<Output = Result<(), ()>>;
    #[doc(hidden)]
    fn get_here(&self, place: (ShardId, TabletId), key: &[u8], snapshot: Lsn) -> Option<Got>;
}

/// From any thread, in any async runtime.
#[derive(Clone)]
pub struct Remote(pub(super) Arc<super::open::StoreHandle>);

/// On a shard of the store.
#[derive(Clone)]
pub struct Local(pub(super) Rc<ShardState>);

impl Requests for Remote {
    fn shared(&self) -> &Arc<StoreShared> {
        self.0.shared()
    }

    fn preferred(&self) -> Option<ShardId> {
        None
    }

    async fn send(&self, to: ShardId, request: Request) -> Result<(), ()> {
        self.shared().send(to, request).await
    }

    fn get_here(&self, _place: (ShardId, TabletId), _key: &[u8], _snapshot: Lsn) -> Option<Got> {
        None
    }
}

impl Requests for Local {
    fn shared(&self) -> &Arc<StoreShared> {
        &self.0.shared
    }

    fn preferred(&self) -> Option<ShardId> {
        Some(self.0.id())
    }

    async fn send(&self, to: ShardId, request: Request) -> Result<(), ()> {
        if to == self.0.id() {
            self.0.take(request);
            return Ok(());
        }
        self.0.send(to, request).await
    }

    fn get_here(
        &self,
        (shard, tablet): (ShardId, TabletId),
        key: &[u8],
        snapshot: Lsn,
    ) -> Option<Got> {
        if shard != self.0.id() {
            return None;
        }
        match self.0.get(tablet, key, snapshot) {
            Ok(Found::Value(read)) => Some(Ok(read)),
            Ok(Found::TooOld) => Some(Err(TabletReadError::TooOld)),
            // The request waits for the page as a task of its own.
            Ok(Found::Pending(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

type Got = Result<PointRead, TabletReadError>;

/// A read of one key that has begun.
pub(super) enum Getting {
    Here(Got),
    There(oneshot::Receiver<Got>),
}

/// Begins to read one key at a snapshot that the caller keeps alive.
pub(super) async fn begin_get<P: Port>(
    port: &P,
    keyspace: &Keyspace,
    place: crate::keyspace::Place,
    snapshot: Lsn,
) -> Result<Getting, ReadError> {
    refuse_if_stopped(port)?;
    let shard = port.shared().owner(keyspace, place.tablet);
    if let Some(got) = port.get_here((shard, place.tablet), &place.window_key, snapshot) {
        return Ok(Getting::Here(got));
    }
    let (reply, answer) = oneshot::channel();
    let (tablet, key) = (place.tablet, place.window_key);
    let request = Request::Get { tablet, key, snapshot, reply };
    port.send(shard, request).await.map_err(|()| port.shared().read_refused())?;
    Ok(Getting::There(answer))
}

/// Waits for the value.
pub(super) async fn finish_get<P: Port>(
    port: &P,
    keyspace: &Keyspace,
    getting: Getting,
    snapshot: Lsn,
) -> Result<PointRead, ReadError> {
    let got = match getting {
        Getting::Here(got) => got,
        Getting::There(answer) => answer.await.map_err(|_| port.shared().read_refused())?,
    };
    got.map_err(|error| refused_read(error, keyspace, snapshot))
}

/// Reads one page of a scan at a snapshot that the caller keeps alive.
pub(super) async fn scan_page<P: Port>(
    port: &P,
    keyspace: &Keyspace,
    page: ScanPage,
) -> Result<RangePage, ReadError> {
    refuse_if_stopped(port)?;
    if let Some(name) = port.shared().foreign(keyspace) {
        return Err(ReadError::ForeignKeyspace { name });
    }
    let shard = port.shared().owner(keyspace, page.tablet);
    let (reply, answer) = oneshot::channel();
    let refused = || port.shared().read_refused();
    let snapshot = page.snapshot;
    port.send(shard, Request::Scan { page, reply }).await.map_err(|()| refused())?;
    let answer = answer.await.map_err(|_| refused())?;
    answer.map_err(|error| refused_read(error, keyspace, snapshot))
}

/// Sends a commit to its coordinator and waits for the answer, which `reply` brings.
pub(super) async fn commit<P: Port>(
    port: &P,
    request: CommitRequest,
    answer: oneshot::Receiver<Result<Lsn, CommitError>>,
) -> Result<Lsn, CommitError> {
    let to = request.parts[0].shard;
    send_commit(port, to, Request::Commit(request), answer).await
}

/// As [`commit`], of a request to the shard that takes it.
pub(super) async fn send_commit<P: Port>(
    port: &P,
    to: ShardId,
    request: Request,
    answer: oneshot::Receiver<Result<Lsn, CommitError>>,
) -> Result<Lsn, CommitError> {
    if port.shared().report.read_only {
        return Err(CommitError::ReadOnly);
    }
    // Not sent means that it never came near the log.
    port.send(to, request).await.map_err(|()| CommitError::Closed)?;
    match answer.await {
        Ok(outcome) => outcome,
        Err(_) => Err(port.shared().commit_lost()),
    }
}

fn refuse_if_stopped<P: Port>(port: &P) -> Result<(), ReadError> {
    match port.shared().core.poison.reason() {
        Some(reason) => Err(ReadError::Poisoned { reason: reason.to_owned() }),
        None => Ok(()),
    }
}

fn refused_read(error: TabletReadError, keyspace: &Keyspace, snapshot: Lsn) -> ReadError {
    match error {
        TabletReadError::Gone => ReadError::KeyspaceDropped { name: keyspace.name().to_owned() },
        TabletReadError::TooOld => ReadError::SnapshotTooOld { snapshot },
        TabletReadError::Page(error) => error.to_read_error(),
    }
}

/// Sleeps a random part of `most` on a shard's clock, so that retries do not march in step.
pub(super) async fn sleep_jittered<P: Port>(port: &P, most: Duration) {
    let (done, slept) = oneshot::channel();
    let job = Box::new(move |state: &Rc<ShardState>| {
        let on_shard = state.shard.clone();
        let spec = state.core.spec("retry back-off", TaskClass::Foreground);
        state.shard.spawn(spec, async move {
            let most_ns = (most.as_nanos() as u64).max(1);
            on_shard.sleep(Duration::from_nanos(on_shard.random_u64() % most_ns)).await;
            let _ = done.send(());
        });
    });
    let to = port.preferred().unwrap_or(ShardId::new(0));
    // A store that closed meanwhile answers the next attempt itself.
    let _ = port.send(to, Request::Run(job)).await;
    let _ = slept.await;
}
