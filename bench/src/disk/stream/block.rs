//! How large the next request is.

use crate::disk::job::BlockSize;
use crate::random::Random;

/// Bytes of the next request. A range is drawn in multiples of its smaller end.
pub(super) fn draw(size: &BlockSize, random: &mut Random) -> u64 {
    match size {
        BlockSize::Fixed(bytes) => *bytes,
        BlockSize::Range { min, max } => min * (1 + random.below(max / min)),
        BlockSize::Split(parts) => {
            let mut percent = random.below(100);
            for (bytes, share) in parts {
                match percent.checked_sub(u64::from(*share)) {
                    Some(left) => percent = left,
                    None => return *bytes,
                }
            }
            parts.last().map_or(size.max_bytes(), |(bytes, _)| *bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DRAWS: u64 = 100_000;

    fn shares(size: &BlockSize) -> BTreeMap<u64, f64> {
        let mut random = Random::new(3);
        let mut counts = BTreeMap::new();
        for _ in 0..DRAWS {
            *counts.entry(draw(size, &mut random)).or_insert(0.0) += 1.0 / DRAWS as f64;
        }
        counts
    }

    #[test]
    fn range_draws_every_multiple_of_its_smaller_end_alike() {
        let shares = shares(&BlockSize::Range { min: 4096, max: 16384 });
        let sizes: Vec<u64> = shares.keys().copied().collect();
        assert_eq!(sizes, [4096, 8192, 12288, 16384]);
        assert!(shares.values().all(|share| (share - 0.25).abs() < 0.01), "{shares:?}");
    }

    #[test]
    fn split_draws_sizes_by_their_percentage() {
        let size = BlockSize::Split(vec![(4096, 10), (65536, 50), (32768, 40), (512, 0)]);
        let shares = shares(&size);
        assert_eq!(shares.len(), 3, "nothing of nothing");
        assert!((shares[&4096] - 0.1).abs() < 0.01 && (shares[&65536] - 0.5).abs() < 0.01);
    }
}
