//! A host's own file: blocks whose every word says where and in which round it was written.

pub const BLOCK_BYTES: usize = 16 * 1024;
pub const BLOCKS: u64 = 32;
pub const FILE_BYTES: u64 = BLOCKS * BLOCK_BYTES as u64;

/// Fills a block with what `block` holds after `round`.
pub fn fill(bytes: &mut [u8], block: u64, round: u64) {
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&word_at(index, block, round));
    }
}

#[must_use]
pub fn is_intact(bytes: &[u8], block: u64, round: u64) -> bool {
    let mut words = bytes.chunks_exact(8).enumerate();
    bytes.len() == BLOCK_BYTES && words.all(|(index, word)| word == word_at(index, block, round))
}

fn word_at(index: usize, block: u64, round: u64) -> [u8; 8] {
    let place = block * (BLOCK_BYTES as u64 / 8) + index as u64;
    (place ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()
}
