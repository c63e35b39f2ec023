//! Opening a store: lock, superblock, replay, a fresh segment, the link to it.
//!
//! Knows the order in which these become durable. Must never know what a window does with what
//! is replayed (it hands records to a [`ReplaySink`]), and never writes into an old log tail.
//! An opening that only reads stops behind the replay.

mod create;
mod cut;
mod data_file;
mod replay;
mod report;
mod segment_files;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sombra_runtime::{DmaFile, FileLock, FlushVia, IoClass, Shard, WriteCache, WriteMode};

use crate::error::OpenError;
use crate::format::segment::{payload_bytes_per_segment, segment_start};
use crate::format::superblock::{
    FEATURE_DATA_FILE, PickedSuperblock, SUPERBLOCK_COPY_BYTES, Superblock, SuperblockCopy,
    SuperblockError, SuperblockPickError, pick_decoded,
};
use crate::format::{BLOCK_SIZE_BYTES, IncarnationLink};
use crate::ids::{Incarnation, Lsn};
use crate::limits;
use crate::media::read_past_damage;
use crate::options::{DurabilityMethod, OpenMode, Options};
use crate::volume::{Access, RootTable, Volume, VolumeConfig};
use crate::wal::segments::{self, SegmentIdentity};

pub(crate) use cut::{
    FoundLog, LogDamage, cut_log, look_at_log, make_keep_dir, rewrite_root_copies,
    rewrite_superblock,
};
use data_file::UnreadMap;
pub(crate) use data_file::{DATA_FILE, DataFile, LoadedTablet, tree_root};
use replay::first_needed_link;
pub(crate) use replay::{LogEnd, ReplaySink, RootMarks, replay};
pub use report::OpenReport;
pub(crate) use segment_files::SegmentFiles;
pub use survey::LogGap;
pub(crate) use survey::Surveyed;

pub(crate) const SUPERBLOCK_FILE: &str = "superblock";
pub(crate) const WAL_DIR: &str = "wal";
pub(crate) const LOCK_FILE: &str = "LOCK";
/// File in the store's directory that a live store refreshes once a second.
pub const METRICS_FILE: &str = "metrics";

/// Everything a store needs to begin its incarnation.
pub(crate) struct Opened {
    pub(crate) lock: FileLock,
    pub(crate) identity: SegmentIdentity,
    pub(crate) segments: OpenedSegments,
    pub(crate) volume: Arc<Volume>,
    pub(crate) roots: Arc<RootTable>,
    /// First LSN of this incarnation.
    pub(crate) start: Lsn,
    pub(crate) method: DurabilityMethod,
    pub(crate) report: OpenReport,
}

/// The log's files as an opening leaves them, with the lengths of those it does not write to.
pub(crate) enum OpenedSegments {
    Writing { first: (u64, DmaFile), older: BTreeMap<u64, u64> },
    Reading { all: BTreeMap<u64, u64> },
}

/// What an opening finds before it writes anything.
struct Found {
    superblock_file: DmaFile,
    picked: PickedSuperblock,
    config: VolumeConfig,
    data: Option<DataFile>,
    marks: RootMarks,
    files: SegmentFiles,
    replayed: LogEnd,
}

/// Opens or makes the store in `dir`, handing every replayed record to `sink`.
///
/// # Errors
/// As `OpenError`; the store is as it was, and what was replayed was never served.
pub(crate) async fn open(
    shard: &Shard,
    dir: &Path,
    options: &Options,
    sink: &mut impl ReplaySink,
) -> Result<Opened, OpenError> {
    let begun = shard.now();
    let access = match options.open_mode {
        OpenMode::ReadOnly => Access::ReadOnly,
        OpenMode::CreateIfMissing | OpenMode::MustExist | OpenMode::CreateNew => Access::ReadWrite,
    };
    create::ensure_directory(shard, dir, options.open_mode).await?;
    create::refuse_other_directory(shard, dir).await?;
    let lock = take_lock(shard, dir, access).await?;
    let created = create::ensure_superblock(shard, dir, options).await?;
    let found = find(shard, dir, (options, access), sink).await?;
    let mut opened = match access {
        Access::ReadWrite => begin(shard, dir, options, (found, lock)).await?,
        Access::ReadOnly => only_read(dir, options, (found, lock))?,
    };
    (opened.report.created, opened.report.took) = (created, shard.now().saturating_since(begun));
    Ok(opened)
}

async fn find(
    shard: &Shard,
    dir: &Path,
    (options, access): (&Options, Access),
    sink: &mut impl ReplaySink,
) -> Result<Found, OpenError> {
    let superblock_file = open_file(shard, &dir.join(SUPERBLOCK_FILE), access).await?;
    let picked = read_superblock(shard, dir, &superblock_file).await?;
    options.validate_data_bytes(picked.superblock.page_size_bytes)?;
    let config = data_file::config(dir, &picked.superblock, options, access);
    let load = data_file::load(shard, &picked.superblock, config.clone(), UnreadMap::Refuses);
    let mut data = load.await?;
    let marks = data.as_ref().map_or(RootMarks::NONE, |data| data.marks);
    sink.begin(picked.superblock.page_size_bytes, data.as_mut());
    let files = SegmentFiles::look(shard, &dir.join(WAL_DIR), &picked.superblock, access).await?;
    let replayed = replay(shard, &picked.superblock, (&files, marks), sink).await?;
    // What is served from now on must outlive a power loss that follows the kill (T11). The data
    // file was flushed before its root table was read.
    files.flush_tail(shard, &replayed).await?;
    Ok(Found { superblock_file, picked, config, data, marks, files, replayed })
}

/// Begins an incarnation: the data file if there is none yet, a segment, the link to it.
async fn begin(
    shard: &Shard,
    dir: &Path,
    options: &Options,
    (found, lock): (Found, FileLock),
) -> Result<Opened, OpenError> {
    let Found { superblock_file, picked, config, data, marks, mut files, replayed } = found;
    let links = picked.superblock.links.len();
    if links >= limits::LINKS_MAX {
        let path = dir.to_owned();
        return Err(OpenError::TooManyIncarnations {
            path,
            expected: limits::LINKS_MAX,
            found: links,
        });
    }
    let mut superblock = picked.superblock.clone();
    let method = choose_method(shard, dir, options, &superblock_file, &mut superblock).await?;
    let data = match data {
        Some(data) => data,
        None => data_file::create(shard, config, options.device.as_deref()).await?,
    };
    if !data.damaged_roots.is_empty() {
        // A copy that the device delivers again later must not be believed then: merges take the
        // pages that only it names.
        data.table.advance_twins(shard, &data.volume).await?;
    }
    superblock.required_features |= FEATURE_DATA_FILE;
    let link = next_link(&superblock, &files, &replayed);
    let identity = identity(dir, &superblock, link);
    let first = begin_segment(shard, &identity, &mut files, link, &replayed).await?;
    add_link(&mut superblock, link, (&replayed, marks.floor));
    write_superblock(shard, dir, &superblock_file, &picked, superblock.clone()).await?;
    // Both copies name the link: what lies behind the old tail is never read again.
    let kept = (superblock.links.as_slice(), marks.floor);
    let older = files.reclaim(shard, kept, first.0).await?;
    let mut report = OpenReport::new(&picked, link.incarnation, &replayed);
    report.superblock_repaired = report::damaged_twin(&picked);
    (report.durability_method, report.replayed_from) = (method, marks.start);
    report.notes = data.notes;
    Ok(Opened {
        lock,
        identity,
        segments: OpenedSegments::Writing { first, older },
        volume: data.volume,
        roots: data.table,
        start: link.new_start,
        method,
        report,
    })
}

/// Stands behind the end of the log as the next incarnation would, and leaves all as it is.
fn only_read(
    dir: &Path,
    options: &Options,
    (found, lock): (Found, FileLock),
) -> Result<Opened, OpenError> {
    let Found { picked, data, marks, files, replayed, .. } = found;
    let superblock = &picked.superblock;
    let data = data.ok_or_else(|| {
        let path = dir.join(DATA_FILE);
        let reason = "expected a data file, found none; an opening for writing makes it";
        OpenError::DataFile { reason: format!("{}: {reason}", path.display()) }
    })?;
    let link = next_link(superblock, &files, &replayed);
    let method = options.durability_method.unwrap_or(superblock.durability_method);
    let mut report = OpenReport::new(&picked, link.incarnation, &replayed);
    (report.read_only, report.replayed_from) = (true, marks.start);
    report.durability_method = method;
    let damaged = report::damaged_twin(&picked).map(|damaged| format!("superblock {damaged}"));
    report.notes = data.notes.into_iter().chain(damaged).collect();
    Ok(Opened {
        lock,
        identity: identity(dir, superblock, link),
        segments: OpenedSegments::Reading { all: files.lengths() },
        volume: data.volume,
        roots: data.table,
        start: link.new_start,
        method,
        report,
    })
}

fn identity(dir: &Path, superblock: &Superblock, link: IncarnationLink) -> SegmentIdentity {
    SegmentIdentity {
        wal_dir: dir.join(WAL_DIR),
        store_id: superblock.store_id,
        incarnation: link.incarnation,
        segment_bytes: superblock.segment_bytes,
    }
}

/// The superblock in force, for those who only look.
pub(crate) async fn look_at_superblock(
    shard: &Shard,
    dir: &Path,
) -> Result<PickedSuperblock, OpenError> {
    let file = open_file(shard, &dir.join(SUPERBLOCK_FILE), Access::ReadOnly).await?;
    read_superblock(shard, dir, &file).await
}

/// What the data file holds, for those who only look.
pub(crate) async fn look_at_data(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
    options: &Options,
) -> Result<Option<DataFile>, OpenError> {
    let config = data_file::config(dir, superblock, options, Access::ReadOnly);
    data_file::load(shard, superblock, config, UnreadMap::IsDamage).await
}

/// Opens the data file of a closed store and believes nothing in it; `None` without one.
pub(crate) async fn open_volume(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
) -> Result<Option<Volume>, OpenError> {
    if superblock.required_features & FEATURE_DATA_FILE == 0 {
        return Ok(None);
    }
    let config = data_file::config(dir, superblock, &Options::default(), Access::ReadOnly);
    Ok(Some(Volume::open(shard, config).await?))
}

/// Replays the log of a closed store into `sink`, for those who only look.
pub(crate) async fn replay_log(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
    marks: RootMarks,
    sink: &mut impl ReplaySink,
) -> Result<LogEnd, OpenError> {
    let wal_dir = dir.join(WAL_DIR);
    let files = SegmentFiles::look(shard, &wal_dir, superblock, Access::ReadOnly).await?;
    replay(shard, superblock, (&files, marks), sink).await
}

/// Takes the lock before anything of the store is read. Readers share it, and make none where
/// there is no store.
pub(crate) async fn take_lock(
    shard: &Shard,
    dir: &Path,
    access: Access,
) -> Result<FileLock, OpenError> {
    let path = dir.join(LOCK_FILE);
    let taken = match access {
        Access::ReadWrite => shard.lock_exclusive(&path).await,
        Access::ReadOnly => {
            let superblock = dir.join(SUPERBLOCK_FILE);
            let exists = shard.path_exists(&superblock).await;
            if !exists.map_err(io_error(&superblock, "look"))? {
                let found = "none".to_owned();
                return Err(OpenError::Missing { path: dir.to_owned(), found });
            }
            shard.lock_shared(&path).await
        }
    };
    taken.map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { path: path.clone() }
        } else {
            OpenError::from_io(path.clone(), "take the lock", source)
        }
    })
}

pub(crate) async fn open_file(
    shard: &Shard,
    path: &Path,
    access: Access,
) -> Result<DmaFile, OpenError> {
    shard.open(path, access.open_how()).await.map_err(io_error(path, "open"))
}

/// Names the path and the operation in an I/O error.
pub(crate) fn io_error(
    path: &Path,
    operation: &'static str,
) -> impl FnOnce(std::io::Error) -> OpenError {
    let path: PathBuf = path.to_owned();
    move |source| OpenError::from_io(path, operation, source)
}

/// Reads both copies and takes the newest valid one.
pub(crate) async fn read_superblock(
    shard: &Shard,
    dir: &Path,
    file: &DmaFile,
) -> Result<PickedSuperblock, OpenError> {
    let path = dir.join(SUPERBLOCK_FILE);
    let a = read_copy(shard, &path, file, SuperblockCopy::A).await?;
    let b = read_copy(shard, &path, file, SuperblockCopy::B).await?;
    let unread = [&a, &b].into_iter().find_map(|copy| match copy {
        Err(SuperblockError::Unread { offset, errno }) => Some((*offset, *errno)),
        _ => None,
    });
    match (pick_decoded(a, b), unread) {
        (Err(SuperblockPickError::BothDamaged { .. }), Some((offset, errno))) => {
            let place = (offset, BLOCK_SIZE_BYTES as u64);
            Err(OpenError::from_read(path, place, io::Error::from_raw_os_error(errno)))
        }
        (picked, _) => picked.map_err(|source| OpenError::Superblock { path, source }),
    }
}

/// Reads one copy; one that the device does not deliver is a damaged one, and where nothing is
/// missing but what the copy does not use it is whole.
pub(crate) async fn read_copy(
    shard: &Shard,
    path: &Path,
    file: &DmaFile,
    copy: SuperblockCopy,
) -> Result<Result<Superblock, SuperblockError>, OpenError> {
    let place = (copy.offset(), SUPERBLOCK_COPY_BYTES);
    let read = read_past_damage(shard, file, place, IoClass::Read).await;
    let read = read.map_err(io_error(path, "read the superblock"))?;
    let decoded = Superblock::decode(&read.buffer[..read.read_bytes]);
    Ok(match (decoded, read.unread.first()) {
        (Err(error), Some((block, unread))) if !error.is_intact_copy() => {
            let offset = copy.offset() + (block * BLOCK_SIZE_BYTES) as u64;
            Err(match unread.raw_os_error() {
                Some(errno) => SuperblockError::Unread { offset, errno },
                None => error,
            })
        }
        (decoded, _) => decoded,
    })
}

/// Writes a new generation into both copies, one after the other, each durable before the next.
async fn write_superblock(
    shard: &Shard,
    dir: &Path,
    file: &DmaFile,
    picked: &PickedSuperblock,
    mut superblock: Superblock,
) -> Result<(), OpenError> {
    let path = dir.join(SUPERBLOCK_FILE);
    superblock.generation = picked.superblock.generation + 1;
    let bytes = superblock.encode();
    for copy in picked.rewrite_order() {
        let mut buffer = shard.alloc_buffer(bytes.len());
        buffer.copy_from_slice(&bytes);
        shard
            .write_all_at(
                file,
                IoClass::Maintenance,
                copy.offset(),
                buffer.into(),
                WriteMode::Plain,
            )
            .await
            .map_err(io_error(&path, "write the superblock"))?;
        shard.flush(file, FlushVia::Pool).await.map_err(io_error(&path, "flush the superblock"))?;
    }
    Ok(())
}

/// The method in the superblock, or the caller's, or a new measurement on another device.
async fn choose_method(
    shard: &Shard,
    dir: &Path,
    options: &Options,
    file: &DmaFile,
    superblock: &mut Superblock,
) -> Result<DurabilityMethod, OpenError> {
    if let Some(method) = options.durability_method {
        return Ok(method);
    }
    let disk = shard.disk_info(file).await.map_err(io_error(dir, "ask the device"))?;
    let identity = create::device_identity(&disk);
    // A cache that has become volatile since needs flushes, whatever the device is called.
    let is_volatile = superblock.durability_method == DurabilityMethod::WriteThrough
        && disk.write_cache != WriteCache::WriteThrough;
    if is_volatile || superblock.device_identity != identity {
        let method = crate::wal::method::choose(shard, dir).await;
        superblock.durability_method = method.map_err(io_error(dir, "measure the device"))?;
        superblock.device_identity = identity;
    }
    Ok(superblock.durability_method)
}

/// The link from the end of the last valid record to a segment numbered above every other.
fn next_link(superblock: &Superblock, files: &SegmentFiles, replayed: &LogEnd) -> IncarnationLink {
    let newest_link = superblock.links.last().map_or(0, |link| link.incarnation.as_u64());
    let newest = newest_link.max(files.newest_incarnation());
    let number = files.highest_number().unwrap_or(0) + 1;
    IncarnationLink {
        incarnation: Incarnation::new(newest).next(),
        previous_end: replayed.previous_end(superblock),
        new_start: segment_start(number, superblock.segment_bytes),
    }
}

/// Adds the link; it takes the place of the last one when that incarnation wrote nothing. Links
/// below the one that holds the floor are not needed any more.
fn add_link(superblock: &mut Superblock, link: IncarnationLink, (replayed, floor): (&LogEnd, Lsn)) {
    if replayed.is_last_empty(superblock) {
        superblock.links.pop();
    }
    let first_needed = first_needed_link(&superblock.links, floor);
    superblock.links.drain(..first_needed.min(superblock.links.len()));
    superblock.links.push(link);
}

async fn begin_segment(
    shard: &Shard,
    identity: &SegmentIdentity,
    files: &mut SegmentFiles,
    link: IncarnationLink,
    replayed: &LogEnd,
) -> Result<(u64, DmaFile), OpenError> {
    let number = link.new_start.as_u64() / payload_bytes_per_segment(identity.segment_bytes);
    let path = identity.path(number);
    let file = match files.take_spare(replayed, identity.segment_bytes) {
        Some(spare) => segments::recycle(shard, identity, &spare, number, Some(link)).await,
        None => segments::create(shard, identity, number, Some(link)).await,
    };
    Ok((number, file.map_err(io_error(&path, "prepare the log segment"))?))
}

const _: () = assert!(SUPERBLOCK_COPY_BYTES.is_multiple_of(BLOCK_SIZE_BYTES));
