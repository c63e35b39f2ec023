mod lock;

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::ids::ShardId;
use crate::runtime::Runtime;

pub use lock::FileLock;
pub(crate) use lock::LockKind;

/// What an operation is for. Each class is counted, and a full ring takes them in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IoClass {
    Log,
    Read,
    Evict,
    Merge,
    Maintenance,
}

pub(crate) const IO_CLASS_COUNT: usize = 5;

impl IoClass {
    pub const ALL: [IoClass; IO_CLASS_COUNT] =
        [IoClass::Log, IoClass::Read, IoClass::Evict, IoClass::Merge, IoClass::Maintenance];

    pub const fn name(self) -> &'static str {
        match self {
            IoClass::Log => "log",
            IoClass::Read => "read",
            IoClass::Evict => "evict",
            IoClass::Merge => "merge",
            IoClass::Maintenance => "maintenance",
        }
    }

    pub const fn index(self) -> usize {
        self as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMode {
    /// Durable after a later flush.
    Plain,
    /// Durable when complete (`RWF_DSYNC`).
    Dsync,
    /// As `Dsync`, with all metadata of the file (`RWF_SYNC`).
    Sync,
}

impl WriteMode {
    /// Flags of pwritev2(2).
    pub(crate) const fn rwf_flags(self) -> i32 {
        match self {
            WriteMode::Plain => 0,
            WriteMode::Dsync => libc::RWF_DSYNC,
            WriteMode::Sync => libc::RWF_SYNC,
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn is_durable(self) -> bool {
        !matches!(self, WriteMode::Plain)
    }
}

/// What a flush covers beside the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushScope {
    /// The metadata that reading the data back needs (fdatasync).
    Data,
    /// All metadata of the file (fsync).
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushVia {
    /// The ring's fdatasync, where there is a ring.
    Ring,
    /// fdatasync on a thread of the blocking pool.
    Pool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Create {
    No,
    Yes,
    /// The file must not exist.
    New,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenHow {
    pub read: bool,
    pub write: bool,
    pub create: Create,
    /// O_DIRECT: offsets and lengths must be multiples of the file's alignment.
    pub direct: bool,
    /// Asks for completions by polling the device, which costs CPU and saves the interrupt's
    /// latency. Needs `direct`. Where the kernel or the device cannot, I/O goes on without it:
    /// `DmaFile::is_polled_on` and the runtime's notes tell.
    pub polled: bool,
    /// Of a block device: fails with `ResourceBusy` while it is mounted or somebody else has it
    /// exclusively. Means nothing for a file.
    pub exclusive: bool,
}

impl OpenHow {
    const fn existing(write: bool, direct: bool) -> OpenHow {
        let create = Create::No;
        OpenHow { read: true, write, create, direct, polled: false, exclusive: false }
    }

    pub const fn direct_rw() -> OpenHow {
        OpenHow::existing(true, true)
    }

    pub const fn direct_read() -> OpenHow {
        OpenHow::existing(false, true)
    }

    pub const fn buffered_rw() -> OpenHow {
        OpenHow::existing(true, false)
    }

    pub const fn buffered_read() -> OpenHow {
        OpenHow::existing(false, false)
    }

    /// Holds a block device for as long as the file is open.
    pub const fn exclusive_read() -> OpenHow {
        OpenHow { exclusive: true, ..OpenHow::buffered_read() }
    }

    pub const fn create_new_direct() -> OpenHow {
        OpenHow { create: Create::New, ..OpenHow::direct_rw() }
    }

    pub const fn create_new_buffered() -> OpenHow {
        OpenHow { create: Create::New, ..OpenHow::buffered_rw() }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    pub name: String,
    pub len_bytes: u64,
    pub is_dir: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteCache {
    /// The device says that a completed write is durable.
    WriteThrough,
    WriteBack,
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskInfo {
    /// Device number, and file-system magic or "block device"; a store compares it to notice a
    /// changed device.
    pub identity: String,
    pub write_cache: WriteCache,
    /// What the file may still grow by; 0 for a block device, which cannot grow.
    pub free_bytes: u64,
    pub dio_alignment_bytes: u32,
    pub is_block_device: bool,
}

enum Backing {
    Real(File),
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    Simulated(u64),
}

struct FileInner {
    backing: Backing,
    path: PathBuf,
    direct: bool,
    dio_alignment_bytes: u32,
    /// Unique in the runtime; a ring's table compares it, because addresses are reused.
    number: u64,
    runtime: Runtime,
    /// Per shard: one more than the file's place in that shard's ring table, 0 = none. Each
    /// entry is written by its own shard only.
    ring_slots: Box<[AtomicU32]>,
    /// Per shard, of a file that was opened for polling: what became of it there. Each entry is
    /// written by its own shard only.
    polling: Option<Box<[AtomicU8]>>,
}

/// What polling a file's device has come to on one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum FilePolling {
    /// No bytes were read with it yet.
    Undecided,
    Proven,
    /// Not asked for, or refused by the kernel or the device.
    Off,
    /// Refused after it had seemed proven: its place in a table is one of the polling ring's.
    Withdrawn,
}

impl Drop for FileInner {
    fn drop(&mut self) {
        for (shard, slot) in self.ring_slots.iter().enumerate() {
            if let Some(slot) = slot.load(Ordering::Acquire).checked_sub(1) {
                let shard = ShardId::from_index(shard);
                self.runtime.release_ring_slot(shard, slot, self.number);
            }
        }
    }
}

/// An open file. Clones share it; every shard may use it, and each shard's ring registers it
/// at its first use there.
#[derive(Clone)]
pub struct DmaFile(Arc<FileInner>);

impl DmaFile {
    pub(crate) fn real(
        file: File,
        path: PathBuf,
        alignment: DirectAlignment,
        runtime: &Runtime,
    ) -> DmaFile {
        DmaFile::new(Backing::Real(file), path, alignment, runtime)
    }

    /// A file of the simulated disk, known there by `handle`.
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    pub(crate) fn simulated(
        handle: u64,
        path: PathBuf,
        alignment: DirectAlignment,
        runtime: &Runtime,
    ) -> DmaFile {
        DmaFile::new(Backing::Simulated(handle), path, alignment, runtime)
    }

    fn new(
        backing: Backing,
        path: PathBuf,
        alignment: DirectAlignment,
        runtime: &Runtime,
    ) -> DmaFile {
        let (direct, dio_alignment_bytes) = match alignment {
            DirectAlignment::Buffered => (false, 1),
            DirectAlignment::Direct { bytes } => (true, bytes),
        };
        DmaFile(Arc::new(FileInner {
            backing,
            path,
            direct,
            dio_alignment_bytes,
            number: runtime.next_file_number(),
            runtime: runtime.clone(),
            ring_slots: (0..runtime.shard_count()).map(|_| AtomicU32::new(0)).collect(),
            polling: None,
        }))
    }

    /// The file as one that asks for polling, before any shard has used it.
    pub(crate) fn asking_for_polling(mut self) -> DmaFile {
        let inner = Arc::get_mut(&mut self.0).expect("a file that was just opened has one handle");
        let undecided = || AtomicU8::new(FilePolling::Undecided as u8);
        inner.polling = Some(inner.ring_slots.iter().map(|_| undecided()).collect());
        self
    }

    /// True once bytes were read on that shard by polling the device. A file that was opened
    /// with `OpenHow::polled` is undecided before; a write tells nothing, because a file system
    /// may wait for it by itself. Where polling was refused the file does without for good.
    pub fn is_polled_on(&self, shard: ShardId) -> bool {
        self.polling(shard) == FilePolling::Proven
    }

    pub(crate) fn polling(&self, shard: ShardId) -> FilePolling {
        const KNOWN: [FilePolling; 3] =
            [FilePolling::Undecided, FilePolling::Proven, FilePolling::Withdrawn];
        let Some(states) = &self.0.polling else { return FilePolling::Off };
        let state = states[shard.index()].load(Ordering::Relaxed);
        let is_it = |known: &FilePolling| *known as u8 == state;
        KNOWN.into_iter().find(is_it).unwrap_or(FilePolling::Off)
    }

    pub(crate) fn set_polling(&self, shard: ShardId, state: FilePolling) {
        let states = self.0.polling.as_ref().expect("only a file that asks for it is polled");
        states[shard.index()].store(state as u8, Ordering::Relaxed);
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub fn is_direct(&self) -> bool {
        self.0.direct
    }

    /// Offsets and lengths of direct I/O are multiples of this; 1 for a buffered file.
    pub fn dio_alignment_bytes(&self) -> u32 {
        self.0.dio_alignment_bytes
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn file(&self) -> &File {
        match &self.0.backing {
            Backing::Real(file) => file,
            Backing::Simulated(_) => panic!("a simulated file reached a real driver"),
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }

    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    pub(crate) fn simulated_handle(&self) -> u64 {
        match &self.0.backing {
            Backing::Simulated(handle) => *handle,
            Backing::Real(_) => panic!("a real file reached the simulated driver"),
        }
    }

    pub(crate) fn ring_slot(&self, shard: ShardId) -> Option<u32> {
        self.0.ring_slots[shard.index()].load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn set_ring_slot(&self, shard: ShardId, slot: Option<u32>) {
        let stored = slot.map_or(0, |slot| slot + 1);
        self.0.ring_slots[shard.index()].store(stored, Ordering::Release);
    }

    pub(crate) fn downgrade(&self) -> WeakFile {
        WeakFile(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for DmaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DmaFile").field(&self.0.path).finish()
    }
}

/// How a ring's table knows a file without keeping it open.
pub(crate) struct WeakFile(std::sync::Weak<FileInner>);

impl WeakFile {
    pub(crate) fn upgrade(&self) -> Option<DmaFile> {
        self.0.upgrade().map(DmaFile)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DirectAlignment {
    Buffered,
    Direct { bytes: u32 },
}
