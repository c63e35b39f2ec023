//! How a world ends as its disk sees it: power cut, death of the process, orderly end.

use std::collections::BTreeMap;

use super::Fault;
use super::chunk::{CutTally, Fate, OpId};
use super::content::{Body, Payload};
use super::device::Device;
use super::namespace::FileId;
use super::request::{Pending, Request, WriteHow};
use crate::sim::dice::{Dice, Trace, mix};

/// Machines stay off for up to this long, so that wall clocks of two runs differ.
const OUTAGE_NS_MAX: u64 = 10_000_000_000;

impl Device {
    /// A new world takes the disk over; returns its epoch and the wall clock at its start.
    pub(super) fn attach(&mut self, shards: usize) -> (u32, u64) {
        assert!(!self.attached, "one world at a time uses a disk");
        self.attached = true;
        self.epoch += 1;
        self.trace = Trace::new();
        self.finished = (0..shards).map(|_| Default::default()).collect();
        (self.epoch, self.wall_clock_ns / 1_000_000)
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
        self.wall_clock_ns += elapsed_ns + self.dice.within(1_000_000, OUTAGE_NS_MAX);
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
        for (op, mut pending) in self.take_in_flight() {
            if pending.answer.is_none() {
                self.decide_after_kill(op, &mut pending.request, pending.fault);
            }
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
                if fault.is_none() =>
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
        let mut tally = CutTally::default();
        let Device { bodies, names, dice, .. } = self;
        names.cut(dice);
        cut_bodies(bodies, dice, &fate, &mut tally);
        self.counters.cuts += 1;
        self.counters.sectors_kept += tally.kept;
        self.counters.sectors_lost += tally.lost;
        self.counters.sectors_torn += tally.torn;
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
