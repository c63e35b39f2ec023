//! Reading a log past its damage: every record that can still be found, and where there are none.
//!
//! Replay stops at the first block that is not what it should be. This goes on behind it, where a
//! block's header says at which byte a record starts. What it finds is for those who look at a
//! damaged store; an opening must never serve it.

use sombra_runtime::Shard;

use super::SegmentFiles;
use super::replay::{Assembler, ReplaySink};
use crate::error::OpenError;
use crate::format::log_block::verify_block_of_store;
use crate::format::log_record;
use crate::format::segment::{block_start, locate, segment_start};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES};
use crate::ids::{Incarnation, Lsn};
use crate::wal::scan::SegmentScan;

/// A part of the log in which no record can be read: those that ended above `from`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogGap {
    pub from: Lsn,
    pub to: Lsn,
}

/// What a reading past damage found.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// End of the last record that was read.
    pub(crate) end: Lsn,
    /// End of the newest valid block.
    pub(super) blocks_end: Lsn,
    pub(crate) records: u64,
    /// Valid blocks of the store, records or none.
    pub(crate) blocks: u64,
    /// Newest `durable` that one of them carries.
    pub(crate) newest_stamp: Lsn,
    pub(crate) newest_incarnation: Incarnation,
    pub(crate) gaps: Vec<LogGap>,
}

/// Hands all records above `from`, which is where one begins, to `sink`, in the order of the log;
/// without it, those of the oldest segment and what follows.
///
/// # Errors
/// Only what the sink says: a block that cannot be read is a gap, and so is a segment.
pub(crate) async fn survey(
    shard: &Shard,
    (superblock, files): (&Superblock, &SegmentFiles),
    from: Option<Lsn>,
    sink: &mut impl ReplaySink,
) -> Result<Surveyed, OpenError> {
    let mut survey = Survey::new(superblock);
    from.into_iter().for_each(|from| survey.begin(from));
    let first = from.map_or(0, |from| locate(from, superblock.segment_bytes).segment_number);
    let blocks_per_segment = superblock.segment_bytes / BLOCK_SIZE_BYTES as u64;
    for (number, segment) in files.from(first) {
        let Ok(file) = segment.open(shard).await else { continue };
        let mut scan = SegmentScan::new(shard, file, 1..blocks_per_segment);
        let start = segment_start(number, superblock.segment_bytes).as_u64();
        while let Ok(Some(chunk)) = scan.next_past_damage().await {
            for (index, block) in chunk.blocks() {
                let first_lsn = Lsn::new(start + (index - 1) * BLOCK_PAYLOAD_BYTES as u64);
                survey.take(first_lsn, block, sink)?;
            }
            sink.settle().await?;
        }
    }
    Ok(survey.found)
}

struct Survey<'a> {
    superblock: &'a Superblock,
    found: Surveyed,
    /// Puts records together while nothing is missing.
    assembler: Option<Assembler>,
    /// Where the next block begins that continues what is being put together.
    next_block: Lsn,
    /// Bytes of that block which are no part of it.
    skip_bytes: usize,
    /// Nothing below is looked at.
    wanted: Lsn,
}

impl Survey<'_> {
    fn new(superblock: &Superblock) -> Survey<'_> {
        let found = Surveyed {
            end: Lsn::ZERO,
            blocks_end: Lsn::ZERO,
            records: 0,
            blocks: 0,
            newest_stamp: Lsn::ZERO,
            newest_incarnation: Incarnation::new(0),
            gaps: Vec::new(),
        };
        let (wanted, next_block) = (Lsn::ZERO, Lsn::ZERO);
        Survey { superblock, found, assembler: None, next_block, skip_bytes: 0, wanted }
    }

    /// A record begins here; where an incarnation has ended, at the start of the next.
    fn begin(&mut self, at: Lsn) {
        let links = &self.superblock.links;
        let next = links.iter().find(|link| link.new_start > at && link.previous_end <= at);
        let at = next.map_or(at, |link| link.new_start);
        self.next_block = block_start(at);
        self.skip_bytes = (at.as_u64() - self.next_block.as_u64()) as usize;
        self.wanted = at;
        self.found.end = self.found.end.max(at);
        self.assembler = Some(Assembler::new(at, self.incarnation_end(at)));
    }

    /// Where the incarnation that holds this place ends, if another follows it.
    fn incarnation_end(&self, at: Lsn) -> Option<Lsn> {
        let next = self.superblock.links.iter().find(|link| link.new_start > at);
        next.map(|link| link.previous_end)
    }

    fn take(
        &mut self,
        first_lsn: Lsn,
        block: &[u8],
        sink: &mut impl ReplaySink,
    ) -> Result<(), OpenError> {
        let end = Lsn::new(first_lsn.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
        if end <= self.wanted || self.incarnation_end(first_lsn).is_some_and(|e| e <= first_lsn) {
            return Ok(());
        }
        let Ok(valid) = verify_block_of_store(block, self.superblock.store_id) else {
            self.assembler = None;
            return Ok(());
        };
        if valid.header.first_lsn != first_lsn {
            self.assembler = None;
            return Ok(());
        }
        let found = &mut self.found;
        found.blocks += 1;
        found.blocks_end = end;
        found.newest_stamp = found.newest_stamp.max(valid.header.durable);
        found.newest_incarnation = found.newest_incarnation.max(valid.header.incarnation);
        if self.assembler.is_none() || first_lsn != self.next_block {
            let Some(offset) = valid.header.first_record else {
                self.assembler = None;
                return Ok(());
            };
            let begins = Lsn::new(first_lsn.as_u64() + u64::from(offset));
            // What lies below the first record of all was truncated.
            if self.found.end > Lsn::ZERO {
                self.found.gaps.push(LogGap { from: self.found.end, to: begins });
            }
            self.begin(begins);
            if self.next_block != first_lsn {
                // What follows in this block lies behind the end of its opening.
                return Ok(());
            }
        }
        self.next_block = end;
        self.read(valid.payload, sink)
    }

    /// Puts the records of a block together with what came before.
    fn read(&mut self, payload: &[u8], sink: &mut impl ReplaySink) -> Result<(), OpenError> {
        let Some(mut assembler) = self.assembler.take() else { return Ok(()) };
        let (records, mut good_end, mut is_refused) = (&mut self.found.records, None, false);
        let skip = std::mem::take(&mut self.skip_bytes);
        assembler.take(&payload[skip..], |lsn, bytes| {
            // Behind a record that makes no sense there is none that can be found in this block.
            match log_record::decode_record(bytes) {
                Ok(record) if !is_refused => {
                    *records += 1;
                    good_end = Some(lsn);
                    sink.record(lsn, record)
                }
                _ => {
                    is_refused = true;
                    Ok(())
                }
            }
        })?;
        let end = if is_refused { good_end } else { Some(assembler.end()) };
        self.found.end = self.found.end.max(end.unwrap_or(Lsn::ZERO));
        if is_refused || assembler.is_refused() {
            return Ok(());
        }
        let is_complete = assembler.is_complete();
        self.assembler = Some(assembler);
        let end = self.found.end;
        let next = self.superblock.links.iter().find(|link| link.previous_end == end);
        if let Some(next) = next.filter(|_| is_complete) {
            self.begin(next.new_start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
