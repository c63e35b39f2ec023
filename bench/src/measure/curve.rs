//! A curve of samples: bounded however long a run is, and what people see of it.

use serde::Serialize;

/// Samples in the order they were taken. Once there are as many as its bound, every second one
/// goes, and from then on every second sample is kept.
#[derive(Clone, Debug)]
pub struct Curve<T> {
    points: Vec<T>,
    points_max: usize,
    keep_every: u64,
    offered: u64,
}

impl<T> Curve<T> {
    /// A curve of at most so many points.
    #[must_use]
    pub fn new(points_max: usize) -> Curve<T> {
        assert!(points_max >= 2, "a curve has two ends");
        Curve { points: Vec::new(), points_max, keep_every: 1, offered: 0 }
    }

    /// Takes note of the next sample.
    pub fn push(&mut self, point: T) {
        if self.offered.is_multiple_of(self.keep_every) {
            self.points.push(point);
        }
        self.offered += 1;
        if self.points.len() > self.points_max {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.keep_every *= 2;
        }
    }

    /// The points that were kept.
    #[must_use]
    pub fn into_points(self) -> Vec<T> {
        self.points
    }
}

/// At most so many of the points, evenly apart, with the first and the last.
#[must_use]
pub fn evenly<T>(points: &[T], wanted: usize) -> Vec<&T> {
    if points.len() <= wanted || wanted < 2 {
        return points.iter().take(wanted.max(1)).collect();
    }
    let last = points.len() - 1;
    (0..wanted).map(|index| &points[index * last / (wanted - 1)]).collect()
}

/// The ends and the middle of one quantity.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let values: Vec<_> = values.into_iter().collect();
        let median = super::median(&values)?;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Spread { min, median, max })
    }
}
