//! When the next operation may begin: speed limits, and pauses between operations. Knows time
//! only as numbers that are handed in.

use crate::disk::job::{ByDirection, Direction, Job, Mix, Rate, ThinkTime};

const NS_PER_S: u128 = 1_000_000_000;

/// The speed limits of a job and what it has used of them. A job that falls behind catches up.
#[derive(Debug)]
pub(super) struct Pace {
    rates: ByDirection<Rate>,
    mix: Mix,
    is_limited: bool,
    issued: ByDirection<Amount>,
    think_time: Option<ThinkTime>,
    /// Operations since the last pause.
    since_pause: u64,
    floor: Floor,
}

#[derive(Clone, Copy, Default, Debug)]
struct Amount {
    operations: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.operations += 1;
        self.bytes += bytes;
    }
}

/// The speed below which a job fails, looked at once in each cycle.
#[derive(Debug)]
struct Floor {
    is_asked: bool,
    cycle_ns: u64,
    cycle_began_ns: u64,
    completed: ByDirection<Amount>,
}

/// A direction was slower than its job allows for a whole cycle.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} of at least {expected} {unit}/s expected, found {found}", direction.name())]
pub(super) struct TooSlow {
    pub(super) direction: Direction,
    pub(super) unit: &'static str,
    pub(super) expected: u64,
    pub(super) found: u64,
}

impl Pace {
    pub(super) fn new(job: &Job) -> Pace {
        let rates = job.rate;
        let has_limit = |rate: &Rate| rate.bytes_per_s.is_some() || rate.iops.is_some();
        let has_floor = |rate: &Rate| rate.bytes_per_s_min.is_some() || rate.iops_min.is_some();
        Pace {
            rates,
            mix: job.pattern.mix,
            is_limited: rates.0.iter().any(has_limit),
            issued: ByDirection::default(),
            think_time: job.think_time,
            since_pause: 0,
            floor: Floor {
                is_asked: rates.0.iter().any(has_floor),
                cycle_ns: (job.rate_cycle.as_nanos() as u64).max(1),
                cycle_began_ns: 0,
                completed: ByDirection::default(),
            },
        }
    }

    /// When the next operation of a direction may begin, since the job's start.
    pub(super) fn due_ns(&self, direction: Direction) -> u64 {
        if !self.is_limited {
            return 0;
        }
        let (rate, issued) = (self.rates.of(direction), self.issued.of(direction));
        let after = |amount: u64, per_s: Option<u64>| match per_s {
            Some(per_s) => (u128::from(amount) * NS_PER_S / u128::from(per_s.max(1))) as u64,
            None => 0,
        };
        after(issued.bytes, rate.bytes_per_s).max(after(issued.operations, rate.iops))
    }

    pub(super) fn issued(&mut self, direction: Direction, bytes: u64) {
        self.issued.of_mut(direction).add(bytes);
        self.since_pause += 1;
    }

    pub(super) fn completed(&mut self, direction: Direction, bytes: u64) {
        self.floor.completed.of_mut(direction).add(bytes);
    }

    /// The pause that is due now, once.
    pub(super) fn take_pause(&mut self) -> Option<ThinkTime> {
        let think_time = self.think_time?;
        if self.since_pause < think_time.blocks {
            return None;
        }
        self.since_pause = 0;
        Some(think_time)
    }

    /// Operations that may be issued before the next pause.
    pub(super) fn until_pause(&self) -> u64 {
        match self.think_time {
            Some(think_time) => think_time.blocks.saturating_sub(self.since_pause),
            None => u64::MAX,
        }
    }

    /// The cycle begins anew: what was done until now does not count.
    pub(super) fn restart_floor(&mut self, now_ns: u64) {
        self.floor.completed = ByDirection::default();
        self.floor.cycle_began_ns = now_ns;
    }

    /// Looks at a cycle that is over.
    pub(super) fn check_floor(&mut self, now_ns: u64) -> Result<(), TooSlow> {
        let floor = &mut self.floor;
        let elapsed_ns = now_ns.saturating_sub(floor.cycle_began_ns);
        if !floor.is_asked || elapsed_ns < floor.cycle_ns {
            return Ok(());
        }
        let completed = std::mem::take(&mut floor.completed);
        floor.cycle_began_ns = now_ns;
        let mix = self.mix;
        for direction in Direction::ALL.into_iter().filter(|direction| mix.has(*direction)) {
            let (rate, amount) = (self.rates.of(direction), completed.of(direction));
            let asked = [
                (rate.bytes_per_s_min, amount.bytes, "bytes"),
                (rate.iops_min, amount.operations, "operations"),
            ];
            for (minimum, done, unit) in asked {
                let found = (u128::from(done) * NS_PER_S / u128::from(elapsed_ns.max(1))) as u64;
                match minimum {
                    Some(expected) if found < expected => {
                        return Err(TooSlow { direction, unit, expected, found });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::disk::testing::sequential;

    const S: u64 = 1_000_000_000;

    fn limited(bytes_per_s: Option<u64>, iops: Option<u64>) -> Pace {
        let mut job = sequential(Mix::Read);
        job.rate.0[0] = Rate { bytes_per_s, iops, ..Rate::default() };
        Pace::new(&job)
    }

    #[test]
    fn pace_spreads_operations_over_the_second() {
        let mut pace = limited(None, Some(1_000));
        for number in 0..5 {
            assert_eq!(pace.due_ns(Direction::Read), number * 1_000_000);
            pace.issued(Direction::Read, 4096);
        }
        assert_eq!(pace.due_ns(Direction::Write), 0, "the other direction is free");
    }

    #[test]
    fn pace_keeps_to_the_tighter_of_two_limits() {
        let mut pace = limited(Some(8192), Some(1_000));
        pace.issued(Direction::Read, 4096);
        assert_eq!(pace.due_ns(Direction::Read), S / 2);
    }

    #[test]
    fn pause_comes_after_its_number_of_operations() {
        let mut job = sequential(Mix::Read);
        let pause = Duration::from_millis(1);
        let think = ThinkTime { pause, spin: Duration::ZERO, blocks: 2 };
        job.think_time = Some(think);
        let mut pace = Pace::new(&job);
        pace.issued(Direction::Read, 1);
        assert_eq!((pace.take_pause(), pace.until_pause()), (None, 1));
        pace.issued(Direction::Read, 1);
        assert_eq!((pace.take_pause(), pace.take_pause()), (Some(think), None));
    }

    #[test]
    fn floor_is_looked_at_once_a_cycle() {
        let mut job = sequential(Mix::Read);
        job.rate.0[0].iops_min = Some(10);
        let mut pace = Pace::new(&job);
        assert_eq!(pace.check_floor(S - 1), Ok(()), "the cycle is not over");
        (0..10).for_each(|_| pace.completed(Direction::Read, 4096));
        assert_eq!(pace.check_floor(S), Ok(()));
        pace.completed(Direction::Read, 4096);
        let error = pace.check_floor(2 * S).unwrap_err();
        assert_eq!((error.expected, error.found, error.unit), (10, 1, "operations"));
        assert_eq!(error.to_string(), "read of at least 10 operations/s expected, found 1");
    }
}
