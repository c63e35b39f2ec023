//! A commit of one write whose value follows from what its key holds: looked up, made, reserved
//! and applied in one uninterrupted step, so that none conflicts with another. The log holds the
//! value that was made.

use std::rc::Rc;

use sombra_runtime::TaskClass;

use super::core::Core;
use super::single::{Hold, WaitFor, dropped};
use super::{CommitReply, ShardPart};
use crate::error::CommitError;
use crate::format::log_record::encode_commit;
use crate::options::Durability;
use crate::tablet::{Base, Newest, PageStore, PendingGet, Present};
use crate::txn::{Dependent, ReadSet, Refusal, Write};

/// One such commit on its way to the owner of its key.
pub(crate) struct DependentRequest {
    pub(crate) dependent: Dependent,
    pub(crate) wall_ms: u64,
    pub(crate) reply: CommitReply,
}

/// Why there is no commit yet.
enum Delay {
    Hold(Hold),
    /// The key's value lies on a page that has to be fetched.
    Page(PendingGet),
}

impl From<Hold> for Delay {
    fn from(hold: Hold) -> Delay {
        Delay::Hold(hold)
    }
}

fn refused(error: CommitError) -> Delay {
    Delay::Hold(Hold::Refused(error))
}

impl Core {
    /// Commits the write; the reply goes out when it is settled.
    pub(crate) fn commit_dependent(
        self: &Rc<Self>,
        request: DependentRequest,
        pages: &Rc<PageStore>,
    ) {
        let begun_ns = self.shard.now().as_nanos();
        let Some((request, delay)) = self.try_dependent(request, (pages, None), begun_ns) else {
            return;
        };
        let (core, pages) = (Rc::clone(self), Rc::clone(pages));
        let spec = self.spec("dependent commit", TaskClass::Foreground);
        self.shard.spawn(spec, core.commit_dependent_slowly((request, delay), pages, begun_ns));
    }

    async fn commit_dependent_slowly(
        self: Rc<Self>,
        (mut request, mut delay): (DependentRequest, Delay),
        pages: Rc<PageStore>,
        begun_ns: u64,
    ) {
        let mut base = None;
        loop {
            let waited = match delay {
                Delay::Hold(Hold::Refused(error)) => Err(error),
                Delay::Hold(Hold::Wait(wait)) => self.wait_for(wait).await,
                Delay::Page(pending) => {
                    let root = pending.root();
                    let read = pending.finish(pages.of(request.dependent.tablet)).await;
                    let read = read.map(|value| base = Some(Base { root, value }));
                    read.map_err(|error| CommitError::Read(error.to_read_error()))
                }
            };
            if let Err(error) = waited {
                return request.reply.send(Err(error));
            }
            match self.try_dependent(request, (&pages, base.as_ref()), begun_ns) {
                None => return,
                Some((again, next)) => (request, delay) = (again, next),
            }
        }
    }

    /// One uninterrupted attempt. Gives the request back when it has to wait, or is refused.
    fn try_dependent(
        self: &Rc<Self>,
        request: DependentRequest,
        (pages, base): (&PageStore, Option<&Base>),
        begun_ns: u64,
    ) -> Option<(DependentRequest, Delay)> {
        let write = match self.resolve(&request.dependent, pages, base) {
            Ok(write) => write,
            Err(delay) => return Some((request, delay)),
        };
        let mut record = Vec::new();
        encode_commit(&mut record, request.wall_ms, [write.logged()])
            .expect("the log takes every key and value that the interface takes");
        let shard = self.shard.id();
        let parts = [ShardPart { shard, writes: vec![write], reads: ReadSet::default() }];
        let charged = self.charge_memory(&parts);
        let charge = match charged.and_then(|bytes| self.charge_log(&record, bytes)) {
            Ok(charge) => charge,
            Err(hold) => return Some((request, hold.into())),
        };
        let ([part], logged) = (parts, (&record[..], Durability::Sync));
        self.settle_here((charge, None), logged, part.writes, (request.reply, begun_ns));
        None
    }

    /// The write that the dependent one comes to now.
    fn resolve(
        &self,
        dependent: &Dependent,
        pages: &PageStore,
        base: Option<&Base>,
    ) -> Result<Write, Delay> {
        self.refuse_if_stopped().map_err(refused)?;
        let Dependent { tablet, window_key, key_offset, change } = dependent;
        let (tablet, key_offset) = (*tablet, *key_offset);
        let mut write = Write { tablet, window_key: window_key.clone(), key_offset, value: None };
        if let Some(error) = self.find_damage(std::slice::from_ref(&write)) {
            return Err(refused(error));
        }
        let is_held = self.prepared.borrow().is_held_from_writers(&write);
        if is_held || self.is_locked_from(None, (tablet, window_key)) {
            return Err(Hold::Wait(WaitFor::Key).into());
        }
        let needs_value = change.needs_value();
        let newest = self.with_tablet(tablet, |of| of.newest(window_key, base, needs_value, pages));
        let present = match newest {
            None => return Err(refused(dropped(tablet))),
            Some(Newest::Pending(pending)) => return Err(Delay::Page(pending)),
            Some(Newest::Known(present)) => present,
        };
        match change.next(&present) {
            Ok(value) => {
                write.value = value;
                Ok(write)
            }
            Err(refusal) => Err(self.refuse(&write, &present, refusal)),
        }
    }

    /// Nobody may learn of what is not visible yet, not even by a refusal.
    fn refuse(&self, write: &Write, present: &Present, refusal: Refusal) -> Delay {
        if let Some(newest) = present.lsn.filter(|&newest| newest > self.store.oracle.visible()) {
            return Hold::Wait(WaitFor::Visible(newest)).into();
        }
        // The handle knows the name of the keyspace.
        let keyspace = format!("#{}", write.tablet.keyspace.as_u32());
        let key = write.key().to_vec();
        refused(match refusal {
            Refusal::Condition => CommitError::ConditionFailed { keyspace, key },
            Refusal::TooOld => CommitError::VersionTooOld { keyspace, key },
            Refusal::Operator(reason) => CommitError::MergeRefused { keyspace, key, reason },
            Refusal::Write(error) => error.into(),
        })
    }
}
