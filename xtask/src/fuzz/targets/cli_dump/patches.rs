//! Damage to files as bytes, so that an input can be kept and tried again.

use crate::fuzz::store::Store;
use sombra_runtime::sim::{Corruption, SimDisk};
use std::collections::BTreeMap;

const WRITE: u8 = 0;
const RESIZE: u8 = 1;
/// By how much a file may become longer.
const GROWTH_BYTES_MAX: usize = 4 << 20;

/// One change of one file.
pub(super) struct Patch {
    path: String,
    change: Change,
}

enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// Cuts the file, or fills it up with zeros.
    Resize {
        len: usize,
    },
}

impl Patch {
    pub(super) fn write(path: &str, offset: usize, bytes: Vec<u8>) -> Patch {
        Patch { path: path.to_owned(), change: Change::Write { offset, bytes } }
    }

    pub(super) fn resize(path: &str, len: usize) -> Patch {
        Patch { path: path.to_owned(), change: Change::Resize { len } }
    }

    /// A change of a file that is not there, or beyond the end of one that was cut before, does
    /// nothing.
    fn apply(&self, disk: &SimDisk, lengths: &mut BTreeMap<String, usize>) {
        let Some(length) = lengths.get_mut(&self.path) else { return };
        match &self.change {
            Change::Write { offset, bytes } => {
                let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= *length);
                if fits && !bytes.is_empty() {
                    let damage = Corruption::Bytes(bytes.clone());
                    disk.corrupt(&self.path, *offset as u64, damage);
                }
            }
            Change::Resize { len } => {
                let mut content = disk.read_file(&self.path).expect("it has a length");
                *length = (*len).min(length.saturating_add(GROWTH_BYTES_MAX));
                content.resize(*length, 0);
                disk.write_file(&self.path, &content);
            }
        }
    }

    /// The page of this file that a write begins at.
    pub(super) fn page(&self, path: &str, page_bytes: usize) -> Option<u64> {
        match &self.change {
            Change::Write { offset, .. } if self.path == path => Some((offset / page_bytes) as u64),
            _ => None,
        }
    }
}

/// Damages a copy of the store's disk.
pub(super) fn apply(patches: &[Patch], store: &Store, disk: &SimDisk) {
    let lengths = store.files.iter().map(|(path, bytes)| (path.clone(), bytes.len()));
    let mut lengths = lengths.collect();
    patches.iter().for_each(|patch| patch.apply(disk, &mut lengths));
}

/// Kind, length of the path, path, offset or length of the file, length of the bytes, bytes.
pub(super) fn encode(patches: &[Patch]) -> Vec<u8> {
    let mut out = Vec::new();
    for patch in patches {
        let (kind, number, bytes) = match &patch.change {
            Change::Write { offset, bytes } => (WRITE, *offset, bytes.as_slice()),
            Change::Resize { len } => (RESIZE, *len, &[][..]),
        };
        out.extend([kind, patch.path.len() as u8]);
        out.extend(patch.path.as_bytes());
        out.extend((number as u64).to_le_bytes());
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out
}

/// As many patches as are whole.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<Patch> {
    let mut patches = Vec::new();
    while let Some((patch, rest)) = decode_one(bytes) {
        patches.push(patch);
        bytes = rest;
    }
    patches
}

fn decode_one(bytes: &[u8]) -> Option<(Patch, &[u8])> {
    let (&[kind, path_len], rest) = bytes.split_first_chunk()?;
    let (path, rest) = rest.split_at_checked(path_len.into())?;
    let (number, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let path = String::from_utf8(path.to_vec()).ok()?;
    let number = usize::try_from(u64::from_le_bytes(*number)).ok()?;
    let change = match kind {
        WRITE => Change::Write { offset: number, bytes: bytes.to_vec() },
        RESIZE => Change::Resize { len: number },
        _ => return None,
    };
    Some((Patch { path, change }, rest))
}
