//! File operations. A path operation makes its directory change durable before it completes.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::buffer::{DmaBuf, IoBuf};
use crate::driver::{Op, OpDone, OpValue};
use crate::file::{
    DirEntry, DiskInfo, DmaFile, FileLock, FlushScope, FlushVia, IoClass, LockKind, OpenHow,
    WriteMode,
};
use crate::limits::REQUEST_BYTES_MAX;
use crate::shard::Shard;
use crate::shard::operation::Operation;

/// Takes the value of one kind out of an operation's result.
macro_rules! expect_value {
    ($done:expr, $variant:ident) => {
        match $done.result? {
            OpValue::$variant(value) => Ok(value),
            _ => panic!(concat!("the driver answered something else than ", stringify!($variant))),
        }
    };
}

impl Shard {
    async fn operate(&self, class: IoClass, op: Op) -> OpDone {
        Operation::new(self, class, op).await
    }

    async fn operate_path(&self, op: Op) -> OpDone {
        self.operate(IoClass::Maintenance, op).await
    }

    async fn operate_unit(&self, class: IoClass, op: Op) -> io::Result<()> {
        self.operate(class, op).await.result.map(|_| ())
    }

    /// Opens a file. A file system that refuses O_DIRECT is an error that says so, and so is
    /// polling without it.
    pub async fn open(&self, path: &Path, how: OpenHow) -> io::Result<DmaFile> {
        if how.polled && !how.direct {
            let text = format!("{}: polled I/O needs direct I/O", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let op = Op::Open { path: path.to_owned(), how };
        expect_value!(self.operate_path(op).await, File)
    }

    /// Fills `buf` from the file, until it is full or the file ends. Short reads are continued.
    /// On an error the buffer is lost to the caller.
    pub async fn read_at(
        &self,
        file: &DmaFile,
        class: IoClass,
        offset: u64,
        mut buf: DmaBuf,
    ) -> io::Result<(DmaBuf, usize)> {
        let mut from = 0;
        while from < buf.len() {
            let len = (buf.len() - from).min(REQUEST_BYTES_MAX);
            let offset = advance(offset, from)?;
            let op = Op::Read { file: file.clone(), offset, buf, from, len };
            let OpDone { result, buf: returned } = self.operate(class, op).await;
            let OpValue::Bytes(count) = result? else { panic!("a read answers with a length") };
            buf = returned.and_then(IoBuf::into_owned).expect("INV-8: a read returns its buffer");
            assert!(count <= len, "a read of {len} bytes returned {count}");
            from += count;
            // A direct read stops at an unaligned place only where the file ends.
            if count == 0 || !(count as u64).is_multiple_of(file.dio_alignment_bytes().into()) {
                break;
            }
        }
        Ok((buf, from))
    }

    /// Writes the whole buffer. Short writes are continued, before any flush that the caller
    /// issues afterwards. On an error the buffer is dropped.
    #[expect(
        clippy::too_many_arguments,
        reason = "what, where, for whom and how durably are independent; a struct would be built \
                  at each call only to be taken apart"
    )]
    pub async fn write_all_at(
        &self,
        file: &DmaFile,
        class: IoClass,
        offset: u64,
        mut buf: IoBuf,
        mode: WriteMode,
    ) -> io::Result<IoBuf> {
        let total = buf.as_bytes().len();
        let mut from = 0;
        while from < total {
            let len = (total - from).min(REQUEST_BYTES_MAX);
            let offset = advance(offset, from)?;
            let op = Op::Write { file: file.clone(), offset, buf, from, len, mode };
            let OpDone { result, buf: returned } = self.operate(class, op).await;
            let OpValue::Bytes(count) = result? else { panic!("a write answers with a length") };
            buf = returned.expect("INV-8: a write returns its buffer");
            assert!(count <= len, "a write of {len} bytes wrote {count}");
            // A direct write continues at an aligned place; a part of a block is written again.
            let alignment = file.dio_alignment_bytes() as usize;
            let kept = if count == len { len } else { count / alignment * alignment };
            if kept == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            from += kept;
        }
        Ok(buf)
    }

    /// fdatasync: covers the writes that completed before this call.
    pub async fn flush(&self, file: &DmaFile, via: FlushVia) -> io::Result<()> {
        let op = Op::Flush { file: file.clone(), via, scope: FlushScope::Data };
        self.operate_unit(IoClass::Log, op).await
    }

    /// Says that the bytes are not needed any more. Of a file: they read as zeroes and take no
    /// space. Of a block device: they may read as anything.
    pub async fn trim(&self, file: &DmaFile, class: IoClass, range: Range<u64>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        self.operate_unit(class, Op::Trim { file: file.clone(), offset: range.start, len }).await
    }

    /// Of a block device: its size.
    pub async fn file_len(&self, file: &DmaFile) -> io::Result<u64> {
        let op = Op::FileLen { file: file.clone() };
        expect_value!(self.operate_path(op).await, Len)
    }

    pub async fn set_len(&self, file: &DmaFile, len: u64) -> io::Result<()> {
        let op = Op::SetLen { file: file.clone(), len };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    /// Reserves the blocks of a range, unwritten, and makes the file at least that long.
    /// `Unsupported` where the file system cannot.
    pub async fn allocate(&self, file: &DmaFile, range: Range<u64>) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        let op = Op::Allocate { file: file.clone(), offset: range.start, len };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    /// Writes the file's dirty pages and drops all its pages from the page cache.
    pub async fn drop_cache(&self, file: &DmaFile) -> io::Result<()> {
        self.operate_unit(IoClass::Maintenance, Op::DropCache { file: file.clone() }).await
    }

    /// Writes zeroes through the page cache, so that later overwrites need no allocation. Needs
    /// a file opened with `direct: false`; the caller flushes.
    pub async fn write_zeroes(&self, file: &DmaFile, offset: u64, len: u64) -> io::Result<()> {
        assert!(!file.is_direct(), "zeroes go through the page cache");
        let op = Op::WriteZeroes { file: file.clone(), offset, len };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    /// Sorted by name. A name that is not UTF-8 is an error.
    pub async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let op = Op::ListDir { path: path.to_owned() };
        expect_value!(self.operate_path(op).await, Dir)
    }

    pub async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let op = Op::CreateDir { path: path.to_owned() };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let op = Op::Rename { from: from.to_owned(), to: to.to_owned() };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    /// Makes `path` a symbolic link to `target`.
    pub async fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let op = Op::Symlink { target: target.to_owned(), path: path.to_owned() };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    pub async fn unlink(&self, path: &Path) -> io::Result<()> {
        let op = Op::Unlink { path: path.to_owned() };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    pub async fn path_exists(&self, path: &Path) -> io::Result<bool> {
        let op = Op::Exists { path: path.to_owned() };
        expect_value!(self.operate_path(op).await, Bool)
    }

    /// Creates the file if need be and locks it; `WouldBlock` while somebody else holds it.
    pub async fn lock_exclusive(&self, path: &Path) -> io::Result<FileLock> {
        self.lock(path, LockKind::Exclusive).await
    }

    /// Locks the file beside others who do the same; `WouldBlock` while somebody holds it
    /// exclusively. Creates the file if need be; one that is there is only read.
    pub async fn lock_shared(&self, path: &Path) -> io::Result<FileLock> {
        self.lock(path, LockKind::Shared).await
    }

    async fn lock(&self, path: &Path, kind: LockKind) -> io::Result<FileLock> {
        let op = Op::Lock { path: path.to_owned(), kind };
        expect_value!(self.operate_path(op).await, Lock)
    }

    /// Replaces a small file's content in one step as other processes see it. Not durable.
    pub async fn replace_file(&self, path: &Path, content: Vec<u8>) -> io::Result<()> {
        let op = Op::ReplaceFile { path: path.to_owned(), content };
        self.operate_unit(IoClass::Maintenance, op).await
    }

    pub async fn disk_info(&self, file: &DmaFile) -> io::Result<DiskInfo> {
        let op = Op::DiskInfo { file: file.clone() };
        let info: io::Result<Box<DiskInfo>> = expect_value!(self.operate_path(op).await, Disk);
        info.map(|info| *info)
    }
}

fn advance(offset: u64, by: usize) -> io::Result<u64> {
    offset.checked_add(by as u64).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
