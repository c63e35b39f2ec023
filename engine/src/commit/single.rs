//! A commit whose keys all lie on one shard: validate, reserve and apply in one uninterrupted
//! step without I/O. What others conflict with is the applied, still invisible version.

use std::rc::Rc;

use sombra_runtime::sync::{Charge, ChargeError};
use sombra_runtime::{FaultPoint, TaskClass};

use super::core::{Conflict, Core};
use super::{CommitReply, CommitRequest, ShardPart};
use crate::error::{CommitError, WriteError};
use crate::format::BLOCK_SIZE_BYTES;
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::lock::LockOwner;
use crate::mvcc::registry::SnapshotGuard;
use crate::options::Durability;
use crate::txn::Write;
use crate::volume::VolumeState;
use crate::wal::segments::SpaceState;

/// What a commit waits for before its reservation. After it nothing waits but for durability.
pub(super) enum WaitFor {
    /// Room for so many bytes in the log's ring or in its next segment.
    Room(u32),
    /// A key that a commit across shards holds, or a transaction has locked.
    Key,
    /// The version that a blind write met and that is not visible yet.
    Visible(Lsn),
    /// Windows that are being merged.
    Memory(u64),
}

/// Why a commit cannot go on now.
pub(super) enum Hold {
    Refused(CommitError),
    Wait(WaitFor),
}

impl Core {
    /// Commits a request whose keys all lie here; the reply goes out when it is settled.
    pub(crate) fn commit_here(self: &Rc<Self>, request: CommitRequest) {
        let begun_ns = self.shard.now().as_nanos();
        if let Some((request, wait)) = self.try_commit(request, begun_ns) {
            let core = Rc::clone(self);
            let spec = self.spec("commit", TaskClass::Foreground);
            self.shard
                .spawn(spec, async move { core.commit_slowly(request, wait, begun_ns).await });
        }
    }

    async fn commit_slowly(
        self: Rc<Self>,
        mut request: CommitRequest,
        mut wait: WaitFor,
        begun_ns: u64,
    ) {
        loop {
            if let Err(error) = self.wait_for(wait).await {
                request.reply.send(Err(error));
                return;
            }
            match self.try_commit(request, begun_ns) {
                None => return,
                Some((again, next)) => (request, wait) = (again, next),
            }
        }
    }

    /// Returns when what a commit waits for may have come.
    pub(super) async fn wait_for(self: &Rc<Self>, wait: WaitFor) -> Result<(), CommitError> {
        match wait {
            WaitFor::Room(len) => self.wait_until(|| self.may_have_room(len)).await,
            WaitFor::Key => self.wait_until(|| false).await,
            WaitFor::Memory(bytes) => self.wait_for_memory(bytes).await,
            WaitFor::Visible(lsn) => {
                // Nothing of this commit was reserved: its outcome is known.
                let poisoned = |error: CommitError| error.to_string();
                let waited = self.wait_visible(lsn).await.map_err(poisoned);
                return waited.map_err(|reason| CommitError::Poisoned { reason });
            }
        }
        Ok(())
    }

    /// One uninterrupted attempt. Gives the request back when it has to wait.
    fn try_commit(
        self: &Rc<Self>,
        mut request: CommitRequest,
        begun_ns: u64,
    ) -> Option<(CommitRequest, WaitFor)> {
        let snapshot = request.snapshot.as_ref().map(SnapshotGuard::lsn);
        let validated = self.validate(&request.parts[0], snapshot, request.reply.owner());
        let charged = validated.and_then(|()| self.charge_memory(&request.parts));
        let charged = charged.and_then(|bytes| match refuse_if_ended(request.snapshot.as_ref()) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                self.store.memory.release(bytes);
                Err(Hold::Refused(error))
            }
        });
        let charge = match charged.and_then(|bytes| self.charge_log(&request.record, bytes)) {
            Ok(charge) => charge,
            Err(Hold::Refused(error)) => {
                // Whoever has the answer may count on the slot.
                drop(request.snapshot.take());
                request.reply.send(Err(error));
                return None;
            }
            Err(Hold::Wait(wait)) => return Some((request, wait)),
        };
        let CommitRequest { snapshot, durability, mut parts, record, reply } = request;
        let writes = parts.pop().map_or_else(Vec::new, |part| part.writes);
        self.settle_here((charge, snapshot), (&record, durability), writes, (reply, begun_ns));
        None
    }

    /// Takes the log position of a commit whose keys all lie here, applies it, and answers once it
    /// is settled.
    pub(super) fn settle_here(
        self: &Rc<Self>,
        (charge, snapshot): (Charge<'_>, Option<SnapshotGuard>),
        (record, durability): (&[u8], Durability),
        writes: Vec<Write>,
        (reply, begun_ns): (CommitReply, u64),
    ) {
        let (start, reserved) = self.reserve(charge, record, durability);
        // The slot was needed until the reservation: conflicts are decided.
        drop(snapshot);
        self.apply(reserved.lsn(), writes);
        self.mark_applied(start);
        self.acknowledge_later(reserved, reply, begun_ns);
        self.after_reservation();
    }

    /// Gets the log written at the end of this turn, and settles what needs no write.
    pub(crate) fn after_reservation(self: &Rc<Self>) {
        self.store.signal(self.shard.id()).raise();
    }

    fn validate(
        &self,
        part: &ShardPart,
        snapshot: Option<Lsn>,
        owner: Option<LockOwner>,
    ) -> Result<(), Hold> {
        self.refuse_if_stopped().map_err(Hold::Refused)?;
        if let Some(tablet) = self.missing_tablet(part) {
            return Err(Hold::Refused(dropped(tablet)));
        }
        if let Some(error) = self.find_damage(&part.writes) {
            return Err(Hold::Refused(error));
        }
        match self.find_conflict(part, snapshot, owner) {
            None => Ok(()),
            Some(conflict) if snapshot.is_none() => Err(Hold::Wait(match conflict.newest {
                Some(newest) => WaitFor::Visible(newest),
                None => WaitFor::Key,
            })),
            Some(conflict) => {
                self.counters().count_conflict(conflict.reason);
                Err(Hold::Refused(conflict.into_error()))
            }
        }
    }

    pub(crate) fn refuse_if_stopped(&self) -> Result<(), CommitError> {
        if let Some(reason) = self.store.poison.reason() {
            return Err(CommitError::Poisoned { reason: reason.to_owned() });
        }
        if self.store.is_closing() {
            return Err(CommitError::Closed);
        }
        Ok(())
    }

    /// Charges the windows' budget for all parts; the charge turns into window bytes as the
    /// parts are applied. Returns the bytes, for giving them back.
    pub(super) fn charge_memory(&self, parts: &[ShardPart]) -> Result<u64, Hold> {
        self.refuse_if_disk_full(parts).map_err(Hold::Refused)?;
        let writes = parts.iter().flat_map(|part| &part.writes);
        let bytes = writes.map(Write::cost_bytes).sum();
        let memory = &self.store.memory;
        if self.try_charge(bytes).is_ok() {
            return Ok(bytes);
        }
        // Old versions may hold what is missing.
        self.tidy(limits::GARBAGE_STEP_MAX);
        let Err(used) = self.try_charge(bytes) else { return Ok(bytes) };
        if self.store.can_free_memory(bytes) {
            self.store.want_merges();
            return Err(Hold::Wait(WaitFor::Memory(bytes)));
        }
        let (expected, found) = (memory.max_bytes(), used + bytes);
        Err(Hold::Refused(CommitError::MemoryFull { expected, found }))
    }

    /// Charges the windows' budget, or tells what of it is used.
    fn try_charge(&self, bytes: u64) -> Result<(), u64> {
        if self.shard.refuses(FaultPoint::MemoryCharge) {
            return Err(self.store.memory.used_bytes());
        }
        self.store.memory.try_charge(bytes)
    }

    /// While the data file has only its reserve left, what adds data is refused; deletes and
    /// merges go on, since they make room.
    fn refuse_if_disk_full(&self, parts: &[ShardPart]) -> Result<(), CommitError> {
        let volume = &self.store.volume;
        if volume.has_room_for_commits() {
            return Ok(());
        }
        let mut writes = parts.iter().flat_map(|part| &part.writes);
        if writes.all(|write| write.value.is_none()) {
            return Ok(());
        }
        let (needed, reason) = match volume.state() {
            // Growth is on its way.
            VolumeState::Fine => return Ok(()),
            VolumeState::Full { expected, found } => {
                let reason = format!("data file: expected at most {expected} bytes, found {found}");
                (limits::EXTENT_BYTES, reason)
            }
            VolumeState::DiskFull { needed, reason } => (needed, reason),
            VolumeState::Broken { reason } => return Err(CommitError::Poisoned { reason }),
        };
        // Somebody else may have made room on the disk: the next attempt will know.
        volume.want();
        Err(CommitError::DiskFull { needed, reason })
    }

    /// Returns when so many bytes may fit into the windows, or nothing will make them fit.
    pub(super) async fn wait_for_memory(&self, bytes: u64) {
        self.wait_until(|| {
            let memory = &self.store.memory;
            memory.used_bytes() + bytes <= memory.max_bytes()
                || !self.store.can_free_memory(bytes)
                || self.refuse_if_stopped().is_err()
        })
        .await;
    }

    /// Charges ring and log space for the record; gives the memory back when there is none.
    pub(super) fn charge_log(&self, record: &[u8], memory_bytes: u64) -> Result<Charge<'_>, Hold> {
        let log = &self.store.log;
        let len = record.len() as u32;
        let error = match log.ring().try_charge(len) {
            Ok(charge) => return Ok(charge),
            Err(error) => error,
        };
        self.store.memory.release(memory_bytes);
        let refuse = |error| Err(Hold::Refused(error));
        match error {
            ChargeError::RingFull => Err(Hold::Wait(WaitFor::Room(len))),
            ChargeError::TooLong { len_bytes_max, .. } => {
                let (expected, found) = (len_bytes_max as usize, record.len());
                let unit = "bytes";
                refuse(WriteError::TooLarge { unit, expected, found }.into())
            }
            ChargeError::SpaceFull => {
                // The record, its sealing waste and the rest of the tail's block.
                log.segments().want_room(u64::from(len) + 2 * BLOCK_SIZE_BYTES as u64);
                match log.segments().state() {
                    SpaceState::Fine => Err(Hold::Wait(WaitFor::Room(len))),
                    // Merging lets the log be truncated.
                    SpaceState::LogFull { .. } if self.store.can_merge() => {
                        self.store.want_merges();
                        Err(Hold::Wait(WaitFor::Room(len)))
                    }
                    SpaceState::LogFull { expected, found } => {
                        // Merges may wait for the disk: the next commit will know.
                        self.store.volume.want();
                        refuse(CommitError::LogFull { expected, found })
                    }
                    SpaceState::DiskFull { needed, reason } => {
                        refuse(CommitError::DiskFull { needed, reason })
                    }
                }
            }
        }
    }
}

impl Core {
    /// Whether a charge that failed is worth another attempt.
    pub(super) fn may_have_room(&self, len: u32) -> bool {
        let log = &self.store.log;
        log.ring().try_charge(len).is_ok()
            || match log.segments().state() {
                SpaceState::Fine => false,
                SpaceState::LogFull { .. } => !self.store.can_merge(),
                SpaceState::DiskFull { .. } => true,
            }
            || self.refuse_if_stopped().is_err()
    }
}

/// Ended by age or for what it held up: what it would be validated against may be gone.
pub(super) fn refuse_if_ended(snapshot: Option<&SnapshotGuard>) -> Result<(), CommitError> {
    match snapshot {
        Some(guard) if guard.is_ended() => {
            Err(CommitError::SnapshotTooOld { snapshot: guard.lsn() })
        }
        _ => Ok(()),
    }
}

/// The handle knows the name of the keyspace.
pub(super) fn dropped(tablet: TabletId) -> CommitError {
    CommitError::KeyspaceDropped { name: format!("#{}", tablet.keyspace.as_u32()) }
}

impl Conflict {
    /// The handle knows the name of the keyspace, and what of the window key is the caller's.
    pub(super) fn into_error(self) -> CommitError {
        let keyspace = format!("#{}", self.tablet.keyspace.as_u32());
        CommitError::Conflict { keyspace, key: self.window_key.into(), reason: self.reason }
    }
}
