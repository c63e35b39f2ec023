//! Writes down what clients do, as they see it, in one history over all lives of a store.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use sombra_runtime::Runtime;

use crate::isolation::{Action, Isolation, Operation, Outcome, Transaction};

/// Why a commit did not happen, as the counts tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Abort {
    Conflict,
    Rollback,
    TooOld,
    NoRoom,
    Stopped,
}

impl Abort {
    fn reason(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// How many transactions have ended, and how.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// All that have ended, those of unknown outcome among them.
    pub finished: u64,
    pub conflicts: u64,
    pub rolled_back: u64,
    pub too_old: u64,
    pub no_room: u64,
    /// Commits with a merge of their store between begin and answer.
    pub over_merges: u64,
    /// Clients of this life that are done.
    pub(super) clients_ended: u64,
}

/// What a transaction was told before its life ended.
struct Running {
    transaction: Transaction,
    is_committing: bool,
    merges: u64,
}

#[derive(Default)]
struct Recording {
    done: Vec<Transaction>,
    running: BTreeMap<u64, Running>,
    number: u64,
    value: u64,
    counts: Counts,
    /// Where this life begins: in time, and among those that are done.
    base_ns: u64,
    first: usize,
    /// No crash can take what lies at or below it.
    proven_lsn: u64,
    /// Who waits until so many transactions have finished.
    held: Vec<(u64, Waker)>,
    holders: u64,
    broken: Option<String>,
}

/// The recording of all lives.
#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Recording>>);

/// A client's pen: the book, and the clock of the life in which it writes.
#[derive(Clone)]
pub(super) struct Pen {
    book: Book,
    runtime: Runtime,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pen(&self, runtime: Runtime) -> Pen {
        Pen { book: self.clone(), runtime }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What must not be and what no history can say, if anything.
    pub(super) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// A life begins with a store that shows everything up to `lsn`, which stays.
    pub(super) fn begin_life(&self, lsn: u64) {
        let mut recording = self.lock();
        recording.proven_lsn = lsn;
        recording.first = recording.done.len();
        recording.counts.clients_ended = 0;
        recording.holders = 0;
        recording.held.clear();
    }

    /// A life ends by a crash at `now_ns` of its clock. What is lost with it was seen by those
    /// only who are not proven to be durable themselves, so they count as unknown, readers too.
    pub(super) fn end_life(&self, now_ns: u64) {
        let mut recording = self.lock();
        let recording = &mut *recording;
        let end_ns = recording.base_ns + now_ns;
        let proven_lsn = recording.proven_lsn;
        for transaction in &mut recording.done[recording.first..] {
            if matches!(transaction.outcome, Outcome::Committed { lsn } if lsn > proven_lsn) {
                transaction.outcome = Outcome::Unknown;
            }
        }
        for (_, running) in std::mem::take(&mut recording.running) {
            let outcome = match running.is_committing {
                true => Outcome::Unknown,
                false => Outcome::Aborted { reason: "crash".to_owned() },
            };
            recording.counts.finished += 1;
            recording.done.push(Transaction { end_ns, outcome, ..running.transaction });
        }
        recording.first = recording.done.len();
        recording.base_ns = end_ns + 1;
    }

    pub(super) fn transactions(&self) -> Vec<Transaction> {
        self.lock().done.clone()
    }
}

impl Pen {
    pub(super) fn now_ns(&self) -> u64 {
        let base_ns = self.book.lock().base_ns;
        base_ns + self.runtime.now().as_nanos()
    }

    /// A value that nobody wrote before.
    pub(super) fn next_value(&self) -> u64 {
        let mut recording = self.book.lock();
        recording.value += 1;
        recording.value
    }

    /// A transaction of `client` that began at `begin_ns`, after so many merges. Returns its
    /// number.
    pub(super) fn begin(
        &self,
        client: u32,
        isolation: Isolation,
        begin_ns: u64,
        merges: u64,
    ) -> u64 {
        let mut recording = self.book.lock();
        recording.number += 1;
        let (number, operations, outcome) = (recording.number, Vec::new(), Outcome::Unknown);
        let transaction = Transaction {
            client,
            transaction: number,
            isolation,
            begin_ns,
            end_ns: begin_ns,
            operations,
            outcome,
        };
        recording.running.insert(number, Running { transaction, is_committing: false, merges });
        number
    }

    /// An operation that began at `begin_ns` and has succeeded.
    pub(super) fn note(&self, number: u64, begin_ns: u64, action: Action) {
        let end_ns = self.now_ns();
        let mut recording = self.book.lock();
        // The future of a client outlives its life only to be dropped.
        let Some(running) = recording.running.get_mut(&number) else { return };
        running.transaction.operations.push(Operation { begin_ns, end_ns, action });
    }

    /// As [`Pen::note`], of what came before all that was noted.
    pub(super) fn note_first(&self, number: u64, begin_ns: u64, action: Action) {
        let end_ns = self.now_ns();
        let mut recording = self.book.lock();
        let Some(running) = recording.running.get_mut(&number) else { return };
        running.transaction.operations.insert(0, Operation { begin_ns, end_ns, action });
    }

    /// From here on a crash leaves the outcome open.
    pub(super) fn committing(&self, number: u64) {
        if let Some(running) = self.book.lock().running.get_mut(&number) {
            running.is_committing = true;
        }
    }

    /// The commit was acknowledged; `is_durable` tells whether that is a promise against crashes.
    pub(super) fn committed(&self, number: u64, lsn: u64, is_durable: bool, merges: u64) {
        let mut recording = self.book.lock();
        let running = recording.running.get(&number);
        let is_writer = running.is_some_and(|running| {
            let operations = &running.transaction.operations;
            operations.iter().any(|operation| matches!(operation.action, Action::Write { .. }))
        });
        recording.counts.over_merges +=
            u64::from(running.is_some_and(|running| running.merges < merges) && is_writer);
        if is_durable && is_writer {
            recording.proven_lsn = recording.proven_lsn.max(lsn);
        }
        drop(recording);
        self.finish(number, Outcome::Committed { lsn });
    }

    pub(super) fn aborted(&self, number: u64, abort: Abort) {
        let mut recording = self.book.lock();
        let counts = &mut recording.counts;
        match abort {
            Abort::Conflict => counts.conflicts += 1,
            Abort::Rollback => counts.rolled_back += 1,
            Abort::TooOld => counts.too_old += 1,
            Abort::NoRoom => counts.no_room += 1,
            Abort::Stopped => {}
        }
        drop(recording);
        self.finish(number, Outcome::Aborted { reason: abort.reason() });
    }

    pub(super) fn unknown(&self, number: u64) {
        self.finish(number, Outcome::Unknown);
    }

    fn finish(&self, number: u64, outcome: Outcome) {
        let end_ns = self.now_ns();
        let mut recording = self.book.lock();
        let Some(running) = recording.running.remove(&number) else { return };
        recording.done.push(Transaction { end_ns, outcome, ..running.transaction });
        recording.counts.finished += 1;
        let finished = recording.counts.finished;
        let due = recording.held.extract_if(.., |(at, _)| *at <= finished);
        due.for_each(|(_, waker)| waker.wake());
    }

    /// Something that must not be.
    pub(super) fn broken(&self, what: String) {
        self.book.lock().broken.get_or_insert(what);
    }

    /// Waits until `count` more transactions have finished, unless too few others are left to
    /// finish them.
    pub(super) async fn hold(&self, count: u64, holders_max: u64) {
        let until = {
            let mut recording = self.book.lock();
            if recording.holders >= holders_max || recording.counts.clients_ended > 0 {
                return;
            }
            recording.holders += 1;
            recording.counts.finished + count
        };
        poll_fn(|context| {
            let mut recording = self.book.lock();
            if recording.counts.finished >= until || recording.counts.clients_ended > 0 {
                return Poll::Ready(());
            }
            recording.held.push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
        let mut recording = self.book.lock();
        recording.holders = recording.holders.saturating_sub(1);
    }

    /// A client is done, because the store has stopped: nobody needs to wait any longer.
    pub(super) fn client_ended(&self) {
        let mut recording = self.book.lock();
        recording.counts.clients_ended += 1;
        recording.held.drain(..).for_each(|(_, waker)| waker.wake());
    }
}
