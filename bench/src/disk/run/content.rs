//! What writes write, and what a verified block must hold.

use crate::disk::job::Job;
use crate::limits::{DISK_SCRAMBLE_BYTES, DISK_VERIFY_HEADER_BYTES};
use crate::random::Random;

/// Fills a buffer with noise that no device can compress.
pub(super) fn fill(bytes: &mut [u8], seed: u64) {
    let mut random = Random::new(seed);
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&random.next_u64().to_le_bytes()[..word.len()]);
    }
}

/// Makes each sector of an old buffer different from what it was, so that nothing is stored once
/// for many; far cheaper than to fill it anew.
pub(super) fn scramble(bytes: &mut [u8], seed: u64) {
    let mut random = Random::new(seed);
    let stamp = random.next_u64();
    for (index, sector) in bytes.chunks_mut(DISK_SCRAMBLE_BYTES).enumerate() {
        if let Some(head) = sector.first_chunk_mut::<8>() {
            *head = stamp.wrapping_add(index as u64).to_le_bytes();
        }
    }
}

/// Why a block is not what was written there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("expected a header with the mark {MAGIC:#x}, found {found:#x}")]
    Magic { found: u64 },
    #[error("expected the block written at {expected}, found the one of {found}")]
    Offset { expected: u64, found: u64 },
    #[error("expected a block of {expected} bytes, found one of {found}")]
    Length { expected: u64, found: u64 },
    #[error("expected the CRC-32C {expected:#010x}, found {found:#010x}")]
    Checksum { expected: u32, found: u32 },
}

const MAGIC: u64 = 0x5342_5645_5249_4659;

/// Writes the header of a verified block over its first bytes. Little-endian.
///
/// | offset | size | field                                  |
/// |-------:|-----:|----------------------------------------|
/// |      0 |    8 | mark                                   |
/// |      8 |    8 | offset of the block in its file        |
/// |     16 |    8 | bytes of the block                     |
/// |     24 |    4 | CRC-32C of everything but these four   |
/// |     28 |    4 | zero                                   |
pub(super) fn seal(block: &mut [u8], offset: u64) {
    let len = block.len() as u64;
    block[..8].copy_from_slice(&MAGIC.to_le_bytes());
    block[8..16].copy_from_slice(&offset.to_le_bytes());
    block[16..24].copy_from_slice(&len.to_le_bytes());
    block[24..DISK_VERIFY_HEADER_BYTES].fill(0);
    let crc = checksum(block);
    block[24..28].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..24]), &block[28..])
}

/// Says whether the block is what was written at `offset`.
pub(super) fn verify(block: &[u8], offset: u64) -> Result<(), VerifyError> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (magic, place, len) = (word(0), word(8), word(16));
    if magic != MAGIC {
        return Err(VerifyError::Magic { found: magic });
    }
    if place != offset {
        return Err(VerifyError::Offset { expected: offset, found: place });
    }
    if len != block.len() as u64 {
        return Err(VerifyError::Length { expected: block.len() as u64, found: len });
    }
    let (expected, found) = (word(24) as u32, checksum(block));
    if expected != found {
        return Err(VerifyError::Checksum { expected, found });
    }
    Ok(())
}

/// How a job fills the buffers that it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filler {
    zeroes: bool,
    refill: bool,
    verify: bool,
    seed: u64,
}

impl Filler {
    /// As the job asks for it; `seed` is its thread's.
    #[must_use]
    pub fn new(job: &Job, seed: u64) -> Filler {
        Filler { zeroes: job.zero_buffers, refill: job.refill_buffers, verify: job.verify, seed }
    }

    /// The first content of a buffer.
    pub fn prime(self, buf: &mut [u8], index: u64) {
        if !self.zeroes {
            fill(buf, self.seed ^ index);
        }
    }

    /// The content of the `number`-th write.
    pub fn prepare(self, block: &mut [u8], offset: u64, number: u64) {
        let seed = self.seed.wrapping_add(number);
        match (self.zeroes, self.refill) {
            (true, _) => {}
            (false, true) => fill(block, seed),
            (false, false) => scramble(block, seed),
        }
        if self.verify {
            seal(block, offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::job::Mix;
    use crate::disk::testing;

    #[test]
    fn sealed_block_is_known_again_and_any_damage_is_named() {
        let mut block = vec![0; 4096];
        fill(&mut block, 9);
        seal(&mut block, 8192);
        assert_eq!(verify(&block, 8192), Ok(()));
        assert_eq!(verify(&block, 4096), Err(VerifyError::Offset { expected: 4096, found: 8192 }));
        assert_eq!(
            verify(&block[..512], 8192),
            Err(VerifyError::Length { expected: 512, found: 4096 })
        );
        for at in [30, 40, 4095] {
            let mut damaged = block.clone();
            damaged[at] ^= 1;
            let error = verify(&damaged, 8192).unwrap_err();
            assert!(matches!(error, VerifyError::Checksum { .. }), "{at}: {error}");
        }
        assert_eq!(verify(&[0; 512], 0), Err(VerifyError::Magic { found: 0 }));
    }

    #[test]
    fn scrambled_buffer_differs_in_every_sector() {
        let mut block = vec![7; 4096];
        let before = block.clone();
        scramble(&mut block, 1);
        for (sector, old) in block.chunks(512).zip(before.chunks(512)) {
            assert_ne!(sector, old);
        }
    }

    #[test]
    fn filler_leaves_zeroes_and_fills_anew_as_asked() {
        let mut job = testing::job("a", Mix::Write);
        (job.zero_buffers, job.refill_buffers) = (true, true);
        let filler = Filler::new(&job, 1);
        let mut block = vec![0; 1024];
        filler.prepare(&mut block, 0, 5);
        assert!(block.iter().all(|byte| *byte == 0));
        let filler = Filler { zeroes: false, ..filler };
        let mut blocks = [vec![0; 1024], vec![0; 1024]];
        filler.prepare(&mut blocks[0], 0, 5);
        filler.prepare(&mut blocks[1], 0, 6);
        let same = blocks[0].iter().zip(&blocks[1]).filter(|(a, b)| a == b).count();
        assert!(same < 32, "{same} of 1,024 bytes by chance");
    }
}
