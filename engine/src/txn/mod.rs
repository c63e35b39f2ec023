//! What a transaction buffers: its writes, in the order that windows keep them, and where it has
//! read.
//!
//! Knows keys, values and bounds. Must never know shards' state or the log's positions.

mod dependent;
mod key_range;
mod read_set;
mod write_set;

pub use dependent::{AddI64, Condition, MergeOperator};
pub(crate) use dependent::{Change, Dependent, Refusal, check_value};
pub use key_range::KeyRange;
pub(crate) use key_range::successor_of_prefix;
pub(crate) use read_set::{Progress, ReadKey, ReadRange, ReadSet};
pub(crate) use write_set::{SavepointId, Write, WriteSet, check_key};

#[cfg(test)]
mod tests;
