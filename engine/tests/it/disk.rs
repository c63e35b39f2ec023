//! A closed store's files from outside: find blocks, damage them, craft them, compare, copy.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sombra::format::log_block::{LogBlockHeader, verify_block_of_store};
use sombra::format::log_record::{LoggedWrite, encode_commit, pad_header};
use sombra::format::segment::{SegmentHeader, locate, segment_file_name};
use sombra::format::superblock::Superblock;
use sombra::format::{BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES};
use sombra::{KeyspaceId, Lsn};

const PAD_BYTES: usize = sombra::format::log_record::RECORD_HEADER_BYTES;

/// A valid log block and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) header: LogBlockHeader,
    pub(crate) payload: Vec<u8>,
}

impl Block {
    /// Whether it holds more than padding: a stamp is the smallest pad before the sealing one.
    pub(crate) fn holds_records(&self) -> bool {
        self.header.first_record != Some(0) || usize::from(self.header.used_bytes) > PAD_BYTES
    }

    /// The block as it would be with another header or payload, checksum included.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        [&self.header.seal(&self.payload)[..], &self.payload].concat()
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        patch(&self.path, self.offset, bytes);
    }

    pub(crate) fn erase(&self) {
        self.write(&[0; BLOCK_SIZE_BYTES]);
    }

    /// What a power cut can leave of it: the first sectors of the write, and old bytes behind.
    pub(crate) fn tear(&self) {
        patch(&self.path, self.offset + 1024, &[0x5A; BLOCK_SIZE_BYTES - 1024]);
    }

    /// One flipped bit in the middle of the payload.
    pub(crate) fn rot(&self) {
        let mut bytes = self.sealed();
        bytes[BLOCK_HEADER_BYTES + 9] ^= 0x10;
        self.write(&bytes);
    }
}

pub(crate) fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

pub(crate) fn set_len(path: &Path, len_bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len_bytes).unwrap();
}

/// Copy A of a store's superblock, which after a clean opening says what copy B says.
pub(crate) fn superblock(store: &Path) -> Superblock {
    Superblock::decode(&fs::read(store.join("superblock")).unwrap()).unwrap()
}

/// The segment files, in the order of their numbers.
pub(crate) fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("wal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}

/// All valid blocks of the store, in the order of incarnation and position.
pub(crate) fn blocks(store: &Path) -> Vec<Block> {
    let store_id = superblock(store).store_id;
    let mut blocks = Vec::new();
    for path in segments(store) {
        let bytes = fs::read(&path).unwrap();
        for (index, block) in bytes.chunks_exact(BLOCK_SIZE_BYTES).enumerate().skip(1) {
            if let Ok(valid) = verify_block_of_store(block, store_id) {
                let offset = (index * BLOCK_SIZE_BYTES) as u64;
                let payload = valid.payload.to_vec();
                blocks.push(Block { path: path.clone(), offset, header: valid.header, payload });
            }
        }
    }
    blocks.sort_by_key(|block| (block.header.incarnation, block.header.first_lsn));
    blocks
}

/// The blocks of the newest incarnation, split behind the last one that holds a record.
pub(crate) fn newest_blocks(store: &Path) -> (Vec<Block>, Vec<Block>) {
    let mut blocks = blocks(store);
    let newest = superblock(store).links.last().unwrap().incarnation;
    blocks.retain(|block| block.header.incarnation == newest);
    let last = blocks.iter().rposition(Block::holds_records).unwrap();
    let stamps = blocks.split_off(last + 1);
    (blocks, stamps)
}

/// Takes the stamps away: as if the crash had come before the log went idle.
pub(crate) fn erase_stamps(store: &Path) {
    newest_blocks(store).1.iter().for_each(Block::erase);
}

/// A block with one commit of one write, placed `blocks_behind` blocks behind `last`.
pub(crate) fn crafted_commit(
    last: &Block,
    blocks_behind: u64,
    durable: Lsn,
    (keyspace, key): (KeyspaceId, &str),
) -> Block {
    let mut payload = Vec::new();
    let write = LoggedWrite { keyspace, key: key.as_bytes(), value: Some(b"crafted") };
    encode_commit(&mut payload, 1, [write]).unwrap();
    let used_bytes = payload.len() as u16;
    let rest = BLOCK_PAYLOAD_BYTES - payload.len();
    payload.extend_from_slice(&pad_header(rest as u32));
    payload.resize(BLOCK_PAYLOAD_BYTES, 0);
    let position = last.header.first_lsn.as_u64() + blocks_behind * BLOCK_PAYLOAD_BYTES as u64;
    let first_lsn = Lsn::new(position);
    let header =
        LogBlockHeader { first_lsn, durable, used_bytes, first_record: Some(0), ..last.header };
    let offset = last.offset + blocks_behind * BLOCK_SIZE_BYTES as u64;
    Block { path: last.path.clone(), offset, header, payload }
}

/// The file of the segment after the one that holds `block`, made if it was not prepared yet.
pub(crate) fn next_segment(store: &Path, block: &Block) -> PathBuf {
    let superblock = superblock(store);
    let segment_bytes = superblock.segment_bytes;
    let number = locate(block.header.first_lsn, segment_bytes).segment_number + 1;
    let path = store.join("wal").join(segment_file_name(number));
    if !path.exists() {
        let (store_id, incarnation) = (superblock.store_id, block.header.incarnation);
        let link = None;
        let header =
            SegmentHeader { store_id, segment_number: number, segment_bytes, incarnation, link };
        fs::write(&path, header.encode()).unwrap();
        set_len(&path, segment_bytes);
    }
    path
}

/// The bytes of everything that an opening which refuses must leave alone.
pub(crate) fn contents(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut paths = Vec::new();
    for dir in [store.to_owned(), store.join("wal")] {
        if let Ok(entries) = fs::read_dir(dir) {
            paths.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    let read = |path: PathBuf| fs::read(&path).ok().map(|bytes| (path, bytes));
    paths.into_iter().filter_map(read).collect()
}

/// Panics with the names of the files that differ.
pub(crate) fn assert_same(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = before.keys().chain(after.keys());
    let changed: Vec<&PathBuf> = names.filter(|n| before.get(*n) != after.get(*n)).collect();
    assert!(changed.is_empty(), "the opening changed {changed:?}");
}

/// Copies a store as a kill would leave it: no lock, what is written by now, nothing more.
/// Whatever was acknowledged before must be in the copy. For stores too small to have their log
/// truncated meanwhile: the files are copied one after the other.
pub(crate) fn copy_as_killed(store: &Path, to: &Path) {
    fs::create_dir_all(to.join("wal")).unwrap();
    for name in ["superblock", "pages.sombra"] {
        fs::copy(store.join(name), to.join(name)).unwrap();
    }
    for entry in fs::read_dir(store.join("wal")).unwrap() {
        let from = entry.unwrap().path();
        match fs::copy(&from, to.join("wal").join(from.file_name().unwrap())) {
            Ok(_) => {}
            // A segment under preparation got its name meanwhile: nothing lies in it yet.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
}

/// Bytes of all files in `wal/`.
pub(crate) fn log_bytes(store: &Path) -> u64 {
    let entries = fs::read_dir(store.join("wal")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
