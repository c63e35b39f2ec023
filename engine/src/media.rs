//! Reading past what a device does not deliver, block by block.
//!
//! Knows which errors mean that the bytes are gone for now, and that a read of many blocks fails
//! for one of them. Must never know what the bytes are.

use std::io;

use sombra_runtime::{DmaBuf, DmaFile, IoClass, Shard};

use crate::error::is_undelivered;
use crate::format::BLOCK_SIZE_BYTES;

/// Blocks as far as the device delivers them: of the others there are zeroes.
#[derive(Debug)]
pub(crate) struct PastDamage {
    pub(crate) buffer: DmaBuf,
    /// Less than what was asked for where the file ends.
    pub(crate) read_bytes: usize,
    /// Ascending by block, counted from the first that was asked for.
    pub(crate) unread: Vec<(usize, io::Error)>,
}

/// Reads whole blocks in one request, and one by one if that fails for want of some of them.
///
/// # Errors
/// Whatever does not say that the device cannot deliver the bytes.
pub(crate) async fn read_past_damage(
    shard: &Shard,
    file: &DmaFile,
    (offset, len_bytes): (u64, usize),
    class: IoClass,
) -> io::Result<PastDamage> {
    match shard.read_at(file, class, offset, shard.alloc_buffer(len_bytes)).await {
        Ok((buffer, read_bytes)) => {
            return Ok(PastDamage { buffer, read_bytes, unread: Vec::new() });
        }
        Err(error) if is_undelivered(&error) => {}
        Err(error) => return Err(error),
    }
    let mut buffer = shard.alloc_buffer(len_bytes);
    let (mut read_bytes, mut unread) = (0, Vec::new());
    for (index, block) in buffer.chunks_mut(BLOCK_SIZE_BYTES).enumerate() {
        let at = offset + (index * BLOCK_SIZE_BYTES) as u64;
        let found = match shard.read_at(file, class, at, shard.alloc_buffer(block.len())).await {
            Ok((bytes, found)) => {
                block[..found].copy_from_slice(&bytes[..found]);
                found
            }
            Err(error) if is_undelivered(&error) => {
                block.fill(0);
                unread.push((index, error));
                block.len()
            }
            Err(error) => return Err(error),
        };
        read_bytes += found;
        if found < block.len() {
            break;
        }
    }
    Ok(PastDamage { buffer, read_bytes, unread })
}
