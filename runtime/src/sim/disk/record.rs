//! The stream of operations as a device sees it: what, where, how much, in which order, when.

use super::SimDisk;
use super::content::Payload;
use super::device::Device;
use super::request::{Request, WriteHow};
use crate::file::{FlushScope, WriteMode};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SubmittedKind {
    Read,
    Write,
    /// `RWF_DSYNC`
    WriteDsync,
    /// `RWF_SYNC`
    WriteSync,
    /// fdatasync
    FlushData,
    /// fsync
    FlushAll,
    Trim,
}

/// One operation on a file's bytes when it was submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubmittedIo {
    pub at_ns: u64,
    pub shard: usize,
    pub kind: SubmittedKind,
    pub path: String,
    /// Zero for a flush, as is the length.
    pub offset: u64,
    pub len_bytes: u64,
}

impl SimDisk {
    /// From here on reads, writes, trims and flushes are recorded as they are submitted.
    pub fn start_recording(&self) {
        self.device().record = Some(Vec::new());
    }

    /// What was submitted since the recording began, or since the last call.
    pub fn take_recording(&self) -> Vec<SubmittedIo> {
        self.device().record.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Device {
    pub(super) fn record(&mut self, shard: usize, at_ns: u64, request: &Request) {
        if self.record.is_none() {
            return;
        }
        let (kind, offset, len_bytes) = match request {
            Request::Read { offset, len_bytes, .. } => {
                (SubmittedKind::Read, *offset, *len_bytes as u64)
            }
            Request::Write { offset, payload: Payload::Bytes(bytes), how, .. } => {
                let kind = match how {
                    WriteHow::Mode(WriteMode::Dsync) => SubmittedKind::WriteDsync,
                    WriteHow::Mode(WriteMode::Sync) => SubmittedKind::WriteSync,
                    WriteHow::Mode(WriteMode::Plain) | WriteHow::Trim => SubmittedKind::Write,
                };
                (kind, *offset, bytes.len() as u64)
            }
            Request::Write { offset, payload: Payload::Zeroes(len), how, .. } => {
                let is_trim = *how == WriteHow::Trim;
                let kind = if is_trim { SubmittedKind::Trim } else { SubmittedKind::Write };
                (kind, *offset, *len)
            }
            Request::Flush { scope: FlushScope::Data, .. } => (SubmittedKind::FlushData, 0, 0),
            Request::Flush { scope: FlushScope::All, .. } => (SubmittedKind::FlushAll, 0, 0),
            _ => return,
        };
        let handle = request.handle().and_then(|handle| self.handle(handle).ok());
        let path = handle.and_then(|handle| self.names.path_of(handle.file)).unwrap_or_default();
        let submitted = SubmittedIo { at_ns, shard, kind, path, offset, len_bytes };
        if let Some(record) = &mut self.record {
            record.push(submitted);
        }
    }
}
