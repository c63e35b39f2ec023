//! What clients did and saw, written down for a checker that knows nothing else of the store.

mod format;

pub use format::{
    Action, Hex, HistoryWriter, InitialLine, InitialRow, Isolation, KeyBound, NotHex, Operation,
    Outcome, Row, Transaction,
};
