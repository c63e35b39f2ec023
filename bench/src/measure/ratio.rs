//! Ratios of pairs: their median, and how far it can be trusted.

use serde::Serialize;

use crate::limits::BOOTSTRAP_RESAMPLES;
use crate::random::Random;

/// A 90 % bootstrap interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// The larger distance of a bound from the middle, as a share of the middle.
    #[must_use]
    pub fn half_width(&self, middle: f64) -> f64 {
        ((self.high - middle).max(middle - self.low) / middle).abs()
    }
}

/// The median ratio of pairs with its interval.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub interval_90: Interval,
    pub pairs: Vec<f64>,
}

/// The median ratio of pairs and its 90 % bootstrap interval; `None` without a pair.
///
/// Shape: resamples the pairs with replacement and takes the 5th and the 95th percentile of the
/// resamples' medians. Cost: named resamples × pairs × log. Deterministic for the same pairs.
/// Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Ann. Statist. 1979.
#[must_use]
pub fn ratio_of_pairs(pairs: &[f64]) -> Option<Ratio> {
    let middle = median(pairs)?;
    let mut random = Random::new(0x5EED_0F0F);
    let mut resample = vec![0.0; pairs.len()];
    let mut medians = Vec::with_capacity(BOOTSTRAP_RESAMPLES);
    for _ in 0..BOOTSTRAP_RESAMPLES {
        for slot in &mut resample {
            *slot = pairs[random.below(pairs.len() as u64) as usize];
        }
        medians.push(median(&resample)?);
    }
    medians.sort_by(f64::total_cmp);
    let low = medians[BOOTSTRAP_RESAMPLES / 20];
    let high = medians[BOOTSTRAP_RESAMPLES - 1 - BOOTSTRAP_RESAMPLES / 20];
    let interval_90 = Interval { low, high };
    Some(Ratio { median: middle, interval_90, pairs: pairs.to_vec() })
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}
