//! Damage to a simulated disk's bytes at rest, behind everybody's back.

use std::path::Path;

use super::chunk::SECTOR_SIZE_BYTES;
use super::device::Device;
use super::namespace::{Errno, FileId};
use super::{SimDisk, path_key};

/// Damage to bytes at rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Corruption {
    FlipBit { bit: u8 },
    Zeroes { len_bytes: u64 },
    Garbage { len_bytes: u64 },
    Bytes(Vec<u8>),
}

impl SimDisk {
    /// Damages a file's bytes from `offset` on, wherever they are kept. Panics when the file
    /// does not exist or is shorter than that.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, damage: Corruption) {
        let mut device = self.device();
        let file = device.file_at(path.as_ref());
        match damage {
            Corruption::FlipBit { bit } => {
                device.body(file).damage(offset, 1, &mut |_, byte| *byte ^= 1 << (bit % 8));
                device.counters.flipped_bits += 1;
            }
            Corruption::Zeroes { len_bytes } => {
                device.body(file).damage(offset, len_bytes, &mut |_, byte| *byte = 0);
                device.counters.zeroed_bytes += len_bytes;
            }
            Corruption::Garbage { len_bytes } => {
                let mut garbage = vec![0; len_bytes as usize];
                device.dice.fill(&mut garbage);
                overwrite(&mut device, file, offset, &garbage);
                device.counters.garbage_bytes += len_bytes;
            }
            Corruption::Bytes(bytes) => {
                overwrite(&mut device, file, offset, &bytes);
                device.counters.replaced_bytes += bytes.len() as u64;
            }
        }
    }

    /// Breaks the sectors that hold these bytes of a file: reads that touch one fail with EIO until
    /// a write goes over all of it, as if the drive then took a spare one, or the file is cut.
    /// Panics when the file does not exist.
    pub fn break_sectors(&self, path: impl AsRef<Path>, offset: u64, len_bytes: u64) {
        let mut device = self.device();
        let file = device.file_at(path.as_ref());
        let sector = SECTOR_SIZE_BYTES as u64;
        let sectors = offset / sector..(offset + len_bytes).div_ceil(sector);
        device.broken_sectors.extend(sectors.map(|number| (file, number)));
    }
}

impl Device {
    fn file_at(&self, path: &Path) -> FileId {
        let key = path_key(path).unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
        self.names.file(&key).unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"))
    }

    /// What a read of broken sectors gets.
    pub(super) fn refuse_broken(
        &mut self,
        file: FileId,
        offset: u64,
        len_bytes: usize,
    ) -> Result<(), Errno> {
        let sector = SECTOR_SIZE_BYTES as u64;
        let end = (offset + len_bytes as u64).div_ceil(sector);
        let touched = (file, offset / sector)..(file, end);
        if self.broken_sectors.range(touched).next().is_none() {
            return Ok(());
        }
        self.counters.read_errors += 1;
        Err(libc::EIO)
    }

    /// The file was cut: what it gets there later lies elsewhere.
    pub(super) fn forget_broken_from(&mut self, file: FileId, len_bytes: u64) {
        let first = len_bytes.div_ceil(SECTOR_SIZE_BYTES as u64);
        self.broken_sectors.retain(|(of, number)| *of != file || *number < first);
    }

    /// A write has gone over these bytes.
    pub(super) fn heal_sectors(&mut self, file: FileId, offset: u64, len_bytes: u64) {
        let sector = SECTOR_SIZE_BYTES as u64;
        let whole = offset.div_ceil(sector)..(offset + len_bytes) / sector;
        self.broken_sectors.retain(|(of, number)| *of != file || !whole.contains(number));
    }
}

fn overwrite(device: &mut Device, file: FileId, offset: u64, bytes: &[u8]) {
    let len_bytes = bytes.len() as u64;
    device.body(file).damage(offset, len_bytes, &mut |at, byte| *byte = bytes[at as usize]);
}
