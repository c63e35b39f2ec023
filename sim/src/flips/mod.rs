//! One flipped bit in every byte of a small store: each must be noticed by opening, reading, the
//! checker or the scrubber, or lie where the format says that nothing is.
//!
//! Every byte on which something depends is flipped alone under the decoder that must refuse it
//! ([`Sweep::unnoticed`]); the others are flipped a block at a time under an opening, which must
//! show the same rows ([`Sweep::flip_block`]). That the store asks those decoders everywhere is
//! tried with openings too: [`Sweep::places`], each judged with [`Sweep::flip`]. Threads are the
//! caller's.

mod judge;
mod map;
mod part;
mod report;
mod store;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sombra_runtime::sim::{Corruption, SimDisk};

use crate::random::{Random, mix};

pub use judge::{Flip, Noticed};
pub use part::Part;
pub use report::FlipReport;
pub use store::StoreEnd;
pub use unit::Unit;

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

    /// All that is believed by a checksum: together, every byte on which something depends.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        self.files.iter().enumerate().for_each(|(file, map)| map.units(file, &mut units));
        units
    }

    /// Flips one bit in each byte of the unit in turn; the offsets that its decoder believes
    /// nevertheless.
    ///
    /// # Errors
    /// The unit is not whole without a flip.
    pub fn unnoticed(&self, unit: &Unit) -> Result<Vec<u64>, String> {
        let path = self.path_of(unit.place);
        let bytes = self.disk.read_part(path, unit.place.offset, unit.len_bytes as usize);
        unit.unnoticed(&mut bytes.ok_or("the file is gone")?, self.seed)
    }

    /// The blocks on which nothing depends, each with its length.
    #[must_use]
    pub fn idle_blocks(&self) -> Vec<(BytePlace, u64)> {
        let mut blocks = Vec::new();
        for (file, map) in self.files.iter().enumerate() {
            map.idle_blocks(|range| {
                let place = BytePlace { file, offset: range.start };
                blocks.push((place, range.end - range.start));
            });
        }
        blocks
    }

    /// Flips one bit in every byte of a block at once, looks what the store makes of it, and puts
    /// it back.
    ///
    /// # Errors
    /// The store hangs.
    pub fn flip_block(
        &self,
        disk: &SimDisk,
        (place, len_bytes): (BytePlace, u64),
    ) -> Result<Flip, String> {
        let path = self.path_of(place);
        let whole = disk.read_part(path, place.offset, len_bytes as usize);
        let whole = whole.ok_or("the file is gone")?;
        let bit = |at: usize| 1 << (mix(self.seed ^ (place.offset + at as u64)) % 8);
        let flipped = whole.iter().enumerate().map(|(at, byte)| byte ^ bit(at)).collect();
        disk.corrupt(path, place.offset, Corruption::Bytes(flipped));
        let looked = judge::look(disk, self.seed, Some(&self.rows));
        disk.corrupt(path, place.offset, Corruption::Bytes(whole));
        Ok(Flip::of(place, self.part_of(place), looked?))
    }

    /// Negative control: judges a flip of a store from whose rows one is missing in the account,
    /// as if the flip had taken it unsaid. It must not count as right.
    ///
    /// # Errors
    /// The store hangs.
    pub fn control(&self) -> Result<Flip, String> {
        let mut rows = Rows::clone(&self.rows);
        let space = rows.values_mut().find(|rows| !rows.is_empty()).ok_or("no rows")?;
        space.insert(b"nobody wrote it".to_vec(), vec![1]);
        let place = self.idle_blocks().first().ok_or("no idle block")?.0;
        let looked = judge::look(&self.fork(), self.seed, Some(&Arc::new(rows)))?;
        Ok(Flip::of(place, self.part_of(place), looked))
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
