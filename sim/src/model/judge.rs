//! Judges a reopened store: which set of unanswered commits, and which end of the log, explains
//! everything it shows?
//!
//! For one end of the log the largest set of unanswered commits that could have survived is
//! found by removing, again and again, each one that would be the newest on a key which shows
//! something else. What is removed is in no explanation, so the store is explained exactly if
//! the set that remains explains it. Ends of the log are tried from the highest down; they
//! differ only where relaxed commits were acknowledged above the last synchronous one.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Entry, History, KeyHistory, Outcome};
use super::value::{Found, KeyId, SpaceId, TxnId};
use super::violation::Violation;
use crate::limits;

/// Everything that a reopened store shows: per keyspace name, per key.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Observation {
    pub spaces: BTreeMap<String, BTreeMap<u32, Found>>,
}

/// The same with the lives of the keyspaces known.
type Shown = BTreeMap<KeyId, Found>;

/// One assumption about where the surviving log ends.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Acknowledged commits at or below it survived.
    survived: u64,
    /// The next acknowledged commit above it, which did not.
    lost: u64,
}

impl History {
    /// Compares `observation` with the history and makes it the ground of the next opening.
    /// `clean` says that the store was closed, so even relaxed commits must be there.
    pub fn settle(&mut self, observation: &Observation, clean: bool) {
        self.judge_reads();
        let mut found = Vec::new();
        let names: BTreeSet<String> = observation.spaces.keys().cloned().collect();
        let lives = self.spaces.settle(&names, &mut found);
        let live: BTreeSet<SpaceId> = lives.values().copied().collect();
        let shown = resolve(observation, &lives);
        self.keys.retain(|key, _| live.contains(&key.space));
        found.extend(self.judge(&shown, clean));
        found.into_iter().for_each(|violation| self.report(violation));
        self.adopt(&shown);
    }

    fn adopt(&mut self, shown: &Shown) {
        self.totals.settled += 1;
        self.settled_lsn = self.acknowledged_lsn;
        self.entries.clear();
        for history in self.keys.values_mut() {
            *history = KeyHistory::default();
        }
        for (key, found) in shown {
            if let Found::Value(stamp) = found {
                self.keys.entry(*key).or_default().base = Some(*stamp);
            }
        }
    }

    fn judge(&self, shown: &Shown, clean: bool) -> Vec<Violation> {
        let foreign: Vec<_> = shown
            .iter()
            .filter(|(key, found)| !self.written_here(**key, **found))
            .map(|(key, found)| Violation::Garbled { key: *key, found: *found })
            .collect();
        if !foreign.is_empty() {
            return foreign;
        }
        let required = self.required_lsn(shown, clean);
        let cuts = self.cuts(shown, required);
        if cuts.iter().any(|cut| self.explains(shown, *cut).is_ok()) {
            return Vec::new();
        }
        let cut = Cut { survived: required, lost: self.next_acknowledged(required) };
        match self.explains(shown, cut) {
            Err(violations) => violations,
            // Only a higher end is ruled out, so the lowest one cannot fail alone.
            Ok(()) => Vec::new(),
        }
    }

    /// Whether some transaction, present or settled, wrote exactly this under `key`.
    fn written_here(&self, key: KeyId, found: Found) -> bool {
        let Found::Value(stamp) = found else { return found == Found::Absent };
        let Some(entry) = self.entries.get(&stamp.txn) else { return true };
        let index = usize::from(stamp.index);
        let own = entry.intent.writes.get(index).is_some_and(|write| write.key == key);
        own && entry.intent.stamp(index) == Some(stamp)
    }

    fn acknowledged(&self) -> impl Iterator<Item = (&Entry, u64)> {
        self.entries.values().filter_map(|entry| match entry.outcome {
            Outcome::Acknowledged(lsn) => Some((entry, lsn)),
            Outcome::Open | Outcome::Refused => None,
        })
    }

    fn next_acknowledged(&self, above: u64) -> u64 {
        self.acknowledged().map(|(_, lsn)| lsn).filter(|lsn| *lsn > above).min().unwrap_or(u64::MAX)
    }

    /// The lowest end of the log that every promise allows: all synchronous acknowledgements,
    /// whatever a reader saw of a synchronous commit, and whatever the store shows.
    fn required_lsn(&self, shown: &Shown, clean: bool) -> u64 {
        let promised = self.acknowledged().filter(|(entry, _)| clean || !entry.intent.relaxed);
        let promised = promised.map(|(_, lsn)| lsn).max().unwrap_or(0);
        let seen = self.entries.values().filter(|entry| seen_durable(entry));
        let seen = seen.filter_map(|entry| entry.intent.snapshot).max().unwrap_or(0);
        let here = shown.values().filter_map(|found| match found {
            Found::Value(stamp) => self.entries.get(&stamp.txn),
            Found::Absent | Found::Garbled => None,
        });
        let here = here.map(|entry| match entry.outcome {
            Outcome::Acknowledged(lsn) => lsn,
            Outcome::Open => entry.intent.snapshot.unwrap_or(0),
            Outcome::Refused => 0,
        });
        promised.max(seen).max(here.max().unwrap_or(0))
    }

    /// The ends of the log worth trying, highest first.
    fn cuts(&self, shown: &Shown, required: u64) -> Vec<Cut> {
        let mut lsns: BTreeSet<u64> = self.acknowledged().map(|(_, lsn)| lsn).collect();
        let ceiling = self.refuted_lsn(shown);
        lsns.retain(|lsn| *lsn > required);
        let mut cuts = Vec::new();
        let mut survived = required;
        for lost in lsns.into_iter().chain([u64::MAX]) {
            if survived < ceiling || cuts.is_empty() {
                cuts.push(Cut { survived, lost });
            }
            survived = lost;
        }
        cuts.reverse();
        cuts.truncate(limits::CUTS_TRIED_MAX);
        cuts
    }

    /// The lowest acknowledged LSN that is certainly gone: its key shows an older commit.
    fn refuted_lsn(&self, shown: &Shown) -> u64 {
        let refuted = |(key, history): (&KeyId, &KeyHistory)| {
            let Some(Found::Value(stamp)) = shown.get(key) else { return None };
            let older = match self.entries.get(&stamp.txn).map(|entry| entry.outcome) {
                None => 0,
                Some(Outcome::Acknowledged(lsn)) => lsn,
                Some(_) => return None,
            };
            let lsns = history.writers.iter().filter_map(|id| match self.entries[id].outcome {
                Outcome::Acknowledged(lsn) => Some(lsn),
                _ => None,
            });
            lsns.filter(|lsn| *lsn > older).min()
        };
        self.keys.iter().filter_map(refuted).min().unwrap_or(u64::MAX)
    }

    fn explains(&self, shown: &Shown, cut: Cut) -> Result<(), Vec<Violation>> {
        let mut open: BTreeSet<TxnId> = self
            .entries
            .values()
            .filter(|entry| entry.outcome == Outcome::Open)
            .filter(|entry| entry.intent.snapshot.is_none_or(|snapshot| snapshot < cut.lost))
            .map(|entry| entry.intent.id)
            .collect();
        while let Some(refuted) = self.refuted(shown, cut, &open) {
            open.remove(&refuted);
        }
        let mut violations: Vec<_> = self
            .entries
            .values()
            .filter(|entry| seen_durable(entry) && !open.contains(&entry.intent.id))
            .map(|entry| Violation::SeenThenLost { txn: entry.intent.id })
            .collect();
        for (key, history) in &self.keys {
            let winner = self.winner(history, cut, &open);
            let expected = winner.map_or(history.base_found(), |entry| entry.effect(*key));
            let found = shown.get(key).copied().unwrap_or(Found::Absent);
            if expected != found {
                violations.extend(self.explain_mismatch((*key, found), (winner, cut), shown));
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// An open commit that would be the newest on a key which shows something else.
    fn refuted(&self, shown: &Shown, cut: Cut, open: &BTreeSet<TxnId>) -> Option<TxnId> {
        open.iter().copied().find(|id| {
            self.entries[id].intent.writes.iter().any(|write| {
                let Some(history) = self.keys.get(&write.key) else { return false };
                let winner = self.winner(history, cut, open);
                let found = shown.get(&write.key).copied().unwrap_or(Found::Absent);
                winner
                    .is_some_and(|entry| entry.intent.id == *id && entry.effect(write.key) != found)
            })
        })
    }

    fn winner(&self, history: &KeyHistory, cut: Cut, open: &BTreeSet<TxnId>) -> Option<&Entry> {
        let alive = |entry: &&Entry| match entry.outcome {
            Outcome::Acknowledged(lsn) => lsn <= cut.survived,
            Outcome::Open => open.contains(&entry.intent.id),
            Outcome::Refused => false,
        };
        let writers = history.writers.iter().map(|id| &self.entries[id]);
        writers.filter(alive).max_by_key(|entry| entry.position())
    }

    /// Names what a key that shows the wrong thing means.
    fn explain_mismatch(
        &self,
        (key, found): (KeyId, Found),
        (winner, cut): (Option<&Entry>, Cut),
        shown: &Shown,
    ) -> Vec<Violation> {
        let mut violations = Vec::new();
        if let Found::Value(stamp) = found {
            match self.entries.get(&stamp.txn) {
                None if self.keys[&key].base != Some(stamp) => {
                    violations.push(Violation::Zombie { key, found });
                }
                Some(entry) if entry.outcome == Outcome::Refused => {
                    violations.push(Violation::Resurrected { txn: stamp.txn, key });
                }
                Some(entry) if entry.outcome == Outcome::Open => {
                    violations.extend(self.half_applied(entry, shown));
                    let newer = winner.and_then(Entry::position) < entry.position();
                    if newer && !violations.is_empty() {
                        return violations;
                    }
                }
                _ => {}
            }
        }
        if let Some(entry) = winner
            && let Outcome::Acknowledged(lsn) = entry.outcome
        {
            let txn = entry.intent.id;
            violations.extend(self.half_applied(entry, shown));
            violations.push(if entry.intent.relaxed && lsn < cut.survived {
                Violation::LostFromTheMiddle { txn, lsn, key, found, survived: cut.survived }
            } else {
                Violation::Lost { txn, lsn, key, found }
            });
        }
        if violations.is_empty() {
            violations.push(Violation::Unexplained { key, found });
        }
        violations
    }

    /// A key that shows `entry` and a key of it that shows something older, if there are both.
    fn half_applied(&self, entry: &Entry, shown: &Shown) -> Option<Violation> {
        let at = |key: KeyId| shown.get(&key).copied().unwrap_or(Found::Absent);
        let keys = || entry.intent.writes.iter().map(|write| write.key);
        let present = keys().find(|key| {
            at(*key) != Found::Absent
                && self.keys.contains_key(key)
                && entry.effect(*key) == at(*key)
        })?;
        let older = |key: &KeyId| {
            let found = at(*key);
            let position = match found {
                Found::Value(stamp) => self.entries.get(&stamp.txn).map(Entry::position),
                Found::Absent | Found::Garbled => return entry.effect(*key) != found,
            };
            position.is_none_or(|other| other < entry.position())
        };
        let missing = keys().find(|key| self.keys.contains_key(key) && older(key))?;
        let txn = entry.intent.id;
        Some(Violation::HalfApplied { txn, present, missing, found: at(missing) })
    }
}

/// A synchronous commit that a reader saw was durable by then. An auto-commit is left out: it
/// has no snapshot, so nobody can tell whether an overwritten one was lost.
fn seen_durable(entry: &Entry) -> bool {
    let intent = &entry.intent;
    let strict = !intent.relaxed && intent.snapshot.is_some();
    entry.outcome == Outcome::Open && strict && entry.seen_at.is_some()
}

fn resolve(observation: &Observation, lives: &BTreeMap<String, SpaceId>) -> Shown {
    let spaces = lives.iter().map(|(name, space)| (*space, &observation.spaces[name]));
    let keys = spaces.flat_map(|(space, keys)| {
        keys.iter().map(move |(index, found)| (KeyId { space, index: *index }, *found))
    });
    keys.collect()
}
