//! The simulated disk's state: operations in flight, each with a seeded moment at which it takes
//! effect and a later one at which it completes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::chunk::OpId;
use super::content::{Body, Coverage, Payload};
use super::fault::PlannedFault;
use super::namespace::{Errno, FileId, Namespace};
use super::record::SubmittedIo;
use super::request::{Appointment, Finished, Pending, Phase, Request};
use super::{DiskOp, Fault, SimDiskCounters, SimDiskOptions, SimLatency};
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
    /// Who holds each file's lock, by number.
    pub(super) locks: BTreeMap<FileId, BTreeMap<u64, LockKind>>,
    pub(super) faults: Vec<PlannedFault>,
    /// Sectors of files that cannot be read.
    pub(super) broken_sectors: BTreeSet<(FileId, u64)>,
    pub(super) counters: SimDiskCounters,
    /// What was submitted since somebody asked for it.
    pub(super) record: Option<Vec<SubmittedIo>>,
    pub(super) trace: Trace,
    /// Grows with every world; what an earlier world left behind names an older epoch.
    pub(super) epoch: u32,
    pub(super) attached: bool,
    /// At the start of the present world, or between two; jumps are in it already.
    pub(super) wall_clock_ns: u64,
    /// The same as the present world reads it.
    pub(super) wall_start_ms: Arc<AtomicU64>,
    /// Nothing more happens once so many operations have completed.
    pub(super) pause_at: Option<u64>,
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
            broken_sectors: BTreeSet::new(),
            counters: SimDiskCounters::default(),
            record: None,
            trace: Trace::new(),
            epoch: 0,
            attached: false,
            wall_start_ms: Arc::default(),
            pause_at: None,
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
        let stuck_ns = match fault {
            Some(Fault::Stuck { for_ns }) => for_ns,
            _ => 0,
        };
        self.counters.stuck_ops += u64::from(stuck_ns > 0);
        let complete = latency.saturating_add(stuck_ns);
        for (phase, after) in [(Phase::Effect, effect), (Phase::Complete, complete)] {
            self.agenda.push(Reverse(Appointment {
                at_ns: now_ns.saturating_add(after),
                phase,
                op,
            }));
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
        self.counters.slow_ops += u64::from(slow);
        if slow { usual * u64::from(self.options.slow_factor) } else { usual }
    }

    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse(next)| next.at_ns)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pause_at.is_some_and(|completions| self.counters.completions >= completions)
    }

    /// Lets everything happen that is due at `now_ns`.
    pub(super) fn advance(&mut self, now_ns: u64) {
        while !self.is_paused() && self.next_event_ns().is_some_and(|at| at <= now_ns) {
            let Some(Reverse(Appointment { phase, op, .. })) = self.agenda.pop() else { return };
            let mut pending = self.ops.remove(&op).expect("an appointment names an operation");
            match phase {
                Phase::Effect => {
                    let answer = self.take_effect(op, &mut pending.request, pending.fault);
                    self.count_outcome(pending.request.kind(), pending.fault, &answer);
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

    pub(super) fn body(&mut self, file: FileId) -> &mut Body {
        self.bodies.get_mut(&file).expect("a handle keeps its file")
    }

    pub(super) fn new_body(&mut self, file: FileId) -> &mut Body {
        let remember_older = self.options.remember_older_versions;
        self.bodies.entry(file).or_insert_with(|| Body::new(remember_older))
    }

    /// Files learn that the options have changed.
    pub(super) fn tell_bodies(&mut self) {
        for body in self.bodies.values_mut() {
            body.remember_older(self.options.remember_older_versions);
        }
    }

    fn complete(&mut self, op: OpId, pending: Pending) {
        let Pending { shard, token, request, answer, coverage, .. } = pending;
        let result = answer.expect("an operation takes effect before it completes");
        let mut unsaved = None;
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
                match result {
                    Ok(_) => self.settle_flush(file, &coverage),
                    Err(_) => unsaved = Some((file, coverage)),
                }
            }
            // Replacing a file is the one change of names that nobody syncs.
            (Request::Replace { .. }, _) => {}
            _ if result.is_ok() => self.names.commit(op),
            _ => {}
        }
        self.trace.add(token ^ (shard as u64) << 48 ^ u64::from(result.is_err()) << 63);
        self.counters.completions += 1;
        self.finished[shard].push_back(Finished { token, result, unsaved });
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
            body.cover(range, &|by, _| by == op);
        }
        if dsync {
            body.cover_length(&|by, _| by == op);
        }
    }

    fn settle_flush(&mut self, file: FileId, coverage: &Coverage) {
        if !self.options.flush_suppressed {
            let body = self.body(file);
            body.cover(None, &|op, abandoned| coverage.claims(op, abandoned));
            body.cover_length(&|op, abandoned| coverage.claims(op, abandoned));
        }
    }

    /// Hands a shard what has finished for it.
    pub(super) fn take_finished(&mut self, shard: usize) -> Vec<Finished> {
        let finished: Vec<Finished> = self.finished[shard].drain(..).collect();
        finished.iter().for_each(|finished| self.abandon_unsaved(finished));
        finished
    }

    /// The kernel may drop the dirty state with the error of a flush: a retry would lie. Flushes
    /// submitted before anybody was told of the error answer for themselves.
    pub(super) fn abandon_unsaved(&mut self, finished: &Finished) {
        let last = OpId(self.next_number);
        if let Some((file, coverage)) = &finished.unsaved
            && let Some(body) = self.bodies.get_mut(file)
        {
            body.abandon(last, &|op| coverage.holds(op));
        }
    }
}
