//! A histogram of times whose buckets are fio's, so that its tools read ours. Knows nothing of
//! what is timed.

use crate::limits::{LATENCY_BUCKET_BITS, LATENCY_BUCKETS};

/// Times in nanoseconds by bucket: values below 128 one each, then 64 buckets for every power of
/// two; the last bucket takes what is larger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buckets(Box<[u64]>);

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets(vec![0; LATENCY_BUCKETS].into_boxed_slice())
    }
}

impl Buckets {
    /// Counts one value. Cost: no division, no allocation.
    #[inline]
    pub fn add(&mut self, value_ns: u64) {
        self.0[bucket_of(value_ns)] += 1;
    }

    pub fn merge(&mut self, other: &Buckets) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets that hold something: their middle and their count, ascending.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| {
            let bucket = bucket as u64;
            (middle_of(bucket), *count)
        })
    }

    /// For each percentile (ascending) the middle of the bucket below which that share of the
    /// values lies; nothing where nothing was counted.
    pub fn percentiles(&self, wanted: &[f64]) -> Vec<u64> {
        let total = self.count();
        let mut found = Vec::with_capacity(wanted.len());
        let mut seen = 0u64;
        for (middle, count) in self.filled() {
            seen += count;
            while let Some(percent) = wanted.get(found.len()) {
                if (seen as f64) < percent / 100.0 * total as f64 {
                    break;
                }
                found.push(middle);
            }
        }
        // A percentile that rounding puts above every value is the largest bucket.
        if let Some((largest, _)) = self.filled().last() {
            found.resize(wanted.len(), largest);
        }
        found
    }
}

/// Source: fio's documentation of `json+` and of its histogram logs: 6 bits of mantissa.
const fn bucket_of(value_ns: u64) -> usize {
    let bits = u64::BITS - value_ns.leading_zeros();
    if bits <= LATENCY_BUCKET_BITS + 1 {
        return value_ns as usize;
    }
    // Of the value only the top bit and the next six count.
    let dropped = bits - LATENCY_BUCKET_BITS - 1;
    let bucket = ((dropped as usize) << LATENCY_BUCKET_BITS) + (value_ns >> dropped) as usize;
    if bucket < LATENCY_BUCKETS { bucket } else { LATENCY_BUCKETS - 1 }
}

const fn middle_of(bucket: u64) -> u64 {
    let exact = 2 << LATENCY_BUCKET_BITS;
    if bucket < exact {
        return bucket;
    }
    let dropped = (bucket >> LATENCY_BUCKET_BITS) - 1;
    let mantissa = (1 << LATENCY_BUCKET_BITS) + bucket % (1 << LATENCY_BUCKET_BITS);
    (mantissa << dropped) + (1 << (dropped - 1))
}

#[cfg(test)]
pub(super) mod testing {
    /// Every value that a bin can have.
    pub(crate) fn middles() -> impl Iterator<Item = u64> {
        (0..super::LATENCY_BUCKETS as u64).map(super::middle_of)
    }

    pub(crate) fn middle_for(value_ns: u64) -> u64 {
        super::middle_of(super::bucket_of(value_ns) as u64)
    }
}
