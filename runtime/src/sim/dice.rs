//! The only source of chance in a simulated run, and the running hash that tells two runs apart.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of seeded numbers. Two streams of one seed never meet, so the disk's draws do not
/// shift when the scheduler draws once more.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Dice {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Dice(rng)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not zero. The multiplication's bias is below 2^-32 for
    /// the small bounds of a simulation.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a die needs a side");
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number of `low..=high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high && high < u64::MAX, "range {low}..={high}");
        low + self.below(high - low + 1)
    }

    /// True once in `one_in` throws on average, never when `one_in` is zero.
    pub(crate) fn chance(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.below(u64::from(one_in)) == 0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// Order-dependent hash over everything a run decided; equal seeds must give equal hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Trace {
        Trace(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn add(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ word);
    }

    /// Four lanes side by side: one chain of multiplications would cost more than the I/O.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        let (stripes, tail) = bytes.as_chunks::<32>();
        let mut lanes = [self.0, self.0 ^ 1, self.0 ^ 2, self.0 ^ 3];
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(0x9FB2_1C65_1E98_DF25);
                *lane ^= *lane >> 29;
            }
        }
        tail.iter().for_each(|&byte| self.add(u64::from(byte)));
        lanes.into_iter().for_each(|lane| self.add(lane));
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// The finalizer of `SplitMix64`: a bijection that spreads every bit.
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_repeat_for_a_seed_and_differ_between_streams() {
        let draw = |stream| {
            let mut dice = Dice::new(7, stream);
            (0..8).map(|_| dice.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn dice_within_reaches_both_ends_and_nothing_else() {
        let mut dice = Dice::new(1, 0);
        let drawn: std::collections::BTreeSet<_> = (0..500).map(|_| dice.within(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), vec![3, 4, 5, 6]);
    }

    #[test]
    fn trace_tells_order_apart() {
        let hash = |words: &[u64]| {
            let mut trace = Trace::new();
            words.iter().for_each(|&w| trace.add(w));
            trace.value()
        };
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_eq!(hash(&[1, 2]), hash(&[1, 2]));
    }

    #[test]
    fn trace_notices_every_byte() {
        let hash = |bytes: &[u8]| {
            let mut trace = Trace::new();
            trace.add_bytes(bytes);
            trace.value()
        };
        for len in [1, 31, 32, 33, 100] {
            let plain = vec![0; len];
            for at in 0..len {
                let mut changed = plain.clone();
                changed[at] = 1;
                assert_ne!(hash(&plain), hash(&changed), "byte {at} of {len}");
            }
        }
    }
}
