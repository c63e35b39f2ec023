//! What the simulated driver asks of the disk, and what the disk answers.

use std::path::{Component, Path};

use super::chunk::OpId;
use super::content::{Coverage, Payload, ReadView};
use super::namespace::{Errno, FileId};
use super::{DiskOp, Fault};
use crate::file::{DirEntry, DiskInfo, FlushScope, LockKind, OpenHow, WriteMode};

/// What a request that changes bytes does to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WriteHow {
    Mode(WriteMode),
    /// Zeroes what the file has there, and never makes it longer.
    Trim,
}

impl WriteHow {
    pub(super) fn is_durable(self) -> bool {
        matches!(self, WriteHow::Mode(mode) if mode.is_durable())
    }
}

/// Files are named by the handle that opening them gave.
pub(crate) enum Request {
    Read {
        handle: u64,
        offset: u64,
        len_bytes: usize,
    },
    Write {
        handle: u64,
        offset: u64,
        payload: Payload,
        how: WriteHow,
    },
    Flush {
        handle: u64,
        scope: FlushScope,
    },
    FileLen {
        handle: u64,
    },
    SetLen {
        handle: u64,
        len_bytes: u64,
    },
    /// Makes the file at least that long.
    Extend {
        handle: u64,
        len_bytes: u64,
    },
    Info {
        handle: u64,
    },
    Open {
        path: String,
        how: OpenHow,
    },
    List {
        path: String,
    },
    CreateDir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    Exists {
        path: String,
    },
    Lock {
        path: String,
        kind: LockKind,
    },
    Replace {
        path: String,
        content: Vec<u8>,
    },
    /// The path cannot be one: the disk only reports it, in its own time.
    Refused {
        errno: Errno,
    },
}

impl Request {
    pub(super) fn kind(&self) -> DiskOp {
        match self {
            Request::Read { .. } => DiskOp::Read,
            Request::Write { .. } | Request::SetLen { .. } | Request::Extend { .. } => {
                DiskOp::Write
            }
            Request::Flush { .. } => DiskOp::Flush,
            _ => DiskOp::Path,
        }
    }

    pub(super) fn handle(&self) -> Option<u64> {
        match self {
            Request::Read { handle, .. }
            | Request::Write { handle, .. }
            | Request::Flush { handle, .. }
            | Request::FileLen { handle }
            | Request::SetLen { handle, .. }
            | Request::Extend { handle, .. }
            | Request::Info { handle } => Some(*handle),
            _ => None,
        }
    }

    /// The first path it names.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Request::Open { path, .. }
            | Request::List { path }
            | Request::CreateDir { path }
            | Request::Unlink { path }
            | Request::Exists { path }
            | Request::Lock { path, .. }
            | Request::Replace { path, .. }
            | Request::Rename { from: path, .. } => Some(path),
            _ => None,
        }
    }
}

pub(crate) enum Answer {
    Unit,
    Bytes(usize),
    Read(ReadView),
    Len(u64),
    Bool(bool),
    Handle { handle: u64, alignment_bytes: u32 },
    Dir(Vec<DirEntry>),
    Lock { number: u64 },
    Info(DiskInfo),
}

/// An operation that ended, for the shard that asked; `token` is the shard's own name for it.
pub(crate) struct Finished {
    pub(crate) token: u64,
    pub(crate) result: Result<Answer, Errno>,
    /// What a flush that failed should have covered.
    pub(super) unsaved: Option<(FileId, Coverage)>,
}

/// An operation between submission and completion.
pub(super) struct Pending {
    pub(super) shard: usize,
    pub(super) token: u64,
    pub(super) request: Request,
    pub(super) fault: Option<Fault>,
    /// Set when the operation took effect; given out when it completes.
    pub(super) answer: Option<Result<Answer, Errno>>,
    /// Of a flush: what had completed when it was submitted.
    pub(super) coverage: Option<Coverage>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    Effect,
    Complete,
}

/// Agenda entry: ordered by time, then by submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Appointment {
    pub(super) at_ns: u64,
    pub(super) phase: Phase,
    pub(super) op: OpId,
}

/// Bytes of one name, as on the usual file systems (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// The disk's own spelling of a path: no leading slash, no dots. The root is the empty string.
pub(crate) fn path_key(path: &Path) -> Result<String, Errno> {
    let mut key = String::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if name.len() > NAME_BYTES_MAX => {
                return Err(libc::ENAMETOOLONG);
            }
            Component::Normal(name) => {
                if !key.is_empty() {
                    key.push('/');
                }
                key.push_str(name.to_str().ok_or(libc::EINVAL)?);
            }
            Component::ParentDir | Component::Prefix(_) => return Err(libc::EINVAL),
        }
    }
    Ok(key)
}
