//! The blocks of a store's log that an opening must read, and which of them are proven to have been
//! whole. The process that reads them is not the one that serves the disk: one side here tells
//! the other.

#[cfg(test)]
mod tests;

use crate::Failure;
use sombra::format::segment::{block_start, locate, segment_file_name};
use sombra::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES, IncarnationLink};
use sombra::{Lsn, inspect};
use sombra_runtime::{Runtime, RuntimeOptions};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Before the bytes of a block that is proven, and of one that is not.
const PROVEN: u8 = b'p';
const UNPROVEN: u8 = b'u';

pub(super) struct LiveBlock {
    /// A later block, or a later opening, says that it was durable: an opening must refuse the
    /// store when it is not whole. Without this it looks like a torn write, and the log ends.
    pub(super) is_proven: bool,
    pub(super) bytes: Vec<u8>,
}

/// Has the blocks read by a process of its own.
pub(super) fn ask(store: &Path) -> Result<Vec<LiveBlock>, Failure> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new(own);
    command.args(["powercut-check", "--live-log", "--store"]).arg(store);
    let output = command.output().map_err(|error| format!("cannot start the reader: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let told = output.stdout.chunks_exact(1 + BLOCK_SIZE_BYTES);
    let block = |told: &[u8]| LiveBlock { is_proven: told[0] == PROVEN, bytes: told[1..].to_vec() };
    Ok(told.map(block).collect())
}

/// Writes the blocks of the store, which nobody has open, to standard output.
pub(in crate::powercut) fn tell(store: &Path) -> Result<(), Failure> {
    let marks = look(store)?;
    let mut out = std::io::stdout().lock();
    for (lsn, is_proven) in live_blocks(&marks) {
        let place = locate(lsn, marks.segment_bytes);
        let path = store.join("wal").join(segment_file_name(place.segment_number));
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut told = vec![if is_proven { PROVEN } else { UNPROVEN }; 1 + BLOCK_SIZE_BYTES];
        let file = File::open(&path).map_err(failed)?;
        file.read_exact_at(&mut told[1..], place.block_offset_bytes()).map_err(failed)?;
        out.write_all(&told).map_err(|error| format!("standard output: {error}"))?;
    }
    Ok(())
}

/// What decides which part of a log is read, and what damage of it proves.
struct Marks {
    links: Vec<IncarnationLink>,
    segment_bytes: u64,
    replay_from: Lsn,
    end: Lsn,
    newest_stamp: Lsn,
}

fn look(store: &Path) -> Result<Marks, Failure> {
    let options = RuntimeOptions { shards: 1, pin: false, ..RuntimeOptions::default() };
    let runtime = Runtime::start(options).map_err(|error| format!("reader: {error}"))?;
    let looked = runtime.block_on(async {
        let checked = inspect::check(&runtime, store, |_, _| ()).await?;
        let log = inspect::log(&runtime, store, None, |_| ()).await?;
        Ok::<_, sombra::OpenError>((checked, log, inspect::superblock(&runtime, store).await?))
    });
    runtime.shutdown();
    let (checked, log, superblock) = looked.map_err(|error| format!("reader: {error}"))?;
    let copies = [superblock.copy_a, superblock.copy_b].into_iter().flatten();
    let newest = copies.max_by_key(|copy| copy.generation);
    let newest = newest.ok_or("no copy of the superblock is whole")?;
    Ok(Marks {
        links: newest.links,
        segment_bytes: newest.segment_bytes,
        replay_from: checked.replay_from,
        end: log.end,
        newest_stamp: log.newest_stamp,
    })
}

/// The first LSN of each block that is read, and whether it is proven. An opening ends where the
/// next one's link says; the newest is proven up to its newest stamp, which a later block carries.
fn live_blocks(marks: &Marks) -> Vec<(Lsn, bool)> {
    let mut blocks = Vec::new();
    for (index, link) in marks.links.iter().enumerate() {
        let next = marks.links.get(index + 1);
        let limit = next.map_or(marks.end, |next| next.previous_end);
        let start = link.new_start.max(marks.replay_from);
        let mut at = block_start(start);
        while start < limit && at < limit {
            blocks.push((at, next.is_some() || at < marks.newest_stamp));
            at = Lsn::new(at.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
        }
    }
    blocks
}
