//! What can be wrong with a history, and which level forbids it.

use std::fmt;

use super::history::Isolation;

/// The names are Adya's where he has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phenomenon {
    /// A value, or an absence, that nobody wrote under that key.
    Garbage,
    /// A transaction that did not see its own write, or saw two states of one key.
    Internal,
    /// A cycle of `ww` edges: writes of two transactions interleave.
    G0,
    /// A read of what an aborted transaction wrote.
    G1a,
    /// A read of a value that its writer overwrote in the same transaction.
    G1b,
    /// A cycle of `ww` and `wr` edges: each saw the other.
    G1c,
    /// Two transactions saw the same version of a key, and both replaced it.
    LostUpdate,
    /// A cycle with exactly one `rw` edge: a transaction saw half of another.
    GSingle,
    /// A cycle with several `rw` edges of which no two follow each other: readers that disagree
    /// about the order of commits, as in a long fork. The name is Elle's (Kingsbury, Alvaro,
    /// "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020).
    GNonadjacent,
    /// A cycle with several `rw` edges on rows that were seen.
    G2Item,
    /// A cycle with several `rw` edges, one of them on a row that a scan did not see.
    G2,
}

impl Phenomenon {
    /// The weakest level that forbids it.
    #[must_use]
    pub fn level(self) -> Isolation {
        match self {
            Phenomenon::Garbage
            | Phenomenon::Internal
            | Phenomenon::G0
            | Phenomenon::G1a
            | Phenomenon::G1b
            | Phenomenon::G1c
            | Phenomenon::LostUpdate
            | Phenomenon::GSingle
            | Phenomenon::GNonadjacent => Isolation::Snapshot,
            Phenomenon::G2Item | Phenomenon::G2 => Isolation::Serializable,
        }
    }

    /// Whether `isolation` rules it out.
    #[must_use]
    pub fn is_forbidden_by(self, isolation: Isolation) -> bool {
        isolation >= self.level()
    }
}

impl fmt::Display for Phenomenon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Phenomenon::Garbage => "garbage read",
            Phenomenon::Internal => "internal inconsistency",
            Phenomenon::G0 => "G0",
            Phenomenon::G1a => "G1a",
            Phenomenon::G1b => "G1b",
            Phenomenon::G1c => "G1c",
            Phenomenon::LostUpdate => "lost update",
            Phenomenon::GSingle => "G-single",
            Phenomenon::GNonadjacent => "G-nonadjacent",
            Phenomenon::G2Item => "G2-item",
            Phenomenon::G2 => "G2",
        })
    }
}

/// One thing that is wrong, in words that lead to the lines of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub kind: Phenomenon,
    /// The weakest level that forbids it.
    pub level: Isolation,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (forbidden by {}): {}", self.kind, self.level, self.text)
    }
}
