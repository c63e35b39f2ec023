//! The record of one store's life: what was tried, what was answered, what was read.
//!
//! Within one opening every commit on a key is ordered: acknowledged ones by LSN, unanswered
//! ones by their snapshot, because of two commits on one key the later must have begun at or
//! above the earlier (the first committer wins). So an unanswered commit lies above every
//! acknowledged one at or below its snapshot, and below all others.

use std::collections::BTreeMap;

use super::event::{Event, Intent};
use super::spaces::Spaces;
use super::value::{Found, KeyId, SpaceId, Stamp, TxnId};
use super::violation::Violation;
use crate::limits;

/// What the committing client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// No answer, or an answer that leaves it open.
    Open,
    Acknowledged(u64),
    Refused,
}

/// One transaction of the present opening.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) intent: Intent,
    pub(crate) outcome: Outcome,
    /// The lowest snapshot that showed one of its values, while it was unanswered or not.
    pub(crate) seen_at: Option<u64>,
}

/// Where a commit stands among the commits on one key.
pub(crate) type Position = (u64, bool, TxnId);

impl Entry {
    pub(crate) fn position(&self) -> Option<Position> {
        match self.outcome {
            Outcome::Refused => None,
            Outcome::Acknowledged(lsn) => Some((lsn, false, self.intent.id)),
            Outcome::Open => Some((self.intent.snapshot.unwrap_or(u64::MAX), true, self.intent.id)),
        }
    }

    /// What its write of `key` leaves there.
    pub(crate) fn effect(&self, key: KeyId) -> Found {
        let index = self.intent.writes.iter().position(|write| write.key == key);
        let index = index.expect("only its own keys list a transaction as writer");
        self.intent.stamp(index).map_or(Found::Absent, Found::Value)
    }
}

/// What is known of one key.
#[derive(Clone, Default, Debug)]
pub(crate) struct KeyHistory {
    /// What the last verified opening showed.
    pub(crate) base: Option<Stamp>,
    /// The transactions of the present opening that write it, in the order of their intents.
    pub(crate) writers: Vec<TxnId>,
}

impl KeyHistory {
    pub(crate) fn base_found(&self) -> Found {
        self.base.map_or(Found::Absent, Found::Value)
    }
}

/// A read to be judged once every answer of the opening is in.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) snapshot: u64,
    pub(crate) key: KeyId,
    pub(crate) found: Found,
}

/// Counts over a whole history.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    pub intents: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub doubtful: u64,
    pub reads: u64,
    pub settled: u64,
}

/// The record of one store. Fed with events, judged after each reopening.
#[derive(Clone, Default, Debug)]
pub struct History {
    pub(crate) spaces: Spaces,
    pub(crate) keys: BTreeMap<KeyId, KeyHistory>,
    pub(crate) entries: BTreeMap<TxnId, Entry>,
    pub(crate) reads: Vec<Read>,
    pub(crate) totals: Totals,
    /// The greatest LSN acknowledged in openings that are over.
    pub(crate) settled_lsn: u64,
    /// The greatest LSN acknowledged at all.
    pub(crate) acknowledged_lsn: u64,
    violations: Vec<Violation>,
    violation_count: u64,
}

impl History {
    /// Takes one report.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Intent(intent) => self.intend(intent),
            Event::Acknowledged { id, lsn } => self.acknowledge(id, lsn),
            Event::Refused { id } => self.answer(id, Outcome::Refused),
            Event::Doubtful { id } => self.answer(id, Outcome::Open),
            Event::Read { snapshot, key, found } => self.read(Read { snapshot, key, found }),
            Event::SpaceCreating { space, name } => self.spaces.creating(space, &name),
            Event::SpaceCreated { space } => self.spaces.created(space),
            Event::SpaceCreateRefused { space } => self.spaces.create_refused(space),
            Event::SpaceDropping { space } => self.spaces.dropping(space),
            Event::SpaceDropped { space } => self.spaces.dropped(space),
            Event::SpaceDropRefused { space } => self.spaces.drop_refused(space),
            Event::Broken { what } => self.report(Violation::Broken { what }),
        }
    }

    /// What was found wrong so far; at most `limits::VIOLATIONS_KEPT_MAX`.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many violations there were, kept or not.
    #[must_use]
    pub fn violation_count(&self) -> u64 {
        self.violation_count
    }

    /// Counts since the history began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The greatest LSN that was acknowledged.
    #[must_use]
    pub fn acknowledged_lsn(&self) -> u64 {
        self.acknowledged_lsn
    }

    /// The keys of `space` that were ever written and may be there.
    #[must_use]
    pub fn keys_of(&self, space: SpaceId) -> Vec<u32> {
        let all = KeyId { space, index: 0 }..=KeyId { space, index: u32::MAX };
        self.keys.range(all).map(|(key, _)| key.index).collect()
    }

    /// The keyspaces that certainly exist, by name.
    #[must_use]
    pub fn live_spaces(&self) -> BTreeMap<String, SpaceId> {
        self.spaces.live()
    }

    pub(crate) fn report(&mut self, violation: Violation) {
        self.violation_count += 1;
        if self.violations.len() < limits::VIOLATIONS_KEPT_MAX {
            self.violations.push(violation);
        }
    }

    fn intend(&mut self, intent: Intent) {
        self.totals.intents += 1;
        assert!(intent.snapshot.is_some() || intent.writes.len() == 1, "auto-commits write once");
        for write in &intent.writes {
            self.keys.entry(write.key).or_default().writers.push(intent.id);
        }
        if let Some(snapshot) = intent.snapshot
            && snapshot < intent.floor
        {
            let (txn, floor) = (intent.id, intent.floor);
            self.report(Violation::StaleSnapshot { txn, snapshot, floor });
        }
        let entry = Entry { outcome: Outcome::Open, seen_at: None, intent };
        let before = self.entries.insert(entry.intent.id, entry);
        assert!(before.is_none(), "a transaction is intended once");
    }

    fn acknowledge(&mut self, id: TxnId, lsn: u64) {
        self.totals.acknowledged += 1;
        self.acknowledged_lsn = self.acknowledged_lsn.max(lsn);
        let floor = self.settled_lsn;
        let entry = self.entries.get_mut(&id).expect("an answer follows its intent");
        entry.outcome = Outcome::Acknowledged(lsn);
        let above = entry.intent.snapshot.unwrap_or(entry.intent.floor);
        if lsn <= above {
            let reason = format!("not above its snapshot {above}");
            self.report(Violation::WrongLsn { txn: id, lsn, reason });
        } else if lsn <= floor {
            let reason = format!("an earlier opening acknowledged up to {floor}");
            self.report(Violation::WrongLsn { txn: id, lsn, reason });
        }
    }

    fn answer(&mut self, id: TxnId, outcome: Outcome) {
        match outcome {
            Outcome::Refused => self.totals.refused += 1,
            Outcome::Open => self.totals.doubtful += 1,
            Outcome::Acknowledged(_) => unreachable!("acknowledgements carry their LSN"),
        }
        self.entries.get_mut(&id).expect("an answer follows its intent").outcome = outcome;
    }

    fn read(&mut self, read: Read) {
        self.totals.reads += 1;
        if let Found::Value(stamp) = read.found
            && let Some(entry) = self.entries.get_mut(&stamp.txn)
        {
            let lowest = entry.seen_at.map_or(read.snapshot, |seen| seen.min(read.snapshot));
            entry.seen_at = Some(lowest);
        }
        self.reads.push(read);
    }
}
