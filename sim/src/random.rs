//! The only chance in this crate: a generator that is a function of its seed.

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// The finalizer of SplitMix64: spreads every bit of `word` over the result.
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random { state: mix(seed ^ 0x5eed_0f50_4b2a_0001) }
    }

    /// A generator of its own for one purpose, so that a draw added here moves nothing there.
    #[must_use]
    pub const fn fork(&self, purpose: u64) -> Random {
        Random { state: mix(self.state ^ mix(purpose.wrapping_add(0x9e37_79b9))) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`. The bias is below 2^-32 for every bound this crate uses.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has nothing to draw");
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 draws.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number in `low..=high` whose logarithm is uniform: small ones as often as large ones.
    pub fn scale(&mut self, low: u64, high: u64) -> u64 {
        assert!(0 < low && low <= high, "a scale starts above zero");
        let doublings = u64::from((high / low).ilog2());
        let floor = low << self.between(0, doublings);
        self.between(floor, (floor.saturating_mul(2) - 1).min(high))
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_repeats_its_sequence_for_the_same_seed() {
        let mut first = Random::new(7);
        let mut second = Random::new(7);
        assert!((0..100).all(|_| first.next_u64() == second.next_u64()));
        assert_ne!(Random::new(7).next_u64(), Random::new(8).next_u64());
        assert_ne!(first.fork(1).next_u64(), first.fork(2).next_u64());
    }

    #[test]
    fn random_stays_within_its_bounds() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((4..=6).contains(&random.between(4, 6)));
            assert!((16..=5_000).contains(&random.scale(16, 5_000)));
        }
        assert!(!random.percent(0) && random.percent(100));
    }
}
