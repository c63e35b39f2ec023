//! Smallest, largest, mean and deviation of a row of values, in exact integers.

/// Running figures of values; two of them add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moments {
    count: u64,
    min: u64,
    max: u64,
    sum: u64,
    squares: u128,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments { count: 0, min: u64::MAX, max: 0, sum: 0, squares: 0 }
    }
}

impl Moments {
    #[inline]
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.squares += u128::from(value) * u128::from(value);
    }

    pub fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.squares += other.squares;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// 0 where nothing was counted, as in every figure here.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// Of a sample: divided by one less than the count.
    pub fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let sum = u128::from(self.sum);
        // Both terms are integers, so nothing cancels that should not; what rounds down is < 1.
        let squared_distances = self.squares - sum * sum / u128::from(self.count);
        (squared_distances as f64 / (self.count - 1) as f64).sqrt()
    }
}
