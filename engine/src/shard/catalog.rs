//! Making and dropping keyspaces: a log record, then tablets, then the name.
//!
//! Runs on shard 0, one change at a time.

use std::rc::Rc;

use futures_channel::oneshot;
use sombra_runtime::sync::MailboxReceiver;
use sombra_runtime::{ShardId, TaskClass};

use super::request::CatalogReply;
use super::{CatalogChange, Request, ShardState};
use crate::error::{CommitError, KeyspaceError};
use crate::format::log_record::{CreateKeyspace, encode_create_keyspace, encode_drop_keyspace};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::limits;
use crate::options::{Durability, Routing};

/// A change that waits for its turn.
pub(crate) type CatalogRequest = (CatalogChange, CatalogReply);

/// Runs one change as its own task; the shared gate keeps changes in turn.
pub(super) fn submit(state: &Rc<ShardState>, change: CatalogChange, reply: CatalogReply) {
    let queued = state.shared.catalog.try_send((change, reply));
    if let Err((_, reply)) = queued {
        drop(reply.send(Err(KeyspaceError::TooMany { expected: limits::CATALOG_CHANGES_MAX })));
    }
}

/// Takes the changes, one after the other.
pub(super) fn start(state: &Rc<ShardState>, mut changes: MailboxReceiver<CatalogRequest>) {
    let on_shard = Rc::clone(state);
    state.spawn_service("keyspace changes", TaskClass::Foreground, async move {
        while let Some((change, reply)) = changes.recv().await {
            let outcome = match change {
                CatalogChange::Create { name, routing } => create(&on_shard, name, routing).await,
                CatalogChange::Drop { keyspace } => remove(&on_shard, keyspace).await,
            };
            // A client that went away does not want the answer.
            let _ = reply.send(outcome);
        }
    });
}

async fn create(
    state: &Rc<ShardState>,
    name: String,
    routing: Routing,
) -> Result<Keyspace, KeyspaceError> {
    let mut router = (*state.shared.router()).clone();
    if router.by_name(&name).is_some() {
        return Err(KeyspaceError::Exists { name });
    }
    if router.len() >= limits::KEYSPACES_MAX {
        return Err(KeyspaceError::TooMany { expected: limits::KEYSPACES_MAX });
    }
    let (wall_ms, id) = (state.shard.wall_clock_ms(), router.next_id());
    let mut record = Vec::new();
    let logged = CreateKeyspace { wall_ms, keyspace: id, name: &name, routing: routing.clone() };
    encode_create_keyspace(&mut record, &logged);
    let keyspace = Keyspace::new(KeyspaceDef { id, name, routing });
    log_change(state, &record, Some(&keyspace)).await?;
    router.insert(keyspace.clone());
    state.shared.replace_router(router);
    Ok(keyspace)
}

async fn remove(state: &Rc<ShardState>, keyspace: Keyspace) -> Result<Keyspace, KeyspaceError> {
    let mut router = (*state.shared.router()).clone();
    if router.get(keyspace.id()).is_none() {
        return Err(KeyspaceError::Dropped { name: keyspace.name().to_owned() });
    }
    let mut record = Vec::new();
    encode_drop_keyspace(&mut record, state.shard.wall_clock_ms(), keyspace.id());
    log_change(state, &record, None).await?;
    router.remove(keyspace.id());
    state.shared.replace_router(router);
    set_tablets(state, &keyspace, false).await?;
    Ok(keyspace)
}

/// Logs a change and returns when it is durable and visible. The change is open until the
/// tablets it makes exist on all shards.
async fn log_change(
    state: &Rc<ShardState>,
    record: &[u8],
    makes: Option<&Keyspace>,
) -> Result<(), CommitError> {
    let core = &state.core;
    let (charge, _) = core.charge_when_room(&[], record).await?;
    let (start, reserved) = core.reserve(charge, record, Durability::Sync);
    if let Some(keyspace) = makes {
        set_tablets(state, keyspace, true).await?;
    }
    core.mark_applied(start);
    core.after_reservation();
    core.wait_visible(reserved.lsn()).await
}

async fn set_tablets(
    state: &Rc<ShardState>,
    keyspace: &Keyspace,
    exist: bool,
) -> Result<(), CommitError> {
    for index in 0..state.shared.shard_count() {
        let (reply, done) = oneshot::channel();
        let request = Request::Tablets { keyspace: keyspace.clone(), exist, reply };
        let to = ShardId::new(index as u16);
        let sent = if to == state.id() {
            state.take(request);
            Ok(())
        } else {
            state.send(to, request).await
        };
        if sent.is_err() || done.await.is_err() {
            state.core.store.stop("a shard was lost while keyspaces changed");
            return Err(state.shared.commit_lost());
        }
    }
    Ok(())
}
