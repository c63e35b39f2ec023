//! When a client starts its operations.

use std::time::Duration;

/// The schedule of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// The next operation starts when the last one has been answered.
    Closed,
    /// Operations start at fixed moments, answered or not: a client that falls behind catches up
    /// without pause, and the wait counts in its response time (no coordinated omission).
    Open { interval: Duration, first_after: Duration },
}

impl Pace {
    /// The schedule of the `index`-th of `clients` clients that together start `rate_per_s`
    /// operations a second; their starts interleave evenly.
    #[must_use]
    pub fn open(rate_per_s: u64, clients: usize, index: usize) -> Pace {
        assert!(rate_per_s > 0 && index < clients, "a schedule needs a rate and a place in it");
        let ns_of = |starts: usize| {
            let ns = u128::from(starts as u64) * 1_000_000_000 / u128::from(rate_per_s);
            Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
        };
        Pace::Open { interval: ns_of(clients), first_after: ns_of(index) }
    }

    /// The moment, from the start of the phase, at which the `number`-th operation is meant to
    /// start; `None` where the last answer decides.
    #[must_use]
    pub fn intended_start(self, number: u64) -> Option<Duration> {
        match self {
            Pace::Closed => None,
            Pace::Open { interval, first_after } => {
                let ns = interval.as_nanos().saturating_mul(u128::from(number));
                let ns = ns.saturating_add(first_after.as_nanos());
                Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
            }
        }
    }
}
