//! Counts by size class: depths of the queue, sizes of batches, latencies by magnitude.

/// Classes of `Levels`, as in fio's output.
pub const LEVEL_COUNT: usize = 7;
pub const DEPTH_LABELS: [&str; LEVEL_COUNT] = ["1", "2", "4", "8", "16", "32", ">=64"];
pub const BATCH_LABELS: [&str; LEVEL_COUNT] = ["0", "4", "8", "16", "32", "64", ">=64"];

/// Counts in seven classes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Levels(pub [u64; LEVEL_COUNT]);

impl Levels {
    /// By the power of two at or below: 1, 2, 4, …, 64 and more.
    #[inline]
    pub(super) fn add_depth(&mut self, depth: u32) {
        let class = depth.max(1).ilog2() as usize;
        self.0[class.min(LEVEL_COUNT - 1)] += 1;
    }

    /// By upper end: 0, up to 4, up to 8, …, up to 64, more.
    #[inline]
    pub(super) fn add_batch(&mut self, size: u32) {
        let class = match size {
            0 => 0,
            1..=4 => 1,
            _ => (size - 1).ilog2() as usize,
        };
        self.0[class.min(LEVEL_COUNT - 1)] += 1;
    }

    pub fn merge(&mut self, other: &Levels) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Upper ends of the latency classes below a second, of which each unit has these ten.
const CLASS_ENDS: [u64; 9] = [2, 4, 10, 20, 50, 100, 250, 500, 750];
pub const NANO_CLASSES: usize = 10;
pub const MILLI_CLASSES: usize = 12;
pub const CLASS_LABELS: [&str; MILLI_CLASSES] =
    ["2", "4", "10", "20", "50", "100", "250", "500", "750", "1000", "2000", ">=2000"];

/// Completion latencies by magnitude.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Magnitudes {
    pub ns: [u64; NANO_CLASSES],
    pub us: [u64; NANO_CLASSES],
    pub ms: [u64; MILLI_CLASSES],
}

impl Magnitudes {
    #[inline]
    pub(super) fn add(&mut self, value_ns: u64) {
        match value_ns {
            0..1_000 => self.ns[class_of(value_ns)] += 1,
            1_000..1_000_000 => self.us[class_of(value_ns / 1_000)] += 1,
            _ => self.ms[class_of(value_ns / 1_000_000)] += 1,
        }
    }

    pub fn merge(&mut self, other: &Magnitudes) {
        let mine = self.ns.iter_mut().chain(&mut self.us).chain(&mut self.ms);
        for (mine, theirs) in mine.zip(other.ns.iter().chain(&other.us).chain(&other.ms)) {
            *mine += theirs;
        }
    }
}

fn class_of(value: u64) -> usize {
    match value {
        0..750 => CLASS_ENDS.iter().position(|end| value < *end).unwrap_or(CLASS_ENDS.len()),
        750..1_000 => 9,
        1_000..2_000 => 10,
        _ => 11,
    }
}
