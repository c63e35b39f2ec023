//! Reading a segment from end to end: large reads at depth, blocks handed on in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use sombra_runtime::{DmaBuf, DmaFile, IoClass, Shard};

use crate::format::BLOCK_SIZE_BYTES;
use crate::limits;

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
}

impl ScanChunk {
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
        let first_block = self.next_block;
        let read_blocks = (read_bytes / BLOCK_SIZE_BYTES) as u64;
        self.next_block += read_blocks;
        if read_bytes < buffer.len() {
            self.end_block = self.next_block;
            self.ahead.reads.clear();
        }
        Ok((read_blocks > 0).then_some(ScanChunk { first_block, buffer, read_bytes }))
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
