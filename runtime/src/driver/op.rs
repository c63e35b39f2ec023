use std::io;
use std::path::PathBuf;

use crate::buffer::{DmaBuf, IoBuf};
use crate::file::{DirEntry, DiskInfo, DmaFile, FileLock, FlushVia, LockKind, OpenHow, WriteMode};

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

impl Op {
    /// The buffer, when the operation ends without having looked at it.
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
    Disk(DiskInfo),
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
