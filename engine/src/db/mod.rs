//! The public handles: `Db` for any thread and any async runtime, `LocalDb` on a shard.
//!
//! Knows what callers see. Must never touch a window, the log or a file.

mod blocking;
mod handle;
mod open;
mod port;
mod scan;
#[cfg(test)]
mod tests;
mod transaction;

pub use blocking::{BlockingDb, BlockingScan, BlockingTransaction};
pub use handle::{Db, DbHandle, LocalDb};
pub use port::{Local, Port, Remote};
pub use scan::Scan;
pub use transaction::{Committed, LocalTransaction, Snapshot, Transaction};
