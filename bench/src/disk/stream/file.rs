//! The next place in one file.

use crate::disk::job::{ByDirection, Direction, Distribution, Job, Pattern, Sequencer};
use crate::random::Random;

use super::Region;
use super::place::Places;
use super::random_map::RandomMap;

/// A request that looks for its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) direction: Direction,
    pub(super) len: u64,
    /// The smallest request of the direction: what does not leave room for it is left out.
    pub(super) min_len: u64,
}

/// How far one direction has come in a file. Offsets are relative to the region.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Where the next sequential request begins; `None`: nothing was asked for yet.
    next: Option<u64>,
    /// Where the last request began, and how many more it stands for.
    last: u64,
    repeats_left: u64,
}

#[derive(Debug)]
pub(super) struct FileCursor {
    region: Region,
    pattern: Pattern,
    progress: ByDirection<Progress>,
    random: Option<RandomPlaces>,
}

#[derive(Debug)]
struct RandomPlaces {
    unit_bytes: u64,
    places: ByDirection<Option<Places>>,
    /// None where blocks may be visited again at any time.
    map: Option<RandomMap>,
}

impl RandomPlaces {
    fn new(job: &Job, region: Region, unit_bytes: u64) -> RandomPlaces {
        let mut places = ByDirection([None, None, None]);
        for direction in Direction::ALL {
            let blocks = region.len / job.block.of(direction).min_bytes().max(1);
            if job.pattern.mix.has(direction) && blocks > 0 {
                *places.of_mut(direction) = Some(Places::new(job.distribution, blocks));
            }
        }
        // A law of popularity visits popular blocks again by its nature.
        let has_map = !job.no_random_map && job.distribution == Distribution::Uniform;
        let units = region.len / unit_bytes;
        let map = (has_map && units > 0).then(|| RandomMap::new(units));
        RandomPlaces { unit_bytes, places, map }
    }

    /// An offset and how much of `wanted.len` may be taken there.
    fn draw(&mut self, wanted: Wanted, region_len: u64, random: &mut Random) -> Option<(u64, u64)> {
        let block = self.places.of(wanted.direction).as_ref()?.draw(random);
        let drawn = block * wanted.min_len;
        let Some(map) = &mut self.map else {
            return Some((drawn, fitting(wanted, region_len - drawn)?));
        };
        let unit =
            map.next_free((drawn / self.unit_bytes).min(region_len / self.unit_bytes - 1))?;
        let offset = unit * self.unit_bytes;
        let len = wanted.len.min(region_len - offset);
        let units = map.take(unit, len.div_ceil(self.unit_bytes));
        Some((offset, len.min(units * self.unit_bytes)))
    }
}

/// As much of the request as there is room for, in multiples of its smallest size.
fn fitting(wanted: Wanted, room: u64) -> Option<u64> {
    if wanted.len <= room {
        return Some(wanted.len);
    }
    let len = room / wanted.min_len * wanted.min_len;
    (len > 0).then_some(len)
}

impl FileCursor {
    pub(super) fn new(job: &Job, region: Region, unit_bytes: u64) -> FileCursor {
        let pattern = job.pattern;
        let random = pattern.is_random.then(|| RandomPlaces::new(job, region, unit_bytes));
        FileCursor { region, pattern, progress: ByDirection::default(), random }
    }

    pub(super) fn restart(&mut self) {
        self.progress = ByDirection::default();
        if let Some(map) = self.random.as_mut().and_then(|random| random.map.as_mut()) {
            map.clear();
        }
    }

    /// The place of the next request, absolute, and its length; `None`: this file has none left
    /// in this pass.
    pub(super) fn place(&mut self, wanted: Wanted, random: &mut Random) -> Option<(u64, u64)> {
        let (offset, len) = match self.random {
            Some(_) => self.random_place(wanted, random)?,
            None => self.sequential_place(wanted)?,
        };
        let progress = self.progress.of_mut(wanted.direction);
        progress.last = offset;
        progress.next = Some(offset + len);
        Some((self.region.offset + offset, len))
    }

    fn random_place(&mut self, wanted: Wanted, random: &mut Random) -> Option<(u64, u64)> {
        let progress = self.progress.of_mut(wanted.direction);
        if progress.repeats_left > 0 {
            progress.repeats_left -= 1;
            let offset = match self.pattern.sequencer {
                Sequencer::Identical => progress.last,
                Sequencer::Sequential => progress.next.unwrap_or(progress.last),
            };
            if let Some(len) = fitting(wanted, self.region.len.saturating_sub(offset)) {
                return Some((offset, len));
            }
        }
        progress.repeats_left = self.pattern.ops_per_offset.saturating_sub(1);
        self.random.as_mut()?.draw(wanted, self.region.len, random)
    }

    /// In order, with the pattern's skip after each request.
    fn sequential_place(&self, wanted: Wanted) -> Option<(u64, u64)> {
        let progress = self.progress.of(wanted.direction);
        let skip = self.pattern.skip_bytes;
        let offset = match progress.next {
            None if skip < 0 => self.region.len.checked_sub(wanted.len)?,
            None => 0,
            Some(next) => next.checked_add_signed(skip)?,
        };
        let room = self.region.len.checked_sub(offset)?;
        Some((offset, fitting(wanted, room)?))
    }
}
