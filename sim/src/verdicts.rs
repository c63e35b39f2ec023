//! Which seeds of a range failed, and which took another course when they ran again.

use std::fmt;

use crate::limits;

/// The verdicts over a range of seeds. `Display` writes a line for each that was bad.
#[derive(Clone, Default, Debug)]
pub struct Verdicts {
    pub failed: u64,
    failures: Vec<(u64, String)>,
    /// Seeds that were run a second time, and those that took another course then.
    pub replayed: u64,
    pub diverged: Vec<u64>,
}

impl Verdicts {
    /// Adds the verdict of one seed: what was wrong with it.
    pub(crate) fn add(&mut self, seed: u64, failure: Option<String>) {
        let Some(failure) = failure else { return };
        self.failed += 1;
        if self.failures.len() < limits::FAILURES_LISTED_MAX {
            self.failures.push((seed, failure));
        }
    }

    /// Notes that a seed ran twice, and whether both runs took the same course.
    pub fn replayed(&mut self, seed: u64, is_same: bool) {
        self.replayed += 1;
        if !is_same {
            self.diverged.push(seed);
        }
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.diverged.is_empty()
    }

    /// The seeds that failed, as far as they are listed.
    pub fn failing_seeds(&self) -> impl Iterator<Item = u64> {
        self.failures.iter().map(|(seed, _)| *seed)
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, failure) in &self.failures {
            writeln!(f, "FAILED seed {seed}: {failure}")?;
        }
        for seed in &self.diverged {
            writeln!(f, "FAILED seed {seed}: a second run took another course")?;
        }
        Ok(())
    }
}
