//! Where a store's bytes are: in use, held for an older root, free, in the log.

use std::path::Path;

use sombra_runtime::{Runtime, Shard};

use super::on_shard;
use crate::check::{CheckProblem, ProblemPlace, ProblemTablet, problem};
use crate::error::OpenError;
use crate::format::root_table::ROOT_EXTENTS;
use crate::format::segment::segment_start;
use crate::format::superblock::Superblock;
use crate::ids::{Lsn, StoreId, TabletId};
use crate::limits::EXTENT_BYTES;
use crate::options::Options;
use crate::recovery::{self, DataFile, LoadedTablet, SegmentFiles};
use crate::volume::{Access, FloorHolder};

/// Where a store's bytes are.
#[derive(Clone, Debug)]
pub struct SpaceReport {
    pub store_id: StoreId,
    pub page_size_bytes: u32,
    pub extent_bytes: u64,
    /// `None` for a store that has only a log.
    pub data: Option<DataSpace>,
    pub log: LogSpace,
    pub notes: Vec<String>,
    pub problems: Vec<CheckProblem>,
}

/// The data file.
#[derive(Clone, Debug)]
pub struct DataSpace {
    pub file_bytes: u64,
    pub root_table_bytes: u64,
    /// Extents that no tablet has.
    pub free_extents_bytes: u64,
    /// What commits leave for merges and deletes once the file cannot grow, as long as
    /// `data_bytes_max` is not set lower than the default.
    pub reserve_bytes: u64,
    pub tablets: Vec<TabletSpaceReport>,
}

/// The space of one tablet.
#[derive(Clone, Debug)]
pub struct TabletSpaceReport {
    pub keyspace: String,
    pub tablet: TabletId,
    /// Pages that the root in force reaches, those of the space map included.
    pub live_pages: u64,
    pub map_pages: Vec<u64>,
    /// Free pages in the tablet's extents.
    pub free_pages: u64,
    /// Pages that only the older copy of the tablet's root needs, and where that copy lies.
    pub pinned_pages: u64,
    pub pinned_by: Option<OlderRoot>,
    pub merge_lsn: Lsn,
    pub extents: Vec<ExtentReport>,
}

/// The older copy of a tablet's root: it goes with the next write of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderRoot {
    pub slot: u32,
    /// The pages go when both copies have reached it.
    pub until_generation: u64,
}

/// One extent, bit i for page i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentReport {
    pub extent: u32,
    pub live: u64,
    /// Live, or needed by the older root.
    pub held: u64,
}

/// The log.
#[derive(Clone, Debug)]
pub struct LogSpace {
    pub segment_bytes: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// Files that hold nothing above the floor: the next opening may remove or reuse them.
    pub files_below_floor: u64,
    /// What lies at or below it is in both copies of every root.
    pub floor: Lsn,
    pub held_by: LogHolder,
}

/// What keeps the log from being cut further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogHolder {
    /// There is no data file: all of the log is needed.
    NoDataFile,
    /// There is no tablet; only keyspace changes count.
    Nothing,
    /// The copies of this tablet's root have the lowest merge LSN.
    Tablet { tablet: TabletId, keyspace: String },
    /// Keyspaces made or dropped above the floor are not in both copies of the catalog row.
    Catalog,
    /// A crash left the copies of this root slot with different rows.
    UnevenSlot { slot: u32 },
    /// The data file cannot be read.
    Unknown,
}

/// Reads where the bytes of the closed store in `dir` are.
///
/// # Errors
/// The store cannot be looked at. A damaged data file is a problem in the report.
pub async fn space(runtime: &Runtime, dir: &Path) -> Result<SpaceReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        let picked = recovery::look_at_superblock(shard, &dir).await?;
        look(shard, &dir, &picked.superblock).await
    })
    .await
}

async fn look(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
) -> Result<SpaceReport, OpenError> {
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    let data = recovery::look_at_data(shard, dir, superblock, &Options::default()).await;
    let (floor, held_by) = match &data {
        Ok(Some(data)) => holder(data),
        Ok(None) => (Lsn::ZERO, LogHolder::NoDataFile),
        Err(_) => (Lsn::ZERO, LogHolder::Unknown),
    };
    let data = match data {
        Ok(data) => data,
        Err(error) => {
            let place = ProblemPlace::file(&dir.join(recovery::DATA_FILE));
            problems.push(problem(place, "a data file that can be read", error));
            None
        }
    };
    if let Some(data) = &data {
        notes.clone_from(&data.notes);
        let damages = data.tablets.iter().filter_map(|(id, loaded)| {
            let reason = loaded.damage.as_ref()?;
            let tablet = ProblemTablet { keyspace: keyspace_name(data, *id), id: *id };
            let place = ProblemPlace::file(data.volume.path());
            Some(problem(place, "a space map", reason).of(&tablet))
        });
        problems.extend(damages);
    }
    let wal_dir = dir.join(recovery::WAL_DIR);
    let files = SegmentFiles::look(shard, &wal_dir, superblock, Access::ReadOnly).await?;
    let mut log = LogSpace {
        segment_bytes: superblock.segment_bytes,
        files: 0,
        file_bytes: 0,
        files_below_floor: 0,
        floor,
        held_by,
    };
    let first = files.get(0).map(|file| (0, file));
    for (number, file) in first.into_iter().chain(files.above(0)) {
        log.files += 1;
        log.file_bytes += file.len_bytes;
        let end = segment_start(number + 1, superblock.segment_bytes);
        log.files_below_floor += u64::from(end <= floor);
    }
    Ok(SpaceReport {
        store_id: superblock.store_id,
        page_size_bytes: superblock.page_size_bytes,
        extent_bytes: EXTENT_BYTES,
        data: data.as_ref().map(data_space),
        log,
        notes,
        problems,
    })
}

fn data_space(data: &DataFile) -> DataSpace {
    let tablets = data.tablets.iter().map(|(&id, loaded)| tablet_space(data, id, loaded));
    DataSpace {
        file_bytes: data.volume.len_bytes(),
        root_table_bytes: u64::from(ROOT_EXTENTS) * EXTENT_BYTES,
        free_extents_bytes: u64::from(data.volume.free_extents()) * EXTENT_BYTES,
        reserve_bytes: data.volume.reserve_bytes(),
        tablets: tablets.collect(),
    }
}

fn tablet_space(data: &DataFile, tablet: TabletId, loaded: &LoadedTablet) -> TabletSpaceReport {
    let allocator = &loaded.parts.allocator;
    let mut pinned_by = loaded
        .twin_pages
        .iter()
        .map(|(_, until)| OlderRoot { slot: until.slot, until_generation: until.generation });
    let extents = allocator.extent_bits();
    TabletSpaceReport {
        keyspace: keyspace_name(data, tablet),
        tablet,
        live_pages: allocator.live_pages(),
        map_pages: allocator.map_pages().iter().map(|page| page.as_u64()).collect(),
        free_pages: allocator.free_pages(),
        pinned_pages: allocator.held_pages() - allocator.live_pages(),
        pinned_by: pinned_by.next_back(),
        merge_lsn: loaded.parts.merge_lsn,
        extents: extents.map(|(extent, live, held)| ExtentReport { extent, live, held }).collect(),
    }
}

fn holder(data: &DataFile) -> (Lsn, LogHolder) {
    let floor = data.table.floor();
    match floor.holder {
        FloorHolder::UnevenSlot(slot) => (Lsn::ZERO, LogHolder::UnevenSlot { slot }),
        _ if floor.catalog_lsn < floor.merge_lsn && floor.holder != FloorHolder::Nothing => {
            (floor.catalog_lsn, LogHolder::Catalog)
        }
        FloorHolder::Nothing => (floor.catalog_lsn, LogHolder::Nothing),
        FloorHolder::Tablet(tablet) => {
            let keyspace = keyspace_name(data, tablet);
            (floor.merge_lsn, LogHolder::Tablet { tablet, keyspace })
        }
    }
}

fn keyspace_name(data: &DataFile, tablet: TabletId) -> String {
    let found = data.keyspaces.iter().find(|keyspace| keyspace.def.id == tablet.keyspace);
    found.map_or_else(String::new, |found| found.def.name.clone())
}
