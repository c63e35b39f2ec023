//! Where in a range of blocks a random operation falls.

use crate::disk::job::Distribution;
use crate::random::Random;
use crate::workload::ZipfianRanks;

/// Draws blocks `0..blocks`.
#[derive(Clone, Debug)]
pub(super) struct Places {
    blocks: u64,
    shape: Shape,
    scatter: Scatter,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    /// Rank 0 the most popular.
    Zipf(ZipfianRanks),
    /// `unit^power` of the range, as for the self-similar law of Gray et al. (SIGMOD 1994).
    Pareto {
        power: f64,
    },
    /// Standard deviation in blocks, around the middle of the range.
    Normal {
        deviation: f64,
    },
}

/// Spreads ranks over the range, each to a block of its own: popular blocks do not lie together.
/// As with fio, a centre says where the first rank lies.
#[derive(Clone, Debug)]
struct Scatter {
    stride: u64,
    first: u64,
}

/// Multiples of it fall evenly into a range (Knuth, The Art of Computer Programming 3, 6.4).
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;

impl Scatter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "block numbers are far below 2^53 and not negative"
    )]
    fn new(blocks: u64, center: Option<f64>) -> Scatter {
        let near = ((blocks as f64 * GOLDEN_RATIO) as u64).max(1);
        let stride = (near..).find(|stride| has_no_common_divisor(*stride, blocks));
        let first = (center.unwrap_or(0.0) * blocks as f64) as u64;
        Scatter {
            stride: stride.expect("a prime above the range has no common divisor with it"),
            first: first.min(blocks - 1),
        }
    }

    fn place(&self, rank: u64, blocks: u64) -> u64 {
        let spread = u128::from(rank) * u128::from(self.stride) + u128::from(self.first);
        (spread % u128::from(blocks)) as u64
    }
}

/// Euclid's algorithm.
fn has_no_common_divisor(mut a: u64, mut b: u64) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
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
        let (shape, center) = match distribution {
            Distribution::Uniform => (Shape::Uniform, None),
            Distribution::Zipf { theta, center } => {
                (Shape::Zipf(ZipfianRanks::with_theta(blocks, theta)), center)
            }
            Distribution::Pareto { h, center } => {
                (Shape::Pareto { power: h.ln() / (1.0 - h).ln() }, center)
            }
            Distribution::Normal { deviation, center } => {
                (Shape::Normal { deviation: deviation / 100.0 * blocks as f64 }, center)
            }
        };
        Places { blocks, shape, scatter: Scatter::new(blocks, center) }
    }

    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        let rank = match &self.shape {
            Shape::Uniform => return random.below(self.blocks),
            Shape::Zipf(ranks) => ranks.draw(random),
            Shape::Pareto { power } => {
                ((self.blocks - 1) as f64 * random.unit().powf(*power)) as u64
            }
            Shape::Normal { deviation } => self.normal(*deviation, random),
        };
        self.scatter.place(rank, self.blocks)
    }

    /// Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    fn normal(&self, deviation: f64, random: &mut Random) -> u64 {
        let center = self.blocks as f64 / 2.0;
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
            // The approximation of the second rank on.
            let found = share(&sorted[..10]);
            assert!((found / expected - 1.0).abs() < 0.1, "{theta}: {found} of {expected}");
        }
    }

    #[test]
    fn zipf_with_a_centre_is_most_popular_there() {
        let (counts, sorted) = counts(Distribution::Zipf { theta: 1.2, center: Some(0.5) });
        assert_eq!(counts[500], sorted[0]);
        assert!(counts[501] < sorted[10], "its neighbours are others");
    }

    #[test]
    fn pareto_gives_the_share_h_of_the_blocks_the_rest_of_the_draws() {
        // With h = 0.2 a fifth of the range gets four fifths of the draws.
        let (_, sorted) = counts(Distribution::Pareto { h: 0.2, center: Some(0.0) });
        let found = share(&sorted[..200]);
        assert!((found - 0.8).abs() < 0.02, "{found}");
    }

    #[test]
    fn normal_keeps_two_thirds_of_the_draws_within_a_deviation() {
        let (_, sorted) = counts(Distribution::Normal { deviation: 10.0, center: None });
        let found = share(&sorted[..200]);
        assert!((found - 0.683).abs() < 0.02, "{found}");
        let (_, sorted) = self::counts(Distribution::Normal { deviation: 5.0, center: Some(0.2) });
        assert!(share(&sorted[..200]) > 0.94);
    }

    #[test]
    fn scatter_gives_each_rank_a_block_of_its_own() {
        for blocks in [1, 2, 3, 10, 4096, 999, 1_000] {
            let scatter = Scatter::new(blocks, Some(0.3));
            let mut seen: Vec<u64> = (0..blocks).map(|rank| scatter.place(rank, blocks)).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..blocks), "{blocks}");
        }
    }
}
