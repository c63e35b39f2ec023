//! Named counts: what runs met, and how often.

use std::collections::BTreeMap;
use std::fmt;

/// How often each named thing happened; what never happened has no entry.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Adds `count` to what `name` has.
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// How often `name` happened.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Those of `expected` that happened less than `least` times.
    #[must_use]
    pub fn below(&self, expected: &[&'static str], least: u64) -> Vec<&'static str> {
        expected.iter().copied().filter(|name| self.get(name) < least).collect()
    }
}

impl std::ops::AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<38} {count:>12}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_add_up_and_tell_what_is_below() {
        let mut counts = Counts::default();
        counts.add("torn", 2);
        counts.add("lost", 0);
        let mut other = Counts::default();
        other.add("torn", 3);
        other.add("kept", 1);
        counts += &other;
        assert_eq!((counts.get("torn"), counts.get("kept"), counts.get("lost")), (5, 1, 0));
        assert_eq!(counts.below(&["torn", "kept", "lost"], 2), ["kept", "lost"]);
        assert_eq!(counts.to_string().lines().count(), 2);
    }
}
