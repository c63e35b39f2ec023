//! The offline checker: every tree of a closed store, its space, its root table and its log.
//!
//! Knows what must hold between them. Writes nothing, and goes on after a problem, so that one
//! run names all of them.

mod problem;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sombra_runtime::Shard;

use crate::error::OpenError;
use crate::format::log_record::Record;
use crate::format::superblock::{Superblock, SuperblockTwin};
use crate::ids::{Lsn, PageAddr, StoreId, TabletId};
use crate::keyspace::LoadedKeyspace;
use crate::options::{Options, Routing};
use crate::recovery::{self, DataFile, LoadedTablet, LogEnd, ReplaySink};
use crate::volume::{PageRun, Volume};

use problem::BELOW_OLDER_ROOT;
pub(crate) use problem::hash_prefix_len_bytes;
pub use problem::{CheckProblem, KeyBounds, KeySpan, ProblemPlace, ProblemTablet};
pub(crate) use tree::{TreeWalk, WalkPart, WalkedTablet};

/// One tablet as the checker found it.
#[derive(Clone, Debug)]
pub struct CheckedTablet {
    pub keyspace: String,
    pub tablet: TabletId,
    /// Levels of the tree; 0 for an empty one.
    pub height: u32,
    pub rows: u64,
    pub leaf_pages: u64,
    pub inner_pages: u64,
    /// Pages of values that lie outside their leaf.
    pub overflow_pages: u64,
    pub map_pages: u64,
    /// Pages that only the older copy of its root needs.
    pub pinned_pages: u64,
    /// Pages in its extents that nothing needs.
    pub free_pages: u64,
    /// Bytes in use of its leaves' bytes, in percent; 100 without leaves.
    pub leaf_fill_percent: u64,
    pub merge_lsn: Lsn,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    pub store_id: StoreId,
    pub page_size_bytes: u32,
    /// 0 for a store that has only a log.
    pub data_file_bytes: u64,
    /// Extents that no tablet has.
    pub free_extents: u32,
    pub tablets: Vec<CheckedTablet>,
    pub log_records: u64,
    /// Where an opening would begin to replay.
    pub replay_from: Lsn,
    pub log_end: Lsn,
    pub log_stopped_by: String,
    /// Damage that another copy makes good.
    pub notes: Vec<String>,
    pub problems: Vec<CheckProblem>,
}

impl CheckReport {
    /// Of a store of which nothing but its superblock has been looked at.
    pub(crate) fn new(superblock: &Superblock) -> CheckReport {
        CheckReport {
            store_id: superblock.store_id,
            page_size_bytes: superblock.page_size_bytes,
            data_file_bytes: 0,
            free_extents: 0,
            tablets: Vec::new(),
            log_records: 0,
            replay_from: Lsn::ZERO,
            log_end: Lsn::ZERO,
            log_stopped_by: String::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// Checks the closed store in `dir`; `progress` is told of every tablet that is done.
///
/// # Errors
/// The store cannot be looked at: held by somebody, missing, or I/O on its superblock. Whatever
/// else is wrong is a problem in the report.
pub(crate) async fn check(
    shard: &Shard,
    dir: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<CheckReport, OpenError> {
    let picked = recovery::look_at_superblock(shard, dir).await?;
    let superblock = &picked.superblock;
    let mut report = CheckReport::new(superblock);
    if let SuperblockTwin::Damaged { error } = &picked.twin {
        let path = dir.join(recovery::SUPERBLOCK_FILE);
        report.notes.push(format!("{}, copy {}: {error}", path.display(), picked.copy.twin()));
    }
    let data = match recovery::look_at_data(shard, dir, superblock, &Options::default()).await {
        Ok(data) => data,
        Err(error) => {
            let place = ProblemPlace::file(&dir.join(recovery::DATA_FILE));
            report.problems.push(problem(place, "a data file", error));
            // Where the log is needed from stands in the data file.
            report.log_stopped_by = "not read: its start is not known".to_owned();
            return Ok(report);
        }
    };
    if let Some(data) = &data {
        check_data(shard, data, &mut report, &mut progress).await;
    }
    let marks = data.as_ref().map_or(recovery::RootMarks::NONE, |data| data.marks);
    report.replay_from = marks.start;
    match recovery::replay_log(shard, dir, superblock, marks, &mut CountRecords).await {
        Ok(log) => note_log(&mut report, log),
        Err(error) => {
            let place = log_place(dir, &error);
            report.problems.push(problem(place, "a whole log", error));
        }
    }
    Ok(report)
}

/// The file, and the offset if there is one, that an error of the log names.
pub(crate) fn log_place(dir: &Path, error: &OpenError) -> ProblemPlace {
    match error {
        OpenError::Damaged { path, offset, .. } | OpenError::Unreadable { path, offset, .. } => {
            ProblemPlace::at(path, *offset)
        }
        OpenError::ForeignLog { path, .. }
        | OpenError::StrayFile { path }
        | OpenError::Segment { path, .. }
        | OpenError::Record { path, .. }
        | OpenError::DiskFull { path, .. }
        | OpenError::Io { path, .. } => ProblemPlace::file(path),
        _ => ProblemPlace::file(&dir.join(recovery::WAL_DIR)),
    }
}

pub(crate) fn problem(
    place: ProblemPlace,
    expected: &str,
    found: impl std::fmt::Display,
) -> CheckProblem {
    let (expected, found) = (expected.to_owned(), found.to_string());
    CheckProblem { place, tablet: None, keys: None, expected, found }
}

fn note_log(report: &mut CheckReport, log: LogEnd) {
    report.log_records = log.records;
    report.log_end = log.end;
    report.log_stopped_by = log.stopped_by;
}

struct CountRecords;

impl ReplaySink for CountRecords {
    fn record(&mut self, _lsn: Lsn, _record: Record<'_>) -> Result<(), OpenError> {
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

/// Checks every tree and space map; each problem names its tablet.
pub(crate) async fn check_data(
    shard: &Shard,
    data: &DataFile,
    report: &mut CheckReport,
    progress: &mut impl FnMut(usize, usize),
) {
    report.notes.extend_from_slice(&data.notes);
    report.data_file_bytes = data.volume.len_bytes();
    report.free_extents = data.volume.free_extents();
    let mut owners: BTreeMap<PageAddr, TabletId> = BTreeMap::new();
    for (done, (&id, loaded)) in data.tablets.iter().enumerate() {
        progress(done, data.tablets.len());
        let found = keyspace_of(data, id);
        let name = found.map_or_else(String::new, |found| found.def.name.clone());
        let tablet = ProblemTablet { keyspace: name, id };
        if let Some(reason) = &loaded.damage {
            let problem = problem(map_place(&data.volume, loaded), "a space map", reason);
            report.problems.push(problem.of(&tablet));
        }
        let walked = WalkedTablet::new(tablet.clone(), routing_of(found));
        let mut walk = TreeWalk::new(shard, &data.volume, &walked);
        walk.walk(loaded.parts.root).await;
        report.problems.append(&mut walk.problems);
        for &page in &walk.pages {
            if let Some(other) = owners.insert(page, id) {
                let found = format!("it in tablet {}/{} too", other.keyspace.as_u32(), other.index);
                let place = page_place(&data.volume, page);
                let problem = problem(place, "a page in one tree", found);
                report.problems.push(problem.of(&tablet));
            }
        }
        let map_pages = loaded.parts.allocator.map_pages().iter().copied().collect();
        if loaded.damage.is_none() && walk.is_complete {
            let (volume, problems) = (&data.volume, &mut report.problems);
            compare_space(&walk.pages, &map_pages, loaded, (volume, &tablet, problems));
        }
        let page_size_bytes = data.volume.page_size_bytes() as u64;
        let walked = (&walk, page_size_bytes);
        report.tablets.push(checked_tablet(walked, loaded, tablet.clone()));
    }
    check_older(shard, data, report).await;
    progress(data.tablets.len(), data.tablets.len());
}

/// What the store would fall back to if the newest copy of a root page were damaged.
async fn check_older(shard: &Shard, data: &DataFile, report: &mut CheckReport) {
    for &(id, root) in &data.older_roots {
        let found = keyspace_of(data, id);
        let keyspace = found.map_or_else(String::new, |found| found.def.name.clone());
        let walked = WalkedTablet::new(ProblemTablet { keyspace, id }, routing_of(found));
        let mut walk = TreeWalk::new(shard, &data.volume, &walked);
        walk.walk(Some(root)).await;
        report.problems.extend(walk.problems.into_iter().map(|problem| {
            let detail = Some(BELOW_OLDER_ROOT);
            CheckProblem { place: ProblemPlace { detail, ..problem.place }, ..problem }
        }));
    }
}

fn checked_tablet(
    (walk, page_size_bytes): (&TreeWalk<'_>, u64),
    loaded: &LoadedTablet,
    tablet: ProblemTablet,
) -> CheckedTablet {
    let allocator = &loaded.parts.allocator;
    CheckedTablet {
        keyspace: tablet.keyspace,
        tablet: tablet.id,
        height: loaded.parts.root.map_or(0, |root| u32::from(root.level) + 1),
        rows: walk.rows,
        leaf_pages: walk.leaf_pages,
        inner_pages: walk.inner_pages,
        overflow_pages: walk.overflow_pages,
        map_pages: allocator.map_pages().len() as u64,
        pinned_pages: allocator.held_pages().saturating_sub(allocator.live_pages()),
        free_pages: allocator.free_pages(),
        leaf_fill_percent: walk.leaf_fill_percent(page_size_bytes),
        merge_lsn: loaded.parts.merge_lsn,
    }
}

fn keyspace_of(data: &DataFile, tablet: TabletId) -> Option<&LoadedKeyspace> {
    data.keyspaces.iter().find(|keyspace| keyspace.def.id == tablet.keyspace)
}

fn routing_of(keyspace: Option<&LoadedKeyspace>) -> Option<&Routing> {
    keyspace.map(|found| &found.def.routing)
}

fn page_place(volume: &Volume, page: PageAddr) -> ProblemPlace {
    ProblemPlace::page(volume.path(), page, volume.page_size_bytes())
}

/// Where a tablet's space map begins.
fn map_place(volume: &Volume, loaded: &LoadedTablet) -> ProblemPlace {
    match loaded.parts.space {
        Some(space) => page_place(volume, space.map.addr),
        None => ProblemPlace::file(volume.path()),
    }
}

/// The keys that the routing sends to a tablet: from the first to below the second.
pub(crate) fn bounds(routing: &Routing, index: u32) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    match routing {
        Routing::Range { boundaries } => {
            let boundary = |at: u32| boundaries.get(at as usize).cloned();
            (index.checked_sub(1).and_then(boundary), boundary(index))
        }
        Routing::Hash { tablets, .. } => {
            // The first hash of tablet i is the lowest h with h * tablets >= i * 2^64.
            let first = |index: u32| {
                let hash = (u128::from(index) << 64).div_ceil(u128::from(*tablets));
                u64::try_from(hash).ok().map(|hash| hash.to_be_bytes().to_vec())
            };
            (first(index), first(index + 1))
        }
    }
}

/// The map in the root's row must name exactly what the root reaches, and itself.
fn compare_space(
    reached: &BTreeSet<PageAddr>,
    map_pages: &BTreeSet<PageAddr>,
    loaded: &LoadedTablet,
    (volume, tablet, problems): (&Volume, &ProblemTablet, &mut Vec<CheckProblem>),
) {
    let mapped: BTreeSet<PageAddr> =
        loaded.parts.allocator.live_runs().iter().flat_map(pages_of).collect();
    let expected: BTreeSet<PageAddr> = reached.union(map_pages).copied().collect();
    if let Some(page) = expected.difference(&mapped).next() {
        let count = expected.difference(&mapped).count();
        let found = format!("page {page} and {} more missing from it", count - 1);
        let problem =
            problem(map_place(volume, loaded), "a space map with every reachable page", found);
        problems.push(problem.of(tablet));
    }
    if let Some(page) = mapped.difference(&expected).next() {
        let count = mapped.difference(&expected).count();
        let found = format!("page {page} and {} more that nothing reaches", count - 1);
        let problem =
            problem(map_place(volume, loaded), "a space map with reachable pages only", found);
        problems.push(problem.of(tablet));
    }
}

fn pages_of(run: &PageRun) -> impl Iterator<Item = PageAddr> + use<> {
    let PageRun { addr, pages } = *run;
    (0..u64::from(pages)).map(move |at| addr.plus(at))
}
