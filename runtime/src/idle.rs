//! How a shard's thread waits, and how its work ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::error::ShutdownReport;
use crate::executor::{ShardCore, drop_guarded};
use crate::limits::PARK_MS_MAX;
use crate::shard::Io;

/// Looks at the clock once per this many looks for work.
const SPINS_PER_CLOCK_LOOK: u32 = 32;

impl ShardCore {
    /// Called after a turn that found nothing: looks for work for a while, then sleeps until
    /// the bell, a completion or the next timer.
    pub(crate) fn idle(&mut self, spin: Duration) {
        if !spin.is_zero() {
            self.submit_queued();
            if self.spin(spin) {
                return;
            }
        }
        let deadline = self.next_deadline();
        let until = deadline.map(|deadline| deadline.saturating_since(self.shard().now()));
        // Setting a timer costs a lone operation as much as a system call does: what is in flight
        // wakes the shard without one.
        let net = (self.in_flight() == 0).then_some(Duration::from_millis(PARK_MS_MAX));
        self.park(until.or(net));
    }

    /// What a turn has left to a sleep is handed over now.
    fn submit_queued(&self) {
        let mut io = self.shard().io().borrow_mut();
        let Io { driver, slab } = &mut *io;
        driver.submit_queued(slab);
    }

    /// True: there is something to do.
    fn spin(&mut self, spin: Duration) -> bool {
        let began = self.shard().now();
        let deadline = self.next_deadline();
        loop {
            for _ in 0..SPINS_PER_CLOCK_LOOK {
                if self.has_work() || self.shard().io().borrow_mut().driver.has_completions() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = self.shard().now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return true;
            }
            if now.saturating_since(began) >= spin {
                return false;
            }
        }
    }

    /// Without a time the sleep ends with an operation in flight, or the bell.
    fn park(&mut self, timeout: Option<Duration>) {
        if timeout.is_some_and(|timeout| timeout.is_zero())
            || self.has_work()
            || !self.shard().port().announce_park()
        {
            self.submit_queued();
            return;
        }
        self.shard().tally().borrow_mut().parks += 1;
        self.shard().heart().set_awake(false);
        {
            let mut io = self.shard().io().borrow_mut();
            let Io { driver, slab } = &mut *io;
            driver.park(slab, timeout);
        }
        self.shard().port().end_park();
        self.shard().heart().set_awake(true);
        self.shard().runtime_ref().watch().shard_awoke();
    }

    /// Stops the intake, drops the tasks, reaps until nothing is in flight or `wait` is over.
    /// What is left then is leaked when the slab is dropped (INV-8).
    pub(crate) fn shut_down(&mut self, wait: Duration) -> ShutdownReport {
        let tasks_dropped = self.drop_tasks();
        let in_flight_before = self.in_flight();
        let began = self.shard().now();
        {
            let mut io = self.shard().io().borrow_mut();
            let Io { driver, slab } = &mut *io;
            driver.cancel_all(slab);
            driver.push_submissions(slab, false);
        }
        loop {
            let now = self.shard().now();
            self.reap(now);
            self.push_submissions(true);
            let waited = now.saturating_since(began);
            if self.in_flight() == 0 || waited >= wait {
                break;
            }
            self.park(Some(wait - waited));
        }
        let operations_leaked = self.in_flight();
        if operations_leaked > 0 {
            tracing::error!(
                target: "sombra_runtime",
                shard = self.shard().id().index(),
                "{operations_leaked} operations did not complete; what they own is leaked"
            );
        }
        ShutdownReport {
            tasks_dropped,
            operations_reaped: in_flight_before - operations_leaked,
            operations_leaked,
            shards_crashed: 0,
        }
    }

    /// Drops every task, whatever it waits for, and what they start while they are dropped.
    /// Operations of theirs in flight become orphans. Returns how many tasks there were.
    pub(crate) fn drop_tasks(&mut self) -> usize {
        self.shard().stop_intake();
        let mut dropped = 0;
        loop {
            let bodies = self.shard().tasks().borrow_mut().take_all();
            if bodies.is_empty() {
                break;
            }
            dropped += bodies.len();
            bodies.into_iter().for_each(drop_guarded);
        }
        self.forget_ready();
        // Jobs hold reply channels: whoever waits for them learns that nothing will come.
        for job in self.shard().port().close() {
            if catch_unwind(AssertUnwindSafe(|| drop(job))).is_err() {
                tracing::error!(target: "sombra_runtime", "a job panicked while dropped");
            }
        }
        dropped
    }
}
