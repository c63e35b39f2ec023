//! The simulated disk's state: operations in flight, each with a seeded moment at which it takes
//! effect and a later one at which it completes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::chunk::{CHUNK_SIZE_BYTES, OpId};
use super::content::{Body, Coverage, Payload};
use super::namespace::{Errno, FileId, Namespace};
use super::record::SubmittedIo;
use super::request::{Answer, Appointment, Finished, Pending, Phase, Request, WriteHow};
use super::{DiskOp, Fault, PlannedFault, SimDiskCounters, SimDiskOptions, SimLatency};
use crate::file::{LockKind, OpenHow, WriteCache};
use crate::sim::dice::{Dice, Trace};

/// Stream numbers of the dice that one seed feeds.
const STREAM_DISK: u64 = 1;

#[derive(Clone, Copy)]
pub(super) struct Handle {
    pub(super) file: FileId,
    pub(super) how: OpenHow,
}

pub(super) struct Device {
    pub(super) options: SimDiskOptions,
    pub(super) dice: Dice,
    pub(super) names: Namespace,
    pub(super) bodies: BTreeMap<FileId, Body>,
    /// Open files of the present epoch.
    pub(super) handles: Vec<Handle>,
    pub(super) ops: BTreeMap<OpId, Pending>,
    pub(super) agenda: BinaryHeap<Reverse<Appointment>>,
    pub(super) finished: Vec<VecDeque<Finished>>,
    /// Who holds each lock, by number.
    pub(super) locks: BTreeMap<String, BTreeMap<u64, LockKind>>,
    pub(super) faults: Vec<PlannedFault>,
    pub(super) counters: SimDiskCounters,
    /// What was submitted since somebody asked for it.
    pub(super) record: Option<Vec<SubmittedIo>>,
    pub(super) trace: Trace,
    /// Grows with every world; what an earlier world left behind names an older epoch.
    pub(super) epoch: u32,
    pub(super) attached: bool,
    pub(super) wall_clock_ns: u64,
    pub(super) next_number: u64,
}

impl Device {
    pub(super) fn new(options: SimDiskOptions) -> Device {
        Device {
            dice: Dice::new(options.seed, STREAM_DISK),
            wall_clock_ns: options.wall_clock_start_ms * 1_000_000,
            options,
            names: Namespace::default(),
            bodies: BTreeMap::new(),
            handles: Vec::new(),
            ops: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            finished: Vec::new(),
            locks: BTreeMap::new(),
            faults: Vec::new(),
            counters: SimDiskCounters::default(),
            record: None,
            trace: Trace::new(),
            epoch: 0,
            attached: false,
            next_number: 0,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes an operation in. One of an ended epoch is forgotten: its process is dead.
    pub(super) fn submit(&mut self, from: (u32, usize), now_ns: u64, token: u64, request: Request) {
        let (epoch, shard) = from;
        if epoch != self.epoch || !self.attached {
            return;
        }
        let op = OpId(self.number());
        let kind = request.kind();
        let latency = self.latency_ns(kind);
        let effect = self.dice.within(0, latency);
        self.trace.add(op.0 ^ latency << 20);
        if let Request::Write { payload: Payload::Bytes(bytes), .. } = &request {
            self.trace.add_bytes(bytes);
        }
        self.record(shard, now_ns, &request);
        let coverage = self.note_submission(op, &request);
        let fault = self.due_fault(&request);
        for (phase, after) in [(Phase::Effect, effect), (Phase::Complete, latency)] {
            self.agenda.push(Reverse(Appointment { at_ns: now_ns + after, phase, op }));
        }
        self.ops.insert(op, Pending { shard, token, request, fault, answer: None, coverage });
    }

    /// Writes enter their file's unfinished list; a flush copies it.
    fn note_submission(&mut self, op: OpId, request: &Request) -> Option<Coverage> {
        let file = self.handle(request.handle()?).ok()?.file;
        let body = self.bodies.get_mut(&file)?;
        match request {
            Request::Write { .. } | Request::SetLen { .. } | Request::Extend { .. } => {
                body.unfinished.push(op);
                None
            }
            Request::Flush { .. } => {
                Some(Coverage { before: op, unfinished: body.unfinished.clone() })
            }
            _ => None,
        }
    }

    fn latency_ns(&mut self, kind: DiskOp) -> u64 {
        let SimLatency { min_us, max_us } = match kind {
            DiskOp::Read => self.options.read_latency,
            DiskOp::Write => self.options.write_latency,
            DiskOp::Flush => self.options.flush_latency,
            DiskOp::Path => self.options.path_latency,
        };
        let usual = self.dice.within(u64::from(min_us) * 1_000, u64::from(max_us) * 1_000);
        let slow = self.dice.chance(self.options.slow_one_in);
        if slow { usual * u64::from(self.options.slow_factor) } else { usual }
    }

    /// Counts the planned faults that match the request and takes the one whose turn it is.
    fn due_fault(&mut self, request: &Request) -> Option<Fault> {
        if self.faults.is_empty() {
            return None;
        }
        let kind = request.kind();
        let file_path = match request.handle() {
            Some(handle) => self.handle(handle).ok().and_then(|h| self.names.path_of(h.file)),
            None => request.path().map(str::to_owned),
        };
        let mut due = None;
        self.faults.retain_mut(|plan| {
            let here = plan.path_part.as_deref();
            let matches = plan.on == kind
                && here.is_none_or(|part| file_path.as_deref().is_some_and(|p| p.contains(part)));
            if !matches || due.is_some() {
                return true;
            }
            if plan.skip > 0 {
                plan.skip -= 1;
                return true;
            }
            due = Some(plan.fault);
            plan.forever
        });
        self.counters.faults += u64::from(due.is_some());
        due
    }

    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse(next)| next.at_ns)
    }

    /// Lets everything happen that is due at `now_ns`.
    pub(super) fn advance(&mut self, now_ns: u64) {
        while self.next_event_ns().is_some_and(|at| at <= now_ns) {
            let Some(Reverse(Appointment { phase, op, .. })) = self.agenda.pop() else { return };
            let mut pending = self.ops.remove(&op).expect("an appointment names an operation");
            match phase {
                Phase::Effect => {
                    let answer = self.take_effect(op, &mut pending.request, pending.fault);
                    pending.answer = Some(answer);
                    self.ops.insert(op, pending);
                }
                Phase::Complete => self.complete(op, pending),
            }
        }
    }

    pub(super) fn handle(&self, handle: u64) -> Result<Handle, Errno> {
        if (handle >> 32) as u32 != self.epoch {
            return Err(libc::EBADF);
        }
        self.handles.get(handle as u32 as usize).copied().ok_or(libc::EBADF)
    }

    fn writable(&self, handle: u64) -> Result<Handle, Errno> {
        self.handle(handle).and_then(|h| if h.how.write { Ok(h) } else { Err(libc::EBADF) })
    }

    pub(super) fn body(&mut self, file: FileId) -> &mut Body {
        self.bodies.get_mut(&file).expect("a handle keeps its file")
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
                let file = self.writable(*handle)?.file;
                refuse(fault)?;
                self.check_space(file, *len_bytes)?;
                self.body(file).set_len(op, *len_bytes);
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
        let short = self.shortened(how, len_bytes);
        let mut view = self.body(file).read(offset, len_bytes);
        view.shorten(short);
        self.counters.reads += 1;
        self.counters.bytes_read += view.len_bytes() as u64;
        Ok(Answer::Read(view))
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
                self.body(file).abandon(&|by| by == op);
                return Err(errno);
            }
            Some(Fault::LostWrite) => return Ok(Answer::Bytes(asked as usize)),
            Some(Fault::MisdirectedWrite { by_bytes }) => {
                *offset = offset.saturating_add_signed(by_bytes);
            }
            None => {}
        }
        if let Payload::Bytes(bytes) = payload {
            let short = self.shortened(how, bytes.len());
            if short < bytes.len() {
                *payload = Payload::Bytes(bytes[..short].into());
            }
        }
        self.body(file).write(op, *offset, payload);
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

    fn complete(&mut self, op: OpId, pending: Pending) {
        let Pending { shard, token, request, answer, coverage, .. } = pending;
        let result = answer.expect("an operation takes effect before it completes");
        let handle = request.handle().and_then(|handle| self.handle(handle).ok());
        match (&request, handle) {
            (Request::Write { offset, payload, how: mode, .. }, Some(Handle { file, how })) => {
                let dsync = mode.is_durable();
                self.body(file).unfinished.retain(|unfinished| *unfinished != op);
                self.counters.dsync_writes += u64::from(dsync);
                if result.is_ok() && !self.options.flush_suppressed {
                    let range = Some((*offset, payload.len_bytes()));
                    self.settle_write(op, (file, how), range, dsync);
                }
            }
            (Request::SetLen { .. } | Request::Extend { .. }, Some(Handle { file, .. })) => {
                self.body(file).unfinished.retain(|unfinished| *unfinished != op);
            }
            (Request::Flush { .. }, Some(Handle { file, .. })) => {
                self.counters.flushes += 1;
                let coverage = coverage.expect("a flush of an open file knows what it covers");
                self.settle_flush(file, &coverage, result.is_ok());
            }
            // Replacing a file is the one change of names that nobody syncs.
            (Request::Replace { .. }, _) => {}
            _ if result.is_ok() => self.names.commit(op),
            _ => {}
        }
        self.trace.add(token ^ (shard as u64) << 48 ^ u64::from(result.is_err()) << 63);
        self.finished[shard].push_back(Finished { token, result });
    }

    fn settle_write(
        &mut self,
        op: OpId,
        (file, how): (FileId, OpenHow),
        range: Option<(u64, u64)>,
        dsync: bool,
    ) {
        // Write-through is the device's promise about data; a length lives in the file system,
        // and a buffered write has not reached the device at all.
        let write_through = how.direct && self.options.write_cache == WriteCache::WriteThrough;
        let body = self.body(file);
        if dsync || write_through {
            body.cover(range, &|by| by == op);
        }
        if dsync {
            body.cover_length(&|by| by == op);
        }
    }

    fn settle_flush(&mut self, file: FileId, coverage: &Coverage, succeeded: bool) {
        let suppressed = self.options.flush_suppressed;
        let body = self.body(file);
        if !succeeded {
            // The kernel may drop the dirty state with the error: a retry would lie.
            body.abandon(&|op| coverage.holds(op));
        } else if !suppressed {
            body.cover(None, &|op| coverage.holds(op));
            body.cover_length(&|op| coverage.holds(op));
        }
    }
}

/// The error that a planned fault gives to an operation other than a write.
pub(super) fn refuse(fault: Option<Fault>) -> Result<(), Errno> {
    match fault {
        Some(Fault::Errno(errno)) => Err(errno),
        _ => Ok(()),
    }
}
