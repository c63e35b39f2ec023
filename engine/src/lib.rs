//! Sombra: a transactional storage engine for Linux servers with fast disks.
//!
//! One executor per core owns a partition of the data; every byte moves by aligned `O_DIRECT`
//! I/O; all shards commit through one shared group-commit log, and a commit's position in that
//! log is its timestamp. This crate is the library that people embed: begin at [`Db::open`].
//!
//! ```
//! use sombra::{Db, Options, Routing};
//! use sombra_runtime::{Runtime, RuntimeOptions};
//!
//! # let parent = std::env::temp_dir().join(format!("sombra-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&parent)?;
//! # let dir = parent.join("store");
//! let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
//! runtime.block_on(async {
//!     let db = Db::open(&runtime, &dir, Options::default()).await?;
//!     let users = db.create_keyspace("users", Routing::range()).await?;
//!     let transaction = db.begin()?;
//!     transaction.put(&users, "ada", "countess")?;
//!     transaction.commit().await?;
//!     assert_eq!(db.get(&users, "ada").await?.as_deref(), Some(&b"countess"[..]));
//!     db.close().await?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! runtime.shutdown();
//! # std::fs::remove_dir_all(&parent)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! A module imports only modules of a smaller layer, or to its left in its own row;
//! `cargo xtask layers` checks it.
//!
//! | layer | modules | what |
//! |------:|---------|------|
//! | 0 | limits ids options poison memory | words and numbers; every bound by name |
//! | 1 | format error | bytes to structs and back, pure; one error enum per operation |
//! | 2 | media volume | reading past damage; data file, extents, page I/O, space maps, root table |
//! | 3 | wal | positions, group commit, segments, scan |
//! | 4 | cache | resident pages, fetch, eviction |
//! | 5 | btree | tree of one tablet: pure steps |
//! | 6 | window | versions of one tablet in memory |
//! | 7 | mvcc | oracle, snapshot registry |
//! | 8 | keyspace tablet | routing; one tablet's reads and writes |
//! | 9 | txn lock | what a transaction buffers; which keys it keeps from others meanwhile |
//! | 10 | commit | validate, reserve, apply, settle, acknowledge |
//! | 11 | merge | freeze, rebuild, publish, release; pacing |
//! | 12 | recovery | lock, superblock, replay, a fresh segment and its link |
//! | 13 | check scrub | every tree, its space, the log: offline; the same of an open store |
//! | 14 | shard metrics | owns tablets, serves requests, services |
//! | 15 | inspect db repair typed | public API |

#![forbid(unsafe_code)]

mod btree;
mod cache;
mod check;
mod commit;
mod db;
mod error;
pub mod format;
mod ids;
pub mod inspect;
mod keyspace;
pub mod limits;
mod lock;
mod media;
mod memory;
mod merge;
mod metrics;
mod mvcc;
mod options;
mod poison;
mod recovery;
pub mod repair;
mod scrub;
mod shard;
mod tablet;
mod txn;
#[cfg(feature = "serde")]
pub mod typed;
mod volume;
mod wal;
mod window;

pub use commit::LockWait;
pub use db::{
    BlockingDb, BlockingKeyScan, BlockingScan, BlockingSnapshot, BlockingTransaction, Committed,
    Db, DbHandle, KeyScan, Local, LocalDb, LocalTransaction, LockOptions, Port, Remote, Savepoint,
    Scan, Snapshot, Transaction, WriteBatch,
};
pub use error::{
    BeginError, CloseError, CommitError, ConflictReason, DeadlockStep, KeyspaceError, LockError,
    OpenError, ReadError, TransactionError, WriteError,
};
pub use ids::{Incarnation, KeyspaceId, Lsn, StoreId, TabletId};
pub use keyspace::Keyspace;
pub use lock::LockMode;
pub use metrics::{MetricKind, MetricLine, Metrics};
pub use options::{
    Durability, DurabilityMethod, Isolation, OpenMode, OptionError, Options, Routing, RunOptions,
};
pub use recovery::{METRICS_FILE, OpenReport};
pub use scrub::ScrubReport;
pub use sombra_runtime::{Runtime, RuntimeOptions};
pub use txn::{AddI64, Condition, KeyRange, MergeOperator};

/// The snippets of `docs/embedding.md`, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct EmbeddingGuide;
