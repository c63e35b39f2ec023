//! What a disk holds: sparse, in memory, and cheap to copy. Knows sectors, not file systems.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What a disk keeps or loses as a whole.
pub(super) const SECTOR_BYTES: usize = 512;
/// Unit of sharing between copies of an image, and of the file systems' and the store's pages.
pub(super) const BLOCK_BYTES: usize = 4096;

type Block = [u8; BLOCK_BYTES];

/// Blocks that were never written are zeroes. A copy shares all blocks until one is written.
#[derive(Clone, Default)]
pub(super) struct Image {
    blocks: HashMap<u64, Arc<Block>>,
}

impl Image {
    pub(super) fn read(&self, offset: u64, len_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; len_bytes];
        for piece in pieces(offset, len_bytes) {
            if let Some(block) = self.blocks.get(&piece.block) {
                let from = &block[piece.start..piece.start + piece.len_bytes];
                bytes[piece.at..piece.at + piece.len_bytes].copy_from_slice(from);
            }
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            let block = self.blocks.entry(piece.block);
            let block = block.or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
            let to = &mut Arc::make_mut(block)[piece.start..piece.start + piece.len_bytes];
            to.copy_from_slice(&bytes[piece.at..piece.at + piece.len_bytes]);
        }
    }

    /// The numbers of all blocks that hold just this.
    pub(super) fn find(&self, content: &[u8]) -> Vec<u64> {
        let same = self.blocks.iter().filter(|(_, block)| block[..] == *content);
        same.map(|(number, _)| *number).collect()
    }

    /// Writes it to a file of zeroes.
    pub(super) fn write_to(&self, file: &std::fs::File) -> std::io::Result<()> {
        let write = |(number, block): (&u64, &Arc<Block>)| {
            file.write_all_at(&block[..], number * BLOCK_BYTES as u64)
        };
        self.blocks.iter().try_for_each(write)
    }

    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let old = self.read(offset, 1)[0];
        self.write(offset, &[old ^ 1 << bit]);
    }
}

/// The part of a range that lies in one block.
struct Piece {
    block: u64,
    /// Where in the block, and where in the range.
    start: usize,
    at: usize,
    len_bytes: usize,
}

fn pieces(offset: u64, len_bytes: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = offset + at as u64;
        let start = (place % BLOCK_BYTES as u64) as usize;
        let piece = Piece {
            block: place / BLOCK_BYTES as u64,
            start,
            at,
            len_bytes: (len_bytes - at).min(BLOCK_BYTES - start),
        };
        at += piece.len_bytes;
        (piece.len_bytes > 0).then_some(piece)
    })
}
