//! Recorded transactions of real clients, and the judge of what they saw.
//!
//! A history says only what clients know: what each transaction read and wrote, when it did so,
//! and what it was told in the end. From that the checker draws the direct serialization graph
//! and looks for the phenomena which an isolation level rules out. It draws an edge only where
//! the history leaves no other explanation, so what it reports is a fault of the store, while a
//! fault that an unanswered commit or an ambiguous absence could explain goes unreported.
//!
//! Levels and phenomena: Adya, "Weak Consistency" (1999); Adya, Liskov, O'Neil, "Generalized
//! Isolation Level Definitions" (ICDE 2000).

mod checks;
mod cycles;
mod graph;
mod history;
mod level;
mod phenomenon;
mod reading;
mod versions;
mod view;

#[cfg(test)]
mod tests;

pub use history::{
    Action, Hex, History, HistoryWriter, InitialRow, Isolation, KeyBound, NotHex, Operation,
    Outcome, Row, Transaction,
};
pub use level::{EdgeCounts, Report, check};
pub use phenomenon::{Phenomenon, Violation};
pub use reading::{HistoryError, read_history};
