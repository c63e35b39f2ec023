//! Latencies counted cheaply while they happen, and as histograms when somebody asks. Three of
//! them are taken for every operation, so counting one is a shift and an addition.

use hdrhistogram::Histogram;

use crate::limits::HISTOGRAM_NS_MAX;

/// Values below this have a bucket each; each doubling above shares half as many.
const EXACT_VALUES: u64 = 256;
const BUCKETS_PER_DOUBLING: usize = EXACT_VALUES as usize / 2;
const BUCKET_COUNT: usize = bucket_of(HISTOGRAM_NS_MAX) + 1;

/// The bucket of a value: those of a histogram with two significant digits, whose values differ
/// by less than a hundredth. Values above `HISTOGRAM_NS_MAX` count as that.
const fn bucket_of(nanos: u64) -> usize {
    let nanos = if nanos < HISTOGRAM_NS_MAX { nanos } else { HISTOGRAM_NS_MAX };
    let bits = u64::BITS - (nanos | (EXACT_VALUES - 1)).leading_zeros();
    let doublings = bits - EXACT_VALUES.ilog2();
    doublings as usize * BUCKETS_PER_DOUBLING + (nanos >> doublings) as usize
}

/// The least value of a bucket.
const fn least_of(bucket: usize) -> u64 {
    if (bucket as u64) < EXACT_VALUES {
        return bucket as u64;
    }
    let doublings = bucket / BUCKETS_PER_DOUBLING - 1;
    ((bucket - doublings * BUCKETS_PER_DOUBLING) as u64) << doublings
}

pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, 2)
        .expect("the bounds are constants with low < high / 2 and two digits")
}

pub(super) struct LatencyCounts(Box<[u64]>);

impl LatencyCounts {
    pub(super) fn new() -> LatencyCounts {
        LatencyCounts(vec![0; BUCKET_COUNT].into())
    }

    pub(super) fn record(&mut self, nanos: u64) {
        self.0[bucket_of(nanos)] += 1;
    }

    pub(super) fn to_histogram(&self) -> Histogram<u64> {
        let mut histogram = histogram();
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        for (bucket, count) in counted {
            histogram
                .record_n(least_of(bucket), *count)
                .expect("a bucket's least value is within the histogram's bounds");
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_the_histogram_that_recording_each_value_gives() {
        let mut counts = LatencyCounts::new();
        let mut direct = histogram();
        let edges = (0..36).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + 1, power + power / 3]
        });
        for nanos in edges.chain([0, 255, 256, HISTOGRAM_NS_MAX - 1, HISTOGRAM_NS_MAX]) {
            counts.record(nanos);
            direct.record(nanos).unwrap();
        }
        assert_eq!(counts.to_histogram(), direct);
        counts.record(u64::MAX);
        assert_eq!(counts.to_histogram().len(), direct.len() + 1);
        assert_eq!(counts.to_histogram().max(), direct.max());
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        for bucket in 0..BUCKET_COUNT {
            assert_eq!(bucket_of(least_of(bucket)), bucket);
            assert!(bucket == 0 || bucket_of(least_of(bucket) - 1) == bucket - 1);
        }
    }
}
