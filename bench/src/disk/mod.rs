//! The disk tool: runs fio job files on the runtime and reports as fio does.

pub mod devices;
pub mod environment;
pub mod job;
pub mod outcome;
pub mod output;
pub mod progress;
pub mod tally;
#[cfg(test)]
mod testing;
