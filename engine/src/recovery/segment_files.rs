//! The segment files that lie in `wal/` at open: which are needed, which are spare.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sombra_runtime::{DmaFile, FlushVia, IoClass, OpenHow, Shard};

use super::io_error;
use super::replay::LogEnd;
use crate::error::{OpenError, is_undelivered, same_error};
use crate::format::segment::{
    SegmentError, SegmentHeader, locate, parse_segment_file_name, segment_file_name, segment_start,
};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK_SIZE_BYTES, IncarnationLink};
use crate::ids::Lsn;
use crate::volume::Access;

/// Ending of a segment that is being prepared.
const PREPARING: &str = ".preparing";

/// Why a segment's block 0 says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("the device does not deliver the segment's header: {0}")]
    Unread(io::Error),
}

/// One file and what its block 0 says.
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) len_bytes: u64,
    pub(crate) header: Result<SegmentHeader, HeaderError>,
    access: Access,
}

impl SegmentFile {
    pub(crate) async fn open(&self, shard: &Shard) -> Result<DmaFile, OpenError> {
        shard.open(&self.path, self.access.open_how()).await.map_err(io_error(&self.path, "open"))
    }
}

/// A file in the log's directory that is none of the store's, and what an opening says of it.
pub(crate) struct Stranger {
    pub(crate) path: PathBuf,
    pub(crate) error: OpenError,
}

/// All segment files by number.
pub(crate) struct SegmentFiles {
    wal_dir: PathBuf,
    by_number: BTreeMap<u64, SegmentFile>,
    /// Segments that never got their name.
    preparing: Vec<PathBuf>,
    /// Whether what the device does not deliver is taken for damage; else it is an error.
    pub(super) reads_past_damage: bool,
}

impl SegmentFiles {
    /// Lists `wal/` and reads each block 0. Writes nothing.
    ///
    /// # Errors
    /// I/O; a file that is no segment; a segment of another store.
    pub(crate) async fn look(
        shard: &Shard,
        wal_dir: &Path,
        superblock: &Superblock,
        access: Access,
    ) -> Result<SegmentFiles, OpenError> {
        let (mut files, strangers) =
            SegmentFiles::look_past(shard, wal_dir, superblock, access).await?;
        files.reads_past_damage = false;
        let error = strangers.into_iter().next().map(|stranger| stranger.error);
        error.or_else(|| files.unread_header()).map_or(Ok(files), Err)
    }

    /// As [`SegmentFiles::look`], but what belongs to somebody else is set apart, and what the
    /// device does not deliver is damage, here and when the files are read.
    ///
    /// # Errors
    /// I/O; a segment of a version that this build does not read.
    pub(super) async fn look_past(
        shard: &Shard,
        wal_dir: &Path,
        superblock: &Superblock,
        access: Access,
    ) -> Result<(SegmentFiles, Vec<Stranger>), OpenError> {
        let (mut by_number, mut preparing) = (BTreeMap::new(), Vec::new());
        let mut strangers = Vec::new();
        for entry in shard.list_dir(wal_dir).await.map_err(io_error(wal_dir, "list"))? {
            let path = wal_dir.join(&entry.name);
            if entry.name.ends_with(PREPARING) {
                preparing.push(path);
                continue;
            }
            let Some(number) = parse_segment_file_name(&entry.name) else {
                let error = OpenError::StrayFile { path: path.clone() };
                strangers.push(Stranger { path, error });
                continue;
            };
            let header = match read_header(shard, &path, number, superblock).await {
                Ok(header) => header,
                Err(error @ OpenError::ForeignLog { .. }) => {
                    strangers.push(Stranger { path, error });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let len_bytes = entry.len_bytes;
            by_number.insert(number, SegmentFile { path, len_bytes, header, access });
        }
        let wal_dir = wal_dir.to_owned();
        let files = SegmentFiles { wal_dir, by_number, preparing, reads_past_damage: true };
        Ok((files, strangers))
    }

    /// The first header that the device does not deliver.
    pub(super) fn unread_header(&self) -> Option<OpenError> {
        self.by_number.values().find_map(|file| match &file.header {
            Err(HeaderError::Unread(error)) => {
                let place = (0, BLOCK_SIZE_BYTES as u64);
                Some(OpenError::from_read(file.path.clone(), place, same_error(error)))
            }
            _ => None,
        })
    }

    /// Where the file of a segment lies, or would lie.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.wal_dir.join(segment_file_name(number))
    }

    pub(crate) fn get(&self, number: u64) -> Option<&SegmentFile> {
        self.by_number.get(&number)
    }

    /// All segments from `number` on, ascending.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = (u64, &SegmentFile)> {
        self.by_number.range(number..).map(|(&number, file)| (number, file))
    }

    /// Segments numbered above `number`, ascending.
    pub(crate) fn above(&self, number: u64) -> impl Iterator<Item = (u64, &SegmentFile)> {
        self.by_number.range(number + 1..).map(|(&number, file)| (number, file))
    }

    pub(super) fn highest_number(&self) -> Option<u64> {
        self.by_number.last_key_value().map(|(&number, _)| number)
    }

    pub(super) fn newest_incarnation(&self) -> u64 {
        let headers = self.by_number.values().filter_map(|file| file.header.as_ref().ok());
        headers.map(|header| header.incarnation.as_u64()).max().unwrap_or(0)
    }

    /// Makes durable whatever of the last incarnation was replayed out of a device's cache.
    pub(super) async fn flush_tail(
        &self,
        shard: &Shard,
        replayed: &LogEnd,
    ) -> Result<(), OpenError> {
        for (_, file) in self.by_number.range(replayed.last_first_segment()..) {
            let handle = file.open(shard).await?;
            let flushed = shard.flush(&handle, FlushVia::Pool).await;
            flushed.map_err(io_error(&file.path, "flush"))?;
        }
        Ok(())
    }

    /// All segment files with their lengths.
    pub(super) fn lengths(&self) -> BTreeMap<u64, u64> {
        self.by_number.iter().map(|(&number, file)| (number, file.len_bytes)).collect()
    }

    /// Takes the highest file that holds nothing replayed and has a segment's full length.
    pub(super) fn take_spare(&mut self, replayed: &LogEnd, segment_bytes: u64) -> Option<PathBuf> {
        let spare = |(_, file): &(&u64, &SegmentFile)| file.len_bytes == segment_bytes;
        let number = *self.by_number.range(replayed.first_spare_segment()..).rfind(spare)?.0;
        self.by_number.remove(&number).map(|file| file.path)
    }

    /// Removes the files that no incarnation needs, and cuts the dead tail off the others.
    /// Returns the files that remain, with their lengths. Called when both superblock copies
    /// hold `links`; no replay will begin below `floor`.
    pub(super) async fn reclaim(
        &self,
        shard: &Shard,
        (links, floor): (&[IncarnationLink], Lsn),
        first_segment: u64,
    ) -> Result<BTreeMap<u64, u64>, OpenError> {
        for path in &self.preparing {
            // The fresh segment may have been prepared under the same name.
            if shard.path_exists(path).await.map_err(io_error(path, "look"))? {
                shard.unlink(path).await.map_err(io_error(path, "remove"))?;
            }
        }
        let mut remaining = BTreeMap::new();
        for (&number, file) in &self.by_number {
            if number == first_segment {
                continue;
            }
            let needed_bytes = needed_bytes((number, file), links, floor);
            if needed_bytes == 0 {
                shard.unlink(&file.path).await.map_err(io_error(&file.path, "remove"))?;
            } else if needed_bytes < file.len_bytes {
                let handle = file.open(shard).await?;
                let cut = shard.set_len(&handle, needed_bytes).await;
                cut.map_err(io_error(&file.path, "cut"))?;
            }
            if needed_bytes > 0 {
                remaining.insert(number, needed_bytes.min(file.len_bytes));
            }
        }
        Ok(remaining)
    }
}

impl SegmentFiles {
    /// The files that [`SegmentFiles::reclaim`] would remove or cut although they may hold more
    /// of the log than what lies below `floor`.
    pub(super) fn cut_by(&self, links: &[IncarnationLink], floor: Lsn) -> Vec<&SegmentFile> {
        let is_cut = |&(&number, file): &(&u64, &SegmentFile)| {
            let is_truncated = file
                .header
                .as_ref()
                .is_ok_and(|header| segment_start(number + 1, header.segment_bytes) <= floor);
            !is_truncated && needed_bytes((number, file), links, floor) < file.len_bytes
        };
        self.by_number.iter().filter(is_cut).map(|(_, file)| file).collect()
    }
}

/// How much of a segment's file replay may still read: up to the block that holds the end of
/// the incarnation it belongs to.
fn needed_bytes((number, file): (u64, &SegmentFile), links: &[IncarnationLink], floor: Lsn) -> u64 {
    let Ok(header) = &file.header else { return 0 };
    let own = links.iter().position(|link| link.incarnation == header.incarnation);
    let Some(next) = own.and_then(|index| links.get(index + 1)) else {
        // Not linked, or of the newest incarnation, whose segments are not in this list.
        return 0;
    };
    let start = segment_start(number, header.segment_bytes);
    let end = segment_start(number + 1, header.segment_bytes);
    if next.previous_end <= start || end <= floor {
        return 0;
    }
    if next.previous_end >= end {
        return file.len_bytes;
    }
    let last = locate(Lsn::new(next.previous_end.as_u64() - 1), header.segment_bytes);
    last.block_offset_bytes() + BLOCK_SIZE_BYTES as u64
}

async fn read_header(
    shard: &Shard,
    path: &Path,
    number: u64,
    superblock: &Superblock,
) -> Result<Result<SegmentHeader, HeaderError>, OpenError> {
    let file = shard.open(path, OpenHow::direct_read()).await.map_err(io_error(path, "open"))?;
    let buffer = shard.alloc_buffer(BLOCK_SIZE_BYTES);
    let read = shard.read_at(&file, IoClass::Read, 0, buffer).await;
    let (buffer, read_bytes) = match read {
        Ok(read) => read,
        Err(error) if is_undelivered(&error) => return Ok(Err(HeaderError::Unread(error))),
        Err(error) => return Err(io_error(path, "read")(error)),
    };
    let header = match SegmentHeader::decode(&buffer[..read_bytes]) {
        Ok(header) => header,
        Err(source @ SegmentError::UnknownVersion { .. }) => {
            return Err(OpenError::Segment { path: path.to_owned(), source });
        }
        Err(error) => return Ok(Err(error.into())),
    };
    let (expected, segment_bytes) = (superblock.store_id, superblock.segment_bytes);
    match header.check_place(expected, number, segment_bytes) {
        Ok(()) => Ok(Ok(header)),
        Err(SegmentError::Store { found, .. }) => {
            Err(OpenError::ForeignLog { path: path.to_owned(), expected, found })
        }
        Err(error) => Ok(Err(error.into())),
    }
}
