//! What a simulated operation does at the moment at which it takes effect, whole or in part.

use super::Fault;
use super::chunk::{CHUNK_SIZE_BYTES, OpId};
use super::content::{Payload, ReadView};
use super::device::{Device, Handle};
use super::fault::{misdirected, refuse};
use super::namespace::{Errno, FileId};
use super::request::{Answer, Request, WriteHow};
use crate::file::OpenHow;

impl Device {
    fn writable(&self, handle: u64) -> Result<Handle, Errno> {
        self.handle(handle).and_then(|h| if h.how.write { Ok(h) } else { Err(libc::EBADF) })
    }

    fn check_alignment(&self, how: OpenHow, offset: u64, len_bytes: u64) -> Result<(), Errno> {
        let unit = u64::from(self.options.dio_alignment_bytes);
        let aligned = offset.is_multiple_of(unit) && len_bytes.is_multiple_of(unit);
        if how.direct && !aligned { Err(libc::EINVAL) } else { Ok(()) }
    }

    /// The operation happens: others can see it, a cut can still take it back.
    pub(super) fn take_effect(
        &mut self,
        op: OpId,
        request: &mut Request,
        fault: Option<Fault>,
    ) -> Result<Answer, Errno> {
        match request {
            Request::Read { handle, offset, len_bytes } => {
                let at = (*handle, *offset);
                self.read(at, *len_bytes, fault)
            }
            Request::Write { handle, offset, payload, how: WriteHow::Trim } => {
                let Handle { file, how } = self.writable(*handle)?;
                let there = self.body(file).len_bytes().saturating_sub(*offset);
                *payload = Payload::Zeroes(payload.len_bytes().min(there));
                self.counters.trims += 1;
                self.write(op, (file, how), (offset, payload), fault)
            }
            Request::Write { handle, offset, payload, .. } => {
                let Handle { file, how } = self.writable(*handle)?;
                self.check_alignment(how, *offset, payload.len_bytes())?;
                self.write(op, (file, how), (offset, payload), fault)
            }
            Request::SetLen { handle, len_bytes } => {
                // So says ftruncate of a file that is open for reading only.
                let Handle { file, how } = self.handle(*handle)?;
                if !how.write {
                    return Err(libc::EINVAL);
                }
                refuse(fault)?;
                self.check_space(file, *len_bytes)?;
                self.body(file).set_len(op, *len_bytes);
                self.forget_broken_from(file, *len_bytes);
                Ok(Answer::Unit)
            }
            Request::Extend { handle, len_bytes } => {
                let file = self.writable(*handle)?.file;
                refuse(fault)?;
                self.check_space(file, *len_bytes)?;
                if *len_bytes > self.body(file).len_bytes() {
                    self.body(file).set_len(op, *len_bytes);
                }
                Ok(Answer::Unit)
            }
            Request::Flush { handle, .. } => {
                self.handle(*handle)?;
                refuse(fault)?;
                Ok(Answer::Unit)
            }
            Request::FileLen { handle } => {
                let file = self.handle(*handle)?.file;
                refuse(fault)?;
                Ok(Answer::Len(self.body(file).len_bytes()))
            }
            Request::Info { handle } => {
                self.handle(*handle)?;
                refuse(fault)?;
                Ok(Answer::Info(self.info()))
            }
            path_request => self.take_path_effect(op, path_request, fault),
        }
    }

    fn read(
        &mut self,
        (handle, offset): (u64, u64),
        len_bytes: usize,
        fault: Option<Fault>,
    ) -> Result<Answer, Errno> {
        let Handle { file, how } = self.handle(handle)?;
        if !how.read {
            return Err(libc::EBADF);
        }
        self.check_alignment(how, offset, len_bytes as u64)?;
        refuse(fault)?;
        let mut view = self.body(file).read(offset, len_bytes);
        self.refuse_broken(file, offset, view.len_bytes())?;
        let short = self.shortened(how, len_bytes);
        self.counters.short_reads += u64::from(short < view.len_bytes());
        view.shorten(short);
        let view = self.spoil(file, offset, view, fault);
        self.counters.reads += 1;
        self.counters.bytes_read += view.len_bytes() as u64;
        Ok(Answer::Read(view))
    }

    /// What a read gives instead of `view`, which it should give, when the device errs in silence.
    fn spoil(
        &mut self,
        file: FileId,
        offset: u64,
        view: ReadView,
        fault: Option<Fault>,
    ) -> ReadView {
        let len_bytes = view.len_bytes();
        match fault {
            Some(Fault::MisdirectedRead { by_bytes }) => {
                self.counters.misdirected_reads += 1;
                self.body(file).read_at(misdirected(offset, by_bytes), len_bytes)
            }
            Some(Fault::StaleRead) => {
                let older = self.body(file).read_older(offset, len_bytes);
                self.counters.stale_reads += u64::from(!older.is_same(&view));
                older
            }
            _ => view,
        }
    }

    /// Sometimes a device does less than it was asked for; direct I/O stops at whole units.
    fn shortened(&mut self, how: OpenHow, len_bytes: usize) -> usize {
        let unit = if how.direct { self.options.dio_alignment_bytes as usize } else { 1 };
        if len_bytes <= unit || !self.dice.chance(self.options.short_io_one_in) {
            return len_bytes;
        }
        self.dice.within(1, (len_bytes / unit) as u64) as usize * unit
    }

    fn write(
        &mut self,
        op: OpId,
        (file, how): (FileId, OpenHow),
        (offset, payload): (&mut u64, &mut Payload),
        fault: Option<Fault>,
    ) -> Result<Answer, Errno> {
        let asked = payload.len_bytes();
        self.check_space(file, offset.saturating_add(asked))?;
        match fault {
            Some(Fault::Errno(errno)) => {
                self.write_partly(op, file, *offset, payload);
                self.body(file).abandon(OpId(0), &|by| by == op);
                return Err(errno);
            }
            Some(Fault::LostWrite) => {
                self.counters.lost_writes += 1;
                return Ok(Answer::Bytes(asked as usize));
            }
            Some(Fault::MisdirectedWrite { by_bytes }) => {
                *offset = misdirected(*offset, by_bytes);
                self.counters.misdirected_writes += 1;
            }
            Some(Fault::Stuck { .. }) | None => {}
            Some(Fault::MisdirectedRead { .. } | Fault::StaleRead) => {
                panic!("a fault of reads was planned for a write")
            }
        }
        if let Payload::Bytes(bytes) = payload {
            let short = self.shortened(how, bytes.len());
            if short < bytes.len() {
                self.counters.short_writes += 1;
                *payload = Payload::Bytes(bytes[..short].into());
            }
        }
        self.body(file).write(op, *offset, payload);
        self.heal_sectors(file, *offset, payload.len_bytes());
        self.counters.writes += 1;
        self.counters.bytes_written += payload.len_bytes();
        Ok(Answer::Bytes(payload.len_bytes() as usize))
    }

    /// What remains of a write that failed or whose process died: any of its chunks.
    pub(super) fn write_partly(&mut self, op: OpId, file: FileId, offset: u64, payload: &Payload) {
        let chunk = CHUNK_SIZE_BYTES as u64;
        let end = offset + payload.len_bytes();
        let mut at = offset;
        while at < end {
            let next = (at / chunk + 1).saturating_mul(chunk).min(end);
            if self.dice.chance(2) {
                let piece = match payload {
                    Payload::Bytes(bytes) => {
                        let (from, to) = ((at - offset) as usize, (next - offset) as usize);
                        Payload::Bytes(bytes[from..to].into())
                    }
                    Payload::Zeroes(_) => Payload::Zeroes(next - at),
                };
                self.body(file).write(op, at, &piece);
            }
            at = next;
        }
    }
}
