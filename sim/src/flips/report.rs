//! How many flips of each part were noticed, and by whom.

use std::collections::BTreeMap;
use std::fmt;

use super::{Flip, Noticed, Part, Sweep, Unit};
use crate::limits;

/// Bytes of a part that were flipped without an opening each.
#[derive(Clone, Copy, Default, Debug)]
struct Covered {
    /// Alone, and refused by their decoder.
    refused: u64,
    /// With their block, after which all rows were the same.
    same_rows: u64,
    /// Neither.
    wrong: u64,
}

impl Covered {
    fn bytes(self) -> u64 {
        self.refused + self.same_rows + self.wrong
    }
}

/// What a sweep found. `Display` is a table, then a line for each flip that was not as promised.
#[derive(Clone, Default, Debug)]
pub struct FlipReport {
    pub flips: u64,
    /// By part: how many were noticed first by whom; `None`: by nobody.
    counts: BTreeMap<Part, BTreeMap<Option<Noticed>, u64>>,
    bytes: BTreeMap<Part, u64>,
    /// Bytes that were flipped under their decoder, and with their block under an opening, by part.
    covered: BTreeMap<Part, Covered>,
    /// Flips after which some row was another one, or none, without an error for it.
    pub silent_changes: u64,
    /// Of them those at the end of a log that nobody closed, which nothing vouches for.
    pub tail_changes: u64,
    /// Flips that opening or reading noticed and the checker did not.
    pub check_missed: BTreeMap<Part, u64>,
    pub failed: u64,
    failures: Vec<String>,
}

impl FlipReport {
    #[must_use]
    pub fn of(sweep: &Sweep) -> FlipReport {
        FlipReport { bytes: sweep.bytes(), ..FlipReport::default() }
    }

    /// Adds what became of one flip.
    pub fn add(&mut self, sweep: &Sweep, flip: &Flip) {
        self.flips += 1;
        *self.counts.entry(flip.part).or_default().entry(flip.noticed).or_default() += 1;
        let is_loud =
            matches!(flip.noticed, Some(Noticed::Refused | Noticed::Reported | Noticed::Read));
        if flip.wrong.is_some() {
            self.silent_changes += 1;
            self.tail_changes += u64::from(flip.part == Part::LogTail);
        }
        if is_loud && !flip.is_checked {
            *self.check_missed.entry(flip.part).or_default() += 1;
        }
        if !flip.is_right() {
            let (path, offset) = (sweep.path_of(flip.place), flip.place.offset);
            let wrong = flip.wrong.as_deref().unwrap_or("nobody noticed");
            let part = flip.part.name();
            self.fail(format!("{path} byte {offset}, {part}: {:?}, {wrong}", flip.noticed));
        }
    }

    /// Adds every byte of a unit, and the offsets that its decoder believed nevertheless.
    pub fn add_unit(&mut self, sweep: &Sweep, unit: &Unit, unnoticed: &[u64]) {
        let covered = self.covered.entry(unit.part).or_default();
        covered.refused += unit.len_bytes - unnoticed.len() as u64;
        covered.wrong += unnoticed.len() as u64;
        for offset in unnoticed {
            let (path, part) = (sweep.path_of(unit.place), unit.part.name());
            self.fail(format!("{path} byte {offset}, {part}: its decoder believes it"));
        }
    }

    /// Adds every byte of a block on which nothing depends, flipped at once.
    pub fn add_block(&mut self, sweep: &Sweep, len_bytes: u64, flip: &Flip) {
        let covered = self.covered.entry(flip.part).or_default();
        match flip.wrong {
            None => covered.same_rows += len_bytes,
            Some(_) => covered.wrong += len_bytes,
        }
        self.silent_changes += u64::from(flip.wrong.is_some());
        if flip.wrong.is_some() && flip.part == Part::LogTail {
            self.tail_changes += 1;
        }
        if !flip.is_right() {
            let (path, offset) = (sweep.path_of(flip.place), flip.place.offset);
            let wrong = flip.wrong.as_deref().unwrap_or("nobody noticed");
            let part = flip.part.name();
            self.fail(format!("{path} all bytes from {offset} on, {part}: {wrong}"));
        }
    }

    /// Fails for each part of which not every byte was flipped.
    pub fn expect_all_bytes(&mut self) {
        for (part, bytes) in self.bytes.clone() {
            let covered = self.covered.get(&part).copied().unwrap_or_default().bytes();
            if covered != bytes {
                self.fail(format!("{}: {covered} of {bytes} bytes flipped", part.name()));
            }
        }
    }

    /// Adds a flip that could not be judged.
    pub fn fail(&mut self, failure: String) {
        self.failed += 1;
        if self.failures.len() < limits::FLIPS_LISTED_MAX {
            self.failures.push(failure);
        }
    }

    /// Flips of a part that `noticed` was the first to notice.
    #[must_use]
    pub fn count(&self, part: Part, noticed: Option<Noticed>) -> u64 {
        self.counts.get(&part).and_then(|counts| counts.get(&noticed)).copied().unwrap_or(0)
    }
}

impl fmt::Display for FlipReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<34} {:>9} {:>9} {:>9} {:>8}",
            "part", "bytes", "decoder", "same rows", "opened"
        )?;
        Noticed::ALL.iter().try_for_each(|noticed| write!(f, " {:>10}", noticed.name()))?;
        writeln!(f, " {:>8}", "nobody")?;
        for (part, bytes) in &self.bytes {
            let counts = self.counts.get(part);
            let flips = counts.map_or(0, |counts| counts.values().sum::<u64>());
            let Covered { refused, same_rows, .. } =
                self.covered.get(part).copied().unwrap_or_default();
            write!(f, "{:<34} {bytes:>9} {refused:>9} {same_rows:>9} {flips:>8}", part.name())?;
            for noticed in Noticed::ALL {
                write!(f, " {:>10}", self.count(*part, Some(noticed)))?;
            }
            writeln!(f, " {:>8}", self.count(*part, None))?;
        }
        for (part, count) in &self.check_missed {
            writeln!(f, "opening or reading noticed, check did not: {count} in {}", part.name())?;
        }
        let tail = match self.tail_changes {
            0 => String::new(),
            tail => format!(", and {tail} in the tail that nothing vouches for"),
        };
        let silent = self.silent_changes - self.tail_changes;
        writeln!(f, "data changed and nobody said so: {silent}{tail}")?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "FAILED {failure}"))?;
        let covered: u64 = self.covered.values().map(|covered| covered.bytes()).sum();
        write!(
            f,
            "{covered} bytes flipped, {} of them once more under an opening each, {} not as \
             promised",
            self.flips, self.failed
        )
    }
}
