//! The third driver: hands a shard's operations to the simulated disk.

use std::io;
use std::path::Path;
use std::task::Waker;

use super::disk::{Answer, Finished, Payload, Request, SimDisk, WriteHow, path_key};
use crate::buffer::IoBuf;
use crate::driver::{Op, OpDone, OpKey, OpSlab, OpValue};
use crate::file::{Create, DirectAlignment, DmaFile, FileLock, WriteMode};
use crate::ids::ShardId;
use crate::runtime::Runtime;
use crate::time::Moment;

pub(crate) struct SimDriver {
    disk: SimDisk,
    runtime: Runtime,
    /// The world's epoch at the disk, and the shard.
    from: (u32, usize),
}

impl SimDriver {
    pub(super) fn new(disk: SimDisk, runtime: Runtime, epoch: u32, shard: ShardId) -> SimDriver {
        SimDriver { disk, runtime, from: (epoch, shard.index()) }
    }

    /// The operation stays in the slab until it completes; the disk gets a copy of its bytes.
    pub(crate) fn submit(&mut self, key: OpKey, slab: &mut OpSlab) {
        let request =
            request_of(slab.op_mut(key)).unwrap_or_else(|errno| Request::Refused { errno });
        let now_ns = self.runtime.now().as_nanos();
        self.disk.submit(self.from, now_ns, key.to_user_data(), request);
    }

    pub(crate) fn reap(&mut self, slab: &mut OpSlab, now: Moment, woken: &mut Vec<Waker>) -> usize {
        let finished = self.disk.take_finished(self.from);
        let count = finished.len();
        for Finished { token, result, .. } in finished {
            let key = OpKey::from_user_data(token);
            let op = slab.take_op(key);
            let done = match result {
                Ok(answer) => self.done(op, answer),
                Err(errno) => OpDone::failed(op, io::Error::from_raw_os_error(errno)),
            };
            slab.complete(key, done, now, woken);
        }
        count
    }

    fn done(&self, op: Op, answer: Answer) -> OpDone {
        let plain = |value| OpDone { result: Ok(value), buf: None };
        match (op, answer) {
            (Op::Read { mut buf, from, len, .. }, Answer::Read(view)) => {
                let count = view.len_bytes();
                assert!(count <= len, "the disk read more than it was asked for");
                view.copy_to(&mut buf[from..from + len]);
                OpDone { result: Ok(OpValue::Bytes(count)), buf: Some(IoBuf::Owned(buf)) }
            }
            (Op::Write { buf, .. }, Answer::Bytes(count)) => {
                OpDone { result: Ok(OpValue::Bytes(count)), buf: Some(buf) }
            }
            (Op::WriteZeroes { .. } | Op::Trim { .. }, Answer::Bytes(_)) => plain(OpValue::Unit),
            (Op::Open { path, how }, Answer::Handle { handle, alignment_bytes }) => {
                let alignment = match how.direct {
                    true => DirectAlignment::Direct { bytes: alignment_bytes },
                    false => DirectAlignment::Buffered,
                };
                let file = DmaFile::simulated(handle, path, alignment, &self.runtime);
                plain(OpValue::File(file))
            }
            (Op::Lock { .. }, Answer::Lock { number }) => {
                let guard = LockGuard { disk: self.disk.clone(), number };
                plain(OpValue::Lock(FileLock::simulated(Box::new(guard))))
            }
            (_, Answer::Unit) => plain(OpValue::Unit),
            (_, Answer::Len(len)) => plain(OpValue::Len(len)),
            (_, Answer::Bool(yes)) => plain(OpValue::Bool(yes)),
            (_, Answer::Dir(entries)) => plain(OpValue::Dir(entries)),
            (_, Answer::Info(info)) => plain(OpValue::Disk(Box::new(info))),
            _ => panic!("the disk answered another question"),
        }
    }
}

/// Releases the lock, unless the world that took it has ended: then its end has released it.
struct LockGuard {
    disk: SimDisk,
    number: u64,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.disk.unlock(self.number);
    }
}

fn request_of(op: &Op) -> Result<Request, i32> {
    let key = |path: &Path| path_key(path);
    check_arguments(op)?;
    Ok(match op {
        Op::Read { file, offset, len, .. } => {
            Request::Read { handle: file.simulated_handle(), offset: *offset, len_bytes: *len }
        }
        Op::Write { file, offset, buf, from, len, mode } => Request::Write {
            handle: file.simulated_handle(),
            offset: *offset,
            payload: Payload::Bytes(buf.as_bytes()[*from..*from + *len].into()),
            how: WriteHow::Mode(*mode),
        },
        Op::WriteZeroes { file, offset, len } => Request::Write {
            handle: file.simulated_handle(),
            offset: *offset,
            payload: Payload::Zeroes(*len),
            how: WriteHow::Mode(WriteMode::Plain),
        },
        Op::Trim { file, offset, len } => Request::Write {
            handle: file.simulated_handle(),
            offset: *offset,
            payload: Payload::Zeroes(*len),
            how: WriteHow::Trim,
        },
        Op::Flush { file, via: _, scope } => {
            Request::Flush { handle: file.simulated_handle(), scope: *scope }
        }
        // Reserved blocks read as zeroes, as those do that a longer file got.
        Op::Allocate { file, offset, len } => {
            Request::Extend { handle: file.simulated_handle(), len_bytes: offset + len }
        }
        // There is no page cache.
        Op::DropCache { file } => Request::FileLen { handle: file.simulated_handle() },
        Op::FileLen { file } => Request::FileLen { handle: file.simulated_handle() },
        Op::SetLen { file, len } => {
            Request::SetLen { handle: file.simulated_handle(), len_bytes: *len }
        }
        Op::DiskInfo { file } => Request::Info { handle: file.simulated_handle() },
        Op::Open { path, how } => Request::Open { path: key(path)?, how: *how },
        Op::ListDir { path } => Request::List { path: key(path)? },
        Op::CreateDir { path } => Request::CreateDir { path: key(path)? },
        Op::Rename { from, to } => Request::Rename { from: key(from)?, to: key(to)? },
        // Links lead to devices, and there is one simulated disk.
        Op::Symlink { .. } => return Err(libc::ENOTSUP),
        Op::Unlink { path } => Request::Unlink { path: key(path)? },
        Op::Exists { path } => Request::Exists { path: key(path)? },
        Op::Lock { path, kind } => Request::Lock { path: key(path)?, kind: *kind },
        Op::ReplaceFile { path, content } => {
            Request::Replace { path: key(path)?, content: content.clone() }
        }
    })
}

/// What is refused before any file system is asked.
fn check_arguments(op: &Op) -> Result<(), i32> {
    const END_MAX: u64 = i64::MAX as u64;
    let (offset, len_bytes, past_the_end) = match op {
        Op::Read { offset, len, .. } | Op::Write { offset, len, .. } => {
            (*offset, *len as u64, libc::EINVAL)
        }
        Op::SetLen { len, .. } => (0, *len, libc::EINVAL),
        // Who creates a file may write it, and nobody opens one for nothing.
        Op::Open { how, .. } if !how.write && (how.create != Create::No || !how.read) => {
            return Err(libc::EINVAL);
        }
        Op::Trim { len: 0, .. } | Op::Allocate { len: 0, .. } => return Err(libc::EINVAL),
        Op::Trim { offset, len, .. } | Op::Allocate { offset, len, .. } => {
            (*offset, *len, libc::EFBIG)
        }
        _ => return Ok(()),
    };
    if offset > END_MAX || len_bytes > END_MAX {
        return Err(libc::EINVAL);
    }
    if offset + len_bytes > END_MAX { Err(past_the_end) } else { Ok(()) }
}
