//! Segment files of the running incarnation: prepared ahead of need, within the log's bound.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sombra_runtime::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sombra_runtime::sync::{EpochCell, LogRing, Signal};
use sombra_runtime::{Create, DmaFile, FlushVia, IoClass, OpenHow, Shard, WriteMode};

use crate::format::segment::{
    SegmentHeader, payload_bytes_per_segment, segment_file_name, segment_start,
};
use crate::format::{BLOCK_PAYLOAD_BYTES, IncarnationLink};
use crate::ids::{Incarnation, Lsn, StoreId};
use crate::limits;

/// Why the next segment is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SpaceState {
    /// It is, or it is being prepared.
    Fine,
    /// It would pass `log_bytes_max`.
    LogFull { expected: u64, found: u64 },
    /// The file system refused it.
    DiskFull { needed: u64, reason: String },
}

/// A segment file that was taken again and is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("{path}: take the segment into use: {error}")]
pub(crate) struct BrokenSegment {
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) error: io::Error,
}

/// What every segment of one incarnation shares.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIdentity {
    pub(crate) wal_dir: PathBuf,
    pub(crate) store_id: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) segment_bytes: u64,
}

impl SegmentIdentity {
    pub(crate) fn path(&self, segment_number: u64) -> PathBuf {
        self.wal_dir.join(segment_file_name(segment_number))
    }

    fn header(&self, segment_number: u64, link: Option<IncarnationLink>) -> SegmentHeader {
        SegmentHeader {
            store_id: self.store_id,
            segment_number,
            segment_bytes: self.segment_bytes,
            incarnation: self.incarnation,
            link,
        }
    }
}

/// The segments that this incarnation writes.
pub(crate) struct Segments {
    identity: SegmentIdentity,
    files: EpochCell<BTreeMap<u64, DmaFile>>,
    /// Every segment file on disk with its length, older openings' too. Only the keeper writes.
    on_disk: EpochCell<BTreeMap<u64, u64>>,
    /// No replay will begin below: segments that end here or earlier are taken again.
    floor: AtomicU64,
    recycled_total: AtomicU64,
    log_bytes_max: u64,
    used_bytes: AtomicU64,
    state: EpochCell<SpaceState>,
    wanted: Signal,
    /// Room that a charge did not find; one record may need more than a segment.
    missing_bytes: AtomicU64,
    is_preparing: AtomicBool,
    is_closing: AtomicBool,
}

/// Says that a segment is being prepared, however that ends.
struct Preparing<'a>(&'a AtomicBool);

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Segments {
    /// Segments beginning with `first`, which is prepared; `older` are the segment files of
    /// older incarnations with their lengths.
    pub(crate) fn new(
        identity: SegmentIdentity,
        first: (u64, DmaFile),
        older: BTreeMap<u64, u64>,
        log_bytes_max: u64,
    ) -> Segments {
        let mut on_disk = older;
        on_disk.insert(first.0, identity.segment_bytes);
        Segments::with_files(identity, BTreeMap::from([first]), on_disk, log_bytes_max)
    }

    fn with_files(
        identity: SegmentIdentity,
        files: BTreeMap<u64, DmaFile>,
        on_disk: BTreeMap<u64, u64>,
        log_bytes_max: u64,
    ) -> Segments {
        let used_bytes = on_disk.values().sum();
        Segments {
            identity,
            files: EpochCell::new(Arc::new(files)),
            on_disk: EpochCell::new(Arc::new(on_disk)),
            floor: AtomicU64::new(0),
            recycled_total: AtomicU64::new(0),
            log_bytes_max,
            used_bytes: AtomicU64::new(used_bytes),
            state: EpochCell::new(Arc::new(SpaceState::Fine)),
            wanted: Signal::new(),
            missing_bytes: AtomicU64::new(0),
            is_preparing: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        }
    }

    /// No segment to write, for an opening that only reads; `older` as above.
    pub(crate) fn read_only(identity: SegmentIdentity, older: BTreeMap<u64, u64>) -> Segments {
        let used_bytes = older.values().sum();
        Segments::with_files(identity, BTreeMap::new(), older, used_bytes)
    }

    pub(crate) fn identity(&self) -> &SegmentIdentity {
        &self.identity
    }

    /// The file of a segment that a charge has found room in.
    ///
    /// # Panics
    /// If the segment is not prepared: charges never pass the prepared space (INV-9).
    pub(crate) fn file(&self, segment_number: u64) -> DmaFile {
        let files = self.files.load();
        files.get(&segment_number).cloned().expect("INV-9: no charge beyond prepared segments")
    }

    /// To be called before the last block of a segment is written.
    ///
    /// # Panics
    /// If the next segment is not prepared (INV-11).
    pub(crate) fn assert_successor(&self, segment_number: u64) {
        let newest = self.files.load().last_key_value().map(|(&number, _)| number);
        assert!(
            newest.is_some_and(|newest| newest > segment_number),
            "INV-11: segment {segment_number} filled before there is a next one: {newest:?}"
        );
    }

    pub(crate) fn state(&self) -> SpaceState {
        (*self.state.load()).clone()
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.files.load().len()
    }

    /// Every segment file on disk, ascending; those below [`Segments::floor`] may be taken again
    /// or removed at any moment.
    pub(crate) fn numbers_on_disk(&self) -> Vec<u64> {
        self.on_disk.load().keys().copied().collect()
    }

    /// Segments taken again since the store was opened.
    pub(crate) fn recycled_total(&self) -> u64 {
        self.recycled_total.load(Ordering::Relaxed)
    }

    /// Says that no replay will begin below `floor`: neither durable copy of any root needs it.
    pub(crate) fn truncate(&self, floor: Lsn) {
        self.floor.fetch_max(floor.as_u64(), Ordering::Relaxed);
        self.wanted.raise();
    }

    /// Where the log was truncated to.
    pub(crate) fn floor(&self) -> Lsn {
        Lsn::new(self.floor.load(Ordering::Relaxed))
    }

    /// Bound of the log's space on disk.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.log_bytes_max
    }

    /// Asks the keeper to look whether another segment is needed.
    pub(crate) fn want(&self) {
        self.wanted.raise();
    }

    /// No further segment is prepared. The store keeps its lock until [`Segments::is_preparing`]
    /// says no: what the keeper has begun must not reach the next opener's files. Both run on
    /// the keeper's shard.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_preparing(&self) -> bool {
        self.is_preparing.load(Ordering::Relaxed)
    }

    /// Runs for the life of the store on one shard: keeps one segment prepared beyond the one
    /// being written. `changed` runs after every attempt that changed something.
    ///
    /// # Errors
    /// A segment was taken again and the device failed its new header: poison the store (INV-7).
    pub(crate) async fn keep(
        &self,
        shard: &Shard,
        ring: &LogRing,
        changed: impl Fn(),
    ) -> Result<Infallible, BrokenSegment> {
        loop {
            self.wanted.wait().await;
            while self.is_short(ring) && !self.is_closing.load(Ordering::Relaxed) {
                self.is_preparing.store(true, Ordering::Relaxed);
                let preparing = Preparing(&self.is_preparing);
                let outcome = self.prepare_next(shard, ring).await?;
                drop(preparing);
                let failed = outcome.is_err();
                let state = outcome.err().unwrap_or(SpaceState::Fine);
                // Who waits for room asks again when woken: nothing new is no reason to.
                let is_news = !failed || state != *self.state.load();
                self.state.replace(Arc::new(state));
                if is_news {
                    changed();
                }
                if failed {
                    break;
                }
            }
            if !self.is_closing.load(Ordering::Relaxed) {
                self.is_preparing.store(true, Ordering::Relaxed);
                let preparing = Preparing(&self.is_preparing);
                if self.remove_spare(shard).await {
                    // What failed for the log's bound may now succeed, and nobody else asks.
                    self.wanted.raise();
                }
                drop(preparing);
            }
        }
    }

    /// Asks the keeper for room for one charge of so many bytes.
    pub(crate) fn want_room(&self, bytes: u64) {
        self.missing_bytes.fetch_max(bytes, Ordering::Relaxed);
        self.wanted.raise();
    }

    fn is_short(&self, ring: &LogRing) -> bool {
        let ahead = ring.space_end().saturating_sub(ring.tail());
        let segment = payload_bytes_per_segment(self.identity.segment_bytes);
        let usable = segment - BLOCK_PAYLOAD_BYTES as u64;
        let is_short = ahead < usable.max(self.missing_bytes.load(Ordering::Relaxed));
        if !is_short {
            self.missing_bytes.store(0, Ordering::Relaxed);
        }
        is_short
    }

    async fn prepare_next(
        &self,
        shard: &Shard,
        ring: &LogRing,
    ) -> Result<Result<(), SpaceState>, BrokenSegment> {
        let segment_bytes = self.identity.segment_bytes;
        let newest = self.retire(ring.durable());
        let number = newest + 1;
        let made = match self.spare_segments().last() {
            Some(&spare) => self.reuse(shard, spare, number).await?,
            None => self.make(shard, number).await,
        };
        let file = match made {
            Ok(file) => file,
            Err(state) => return Ok(Err(state)),
        };
        let mut files = (*self.files.load()).clone();
        files.insert(number, file);
        self.files.replace(Arc::new(files));
        ring.set_space_end(space_end(number, segment_bytes).as_u64());
        Ok(Ok(()))
    }

    /// Closes what is written to its end: blocks below `durable` need no open file any more, and
    /// only a closed segment can be taken again. Returns the number of the newest.
    fn retire(&self, durable: u64) -> u64 {
        let segment_bytes = self.identity.segment_bytes;
        let mut files = (*self.files.load()).clone();
        let newest = files.last_key_value().map(|(&number, _)| number).expect("INV-9: one exists");
        let end = |number: u64| segment_start(number + 1, segment_bytes).as_u64();
        files.retain(|&number, _| number == newest || end(number) > durable);
        self.files.replace(Arc::new(files));
        newest
    }

    /// Whole segments below the floor that nobody has open for writing, ascending.
    fn spare_segments(&self) -> Vec<u64> {
        let (segment_bytes, floor) = (self.identity.segment_bytes, self.floor());
        let (files, on_disk) = (self.files.load(), self.on_disk.load());
        let is_below = |number: u64| segment_start(number + 1, segment_bytes) <= floor;
        let spare = on_disk.iter().filter(|&(&number, &len)| {
            len == segment_bytes && is_below(number) && !files.contains_key(&number)
        });
        spare.map(|(&number, _)| number).collect()
    }

    async fn reuse(
        &self,
        shard: &Shard,
        spare: u64,
        number: u64,
    ) -> Result<Result<DmaFile, SpaceState>, BrokenSegment> {
        let from = self.identity.path(spare);
        let error = match recycle(shard, &self.identity, &from, number, None).await {
            Ok(file) => {
                self.change_disk(|on_disk| {
                    on_disk.remove(&spare);
                    on_disk.insert(number, self.identity.segment_bytes);
                });
                self.recycled_total.fetch_add(1, Ordering::Relaxed);
                return Ok(Ok(file));
            }
            Err(error) => error,
        };
        match shard.path_exists(&from).await {
            Ok(true) => Ok(Err(self.refused(&error))),
            // Under its new name, and nobody knows what of it is durable.
            Ok(false) | Err(_) => Err(BrokenSegment { path: self.identity.path(number), error }),
        }
    }

    async fn make(&self, shard: &Shard, number: u64) -> Result<DmaFile, SpaceState> {
        let segment_bytes = self.identity.segment_bytes;
        let used_bytes = self.used_bytes();
        if used_bytes + segment_bytes > self.log_bytes_max {
            let (expected, found) = (self.log_bytes_max, used_bytes);
            return Err(SpaceState::LogFull { expected, found });
        }
        let file = create(shard, &self.identity, number, None).await;
        let file = file.map_err(|error| self.refused(&error))?;
        self.change_disk(|on_disk| {
            on_disk.insert(number, segment_bytes);
        });
        Ok(file)
    }

    fn refused(&self, error: &io::Error) -> SpaceState {
        SpaceState::DiskFull { needed: self.identity.segment_bytes, reason: error.to_string() }
    }

    /// Removes the files below the floor that are not kept for use. A failure leaves the file
    /// for the next opening. Tells whether one was removed.
    async fn remove_spare(&self, shard: &Shard) -> bool {
        let mut is_removed = false;
        let (segment_bytes, floor) = (self.identity.segment_bytes, self.floor());
        let mut kept = self.spare_segments();
        let kept = kept.split_off(kept.len().saturating_sub(limits::LOG_SPARE_SEGMENTS));
        let (files, on_disk) = (self.files.load(), self.on_disk.load());
        for &number in on_disk.keys() {
            let is_below = segment_start(number + 1, segment_bytes) <= floor;
            if !is_below || files.contains_key(&number) || kept.contains(&number) {
                continue;
            }
            if shard.unlink(&self.identity.path(number)).await.is_err() {
                break;
            }
            self.change_disk(|on_disk| {
                on_disk.remove(&number);
            });
            is_removed = true;
        }
        is_removed
    }

    fn change_disk(&self, change: impl FnOnce(&mut BTreeMap<u64, u64>)) {
        let mut on_disk = (*self.on_disk.load()).clone();
        change(&mut on_disk);
        self.used_bytes.store(on_disk.values().sum(), Ordering::Relaxed);
        self.on_disk.replace(Arc::new(on_disk));
    }
}

/// Where the log's space ends that the segments up to this one give. The last block of the newest
/// waits until there is a next one (INV-11): then a full segment without a successor tells that
/// the successor was lost.
pub(crate) fn space_end(segment_number: u64, segment_bytes: u64) -> Lsn {
    let end = segment_start(segment_number + 1, segment_bytes).as_u64();
    Lsn::new(end - BLOCK_PAYLOAD_BYTES as u64)
}

/// Makes a segment: zeroes written through a plain descriptor, header, flush, then the name.
/// A segment that has its name is whole.
pub(crate) async fn create(
    shard: &Shard,
    identity: &SegmentIdentity,
    segment_number: u64,
    link: Option<IncarnationLink>,
) -> io::Result<DmaFile> {
    let path = identity.path(segment_number);
    let preparing = path.with_extension("preparing");
    if let Err(error) = write_zeroes(shard, &preparing, identity.segment_bytes).await {
        // What was written of it is of no use; a failure to remove it changes nothing.
        let _ = shard.unlink(&preparing).await;
        return Err(error);
    }
    let file = shard.open(&preparing, OpenHow::direct_rw()).await?;
    write_header(shard, &file, &identity.header(segment_number, link)).await?;
    shard.rename(&preparing, &path).await?;
    Ok(file)
}

/// Takes a segment file that holds nothing needed into use under a new number. The rename and
/// its directory sync come before the first write into it.
pub(crate) async fn recycle(
    shard: &Shard,
    identity: &SegmentIdentity,
    from: &Path,
    segment_number: u64,
    link: Option<IncarnationLink>,
) -> io::Result<DmaFile> {
    let path = identity.path(segment_number);
    shard.rename(from, &path).await?;
    let file = shard.open(&path, OpenHow::direct_rw()).await?;
    write_header(shard, &file, &identity.header(segment_number, link)).await?;
    Ok(file)
}

async fn write_zeroes(shard: &Shard, path: &Path, len_bytes: u64) -> io::Result<()> {
    let how = OpenHow { create: Create::Yes, ..OpenHow::buffered_rw() };
    let file = shard.open(path, how).await?;
    let mut offset = 0;
    while offset < len_bytes {
        let step = limits::SEGMENT_ZERO_STEP_BYTES.min(len_bytes - offset);
        shard.write_zeroes(&file, offset, step).await?;
        offset += step;
    }
    shard.flush(&file, FlushVia::Pool).await
}

async fn write_header(shard: &Shard, file: &DmaFile, header: &SegmentHeader) -> io::Result<()> {
    let mut buffer = shard.alloc_buffer(crate::format::BLOCK_SIZE_BYTES);
    buffer.copy_from_slice(&header.encode());
    shard.write_all_at(file, IoClass::Log, 0, buffer.into(), WriteMode::Plain).await?;
    shard.flush(file, FlushVia::Pool).await
}
