//! How a world ends as its disk sees it: power cut, death of the process, orderly end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Fault;
use super::chunk::{CutTally, Fate, OpId};
use super::content::{Body, Payload};
use super::device::Device;
use super::namespace::FileId;
use super::request::{Pending, Request, WriteHow};
use crate::sim::dice::{Dice, Trace, mix};

/// Machines stay off for up to this long, so that wall clocks of two runs differ.
const OUTAGE_NS_MAX: u64 = 10_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

impl Device {
    /// A new world takes the disk over; returns its epoch and where it reads the wall clock of its
    /// start.
    pub(super) fn attach(&mut self, shards: usize) -> (u32, Arc<AtomicU64>) {
        assert!(!self.attached, "one world at a time uses a disk");
        self.attached = true;
        self.epoch += 1;
        self.trace = Trace::new();
        self.finished = (0..shards).map(|_| Default::default()).collect();
        self.wall_start_ms = Arc::new(AtomicU64::new(self.wall_clock_ns / NS_PER_MS));
        (self.epoch, Arc::clone(&self.wall_start_ms))
    }

    pub(super) fn jump_wall_clock(&mut self, by_ms: i64) {
        let by_ns = by_ms.unsigned_abs().saturating_mul(NS_PER_MS);
        if by_ms < 0 {
            self.wall_clock_ns = self.wall_clock_ns.saturating_sub(by_ns);
            self.counters.clock_jumps_backwards += 1;
        } else {
            self.wall_clock_ns = self.wall_clock_ns.saturating_add(by_ns);
            self.counters.clock_jumps_forwards += 1;
        }
        self.wall_start_ms.store(self.wall_clock_ns / NS_PER_MS, Ordering::Relaxed);
    }

    /// The world is gone: its handles, locks and results with it.
    fn detach(&mut self, elapsed_ns: u64) {
        assert!(self.ops.is_empty(), "what was in flight is decided before a world ends");
        self.attached = false;
        self.epoch += 1;
        self.agenda.clear();
        self.finished.clear();
        self.handles.clear();
        self.locks.clear();
        let outage_ns = self.dice.within(NS_PER_MS, OUTAGE_NS_MAX);
        self.wall_clock_ns = self.wall_clock_ns.saturating_add(elapsed_ns + outage_ns);
        self.pause_at = None;
        self.forget_nameless();
    }

    fn forget_nameless(&mut self) {
        let names = &self.names;
        self.bodies.retain(|file, _| names.refers_to(*file));
    }

    /// Operations in flight, in the order in which fate reaches them.
    fn take_in_flight(&mut self) -> Vec<(OpId, Pending)> {
        let mut in_flight: Vec<_> = std::mem::take(&mut self.ops).into_iter().collect();
        self.dice.shuffle(&mut in_flight);
        in_flight
    }

    /// The process dies. What took effect stays in the device's cache, where a later power cut
    /// finds it; the rest of what was in flight happens, or does not, or in part.
    pub(super) fn kill(&mut self, elapsed_ns: u64) {
        self.counters.kills += 1;
        for (op, mut pending) in self.take_in_flight() {
            if pending.answer.is_none() {
                self.decide_after_kill(op, &mut pending.request, pending.fault);
            }
        }
        // No later process hears of a flush that failed.
        for finished in std::mem::take(&mut self.finished).into_iter().flatten() {
            self.abandon_unsaved(&finished);
        }
        for body in self.bodies.values_mut() {
            body.unfinished.clear();
        }
        self.detach(elapsed_ns);
    }

    fn decide_after_kill(&mut self, op: OpId, request: &mut Request, fault: Option<Fault>) {
        if let Request::Read { .. } | Request::Flush { .. } = request {
            return;
        }
        match (self.dice.below(3), request) {
            (0, _) => {}
            (1, Request::Write { handle, offset, payload, how: WriteHow::Mode(_) })
                if matches!(fault, None | Some(Fault::Stuck { .. })) =>
            {
                let Ok(handle) = self.handle(*handle) else { return };
                let (offset, payload): (u64, Payload) = (*offset, payload.clone());
                if self.check_space(handle.file, offset + payload.len_bytes()).is_ok() {
                    self.write_partly(op, handle.file, offset, &payload);
                }
            }
            // An error that nobody hears is no different from success that nobody hears.
            (_, request) => drop(self.take_effect(op, request, fault)),
        }
    }

    /// The power fails while a world runs: what is in flight joins what no flush covered.
    pub(super) fn cut_running(&mut self, elapsed_ns: u64) {
        self.counters.cuts_in_flight += u64::from(!self.ops.is_empty());
        for (op, mut pending) in self.take_in_flight() {
            let reaches_disk = !matches!(pending.request, Request::Read { .. });
            if pending.answer.is_none() && reaches_disk {
                drop(self.take_effect(op, &mut pending.request, pending.fault));
            }
        }
        self.cut();
        self.detach(elapsed_ns);
    }

    /// The power fails: everything volatile is decided.
    pub(super) fn cut(&mut self) {
        let salt = self.dice.next();
        let mood = self.dice.below(8);
        let fate = move |op: OpId| fate_of(op, salt, mood);
        let garbage_one_in = self.options.garbage_sector_one_in;
        let mut tally = CutTally { garbage_one_in, ..CutTally::default() };
        let Device { bodies, names, dice, .. } = self;
        names.cut(dice);
        cut_bodies(bodies, dice, &fate, &mut tally);
        self.counters.cuts += 1;
        self.counters.sectors_kept += tally.kept;
        self.counters.sectors_lost += tally.lost;
        self.counters.sectors_torn += tally.torn;
        self.counters.sectors_garbage += tally.garbage;
        self.forget_nameless();
    }
}

fn cut_bodies(
    bodies: &mut BTreeMap<FileId, Body>,
    dice: &mut Dice,
    fate: &dyn Fn(OpId) -> Fate,
    tally: &mut CutTally,
) {
    for body in bodies.values_mut() {
        body.cut(dice, fate, tally);
    }
}

/// Sectors decided one by one would hardly ever leave a whole block, and so never a later write
/// kept over an earlier one lost. So most writes are kept or lost whole, some cuts treat all
/// alike, and only a third of the writes falls apart.
fn fate_of(op: OpId, salt: u64, mood: u64) -> Fate {
    let choice = match mood {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => mix(salt ^ op.0) % 3,
    };
    match choice {
        0 => Fate::Keep,
        1 => Fate::Lose,
        _ => Fate::Mixed,
    }
}
