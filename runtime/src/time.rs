use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::sys;

/// Nanoseconds since the runtime's start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Moment(u64);

impl Moment {
    pub const START: Moment = Moment(0);

    pub const fn from_nanos(nanos: u64) -> Moment {
        Moment(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    pub fn checked_add(self, duration: Duration) -> Option<Moment> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Moment)
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The only source of time, so that a simulated run has none of its own.
#[derive(Clone)]
pub(crate) enum Clock {
    Real {
        origin_ns: u64,
    },
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    Virtual {
        nanos: Arc<AtomicU64>,
        /// Where the wall clock stood at the start; changes when it jumps.
        wall_start_ms: Arc<AtomicU64>,
    },
}

impl Clock {
    pub(crate) fn real() -> Clock {
        Clock::Real { origin_ns: sys::monotonic_ns() }
    }

    pub(crate) fn now(&self) -> Moment {
        match self {
            // The clock is monotonic: it never shows less than at the start.
            Clock::Real { origin_ns } => Moment(sys::monotonic_ns() - origin_ns),
            Clock::Virtual { nanos, .. } => Moment(nanos.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn wall_clock_ms(&self) -> u64 {
        match self {
            // A clock before 1970 is no reason to fail; records only carry the time.
            Clock::Real { .. } => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            Clock::Virtual { nanos, wall_start_ms } => {
                let since_start_ms = nanos.load(Ordering::Relaxed) / 1_000_000;
                wall_start_ms.load(Ordering::Relaxed).saturating_add(since_start_ms)
            }
        }
    }
}
