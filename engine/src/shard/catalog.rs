//! Making and dropping keyspaces: a log record, then tablets, then the name.
//!
//! Runs on shard 0, one change at a time.

use std::rc::Rc;

use futures_channel::oneshot;
use sombra_runtime::sync::MailboxReceiver;
use sombra_runtime::{ShardId, TaskClass};

use super::request::CatalogReply;
use super::{CatalogChange, Job, Request, ShardState};
use crate::error::{CommitError, KeyspaceError};
use crate::format::log_record::{CreateKeyspace, encode_create_keyspace, encode_drop_keyspace};
use crate::format::root_table::{CatalogRow, RootRow};
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::keyspace::{Keyspace, KeyspaceDef, Router};
use crate::limits;
use crate::merge::{Catalog, missing_rows};
use crate::mvcc::states::Reserved;
use crate::options::{Durability, Routing};
use crate::volume::SlotGeneration;

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
            on_shard.catalog_is_busy.set(false);
            on_shard.shared.want_catalog();
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
    refuse_if_table_full(state, &router, (id, &name, &routing))?;
    let mut record = Vec::new();
    let logged = CreateKeyspace { wall_ms, keyspace: id, name: &name, routing: routing.clone() };
    encode_create_keyspace(&mut record, &logged);
    let reserved = reserve(state, &record).await?;
    let created_lsn = reserved.1.lsn();
    let keyspace = Keyspace::new(KeyspaceDef { id, name, routing, created_lsn });
    let report = &state.shared.report;
    let keyspace = keyspace.at_opening(report.store_id, report.incarnation);
    set_tablets(state, &keyspace, true).await?;
    settle(state, reserved).await?;
    router.insert(keyspace.clone());
    state.shared.replace_router(router);
    Ok(keyspace)
}

/// Every keyspace must find room in the root table, or the log could never let go of it.
fn refuse_if_table_full(
    state: &ShardState,
    router: &Router,
    (id, name, routing): (KeyspaceId, &str, &Routing),
) -> Result<(), KeyspaceError> {
    let (name, routing) = (name.to_owned(), routing.clone());
    let created_lsn = state.core.store.oracle.visible();
    let new = Keyspace::new(KeyspaceDef { id, name, routing, created_lsn });
    let roots = &state.core.store.roots;
    let mut rows = missing_rows(roots, router.iter().chain([&new]));
    // The catalog's own row, which the first publication adds.
    let catalog = RootRow::Catalog(CatalogRow { last_keyspace: id, catalog_lsn: created_lsn });
    if roots.row(catalog.key()).is_none() {
        rows.push(catalog);
    }
    match roots.has_room_for(&rows) {
        true => Ok(()),
        false => Err(KeyspaceError::TableFull { tablets: new.tablet_count() }),
    }
}

async fn remove(state: &Rc<ShardState>, keyspace: Keyspace) -> Result<Keyspace, KeyspaceError> {
    let mut router = (*state.shared.router()).clone();
    // The router's own: the caller's handle may know another opening's placement.
    let Some(keyspace) = router.get(keyspace.id()).cloned() else {
        return Err(KeyspaceError::Dropped { name: keyspace.name().to_owned() });
    };
    let mut record = Vec::new();
    encode_drop_keyspace(&mut record, state.shard.wall_clock_ms(), keyspace.id());
    let reserved = reserve(state, &record).await?;
    settle(state, reserved).await?;
    router.remove(keyspace.id());
    state.shared.replace_router(router);
    set_tablets(state, &keyspace, false).await?;
    Ok(keyspace)
}

/// Logs a change, which is open from here on until [`settle`]. While it waits for room in the
/// log the catalog is settled: that the root table follows may be what makes the room.
async fn reserve(state: &Rc<ShardState>, record: &[u8]) -> Result<(u64, Reserved), CommitError> {
    let (charge, _) = state.core.charge_when_room(&[], record).await?;
    state.catalog_is_busy.set(true);
    Ok(state.core.reserve(charge, record, Durability::Sync))
}

/// Closes a change whose tablets exist on all shards; returns when it is durable and visible.
async fn settle(
    state: &Rc<ShardState>,
    (start, reserved): (u64, Reserved),
) -> Result<(), CommitError> {
    state.core.mark_applied(start);
    state.core.after_reservation();
    state.core.wait_visible(reserved.lsn()).await
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

/// The keyspaces as the publisher on this shard sees them.
pub(super) struct ShardCatalog(pub(super) Rc<ShardState>);

impl Catalog for ShardCatalog {
    fn keyspaces(&self) -> Vec<Keyspace> {
        self.0.shared.router().iter().cloned().collect()
    }

    fn last_id(&self) -> KeyspaceId {
        self.0.shared.router().last_id()
    }

    fn settled(&self) -> Option<Lsn> {
        let store = &self.0.core.store;
        let visible = store.oracle.visible();
        let is_settled = !self.0.catalog_is_busy.get() && store.log.durable() >= visible;
        is_settled.then_some(visible)
    }

    fn unpublished(&self, tablets: Vec<(TabletId, SlotGeneration)>) {
        if tablets.is_empty() {
            return;
        }
        let state = Rc::clone(&self.0);
        let spec = state.core.spec("forget dropped tablets", TaskClass::Maintenance);
        self.0.shard.spawn(spec, async move {
            for index in 0..state.shared.shard_count() {
                let tablets = tablets.clone();
                let job: Job = Box::new(move |state| state.core.note_unpublished(&tablets));
                let to = ShardId::new(index as u16);
                if to == state.id() {
                    job(&state);
                } else if state.send(to, Request::Run(job)).await.is_err() {
                    // A shard that is gone gives nothing back; the next opening does.
                    break;
                }
            }
        });
    }
}
