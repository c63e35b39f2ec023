//! The data file at open: found or made, its root table read, every tablet's space map with it.
//!
//! Knows what each tablet begins with. Writes nothing to a file that is there.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use sombra_runtime::{OpenHow, Shard};

use super::io_error;
use super::replay::RootMarks;
use crate::btree::TreeRoot;
use crate::error::{OpenError, is_undelivered};
use crate::format::node::ChildRef;
use crate::format::page::PageOwner;
use crate::format::root_table::{KeyspaceRow, RootRow, RowRouting, TabletRow, TabletSpace};
use crate::format::space_map::SpaceMap;
use crate::format::superblock::{FEATURE_DATA_FILE, Superblock};
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::keyspace::{KeyspaceDef, LoadedKeyspace};
use crate::options::{Options, Routing};
use crate::tablet::TreeParts;
use crate::volume::{
    Access, DamagedRoot, LoadedRoots, PageAllocator, PageRun, ReadMapError, ReadPageError,
    RootTable, SlotGeneration, Volume, VolumeConfig,
};

pub(crate) const DATA_FILE: &str = "pages.sombra";

/// A tablet as the root table has it.
pub(crate) struct LoadedTablet {
    pub(crate) parts: TreeParts,
    /// Pages that only the older copy of its row needs.
    pub(crate) twin_pages: Vec<(Vec<PageRun>, SlotGeneration)>,
    /// Why its space is not known, and so nothing can be merged into it.
    pub(crate) damage: Option<String>,
}

/// What a store's data file holds.
pub(crate) struct DataFile {
    pub(crate) volume: Arc<Volume>,
    pub(crate) table: Arc<RootTable>,
    pub(crate) marks: RootMarks,
    pub(crate) last_keyspace: u32,
    pub(crate) keyspaces: Vec<LoadedKeyspace>,
    pub(crate) tablets: BTreeMap<TabletId, LoadedTablet>,
    /// Roots that would be in force if the newest copy of their row were damaged.
    pub(crate) older_roots: Vec<(TabletId, TreeRoot)>,
    /// Copies of root pages that were not believed, though rows in force were in them.
    pub(crate) damaged_roots: Vec<DamagedRoot>,
    /// What was damaged and is held by another copy, in words.
    pub(crate) notes: Vec<String>,
}

/// What a space map in force means that the device does not deliver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnreadMap {
    /// An opening ends: it may succeed when it is tried again.
    Refuses,
    /// Those who look go on without it.
    IsDamage,
}

/// How the data file of a store is opened or made.
pub(super) fn config(
    dir: &Path,
    superblock: &Superblock,
    options: &Options,
    access: Access,
) -> VolumeConfig {
    VolumeConfig {
        access,
        path: dir.join(DATA_FILE),
        store_id: superblock.store_id,
        page_size_bytes: superblock.page_size_bytes,
        method: options.durability_method.unwrap_or(superblock.durability_method),
        data_bytes_max: options.data_bytes_max,
        fixed_len_bytes: None,
    }
}

/// Reads the data file, if the store has one.
///
/// # Errors
/// As `OpenError`; nothing was written.
pub(super) async fn load(
    shard: &Shard,
    superblock: &Superblock,
    config: VolumeConfig,
    unread_map: UnreadMap,
) -> Result<Option<DataFile>, OpenError> {
    if superblock.required_features & FEATURE_DATA_FILE == 0 {
        return Ok(None);
    }
    let volume = Volume::open(shard, config).await?;
    let loaded = RootTable::load(shard, &volume).await?;
    let loader = Loader { shard, volume: Arc::new(volume), unread_map, notes: Vec::new() };
    loader.load(loaded).await.map(Some)
}

/// Makes the data file of a new store, or of one from before there were trees: a file, or a link
/// to the device that takes its place.
pub(super) async fn create(
    shard: &Shard,
    config: VolumeConfig,
    device: Option<&Path>,
) -> Result<DataFile, OpenError> {
    let mut config = config;
    if let Some(device) = device {
        config.fixed_len_bytes = Some(device_len(shard, device).await?);
        let preparing = config.path.with_extension("preparing");
        if shard.path_exists(&preparing).await.map_err(io_error(&preparing, "look"))? {
            shard.unlink(&preparing).await.map_err(io_error(&preparing, "remove"))?;
        }
        shard.symlink(device, &preparing).await.map_err(io_error(&preparing, "link"))?;
        shard.rename(&preparing, &config.path).await.map_err(io_error(&preparing, "rename"))?;
    }
    Volume::create(shard, &config).await?;
    let volume = Volume::open(shard, config).await?;
    let loaded = RootTable::load(shard, &volume).await?;
    let unread_map = UnreadMap::Refuses;
    let loader = Loader { shard, volume: Arc::new(volume), unread_map, notes: Vec::new() };
    loader.load(loaded).await
}

/// The length of a raw device that nobody else uses.
async fn device_len(shard: &Shard, device: &Path) -> Result<u64, OpenError> {
    let file = shard.open(device, OpenHow::exclusive_read()).await;
    let file = file.map_err(io_error(device, "claim the device"))?;
    let disk = shard.disk_info(&file).await.map_err(io_error(device, "look"))?;
    if !disk.is_block_device {
        let expected = "option device: expected a block device, found a file";
        let source = io::Error::new(io::ErrorKind::InvalidInput, expected);
        return Err(io_error(device, "use as a device")(source));
    }
    shard.file_len(&file).await.map_err(io_error(device, "look"))
}

struct Loader<'s> {
    shard: &'s Shard,
    volume: Arc<Volume>,
    unread_map: UnreadMap,
    notes: Vec<String>,
}

impl Loader<'_> {
    async fn load(mut self, loaded: LoadedRoots) -> Result<DataFile, OpenError> {
        let damaged_roots: Vec<DamagedRoot> =
            loaded.damaged.iter().filter(|damaged| damaged.was_in_force).cloned().collect();
        for damaged in &damaged_roots {
            let (slot, copy, offset) = (damaged.slot, damaged.copy, damaged.offset);
            let reason = &damaged.reason;
            self.notes.push(format!("root slot {slot}, copy {copy:?} at byte {offset}: {reason}"));
        }
        let keyspaces = self.keyspaces(&loaded.rows)?;
        let exists = |id: KeyspaceId| keyspaces.iter().any(|keyspace| keyspace.def.id == id);
        let mut tablets = BTreeMap::new();
        for row in tablet_rows(&loaded.rows).filter(|row| exists(row.id.keyspace)) {
            tablets.insert(row.id, self.tablet(row).await?);
        }
        let mut older_roots = Vec::new();
        for older in &loaded.older {
            for row in tablet_rows(&older.rows) {
                if let Some(tablet) = tablets.get_mut(&row.id) {
                    self.pin_older(row, older.until, tablet).await?;
                    let root = tree_root(row).filter(|_| tablet.parts.space != row.space);
                    older_roots.extend(root.map(|root| (row.id, root)));
                }
            }
        }
        self.mark_owned(&mut tablets)?;
        let older = loaded.older.iter().flat_map(|older| tablet_rows(&older.rows));
        let gone = tablet_rows(&loaded.rows).chain(older);
        for row in gone.filter(|row| !tablets.contains_key(&row.id)) {
            self.set_aside(row).await?;
        }
        let floor = loaded.table.floor();
        let catalog = loaded.rows.iter().find_map(|row| match row {
            RootRow::Catalog(row) => Some(*row),
            RootRow::Keyspace(_) | RootRow::Tablet(_) => None,
        });
        let in_force = tablet_rows(&loaded.rows).filter(|row| exists(row.id.keyspace));
        let lowest = in_force.clone().map(|row| row.merge_lsn).min().unwrap_or(Lsn::MAX);
        let start = lowest.min(catalog.map_or(Lsn::ZERO, |row| row.catalog_lsn));
        let newest = in_force.map(|row| row.tree_lsn).max().unwrap_or(Lsn::ZERO);
        let floor = floor.merge_lsn.min(floor.catalog_lsn);
        Ok(DataFile {
            volume: self.volume,
            table: Arc::new(loaded.table),
            marks: RootMarks { start, newest, floor },
            last_keyspace: catalog.map_or(0, |row| row.last_keyspace.as_u32()),
            keyspaces,
            tablets,
            older_roots,
            damaged_roots,
            notes: self.notes,
        })
    }

    fn keyspaces(&self, rows: &[RootRow]) -> Result<Vec<LoadedKeyspace>, OpenError> {
        let mut keyspaces = Vec::new();
        for row in rows {
            if let RootRow::Keyspace(row) = row {
                keyspaces.push(self.keyspace(row, rows)?);
            }
        }
        Ok(keyspaces)
    }

    fn keyspace(&self, row: &KeyspaceRow, rows: &[RootRow]) -> Result<LoadedKeyspace, OpenError> {
        let own: BTreeMap<u32, &TabletRow> = tablet_rows(rows)
            .filter(|tablet| tablet.id.keyspace == row.id)
            .map(|tablet| (tablet.id.index, tablet))
            .collect();
        let damaged = |expected: String, found: String| OpenError::Damaged {
            path: self.volume.path().to_owned(),
            offset: 0,
            reason: "the root table contradicts itself",
            expected,
            found,
        };
        if !own.keys().copied().eq(0..row.tablet_count) {
            let expected =
                format!("rows of {} tablets of keyspace {:?}", row.tablet_count, row.name);
            return Err(damaged(expected, format!("rows of {}", own.len())));
        }
        let routing = match row.routing {
            RowRouting::Hash { prefix_len_bytes } => {
                Routing::Hash { prefix_len_bytes, tablets: row.tablet_count }
            }
            RowRouting::Range => {
                let boundaries = own.values().skip(1).map(|row| row.lower_boundary.clone());
                Routing::Range { boundaries: boundaries.collect() }
            }
        };
        routing.validate().map_err(|error| {
            damaged(
                format!("keyspace {:?}: {} {}", row.name, error.field, error.expected),
                error.found,
            )
        })?;
        let live_pages = own.values().map(|row| row.space.map_or(0, |space| space.live_pages));
        let live_pages = live_pages.collect();
        let (id, name, created_lsn) = (row.id, row.name.clone(), row.created_lsn);
        let def = KeyspaceDef { id, name, routing, created_lsn };
        Ok(LoadedKeyspace { def, live_pages })
    }

    async fn tablet(&mut self, row: &TabletRow) -> Result<LoadedTablet, OpenError> {
        let page_size = self.volume.page_size_bytes() as u32;
        let mut damage = None;
        let allocator = match row.space {
            None => PageAllocator::new(page_size),
            Some(space) => match self.space_map(row.id, &space).await? {
                Ok(map) => PageAllocator::load(page_size, &map),
                Err(error) => {
                    let reason = format!("space map of tablet {:?}: {error}", row.id);
                    self.notes.push(reason.clone());
                    damage = Some(reason);
                    PageAllocator::new(page_size)
                }
            },
        };
        let root = tree_root(row);
        let (merge_lsn, space) = (row.merge_lsn, row.space);
        let parts = TreeParts { root, merge_lsn, allocator, space };
        Ok(LoadedTablet { parts, twin_pages: Vec::new(), damage })
    }

    /// Reads a space map in force. Damage is for the caller, because it stays.
    async fn space_map(
        &self,
        tablet: TabletId,
        space: &TabletSpace,
    ) -> Result<Result<SpaceMap, ReadMapError>, OpenError> {
        match self.older_space_map(tablet, space).await? {
            Err(ReadMapError::Read(unread @ ReadPageError::Device { .. }))
                if self.unread_map == UnreadMap::Refuses =>
            {
                Err(unread.into())
            }
            read => Ok(read),
        }
    }

    /// Reads a space map that only a second failure would need.
    ///
    /// # Errors
    /// What says nothing of the map.
    async fn older_space_map(
        &self,
        tablet: TabletId,
        space: &TabletSpace,
    ) -> Result<Result<SpaceMap, ReadMapError>, OpenError> {
        match self.volume.read_space_map(self.shard, self.owner(tablet), space).await {
            Err(ReadMapError::Read(ReadPageError::Device { path, source, .. }))
                if !is_undelivered(&source) =>
            {
                Err(OpenError::from_io(path, "read a space map", source))
            }
            read => Ok(read),
        }
    }

    fn owner(&self, tablet: TabletId) -> PageOwner {
        PageOwner { store_id: self.volume.store_id(), tablet }
    }

    /// Holds the pages that only the older copy of a row needs: should the newer copy rot, they
    /// must still be what they were.
    async fn pin_older(
        &mut self,
        row: &TabletRow,
        until: SlotGeneration,
        tablet: &mut LoadedTablet,
    ) -> Result<(), OpenError> {
        let Some(space) = row.space else { return Ok(()) };
        if tablet.parts.space == Some(space) || tablet.damage.is_some() {
            return Ok(());
        }
        match self.older_space_map(row.id, &space).await? {
            Ok(map) => {
                let pages = tablet.parts.allocator.pin_map(&map);
                tablet.twin_pages.push((pages, until));
            }
            // Only a second failure would need it.
            Err(error) => self.notes.push(format!("older space map of {:?}: {error}", row.id)),
        }
        Ok(())
    }

    /// Keeps the space of a tablet that is not in force but could be again: its keyspace's row,
    /// or its own, stands in a copy that counts should a newer one rot. The publisher gives it
    /// back when no copy names it any more.
    async fn set_aside(&mut self, row: &TabletRow) -> Result<(), OpenError> {
        let Some(space) = row.space else { return Ok(()) };
        match self.older_space_map(row.id, &space).await? {
            Ok(map) => self.volume.set_aside(map.entries.iter().map(|entry| entry.extent)),
            // Only a second failure would need it.
            Err(error) => self.notes.push(format!("space map of dropped {:?}: {error}", row.id)),
        }
        Ok(())
    }

    fn mark_owned(
        &mut self,
        tablets: &mut BTreeMap<TabletId, LoadedTablet>,
    ) -> Result<(), OpenError> {
        for tablet in tablets.values() {
            let extents: Vec<u32> = tablet.parts.allocator.extents().collect();
            self.volume.mark_owned(extents).map_err(|error| OpenError::Damaged {
                path: self.volume.path().to_owned(),
                offset: 0,
                reason: "space maps contradict each other",
                expected: "each extent in one tablet".to_owned(),
                found: error.to_string(),
            })?;
        }
        if tablets.values().any(|tablet| tablet.damage.is_some()) {
            // Nobody knows which extents the damaged map named: none that exists is free.
            let free = self.volume.free_extents();
            drop(self.volume.take_extents(free, false));
            self.notes.push(format!("{free} extents stay unused until the space map is repaired"));
        }
        Ok(())
    }
}

/// The root that a tablet's row names.
pub(crate) fn tree_root(row: &TabletRow) -> Option<TreeRoot> {
    let child = |page| ChildRef { page, rows: row.row_count };
    row.root.map(|page| TreeRoot { child: child(page), level: row.root_level })
}

fn tablet_rows(rows: &[RootRow]) -> impl Iterator<Item = &TabletRow> + Clone {
    rows.iter().filter_map(|row| match row {
        RootRow::Tablet(row) => Some(row),
        RootRow::Catalog(_) | RootRow::Keyspace(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use sombra_runtime::sim::{Corruption, DiskOp, Fault, SimDisk};

    use super::*;
    use crate::format::root_table::RowKey;
    use crate::volume::RowChange;
    use crate::volume::tests::root_copies::{merge, merged_twice};
    use crate::volume::tests::world::{OWNER, PATH, config, run};

    async fn load(shard: &Shard) -> DataFile {
        let volume = Arc::new(Volume::open(shard, config()).await.unwrap());
        let loaded = RootTable::load(shard, &volume).await.unwrap();
        let unread_map = UnreadMap::Refuses;
        Loader { shard, volume, unread_map, notes: Vec::new() }.load(loaded).await.unwrap()
    }

    /// The row has no keyspace in force: its extents are nobody's, and not free.
    #[test]
    fn space_of_a_row_without_its_keyspace_is_free_only_when_given_back() {
        run(1, &merged_twice(1), |shard| async move {
            let data = load(&shard).await;
            assert!(data.tablets.is_empty() && data.notes.is_empty());
            let (before, aside) = (data.volume.free_extents(), data.volume.extents_aside());
            assert!(data.volume.give_back_aside() && !data.volume.give_back_aside());
            assert_eq!(u64::from(data.volume.free_extents() - before), aside);
            assert!(aside > 0 && data.volume.extents_aside() == 0);
        });
    }

    #[test]
    fn space_of_a_row_that_only_the_older_copy_holds_is_free_only_when_given_back() {
        let disk = merged_twice(2);
        run(2, &disk, {
            let disk = disk.clone();
            move |shard| async move {
                let data = load(&shard).await;
                data.table.advance_twins(&shard, &data.volume).await.unwrap();
                // Of the two copies that lose the row the second never gets there.
                disk.plan(DiskOp::Write, None, 2, Fault::LostWrite);
                let gone = [RowChange::Remove(RowKey::Tablet(OWNER.tablet))];
                data.table.publish(&shard, &data.volume, &gone).await.unwrap();
            }
        });
        disk.power_cut();
        run(3, &disk, |shard| async move {
            let data = load(&shard).await;
            assert!(data.table.row(RowKey::Tablet(OWNER.tablet)).is_none());
            assert!(data.volume.give_back_aside());
            let data = load(&shard).await;
            data.table.advance_twins(&shard, &data.volume).await.unwrap();
            assert!(!load(&shard).await.volume.give_back_aside(), "no copy names it any more");
        });
    }

    /// A keyspace of one tablet, whose row's older copy names another root and map.
    fn merged_with_its_keyspace(seed: u64) -> SimDisk {
        let disk = merged_twice(seed);
        run(seed, &disk, |shard| async move {
            let data = load(&shard).await;
            let (table, volume) = (&data.table, &data.volume);
            let row = RootRow::Keyspace(KeyspaceRow {
                id: OWNER.tablet.keyspace,
                name: "k".to_owned(),
                routing: RowRouting::Range,
                tablet_count: 1,
                created_lsn: Lsn::new(1),
            });
            table.publish(&shard, volume, &[RowChange::Put(row)]).await.unwrap();
            let mut data = load(&shard).await;
            assert!(data.older_roots.is_empty(), "both copies say the same");
            let tablet = data.tablets.get_mut(&OWNER.tablet).unwrap();
            assert!(tablet.twin_pages.is_empty() && tablet.damage.is_none());
            let (table, volume) = (&data.table, &data.volume);
            merge(&shard, (volume, table), &mut tablet.parts.allocator, 3).await;
        });
        disk
    }

    #[test]
    fn pages_and_root_of_a_rows_older_copy_are_kept_while_it_counts() {
        let disk = merged_with_its_keyspace(4);
        let map = run(5, &disk, |shard| async move {
            let data = load(&shard).await;
            let tablet = &data.tablets[&OWNER.tablet];
            let [(pages, until)] = &tablet.twin_pages[..] else { panic!("one older copy") };
            assert_eq!(pages.iter().map(|run| run.pages).sum::<u32>(), 1, "its map");
            assert!(tablet.parts.allocator.is_held(pages[0].addr));
            assert!(!data.table.is_in_both(*until));
            let [(of, root)] = &data.older_roots[..] else { panic!("one older root") };
            assert_eq!(*of, OWNER.tablet);
            assert_ne!(Some(*root), tablet.parts.root);
            tablet.parts.space.unwrap().map.addr
        });
        // Of a tablet whose own map is lost nothing can be kept: nobody knows what is free.
        disk.corrupt(PATH, map.offset_bytes(4096) + 100, Corruption::Garbage { len_bytes: 50 });
        run(6, &disk, |shard| async move {
            let data = load(&shard).await;
            let tablet = &data.tablets[&OWNER.tablet];
            assert!(tablet.damage.is_some() && tablet.twin_pages.is_empty());
            assert_eq!(data.older_roots.len(), 1);
        });
    }
}
