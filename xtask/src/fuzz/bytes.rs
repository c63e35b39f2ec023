//! Binary inputs out of inputs: bits flipped, fields set to what lies at a bound, ranges copied,
//! mixed with others, cut and doubled.

use crate::limits::FUZZ_BINARY_BYTES_MAX;
use sombra_bench::random::Random;

/// Most changes of one input.
const CHANGES_MAX: usize = 5;
/// One input in so many changes its length: most readers refuse another one at once.
const LENGTH_ONE_IN: usize = 8;
/// Heads of structures lie here; half of all changes do.
const HEAD_BYTES: usize = 128;
/// Longest range that is copied, filled or dropped.
const RANGE_BYTES_MAX: usize = 256;

pub(super) struct ByteMutator {
    random: Random,
}

impl ByteMutator {
    pub(super) fn new(random: Random) -> ByteMutator {
        ByteMutator { random }
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("below a usize")
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// The next input, out of one or two of `corpus`.
    pub(super) fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            let other = &corpus[self.below(corpus.len())];
            self.change(&mut bytes, other);
        }
        if self.one_in(LENGTH_ONE_IN) {
            let other = &corpus[self.below(corpus.len())];
            self.change_length(&mut bytes, other);
        }
        bytes.truncate(FUZZ_BINARY_BYTES_MAX);
        bytes
    }

    /// One change that keeps the length.
    pub(super) fn change(&mut self, bytes: &mut [u8], other: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = self.place(bytes.len());
        match self.below(10) {
            0 | 1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = self.random.next_u64() as u8,
            3..=6 => self.change_field(bytes, at),
            7 => {
                let (from, len) = self.range(bytes.len());
                let len = len.min(bytes.len() - at);
                bytes.copy_within(from..from + len.min(bytes.len() - from), at);
            }
            8 if !other.is_empty() => {
                // Half of the time the same place of the other, so that fields stay fields.
                let (mut from, len) = self.range(other.len());
                if at < other.len() && self.one_in(2) {
                    from = at;
                }
                let len = len.min(other.len() - from).min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&other[from..from + len]);
            }
            _ => {
                let len = (1 + self.below(RANGE_BYTES_MAX)).min(bytes.len() - at);
                let filling = [0, 0xFF, 0x5A][self.below(3)];
                bytes[at..at + len].fill(filling);
            }
        }
    }

    /// Sets the little-endian number at `at`, or moves it a little.
    fn change_field(&mut self, bytes: &mut [u8], at: usize) {
        let width = [1, 2, 4, 8][self.below(4)];
        let at = if self.one_in(4) { at } else { at - at % width };
        let Some(field) = bytes.get(at..at + width) else { return };
        let mut word = [0; 8];
        word[..width].copy_from_slice(field);
        let (found, length) = (u64::from_le_bytes(word), bytes.len() as u64);
        let number = match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => i64::MAX as u64 >> (64 - 8 * width),
            5 => length,
            6 => length.wrapping_sub(1 + self.below(9) as u64),
            7 => length + 1,
            8 => 1 << self.below(8 * width),
            9 => found.wrapping_add(1 + self.below(16) as u64),
            10 => found.wrapping_sub(1 + self.below(16) as u64),
            _ => self.random.next_u64(),
        };
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    fn change_length(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let (from, len) = self.range(bytes.len() + 1);
                bytes.drain(from..(from + len).min(bytes.len()));
            }
            2 => {
                let (from, len) = self.range(bytes.len() + 1);
                let doubled = bytes[from..(from + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, doubled);
            }
            3 => bytes.extend(std::iter::repeat_n(0, self.below(4096))),
            4 => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
            _ => {
                let doubled = bytes.clone();
                bytes.extend(doubled);
            }
        }
    }

    /// A place in `len` bytes, as often in the head as anywhere.
    fn place(&mut self, len: usize) -> usize {
        let reach = if self.one_in(2) { len.min(HEAD_BYTES) } else { len };
        self.below(reach)
    }

    /// A range that begins within `len` bytes and may end behind them.
    fn range(&mut self, len: usize) -> (usize, usize) {
        (self.below(len), 1 + self.below(RANGE_BYTES_MAX))
    }
}
