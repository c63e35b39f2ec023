//! Puts the outcome of a run into fio's words: text, JSON, log files. Measures nothing.

pub mod json;
mod json_writer;
pub mod logs;
mod number;
mod rows;
pub mod table;
mod table_job;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use rows::{Head, heads_of};

pub(super) use number::{status_count, status_speed};
