//! The public handles: `Db` for any thread and any async runtime, `LocalDb` on a shard.
//!
//! Knows what callers see. Must never touch a window, the log or a file.

mod batch;
mod blocking;
mod dependent;
mod handle;
mod locking;
mod open;
mod port;
mod savepoint;
mod scan;
mod scrub;
mod slot;
#[cfg(test)]
mod tests;
mod transaction;

pub use batch::WriteBatch;
pub use blocking::{
    BlockingDb, BlockingKeyScan, BlockingScan, BlockingSnapshot, BlockingTransaction,
};
pub use handle::{Db, DbHandle, LocalDb};
pub use locking::LockOptions;
pub use port::{Local, Port, Remote};
pub use savepoint::Savepoint;
pub use scan::{KeyScan, Scan};
pub use transaction::{Committed, LocalTransaction, Snapshot, Transaction};
