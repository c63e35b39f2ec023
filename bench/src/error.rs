//! Why a run did not start or did not finish. Each text says what was expected and found.

use std::io;
use std::path::PathBuf;

use sombra::{CommitError, TransactionError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// Caller: mend the option.
    #[error("{option}: expected {expected}, found {found}")]
    Option { option: &'static str, expected: String, found: String },
    /// Caller: free space, name another directory, or ask for fewer records or seconds.
    #[error(
        "{path}: this run needs {needed} of free space, found {found}; free some, choose another \
         place with --dir, or lower --records, --data-bytes, --seconds or --value-bytes"
    )]
    NoSpace { path: PathBuf, needed: String, found: String },
    /// Caller: permission, space, file system.
    #[error("{path}: {operation}: {source}")]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
    #[error("runtime: {0}")]
    Start(#[from] sombra_runtime::StartError),
    #[error(transparent)]
    Open(#[from] sombra::OpenError),
    #[error(transparent)]
    Keyspace(#[from] sombra::KeyspaceError),
    #[error("closing the store: {0}")]
    Close(#[from] sombra::CloseError),
    /// The store refused an operation while a phase could not go on without it.
    #[error("{phase}: {reason}")]
    Phase { phase: &'static str, reason: String },
}

/// Whether the store refused a write for want of room that it may get: nothing was written.
pub(crate) fn is_want_of_room(error: &TransactionError) -> bool {
    use CommitError::{DiskFull, LogFull, MemoryFull};
    matches!(error, TransactionError::Commit(DiskFull { .. } | LogFull { .. } | MemoryFull { .. }))
}

impl BenchError {
    pub(crate) fn phase(phase: &'static str, reason: impl ToString) -> BenchError {
        BenchError::Phase { phase, reason: reason.to_string() }
    }
}
