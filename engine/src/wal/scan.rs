//! Reading a segment from end to end: large reads at depth, blocks handed on in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sombra_runtime::{DmaBuf, DmaFile, IoClass, Shard};

use crate::error::is_undelivered;
use crate::format::BLOCK_SIZE_BYTES;
use crate::limits;
use crate::media::{PastDamage, read_past_damage};

type Chunk = io::Result<(DmaBuf, usize)>;
type ChunkRead = Pin<Box<dyn Future<Output = Chunk>>>;

/// Reads in flight, oldest first; all are polled, so all are submitted.
struct ReadAhead {
    reads: VecDeque<(ChunkRead, Option<Chunk>)>,
}

impl ReadAhead {
    fn poll_oldest(&mut self, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        for (read, done) in &mut self.reads {
            if done.is_none()
                && let Poll::Ready(chunk) = read.as_mut().poll(context)
            {
                *done = Some(chunk);
            }
        }
        match self.reads.front_mut() {
            None => Poll::Ready(None),
            Some((_, done)) => match done.take() {
                None => Poll::Pending,
                Some(chunk) => {
                    self.reads.pop_front();
                    Poll::Ready(Some(chunk))
                }
            },
        }
    }
}

/// Whole blocks of a segment, in order.
pub(crate) struct ScanChunk {
    pub(crate) first_block: u64,
    buffer: DmaBuf,
    read_bytes: usize,
    /// Numbers in the segment of the blocks that the device does not deliver.
    unread: Vec<u64>,
}

impl ScanChunk {
    /// Whether the block is zeroes here because the device does not deliver it.
    pub(crate) fn is_unread(&self, block: u64) -> bool {
        self.unread.contains(&block)
    }

    /// The blocks with their numbers in the segment.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let blocks = self.buffer[..self.read_bytes].chunks_exact(BLOCK_SIZE_BYTES);
        blocks.enumerate().map(|(index, block)| (self.first_block + index as u64, block))
    }
}

/// Reads the blocks of one segment from end to end.
pub(crate) struct SegmentScan {
    shard: Shard,
    file: DmaFile,
    next_read: u64,
    next_block: u64,
    end_block: u64,
    ahead: ReadAhead,
}

impl SegmentScan {
    /// A scan of the blocks in `blocks`; the file may end before.
    pub(crate) fn new(shard: &Shard, file: DmaFile, blocks: std::ops::Range<u64>) -> SegmentScan {
        SegmentScan {
            shard: shard.clone(),
            file,
            next_read: blocks.start,
            next_block: blocks.start,
            end_block: blocks.end,
            ahead: ReadAhead { reads: VecDeque::new() },
        }
    }

    /// The next blocks, or `None` at the end of the range or of the file.
    ///
    /// # Errors
    /// The first failed read.
    pub(crate) async fn next(&mut self) -> io::Result<Option<ScanChunk>> {
        let chunk_blocks = (limits::SCAN_READ_BYTES / BLOCK_SIZE_BYTES) as u64;
        let room = limits::SCAN_READS_IN_FLIGHT;
        while self.next_read < self.end_block && self.ahead.reads.len() < room {
            let count = chunk_blocks.min(self.end_block - self.next_read);
            let read = read_chunk(&self.shard, &self.file, self.next_read, count);
            self.ahead.reads.push_back((read, None));
            self.next_read += count;
        }
        let ahead = &mut self.ahead;
        let Some(chunk) = poll_fn(|context| ahead.poll_oldest(context)).await else {
            return Ok(None);
        };
        let (buffer, read_bytes) = chunk?;
        Ok(self.take(PastDamage { buffer, read_bytes, unread: Vec::new() }))
    }

    /// As [`SegmentScan::next`], past blocks that the device does not deliver: those are zeroes.
    ///
    /// # Errors
    /// The first read that failed for another reason.
    pub(crate) async fn next_past_damage(&mut self) -> io::Result<Option<ScanChunk>> {
        match self.next().await {
            Err(error) if is_undelivered(&error) => {
                let (offset, len_bytes) = self.next_place();
                let place = (offset, len_bytes as usize);
                let read = read_past_damage(&self.shard, &self.file, place, IoClass::Read);
                let read = read.await?;
                Ok(self.take(read))
            }
            chunk => chunk,
        }
    }

    /// First byte and length of what comes next: after an error, of what could not be read.
    pub(crate) fn next_place(&self) -> (u64, u64) {
        let block_bytes = BLOCK_SIZE_BYTES as u64;
        let left_bytes = (self.end_block - self.next_block) * block_bytes;
        (self.next_block * block_bytes, left_bytes.min(limits::SCAN_READ_BYTES as u64))
    }

    fn take(&mut self, read: PastDamage) -> Option<ScanChunk> {
        let PastDamage { buffer, read_bytes, unread } = read;
        let first_block = self.next_block;
        let read_blocks = (read_bytes / BLOCK_SIZE_BYTES) as u64;
        self.next_block += read_blocks;
        if read_bytes < buffer.len() {
            self.end_block = self.next_block;
            self.ahead.reads.clear();
        }
        let unread = unread.into_iter().map(|(block, _)| first_block + block as u64).collect();
        (read_blocks > 0).then_some(ScanChunk { first_block, buffer, read_bytes, unread })
    }
}

fn read_chunk(shard: &Shard, file: &DmaFile, first_block: u64, count: u64) -> ChunkRead {
    let (shard, file) = (shard.clone(), file.clone());
    Box::pin(async move {
        let buffer = shard.alloc_buffer(count as usize * BLOCK_SIZE_BYTES);
        let offset = first_block * BLOCK_SIZE_BYTES as u64;
        shard.read_at(&file, IoClass::Read, offset, buffer).await
    })
}
