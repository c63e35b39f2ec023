//! Path operations of the simulated disk, and what it reports about itself.

use super::Fault;
use super::chunk::{CHUNK_SIZE_BYTES, OpId};
use super::content::Payload;
use super::device::{Device, Handle};
use super::fault::refuse;
use super::namespace::{Errno, FileId, Node};
use super::request::{Answer, Request};
use crate::file::{Create, DirEntry, DiskInfo, LockKind, OpenHow};

impl Device {
    pub(super) fn take_path_effect(
        &mut self,
        op: OpId,
        request: &Request,
        fault: Option<Fault>,
    ) -> Result<Answer, Errno> {
        // A path operation that fails may have happened, when syncing the directory failed.
        if fault.is_some() && self.dice.chance(2) {
            refuse(fault)?;
        }
        let answer = match request {
            Request::Open { path, how } => self.open(op, path, *how),
            Request::List { path } => self.list(path),
            Request::CreateDir { path } => self.names.create_dir(op, path).map(|()| Answer::Unit),
            Request::Rename { from, to } => self.names.rename(op, from, to).map(|()| Answer::Unit),
            Request::Unlink { path } => self.names.unlink(op, path).map(|()| Answer::Unit),
            Request::Exists { path } => self.exists(path),
            Request::Lock { path, kind } => refuse(fault).and_then(|()| self.lock(op, path, *kind)),
            Request::Replace { path, content } => self.replace(op, path, content),
            Request::Refused { errno } => Err(*errno),
            _ => panic!("not a path operation"),
        };
        self.counters.path_ops += 1;
        refuse(fault)?;
        answer
    }

    fn open(&mut self, op: OpId, path: &str, how: OpenHow) -> Result<Answer, Errno> {
        let file = match self.names.file(path) {
            Ok(_) | Err(libc::EISDIR) if how.create == Create::New => return Err(libc::EEXIST),
            Ok(file) => file,
            Err(libc::ENOENT) if how.create != Create::No => self.create(op, path)?,
            Err(errno) => return Err(errno),
        };
        self.handles.push(Handle { file, how });
        let handle = u64::from(self.epoch) << 32 | (self.handles.len() as u64 - 1);
        Ok(Answer::Handle { handle, alignment_bytes: self.options.dio_alignment_bytes })
    }

    fn create(&mut self, op: OpId, path: &str) -> Result<FileId, Errno> {
        let file = FileId(self.number());
        self.names.bind(op, path, Node::File(file))?;
        self.new_body(file);
        Ok(file)
    }

    fn exists(&self, path: &str) -> Result<Answer, Errno> {
        let found = self.names.get(path).is_some();
        match self.names.missing(path) {
            errno if !found && errno != libc::ENOENT => Err(errno),
            _ => Ok(Answer::Bool(found)),
        }
    }

    fn list(&self, path: &str) -> Result<Answer, Errno> {
        let entry = |(name, node)| match node {
            Node::Dir => DirEntry { name, len_bytes: 0, is_dir: true },
            Node::File(file) => {
                let len_bytes = self.bodies.get(&file).map_or(0, |body| body.len_bytes());
                DirEntry { name, len_bytes, is_dir: false }
            }
        };
        Ok(Answer::Dir(self.names.list(path)?.into_iter().map(entry).collect()))
    }

    fn lock(&mut self, op: OpId, path: &str, kind: LockKind) -> Result<Answer, Errno> {
        let number = self.number();
        let file = match self.names.file(path) {
            Ok(file) => file,
            Err(libc::ENOENT) => self.create(op, path)?,
            // A directory can be opened for reading, so nobody ever holds one exclusively.
            Err(libc::EISDIR) if kind == LockKind::Shared => return Ok(Answer::Lock { number }),
            Err(errno) => return Err(errno),
        };
        let holders = self.locks.entry(file).or_default();
        let is_shared = |held: &LockKind| *held == LockKind::Shared && kind == LockKind::Shared;
        if !holders.values().all(is_shared) {
            return Err(libc::EWOULDBLOCK);
        }
        holders.insert(number, kind);
        Ok(Answer::Lock { number })
    }

    pub(super) fn unlock(&mut self, number: u64) {
        for holders in self.locks.values_mut() {
            holders.remove(&number);
        }
    }

    /// A new file under the old name, by a temporary one that nobody sees here.
    fn replace(&mut self, op: OpId, path: &str, content: &[u8]) -> Result<Answer, Errno> {
        if self.names.get(path) == Some(Node::Dir) {
            return Err(libc::EISDIR);
        }
        let file = self.create(op, path)?;
        self.body(file).write(op, 0, &Payload::Bytes(content.into()));
        Ok(Answer::Unit)
    }

    /// Bytes that the files with names take, in whole chunks; holes count as written.
    fn used_bytes(&self, except: Option<FileId>) -> u64 {
        let counts = |file: FileId| Some(file) != except && self.names.refers_to(file);
        let named = self.bodies.iter().filter(|(file, _)| counts(**file));
        named.map(|(_, body)| allocated(body.len_bytes())).sum()
    }

    pub(super) fn check_space(&mut self, file: FileId, end: u64) -> Result<(), Errno> {
        let capacity = self.options.capacity_bytes;
        if end <= self.body(file).len_bytes() {
            return Ok(());
        }
        if end > i64::MAX as u64 {
            return Err(libc::EFBIG);
        }
        let fits = capacity == u64::MAX || self.used_bytes(Some(file)) + allocated(end) <= capacity;
        if fits { Ok(()) } else { Err(libc::ENOSPC) }
    }

    pub(super) fn info(&self) -> DiskInfo {
        DiskInfo {
            identity: self.options.identity.clone(),
            write_cache: self.options.write_cache,
            free_bytes: match self.options.capacity_bytes {
                u64::MAX => 1 << 40,
                capacity => capacity.saturating_sub(self.used_bytes(None)),
            },
            dio_alignment_bytes: self.options.dio_alignment_bytes,
            is_block_device: false,
        }
    }
}

fn allocated(len_bytes: u64) -> u64 {
    len_bytes.next_multiple_of(CHUNK_SIZE_BYTES as u64)
}
