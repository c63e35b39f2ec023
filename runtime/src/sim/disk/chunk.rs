//! One 4 KiB chunk of a simulated file, down to the sectors that a power cut decides.
//!
//! A chunk keeps its durable image, its volatile image and, between them, one version per write
//! that no flush has covered yet, in the order in which the writes took effect. A cut walks the
//! versions sector by sector; a flush retires those it covers.

use std::sync::Arc;

use crate::sim::dice::Dice;

pub(crate) const SECTOR_SIZE_BYTES: usize = 512;
pub(crate) const CHUNK_SIZE_BYTES: usize = 4096;
const SECTORS_PER_CHUNK: usize = CHUNK_SIZE_BYTES / SECTOR_SIZE_BYTES;
const SECTORS_ALL: u8 = 0xFF;
const _: () = assert!(SECTORS_PER_CHUNK == 8, "the sector mask is one byte");

pub(super) static ZEROES: [u8; CHUNK_SIZE_BYTES] = [0; CHUNK_SIZE_BYTES];

/// Number of a submitted operation: later submissions have greater numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct OpId(pub(super) u64);

/// What a power cut does to one operation's uncovered sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Keep,
    Lose,
    /// Each sector for itself: kept, lost or torn.
    Mixed,
}

/// How the sectors that a cut had to decide came out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct CutTally {
    /// One sector in so many, of those decided one by one, becomes noise from end to end.
    pub(crate) garbage_one_in: u32,
    pub(crate) kept: u64,
    pub(crate) lost: u64,
    pub(crate) torn: u64,
    pub(crate) garbage: u64,
}

/// A chunk's bytes, shared between everybody who sees the same ones.
#[derive(Clone)]
pub(super) enum Image {
    Zeroes,
    Bytes(Arc<[u8]>),
}

impl Image {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Image::Zeroes => &ZEROES,
            Image::Bytes(bytes) => bytes,
        }
    }

    fn sector(&self, index: usize) -> &[u8] {
        &self.bytes()[index * SECTOR_SIZE_BYTES..(index + 1) * SECTOR_SIZE_BYTES]
    }

    /// The image with `bytes` laid over it at `start`.
    pub(super) fn overlaid(&self, start: usize, bytes: &[u8]) -> Image {
        if bytes.len() == CHUNK_SIZE_BYTES {
            return Image::Bytes(Arc::from(bytes));
        }
        let mut copy = self.bytes().to_vec();
        copy[start..start + bytes.len()].copy_from_slice(bytes);
        Image::Bytes(Arc::from(copy))
    }
}

/// Whether an operation makes another one durable, which may have been abandoned meanwhile.
pub(super) type Claims<'a> = &'a dyn Fn(OpId, Option<OpId>) -> bool;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sectors may part ways at a cut.
    Data,
    /// A truncation: happens whole or not at all.
    Whole,
    /// Its operation, or a flush that should have covered it, failed, and somebody was told of
    /// that when this operation was the newest one: no later flush may claim it, only a cut
    /// decides.
    Abandoned(OpId),
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) op: OpId,
    pub(super) kind: Kind,
    sectors: u8,
    image: Image,
}

#[derive(Clone)]
pub(super) struct Chunk {
    durable: Image,
    /// The last durable image that differed from the present one; `None`: nobody remembers.
    older: Option<Image>,
    pub(super) volatile: Image,
    pub(super) versions: Vec<Version>,
}

impl Chunk {
    pub(super) fn new() -> Chunk {
        Chunk { durable: Image::Zeroes, older: None, volatile: Image::Zeroes, versions: Vec::new() }
    }

    pub(super) fn put(&mut self, op: OpId, kind: Kind, sectors: u8, image: Image) {
        self.volatile = image.clone();
        self.versions.push(Version { op, kind, sectors, image });
    }

    /// The durable bytes are others now; the ones before are kept for stale reads if asked for.
    fn set_durable(&mut self, image: Image, remember: bool) {
        let before = std::mem::replace(&mut self.durable, image);
        if remember && before.bytes() != self.durable.bytes() {
            self.older = Some(before);
        }
    }

    pub(super) fn forget_older(&mut self) {
        self.older = None;
    }

    /// What the chunk held before its last change, as far as anything of that is left.
    pub(super) fn stale(&self) -> &Image {
        if self.durable.bytes() != self.volatile.bytes() {
            return &self.durable;
        }
        self.older.as_ref().unwrap_or(&self.volatile)
    }

    pub(super) fn cover(&mut self, claims: Claims<'_>, remember: bool) {
        let claims = |v: &Version| claims(v.op, v.abandoned());
        if self.versions.iter().all(claims) {
            self.set_durable(self.volatile.clone(), remember);
            self.versions.clear();
            return;
        }
        // Per sector: the highest covered version wins and retires everything below it.
        let mut durable_until = [0usize; SECTORS_PER_CHUNK];
        for (index, version) in self.versions.iter().enumerate().filter(|(_, v)| claims(v)) {
            for (sector, until) in durable_until.iter_mut().enumerate() {
                if version.sectors & (1 << sector) != 0 {
                    *until = index + 1;
                }
            }
        }
        if durable_until == [0; SECTORS_PER_CHUNK] {
            return;
        }
        let mut bytes = self.durable.bytes().to_vec();
        for (sector, &until) in durable_until.iter().enumerate().filter(|&(_, &u)| u > 0) {
            let start = sector * SECTOR_SIZE_BYTES;
            bytes[start..start + SECTOR_SIZE_BYTES]
                .copy_from_slice(self.versions[until - 1].image.sector(sector));
            for version in &mut self.versions[..until] {
                version.sectors &= !(1 << sector);
            }
        }
        self.set_durable(Image::Bytes(Arc::from(bytes)), remember);
        self.versions.retain(|version| version.sectors != 0);
    }

    pub(super) fn cut(
        &mut self,
        dice: &mut Dice,
        fate: &dyn Fn(OpId) -> Fate,
        tally: &mut CutTally,
        remember: bool,
    ) {
        if self.versions.iter().all(|v| fate(v.op) == Fate::Lose) {
            tally.lost +=
                self.versions.iter().map(|v| u64::from(v.sectors.count_ones())).sum::<u64>();
        } else {
            let mut bytes = self.durable.bytes().to_vec();
            for version in &self.versions {
                let fate = match (fate(version.op), version.kind) {
                    // A truncation has no halves: its operation number decides.
                    (Fate::Mixed, Kind::Whole) if version.op.0.is_multiple_of(2) => Fate::Keep,
                    (Fate::Mixed, Kind::Whole) => Fate::Lose,
                    (fate, _) => fate,
                };
                version.settle(fate, &mut bytes, dice, tally);
            }
            self.set_durable(Image::Bytes(Arc::from(bytes)), remember);
        }
        self.volatile = self.durable.clone();
        self.versions.clear();
    }

    pub(super) fn transform(&mut self, change: &mut dyn FnMut(&mut [u8])) {
        let mut apply = |image: &mut Image| {
            let mut bytes = image.bytes().to_vec();
            change(&mut bytes);
            *image = Image::Bytes(Arc::from(bytes));
        };
        apply(&mut self.durable);
        apply(&mut self.volatile);
        for version in &mut self.versions {
            apply(&mut version.image);
        }
    }
}

impl Version {
    fn abandoned(&self) -> Option<OpId> {
        match self.kind {
            Kind::Abandoned(last) => Some(last),
            Kind::Data | Kind::Whole => None,
        }
    }

    fn settle(&self, fate: Fate, bytes: &mut [u8], dice: &mut Dice, tally: &mut CutTally) {
        for sector in (0..SECTORS_PER_CHUNK).filter(|s| self.sectors & (1 << s) != 0) {
            let old = &mut bytes[sector * SECTOR_SIZE_BYTES..(sector + 1) * SECTOR_SIZE_BYTES];
            let new = self.image.sector(sector);
            if fate == Fate::Mixed && dice.chance(tally.garbage_one_in) {
                dice.fill(old);
                tally.garbage += 1;
                continue;
            }
            let throw = match fate {
                Fate::Keep => 0,
                Fate::Lose => 2,
                Fate::Mixed => dice.below(5),
            };
            match throw {
                0 | 1 => {
                    old.copy_from_slice(new);
                    tally.kept += 1;
                }
                2 | 3 => tally.lost += 1,
                _ => {
                    let split = dice.within(1, SECTOR_SIZE_BYTES as u64 - 1) as usize;
                    old[..split].copy_from_slice(&new[..split]);
                    if dice.chance(4) {
                        dice.fill(&mut old[split..]);
                        tally.garbage += 1;
                    } else {
                        tally.torn += 1;
                    }
                }
            }
        }
    }
}

/// The sectors that the bytes `start..end` of a chunk touch.
pub(super) fn sector_mask(start: usize, end: usize) -> u8 {
    let (first, last) = (start / SECTOR_SIZE_BYTES, (end - 1) / SECTOR_SIZE_BYTES);
    (SECTORS_ALL << first) & (SECTORS_ALL >> (SECTORS_PER_CHUNK - 1 - last))
}
