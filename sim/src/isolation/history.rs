//! A history as the checker knows it: lines of the format, verified.

pub use sombra_bench::history::{
    Action, Hex, HistoryWriter, InitialRow, Isolation, KeyBound, NotHex, Operation, Outcome, Row,
    Transaction,
};

/// A history whose lines were verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    pub(crate) initial: Vec<InitialRow>,
    pub(crate) transactions: Vec<Transaction>,
}
