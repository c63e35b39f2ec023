//! Which states a disk may be in after a power cut, and how they are built from a recording.
//! Knows writes and flushes, not what they are for.

#[cfg(test)]
mod tests;

use super::device::Op;
use super::image::{Image, SECTOR_BYTES};
use super::totals::CONTROL;
use sombra_sim::random::{Random, mix};

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

/// How many states of each kind to draw, and where from.
pub(super) struct Wanted {
    pub(super) at_flush: u64,
    pub(super) between: u64,
    pub(super) control: u64,
}

/// Flushes that the disk of a control state only claimed to have done.
const CONTROL_FLUSHES_MAX: u64 = 40;

/// Draws states whose cut `may_cut`, in the order in which `Builder` can make them.
pub(super) fn draw(
    ops: &[Op],
    wanted: &Wanted,
    random: &mut Random,
    may_cut: impl Fn(u64) -> bool,
) -> Vec<State> {
    let is_flush = |(at, op): (usize, &Op)| matches!(op, Op::Flush).then_some(at as u64 + 1);
    let flushed: Vec<u64> = ops.iter().enumerate().filter_map(is_flush).collect();
    let at_flush: Vec<u64> = flushed.iter().copied().filter(|cut| may_cut(*cut)).collect();
    let between: Vec<u64> = (1..=ops.len() as u64).filter(|cut| may_cut(*cut)).collect();
    let mut states = Vec::new();
    let kinds = [
        (StateKind::AtFlush, wanted.at_flush, &at_flush),
        (StateKind::Between, wanted.between, &between),
        (StateKind::Control, wanted.control, &at_flush),
    ];
    for (kind, count, cuts) in kinds {
        for _ in 0..if cuts.is_empty() { 0 } else { count } {
            let cut = *random.pick(cuts);
            let done = flushed.partition_point(|end| *end <= cut) as u64;
            let lied = match kind {
                StateKind::Control => random.between(1, CONTROL_FLUSHES_MAX),
                StateKind::AtFlush | StateKind::Between => 0,
            };
            let durable = match done.saturating_sub(lied) {
                0 => 0,
                count => flushed[count as usize - 1],
            };
            states.push(State { durable, cut, kind, seed: random.next_u64() });
        }
    }
    states.sort_unstable();
    states
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
        let mood = match state.kind {
            // A file system may be no more than wreckage when only some of it is lost; a disk that
            // lost all since some flush mounts, and shows what was lost.
            StateKind::Control if !mix(state.seed).is_multiple_of(4) => ALL_LOST,
            _ => mix(state.seed) % 8,
        };
        for at in state.durable..state.cut {
            if let Op::Write { offset, bytes } = &self.ops[at as usize] {
                match fate_of(at, state.seed, mood) {
                    Fate::Keep => image.write(*offset, bytes),
                    Fate::Lose => {}
                    Fate::Torn => tear(&mut image, (*offset, bytes), mix(state.seed ^ mix(at))),
                }
            }
        }
        image
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
    let mut random = Random::new(seed);
    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        if random.percent(50) {
            image.write(offset + (number * SECTOR_BYTES) as u64, sector);
        }
    }
}
