//! Faults of single operations: planned ahead, met by the n-th operation that they fit.

use super::SimDisk;
use super::device::Device;
use super::namespace::Errno;
use super::request::{Answer, Request};

/// Groups of operations that faults and latencies tell apart. Zeroing and setting a length count
/// as writes; everything about names, and looking at a file, counts as path operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOp {
    Read,
    Write,
    Flush,
    Path,
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation fails. A write leaves any part of itself behind; after a failed flush no
    /// later flush makes that data durable.
    Errno(i32),
    /// The write reports success and does nothing. Other operations are not affected.
    LostWrite,
    /// The write reports success and lands elsewhere in its file; a distance that leads before
    /// its first byte is taken the other way.
    MisdirectedWrite { by_bytes: i64 },
    /// The read succeeds with bytes of another place of its file, found as that of a misdirected
    /// write; beyond the file's end they are zeroes.
    MisdirectedRead { by_bytes: i64 },
    /// The read succeeds with what its range held before the last change: the durable bytes where
    /// they differ from the present ones, else the durable ones before those if the disk
    /// remembers them (`remember_older_versions`), chunk by chunk of 4 KiB.
    StaleRead,
    /// The operation takes effect, and completes so much later than it would have.
    Stuck { for_ns: u64 },
}

impl Fault {
    /// Whether operations of the kind can meet it at all.
    fn is_of(self, on: DiskOp) -> bool {
        match self {
            Fault::Errno(_) | Fault::Stuck { .. } => true,
            Fault::LostWrite | Fault::MisdirectedWrite { .. } => on == DiskOp::Write,
            Fault::MisdirectedRead { .. } | Fault::StaleRead => on == DiskOp::Read,
        }
    }

    /// Lengths are the file system's own: a drive cannot lose or misdirect their change.
    fn fits(self, request: &Request) -> bool {
        let moves_bytes = !matches!(request, Request::SetLen { .. } | Request::Extend { .. });
        let about_bytes = matches!(self, Fault::LostWrite | Fault::MisdirectedWrite { .. });
        moves_bytes || !about_bytes
    }
}

#[derive(Clone)]
pub(super) struct PlannedFault {
    on: DiskOp,
    path_part: Option<String>,
    skip: u64,
    fault: Fault,
    forever: bool,
}

impl SimDisk {
    /// Lets the `nth` matching operation from now fail with `errno`; 1 is the next one.
    pub fn fail_next(&self, on: DiskOp, nth: u64, errno: i32) {
        self.plan(on, None, nth, Fault::Errno(errno));
    }

    /// As `fail_next`, for files whose path contains `path_part`.
    pub fn fail_next_at(&self, path_part: &str, on: DiskOp, nth: u64, errno: i32) {
        self.plan(on, Some(path_part), nth, Fault::Errno(errno));
    }

    /// From the `nth` matching operation on all of them fail, until `clear_faults`.
    pub fn fail_from(&self, on: DiskOp, nth: u64, errno: i32) {
        self.plan_from(on, None, nth, Fault::Errno(errno));
    }

    /// Plans any fault for the `nth` matching operation from now. Panics when operations of the
    /// kind cannot meet it.
    pub fn plan(&self, on: DiskOp, path_part: Option<&str>, nth: u64, fault: Fault) {
        self.add_plan((on, path_part), nth, fault, false);
    }

    /// As `plan`, for the `nth` matching operation and all that follow, until `clear_faults`.
    pub fn plan_from(&self, on: DiskOp, path_part: Option<&str>, nth: u64, fault: Fault) {
        self.add_plan((on, path_part), nth, fault, true);
    }

    fn add_plan(
        &self,
        (on, path_part): (DiskOp, Option<&str>),
        nth: u64,
        fault: Fault,
        forever: bool,
    ) {
        assert!(nth > 0, "operations are counted from 1");
        assert!(fault.is_of(on), "{fault:?} is no fault of {on:?}");
        let path_part = path_part.map(str::to_owned);
        self.device().faults.push(PlannedFault { on, path_part, skip: nth - 1, fault, forever });
    }

    pub fn clear_faults(&self) {
        self.device().faults.clear();
    }
}

impl Device {
    /// Counts the planned faults that match the request and takes the one whose turn it is.
    pub(super) fn due_fault(&mut self, request: &Request) -> Option<Fault> {
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
                && plan.fault.fits(request)
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

    /// Counts what an operation's effect shows of its fault; those that change bytes count where
    /// they change them.
    pub(super) fn count_outcome(
        &mut self,
        on: DiskOp,
        fault: Option<Fault>,
        outcome: &Result<Answer, Errno>,
    ) {
        let counters = &mut self.counters;
        if let (Some(Fault::Errno(planned)), Err(errno)) = (fault, outcome)
            && planned == *errno
        {
            match on {
                DiskOp::Read => counters.read_errors += 1,
                DiskOp::Write => counters.write_errors += 1,
                DiskOp::Flush => counters.flush_errors += 1,
                DiskOp::Path => counters.path_errors += 1,
            }
        }
        counters.no_space += u64::from(matches!(outcome, Err(libc::ENOSPC)));
    }
}

/// The error that a planned fault gives to an operation other than a write.
pub(super) fn refuse(fault: Option<Fault>) -> Result<(), Errno> {
    match fault {
        Some(Fault::Errno(errno)) => Err(errno),
        _ => Ok(()),
    }
}

/// Where an operation at `offset` arrives that goes astray: never where it was meant to.
pub(super) fn misdirected(offset: u64, by_bytes: i64) -> u64 {
    offset
        .checked_add_signed(by_bytes)
        .unwrap_or_else(|| offset.saturating_add(by_bytes.unsigned_abs()))
}
