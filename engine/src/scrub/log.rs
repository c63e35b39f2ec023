//! The log: headers of the segments that replay may need, and their blocks as far as these are
//! durable. A segment below the floor may be taken again while it is being read, so what was
//! found is damage only if the floor has not passed it since.

use std::path::PathBuf;

use std::ops::Range;

use sombra_runtime::{DmaFile, IoClass, OpenHow};

use super::{ScrubPass, Stopped};
use crate::check::{ProblemPlace, problem};
use crate::format::log_block::{BlockPlace, verify_block};
use crate::format::segment::{SegmentHeader, segment_start};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES};
use crate::ids::{Incarnation, Lsn};
use crate::limits;

/// One kept segment that is being read.
struct Segment {
    path: PathBuf,
    file: DmaFile,
    start: Lsn,
    /// Where it ends, whether or not it is full.
    end: Lsn,
    incarnation: Incarnation,
}

/// Reads the log that is kept. `newest_end`: the end of the newest opening's log, which nobody
/// writes; `None`: this opening's, which ends at what is durable.
pub(crate) async fn scrub_log(
    pass: &mut ScrubPass<'_>,
    superblock: &Superblock,
    newest_end: Option<Lsn>,
) -> Result<(), Stopped> {
    let segments = pass.store.log.segments();
    for number in segments.numbers_on_disk() {
        let [start, end] =
            [number, number + 1].map(|number| segment_start(number, superblock.segment_bytes));
        // A crash may have left segments that never came into use; a writer removes them.
        let is_unused = newest_end.is_some_and(|newest| start >= newest);
        if end <= floor(pass) || is_unused {
            continue;
        }
        let Some(segment) = open(pass, superblock, number).await else { continue };
        pass.pace().await?;
        if let Some(blocks) = blocks(pass, superblock, &segment, newest_end) {
            read_blocks(pass, superblock, &segment, blocks).await?;
        }
    }
    Ok(())
}

/// No replay begins below it. It only grows, and the publisher truncates the log to it.
fn floor(pass: &ScrubPass<'_>) -> Lsn {
    let roots = pass.store.roots.floor();
    pass.store.log.segments().floor().max(roots.merge_lsn.min(roots.catalog_lsn))
}

/// Opens a segment and reads its header; `None` when there is nothing to read behind it.
async fn open(pass: &mut ScrubPass<'_>, superblock: &Superblock, number: u64) -> Option<Segment> {
    let path = pass.store.log.segments().identity().path(number);
    let (store_id, segment_bytes) = (superblock.store_id, superblock.segment_bytes);
    let [start, end] = [number, number + 1].map(|number| segment_start(number, segment_bytes));
    let read = async {
        let opened = pass.shard.open(&path, OpenHow::direct_read()).await;
        let file = opened.map_err(|error| error.to_string())?;
        let buf = pass.shard.alloc_buffer(BLOCK_SIZE_BYTES);
        let read = pass.shard.read_at(&file, IoClass::Maintenance, 0, buf).await;
        let (buf, found) = read.map_err(|error| error.to_string())?;
        let header = SegmentHeader::decode(&buf[..found]).map_err(|error| error.to_string())?;
        let placed = header.check_place(store_id, number, segment_bytes);
        placed.map_err(|error| error.to_string())?;
        Ok((file, header.incarnation))
    };
    let outcome: Result<(DmaFile, Incarnation), String> = read.await;
    pass.note_read(0, BLOCK_SIZE_BYTES as u64);
    match outcome {
        Ok((file, incarnation)) => Some(Segment { path, file, start, end, incarnation }),
        Err(found) => {
            if end > floor(pass) {
                let place = ProblemPlace::at(&path, 0);
                pass.note_problem(&problem(place, "the header of a kept segment", found));
            }
            None
        }
    }
}

/// The blocks of a segment that replay may need and that are not written any more.
fn blocks(
    pass: &ScrubPass<'_>,
    superblock: &Superblock,
    segment: &Segment,
    newest_end: Option<Lsn>,
) -> Option<Range<u64>> {
    let own = superblock.links.iter().position(|link| link.incarnation == segment.incarnation)?;
    let next = superblock.links.get(own + 1);
    let payload_bytes = BLOCK_PAYLOAD_BYTES as u64;
    let durable = pass.store.log.durable().as_u64() / payload_bytes * payload_bytes;
    let end = match (next, newest_end) {
        (Some(next), _) => next.previous_end,
        (None, Some(end)) => end,
        (None, None) => Lsn::new(durable),
    };
    let start = segment.start;
    let from = start.max(floor(pass));
    let end = end.min(segment.end);
    if end <= from {
        return None;
    }
    let block = |lsn: Lsn| 1 + (lsn.as_u64() - start.as_u64()) / payload_bytes;
    Some(block(from)..block(Lsn::new(end.as_u64() - 1)) + 1)
}

async fn read_blocks(
    pass: &mut ScrubPass<'_>,
    superblock: &Superblock,
    segment: &Segment,
    blocks: Range<u64>,
) -> Result<(), Stopped> {
    let step = (limits::SCRUB_READ_BYTES / BLOCK_SIZE_BYTES) as u64;
    let mut first = blocks.start;
    while first < blocks.end && segment.end > floor(pass) {
        let count = step.min(blocks.end - first);
        let buf = pass.shard.alloc_buffer(count as usize * BLOCK_SIZE_BYTES);
        let offset = first * BLOCK_SIZE_BYTES as u64;
        let read = pass.shard.read_at(&segment.file, IoClass::Maintenance, offset, buf).await;
        match read {
            Ok((buf, found)) => {
                pass.note_read(0, found as u64);
                for at in 0..count as usize {
                    let bytes = at * BLOCK_SIZE_BYTES..(at + 1) * BLOCK_SIZE_BYTES;
                    let block = buf[..found].get(bytes).unwrap_or(&[]);
                    judge(pass, superblock, segment, (first + at as u64, block));
                }
            }
            Err(error) => note(pass, segment, (offset, segment.end), &error),
        }
        first += count;
        pass.pace().await?;
    }
    Ok(())
}

fn judge(
    pass: &mut ScrubPass<'_>,
    superblock: &Superblock,
    segment: &Segment,
    (block, bytes): (u64, &[u8]),
) {
    let (store_id, incarnation) = (superblock.store_id, segment.incarnation);
    let first_lsn = Lsn::new(segment.start.as_u64() + (block - 1) * BLOCK_PAYLOAD_BYTES as u64);
    let place = BlockPlace { store_id, incarnation, first_lsn };
    if let Err(error) = verify_block(bytes, &place) {
        let end = Lsn::new(first_lsn.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
        note(pass, segment, (block * BLOCK_SIZE_BYTES as u64, end), &error);
    }
}

/// Damage before `end`, unless the floor has passed that: then nothing there is needed.
fn note(
    pass: &mut ScrubPass<'_>,
    segment: &Segment,
    (offset, end): (u64, Lsn),
    found: &impl std::fmt::Display,
) {
    if end > floor(pass) {
        let place = ProblemPlace::at(&segment.path, offset);
        pass.note_problem(&problem(place, "a block of the log that was durable", found));
    }
}
