//! The disk tool: runs fio job files on the runtime and reports as fio does.

pub mod devices;
pub mod environment;
pub mod job;
pub mod job_file;
pub mod outcome;
pub mod output;
pub mod plan;
pub mod progress;
pub mod punts;
pub mod run;
pub mod stream;
pub mod tally;
pub mod target;
pub mod wal_check;

#[cfg(test)]
mod testing;
