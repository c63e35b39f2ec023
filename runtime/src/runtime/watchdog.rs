//! A thread that looks at the shards' heartbeats: it tells a poll when its slice is over, and
//! reports one that holds its shard while it does.
//!
//! It looks each `POLL_SLICE_US` while some poll asks for slices, else each `WATCHDOG_LOOK_US`,
//! and not at all while every shard sleeps: an idle store stays idle. It never touches a task.
//! Simulated runtimes have none.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::heartbeat::{Heartbeat, TaskNames};
use crate::ids::ShardId;
use crate::limits::{POLL_SLICE_US, WATCHDOG_IDLE_LOOKS_MAX, WATCHDOG_LOOK_US};
use crate::runtime::Runtime;
use crate::sync::Padded;
use crate::sys;
use crate::time::Moment;

pub(crate) const THREAD_NAME: &str = "sombra-watchdog";

/// How long the watchdog waits for its next look.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Pace {
    /// A slice, or it is looking right now.
    Slices,
    Stalls,
    /// Until somebody wakes up.
    Asleep,
}

/// What shards and watchdog share.
pub(crate) struct Watch {
    hearts: Vec<Arc<Padded<Heartbeat>>>,
    names: Arc<TaskNames>,
    pace: AtomicU8,
    slices_wanted: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    pub(crate) fn new(shards: usize) -> Watch {
        let heart = |_| Arc::new(Padded::new(Heartbeat::new()));
        Watch {
            hearts: (0..shards).map(heart).collect(),
            names: Arc::new(TaskNames::new()),
            pace: AtomicU8::new(Pace::Slices as u8),
            slices_wanted: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: OnceLock::new(),
            handle: Mutex::new(None),
        }
    }

    pub(crate) fn heart(&self, shard: ShardId) -> &Arc<Padded<Heartbeat>> {
        &self.hearts[shard.index()]
    }

    pub(crate) fn names(&self) -> &Arc<TaskNames> {
        &self.names
    }

    /// Called once in each poll that wants to know when its slice is over.
    pub(crate) fn want_slices(&self) {
        if self.slices_wanted.load(Ordering::Relaxed) {
            return;
        }
        self.slices_wanted.store(true, Ordering::Relaxed);
        self.wake_if(|pace| pace != Pace::Slices as u8);
    }

    /// Called by a shard after it has marked itself awake: a fence and a load, and a system call
    /// only for the first of them to wake up.
    pub(crate) fn shard_awoke(&self) {
        self.wake_if(|pace| pace == Pace::Asleep as u8);
    }

    /// The fences here and in `wait` order "change, then look at the pace" against "set the pace,
    /// then look for changes": at least one side sees the other.
    fn wake_if(&self, is_late: impl Fn(u8) -> bool) {
        fence(Ordering::SeqCst);
        if is_late(self.pace.load(Ordering::Relaxed))
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn wait(&self, idle_looks: u32) {
        let pace = if idle_looks >= WATCHDOG_IDLE_LOOKS_MAX {
            Pace::Asleep
        } else if self.slices_wanted.swap(false, Ordering::Relaxed) {
            Pace::Slices
        } else {
            Pace::Stalls
        };
        self.pace.store(pace as u8, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let stopped = self.stop.load(Ordering::Relaxed);
        match pace {
            _ if stopped => {}
            Pace::Slices => std::thread::park_timeout(Duration::from_micros(POLL_SLICE_US)),
            Pace::Stalls if self.slices_wanted.load(Ordering::Relaxed) => {}
            Pace::Stalls => std::thread::park_timeout(Duration::from_micros(WATCHDOG_LOOK_US)),
            Pace::Asleep if self.hearts.iter().any(|heart| heart.is_awake()) => {}
            Pace::Asleep => std::thread::park(),
        }
        self.pace.store(Pace::Slices as u8, Ordering::Relaxed);
    }

    /// Ends the thread and waits for it. Without one it does nothing.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake_if(|_| true);
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            tracing::error!(target: "sombra_runtime", "the watchdog had panicked");
        }
    }
}

/// Starts the thread on any of `cpus`.
pub(crate) fn start(runtime: &Runtime, cpus: Vec<usize>, budget: Duration) -> io::Result<()> {
    let watched = runtime.clone();
    let handle = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || {
        if let Err(error) = sys::pin_thread(&cpus) {
            tracing::debug!(target: "sombra_runtime", "the watchdog keeps its CPUs: {error}");
        }
        serve(&watched, budget);
    })?;
    *runtime.watch().handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    Ok(())
}

fn serve(runtime: &Runtime, budget: Duration) {
    let watch = runtime.watch();
    watch.thread.set(std::thread::current()).expect("a runtime has one watchdog");
    let mut watchdog = Watchdog::new(runtime.shard_count(), budget);
    while !watch.stop.load(Ordering::Relaxed) {
        watchdog.look(watch, runtime.now(), &mut |stall| report(runtime, budget, &stall));
        watch.wait(watchdog.idle_looks);
    }
}

fn report(runtime: &Runtime, budget: Duration, stall: &Stall) {
    let task = runtime.watch().names().name_of(stall.name);
    if stall.is_new {
        let mut metrics = runtime.shard_metrics(stall.shard);
        metrics.stalls_seen_by_watchdog += 1;
        metrics.last_stalled_task = Some(task);
    }
    tracing::warn!(
        target: "sombra_runtime",
        task,
        shard = stall.shard.index(),
        lasts_us = stall.lasts.as_micros() as u64,
        budget_us = budget.as_micros() as u64,
        "a task holds its shard beyond the budget and has not come back yet"
    );
}

/// A poll beyond the budget, while it lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stall {
    shard: ShardId,
    name: crate::heartbeat::NameId,
    lasts: Duration,
    /// The first time that this poll is reported.
    is_new: bool,
}

/// What the watchdog remembers of one shard.
#[derive(Clone, Default)]
struct Seen {
    beat: u64,
    /// The poll that was reported last, and how long it must last to be reported again.
    reported: u64,
    report_again: Duration,
}

struct Watchdog {
    seen: Vec<Seen>,
    budget: Duration,
    /// Looks in a row that found every shard asleep, and no poll since the look before.
    idle_looks: u32,
}

impl Watchdog {
    fn new(shards: usize, budget: Duration) -> Watchdog {
        Watchdog { seen: vec![Seen::default(); shards], budget, idle_looks: 0 }
    }

    fn look(&mut self, watch: &Watch, now: Moment, report: &mut dyn FnMut(Stall)) {
        let mut is_idle = true;
        for (index, (heart, seen)) in watch.hearts.iter().zip(&mut self.seen).enumerate() {
            let beat = heart.beat();
            is_idle &= !heart.is_awake() && beat == seen.beat;
            seen.beat = beat;
            let Some(running) = heart.running() else { continue };
            let lasts = now.saturating_since(running.began);
            if lasts >= Duration::from_micros(POLL_SLICE_US) {
                heart.ask_to_give_way(running.beat);
            }
            let is_new = seen.reported != running.beat;
            if lasts > self.budget && (is_new || lasts >= seen.report_again) {
                seen.reported = running.beat;
                seen.report_again = lasts * 2;
                let (shard, name) = (ShardId::from_index(index), running.name);
                report(Stall { shard, name, lasts, is_new });
            }
        }
        self.idle_looks = if is_idle { self.idle_looks.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests;
