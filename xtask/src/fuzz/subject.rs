//! What a target is to the campaign, and what targets share.

use super::bytes::ByteMutator;
use crate::limits::FUZZ_INPUT_MEMORY_MIB_MAX;
use sombra_bench::random::Random;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What the planted panic says.
pub(super) const PLANTED: &str = "planted for the negative control";
/// Words of a shape that count: those behind them tell inputs apart, not outcomes.
const SHAPE_WORDS_MAX: usize = 12;

/// A reader of bytes from outside, and inputs for it.
pub(super) trait Subject {
    /// Inputs to begin from.
    fn corpus(&self) -> Vec<Vec<u8>>;

    /// The next input, out of one or two of `corpus`.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8>;

    /// Reads `input`, panics when something does not hold that must, and sums up what came out.
    fn check(&self, input: &[u8], has_planted: bool) -> u64;

    /// By how much one input may raise the peak of memory, beside a multiple of its length.
    fn memory_mib_max(&self) -> u64 {
        FUZZ_INPUT_MEMORY_MIB_MAX
    }
}

/// A pure decoder of one structure with a checksum.
pub(super) trait Decoder {
    fn corpus(&self) -> Vec<Vec<u8>>;

    /// Makes checksums and lengths true again, so that what is behind their checks gets read.
    fn seal(&self, input: &mut Vec<u8>);

    /// As [`Subject::check`].
    fn check(&self, input: &[u8], has_planted: bool) -> u64;
}

/// A decoder with mutated bytes; half of them are sealed.
pub(super) struct Binary<D> {
    decoder: D,
    mutator: ByteMutator,
}

impl<D: Decoder> Binary<D> {
    pub(super) fn new(decoder: D, seed: u64) -> Binary<D> {
        Binary { decoder, mutator: ByteMutator::new(Random::new(seed)) }
    }
}

impl<D: Decoder> Subject for Binary<D> {
    fn corpus(&self) -> Vec<Vec<u8>> {
        self.decoder.corpus()
    }

    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.mutator.input(corpus);
        if self.mutator.one_in(2) {
            self.decoder.seal(&mut input);
        }
        input
    }

    fn check(&self, input: &[u8], has_planted: bool) -> u64 {
        self.decoder.check(input, has_planted)
    }
}

/// Panics for the negative control.
pub(super) fn plant(has_planted: bool, is_reached: bool) {
    assert!(!(has_planted && is_reached), "{PLANTED}");
}

/// An outcome without what was found in it: names of variants and fields, no numbers.
pub(super) fn shape(value: &impl Debug) -> u64 {
    let text = format!("{value:?}");
    let mut hasher = DefaultHasher::new();
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let is_word = |word: &&str| !word.is_empty() && !word.bytes().any(|byte| byte.is_ascii_digit());
    words.filter(is_word).take(SHAPE_WORDS_MAX).for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}

/// The outcome of an input that was accepted.
pub(super) fn accepted(facts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("accepted", facts).hash(&mut hasher);
    hasher.finish()
}

/// A number as its size only.
pub(super) fn scale(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// CRC-32C with four bytes taken as zero, by a way of its own: the bytes are copied and blanked.
pub(super) fn blanked_crc(bytes: &[u8], at: usize) -> u32 {
    let mut copy = bytes.to_vec();
    copy[at..at + 4].fill(0);
    crc32c::crc32c(&copy)
}

/// Puts the checksum of `bytes` to its place, if they are long enough to have one.
pub(super) fn seal_at(bytes: &mut [u8], at: usize) {
    if bytes.len() >= at + 4 {
        let crc = blanked_crc(bytes, at);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(field.try_into().expect("four bytes")))
}

/// The sixteen bytes of a store's id.
pub(super) fn id_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at + 16)?.try_into().ok()
}
