//! The format of a history: JSON lines, one transaction a line, written by whoever records.
//!
//! What the recorder owes the checker:
//! - every value it writes is written once in the whole history, initial state included;
//! - all times of one history are of one clock, so that a read which ended before a write began
//!   cannot have seen it;
//! - a scan that ended early is recorded with the bound it reached;
//! - a first line `{"initial":[…]}` names everything that was there before; without one the
//!   store was empty.

use std::fmt;
use std::io::{self, Write};
use std::ops::Bound;

use serde::{Deserialize, Deserializer, Serialize};

/// Bytes as a client knows them, written as lowercase hex so that text order is byte order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(String);

/// A text that is not the hex of whole bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected lowercase hex of whole bytes, found {found:?}")]
pub struct NotHex {
    pub found: String,
}

impl Hex {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Hex {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        Hex(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Hex {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Hex, NotHex> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len().is_multiple_of(2) {
            Ok(Hex(text))
        } else {
            Err(NotHex { found: text })
        }
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> String {
        hex.0
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The level that a transaction asked for. The greater one forbids more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    Snapshot,
    Serializable,
}

impl fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Isolation::Snapshot => "snapshot",
            Isolation::Serializable => "serializable",
        })
    }
}

/// One transaction of one client, from its begin to its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    pub client: u32,
    /// Unique in the history.
    pub transaction: u64,
    pub isolation: Isolation,
    pub begin_ns: u64,
    pub end_ns: u64,
    /// In the order in which the client issued them. Those that failed are left out.
    pub operations: Vec<Operation>,
    pub outcome: Outcome,
}

/// What the client was told in the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Outcome {
    /// The LSN orders the versions of each key. That of a read-only transaction means nothing.
    Committed { lsn: u64 },
    /// Certainly not committed.
    Aborted { reason: String },
    /// Nobody can say.
    Unknown,
}

/// One call of a client and its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    pub begin_ns: u64,
    pub end_ns: u64,
    pub action: Action,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Action {
    /// `None`: the key was absent.
    Read {
        keyspace: String,
        key: Hex,
        #[serde(deserialize_with = "required")]
        value: Option<Hex>,
    },
    /// `None`: a delete.
    Write {
        keyspace: String,
        key: Hex,
        #[serde(deserialize_with = "required")]
        value: Option<Hex>,
    },
    /// Every row between the bounds, own writes included.
    Scan { keyspace: String, from: KeyBound, to: KeyBound, rows: Vec<Row> },
}

/// A key and its value.
pub type Row = (Hex, Hex);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyBound {
    Included(Hex),
    Excluded(Hex),
    Unbounded,
}

impl KeyBound {
    /// The key that bounds, if one does.
    #[must_use]
    pub fn key(&self) -> Option<&Hex> {
        match self {
            KeyBound::Included(key) | KeyBound::Excluded(key) => Some(key),
            KeyBound::Unbounded => None,
        }
    }

    /// The same as ranges of the standard library have it.
    #[must_use]
    pub fn as_bound(&self) -> Bound<&Hex> {
        match self {
            KeyBound::Included(key) => Bound::Included(key),
            KeyBound::Excluded(key) => Bound::Excluded(key),
            KeyBound::Unbounded => Bound::Unbounded,
        }
    }
}

/// One row that was there before the first transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialRow {
    pub keyspace: String,
    pub key: Hex,
    pub value: Hex,
}

/// The line that names what was there before.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialLine<Rows> {
    pub initial: Rows,
}

/// An absent value must be written as null; a line that forgot it is no answer.
fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hex>, D::Error> {
    Option::deserialize(deserializer)
}

/// Writes the lines of a history, each in one call, so that a recorder which dies tears at most
/// the last.
pub struct HistoryWriter<W: Write> {
    out: W,
    lines: u64,
}

impl<W: Write> HistoryWriter<W> {
    pub fn new(out: W) -> HistoryWriter<W> {
        HistoryWriter { out, lines: 0 }
    }

    /// Writes the initial state, which comes before all transactions.
    pub fn initial(&mut self, rows: &[InitialRow]) -> io::Result<()> {
        assert!(self.lines == 0, "the initial state is the first line of a history");
        self.line(&InitialLine { initial: rows })
    }

    pub fn transaction(&mut self, transaction: &Transaction) -> io::Result<()> {
        self.line(transaction)
    }

    /// Flushes, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, content: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(content)?;
        line.push(b'\n');
        self.lines += 1;
        self.out.write_all(&line)
    }
}
