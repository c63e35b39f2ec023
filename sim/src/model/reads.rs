//! Judges reads: a snapshot shows, under every key, the newest commit at or below it.

use super::history::{Entry, History, Outcome, Position, Read};
use super::value::{Found, KeyId};
use super::violation::Violation;

impl History {
    /// Judges the reads of the present opening and forgets them. Call it when every answer that
    /// will come has come: after the crash or the close, before the reopened store is judged.
    pub fn judge_reads(&mut self) {
        let reads = std::mem::take(&mut self.reads);
        let wrong: Vec<_> = reads.iter().filter_map(|read| self.wrong_read(read)).collect();
        wrong.into_iter().for_each(|violation| self.report(violation));
        self.judge_first_committers();
    }

    /// A commit is certainly in a snapshot if it was acknowledged at or below it, or if a lower
    /// snapshot showed it. It may be in it if it is unanswered and began below it.
    fn wrong_read(&self, read: &Read) -> Option<Violation> {
        let Some(history) = self.keys.get(&read.key) else {
            return (read.found != Found::Absent)
                .then_some(Violation::Garbled { key: read.key, found: read.found });
        };
        let writers = history.writers.iter().map(|id| &self.entries[id]);
        let certain = writers.clone().filter(|entry| certainly_in(entry, read.snapshot));
        let newest = certain.max_by_key(|entry| entry.position());
        let expected = newest.map_or(history.base_found(), |entry| entry.effect(read.key));
        if read.found == expected {
            return None;
        }
        let floor = newest.and_then(Entry::position);
        let explained = writers.into_iter().any(|entry| {
            possibly_in(entry, read.snapshot, floor) && entry.effect(read.key) == read.found
        });
        let expected = match newest {
            Some(entry) => format!("{} ({:?})", entry.intent.id, entry.outcome),
            None => format!("{expected:?} from an earlier opening"),
        };
        let (snapshot, key, found) = (read.snapshot, read.key, read.found);
        (!explained).then_some(Violation::WrongRead { snapshot, key, expected, found })
    }

    /// Of two acknowledged commits on one key the later has seen the earlier.
    fn judge_first_committers(&mut self) {
        let mut wrong = Vec::new();
        for (key, history) in &self.keys {
            let mut commits: Vec<_> = history
                .writers
                .iter()
                .map(|id| &self.entries[id])
                .filter(|entry| matches!(entry.outcome, Outcome::Acknowledged(_)))
                .collect();
            commits.sort_by_key(|entry| entry.position());
            wrong.extend(commits.windows(2).filter_map(|pair| overwritten(pair, *key)));
        }
        wrong.into_iter().for_each(|violation| self.report(violation));
    }
}

fn overwritten(pair: &[&Entry], key: KeyId) -> Option<Violation> {
    let (Outcome::Acknowledged(earlier), Outcome::Acknowledged(lsn)) =
        (pair[0].outcome, pair[1].outcome)
    else {
        return None;
    };
    let (first, second) = (pair[0].intent.id, pair[1].intent.id);
    if earlier == lsn {
        let reason = format!("{first} has the same");
        return Some(Violation::WrongLsn { txn: second, lsn, reason });
    }
    let unseen = pair[1].intent.snapshot.is_some_and(|snapshot| snapshot < earlier);
    unseen.then_some(Violation::SecondCommitterWon { first, second, lsn, key })
}

fn certainly_in(entry: &Entry, snapshot: u64) -> bool {
    match entry.outcome {
        Outcome::Refused => false,
        Outcome::Acknowledged(lsn) => lsn <= snapshot,
        // An auto-commit has no snapshot of its own, so its place among the others is unknown.
        Outcome::Open => {
            entry.intent.snapshot.is_some() && entry.seen_at.is_some_and(|seen| seen <= snapshot)
        }
    }
}

fn possibly_in(entry: &Entry, snapshot: u64, floor: Option<Position>) -> bool {
    match (entry.outcome, entry.intent.snapshot) {
        (Outcome::Open, None) => true,
        (Outcome::Open, Some(begun)) => begun < snapshot && entry.position() > floor,
        _ => false,
    }
}
