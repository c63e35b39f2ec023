use std::io;
use std::path::PathBuf;

use crate::buffer::{DmaBuf, IoBuf};
use crate::file::{
    DirEntry, DiskInfo, DmaFile, FileLock, FlushScope, FlushVia, LockKind, OpenHow, WriteMode,
};

/// An operation and everything it needs until it completes (INV-8).
pub(crate) enum Op {
    /// Reads the file's bytes from `offset` into `buf[from..from + len]`.
    Read {
        file: DmaFile,
        offset: u64,
        buf: DmaBuf,
        from: usize,
        len: usize,
    },
    /// Writes `buf[from..from + len]` to the file at `offset`.
    Write {
        file: DmaFile,
        offset: u64,
        buf: IoBuf,
        from: usize,
        len: usize,
        mode: WriteMode,
    },
    Flush {
        file: DmaFile,
        via: FlushVia,
        scope: FlushScope,
    },
    /// The bytes are not needed any more and read as zeroes, or, on a device, as anything.
    Trim {
        file: DmaFile,
        offset: u64,
        len: u64,
    },
    Open {
        path: PathBuf,
        how: OpenHow,
    },
    FileLen {
        file: DmaFile,
    },
    SetLen {
        file: DmaFile,
        len: u64,
    },
    /// Reserves the blocks of a range, and makes the file that long.
    Allocate {
        file: DmaFile,
        offset: u64,
        len: u64,
    },
    /// Forgets clean pages of the file in the page cache.
    DropCache {
        file: DmaFile,
    },
    WriteZeroes {
        file: DmaFile,
        offset: u64,
        len: u64,
    },
    ListDir {
        path: PathBuf,
    },
    CreateDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Symlink {
        target: PathBuf,
        path: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Exists {
        path: PathBuf,
    },
    Lock {
        path: PathBuf,
        kind: LockKind,
    },
    ReplaceFile {
        path: PathBuf,
        content: Vec<u8>,
    },
    DiskInfo {
        file: DmaFile,
    },
}

/// Groups of operations that the metrics tell apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OpKind {
    Read,
    Write,
    Flush,
    Trim,
    /// Everything about names, lengths and locks.
    Other,
}

pub(crate) const OP_KIND_COUNT: usize = 5;

impl OpKind {
    pub const ALL: [OpKind; OP_KIND_COUNT] =
        [OpKind::Read, OpKind::Write, OpKind::Flush, OpKind::Trim, OpKind::Other];

    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Read => "read",
            OpKind::Write => "write",
            OpKind::Flush => "flush",
            OpKind::Trim => "trim",
            OpKind::Other => "other",
        }
    }

    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Op {
    #[inline]
    pub(crate) fn kind(&self) -> OpKind {
        match self {
            Op::Read { .. } => OpKind::Read,
            Op::Write { .. } | Op::WriteZeroes { .. } => OpKind::Write,
            Op::Flush { .. } => OpKind::Flush,
            Op::Trim { .. } => OpKind::Trim,
            _ => OpKind::Other,
        }
    }

    /// The buffer, when the operation ends without having looked at it.
    #[inline]
    pub(crate) fn into_buf(self) -> Option<IoBuf> {
        match self {
            Op::Read { buf, .. } => Some(IoBuf::Owned(buf)),
            Op::Write { buf, .. } => Some(buf),
            _ => None,
        }
    }
}

pub(crate) enum OpValue {
    Unit,
    Bytes(usize),
    Len(u64),
    Bool(bool),
    File(DmaFile),
    Dir(Vec<DirEntry>),
    Lock(FileLock),
    Disk(Box<DiskInfo>),
}

/// The end of an operation; the buffer of a read or write comes back on success and failure.
pub(crate) struct OpDone {
    pub(crate) result: io::Result<OpValue>,
    pub(crate) buf: Option<IoBuf>,
}

impl OpDone {
    pub(crate) fn failed(op: Op, error: io::Error) -> OpDone {
        OpDone { result: Err(error), buf: op.into_buf() }
    }
}

// Both are moved several times on their way; what is rare and large is boxed.
// Under a model checker the locks inside are larger.
#[cfg(not(sombra_loom))]
const _: () = assert!(size_of::<Op>() <= 88 && size_of::<OpDone>() <= 80);
