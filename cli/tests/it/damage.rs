//! Stores that are damaged on purpose, copied from one that is whole, and what was in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::log_block::{LogBlockHeader, verify_block_of_store};
use sombra::format::superblock::Superblock;
use sombra::inspect::{self, LogChange, LogEntry};
use sombra::{Db, Options};

use crate::harness::Scratch;
use crate::trees::{contents, runtime, tree_store};

/// Rows that are written last, each in a log block of its own, and only in the log.
pub(crate) const LATE_ROWS: u32 = 30;

/// Values by keyspace and key.
pub(crate) type Contents = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// A whole store, what it holds, and what its log says of it.
pub(crate) struct Original {
    scratch: Scratch,
    store: String,
    pub(crate) contents: Contents,
    pub(crate) log: Vec<LogEntry>,
    copies: u32,
}

impl Original {
    pub(crate) fn new() -> Original {
        let scratch = Scratch::new();
        let store = tree_store(&scratch);
        write_late_rows(&store);
        let mut original =
            Original { scratch, store, contents: Contents::new(), log: Vec::new(), copies: 0 };
        let copy = original.copy();
        original.contents = contents_of(&copy);
        original.log = log_of(&original.store);
        original
    }

    /// A copy to damage.
    pub(crate) fn copy(&mut self) -> String {
        self.copies += 1;
        let to = self.scratch.join(&format!("copy-{}", self.copies));
        fs::create_dir_all(Path::new(&to).join("wal")).unwrap();
        for dir in ["", "wal"] {
            for entry in fs::read_dir(Path::new(&self.store).join(dir)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let to = Path::new(&to).join(dir).join(entry.file_name());
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
        to
    }

    /// A place for a new store.
    pub(crate) fn place(&mut self) -> String {
        self.copies += 1;
        self.scratch.join(&format!("new-{}", self.copies))
    }

    pub(crate) fn keyspace_id(&self, name: &str) -> u32 {
        match name {
            "ranges" => 1,
            "hashes" => 2,
            other => panic!("keyspace {other:?}"),
        }
    }
}

fn write_late_rows(store: &str) {
    let runtime = runtime();
    let options = Options { metrics_file: false, ..Default::default() };
    let db = runtime.block_on(Db::open(&runtime, store, options)).unwrap();
    for number in 0..LATE_ROWS {
        let transaction = db.blocking().begin().unwrap();
        for name in ["ranges", "hashes"] {
            let keyspace = db.keyspace(name).unwrap();
            transaction.put(&keyspace, format!("late-{number:02}"), format!("v{number}")).unwrap();
        }
        transaction.commit().unwrap();
    }
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
}

pub(crate) fn contents_of(store: &str) -> Contents {
    let keyspaces = contents(store).into_iter();
    let rows = keyspaces.flat_map(|(name, _, rows)| {
        rows.into_iter().map(move |(key, value)| ((name.clone(), key), value))
    });
    rows.collect()
}

fn log_of(store: &str) -> Vec<LogEntry> {
    let runtime = runtime();
    let entries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&entries);
    let visit = move |entry| seen.lock().unwrap().push(entry);
    let read = inspect::log(&runtime, Path::new(store), None, visit);
    runtime.block_on(read).unwrap();
    runtime.shutdown();
    let entries = entries.lock().unwrap();
    entries.clone()
}

/// Every write of the log with its LSN: keyspace id and key.
pub(crate) fn logged_writes(log: &[LogEntry]) -> Vec<(u64, u32, Vec<u8>)> {
    let mut writes = Vec::new();
    for entry in log {
        if let LogChange::Commit { writes: own } = &entry.change {
            let lsn = entry.lsn.as_u64();
            let own = own.iter().map(|write| (lsn, write.keyspace.as_u32(), write.key.clone()));
            writes.extend(own);
        }
    }
    writes
}

/// A valid log block with records and where it lies.
pub(crate) struct Block {
    pub(crate) path: PathBuf,
    offset: u64,
    header: LogBlockHeader,
}

impl Block {
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, self.offset + at).unwrap();
    }
}

/// The blocks of the newest opening that hold records, in their order.
pub(crate) fn newest_blocks(store: &str) -> Vec<Block> {
    let superblock = fs::read(Path::new(store).join("superblock")).unwrap();
    let superblock = Superblock::decode(&superblock).unwrap();
    let newest = superblock.links.last().unwrap().incarnation;
    let mut blocks = Vec::new();
    for entry in fs::read_dir(Path::new(store).join("wal")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for (index, block) in bytes.chunks_exact(BLOCK_SIZE_BYTES).enumerate().skip(1) {
            let Ok(valid) = verify_block_of_store(block, superblock.store_id) else { continue };
            let header = valid.header;
            if header.incarnation == newest && header.used_bytes > 8 {
                let offset = (index * BLOCK_SIZE_BYTES) as u64;
                blocks.push(Block { path: path.clone(), offset, header });
            }
        }
    }
    blocks.sort_by_key(|block| block.header.first_lsn);
    assert!(blocks.len() >= LATE_ROWS as usize, "{} blocks", blocks.len());
    blocks
}

/// Flips a bit of a file.
pub(crate) fn flip_byte(path: &str, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}
