//! The root table: which rows are in force, and how they are replaced.
//!
//! Each slot has two copies. A write goes to the copy that is not in force, with the next
//! generation, and counts after a barrier; only then may the other copy be written. So a torn
//! write finds the rows of the barrier before, and a rotten newest copy falls back to its twin:
//! pages and log that the twin needs are kept until both durable copies have moved on.
//!
//! A slot that gains or loses a row gets both copies written, one after the other, before the
//! publication returns: a fallback never changes which rows exist.
//!
//! One publication is not atomic over several slots. A caller whose rows depend on each other
//! publishes twice: the tablets of a new keyspace before its keyspace row, the removal of a
//! keyspace row before the removal of its tablets. A row stays in its slot for life.

mod load;
mod slot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sombra_runtime::Shard;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering};

use super::errors::{RootLoadError, RootPublishError, WritePagesError};
use super::file::Volume;
use crate::format::root_table::{ROOT_PAGE_BYTES, RootPage, RootPlace, RootRow, RowKey};
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::limits::ROOT_SLOTS;
use slot::{Slot, free_bytes, keys};

pub(crate) use load::{DamagedRoot, LoadedRoots};
pub(crate) use slot::CopyState;

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    /// Adds the row, or replaces the one with its key. Its size must not change.
    Put(RootRow),
    Remove(RowKey),
}

impl RowChange {
    fn key(&self) -> RowKey {
        match self {
            RowChange::Put(row) => row.key(),
            RowChange::Remove(key) => *key,
        }
    }
}

/// A write of a slot: what its rows made obsolete may be released when
/// [`RootTable::is_in_both`] says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SlotGeneration {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
}

/// What holds the log's floor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FloorHolder {
    /// There is no tablet.
    Nothing,
    Tablet(TabletId),
    /// A crash left the slot's copies with different sets of rows: advance the twins.
    UnevenSlot(u32),
}

/// Up to where both durable copies of every slot contain the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Floor {
    /// Lowest merge LSN; `Lsn::MAX` without tablets.
    pub(crate) merge_lsn: Lsn,
    pub(crate) holder: FloorHolder,
    /// Keyspaces made or dropped at or below it stand in both copies; `Lsn::ZERO` without a
    /// catalog row.
    pub(crate) catalog_lsn: Lsn,
}

#[derive(Debug)]
struct Slots {
    slots: Vec<Slot>,
    places: BTreeMap<RowKey, u32>,
    /// Stays set when a publication failed or was dropped half-way.
    is_publishing: bool,
    /// Slots whose next copy may be being written.
    writing: BTreeSet<u32>,
}

/// The rows in force and the copies that hold them. Shared by all shards; one of them publishes.
#[derive(Debug)]
pub(crate) struct RootTable {
    slots: Mutex<Slots>,
    writes_total: AtomicU64,
}

/// The next content of each slot that changes.
type Plan = BTreeMap<u32, Vec<RootRow>>;

impl RootTable {
    /// Reads the table of a volume that was just opened.
    ///
    /// # Errors
    /// A slot without a copy that can be believed, a newer format, or the device.
    pub(crate) async fn load(shard: &Shard, volume: &Volume) -> Result<LoadedRoots, RootLoadError> {
        load::load(shard, volume).await
    }

    fn from_slots(slots: Slots) -> RootTable {
        RootTable { slots: Mutex::new(slots), writes_total: AtomicU64::new(0) }
    }

    /// Writes rows and makes them durable; they are in force when this returns. The caller has
    /// made durable every page that they refer to (INV-2 and the data barrier are its own).
    /// Returns the write of each slot that has changed, in the order of slots.
    ///
    /// Cost: one write for each slot, one barrier; twice that for slots that gain or lose rows.
    ///
    /// # Errors
    /// `Full`: nothing was written. Any other: poison the store (INV-7).
    ///
    /// # Panics
    /// If another publication is under way, or one has failed: two writes of one page must
    /// never be in flight. If a row that exists changes its size.
    pub(crate) async fn publish(
        &self,
        shard: &Shard,
        volume: &Volume,
        changes: &[RowChange],
    ) -> Result<Vec<SlotGeneration>, RootPublishError> {
        self.begin();
        // The lock ends with this statement: what follows takes it again.
        let plan = self.lock().plan(changes);
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.end();
                return Err(error);
            }
        };
        let reshaped: Plan = {
            let table = self.lock();
            let is_reshaped =
                |slot: u32, rows| !keys(rows).eq(keys(table.slots[slot as usize].rows()));
            let reshaped = plan.iter().filter(|&(&slot, rows)| is_reshaped(slot, rows));
            reshaped.map(|(&slot, rows)| (slot, rows.clone())).collect()
        };
        let written = self.write(shard, volume, &plan).await?;
        self.write(shard, volume, &reshaped).await?;
        self.lock().note_places(&plan);
        self.end();
        Ok(written)
    }

    /// Writes the rows in force over every copy that differs from them, so that pages and log
    /// which only that copy needed may go. For slots that nobody publishes to for a while, and
    /// once after opening. Returns the slots that were written.
    ///
    /// # Errors
    /// Poison the store (INV-7).
    ///
    /// # Panics
    /// As [`RootTable::publish`].
    pub(crate) async fn advance_twins(
        &self,
        shard: &Shard,
        volume: &Volume,
    ) -> Result<Vec<SlotGeneration>, WritePagesError> {
        self.begin();
        let differing: Plan = {
            let table = self.lock();
            let slots = (0..ROOT_SLOTS).zip(&table.slots).filter(|(_, slot)| slot.differs());
            slots.map(|(number, slot)| (number, slot.rows().to_vec())).collect()
        };
        let written = self.write(shard, volume, &differing).await?;
        self.end();
        Ok(written)
    }

    /// Writes zeroes over damaged places of slots that hold no rows in either copy, as if they had
    /// never been written: nothing else would ever be written there.
    ///
    /// # Errors
    /// Which of them are blank is unknown; none of them matters.
    pub(crate) async fn blank_unused(
        &self,
        shard: &Shard,
        volume: &Volume,
        damaged: &[DamagedRoot],
    ) -> Result<(), WritePagesError> {
        let unused: Vec<RootPlace> = {
            let table = self.lock();
            let is_unused = |root: &&DamagedRoot| table.slots[root.slot as usize] == Slot::EMPTY;
            let unused = damaged.iter().filter(is_unused);
            unused.map(|root| RootPlace { slot: root.slot, copy: root.copy }).collect()
        };
        for &place in &unused {
            volume.write_root_page(shard, place, &[0; ROOT_PAGE_BYTES]).await?;
        }
        if unused.is_empty() { Ok(()) } else { volume.barrier(shard).await }
    }

    /// What is durable at a place of the table; `None` while it may be being written. A reader
    /// that gets the same before and after it has read the place knows what it must have found.
    pub(crate) fn at_rest(&self, place: RootPlace) -> Option<CopyState> {
        let table = self.lock();
        let slot = &table.slots[place.slot as usize];
        let is_stirred = table.writing.contains(&place.slot) && slot.next_copy() == place.copy;
        (!is_stirred).then(|| slot.copies[place.copy.index()].clone())
    }

    /// Whether some slot's copies differ: whether advancing the twins would free anything.
    #[cfg(test)]
    pub(crate) fn has_differing_twins(&self) -> bool {
        self.lock().slots.iter().any(Slot::differs)
    }

    /// Whether both durable copies of the slot are at this write or a later one: what it made
    /// obsolete is needed by neither. A write that is not yet durable does not count.
    pub(crate) fn is_in_both(&self, write: SlotGeneration) -> bool {
        self.durable_generation(write.slot) >= write.generation
    }

    /// The generation that both durable copies of a slot have reached.
    pub(crate) fn durable_generation(&self, slot: u32) -> u64 {
        self.lock().slots[slot as usize].durable_generation()
    }

    /// Root pages made durable since the store was opened.
    pub(crate) fn writes_total(&self) -> u64 {
        self.writes_total.load(Ordering::Relaxed)
    }

    /// The slot that holds the row.
    pub(crate) fn slot_of(&self, key: RowKey) -> Option<u32> {
        self.lock().places.get(&key).copied()
    }

    /// The row in force.
    pub(crate) fn row(&self, key: RowKey) -> Option<RootRow> {
        let table = self.lock();
        let slot = table.places.get(&key)?;
        table.slots[*slot as usize].rows().iter().find(|row| row.key() == key).cloned()
    }

    /// Keyspace rows, and tablets with a row, whose keyspace `is_known` does not know.
    pub(crate) fn rows_without(
        &self,
        is_known: impl Fn(KeyspaceId) -> bool,
    ) -> (Vec<KeyspaceId>, Vec<TabletId>) {
        let table = self.lock();
        let mut unknown = (Vec::new(), Vec::new());
        for key in table.places.keys() {
            match *key {
                RowKey::Keyspace(id) if !is_known(id) => unknown.0.push(id),
                RowKey::Tablet(id) if !is_known(id.keyspace) => unknown.1.push(id),
                RowKey::Catalog | RowKey::Keyspace(_) | RowKey::Tablet(_) => {}
            }
        }
        // The map's own order is no order.
        unknown.0.sort_unstable();
        unknown.1.sort_unstable();
        unknown
    }

    /// Tablets with a row whose keyspace has none.
    pub(crate) fn orphans(&self) -> Vec<TabletId> {
        let table = self.lock();
        let tablets = table.places.keys().filter_map(|key| match *key {
            RowKey::Tablet(id) => Some(id),
            RowKey::Catalog | RowKey::Keyspace(_) => None,
        });
        let is_orphan = |id: &TabletId| !table.places.contains_key(&RowKey::Keyspace(id.keyspace));
        tablets.filter(is_orphan).collect()
    }

    /// What the log may be truncated to, as far as the root table is concerned.
    pub(crate) fn floor(&self) -> Floor {
        let table = self.lock();
        let lowest = table.slots.iter().filter_map(Slot::merge_floor).min();
        let uneven = (0..ROOT_SLOTS).zip(&table.slots).find(|(_, slot)| slot.is_uneven());
        let catalog = table.slots.iter().filter_map(Slot::catalog_floor).min();
        let (merge_lsn, holder) = match (uneven, lowest) {
            (Some((slot, _)), _) => (Lsn::ZERO, FloorHolder::UnevenSlot(slot)),
            (None, Some((lsn, tablet))) => (lsn, FloorHolder::Tablet(tablet)),
            (None, None) => (Lsn::MAX, FloorHolder::Nothing),
        };
        let catalog_lsn = match uneven {
            Some(_) => Lsn::ZERO,
            None => catalog.unwrap_or(Lsn::ZERO),
        };
        Floor { merge_lsn, holder, catalog_lsn }
    }

    /// One round: each slot's copy that is not in force, then one barrier. Copies count as
    /// written only after it.
    async fn write(
        &self,
        shard: &Shard,
        volume: &Volume,
        plan: &Plan,
    ) -> Result<Vec<SlotGeneration>, WritePagesError> {
        let mut written = Vec::with_capacity(plan.len());
        self.lock().writing = plan.keys().copied().collect();
        for (&slot, rows) in plan {
            let (copy, generation) = {
                let table = self.lock();
                let state = &table.slots[slot as usize];
                (state.next_copy(), state.next_generation())
            };
            let page = RootPage { generation, rows: rows.clone() };
            let place = RootPlace { slot, copy };
            let bytes = page.encode(volume.store_id(), place);
            volume.write_root_page(shard, place, &bytes).await?;
            written.push((place, page));
        }
        if written.is_empty() {
            return Ok(Vec::new());
        }
        volume.barrier(shard).await?;
        self.writes_total.fetch_add(written.len() as u64, Ordering::Relaxed);
        let mut table = self.lock();
        table.writing.clear();
        let durable = written.into_iter().map(|(RootPlace { slot, copy }, page)| {
            let generation = page.generation;
            table.slots[slot as usize].copies[copy.index()] = CopyState::Valid(page);
            SlotGeneration { slot, generation }
        });
        Ok(durable.collect())
    }

    /// Whether these new rows find room beside those in force, in whatever order and groups they
    /// are published: a row of at most `largest` bytes is refused only when every slot has less
    /// than that left, so each slot counts without its last `largest` bytes.
    pub(crate) fn has_room_for(&self, rows: &[RootRow]) -> bool {
        let sizes = || rows.iter().map(RootRow::size_bytes);
        let (needed, largest) = (sizes().sum::<usize>(), sizes().max().unwrap_or(0));
        let table = self.lock();
        let free = table.slots.iter().map(|slot| free_bytes(slot.rows()));
        free.map(|free| free.saturating_sub(largest)).sum::<usize>() >= needed
    }

    fn begin(&self) {
        let was_publishing = std::mem::replace(&mut self.lock().is_publishing, true);
        assert!(!was_publishing, "INV-5: one publisher at a time, none after one that failed");
    }

    fn end(&self) {
        self.lock().is_publishing = false;
    }

    /// A panic while the lock was held poisons the store by its own way; what is here is whole.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn plan(&self, changes: &[RowChange]) -> Result<Plan, RootPublishError> {
        let mut plan = Plan::new();
        // Removals first: they make room for what comes in the same publication.
        let (removals, puts): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| matches!(change, RowChange::Remove(_)));
        for change in removals.into_iter().chain(puts) {
            let key = change.key();
            let planned = plan.iter().find(|(_, rows)| keys(rows).any(|planned| planned == key));
            let slot = match (self.places.get(&key), planned, change) {
                (Some(&slot), _, _) => slot,
                (None, Some((&slot, _)), _) => slot,
                (None, None, RowChange::Remove(_)) => continue,
                (None, None, RowChange::Put(row)) => self.first_fit(&plan, row.size_bytes())?,
            };
            let rows =
                plan.entry(slot).or_insert_with(|| self.slots[slot as usize].rows().to_vec());
            apply(rows, change);
        }
        Ok(plan)
    }

    fn first_fit(&self, plan: &Plan, needed: usize) -> Result<u32, RootPublishError> {
        let rows =
            |slot: u32| plan.get(&slot).map_or(self.slots[slot as usize].rows(), Vec::as_slice);
        let fits = (0..ROOT_SLOTS).find(|&slot| free_bytes(rows(slot)) >= needed);
        fits.ok_or(RootPublishError::Full { needed, slots: ROOT_SLOTS })
    }

    /// The rows of the plan are in force.
    fn note_places(&mut self, plan: &Plan) {
        self.places.retain(|_, slot| !plan.contains_key(slot));
        for (&slot, rows) in plan {
            self.places.extend(keys(rows).map(|key| (key, slot)));
        }
    }
}

fn apply(rows: &mut Vec<RootRow>, change: &RowChange) {
    let at = rows.binary_search_by_key(&change.key(), RootRow::key);
    match (at, change) {
        (Ok(at), RowChange::Put(row)) => {
            let (before, after) = (rows[at].size_bytes(), row.size_bytes());
            assert!(before == after, "INV-9: a row of {before} bytes becomes {after} bytes long");
            rows[at] = row.clone();
        }
        (Err(at), RowChange::Put(row)) => rows.insert(at, row.clone()),
        (Ok(at), RowChange::Remove(_)) => drop(rows.remove(at)),
        (Err(_), RowChange::Remove(_)) => {}
    }
}
