mod counts;

use std::ops::{Deref, DerefMut};

use hdrhistogram::Histogram;

use crate::driver::OpKind;
use crate::driver::op::OP_KIND_COUNT;
use crate::driver::slab::OpSample;
use crate::file::{IO_CLASS_COUNT, IoClass};
use crate::ids::ShardId;
use crate::task::{TASK_CLASS_COUNT, TaskClass};
use counts::{LatencyCounts, histogram};

/// What one class of operations did on one shard.
#[derive(Clone, Debug)]
pub struct ClassMetrics {
    pub class: IoClass,
    pub submitted: u64,
    pub completed: u64,
    pub errors: u64,
    /// Nanoseconds from queueing to completion.
    pub latency_ns: Histogram<u64>,
}

/// The stages of one kind of operation in one class on one shard.
#[derive(Clone, Debug)]
pub struct OpMetrics {
    pub class: IoClass,
    pub kind: OpKind,
    /// Nanoseconds from queueing to submission: the shard's own part, and a full ring's.
    pub queued_ns: Histogram<u64>,
    /// Nanoseconds from submission to completion: the kernel's and the device's part.
    pub submitted_ns: Histogram<u64>,
    /// Nanoseconds from queueing to completion.
    pub completed_ns: Histogram<u64>,
}

/// What the tasks of one class took of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskClassMetrics {
    pub class: TaskClass,
    pub polls: u64,
    /// Time in polls. It is the clock's: what the kernel gave to other threads meanwhile counts.
    pub cpu_ns: u64,
}

/// One shard's numbers since the runtime's start. They trail the shard by at most a turn.
#[derive(Clone, Debug)]
pub struct ShardIoMetrics {
    pub shard: ShardId,
    /// In the order of `IoClass::ALL`.
    pub classes: Vec<ClassMetrics>,
    /// Of what was done at least once, by class and kind.
    pub ops: Vec<OpMetrics>,
    /// In the order of `TaskClass::ALL`.
    pub task_classes: [TaskClassMetrics; TASK_CLASS_COUNT],
    pub in_flight: u64,
    pub tasks: u64,
    pub turns: u64,
    pub polls: u64,
    pub panics: u64,
    /// Polls that took longer than the stall budget.
    pub stalls: u64,
    /// Polls and jobs that the watchdog found beyond the stall budget while they lasted.
    pub stalls_seen_by_watchdog: u64,
    /// The task that it found there last.
    pub last_stalled_task: Option<&'static str>,
    /// Nanoseconds of one poll of a task.
    pub poll_ns: Histogram<u64>,
    /// Nanoseconds of one turn in which anything was done.
    pub turn_ns: Histogram<u64>,
    pub parks: u64,
}

impl ShardIoMetrics {
    pub(crate) fn new(shard: ShardId) -> ShardIoMetrics {
        let class = |class| ClassMetrics {
            class,
            submitted: 0,
            completed: 0,
            errors: 0,
            latency_ns: histogram(),
        };
        let task_class = |class| TaskClassMetrics { class, polls: 0, cpu_ns: 0 };
        ShardIoMetrics {
            shard,
            classes: IoClass::ALL.into_iter().map(class).collect(),
            ops: Vec::new(),
            task_classes: TaskClass::ALL.map(task_class),
            in_flight: 0,
            tasks: 0,
            turns: 0,
            polls: 0,
            panics: 0,
            stalls: 0,
            stalls_seen_by_watchdog: 0,
            last_stalled_task: None,
            poll_ns: histogram(),
            turn_ns: histogram(),
            parks: 0,
        }
    }

    pub fn class(&self, class: IoClass) -> &ClassMetrics {
        &self.classes[class.index()]
    }

    pub fn op(&self, class: IoClass, kind: OpKind) -> Option<&OpMetrics> {
        self.ops.iter().find(|op| op.class == class && op.kind == kind)
    }

    pub fn task_class(&self, class: TaskClass) -> &TaskClassMetrics {
        &self.task_classes[class.index()]
    }

    pub(crate) fn absorb(&mut self, tally: &mut TurnTally) {
        for (class, submitted) in self.classes.iter_mut().zip(&mut tally.submitted) {
            class.submitted += std::mem::take(submitted);
        }
        for (class, nanos) in tally.polls_ns.drain(..) {
            self.polls += 1;
            self.poll_ns.saturating_record(nanos);
            let class = &mut self.task_classes[class.index()];
            class.polls += 1;
            class.cpu_ns += nanos;
        }
        if let Some(nanos) = tally.turn_ns.take() {
            self.turn_ns.saturating_record(nanos);
        }
        self.turns += std::mem::take(&mut tally.turns);
        self.panics += std::mem::take(&mut tally.panics);
        self.stalls += std::mem::take(&mut tally.stalls);
        self.parks += std::mem::take(&mut tally.parks);
    }
}

/// The stages of one kind of operation while they are counted.
struct OpCounts {
    queued: LatencyCounts,
    submitted: LatencyCounts,
    completed: LatencyCounts,
}

impl OpCounts {
    fn new() -> OpCounts {
        OpCounts {
            queued: LatencyCounts::new(),
            submitted: LatencyCounts::new(),
            completed: LatencyCounts::new(),
        }
    }
}

/// A shard's numbers as they are kept. Operations are counted by class and kind only; what the
/// numbers say of a class is summed up when somebody asks.
pub(crate) struct LiveMetrics {
    numbers: ShardIoMetrics,
    ops: [Option<Box<OpCounts>>; IO_CLASS_COUNT * OP_KIND_COUNT],
}

impl LiveMetrics {
    pub(crate) fn new(shard: ShardId) -> LiveMetrics {
        LiveMetrics {
            numbers: ShardIoMetrics::new(shard),
            ops: [const { None }; IO_CLASS_COUNT * OP_KIND_COUNT],
        }
    }

    pub(crate) fn record(&mut self, sample: &OpSample) {
        let class = &mut self.numbers.classes[sample.class.index()];
        class.completed += 1;
        class.errors += u64::from(sample.failed);
        let place = sample.class.index() * OP_KIND_COUNT + sample.kind.index();
        let op = self.ops[place].get_or_insert_with(|| Box::new(OpCounts::new()));
        op.queued.record(sample.times.queued_ns());
        op.submitted.record(sample.times.submitted_ns());
        op.completed.record(sample.times.latency_ns());
    }

    pub(crate) fn snapshot(&self) -> ShardIoMetrics {
        let mut numbers = self.numbers.clone();
        for (place, counts) in self.ops.iter().enumerate() {
            let Some(counts) = counts else { continue };
            let class = &mut numbers.classes[place / OP_KIND_COUNT];
            let op = OpMetrics {
                class: class.class,
                kind: OpKind::ALL[place % OP_KIND_COUNT],
                queued_ns: counts.queued.to_histogram(),
                submitted_ns: counts.submitted.to_histogram(),
                completed_ns: counts.completed.to_histogram(),
            };
            class.latency_ns += &op.completed_ns;
            numbers.ops.push(op);
        }
        numbers
    }
}

impl Deref for LiveMetrics {
    type Target = ShardIoMetrics;

    fn deref(&self) -> &ShardIoMetrics {
        &self.numbers
    }
}

impl DerefMut for LiveMetrics {
    fn deref_mut(&mut self) -> &mut ShardIoMetrics {
        &mut self.numbers
    }
}

/// What a turn counted; added to the shared metrics under one lock at the turn's end, so that
/// a single event costs no atomic operation.
#[derive(Default)]
pub(crate) struct TurnTally {
    pub(crate) submitted: [u64; IO_CLASS_COUNT],
    pub(crate) polls_ns: Vec<(TaskClass, u64)>,
    pub(crate) turn_ns: Option<u64>,
    pub(crate) turns: u64,
    pub(crate) panics: u64,
    pub(crate) stalls: u64,
    pub(crate) parks: u64,
}
