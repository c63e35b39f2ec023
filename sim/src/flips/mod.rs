//! One flipped bit in every byte of a small store: each must be noticed by opening, reading, the
//! checker or the scrubber, or lie where the format says that nothing is.
//!
//! Whoever sweeps goes over [`Sweep::places`] and judges each with [`Sweep::flip`]; threads are
//! the caller's.

mod judge;
mod map;
mod part;
mod report;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sombra_runtime::sim::{Corruption, SimDisk};

use crate::random::Random;

pub use judge::{Flip, Noticed};
pub use part::Part;
pub use report::FlipReport;
pub use store::StoreEnd;

/// A byte of a file of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BytePlace {
    /// Index into the sweep's files.
    pub file: usize,
    pub offset: u64,
}

/// Rows of each keyspace.
type Rows = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A store, what it holds, and what each of its bytes is for.
pub struct Sweep {
    seed: u64,
    disk: SimDisk,
    rows: Arc<Rows>,
    files: Vec<map::FileMap>,
    end: StoreEnd,
}

impl Sweep {
    /// Makes the store of a seed.
    ///
    /// # Errors
    /// The store is not what the sweep is about: damaged before any flip, or without one of the
    /// parts.
    pub fn new(seed: u64, end: StoreEnd) -> Result<Sweep, String> {
        let disk = store::make(seed, end)?;
        let looked = judge::look(&disk, seed, None)?;
        if let Some(noticed) = looked.noticed {
            return Err(format!("noticed without a flip: {noticed:?}"));
        }
        let files = map::map(&disk, &looked.log)?;
        Ok(Sweep { seed, disk, rows: Arc::new(looked.rows), files, end })
    }

    /// Every part that the store has; the sweep is about all of them.
    #[must_use]
    pub fn parts(&self) -> BTreeSet<Part> {
        self.files.iter().flat_map(map::FileMap::parts).collect()
    }

    #[must_use]
    pub fn part_of(&self, place: BytePlace) -> Part {
        self.files[place.file].part_of(place.offset)
    }

    #[must_use]
    pub fn path_of(&self, place: BytePlace) -> &str {
        &self.files[place.file].path
    }

    #[must_use]
    pub fn end(&self) -> StoreEnd {
        self.end
    }

    /// How many bytes of the store are of each part.
    #[must_use]
    pub fn bytes(&self) -> BTreeMap<Part, u64> {
        let mut bytes = BTreeMap::new();
        for file in &self.files {
            file.add_bytes(&mut bytes);
        }
        bytes
    }

    /// The places of a sweep: all bytes of one page, block or copy of each part that is not vast,
    /// and of the others one in `every`, of the vast parts one in `every_vast`.
    #[must_use]
    pub fn places(&self, every: u64, every_vast: u64) -> Vec<BytePlace> {
        self.pick((every, every_vast), &mut BTreeSet::new())
    }

    /// One byte in `every`, of the vast parts one in `every_vast`.
    #[must_use]
    pub fn sample(&self, every: u64, every_vast: u64) -> Vec<BytePlace> {
        self.pick((every, every_vast), &mut Part::ALL.into())
    }

    fn pick(&self, every: (u64, u64), seen: &mut BTreeSet<Part>) -> Vec<BytePlace> {
        let mut places = Vec::new();
        for (file, map) in self.files.iter().enumerate() {
            map.sample(every, seen, |offset| places.push(BytePlace { file, offset }));
        }
        places
    }

    /// A disk to flip on, for one thread.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        self.disk.fork(self.seed)
    }

    /// Flips one bit of the byte, looks what the store makes of it, and flips it back.
    ///
    /// # Errors
    /// The store hangs.
    pub fn flip(&self, disk: &SimDisk, place: BytePlace) -> Result<Flip, String> {
        let mut random = Random::new(self.seed ^ (place.file as u64) << 40 ^ place.offset);
        let bit = random.below(8) as u8;
        let (path, flipped) = (self.path_of(place), Corruption::FlipBit { bit });
        disk.corrupt(path, place.offset, flipped.clone());
        let looked = judge::look(disk, self.seed, Some(&self.rows));
        disk.corrupt(path, place.offset, flipped);
        Ok(Flip::of(place, self.part_of(place), looked?))
    }
}
