//! The turn: the one function that runs a shard, on its thread or in a simulated world.

mod shares;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::driver::OpDone;
use crate::heartbeat::NameId;
use crate::limits::{
    COMPLETIONS_PER_TURN_MAX, CONTROL_JOBS_PER_TURN_MAX, STALL_BUDGET_US_DEFAULT,
    TASK_CLASS_SHARES, TASK_POLLS_PER_TURN_MAX, TASK_POLLS_PER_TURN_US_MAX,
};
use crate::port::Control;
use crate::shard::{Io, Shard, ShardParts};
use crate::task::{TASK_CLASS_COUNT, TaskBody, TaskClass, TaskHeader};
use crate::time::Moment;

use self::shares::{ClassFlags, CpuShares};

/// Chooses which of several ready tasks of a class runs next.
pub(crate) trait Picker {
    /// An index below `candidates`, which is at least 1; 0 is the longest waiting.
    fn pick(&mut self, candidates: usize) -> usize;
}

/// First come, first served.
pub(crate) struct Fifo;

impl Picker for Fifo {
    fn pick(&mut self, _candidates: usize) -> usize {
        0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct TurnReport {
    /// Anything was done: a job, a completion, a timer, a poll.
    pub(crate) progressed: bool,
    pub(crate) polls: usize,
    /// The shard was told to stop.
    pub(crate) stop: bool,
}

/// A shard together with what only its turn needs.
pub(crate) struct ShardCore {
    shard: Shard,
    ready: [VecDeque<Arc<TaskHeader>>; TASK_CLASS_COUNT],
    shares: CpuShares,
    woken: Vec<Waker>,
    /// The last turn has left queued operations to a sleep.
    left_queued: bool,
    stall_budget: Duration,
}

impl ShardCore {
    pub(crate) fn new(parts: ShardParts) -> ShardCore {
        ShardCore {
            shard: Shard::new(parts),
            ready: Default::default(),
            shares: CpuShares::new(TASK_CLASS_SHARES),
            woken: Vec::with_capacity(COMPLETIONS_PER_TURN_MAX),
            left_queued: false,
            stall_budget: Duration::from_micros(STALL_BUDGET_US_DEFAULT),
        }
    }

    pub(crate) fn set_stall_budget(&mut self, budget: Duration) {
        self.stall_budget = budget;
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Control jobs, completions, timers, tasks by the shares of their classes, submission; at
    /// most `polls_max` polls, and never more than a turn may do.
    pub(crate) fn turn(&mut self, polls_max: usize, picker: &mut impl Picker) -> TurnReport {
        let began = self.shard.now();
        // Before anything else wakes tasks: a class that has none now was idle.
        self.collect_ready();
        let mut report = self.run_control_jobs();
        report.progressed |= self.reap(began);
        report.progressed |= self.expire_timers(began);
        self.collect_ready();
        // A look at the clock costs as much as a small poll: none is taken twice.
        let ready_at = if report.progressed { self.shard.now() } else { began };
        let (polls, ended) = self.run_tasks(ready_at, polls_max, picker);
        report.polls = polls;
        report.progressed |= polls > 0;
        self.push_submissions(report.progressed);
        if report.progressed {
            self.publish_metrics(ended.saturating_since(began));
        }
        report
    }

    /// Work that a turn would do at once, apart from timers and completions in the kernel.
    pub(crate) fn has_work(&self) -> bool {
        self.shard.port().has_work() || self.ready.iter().any(|queue| !queue.is_empty())
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.shard.timers().borrow().next_deadline()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shard.io().borrow().slab.in_flight()
    }

    fn run_control_jobs(&mut self) -> TurnReport {
        let mut report = TurnReport::default();
        for _ in 0..CONTROL_JOBS_PER_TURN_MAX {
            let Some(control) = self.shard.port().pop_control() else { break };
            report.progressed = true;
            match control {
                Control::Run(job) => {
                    self.shard.heart().begin(self.shard.now(), NameId::JOB);
                    let ran = catch_unwind(AssertUnwindSafe(|| job(&self.shard)));
                    self.shard.heart().end();
                    if let Err(payload) = ran {
                        self.shard.tally().borrow_mut().panics += 1;
                        let message = panic_message(payload.as_ref());
                        tracing::error!(target: "sombra_runtime", "a job panicked: {message}");
                    }
                }
                Control::ReleaseFile { slot, file } => {
                    self.shard.io().borrow_mut().driver.release_file(slot, file);
                }
                Control::ReleaseBuffers { places } => {
                    self.shard.io().borrow_mut().driver.release_buffers(&places);
                }
                Control::Stop => report.stop = true,
            }
        }
        report
    }

    /// Takes completions and wakes their tasks, outside every borrow.
    pub(crate) fn reap(&mut self, now: Moment) -> bool {
        let (count, orphans): (usize, Vec<OpDone>) = {
            let mut io = self.shard.io().borrow_mut();
            let Io { driver, slab } = &mut *io;
            let count = driver.reap(slab, now, &mut self.woken);
            slab.take_room_waiters(&mut self.woken);
            (count, slab.take_orphans())
        };
        drop(orphans);
        let woken = !self.woken.is_empty();
        self.woken.drain(..).for_each(Waker::wake);
        count > 0 || woken
    }

    fn expire_timers(&mut self, now: Moment) -> bool {
        self.shard.timers().borrow_mut().expire(now, &mut self.woken);
        let expired = !self.woken.is_empty();
        self.woken.drain(..).for_each(Waker::wake);
        expired
    }

    /// Takes what has been woken and tells the shares which classes want to run.
    fn collect_ready(&mut self) {
        while let Some(task) = self.shard.port().pop_ready() {
            self.ready[task.class().index()].push_back(task);
        }
        self.shares.set_ready(&self.ready_classes());
    }

    fn ready_classes(&self) -> ClassFlags {
        std::array::from_fn(|class| !self.ready[class].is_empty())
    }

    /// `None`: no task is ready, apart from those that were woken by this turn's polls.
    fn next_class(&mut self) -> Option<usize> {
        let ready = self.ready_classes();
        if ready == ClassFlags::default() {
            return None;
        }
        // Where a class that has a right to more ran dry, its next task may just have been woken.
        self.shares.pick(&ready).or_else(|| {
            self.collect_ready();
            self.shares.pick(&self.ready_classes())
        })
    }

    /// Returns the number of polls and the time after the last one.
    fn run_tasks(
        &mut self,
        ready_at: Moment,
        polls_max: usize,
        picker: &mut impl Picker,
    ) -> (usize, Moment) {
        let polls_max = polls_max.min(TASK_POLLS_PER_TURN_MAX);
        let longest = Duration::from_micros(TASK_POLLS_PER_TURN_US_MAX);
        let mut now = ready_at;
        let mut polls = 0;
        while polls < polls_max && now.saturating_since(ready_at) < longest {
            let Some(class) = self.next_class() else { break };
            let queue = &mut self.ready[class];
            let index = picker.pick(queue.len());
            let Some(task) = queue.remove(index) else {
                panic!("the picker chose {index} of {}", queue.len());
            };
            let ended = self.poll_task(&task, now);
            self.shares.add_poll(class, ended.saturating_since(now).as_nanos() as u64);
            now = ended;
            polls += 1;
        }
        (polls, now)
    }

    /// Polls one task and returns the time afterwards.
    fn poll_task(&mut self, task: &Arc<TaskHeader>, began: Moment) -> Moment {
        let Some(mut body) = self.shard.tasks().borrow_mut().begin_poll(task) else {
            return began;
        };
        self.shard.heart().begin(began, task.name());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let TaskBody { future, waker, .. } = &mut body;
            future.as_mut().poll(&mut Context::from_waker(waker))
        }));
        let (name, class) = (body.spec.name, body.spec.class);
        match polled {
            Ok(Poll::Pending) => self.shard.tasks().borrow_mut().end_poll_pending(task, body),
            Ok(Poll::Ready(())) => {
                self.shard.tasks().borrow_mut().end_poll_finished(task);
                drop_guarded(body);
            }
            Err(payload) => {
                self.shard.tasks().borrow_mut().end_poll_finished(task);
                self.report_panic(body, payload.as_ref());
            }
        }
        self.shard.heart().end();
        let ended = self.shard.now();
        self.record_poll(name, class, ended.saturating_since(began));
        ended
    }

    fn record_poll(&self, name: &'static str, class: TaskClass, took: Duration) {
        let mut tally = self.shard.tally().borrow_mut();
        tally.polls_ns.push((class, took.as_nanos() as u64));
        if took > self.stall_budget {
            tally.stalls += 1;
            tracing::warn!(
                target: "sombra_runtime",
                task = name,
                took_us = took.as_micros() as u64,
                budget_us = self.stall_budget.as_micros() as u64,
                "a task held its shard beyond the budget"
            );
        }
    }

    fn report_panic(&self, body: TaskBody, payload: &(dyn Any + Send)) {
        self.shard.tally().borrow_mut().panics += 1;
        let message = panic_message(payload);
        let spec = body.spec.clone();
        tracing::error!(target: "sombra_runtime", task = spec.name, "a task panicked: {message}");
        drop_guarded(body);
        if let Some(sink) = &spec.on_panic {
            let told = catch_unwind(AssertUnwindSafe(|| sink(spec.name, &message)));
            if told.is_err() {
                tracing::error!(target: "sombra_runtime", task = spec.name, "its sink panicked");
            }
        }
    }

    pub(crate) fn forget_ready(&mut self) {
        self.ready.iter_mut().for_each(VecDeque::clear);
        while self.shard.port().pop_ready().is_some() {}
    }

    /// What one turn left to a sleep is handed over when no sleep but another turn with work comes.
    pub(crate) fn push_submissions(&mut self, progressed: bool) {
        let was_left = progressed && self.left_queued;
        let may_wait = !self.has_work() && !was_left;
        let mut io = self.shard.io().borrow_mut();
        let Io { driver, slab } = &mut *io;
        driver.push_submissions(slab, may_wait);
        self.left_queued = driver.has_queued();
    }

    fn publish_metrics(&self, took: Duration) {
        let mut tally = self.shard.tally().borrow_mut();
        tally.turns += 1;
        tally.turn_ns = Some(took.as_nanos() as u64);
        let mut io = self.shard.io().borrow_mut();
        let runtime = self.shard.runtime_ref();
        let mut metrics = runtime.shard_metrics(self.shard.id());
        metrics.absorb(&mut tally);
        metrics.in_flight = io.slab.in_flight() as u64;
        metrics.tasks = self.shard.tasks().borrow().alive() as u64;
        io.slab.take_samples().for_each(|sample| metrics.record(&sample));
    }
}

/// A future's destructor is the task's code: its panic must not end the shard.
pub(crate) fn drop_guarded(body: TaskBody) {
    let name = body.spec.name;
    if catch_unwind(AssertUnwindSafe(|| drop(body))).is_err() {
        tracing::error!(target: "sombra_runtime", task = name, "a task panicked while dropped");
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests;
