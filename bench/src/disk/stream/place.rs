//! Where in a range of blocks a random operation falls.

use crate::disk::job::Distribution;
use crate::random::Random;
use crate::workload::ZipfianRanks;

/// Draws blocks `0..blocks`.
#[derive(Clone, Debug)]
pub(super) struct Places {
    blocks: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    /// Rank 0 the most popular, scattered unless a centre is given.
    Zipf {
        ranks: ZipfianRanks,
        center: Option<u64>,
    },
    /// `unit^power` of the range, as for the self-similar law of Gray et al. (SIGMOD 1994).
    Pareto {
        power: f64,
        center: Option<u64>,
    },
    Normal {
        deviation: f64,
        center: f64,
    },
}

/// Draws of one normal deviate that fall outside the range.
const NORMAL_DRAWS_MAX: u32 = 64;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "block numbers are far below 2^53 and not negative"
)]
impl Places {
    pub(super) fn new(distribution: Distribution, blocks: u64) -> Places {
        assert!(blocks > 0, "a range has at least one block");
        let place = |center: Option<f64>| {
            center.map(|center| ((center * blocks as f64) as u64).min(blocks - 1))
        };
        let shape = match distribution {
            Distribution::Uniform => Shape::Uniform,
            Distribution::Zipf { theta, center } => {
                let ranks = ZipfianRanks::with_theta(blocks, theta);
                Shape::Zipf { ranks, center: place(center) }
            }
            Distribution::Pareto { h, center } => {
                Shape::Pareto { power: h.ln() / (1.0 - h).ln(), center: place(center) }
            }
            Distribution::Normal { deviation, center } => Shape::Normal {
                deviation: deviation / 100.0 * blocks as f64,
                center: center.unwrap_or(0.5) * blocks as f64,
            },
        };
        Places { blocks, shape }
    }

    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        match &self.shape {
            Shape::Uniform => random.below(self.blocks),
            Shape::Zipf { ranks, center } => self.placed(ranks.draw(random), *center),
            Shape::Pareto { power, center } => {
                let rank = (self.blocks - 1) as f64 * random.unit().powf(*power);
                self.placed(rank as u64, *center)
            }
            Shape::Normal { deviation, center } => self.normal(*deviation, *center, random),
        }
    }

    /// Popular ranks lie together from the centre on, or scattered by a hash.
    fn placed(&self, rank: u64, center: Option<u64>) -> u64 {
        match center {
            Some(center) => (rank % self.blocks + center) % self.blocks,
            None => Random::new(rank).next_u64() % self.blocks,
        }
    }

    /// Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    fn normal(&self, deviation: f64, center: f64, random: &mut Random) -> u64 {
        for _ in 0..NORMAL_DRAWS_MAX {
            let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
            let deviate = radius * (std::f64::consts::TAU * random.unit()).cos();
            let block = center + deviation * deviate;
            if block >= 0.0 && block < self.blocks as f64 {
                return block as u64;
            }
        }
        random.below(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u64 = 1_000;
    const DRAWS: usize = 200_000;

    /// How often each block was drawn, most popular first.
    fn counts(distribution: Distribution) -> (Vec<usize>, Vec<usize>) {
        let places = Places::new(distribution, BLOCKS);
        let mut random = Random::new(7);
        let mut counts = vec![0; BLOCKS as usize];
        for _ in 0..DRAWS {
            counts[places.draw(&mut random) as usize] += 1;
        }
        let mut sorted = counts.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        (counts, sorted)
    }

    fn share(counts: &[usize]) -> f64 {
        counts.iter().sum::<usize>() as f64 / DRAWS as f64
    }

    #[test]
    fn uniform_draws_every_block_alike() {
        let (counts, _) = counts(Distribution::Uniform);
        assert!(counts.iter().all(|count| (120..=290).contains(count)), "mean 200");
    }

    #[test]
    fn zipf_draws_ranks_by_their_law() {
        for theta in [0.8, 1.2] {
            let (_, sorted) = counts(Distribution::Zipf { theta, center: None });
            let weight = |rank: usize| (rank as f64 + 1.0).powf(-theta);
            let zeta: f64 = (0..BLOCKS as usize).map(weight).sum();
            let expected: f64 = (0..10).map(weight).sum::<f64>() / zeta;
            // The approximation of the second rank on, and ranks hashed onto the same block.
            let found = share(&sorted[..10]);
            assert!((found / expected - 1.0).abs() < 0.15, "{theta}: {found} of {expected}");
        }
    }

    #[test]
    fn zipf_with_a_centre_is_most_popular_there() {
        let (counts, sorted) = counts(Distribution::Zipf { theta: 1.2, center: Some(0.5) });
        assert_eq!(counts[500], sorted[0]);
        assert!(counts[501] > counts[510] && counts[510] > 0);
    }

    #[test]
    fn pareto_gives_the_share_h_of_the_blocks_the_rest_of_the_draws() {
        // With h = 0.2 a fifth of the range gets four fifths of the draws.
        let (counts, _) = counts(Distribution::Pareto { h: 0.2, center: Some(0.0) });
        let found = share(&counts[..200]);
        assert!((found - 0.8).abs() < 0.02, "{found}");
    }

    #[test]
    fn normal_keeps_two_thirds_of_the_draws_within_a_deviation() {
        let (counts, _) = counts(Distribution::Normal { deviation: 10.0, center: None });
        let found = share(&counts[400..600]);
        assert!((found - 0.683).abs() < 0.02, "{found}");
        let (counts, _) = self::counts(Distribution::Normal { deviation: 5.0, center: Some(0.2) });
        assert!(share(&counts[100..300]) > 0.94);
    }
}
