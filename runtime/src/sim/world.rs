//! A whole run on one thread out of one seed: shards, clients, clock and disk.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clients::SimClients;
use super::dice::{Dice, Trace};
use super::disk::SimDisk;
use super::driver::SimDriver;
use super::fault_points::FaultPoints;
use crate::driver::Driver;
use crate::executor::{Picker, ShardCore};
use crate::ids::ShardId;
use crate::limits::SHARDS_MAX;
use crate::runtime::Runtime;
use crate::shard::ShardParts;
use crate::time::{Clock, Moment};

/// Streams of the world's seed; the disk has its own seed.
const STREAM_SCHEDULE: u64 = 2;
const STREAM_CLIENTS: u64 = 3;
const STREAM_SHARDS: u64 = 4;

/// Steps for which one bias of the scheduler lasts.
const BIAS_STEPS_MAX: u64 = 256;

#[derive(Clone)]
pub struct SimOptions {
    pub seed: u64,
    pub shards: usize,
    pub disk: SimDisk,
    /// Virtual time that one turn takes, in nanoseconds, so that I/O overtakes computation.
    pub turn_ns: std::ops::RangeInclusive<u64>,
    /// Panic of the world when a task or a job of a shard panics. Off, only `panics` counts.
    pub panics_are_fatal: bool,
    /// What is refused beside I/O; nothing unless somebody plans it.
    pub fault_points: FaultPoints,
}

impl SimOptions {
    pub fn new(seed: u64, shards: usize, disk: SimDisk) -> SimOptions {
        SimOptions {
            seed,
            shards,
            disk,
            turn_ns: 100..=5_000,
            panics_are_fatal: true,
            fault_points: FaultPoints::default(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunEnd {
    Done,
    /// Nothing can run and nothing is going to happen.
    Stuck,
    StepsExhausted,
}

/// Who gets the next step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Shard(usize),
    Clients,
}

/// For a while one candidate is passed over as long as another can run: that is how a slow core
/// or a slow client looks, and uniform draws would almost never show it.
struct Bias {
    until_step: u64,
    laggard: Option<Candidate>,
}

struct SeededPicker<'a> {
    dice: &'a mut Dice,
    trace: &'a mut Trace,
}

impl Picker for SeededPicker<'_> {
    fn pick(&mut self, candidates: usize) -> usize {
        let index = if candidates == 1 { 0 } else { self.dice.index(candidates) };
        self.trace.add(index as u64);
        index
    }
}

/// N shards and their clients, turned by one thread. Dropping it is a `kill`.
pub struct SimWorld {
    cores: Vec<ShardCore>,
    runtime: Runtime,
    clients: SimClients,
    disk: SimDisk,
    now_ns: Arc<AtomicU64>,
    dice: Dice,
    trace: Trace,
    bias: Bias,
    steps: u64,
    options: SimOptions,
    finished: Vec<bool>,
    ended: bool,
}

impl SimWorld {
    pub fn new(options: SimOptions) -> SimWorld {
        assert!((1..=SHARDS_MAX).contains(&options.shards), "{} shards", options.shards);
        let disk = options.disk.clone();
        let (epoch, wall_start_ms) = disk.attach(options.shards);
        let now_ns = Arc::new(AtomicU64::new(0));
        let clock = Clock::Virtual { nanos: Arc::clone(&now_ns), wall_start_ms };
        let runtime = Runtime::assemble_simulated(clock, options.shards);
        runtime.set_fault_points(options.fault_points.clone());
        let mut shard_dice = Dice::new(options.seed, STREAM_SHARDS);
        let core = |index| {
            let id = ShardId::from_index(index);
            let driver = SimDriver::new(disk.clone(), runtime.clone(), epoch, id);
            let mut random_seed = [0; 32];
            shard_dice.fill(&mut random_seed);
            ShardCore::new(ShardParts {
                id,
                runtime: runtime.clone(),
                driver: Driver::Sim(Box::new(driver)),
                random_seed,
                buffers: None,
            })
        };
        SimWorld {
            cores: (0..options.shards).map(core).collect(),
            clients: SimClients::new(runtime.clone(), Dice::new(options.seed, STREAM_CLIENTS)),
            runtime,
            disk,
            now_ns,
            dice: Dice::new(options.seed, STREAM_SCHEDULE),
            trace: Trace::new(),
            bias: Bias { until_step: 0, laggard: None },
            steps: 0,
            finished: vec![false; options.shards],
            options,
            ended: false,
        }
    }

    pub fn runtime(&self) -> Runtime {
        self.runtime.clone()
    }

    pub fn disk(&self) -> SimDisk {
        self.disk.clone()
    }

    pub fn clients(&self) -> SimClients {
        self.clients.clone()
    }

    /// Starts a task as somebody else's async runtime would, polled by the world.
    pub fn spawn_client(
        &self,
        name: impl Into<String>,
        future: impl Future<Output = ()> + 'static,
    ) {
        self.clients.spawn(name, future);
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub fn now(&self) -> Moment {
        Moment::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    /// Equal for equal seeds and programs: over the schedule, the I/O and the bytes written.
    pub fn trace_hash(&self) -> u64 {
        let mut trace = self.trace;
        trace.add(self.disk.trace());
        trace.add(self.now().as_nanos());
        trace.value()
    }

    /// Panics of tasks and jobs so far, on all shards.
    pub fn panics(&self) -> u64 {
        let ids = (0..self.cores.len()).map(ShardId::from_index);
        ids.map(|id| self.runtime.shard_metrics(id).panics).sum()
    }

    #[cfg(test)]
    pub(super) fn cores_in_flight(&self) -> usize {
        self.cores.iter().map(ShardCore::in_flight).sum()
    }

    /// Who still exists: what to read when a run is stuck.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "seed {}, step {}, {} ns, clients waiting: {:?}",
            self.options.seed,
            self.steps,
            self.now().as_nanos(),
            self.clients.names()
        );
        for core in &self.cores {
            let shard = core.shard();
            text += &format!(
                "; shard {}: {} tasks, {} operations in flight",
                shard.id().index(),
                shard.tasks().borrow().alive(),
                core.in_flight()
            );
        }
        text
    }

    /// Runs until `until` holds, at most `max_steps` steps more; `until` is asked between steps.
    pub fn run(&mut self, max_steps: u64, mut until: impl FnMut() -> bool) -> RunEnd {
        for _ in 0..max_steps {
            if until() {
                return RunEnd::Done;
            }
            if !self.step() {
                return RunEnd::Stuck;
            }
        }
        if until() { RunEnd::Done } else { RunEnd::StepsExhausted }
    }

    /// As `run`, and `Done` too as soon as the disk's counter of completions is `completions`:
    /// nobody has heard of the last one, and nothing has happened after it. A run that goes on
    /// from there takes the course that it would have taken without the stop. Between the steps
    /// of `run` several operations may complete.
    pub fn run_to_completion(
        &mut self,
        max_steps: u64,
        completions: u64,
        mut until: impl FnMut() -> bool,
    ) -> RunEnd {
        self.disk.pause_at(Some(completions));
        let disk = self.disk.clone();
        let end = self.run(max_steps, || disk.is_paused() || until());
        self.disk.pause_at(None);
        end
    }

    /// One turn of one shard or one poll of one client, chosen by the seed. If none can run, the
    /// clock first jumps to the next event. False: there is none.
    pub fn step(&mut self) -> bool {
        let candidate = loop {
            self.finished.fill(false);
            let finished = &mut self.finished;
            self.disk.advance(self.now_ns.load(Ordering::Relaxed), |shard| finished[shard] = true);
            if self.disk.is_paused() {
                return true;
            }
            match self.choose() {
                Some(candidate) => break candidate,
                None => match self.next_event() {
                    Some(next) => self.now_ns.store(next.as_nanos(), Ordering::Relaxed),
                    None => return false,
                },
            }
        };
        self.steps += 1;
        match candidate {
            Candidate::Shard(index) => self.turn_shard(index),
            Candidate::Clients => {
                let number = self.clients.poll_one(&mut self.dice);
                self.trace.add(number << 16);
            }
        }
        let (low, high) = (*self.options.turn_ns.start(), *self.options.turn_ns.end());
        self.now_ns.fetch_add(self.dice.within(low, high), Ordering::Relaxed);
        true
    }

    fn turn_shard(&mut self, index: usize) {
        // A turn is indivisible here, on real cores it is not: mostly let few tasks share one.
        let polls_max = [1, 1, 2, 4, usize::MAX][self.dice.index(5)];
        self.trace.add(index as u64 + 1);
        let mut picker = SeededPicker { dice: &mut self.dice, trace: &mut self.trace };
        let report = self.cores[index].turn(polls_max, &mut picker);
        self.trace.add(report.polls as u64);
        if self.options.panics_are_fatal {
            let panics = self.runtime.shard_metrics(ShardId::from_index(index)).panics;
            assert!(panics == 0, "shard {index} panicked; {}", self.describe());
        }
    }

    /// What is due has happened: picks one of those who can run.
    fn choose(&mut self) -> Option<Candidate> {
        let now = self.now();
        let mut candidates = smallvec::SmallVec::<[Candidate; 16]>::new();
        for (index, core) in self.cores.iter().enumerate() {
            let due = core.next_deadline().is_some_and(|deadline| deadline <= now);
            if due || self.finished[index] || core.has_work() {
                candidates.push(Candidate::Shard(index));
            }
        }
        if self.clients.prepare(now) {
            candidates.push(Candidate::Clients);
        }
        self.renew_bias();
        if candidates.len() > 1 {
            candidates.retain(|candidate| Some(*candidate) != self.bias.laggard);
        }
        (!candidates.is_empty()).then(|| candidates[self.dice.index(candidates.len())])
    }

    fn renew_bias(&mut self) {
        if self.steps < self.bias.until_step {
            return;
        }
        let choice = self.dice.index(2 * (self.cores.len() + 1));
        let laggard = match choice {
            0 => Some(Candidate::Clients),
            shard if shard <= self.cores.len() => Some(Candidate::Shard(shard - 1)),
            _ => None,
        };
        let until_step = self.steps + self.dice.within(1, BIAS_STEPS_MAX);
        self.bias = Bias { until_step, laggard };
    }

    /// Nobody can run now, so every event lies in the future.
    fn next_event(&self) -> Option<Moment> {
        let disk = self.disk.next_event_ns().map(Moment::from_nanos);
        let timers = self.cores.iter().filter_map(ShardCore::next_deadline);
        let next = timers.chain(disk).chain(self.clients.next_deadline()).min();
        assert!(next.is_none_or(|next| next > self.now()), "an event that is due was left out");
        next
    }

    /// Moves the wall clock of the world and of those after it by so much, as `SimDisk` does.
    pub fn jump_wall_clock(&self, by_ms: i64) {
        self.disk.jump_wall_clock(by_ms);
    }

    /// The power fails. What was in flight or not flushed is decided sector by sector.
    pub fn power_cut(mut self) {
        self.disk.end_by_cut(self.now().as_nanos());
        self.end();
    }

    /// The process dies; the disk keeps what completed until its own power is cut.
    pub fn kill(mut self) {
        self.disk.end_by_kill(self.now().as_nanos());
        self.end();
    }

    /// Drops all tasks. The disk has moved on: nothing that destructors ask of it happens.
    fn end(&mut self) {
        self.ended = true;
        self.cores.iter().for_each(|core| core.shard().stop_intake());
        self.clients.close();
        // One shard's destructors may wake another's tasks: the second round forgets those.
        for _ in 0..2 {
            for core in &mut self.cores {
                core.drop_tasks();
            }
        }
        for core in &self.cores {
            core.shard().io().borrow_mut().slab.free_in_flight();
        }
        self.cores.clear();
    }
}

impl Drop for SimWorld {
    fn drop(&mut self) {
        if !self.ended {
            self.disk.end_by_kill(self.now().as_nanos());
            self.end();
        }
    }
}
