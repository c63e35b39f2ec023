//! A script's steps and their outcomes as text.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sombra_runtime::{DmaFile, FileLock, FlushVia, IoClass, OpenHow, Shard, WriteMode};

use crate::harness::pattern;

/// Files and locks are kept in numbered slots; a path is relative to the script's own directory.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open { slot: u8, path: String, how: OpenHow },
    Close { slot: u8 },
    Write { slot: u8, offset: u64, len: usize, pattern: u64, mode: WriteMode },
    Read { slot: u8, offset: u64, len: usize },
    ReadAll { slot: u8 },
    SetLen { slot: u8, len: u64 },
    Zeroes { slot: u8, offset: u64, len: u64 },
    Trim { slot: u8, from: u64, to: u64 },
    Allocate { slot: u8, from: u64, to: u64 },
    Flush { slot: u8, via: FlushVia },
    DropCache { slot: u8 },
    Info { slot: u8 },
    CreateDir { path: String },
    Rename { from: String, to: String },
    Unlink { path: String },
    Exists { path: String },
    List { path: String },
    Replace { path: String, len: usize, pattern: u64 },
    LockExclusive { slot: u8, path: String },
    LockShared { slot: u8, path: String },
    Unlock { slot: u8 },
}

struct Machine<'a> {
    shard: &'a Shard,
    root: &'a Path,
    files: BTreeMap<u8, DmaFile>,
    locks: BTreeMap<u8, FileLock>,
}

/// Carries the steps out one after the other; one line each.
pub(super) async fn transcript(shard: &Shard, root: &Path, steps: &[Step]) -> Vec<String> {
    let mut machine = Machine { shard, root, files: BTreeMap::new(), locks: BTreeMap::new() };
    let mut lines = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let outcome = machine.take(step).await.unwrap_or_else(|error| name_of(&error));
        lines.push(format!("{number}: {step:?} -> {outcome}"));
    }
    lines
}

fn name_of(error: &io::Error) -> String {
    match (format!("{:?}", error.kind()), error.raw_os_error()) {
        (kind, Some(errno)) if kind == "Uncategorized" => format!("Uncategorized({errno})"),
        (kind, _) => kind,
    }
}

/// Length, sum and runs: enough to tell two contents apart and to see how.
fn describe(bytes: &[u8]) -> String {
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    let zeroes = bytes.iter().filter(|byte| **byte == 0).count();
    format!("{} bytes, {zeroes} of them zero, sum {sum:016x}", bytes.len())
}

impl Machine<'_> {
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.to_owned() } else { self.root.join(path) }
    }

    async fn take(&mut self, step: &Step) -> io::Result<String> {
        let done = |()| "done".to_owned();
        let shard = self.shard;
        let path = |path: &String| self.path(path);
        match step {
            Step::Open { slot, path: name, how } => {
                let opened = shard.open(&path(name), *how).await;
                self.files.remove(slot);
                let file = opened?;
                let kind = if file.is_direct() { "direct" } else { "buffered" };
                self.files.insert(*slot, file);
                Ok(kind.to_owned())
            }
            Step::Close { slot } => Ok(format!("was open: {}", self.files.remove(slot).is_some())),
            Step::CreateDir { path: name } => shard.create_dir(&path(name)).await.map(done),
            Step::Rename { from, to } => shard.rename(&path(from), &path(to)).await.map(done),
            Step::Unlink { path: name } => shard.unlink(&path(name)).await.map(done),
            Step::Exists { path: name } => Ok(shard.path_exists(&path(name)).await?.to_string()),
            Step::List { path: name } => {
                let entries = shard.list_dir(&path(name)).await?;
                let show = |entry: &sombra_runtime::DirEntry| match entry.is_dir {
                    true => format!("{}/", entry.name),
                    false => format!("{} {}", entry.name, entry.len_bytes),
                };
                Ok(format!("{:?}", entries.iter().map(show).collect::<Vec<_>>()))
            }
            Step::Replace { path: name, len, pattern: seed } => {
                shard.replace_file(&path(name), pattern(*len, *seed)).await.map(done)
            }
            Step::LockExclusive { slot, path: name } => {
                let lock = shard.lock_exclusive(&path(name)).await?;
                Ok(format!("held before: {}", self.locks.insert(*slot, lock).is_some()))
            }
            Step::LockShared { slot, path: name } => {
                let lock = shard.lock_shared(&path(name)).await?;
                Ok(format!("held before: {}", self.locks.insert(*slot, lock).is_some()))
            }
            Step::Unlock { slot } => Ok(format!("was held: {}", self.locks.remove(slot).is_some())),
            about_a_file => self.take_on_file(about_a_file).await,
        }
    }

    async fn take_on_file(&self, step: &Step) -> io::Result<String> {
        let done = |()| "done".to_owned();
        let shard = self.shard;
        let (Step::Write { slot, .. }
        | Step::Read { slot, .. }
        | Step::ReadAll { slot }
        | Step::SetLen { slot, .. }
        | Step::Zeroes { slot, .. }
        | Step::Trim { slot, .. }
        | Step::Allocate { slot, .. }
        | Step::Flush { slot, .. }
        | Step::DropCache { slot }
        | Step::Info { slot }) = step
        else {
            panic!("{step:?} is not about an open file")
        };
        let Some(file) = self.files.get(slot) else { return Ok("no file".to_owned()) };
        let changed = match step {
            Step::Write { offset, len, pattern: seed, mode, .. } => {
                let mut buf = shard.alloc_buffer(*len);
                buf.copy_from_slice(&pattern(*len, *seed));
                let class = IoClass::Log;
                shard.write_all_at(file, class, *offset, buf.into(), *mode).await.map(drop)
            }
            Step::Read { offset, len, .. } => return self.read(file, *offset, *len).await,
            Step::ReadAll { .. } => {
                let len = shard.file_len(file).await? + 4096;
                let len = len.next_multiple_of(4096) as usize;
                return self.read(file, 0, len).await;
            }
            Step::SetLen { len, .. } => shard.set_len(file, *len).await,
            Step::Zeroes { .. } if file.is_direct() => return Ok("not on this file".to_owned()),
            Step::Zeroes { offset, len, .. } => shard.write_zeroes(file, *offset, *len).await,
            Step::Trim { from, to, .. } => shard.trim(file, IoClass::Merge, *from..*to).await,
            Step::Allocate { from, to, .. } => shard.allocate(file, *from..*to).await,
            Step::Flush { via, .. } => shard.flush(file, *via).await,
            Step::DropCache { .. } => shard.drop_cache(file).await,
            _ => {
                let info = shard.disk_info(file).await?;
                let unit = info.dio_alignment_bytes;
                let makes_sense = unit.is_power_of_two()
                    && unit <= 4096
                    && info.free_bytes > 0
                    && !info.identity.is_empty();
                return Ok(format!("{makes_sense}, block device: {}", info.is_block_device));
            }
        };
        changed.map(done)?;
        Ok(format!("done, {} bytes long", shard.file_len(file).await?))
    }

    async fn read(&self, file: &DmaFile, offset: u64, len: usize) -> io::Result<String> {
        let buf = self.shard.alloc_buffer(len);
        let (buf, count) = self.shard.read_at(file, IoClass::Read, offset, buf).await?;
        Ok(describe(&buf[..count]))
    }
}
