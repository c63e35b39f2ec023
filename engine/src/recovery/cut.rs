//! Ending a log whose acknowledged part is damaged at its last whole record before the damage.
//!
//! An opening refuses such a log. This gives it an end that an opening accepts: a link from there
//! to a fresh segment above everything that was ever written, as an opening would write it. What
//! lies behind the end is copied aside first, so nothing is destroyed; a crash in between leaves
//! the log as it was, or cut.

use std::path::{Path, PathBuf};

use sombra_runtime::{Create, DmaFile, FlushVia, IoClass, OpenHow, Shard, WriteMode};

use super::replay::{LogEnd, ReplaySink, RootMarks, replay, replay_until};
use super::segment_files::{SegmentFile, Stranger};
use super::survey::{Surveyed, survey};
use super::{
    SUPERBLOCK_FILE, SegmentFiles, WAL_DIR, data_file, identity, io_error, open_file,
    read_superblock, write_superblock,
};
use crate::error::OpenError;
use crate::format::IncarnationLink;
use crate::format::segment::{locate, segment_start};
use crate::format::superblock::Superblock;
use crate::ids::{Incarnation, Lsn};
use crate::limits::{REPAIR_COPY_BYTES, REPAIR_SEGMENTS_SKIPPED};
use crate::media::{PastDamage, read_past_damage};
use crate::options::Options;
use crate::volume::{Access, RootTable, Volume};
use crate::wal::segments;

/// A log as repair finds it.
pub(crate) struct FoundLog {
    files: SegmentFiles,
    /// Files that belong to somebody else, or to nobody.
    pub(crate) strangers: Vec<Stranger>,
    /// Why an opening refuses the log, once the strangers are gone.
    pub(crate) damage: Option<LogDamage>,
}

/// Damage of acknowledged data in the log.
pub(crate) struct LogDamage {
    pub(crate) error: OpenError,
    /// End of the last whole record before it.
    pub(crate) end: Lsn,
    /// Index of the link to the incarnation that it lies in.
    link: usize,
}

/// Reads the log as an opening would, past files that are not the store's, and hands what comes
/// before damage to `sink`. What the device does not deliver is damage. Writes nothing.
///
/// # Errors
/// I/O, or a version that this build does not read.
pub(crate) async fn look_at_log(
    shard: &Shard,
    dir: &Path,
    (superblock, marks): (&Superblock, RootMarks),
    sink: &mut impl ReplaySink,
) -> Result<FoundLog, OpenError> {
    let wal_dir = dir.join(WAL_DIR);
    let looked = SegmentFiles::look_past(shard, &wal_dir, superblock, Access::ReadWrite).await;
    let (files, strangers) = looked?;
    let seen = (&files, marks);
    let (log, outcome) = replay_until(shard, superblock, seen, sink).await;
    let damage = match outcome {
        // An opening reads all headers.
        Ok(()) => {
            let unread = files.unread_header();
            unread.map(|error| LogDamage { error, end: log.end, link: log.link })
        }
        Err(error @ (OpenError::Damaged { .. } | OpenError::Record { .. })) => {
            Some(LogDamage { error, end: log.end, link: log.link })
        }
        Err(error) => return Err(error),
    };
    Ok(FoundLog { files, strangers, damage })
}

impl FoundLog {
    /// Hands every record that can be found above `from`, where one begins, to `sink`; without
    /// it every record of all segments.
    ///
    /// # Errors
    /// What the sink says.
    pub(crate) async fn survey(
        &self,
        shard: &Shard,
        superblock: &Superblock,
        from: Option<Lsn>,
        sink: &mut impl ReplaySink,
    ) -> Result<Surveyed, OpenError> {
        survey(shard, (superblock, &self.files), from, sink).await
    }

    /// As an opening would, hands every record to `sink`.
    ///
    /// # Errors
    /// As an opening's replay.
    pub(crate) async fn replay(
        &self,
        shard: &Shard,
        (superblock, marks): (&Superblock, RootMarks),
        sink: &mut impl ReplaySink,
    ) -> Result<LogEnd, OpenError> {
        replay(shard, superblock, (&self.files, marks), sink).await
    }

    /// How far the log may have gone: behind the last record that was read, to the end of the
    /// segment that would follow its blocks where that is missing or was cut.
    pub(crate) fn reach(&self, seen: &Surveyed, segment_bytes: u64) -> Lsn {
        let at = seen.end.max(seen.blocks_end);
        let number = locate(at, segment_bytes).segment_number;
        match self.files.get(number) {
            Some(segment) if segment.len_bytes >= segment_bytes => seen.end,
            _ => segment_start(number + 1, segment_bytes),
        }
    }

    /// Moves the strangers to `keep`.
    ///
    /// # Errors
    /// I/O.
    pub(crate) async fn set_aside(&self, shard: &Shard, keep: &Path) -> Result<(), OpenError> {
        for stranger in &self.strangers {
            let to = keep.join(stranger.path.file_name().unwrap_or_default());
            let moved = shard.rename(&stranger.path, &to).await;
            moved.map_err(io_error(&stranger.path, "move aside"))?;
        }
        Ok(())
    }
}

/// Ends the log before its damage and keeps what is cut off in `keep`. `seen` is what
/// [`FoundLog::survey`] found behind the damage.
///
/// # Errors
/// I/O. The log is as it was, or cut.
pub(crate) async fn cut_log(
    shard: &Shard,
    dir: &Path,
    (found, damage, marks): (&FoundLog, &LogDamage, RootMarks),
    seen: &Surveyed,
    keep: &Path,
) -> Result<(), OpenError> {
    let file = open_file(shard, &dir.join(SUPERBLOCK_FILE), Access::ReadWrite).await?;
    let picked = read_superblock(shard, dir, &file).await?;
    let mut superblock = picked.superblock.clone();
    let link = link_behind(&mut superblock, found, (damage, marks), seen);
    let links = superblock.links.as_slice();
    for segment in found.files.cut_by(links, marks.floor) {
        copy_aside(shard, segment, keep).await?;
    }
    let identity = identity(dir, &superblock, link);
    let number = locate(link.new_start, superblock.segment_bytes).segment_number;
    let path = identity.path(number);
    let made = segments::create(shard, &identity, number, Some(link)).await;
    drop(made.map_err(io_error(&path, "prepare the log segment"))?);
    write_superblock(shard, dir, &file, &picked, superblock.clone()).await?;
    found.files.reclaim(shard, (&superblock.links, marks.floor), number).await?;
    Ok(())
}

/// Puts the link to the next incarnation in the place of those to the lost ones.
fn link_behind(
    superblock: &mut Superblock,
    found: &FoundLog,
    (damage, marks): (&LogDamage, RootMarks),
    seen: &Surveyed,
) -> IncarnationLink {
    let segment_bytes = superblock.segment_bytes;
    let number_of = |lsn: Lsn| locate(lsn, segment_bytes).segment_number;
    let last = superblock.links.last();
    let newest = last.map_or(Incarnation::new(0), |link| link.incarnation);
    let incarnation =
        newest.max(Incarnation::new(found.files.newest_incarnation())).max(seen.newest_incarnation);
    let number = found
        .files
        .highest_number()
        .unwrap_or(0)
        .max(last.map_or(0, |link| number_of(link.new_start)))
        .max(number_of(marks.newest))
        .max(number_of(seen.newest_stamp))
        .max(number_of(seen.end));
    // Of segments that are gone nobody knows how many there were.
    let number = number + REPAIR_SEGMENTS_SKIPPED;
    superblock.links.truncate(damage.link + 1);
    let mut previous_end = damage.end;
    // An incarnation that nothing is left of makes room for the next.
    if let Some(link) = superblock.links.pop_if(|link| link.new_start >= damage.end) {
        previous_end = link.previous_end;
    }
    let link = IncarnationLink {
        incarnation: incarnation.next(),
        previous_end,
        new_start: segment_start(number + 1, segment_bytes),
    };
    superblock.links.push(link);
    link
}

/// Writes both copies of the superblock anew from the one that counts.
///
/// # Errors
/// I/O; one copy is whole at every moment.
pub(crate) async fn rewrite_superblock(shard: &Shard, dir: &Path) -> Result<(), OpenError> {
    let file = open_file(shard, &dir.join(SUPERBLOCK_FILE), Access::ReadWrite).await?;
    let picked = read_superblock(shard, dir, &file).await?;
    write_superblock(shard, dir, &file, &picked, picked.superblock.clone()).await
}

/// Writes the root rows in force over each copy that is not what it should be, and nothing over
/// what is damaged in slots without any.
///
/// # Errors
/// I/O; one copy of each slot is whole at every moment.
pub(crate) async fn rewrite_root_copies(
    shard: &Shard,
    dir: &Path,
    superblock: &Superblock,
) -> Result<(), OpenError> {
    let config = data_file::config(dir, superblock, &Options::default(), Access::ReadWrite);
    let volume = Volume::open(shard, config).await?;
    let loaded = RootTable::load(shard, &volume).await?;
    loaded.table.advance_twins(shard, &volume).await?;
    Ok(loaded.table.blank_unused(shard, &volume, &loaded.damaged).await?)
}

/// Makes the directory `repair-N` of the lowest free number, for what a repair takes away.
///
/// # Errors
/// I/O.
pub(crate) async fn make_keep_dir(shard: &Shard, dir: &Path) -> Result<PathBuf, OpenError> {
    let mut number = 1_u64;
    loop {
        let keep = dir.join(format!("repair-{number}"));
        if !shard.path_exists(&keep).await.map_err(io_error(&keep, "look"))? {
            shard.create_dir(&keep).await.map_err(io_error(&keep, "make the directory"))?;
            return Ok(keep);
        }
        number += 1;
    }
}

/// Copies a segment whole, with zeroes for what the device does not deliver; it has its name in
/// `keep` when the copy is durable.
async fn copy_aside(shard: &Shard, segment: &SegmentFile, keep: &Path) -> Result<(), OpenError> {
    let to = keep.join(segment.path.file_name().unwrap_or_default());
    let preparing = to.with_extension("preparing");
    let from = segment.open(shard).await?;
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let copy = shard.open(&preparing, how).await.map_err(io_error(&preparing, "create"))?;
    copy_bytes(shard, (&from, &segment.path), (&copy, &preparing)).await?;
    shard.flush(&copy, FlushVia::Pool).await.map_err(io_error(&preparing, "flush"))?;
    shard.rename(&preparing, &to).await.map_err(io_error(&preparing, "rename"))
}

async fn copy_bytes(
    shard: &Shard,
    (from, from_path): (&DmaFile, &Path),
    (to, to_path): (&DmaFile, &Path),
) -> Result<(), OpenError> {
    let mut offset = 0;
    loop {
        let place = (offset, REPAIR_COPY_BYTES);
        let read = read_past_damage(shard, from, place, IoClass::Maintenance).await;
        let PastDamage { buffer, read_bytes, .. } = read.map_err(io_error(from_path, "read"))?;
        if read_bytes == 0 {
            return Ok(());
        }
        let mut copied = shard.alloc_buffer(read_bytes);
        copied.copy_from_slice(&buffer[..read_bytes]);
        let (class, mode) = (IoClass::Maintenance, WriteMode::Plain);
        let written = shard.write_all_at(to, class, offset, copied.into(), mode).await;
        written.map_err(io_error(to_path, "write"))?;
        offset += read_bytes as u64;
        if read_bytes < REPAIR_COPY_BYTES {
            return Ok(());
        }
    }
}
