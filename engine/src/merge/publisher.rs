//! The one publisher of the store: folds waiting roots into the root table, one write per page,
//! then advances the other copies, so that what older roots needed can be released and the log
//! truncated.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_channel::oneshot;
use sombra_runtime::Shard;
use sombra_runtime::sync::MailboxReceiver;
use sombra_runtime::sync::atomic::Ordering;

use crate::btree::TreeRoot;
use crate::commit::{DataWork, StoreCore};
use crate::format::root_table::{
    CatalogRow, KeyspaceRow, RootRow, RowKey, RowRouting, TabletRow, TabletSpace,
};
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::keyspace::Keyspace;
use crate::options::Routing;
use crate::volume::{RootPublishError, RootTable, RowChange, SlotGeneration};

/// A root that waits to be published.
#[derive(Clone, Debug)]
pub(crate) struct TabletRoot {
    pub(crate) tablet: TabletId,
    pub(crate) merge_lsn: Lsn,
    pub(crate) tree_lsn: Lsn,
    pub(crate) root: Option<TreeRoot>,
    pub(crate) space: Option<TabletSpace>,
}

/// What a shard asks of the publisher.
pub(crate) enum PublishRequest {
    /// Puts roots in force, all in one go.
    Roots { roots: Vec<TabletRoot>, reply: oneshot::Sender<Published> },
    /// The set of keyspaces changed, or the log waits for it to be in the root table.
    Catalog,
}

/// The roots are in force.
#[derive(Debug)]
pub(crate) struct Published {
    /// The write of each root's row, in the request's order; `None` for a root whose keyspace
    /// was dropped meanwhile.
    pub(crate) places: Vec<Option<SlotGeneration>>,
}

/// The set of keyspaces as the publisher sees it; changes are made on the same shard.
pub(crate) trait Catalog {
    /// Keyspaces that exist.
    fn keyspaces(&self) -> Vec<Keyspace>;
    /// The highest id ever given.
    fn last_id(&self) -> KeyspaceId;
    /// Every creation and drop at or below it is in `keyspaces`; `None` while one is on its way.
    fn settled(&self) -> Option<Lsn>;
    /// The rows of dropped keyspaces are gone from the roots in force.
    fn unpublished(&self, tablets: Vec<(TabletId, SlotGeneration)>);
}

/// Writes the root table, on one shard.
pub(crate) struct Publisher<C> {
    pub(crate) shard: Shard,
    pub(crate) store: Arc<StoreCore>,
    pub(crate) catalog: C,
}

type RootReply = (Vec<TabletRoot>, oneshot::Sender<Published>);

impl<C: Catalog> Publisher<C> {
    /// Runs for the life of the store.
    pub(crate) async fn run(self, mut requests: MailboxReceiver<PublishRequest>) {
        // A crash, or an older build, may have left copies that differ.
        let merging = self.store.begin_merging(DataWork::Publication);
        let mut outcome = self.settle().await;
        if outcome.is_ok() {
            outcome = self.forget_orphans().await;
        }
        if outcome.is_ok() && self.store.volume.give_back_aside() {
            self.store.want_merges();
            self.store.announce_room();
        }
        drop(merging);
        while outcome.is_ok() {
            let Some(first) = requests.recv().await else { return };
            outcome = self.serve(first, &mut requests).await;
        }
        if let Err(error) = outcome {
            self.store.stop(&error.to_string());
        }
    }

    async fn serve(
        &self,
        first: PublishRequest,
        requests: &mut MailboxReceiver<PublishRequest>,
    ) -> Result<(), RootPublishError> {
        let _merging = self.store.begin_merging(DataWork::Publication);
        if self.store.is_closing() {
            // A closing store waits for what it sees, and nothing may begin behind its back.
            return Ok(());
        }
        let (mut waiting, mut is_catalog) = (Vec::new(), false);
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                PublishRequest::Roots { roots, reply } => waiting.push((roots, reply)),
                PublishRequest::Catalog => is_catalog = true,
            }
            next = requests.try_recv();
        }
        let mut has_changed = !waiting.is_empty();
        if has_changed {
            self.publish_roots(waiting).await?;
        }
        if is_catalog {
            match self.publish_catalog().await {
                Ok(is_news) => has_changed |= is_news,
                // No keyspace is made beyond the table's room, but an older build may have done
                // so: its records stay in the log.
                Err(RootPublishError::Full { needed, slots }) => {
                    tracing::error!(needed, slots, "the root table is full: drop a keyspace");
                    has_changed = true;
                }
                Err(error) => return Err(error),
            }
        }
        // The shards ask again when they are told of something: while the log stands still there
        // is nothing to tell.
        if has_changed { self.settle().await } else { Ok(()) }
    }

    /// Removes rows of tablets that a crash cut off from their keyspace's row. This opening has
    /// replayed such a keyspace whole and knows nothing of the row's pages, which are free by
    /// now: a row of the keyspace must not bring them back.
    async fn forget_orphans(&self) -> Result<(), RootPublishError> {
        let orphans = self.store.roots.orphans().into_iter();
        let gone: Vec<RowChange> =
            orphans.map(|id| RowChange::Remove(RowKey::Tablet(id))).collect();
        self.store.roots.publish(&self.shard, &self.store.volume, &gone).await.map(drop)
    }

    /// Lets both copies hold what is in force; then nothing older is needed.
    async fn settle(&self) -> Result<(), RootPublishError> {
        let roots = &self.store.roots;
        roots.advance_twins(&self.shard, &self.store.volume).await?;
        let floor = roots.floor();
        let floor = floor.merge_lsn.min(floor.catalog_lsn);
        self.store.log.segments().truncate(floor);
        self.store.want_merges();
        Ok(())
    }

    async fn publish_roots(&self, waiting: Vec<RootReply>) -> Result<(), RootPublishError> {
        let keyspaces = self.catalog.keyspaces();
        let find = |id: KeyspaceId| keyspaces.iter().find(|keyspace| keyspace.id() == id);
        let mut changes = BTreeMap::new();
        for root in waiting.iter().flat_map(|(roots, _)| roots) {
            if let Some(keyspace) = find(root.tablet.keyspace) {
                changes.insert(root.tablet, RowChange::Put(row_of(keyspace, root)));
            }
        }
        let changes: Vec<RowChange> = changes.into_values().collect();
        let roots = &self.store.roots;
        let written = roots.publish(&self.shard, &self.store.volume, &changes).await?;
        for (tablets, reply) in waiting {
            let place = |root: &TabletRoot| {
                find(root.tablet.keyspace)?;
                let slot = roots.slot_of(RowKey::Tablet(root.tablet))?;
                written.iter().find(|write| write.slot == slot).copied()
            };
            let places = tablets.iter().map(place).collect();
            // A shard that is gone does not want the answer.
            let _ = reply.send(Published { places });
        }
        Ok(())
    }

    /// Brings the root table's keyspaces up to date: rows of new tablets before their keyspace,
    /// a dropped keyspace before its tablets, and all of that in both copies before the log may
    /// let go of the records. Tells whether there was anything to bring up to date.
    async fn publish_catalog(&self) -> Result<bool, RootPublishError> {
        let Some(settled) = self.catalog.settled() else {
            self.store.catalog_late.store(true, Ordering::SeqCst);
            self.store.tick_wanted.raise();
            return Ok(false);
        };
        if self.store.roots.floor().catalog_lsn >= settled {
            return Ok(false);
        }
        let (keyspaces, last_keyspace) = (self.catalog.keyspaces(), self.catalog.last_id());
        let (roots, volume) = (&self.store.roots, &self.store.volume);
        let missing = missing_rows(roots, &keyspaces).into_iter().map(RowChange::Put);
        let (tablets, added): (Vec<_>, Vec<_>) =
            missing.partition(|change| matches!(change, RowChange::Put(RootRow::Tablet(_))));
        roots.publish(&self.shard, volume, &tablets).await?;
        roots.publish(&self.shard, volume, &added).await?;
        let known = |id: KeyspaceId| keyspaces.iter().any(|keyspace| keyspace.id() == id);
        let (gone, orphans) = roots.rows_without(known);
        let gone: Vec<RowChange> =
            gone.into_iter().map(|id| RowChange::Remove(RowKey::Keyspace(id))).collect();
        roots.publish(&self.shard, volume, &gone).await?;
        let ids: Vec<(TabletId, Option<u32>)> =
            orphans.iter().map(|&id| (id, roots.slot_of(RowKey::Tablet(id)))).collect();
        let orphans: Vec<RowChange> =
            orphans.into_iter().map(|id| RowChange::Remove(RowKey::Tablet(id))).collect();
        let written = roots.publish(&self.shard, volume, &orphans).await?;
        let place = |slot: Option<u32>| written.iter().find(|w| Some(w.slot) == slot).copied();
        let unpublished = ids.into_iter().filter_map(|(id, slot)| Some((id, place(slot)?)));
        self.catalog.unpublished(unpublished.collect());
        roots.advance_twins(&self.shard, volume).await?;
        let row = CatalogRow { last_keyspace, catalog_lsn: settled };
        let change = RowChange::Put(RootRow::Catalog(row));
        roots.publish(&self.shard, volume, &[change]).await?;
        Ok(true)
    }
}

/// The boundary that a tablet's row keeps; hash routing needs none.
fn lower_boundary(keyspace: &Keyspace, id: TabletId) -> Vec<u8> {
    match keyspace.routing() {
        Routing::Range { boundaries } => {
            let before = (id.index as usize).checked_sub(1);
            before.and_then(|index| boundaries.get(index)).cloned().unwrap_or_default()
        }
        Routing::Hash { .. } => Vec::new(),
    }
}

fn row_of(keyspace: &Keyspace, root: &TabletRoot) -> RootRow {
    let tree = root.root;
    RootRow::Tablet(TabletRow {
        id: root.tablet,
        lower_boundary: lower_boundary(keyspace, root.tablet),
        merge_lsn: root.merge_lsn,
        tree_lsn: root.tree_lsn,
        root: tree.map(|tree| tree.child.page),
        root_level: tree.map_or(0, |tree| tree.level),
        row_count: tree.map_or(0, |tree| tree.child.rows),
        space: root.space,
    })
}

/// The rows of keyspaces that the root table does not know yet, tablets into which nothing was
/// merged before their keyspace.
pub(crate) fn missing_rows<'k>(
    roots: &RootTable,
    keyspaces: impl IntoIterator<Item = &'k Keyspace>,
) -> Vec<RootRow> {
    let is_missing = |key: RowKey| roots.row(key).is_none();
    let unknown = keyspaces.into_iter().filter(|k| is_missing(RowKey::Keyspace(k.id())));
    let rows = unknown.flat_map(|keyspace| {
        let tablets = keyspace.tablets().filter(|&id| is_missing(RowKey::Tablet(id)));
        let first = tablets.map(|id| first_row(keyspace, id));
        first.chain([keyspace_row(keyspace)])
    });
    rows.collect()
}

/// The row of a tablet into which nothing was merged yet.
fn first_row(keyspace: &Keyspace, id: TabletId) -> RootRow {
    let (merge_lsn, tree_lsn) = (keyspace.created_lsn(), keyspace.created_lsn());
    row_of(keyspace, &TabletRoot { tablet: id, merge_lsn, tree_lsn, root: None, space: None })
}

fn keyspace_row(keyspace: &Keyspace) -> RootRow {
    RootRow::Keyspace(KeyspaceRow {
        id: keyspace.id(),
        name: keyspace.name().to_owned(),
        routing: match keyspace.routing() {
            Routing::Range { .. } => RowRouting::Range,
            &Routing::Hash { prefix_len_bytes, .. } => RowRouting::Hash { prefix_len_bytes },
        },
        tablet_count: keyspace.tablet_count(),
        created_lsn: keyspace.created_lsn(),
    })
}
