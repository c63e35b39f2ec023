//! Samples of bandwidth and operations a second, taken at intervals. Each interval is as long as
//! it was, not as long as it should have been.

use crate::disk::job::{ByDirection, Direction};

/// Samples of one figure in one direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    min: u64,
    max: u64,
    mean: f64,
    squared_distances: f64,
    samples: u64,
}

impl Rates {
    /// Source of the running sum: Welford, "Note on a Method for Calculating Corrected Sums of
    /// Squares and Products", Technometrics 1962.
    pub(super) fn add(&mut self, value: u64) {
        self.min = if self.samples == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.samples += 1;
        let distance = value as f64 - self.mean;
        self.mean += distance / self.samples as f64;
        self.squared_distances += distance * (value as f64 - self.mean);
    }

    /// Jobs that ran side by side: what they did in an interval adds up, so smallest, largest and
    /// mean are sums. The deviation is that of all samples around their own job's mean.
    pub(super) fn merge(&mut self, other: &Rates) {
        self.min += other.min;
        self.max += other.max;
        self.mean += other.mean;
        self.squared_distances += other.squared_distances;
        self.samples += other.samples;
    }

    pub fn min(&self) -> u64 {
        self.min
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    pub fn deviation(&self) -> f64 {
        if self.samples < 2 {
            return 0.0;
        }
        (self.squared_distances / (self.samples - 1) as f64).sqrt()
    }
}

/// What a sample is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    /// KiB/s.
    Bandwidth,
    Iops,
}

/// Intervals of a length, back to back. One that is closed late ends late, and the next ends
/// where it should, so that lateness does not add up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intervals {
    length_ns: u64,
    began_ns: u64,
    due_ns: u64,
}

impl Intervals {
    pub(super) fn new(length_ms: u64) -> Intervals {
        let length_ns = length_ms.max(1).saturating_mul(1_000_000);
        Intervals { length_ns, began_ns: 0, due_ns: length_ns }
    }

    pub(super) fn restart(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
        self.due_ns = now_ns.saturating_add(self.length_ns);
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub(super) fn is_open(&self, now_ns: u64) -> bool {
        now_ns > self.began_ns
    }

    /// Ends the interval and returns how long it was.
    pub(super) fn close(&mut self, now_ns: u64) -> u64 {
        let spent_ns = now_ns.saturating_sub(self.began_ns);
        self.began_ns = now_ns;
        if self.due_ns <= now_ns {
            let passed = (now_ns - self.due_ns) / self.length_ns + 1;
            self.due_ns = self.due_ns.saturating_add(self.length_ns.saturating_mul(passed));
        }
        spent_ns
    }
}

/// Turns a running total into samples.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    measure: Measure,
    pub(super) intervals: Intervals,
    before: ByDirection<u64>,
}

impl Sampler {
    pub(super) fn new(measure: Measure, interval_ms: u64) -> Sampler {
        let (intervals, before) = (Intervals::new(interval_ms), ByDirection::default());
        Sampler { measure, intervals, before }
    }

    pub(super) fn measure(&self) -> Measure {
        self.measure
    }

    pub(super) fn restart(&mut self, now_ns: u64) {
        self.intervals.restart(now_ns);
        self.before = ByDirection::default();
    }

    /// Ends the interval and gives its rate in each direction that did anything in it: like fio,
    /// an interval without a completion is no sample, so that a phase without, say, writes does
    /// not pull their mean down.
    pub(super) fn close(
        &mut self,
        now_ns: u64,
        totals: ByDirection<u64>,
    ) -> impl Iterator<Item = (Direction, u64)> + use<> {
        let spent_ns = self.intervals.close(now_ns);
        let before = std::mem::replace(&mut self.before, totals);
        let measure = self.measure;
        Direction::ALL.into_iter().filter_map(move |direction| {
            let done = totals.of(direction) - before.of(direction);
            (done > 0).then(|| (direction, rate(measure, done, spent_ns)))
        })
    }
}

fn rate(measure: Measure, done: u64, spent_ns: u64) -> u64 {
    let unit = match measure {
        Measure::Bandwidth => 1024,
        Measure::Iops => 1,
    };
    let per_second = u128::from(done) * 1_000_000_000 / u128::from(spent_ns.max(1)) / unit;
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// The rate of one operation taken alone, in KiB/s.
pub(super) fn bandwidth_kib_per_s(bytes: u64, spent_ns: u64) -> u64 {
    rate(Measure::Bandwidth, bytes, spent_ns)
}
