//! Which states a disk may be in after a power cut, and how they are built from a recording.
//! Knows writes and flushes, not what they are for.

#[cfg(test)]
mod tests;

use super::device::Op;
use super::image::{Image, SECTOR_BYTES};
use super::totals::CONTROL;
use sombra_sim::random::{Random, mix};
use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum StateKind {
    /// The power fails just after a flush: everything before it is there, nothing else.
    AtFlush,
    /// The power fails between flushes: each write since the last one has a fate of its own.
    Between,
    /// Negative control: the disk only said that it flushed, some flushes ago and since.
    Control,
}

impl StateKind {
    /// Its row in the report.
    pub(super) fn row(self) -> &'static str {
        match self {
            StateKind::AtFlush => "at a flush",
            StateKind::Between => "between flushes",
            StateKind::Control => CONTROL,
        }
    }
}

/// One state of the disk. Positions count operations of the recording.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct State {
    /// Everything before it is there.
    pub(super) durable: u64,
    /// Everything from it on never happened.
    pub(super) cut: u64,
    pub(super) kind: StateKind,
    pub(super) seed: u64,
}

/// How many states to draw: of the disk as it may be, and of the control.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) states: u64,
    pub(super) control: u64,
}

/// States that were drawn, no two of which are the same disk.
pub(super) struct Drawn {
    /// In the order in which `Builder` can make them.
    pub(super) states: Vec<State>,
    /// Flushes after which a disk holds something else than after the one before, and of how many
    /// of them there is a state.
    pub(super) flushes: u64,
    pub(super) flushes_taken: u64,
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = self.states.iter().filter(|state| state.kind == StateKind::Control).count();
        let (all, taken) = (self.flushes, self.flushes_taken);
        let flushes = match taken == all {
            true => format!("all {all} flushes"),
            false => format!("{taken} of {all} flushes"),
        };
        let states = self.states.len() - control;
        write!(f, "{states} distinct states, {flushes}; control: {control} states")
    }
}

/// Flushes that the disk of a control state only claimed to have done.
const CONTROL_FLUSHES_MAX: u64 = 40;
/// Draws for one state until it is one that was not drawn before.
const DRAWS_PER_STATE_MAX: u64 = 20;

/// Draws states whose cut `may_cut`: all flushes if so many states are wanted, otherwise half of
/// the states are some of them; the rest lie between flushes.
pub(super) fn draw(
    ops: &[Op],
    wanted: Wanted,
    random: &mut Random,
    may_cut: impl Fn(u64) -> bool,
) -> Drawn {
    let is_flush = |(at, op): (usize, &Op)| matches!(op, Op::Flush).then_some(at as u64 + 1);
    let flushed: Vec<u64> = ops.iter().enumerate().filter_map(is_flush).collect();
    let mut at_flush: Vec<u64> = flushed.iter().copied().filter(|cut| may_cut(*cut)).collect();
    at_flush.dedup_by_key(|cut| skip_flushes(ops, *cut));
    let between: Vec<u64> = (1..=ops.len() as u64).filter(|cut| may_cut(*cut)).collect();
    let flushes = at_flush.len() as u64;
    let flushes_taken = if flushes <= wanted.states { flushes } else { wanted.states / 2 };
    let mut drawing = Drawing { ops, flushed, random, seen: BTreeSet::new(), states: Vec::new() };
    for cut in drawing.some_of(at_flush.clone(), flushes_taken) {
        let seed = drawing.random.next_u64();
        drawing.take(State { durable: cut, cut, kind: StateKind::AtFlush, seed });
    }
    drawing.fill(StateKind::Between, wanted.states - flushes_taken, &between);
    // A disk that lies may look like one that does not.
    drawing.seen.clear();
    drawing.fill(StateKind::Control, wanted.control, &at_flush);
    let mut states = drawing.states;
    states.sort_unstable();
    Drawn { states, flushes, flushes_taken }
}

struct Drawing<'a> {
    ops: &'a [Op],
    flushed: Vec<u64>,
    random: &'a mut Random,
    seen: BTreeSet<Content>,
    states: Vec<State>,
}

impl Drawing<'_> {
    /// So many of them, each once.
    fn some_of(&mut self, mut all: Vec<u64>, count: u64) -> Vec<u64> {
        for at in 0..count as usize {
            let other = at + self.random.below((all.len() - at) as u64) as usize;
            all.swap(at, other);
        }
        all.truncate(count as usize);
        all
    }

    fn take(&mut self, state: State) -> bool {
        let is_new = self.seen.insert(content(self.ops, &state));
        if is_new {
            self.states.push(state);
        }
        is_new
    }

    /// Takes so many states of a kind, or as many as are found.
    fn fill(&mut self, kind: StateKind, count: u64, cuts: &[u64]) {
        let (mut taken, mut draws) = (0, 0);
        while !cuts.is_empty() && taken < count && draws < count * DRAWS_PER_STATE_MAX {
            draws += 1;
            let cut = *self.random.pick(cuts);
            let done = self.flushed.partition_point(|end| *end <= cut) as u64;
            let lied = match kind {
                StateKind::Control => self.random.between(1, CONTROL_FLUSHES_MAX),
                StateKind::AtFlush | StateKind::Between => 0,
            };
            let durable = match done.saturating_sub(lied) {
                0 => 0,
                count => self.flushed[count as usize - 1],
            };
            let seed = self.random.next_u64();
            taken += u64::from(self.take(State { durable, cut, kind, seed }));
        }
    }
}

/// What tells the disks of two states apart: up to where every write is there, and which later
/// ones are, each whole or with the sectors that it left.
type Content = (u64, Vec<(u64, Option<Vec<bool>>)>);

fn content(ops: &[Op], state: &State) -> Content {
    let mood = mood_of(state);
    let mut base = skip_flushes(ops, state.durable);
    let mut later = Vec::new();
    for at in state.durable..state.cut {
        let Op::Write { bytes, .. } = &ops[at as usize] else { continue };
        let kept = match fate_of(at, state.seed, mood) {
            Fate::Lose => continue,
            Fate::Keep => None,
            Fate::Torn => Some(sectors_kept(bytes, mix(state.seed ^ mix(at)))),
        };
        match kept.filter(|kept| kept.contains(&false)) {
            Some(kept) if !kept.contains(&true) => {}
            Some(kept) => later.push((at, Some(kept))),
            None if at == base => base = skip_flushes(ops, at + 1),
            None => later.push((at, None)),
        }
    }
    (base, later)
}

/// The next operation that changes anything.
fn skip_flushes(ops: &[Op], from: u64) -> u64 {
    let flushes = ops[from as usize..].iter().take_while(|op| matches!(op, Op::Flush));
    from + flushes.count() as u64
}

/// Makes images of states whose `durable` never falls.
pub(super) struct Builder<'a> {
    ops: &'a [Op],
    base: Image,
    durable: u64,
}

impl<'a> Builder<'a> {
    /// `before` is what the disk held, durably, when the recording began.
    pub(super) fn new(ops: &'a [Op], before: Image) -> Builder<'a> {
        Builder { ops, base: before, durable: 0 }
    }

    pub(super) fn build(&mut self, state: &State) -> Image {
        assert!(self.durable <= state.durable, "states come in the order of what is durable");
        for op in &self.ops[self.durable as usize..state.durable as usize] {
            if let Op::Write { offset, bytes } = op {
                self.base.write(*offset, bytes);
            }
        }
        self.durable = state.durable;
        let mut image = self.base.clone();
        let mood = mood_of(state);
        for at in state.durable..state.cut {
            if let Op::Write { offset, bytes } = &self.ops[at as usize] {
                write_in_mood(&mut image, (*offset, bytes), (at, state.seed), mood);
            }
        }
        image
    }
}

/// How a state treats its writes; all alike below 3.
fn mood_of(state: &State) -> u64 {
    match state.kind {
        // A file system may be no more than wreckage when only some of it is lost; a disk that
        // lost all since some flush mounts, and shows what was lost.
        StateKind::Control if !mix(state.seed).is_multiple_of(4) => ALL_LOST,
        _ => mix(state.seed) % 8,
    }
}

/// Does what becomes of a write that nothing made durable.
pub(super) fn write_by_fate(image: &mut Image, write: (u64, &[u8]), (at, seed): (u64, u64)) {
    write_in_mood(image, write, (at, seed), mix(seed) % 8);
}

fn write_in_mood(
    image: &mut Image,
    (offset, bytes): (u64, &[u8]),
    (at, seed): (u64, u64),
    mood: u64,
) {
    match fate_of(at, seed, mood) {
        Fate::Keep => image.write(offset, bytes),
        Fate::Lose => {}
        Fate::Torn => tear(image, (offset, bytes), mix(seed ^ mix(at))),
    }
}

/// The mood of a state that lost every write of which nothing says that it is durable.
const ALL_LOST: u64 = 1;

enum Fate {
    Keep,
    Lose,
    /// Each sector for itself.
    Torn,
}

/// As in the simulated disk: some states treat all writes alike, and only a third of the writes
/// falls apart, because sectors decided one by one would hardly ever leave a whole block.
fn fate_of(at: u64, seed: u64, mood: u64) -> Fate {
    let choice = if mood < 3 { mood } else { mix(seed ^ at) % 3 };
    match choice {
        0 => Fate::Keep,
        ALL_LOST => Fate::Lose,
        _ => Fate::Torn,
    }
}

/// A sector is the unit that disks, and the journals of file systems, take for granted.
fn tear(image: &mut Image, (offset, bytes): (u64, &[u8]), seed: u64) {
    let sectors = bytes.chunks(SECTOR_BYTES).zip(sectors_kept(bytes, seed));
    for (number, (sector, is_kept)) in sectors.enumerate() {
        if is_kept {
            image.write(offset + (number * SECTOR_BYTES) as u64, sector);
        }
    }
}

fn sectors_kept(bytes: &[u8], seed: u64) -> Vec<bool> {
    let mut random = Random::new(seed);
    bytes.chunks(SECTOR_BYTES).map(|_| random.percent(50)).collect()
}
