//! What the root table still says of a store that may not open: slot by slot, so that a slot
//! which is lost takes only its own rows with it.

use std::collections::BTreeMap;
use std::path::Path;

use sombra_runtime::Shard;

use crate::btree::TreeRoot;
use crate::check::{
    CheckProblem, ProblemPlace, ProblemTablet, WalkedTablet, hash_prefix_len_bytes, problem,
};
use crate::error::OpenError;
use crate::format::root_table::{
    CatalogRow, KeyspaceRow, RootCopy, RootPlace, RootRow, RowRouting, TabletRow,
};
use crate::format::superblock::Superblock;
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::inspect::{RootCopyState, RootSlot, read_slots};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::options::Routing;
use crate::recovery::{self, tree_root};
use crate::volume::Volume;

/// What can be found of a store's trees.
pub(super) struct Source {
    pub(super) volume: Option<Volume>,
    pub(super) keyspaces: BTreeMap<KeyspaceId, SourceKeyspace>,
    pub(super) catalog: Option<CatalogRow>,
    /// What is not there, and which keys that costs.
    pub(super) lost: Vec<CheckProblem>,
}

pub(super) struct SourceKeyspace {
    pub(super) keyspace: Keyspace,
    /// Ascending by index; those whose rows are lost are missing.
    pub(super) tablets: Vec<SourceTablet>,
}

pub(super) struct SourceTablet {
    pub(super) walked: WalkedTablet,
    pub(super) root: Option<TreeRoot>,
    pub(super) merge_lsn: Lsn,
    /// The last row that was read of it.
    pub(super) last_key: Option<Vec<u8>>,
}

impl SourceKeyspace {
    /// A keyspace of which there are no trees.
    pub(super) fn only_in_log(def: KeyspaceDef) -> SourceKeyspace {
        SourceKeyspace { keyspace: Keyspace::new(def), tablets: Vec::new() }
    }

    /// Up to where the tree that the key belongs to holds everything.
    pub(super) fn merge_lsn(&self, key: &[u8]) -> Lsn {
        self.tablet_of(key).map_or(Lsn::ZERO, |tablet| tablet.merge_lsn)
    }

    /// Whether damage of this tablet can have cost the key. Where a range begins whose row is
    /// lost nobody knows: what the tree before it goes up to belongs to that tree.
    pub(super) fn may_lack(&self, damaged: TabletId, key: &[u8]) -> bool {
        let is_read = self.tablets.iter().any(|tablet| tablet.walked.name.id == damaged);
        let is_hash = matches!(self.keyspace.routing(), Routing::Hash { .. });
        let last = self.tablet_of(key).and_then(|tablet| tablet.last_key.as_deref());
        is_read || is_hash || last.is_none_or(|last| last < key)
    }

    fn tablet_of(&self, key: &[u8]) -> Option<&SourceTablet> {
        let at = match self.keyspace.routing() {
            Routing::Hash { .. } => {
                let index = self.keyspace.place(key).tablet.index;
                self.tablets.binary_search_by_key(&index, |tablet| tablet.walked.name.id.index).ok()
            }
            Routing::Range { .. } => {
                let is_below = |tablet: &SourceTablet| {
                    tablet.walked.lower.as_deref().is_none_or(|lower| lower <= key)
                };
                self.tablets.partition_point(is_below).checked_sub(1)
            }
        };
        at.map(|at| &self.tablets[at])
    }
}

impl Source {
    /// Reads what there is.
    pub(super) async fn look(shard: &Shard, dir: &Path, superblock: &Superblock) -> Source {
        let mut source =
            Source { volume: None, keyspaces: BTreeMap::new(), catalog: None, lost: Vec::new() };
        let read = source.read(shard, dir, superblock).await;
        if let Err(error) = read {
            let place = ProblemPlace::file(&dir.join(recovery::DATA_FILE));
            source.lost.push(problem(place, "a data file that can be read", error));
        }
        source
    }

    async fn read(
        &mut self,
        shard: &Shard,
        dir: &Path,
        superblock: &Superblock,
    ) -> Result<(), OpenError> {
        let Some(volume) = recovery::open_volume(shard, dir, superblock).await? else {
            return Ok(());
        };
        let slots = read_slots(shard, &volume).await?;
        let mut rows = Vec::new();
        for slot in &slots {
            match in_force(slot) {
                Ok(slot_rows) => rows.extend_from_slice(slot_rows),
                Err(found) => {
                    let place = RootPlace { slot: slot.slot, copy: RootCopy::A };
                    let place = ProblemPlace::at(volume.path(), place.offset_bytes());
                    let slot = slot.slot;
                    let expected =
                        format!("one whole copy of root slot {slot}, which says where trees begin");
                    self.lost.push(problem(place, &expected, found));
                }
            }
        }
        self.take_rows(&volume, &rows);
        self.volume = Some(volume);
        Ok(())
    }

    fn take_rows(&mut self, volume: &Volume, rows: &[RootRow]) {
        let has_lost_slot = !self.lost.is_empty();
        let mut tablets: BTreeMap<TabletId, &TabletRow> = BTreeMap::new();
        for row in rows {
            match row {
                RootRow::Catalog(row) => self.catalog = Some(*row),
                RootRow::Tablet(row) => drop(tablets.insert(row.id, row)),
                RootRow::Keyspace(_) => {}
            }
        }
        for row in rows {
            if let RootRow::Keyspace(row) = row {
                let own = tablets.iter().filter(|(id, _)| id.keyspace == row.id);
                let own = own.map(|(id, &tablet)| (id.index, tablet)).collect();
                self.take_keyspace(volume, row, &own);
            }
        }
        // Where all slots are whole, a tablet without a keyspace is one of a dropped keyspace.
        let orphans = tablets.keys().filter(|id| !self.keyspaces.contains_key(&id.keyspace));
        for &id in orphans.filter(|_| has_lost_slot) {
            let found = "a row in a root slot that is lost, or a keyspace that was dropped";
            let problem = problem(ProblemPlace::file(volume.path()), "its keyspace's row", found);
            self.lost.push(problem.of(&ProblemTablet { keyspace: String::new(), id }));
        }
    }

    fn take_keyspace(
        &mut self,
        volume: &Volume,
        row: &KeyspaceRow,
        own: &BTreeMap<u32, &TabletRow>,
    ) {
        let routing = match row.routing {
            RowRouting::Hash { prefix_len_bytes } => {
                Routing::Hash { prefix_len_bytes, tablets: row.tablet_count }
            }
            RowRouting::Range => {
                let known = own.iter().filter(|&(&index, _)| index > 0);
                Routing::Range {
                    boundaries: known.map(|(_, row)| row.lower_boundary.clone()).collect(),
                }
            }
        };
        let mut tablets = Vec::new();
        for index in 0..row.tablet_count {
            let id = TabletId { keyspace: row.id, index };
            let name = ProblemTablet { keyspace: row.name.clone(), id };
            let walked = walked(name, &routing, own);
            match own.get(&index) {
                Some(row) => {
                    let (root, merge_lsn) = (tree_root(row), row.merge_lsn);
                    tablets.push(SourceTablet { walked, root, merge_lsn, last_key: None });
                }
                None => {
                    let found = "a row in a root slot that is lost";
                    let place = ProblemPlace::file(volume.path());
                    let problem = problem(place, "the tablet's row", found);
                    self.lost.push(problem.of(&walked.name).costing(walked.keys()));
                }
            }
        }
        let (id, name, created_lsn) = (row.id, row.name.clone(), row.created_lsn);
        let keyspace = Keyspace::new(KeyspaceDef { id, name, routing, created_lsn });
        self.keyspaces.insert(row.id, SourceKeyspace { keyspace, tablets });
    }
}

/// The tablet with the bounds that the rows which are there give it: one beside a lost row may
/// seem to reach further than it does.
fn walked(name: ProblemTablet, routing: &Routing, own: &BTreeMap<u32, &TabletRow>) -> WalkedTablet {
    if hash_prefix_len_bytes(routing).is_some() {
        return WalkedTablet::new(name, Some(routing));
    }
    let index = name.id.index;
    let boundary =
        |(&index, row): (&u32, &&TabletRow)| (index > 0).then(|| row.lower_boundary.clone());
    WalkedTablet {
        lower: own.range(..=index).next_back().and_then(boundary),
        upper: own.range(index + 1..).next().and_then(boundary),
        hash_prefix_len_bytes: None,
        name,
    }
}

/// The rows of a slot that count; else what is wrong with both copies.
fn in_force(slot: &RootSlot) -> Result<&[RootRow], String> {
    let copy = match slot.in_force() {
        Some(RootCopy::A) => &slot.copy_a,
        Some(RootCopy::B) => &slot.copy_b,
        None => &RootCopyState::Blank,
    };
    match (copy, &slot.copy_a, &slot.copy_b) {
        (RootCopyState::Valid(page), _, _) => Ok(&page.rows),
        // No row is in force before both copies were written.
        (_, RootCopyState::Damaged { .. } | RootCopyState::Unread { .. }, RootCopyState::Blank)
        | (_, RootCopyState::Blank, RootCopyState::Unread { .. }) => Ok(&[]),
        (_, a, b) => Err(format!("copy A: {}; copy B: {}", told(a), told(b))),
    }
}

fn told(copy: &RootCopyState) -> &str {
    match copy {
        RootCopyState::Damaged { reason } | RootCopyState::Unread { reason } => reason,
        RootCopyState::Blank | RootCopyState::Valid(_) => "blank, though it was written",
    }
}

#[cfg(test)]
mod tests;
