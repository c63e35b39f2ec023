//! Replay: every incarnation from its start to its link's end, the last one to the first invalid
//! block. What lies behind that block decides between "torn write" and "damaged".

mod assembler;
mod evidence;

use std::path::{Path, PathBuf};

use sombra_runtime::Shard;

use super::segment_files::HeaderError;
use super::{DataFile, SegmentFiles};
use crate::error::OpenError;
use crate::format::log_block::{BlockPlace, LogBlock, verify_block};
use crate::format::log_record::{self, Record};
use crate::format::segment::{locate, segment_start};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES, IncarnationLink};
use crate::ids::Lsn;
use crate::wal::scan::{ScanChunk, SegmentScan};
pub(super) use assembler::Assembler;

/// Takes what is replayed, in LSN order.
pub(crate) trait ReplaySink {
    /// Takes what the root table says, if there is one, before any record. Whoever only looks at
    /// records needs nothing of it.
    fn begin(&mut self, _page_size_bytes: u32, _data: Option<&mut DataFile>) {}
    /// Takes one record; called between two `settle`s for a chunk of the log.
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError>;
    /// Passes on what was taken; may wait for those who apply it.
    fn settle(&mut self) -> impl Future<Output = Result<(), OpenError>>;
}

/// How the log ended, and what was read to find out.
#[derive(Clone, Debug)]
pub(crate) struct LogEnd {
    /// End of the last valid record of the last incarnation (its start if it has none).
    pub(crate) end: Lsn,
    /// Newest `durable` that a valid block carries.
    pub(crate) newest_stamp: Lsn,
    /// Why replay stopped where it did.
    pub(crate) stopped_by: String,
    pub(crate) records: u64,
    pub(crate) read_bytes: u64,
    /// Openings whose part of the log was read.
    pub(crate) incarnations: u64,
    /// Whole blocks of the newest opening behind the first invalid one: they were written while
    /// an earlier write was still in flight, so nothing in them was acknowledged.
    pub(crate) dropped_blocks: u64,
    /// Index of the link to the incarnation that was read last.
    pub(super) link: usize,
    last_start: Option<Lsn>,
    segment_bytes: u64,
}

impl LogEnd {
    /// Whether the newest incarnation holds no record.
    pub(super) fn is_last_empty(&self, superblock: &Superblock) -> bool {
        superblock.links.last().is_some_and(|link| link.new_start == self.end)
    }

    /// Where the link to the next incarnation says that this history ends.
    pub(super) fn previous_end(&self, superblock: &Superblock) -> Lsn {
        match superblock.links.last() {
            Some(link) if self.is_last_empty(superblock) => link.previous_end,
            _ => self.end,
        }
    }

    pub(super) fn last_first_segment(&self) -> u64 {
        self.last_start.map_or(0, |start| locate(start, self.segment_bytes).segment_number)
    }

    /// Segments from this number on hold no replayed record.
    pub(super) fn first_spare_segment(&self) -> u64 {
        if self.last_start.is_none() {
            return 0;
        }
        // An opening that wrote nothing ends where its first segment begins.
        let last_byte = Lsn::new(self.end.as_u64() - 1);
        locate(last_byte, self.segment_bytes).segment_number + 1
    }
}

/// What the root table says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootMarks {
    /// Every tree holds what was committed at or below this: replay begins here. The end of a
    /// record, or the start of the log.
    pub(crate) start: Lsn,
    /// Newest commit that some tree holds: it was durable, so the log reaches up to it.
    pub(crate) newest: Lsn,
    /// No replay will begin below this, whichever copy of a root is lost.
    pub(crate) floor: Lsn,
}

impl RootMarks {
    /// No roots: all of the log is needed.
    pub(crate) const NONE: RootMarks =
        RootMarks { start: Lsn::ZERO, newest: Lsn::ZERO, floor: Lsn::ZERO };
}

/// Replays the log from the roots' start into `sink`.
///
/// # Errors
/// Damage of acknowledged data, records that make no sense, I/O, or what the sink says.
pub(crate) async fn replay(
    shard: &Shard,
    superblock: &Superblock,
    (files, marks): (&SegmentFiles, RootMarks),
    sink: &mut impl ReplaySink,
) -> Result<LogEnd, OpenError> {
    let (log, outcome) = replay_until(shard, superblock, (files, marks), sink).await;
    outcome.map(|()| log)
}

/// As [`replay`], and says how far it came also when it could not go on: every record up to
/// `end` was taken.
pub(super) async fn replay_until(
    shard: &Shard,
    superblock: &Superblock,
    (files, marks): (&SegmentFiles, RootMarks),
    sink: &mut impl ReplaySink,
) -> (LogEnd, Result<(), OpenError>) {
    let mut reader = LogReader {
        shard,
        superblock,
        files,
        marks,
        log: LogEnd {
            end: Lsn::ZERO,
            newest_stamp: Lsn::ZERO,
            stopped_by: "the store has no log yet".to_owned(),
            records: 0,
            read_bytes: 0,
            incarnations: 0,
            dropped_blocks: 0,
            link: 0,
            last_start: superblock.links.last().map(|link| link.new_start),
            segment_bytes: superblock.segment_bytes,
        },
    };
    let outcome = reader.replay(sink).await;
    (reader.log, outcome)
}

/// Index of the link whose incarnation holds `start`: links below are not needed any more.
pub(super) fn first_needed_link(links: &[IncarnationLink], start: Lsn) -> usize {
    links.iter().rposition(|link| link.new_start <= start).unwrap_or(0)
}

struct LogReader<'a> {
    shard: &'a Shard,
    superblock: &'a Superblock,
    files: &'a SegmentFiles,
    marks: RootMarks,
    log: LogEnd,
}

/// Where and why reading stopped inside an incarnation.
#[derive(Clone)]
struct Stop {
    at: Lsn,
    path: PathBuf,
    why: String,
    /// The device does not deliver what lies there.
    is_unread: bool,
}

impl LogReader<'_> {
    async fn replay(&mut self, sink: &mut impl ReplaySink) -> Result<(), OpenError> {
        let links = &self.superblock.links;
        let first = first_needed_link(links, self.marks.start);
        for (index, link) in links.iter().enumerate().skip(first) {
            let limit = links.get(index + 1).map(|next| next.previous_end);
            self.log.link = index;
            self.replay_incarnation(link, limit, sink).await?;
        }
        // What the sink began with must get where it belongs even if there was no chunk to read.
        sink.settle().await
    }

    async fn replay_incarnation(
        &mut self,
        link: &IncarnationLink,
        limit: Option<Lsn>,
        sink: &mut impl ReplaySink,
    ) -> Result<(), OpenError> {
        let start = link.new_start.max(self.marks.start);
        if limit.is_some_and(|limit| start >= limit) {
            // The trees hold all of it; an opening that wrote nothing may have moved the start
            // into the gap behind it.
            return Ok(());
        }
        self.log.incarnations += 1;
        let mut assembler = Assembler::new(start, limit);
        self.log.end = start;
        let mut next = start;
        let stop = loop {
            if assembler.is_complete() {
                break None;
            }
            match self.replay_segment(link, next, &mut assembler, sink).await? {
                Some(stop) => break Some(stop),
                None => next = self.segment_after(next),
            }
        };
        self.log.end = assembler.end;
        if limit.is_some_and(|limit| assembler.end > limit) {
            let stop = self.stop_at(assembler.end);
            self.log.end = assembler.last_begin;
            let expected = format!("a record that ends at LSN {limit:?}");
            return Err(self.damaged(&stop, "a record crosses the end of its opening", expected));
        }
        let Some(stop) = stop else { return Ok(()) };
        if stop.is_unread {
            let expected = "a block that can be read".to_owned();
            return Err(self.damaged(&stop, "a block of the log is out of reach", expected));
        }
        self.log.stopped_by = stop.why.clone();
        match limit {
            Some(limit) => Err(self.damaged(
                &stop,
                "the log ends before the place where a later opening found its end",
                format!("valid blocks up to LSN {limit}"),
            )),
            None => {
                self.refuse_lost_commits(&stop)?;
                self.refuse_lost_segment(link, &stop)?;
                self.look_behind(link, &stop).await
            }
        }
    }

    fn stop_at(&self, at: Lsn) -> Stop {
        let number = locate(at, self.superblock.segment_bytes).segment_number;
        let path = self.files.path(number);
        let why = format!("a record that ends at LSN {at}");
        Stop { at, path, why, is_unread: false }
    }

    fn segment_after(&self, lsn: Lsn) -> Lsn {
        let place = locate(lsn, self.superblock.segment_bytes);
        segment_start(place.segment_number + 1, self.superblock.segment_bytes)
    }

    fn blocks_per_segment(&self) -> u64 {
        self.superblock.segment_bytes / BLOCK_SIZE_BYTES as u64
    }

    /// Replays one segment from the block that holds `start`. `None`: all of it was valid, or the
    /// incarnation is complete.
    async fn replay_segment(
        &mut self,
        link: &IncarnationLink,
        start: Lsn,
        assembler: &mut Assembler,
        sink: &mut impl ReplaySink,
    ) -> Result<Option<Stop>, OpenError> {
        let number = locate(start, self.superblock.segment_bytes).segment_number;
        let Some(segment) = self.files.get(number) else {
            let path = self.files.path(number);
            let why = format!("segment {number} does not exist");
            return Ok(Some(Stop { at: start, path, why, is_unread: false }));
        };
        let stop = |at, why| {
            let path = segment.path.clone();
            Some(Stop { at, path, why, is_unread: false })
        };
        match &segment.header {
            Err(error) => {
                let is_unread = matches!(error, HeaderError::Unread(_));
                let stop = stop(start, error.to_string());
                return Ok(stop.map(|stop| Stop { is_unread, ..stop }));
            }
            Ok(header) if header.incarnation != link.incarnation => {
                let found = header.incarnation;
                let why = format!("segment {number} is of incarnation {found}");
                return Ok(stop(start, why));
            }
            Ok(_) => {}
        }
        let file = segment.open(self.shard).await?;
        let place = locate(start, self.superblock.segment_bytes);
        let blocks = place.block_in_segment..self.blocks_per_segment();
        let mut scan = SegmentScan::new(self.shard, file, blocks);
        let mut first_lsn = Lsn::new(start.as_u64() - place.offset_in_payload);
        loop {
            let Some(chunk) = self.next_chunk(&mut scan, &segment.path).await? else { break };
            for (index, block) in chunk.blocks() {
                let (store_id, incarnation) = (self.superblock.store_id, link.incarnation);
                let place = BlockPlace { store_id, incarnation, first_lsn };
                self.log.read_bytes += BLOCK_SIZE_BYTES as u64;
                if chunk.is_unread(index) {
                    sink.settle().await?;
                    let stop = stop(first_lsn, UNDELIVERED.to_owned());
                    return Ok(stop.map(|stop| Stop { is_unread: true, ..stop }));
                }
                let valid = match verify_block(block, &place) {
                    Ok(valid) => valid,
                    Err(error) => {
                        sink.settle().await?;
                        return Ok(stop(first_lsn, error.to_string()));
                    }
                };
                // Only the first block of a replay may begin below its start.
                let skip = assembler.next.as_u64().saturating_sub(first_lsn.as_u64());
                let skip = if first_lsn < start { skip as usize } else { 0 };
                self.take_block(&valid, skip, (assembler, sink), &segment.path)?;
                if assembler.is_complete() {
                    sink.settle().await?;
                    return Ok(None);
                }
                first_lsn = Lsn::new(first_lsn.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
            }
            sink.settle().await?;
        }
        let is_whole = first_lsn == self.segment_after(start);
        Ok(if is_whole { None } else { stop(first_lsn, "the file ends here".to_owned()) })
    }

    fn take_block(
        &mut self,
        block: &LogBlock<'_>,
        skip: usize,
        (assembler, sink): (&mut Assembler, &mut impl ReplaySink),
        path: &Path,
    ) -> Result<(), OpenError> {
        self.log.newest_stamp = self.log.newest_stamp.max(block.header.durable);
        let records = &mut self.log.records;
        let taken =
            assembler.take(&block.payload[skip.min(block.payload.len())..], |lsn, bytes| {
                let refuse = |source| OpenError::Record { path: path.to_owned(), lsn, source };
                let record = log_record::decode_record(bytes).map_err(refuse)?;
                *records += 1;
                sink.record(lsn, record)
            });
        self.log.end = assembler.end;
        taken?;
        if let Some((lsn, source)) = assembler.refused.take() {
            return Err(OpenError::Record { path: path.to_owned(), lsn, source });
        }
        Ok(())
    }

    async fn next_chunk(
        &self,
        scan: &mut SegmentScan,
        path: &Path,
    ) -> Result<Option<ScanChunk>, OpenError> {
        let next = match self.files.reads_past_damage {
            true => scan.next_past_damage().await,
            false => scan.next().await,
        };
        next.map_err(|source| OpenError::from_read(path.to_owned(), scan.next_place(), source))
    }

    fn damaged(&self, stop: &Stop, reason: &'static str, expected: String) -> OpenError {
        let offset = locate(stop.at, self.superblock.segment_bytes).block_offset_bytes();
        OpenError::Damaged {
            path: stop.path.clone(),
            offset,
            reason,
            expected,
            found: stop.why.clone(),
        }
    }
}

/// What is found where nothing can be read.
const UNDELIVERED: &str = "nothing: the device does not deliver it";
