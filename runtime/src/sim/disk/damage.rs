//! Damage to a simulated disk's bytes at rest, behind everybody's back.

use std::path::Path;

use super::device::Device;
use super::namespace::FileId;
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
        let path = path.as_ref();
        let mut device = self.device();
        let key = path_key(path).unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
        let file = device.names.file(&key);
        let file = file.unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
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
}

fn overwrite(device: &mut Device, file: FileId, offset: u64, bytes: &[u8]) {
    let len_bytes = bytes.len() as u64;
    device.body(file).damage(offset, len_bytes, &mut |at, byte| *byte = bytes[at as usize]);
}
