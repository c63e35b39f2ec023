//! The recording disk: one file of a FUSE file system that this process serves. It lists every
//! write and flush in the order in which it took them, and fails those it is told to fail.
//!
//! Its one thread never touches what is mounted on it, and handles one request after the other:
//! so a write that was answered stands before every later request in the list, and a flush covers
//! exactly the writes before it.

#[cfg(test)]
mod tests;

use super::image::Image;
use super::states;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};
use sombra_sim::random::mix;
use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// The file's name below the mount point.
pub(super) const FILE_NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
/// Longest write that the kernel hands over in one request.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Nothing about the file changes while it is served.
const ATTRIBUTES_KEPT: Duration = Duration::from_secs(3_600);

/// What the disk was asked to do and did.
#[derive(Clone)]
pub(super) enum Op {
    Write { offset: u64, bytes: Arc<[u8]> },
    Flush,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Write,
    Flush,
}

/// Which request gets EIO for an answer, counted from the moment at which this is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Requests of that kind that still go well.
    pub(super) after: u64,
    /// All later ones fail too, until the fault is taken away.
    pub(super) lasts: bool,
    /// What a flush that fails leaves of the writes that it was to make durable.
    pub(super) unflushed: Unflushed,
}

/// What becomes of writes whose flush failed: the disk's cache has lost them, and nobody writes
/// them again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unflushed {
    /// Each has a fate of its own, and the flush is answered by EIO.
    Scattered { seed: u64 },
    /// Negative control: all are lost, and the flush is answered as if it had gone well.
    LostAndDenied,
}

#[derive(Default)]
struct State {
    image: Image,
    ops: Vec<Op>,
    is_recording: bool,
    written_bytes: u64,
    fault: Option<Fault>,
    failed: u64,
    /// While a flush may fail: what was durable, and what was written since.
    durable: Option<Image>,
    since: Vec<(u64, Arc<[u8]>)>,
}

impl State {
    /// Takes a write; false when it fails.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        if self.fails(Kind::Write) {
            return false;
        }
        self.image.write(offset, bytes);
        self.written_bytes += bytes.len() as u64;
        if self.durable.is_some() {
            self.since.push((offset, bytes.into()));
        }
        if self.is_recording {
            self.ops.push(Op::Write { offset, bytes: bytes.into() });
        }
        true
    }

    /// Flushes; false when the answer is an error.
    fn flush(&mut self) -> bool {
        let unflushed = self.fault.map(|fault| fault.unflushed);
        let is_failed = self.fails(Kind::Flush);
        if let (true, Some(durable), Some(unflushed)) = (is_failed, &self.durable, unflushed) {
            self.image = durable.clone();
            if let Unflushed::Scattered { seed } = unflushed {
                let seed = mix(seed ^ self.failed);
                for (at, (offset, bytes)) in (0..).zip(&self.since) {
                    states::write_by_fate(&mut self.image, (*offset, bytes), (at, seed));
                }
            }
        }
        if self.durable.is_some() {
            self.durable = Some(self.image.clone());
            self.since.clear();
        }
        if is_failed {
            return unflushed == Some(Unflushed::LostAndDenied);
        }
        if self.is_recording {
            self.ops.push(Op::Flush);
        }
        true
    }

    fn set_fault(&mut self, fault: Option<Fault>) -> u64 {
        self.fault = fault;
        let may_fail = fault.is_some_and(|fault| fault.kind == Kind::Flush);
        // What was written before counts as durable: one flush more than there was.
        self.durable = may_fail.then(|| self.image.clone());
        self.since.clear();
        std::mem::take(&mut self.failed)
    }

    /// Whether this request fails.
    fn fails(&mut self, kind: Kind) -> bool {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.kind == kind) else {
            return false;
        };
        if fault.after > 0 {
            fault.after -= 1;
            return false;
        }
        if !fault.lasts {
            self.fault = None;
        }
        self.failed += 1;
        true
    }
}

/// The disk as its owner sees it.
#[derive(Clone)]
pub(super) struct Device {
    state: Arc<Mutex<State>>,
    size_bytes: u64,
}

impl Device {
    pub(super) fn new(size_bytes: u64) -> Device {
        Device { state: Arc::default(), size_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other contents in, while nobody has the disk attached.
    pub(super) fn load(&self, image: Image) {
        self.state().image = image;
    }

    pub(super) fn image(&self) -> Image {
        self.state().image.clone()
    }

    pub(super) fn record(&self) {
        self.state().is_recording = true;
    }

    /// Ends the recording and gives it away.
    pub(super) fn recorded(&self) -> Vec<Op> {
        let mut state = self.state();
        state.is_recording = false;
        std::mem::take(&mut state.ops)
    }

    /// Writes and flushes recorded so far.
    pub(super) fn position(&self) -> u64 {
        self.state().ops.len() as u64
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.state().written_bytes
    }

    /// Sets or takes away a fault; gives how many requests failed by earlier ones.
    pub(super) fn set_fault(&self, fault: Option<Fault>) -> u64 {
        self.state().set_fault(fault)
    }

    fn attributes(&self, file: INodeNo) -> FileAttr {
        let is_file = file == FILE;
        FileAttr {
            ino: file,
            size: if is_file { self.size_bytes } else { 0 },
            blocks: if is_file { self.size_bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

/// The disk as the kernel sees it.
impl Filesystem for Device {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Both only make it faster: a kernel that refuses them is served all the same.
        let _refused = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _nearest = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == FILE_NAME {
            reply.entry(&ATTRIBUTES_KEPT, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        file: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        reply.attr(&ATTRIBUTES_KEPT, &self.attributes(file));
    }

    fn open(&self, _request: &Request, _file: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        if state.fails(Kind::Read) {
            return reply.error(Errno::EIO);
        }
        let rest = self.size_bytes.saturating_sub(offset);
        let bytes = state.image.read(offset, u64::from(size).min(rest) as usize);
        drop(state);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if !self.state().write(offset, bytes) {
            return reply.error(Errno::EIO);
        }
        reply.written(bytes.len() as u32);
    }

    /// A `close`, not a flush of the disk.
    fn flush(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        if !self.state().flush() {
            return reply.error(Errno::EIO);
        }
        reply.ok();
    }
}
