//! What the first block is at which the log's newest opening stops: a torn write that was never
//! acknowledged, or damage.
//!
//! Knows what proves that a block was durable once. Must never know what records say.

use std::path::Path;

use super::{LogReader, Stop, UNDELIVERED};
use crate::error::OpenError;
use crate::format::log_block::verify_block_of_store;
use crate::format::segment::locate;
use crate::format::{BLOCK_SIZE_BYTES, IncarnationLink};
use crate::recovery::segment_files::SegmentFile;
use crate::wal::scan::SegmentScan;

impl LogReader<'_> {
    /// Decides what the first invalid block of the newest incarnation is: a torn write that was
    /// never acknowledged, or damage. Source: design-level rule that a valid block which carries
    /// a `durable` beyond the invalid block's start proves that the block was durable once.
    pub(super) async fn look_behind(
        &mut self,
        link: &IncarnationLink,
        stop: &Stop,
    ) -> Result<(), OpenError> {
        let place = locate(stop.at, self.superblock.segment_bytes);
        self.refuse_short_file(place.segment_number, link, stop)?;
        // The invalid block itself may be whole, only of another opening or place.
        let behind = (place.segment_number, place.block_in_segment);
        let later = self.files.above(place.segment_number).map(|(number, _)| (number, 1));
        let later: Vec<(u64, u64)> = std::iter::once(behind).chain(later).collect();
        for (number, from_block) in later {
            let Some(segment) = self.files.get(number) else { continue };
            let file = segment.open(self.shard).await?;
            let mut scan =
                SegmentScan::new(self.shard, file, from_block..self.blocks_per_segment());
            while let Some(chunk) = self.next_chunk(&mut scan, &segment.path).await? {
                for (index, block) in chunk.blocks() {
                    self.log.read_bytes += BLOCK_SIZE_BYTES as u64;
                    if chunk.is_unread(index) {
                        return Err(unread_behind(&segment.path, index));
                    }
                    let is_own = self.refuse_evidence(block, link, stop)?;
                    self.log.dropped_blocks += u64::from(is_own);
                }
            }
        }
        Ok(())
    }

    /// A tree holds only what was durable in the log, so a log that ends in or before the block
    /// that holds a tree's newest commit has lost that block: it may have held acknowledged
    /// commits of others, also where replay begins in it, behind that commit.
    pub(super) fn refuse_lost_commits(&self, stop: &Stop) -> Result<(), OpenError> {
        let place = locate(stop.at, self.superblock.segment_bytes);
        let block_start = stop.at.as_u64() - place.offset_in_payload;
        let newest = self.marks.newest;
        if newest.as_u64() <= block_start {
            return Ok(());
        }
        let expected = format!("valid blocks up to LSN {newest}, which a tree holds");
        Err(self.damaged(stop, "the log ends before what is merged into the trees", expected))
    }

    /// A segment has its name and its header before the link to it is written, or the last block
    /// of the one before it (INV-11). Where the log stops for want of one, something was lost,
    /// unless an opening crashed while it took the still empty segment under a new number: then a
    /// higher file tells of it.
    pub(super) fn refuse_lost_segment(
        &self,
        link: &IncarnationLink,
        stop: &Stop,
    ) -> Result<(), OpenError> {
        let number = locate(stop.at, self.superblock.segment_bytes).segment_number;
        let is_own = |segment: &SegmentFile| {
            segment.header.as_ref().is_ok_and(|header| header.incarnation == link.incarnation)
        };
        let is_lost = match self.files.get(number) {
            Some(segment) => !is_own(segment),
            None => self.files.above(number).all(|(_, segment)| is_own(segment)),
        };
        if !is_lost {
            return Ok(());
        }
        let expected = format!("segment {number} of opening {}", link.incarnation);
        Err(self.damaged(stop, "a segment of the newest opening's log is lost", expected))
    }

    /// A segment that has its name is whole, and only older openings' segments are ever cut.
    fn refuse_short_file(
        &self,
        number: u64,
        link: &IncarnationLink,
        stop: &Stop,
    ) -> Result<(), OpenError> {
        let expected = self.superblock.segment_bytes;
        match self.files.get(number) {
            Some(segment) if segment.len_bytes < expected => {
                let expected = format!("{expected} bytes in a segment of {:?}", link.incarnation);
                let found = Stop { why: format!("{} bytes", segment.len_bytes), ..stop.clone() };
                Err(self.damaged(&found, "the segment file was cut", expected))
            }
            _ => Ok(()),
        }
    }

    /// Whether the block is one of this opening's that nothing was acknowledged by.
    fn refuse_evidence(
        &self,
        block: &[u8],
        link: &IncarnationLink,
        stop: &Stop,
    ) -> Result<bool, OpenError> {
        let Ok(valid) = verify_block_of_store(block, self.superblock.store_id) else {
            return Ok(false);
        };
        let header = valid.header;
        let was_durable = header.incarnation == link.incarnation && header.durable > stop.at;
        if was_durable {
            let expected =
                format!("a valid block: a later one says durable up to {}", header.durable);
            return Err(self.damaged(stop, "a block that was durable is invalid", expected));
        }
        if header.incarnation > link.incarnation {
            let expected = format!("no block newer than incarnation {}", link.incarnation);
            return Err(self.damaged(stop, "blocks of an opening that no link names", expected));
        }
        Ok(header.incarnation == link.incarnation)
    }
}

/// Nobody knows what such a block holds, and an opening would have to.
fn unread_behind(path: &Path, block: u64) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        offset: block * BLOCK_SIZE_BYTES as u64,
        reason: "a block behind the end of the log is out of reach",
        expected: "a block that can be read".to_owned(),
        found: UNDELIVERED.to_owned(),
    }
}
