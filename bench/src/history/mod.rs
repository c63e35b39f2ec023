//! What clients did and saw, written down for a checker that knows nothing else of the store.

mod format;
mod recording;

#[cfg(test)]
mod tests;

pub(crate) use recording::{Notes, Recording};

pub use format::{
    Action, Hex, HistoryWriter, InitialLine, InitialRow, Isolation, KeyBound, NotHex, Operation,
    Outcome, Row, Transaction,
};
pub use recording::HistoryFigures;
