//! Reads a history and verifies what the checker builds on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sombra_bench::history::InitialLine;
use sombra_bench::limits::HISTORY_TRANSACTIONS_MAX;

use super::history::{Action, Hex, History, InitialRow, Outcome, Transaction};

/// Why there is no history to check. Nothing in it says anything about the store.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("line {line}: cannot be read")]
    Read {
        line: usize,
        #[source]
        source: io::Error,
    },
    #[error("line {line}: expected {expected}, found {found}")]
    Malformed { line: usize, expected: String, found: String },
}

type Verdict = Result<(), HistoryError>;

/// Reads a history, one line after the other. Lines are counted from one.
pub fn read_history(input: impl BufRead) -> Result<History, HistoryError> {
    let mut initial = None;
    let mut transactions = Vec::new();
    for (index, text) in input.lines().enumerate() {
        let line = index + 1;
        let text = text.map_err(|source| HistoryError::Read { line, source })?;
        if line == 1 && begins_with_the_initial_state(&text) {
            let parsed: InitialLine<Vec<InitialRow>> = parse(line, "the initial state", &text)?;
            initial = Some(parsed.initial);
            continue;
        }
        if transactions.len() >= HISTORY_TRANSACTIONS_MAX {
            let expected = format!("at most {} transactions", HISTORY_TRANSACTIONS_MAX);
            return malformed(line, expected, "one more".to_owned());
        }
        transactions.push(parse(line, "a transaction", &text)?);
    }
    History::new(initial, transactions)
}

fn parse<'a, T: Deserialize<'a>>(
    line: usize,
    expected: &str,
    text: &'a str,
) -> Result<T, HistoryError> {
    serde_json::from_str(text).map_err(|error| HistoryError::Malformed {
        line,
        expected: expected.to_owned(),
        found: format!("what the parser calls: {error}"),
    })
}

fn begins_with_the_initial_state(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        initial: Option<IgnoredAny>,
    }
    serde_json::from_str(text).is_ok_and(|probe: Probe| probe.initial.is_some())
}

fn malformed<T>(line: usize, expected: String, found: String) -> Result<T, HistoryError> {
    Err(HistoryError::Malformed { line, expected, found })
}

impl History {
    /// Verifies transactions that were recorded in memory. An error names the line on which
    /// what it found would have been written.
    pub fn new(
        initial: Option<Vec<InitialRow>>,
        transactions: Vec<Transaction>,
    ) -> Result<History, HistoryError> {
        let line_first = if initial.is_some() { 2 } else { 1 };
        let history = History { initial: initial.unwrap_or_default(), transactions };
        let mut verifier = Verifier::default();
        verifier.initial(&history.initial)?;
        for (index, transaction) in history.transactions.iter().enumerate() {
            verifier.transaction(line_first + index, transaction)?;
        }
        Ok(history)
    }

    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }
}

/// What earlier lines said that no later line may say again, and the line that said it.
#[derive(Default)]
struct Verifier<'h> {
    transactions: BTreeMap<u64, usize>,
    values: BTreeMap<&'h Hex, usize>,
    commits: BTreeMap<(&'h str, &'h Hex, u64), usize>,
}

impl<'h> Verifier<'h> {
    fn initial(&mut self, rows: &'h [InitialRow]) -> Verdict {
        let mut keys = BTreeSet::new();
        for row in rows {
            if !keys.insert((&row.keyspace, &row.key)) {
                let found = format!("{}/{} twice", row.keyspace, row.key);
                return malformed(1, "every initial key once".to_owned(), found);
            }
            self.value(1, &row.value)?;
        }
        Ok(())
    }

    fn transaction(&mut self, line: usize, transaction: &'h Transaction) -> Verdict {
        let id = transaction.transaction;
        if let Some(earlier) = self.transactions.insert(id, line) {
            let expected = "a transaction number of its own".to_owned();
            return malformed(line, expected, format!("{id}, the number of line {earlier}"));
        }
        times(line, transaction)?;
        let mut keys = BTreeSet::new();
        for operation in &transaction.operations {
            match &operation.action {
                Action::Read { .. } | Action::Scan { .. } => {}
                Action::Write { keyspace, key, value } => {
                    keys.insert((keyspace.as_str(), key));
                    value.as_ref().map_or(Ok(()), |value| self.value(line, value))?;
                }
            }
        }
        let Outcome::Committed { lsn } = transaction.outcome else { return Ok(()) };
        for (keyspace, key) in keys {
            if let Some(earlier) = self.commits.insert((keyspace, key, lsn), line) {
                let expected = format!("an LSN of its own among the writers of {keyspace}/{key}");
                return malformed(line, expected, format!("{lsn}, the LSN of line {earlier}"));
            }
        }
        Ok(())
    }

    fn value(&mut self, line: usize, value: &'h Hex) -> Verdict {
        match self.values.insert(value, line) {
            None => Ok(()),
            Some(earlier) => {
                let expected = "a value that no other write has".to_owned();
                malformed(line, expected, format!("{value}, written on line {earlier} as well"))
            }
        }
    }
}

/// The order of the operations decides what a transaction had written when it read.
fn times(line: usize, transaction: &Transaction) -> Verdict {
    let (begin, end) = (transaction.begin_ns, transaction.end_ns);
    if begin > end {
        return malformed(line, format!("an end at or after {begin} ns"), format!("{end} ns"));
    }
    let mut earliest = begin;
    for (index, operation) in transaction.operations.iter().enumerate() {
        let (from, to) = (operation.begin_ns, operation.end_ns);
        if from < earliest || to < from || end < to {
            let expected = format!("operation {index} in order within {earliest}..={end} ns");
            return malformed(line, expected, format!("{from}..={to} ns"));
        }
        earliest = from;
    }
    Ok(())
}
