//! Sweeps of failures: one fixed workload, of which the first, the second ... the last I/O of
//! each kind fails, and the first ... last page allocation, growth and memory charge. Each time
//! the store commits or says no, and reopens clean.
//!
//! Knows what a failure may lead to (docs/durability.md). Must never know how the engine works.
//! Source: SQLite, "How SQLite Is Tested", I/O error and out-of-memory tests.

mod case;
mod finale;
mod injector;
mod kind;
mod report;
mod script;
mod worker;

#[cfg(test)]
mod tests;

pub use case::run_case;
pub use kind::{Case, Control, SweepKind};
pub use report::{CaseReport, Replies, Reply, SweepRow, WorkReport};
