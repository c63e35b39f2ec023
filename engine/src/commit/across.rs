//! A commit whose keys lie on several shards: prepare in parallel, ONE log record, apply
//! everywhere, then clear. Nobody waits while prepared: a conflict aborts. No second flush.

use std::rc::Rc;

use futures_channel::oneshot;
use sombra_runtime::ShardId;
use sombra_runtime::sync::Charge;
use sombra_runtime::sync::atomic::Ordering;

use super::core::Core;
use super::prepared::PrepareId;
use super::single::{Hold, WaitFor, dropped, refuse_if_ended};
use super::{CommitRequest, ShardPart};
use crate::error::CommitError;
use crate::ids::Lsn;
use crate::lock::LockOwner;

/// A participant's answer to a prepare.
pub(crate) type Answer = Result<(), CommitError>;

/// What a coordinator tells a participant.
pub(crate) enum CommitMessage {
    /// Validate this part and hold its keys and ranges.
    Prepare { by: Preparing, part: ShardPart, answer: oneshot::Sender<Answer> },
    /// The record is in the log: apply what was prepared, then let go of what is held.
    Apply { id: PrepareId, lsn: Lsn, applied: oneshot::Sender<()> },
    /// Let go of what is held: the commit was given up, or was only read here and is in the log.
    Release { id: PrepareId },
}

/// Who prepares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preparing {
    id: PrepareId,
    snapshot: Lsn,
    /// Whose locks do not stop it.
    owner: Option<LockOwner>,
}

/// Carries messages to other shards, in order for each.
pub(crate) trait Carrier {
    /// Returns when the message is on its way; `Err` when that shard is gone.
    fn carry(&self, to: ShardId, message: CommitMessage) -> impl Future<Output = Result<(), ()>>;
}

impl Core {
    /// A participant's side. Uninterrupted; the answer goes back on the message's own channel.
    pub(crate) fn take_message(self: &Rc<Self>, message: CommitMessage) {
        match message {
            CommitMessage::Prepare { by, part, answer } => {
                drop(answer.send(self.prepare(by, part)));
            }
            CommitMessage::Apply { id, lsn, applied } => {
                let writes = self.prepared.borrow_mut().leave(id);
                self.apply(lsn, writes);
                let _ = applied.send(());
                self.after_reservation();
            }
            CommitMessage::Release { id } => {
                drop(self.prepared.borrow_mut().leave(id));
                self.after_reservation();
            }
        }
    }

    fn prepare(&self, by: Preparing, part: ShardPart) -> Answer {
        self.refuse_if_poisoned()?;
        if let Some(tablet) = self.missing_tablet(&part) {
            return Err(dropped(tablet));
        }
        if let Some(error) = self.find_damage(&part.writes) {
            return Err(error);
        }
        if let Some(conflict) = self.find_conflict(&part, Some(by.snapshot), by.owner) {
            self.counters().count_conflict(conflict.reason);
            return Err(conflict.into_error());
        }
        self.prepared.borrow_mut().enter(by.id, part.writes, part.reads);
        Ok(())
    }

    /// Charges memory for all parts and log space for the record; waits while there is no room.
    /// Nothing is reserved or held yet, so waiting here holds up nobody.
    pub(crate) async fn charge_when_room(
        self: &Rc<Self>,
        parts: &[ShardPart],
        record: &[u8],
    ) -> Result<(Charge<'_>, u64), CommitError> {
        loop {
            self.refuse_if_stopped()?;
            let held = self
                .charge_memory(parts)
                .and_then(|bytes| self.charge_log(record, bytes).map(|charge| (charge, bytes)));
            match held {
                Ok(charged) => return Ok(charged),
                Err(Hold::Refused(error)) => return Err(error),
                Err(Hold::Wait(WaitFor::Room(len))) => {
                    self.wait_until(|| self.may_have_room(len)).await;
                }
                Err(Hold::Wait(WaitFor::Memory(bytes))) => self.wait_for_memory(bytes).await,
                Err(Hold::Wait(WaitFor::Key | WaitFor::Visible(_))) => {
                    unreachable!("charging waits for room only")
                }
            }
        }
    }

    fn refuse_if_poisoned(&self) -> Answer {
        match self.store.poison.reason() {
            Some(reason) => Err(CommitError::Poisoned { reason: reason.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Runs one commit across shards on its coordinator, as its own task: dropping the client's
/// future drops only the reply.
pub(crate) async fn commit_across(core: Rc<Core>, carrier: impl Carrier, request: CommitRequest) {
    let begun_ns = core.shard.now().as_nanos();
    let CommitRequest { snapshot, durability, parts, record, reply } = request;
    let snapshot = snapshot.expect("a blind write has one key, so one shard");
    let sequence = core.sequence.get();
    core.sequence.set(sequence + 1);
    let id = PrepareId { coordinator: core.shard.id(), sequence };
    let others = |is_writer: bool| -> Vec<ShardId> {
        let those = parts[1..].iter().filter(|part| part.writes.is_empty() != is_writer);
        those.map(|part| part.shard).collect()
    };
    let (writers, readers) = (others(true), others(false));

    // Everything that may be missing is charged before anything is prepared or reserved.
    let (charge, memory_bytes) = match core.charge_when_room(&parts, &record).await {
        Ok(charged) => charged,
        Err(error) => {
            // Whoever has the answer may count on the slot.
            drop(snapshot);
            return reply.send(Err(error));
        }
    };
    let mut parts = parts.into_iter();
    let own = parts.next().expect("a commit has a coordinator that takes part");
    let by = Preparing { id, snapshot: snapshot.lsn(), owner: reply.owner() };
    let (writers, readers, prepared) = match core.prepare(by, own) {
        Ok(()) => {
            let prepared = prepare_others(&core, &carrier, by, parts).await;
            (writers, readers, prepared)
        }
        // Nobody else was asked, so nobody else has anything to let go of.
        Err(error) => (Vec::new(), Vec::new(), Err(error)),
    };
    // The mark is looked at after every prepare has answered: what they validated against was
    // there unless it is set.
    if let Err(error) = prepared.and_then(|()| refuse_if_ended(Some(&snapshot))) {
        core.store.memory.release(memory_bytes);
        drop(charge);
        core.take_message(CommitMessage::Release { id });
        release_all(&carrier, id, &writers).await;
        release_all(&carrier, id, &readers).await;
        drop(snapshot);
        return reply.send(Err(error));
    }
    let (start, reserved) = core.reserve(charge, &record, durability);
    let lsn = reserved.lsn();
    drop(snapshot);
    core.counters().commits_across.fetch_add(1, Ordering::Relaxed);
    let own = core.prepared.borrow_mut().leave(id);
    core.apply(lsn, own);
    core.acknowledge_later(reserved, reply, begun_ns);
    core.after_reservation();
    // Whoever was only read has nothing to apply: nobody waits for it.
    release_all(&carrier, id, &readers).await;
    if apply_all(&carrier, id, lsn, &writers).await.is_err() {
        return core.store.stop("a shard was lost while a commit was applied");
    }
    core.mark_applied(start);
    core.after_reservation();
}

/// Prepares the others' parts in parallel, and returns after all have answered.
async fn prepare_others(
    core: &Rc<Core>,
    carrier: &impl Carrier,
    by: Preparing,
    parts: impl Iterator<Item = ShardPart>,
) -> Result<(), CommitError> {
    let (mut outcome, mut answers) = (Ok(()), Vec::new());
    for part in parts {
        let (answer, answered) = oneshot::channel();
        let to = part.shard;
        let message = CommitMessage::Prepare { by, part, answer };
        // A lost shard drops the message and with it `answer`: seen below.
        let _ = carrier.carry(to, message).await;
        answers.push(answered);
    }
    for answered in answers {
        let lost = || CommitError::Poisoned { reason: "a shard was lost".to_owned() };
        let answer = answered.await.unwrap_or_else(|_| Err(lost()));
        outcome = outcome.and(answer);
    }
    outcome?;
    core.refuse_if_poisoned()
}

async fn release_all(carrier: &impl Carrier, id: PrepareId, others: &[ShardId]) {
    for &other in others {
        // A lost shard holds nothing.
        let _ = carrier.carry(other, CommitMessage::Release { id }).await;
    }
}

async fn apply_all(
    carrier: &impl Carrier,
    id: PrepareId,
    lsn: Lsn,
    others: &[ShardId],
) -> Result<(), ()> {
    let mut answers = Vec::new();
    for &other in others {
        let (applied, answered) = oneshot::channel();
        carrier.carry(other, CommitMessage::Apply { id, lsn, applied }).await?;
        answers.push(answered);
    }
    for answered in answers {
        answered.await.map_err(drop)?;
    }
    Ok(())
}
