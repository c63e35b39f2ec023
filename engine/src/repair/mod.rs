//! Repairing a damaged store, and saving what can still be read of one.
//!
//! Nothing is guessed silently: a plan says what is wrong, what would be done and what that costs;
//! only [`apply`] changes something, and keeps what it takes away in `repair-N`. What no repair
//! can bring back to an openable store, [`salvage`] reads into a new one. Every byte is verified
//! as an opening would verify it (INV-6).

mod log_rows;
mod lost;
mod report;
mod roots;
mod salvage;
mod target;

use std::path::Path;

use sombra_runtime::{Runtime, Shard};

use crate::check::{self, CheckReport, ProblemPlace, problem};
use crate::error::OpenError;
use crate::format::root_table::{RootRow, RowKey};
use crate::format::superblock::{PickedSuperblock, Superblock, SuperblockTwin};
use crate::ids::Lsn;
use crate::inspect::on_shard;
use crate::options::Options;
use crate::recovery::{self, DataFile, FoundLog, LogDamage, RootMarks, Surveyed};
use crate::volume::Access;

pub use crate::recovery::LogGap;
use lost::LostRecords;
pub use report::{Finding, LogCut, LostKey, Remedy, RepairReport, TabletAhead};
pub use salvage::{LostKeys, SalvageError, SalvageReport, SalvagedKeyspace, salvage};

/// Says what is wrong with the closed store in `dir`, what [`apply`] would do and what it would
/// cost. Writes nothing but the lock. `progress` is told how many tablets of how many are done.
///
/// # Errors
/// The store is held by somebody, its superblock is damaged in both copies, another build wrote
/// it, or the file system does not let it be read. What a device does not deliver is damage.
pub async fn plan(
    runtime: &Runtime,
    dir: &Path,
    progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<RepairReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadWrite).await?;
        Ok(look(shard, &dir, progress).await?.report)
    })
    .await
}

/// Does what [`plan`] says, and then checks the store again: what is left is in the report.
///
/// # Errors
/// As [`plan`], and I/O. A repair that was cut off is begun again by the next.
pub async fn apply(
    runtime: &Runtime,
    dir: &Path,
    progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<RepairReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadWrite).await?;
        let looked = look(shard, &dir, progress).await?;
        mend(shard, &dir, looked).await
    })
    .await
}

/// What a look found, and what mending it takes.
struct Looked {
    report: RepairReport,
    picked: PickedSuperblock,
    marks: RootMarks,
    /// With what lies behind its damage; `None` where its start is not known.
    log: Option<(FoundLog, Option<Surveyed>)>,
}

async fn look(
    shard: &Shard,
    dir: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Looked, OpenError> {
    let picked = recovery::look_at_superblock(shard, dir).await?;
    let mut report = RepairReport::new(picked.superblock.store_id);
    if let SuperblockTwin::Damaged { error } = &picked.twin {
        let (path, copy) = (dir.join(recovery::SUPERBLOCK_FILE), picked.copy.twin());
        let place = ProblemPlace::at(&path, copy.offset());
        let problem = problem(place, "two whole copies of the superblock", error);
        report.find(problem, Remedy::RewriteCopy);
    }
    let data = recovery::look_at_data(shard, dir, &picked.superblock, &Options::default()).await;
    let data = match data {
        Ok(data) => data,
        Err(error @ (OpenError::Io { .. } | OpenError::Newer { .. })) => return Err(error),
        Err(error) => {
            let place = ProblemPlace::file(&dir.join(recovery::DATA_FILE));
            report.find(problem(place, "a data file", error), Remedy::Salvage);
            return Ok(Looked { report, picked, marks: RootMarks::NONE, log: None });
        }
    };
    for damaged in data.iter().flat_map(|data| &data.damaged_roots) {
        let place = ProblemPlace::at(&dir.join(recovery::DATA_FILE), damaged.offset);
        let expected = format!("both copies of root slot {}", damaged.slot);
        report.find(problem(place, &expected, &damaged.reason), Remedy::RewriteCopy);
    }
    let mut checked = CheckReport::new(&picked.superblock);
    if let Some(data) = &data {
        check::check_data(shard, data, &mut checked, &mut progress).await;
    }
    for problem in checked.problems {
        // The rows in force, written over the older root, leave nothing that reaches it.
        let remedy = match problem.is_below_older_root() {
            true => Remedy::RewriteCopy,
            false => Remedy::Salvage,
        };
        report.find(problem, remedy);
    }
    let marks = data.as_ref().map_or(RootMarks::NONE, |data| data.marks);
    let mut lost = LostRecords::new(data.as_ref());
    let seen = (&picked.superblock, marks);
    let log = recovery::look_at_log(shard, dir, seen, &mut lost.before_damage()).await?;
    note_strangers(&log, &mut report);
    let seen = match &log.damage {
        None => None,
        Some(damage) => {
            let place = check::log_place(dir, &damage.error);
            report.find(problem(place, "a whole log", &damage.error), Remedy::CutLog);
            let seen = log.survey(shard, &picked.superblock, Some(damage.end), &mut lost).await?;
            report.log_cut = Some(log_cut((&log, damage), (&seen, lost), (&picked, data.as_ref())));
            Some(seen)
        }
    };
    Ok(Looked { report, picked, marks, log: Some((log, seen)) })
}

fn note_strangers(log: &FoundLog, report: &mut RepairReport) {
    for stranger in &log.strangers {
        let place = ProblemPlace::file(&stranger.path);
        let problem = problem(place, "a segment of the store's log", &stranger.error);
        report.find(problem, Remedy::MoveAside);
    }
}

/// Where nothing of a log can be read, and how far it went by all that is known; `newest` is the
/// newest commit that a tree holds.
fn gaps(
    log: &FoundLog,
    seen: &Surveyed,
    (superblock, newest): (&Superblock, Lsn),
) -> (Vec<LogGap>, Lsn) {
    let linked = superblock.links.iter().map(|link| link.previous_end).max();
    let known = newest.max(seen.newest_stamp).max(linked.unwrap_or(Lsn::ZERO));
    let known = known.max(log.reach(seen, superblock.segment_bytes));
    let mut gaps = seen.gaps.clone();
    if known > seen.end {
        gaps.push(LogGap { from: seen.end, to: known });
    }
    (gaps, known)
}

/// What ending the log before its damage costs, as far as it can be known.
fn log_cut(
    (log, damage): (&FoundLog, &LogDamage),
    (seen, lost): (&Surveyed, LostRecords<'_>),
    (picked, data): (&PickedSuperblock, Option<&DataFile>),
) -> LogCut {
    let cut = damage.end;
    let newest = data.map_or(Lsn::ZERO, |data| data.marks.newest);
    let (gaps, known) = gaps(log, seen, (&picked.superblock, newest));
    LogCut {
        end: cut,
        lost_up_to: known,
        records: seen.records,
        blocks: seen.blocks,
        gaps,
        keyspaces_made: lost.made,
        keyspaces_dropped: lost.dropped,
        keys: lost.keys,
        keys_total: lost.keys_total,
        tablets_ahead: data.map_or_else(Vec::new, |data| tablets_ahead(data, cut)),
    }
}

/// Tablets whose trees hold commits that a log which ends at `cut` does not.
fn tablets_ahead(data: &DataFile, cut: Lsn) -> Vec<TabletAhead> {
    let rows = data.tablets.keys().filter_map(|&id| match data.table.row(RowKey::Tablet(id)) {
        Some(RootRow::Tablet(row)) => Some((id, row.tree_lsn)),
        _ => None,
    });
    let ahead = rows.filter(|&(_, tree_lsn)| tree_lsn > cut);
    ahead
        .map(|(id, tree_lsn)| TabletAhead { tablet: lost::tablet_name(data, id), tree_lsn })
        .collect()
}

async fn mend(shard: &Shard, dir: &Path, looked: Looked) -> Result<RepairReport, OpenError> {
    let Looked { mut report, picked, marks, log } = looked;
    report.is_applied = true;
    let has = |remedy: Remedy| report.findings.iter().any(|finding| finding.remedy == remedy);
    let moves = has(Remedy::MoveAside);
    let cuts = has(Remedy::CutLog) && report.does(Remedy::CutLog);
    if matches!(picked.twin, SuperblockTwin::Damaged { .. }) {
        recovery::rewrite_superblock(shard, dir).await?;
    }
    let roots = dir.join(recovery::DATA_FILE);
    let is_root = |finding: &Finding| {
        finding.remedy == Remedy::RewriteCopy && finding.problem.place.file == roots
    };
    if report.findings.iter().any(is_root) {
        recovery::rewrite_root_copies(shard, dir, &picked.superblock).await?;
    }
    if let Some((found, seen)) = log.filter(|_| moves || cuts) {
        let keep = recovery::make_keep_dir(shard, dir).await?;
        found.set_aside(shard, &keep).await?;
        if let (true, Some(damage), Some(seen)) = (cuts, &found.damage, &seen) {
            recovery::cut_log(shard, dir, (&found, damage, marks), seen, &keep).await?;
        }
        report.kept_in = Some(keep);
    }
    if !report.findings.is_empty() {
        report.left = check::check(shard, dir, |_, _| {}).await?.problems;
    }
    Ok(report)
}
