//! One error enum per operation; each variant is a decision for the caller.

use std::io;
use std::path::PathBuf;

use crate::format::log_record::RecordError;
use crate::format::segment::SegmentError;
use crate::format::superblock::SuperblockPickError;
use crate::ids::{Lsn, StoreId};
use crate::options::{OptionError, Routing};

/// Why a store did not open. The store is unharmed: nothing was written before the check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Caller: mend the option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Caller: close the other owner first.
    #[error("{path}: held by another process, or by a Db of this one that is open or closing")]
    Locked { path: PathBuf },
    /// Caller: make the store, or mend the path.
    #[error("{path}: no store here: expected a file `superblock`, found {found}")]
    Missing { path: PathBuf, found: String },
    /// Caller: open it instead of making it.
    #[error("{path}: expected no store, found one")]
    Exists { path: PathBuf },
    /// Caller: another build, or another directory.
    #[error("{path}: {source}")]
    Superblock { path: PathBuf, source: SuperblockPickError },
    /// Caller: put the store's own log back, or have the file moved away.
    #[error(
        "{path}: log of another store: expected store id {expected}, found {found}; \
         `sombra repair` moves it aside"
    )]
    ForeignLog { path: PathBuf, expected: StoreId, found: StoreId },
    /// Caller: move the file away; nothing but segments belongs there.
    #[error(
        "{path}: expected only log segments here, twenty digits and `.log`; `sombra repair` moves \
         it aside"
    )]
    StrayFile { path: PathBuf },
    /// Caller: open it with the build that wrote it.
    #[error("{path}: {source}")]
    Segment { path: PathBuf, source: SegmentError },
    /// A whole page of the root table that this build does not read. Caller: open it with the
    /// build that wrote it.
    #[error("{reason}")]
    Newer { reason: String },
    /// The device does not deliver a part of a file, now. Caller: try again and look at the device;
    /// if it stays so, restore from a copy, or save what can be read.
    #[error(
        "{path} at byte {offset}: the device does not deliver all of the {len_bytes} bytes there: \
         {source}. It may when it is asked again; `sombra check` says what that costs, and \
         `sombra repair` what can be saved without them"
    )]
    Unreadable { path: PathBuf, offset: u64, len_bytes: u64, source: io::Error },
    /// Acknowledged data is damaged. Caller: restore from a copy.
    #[error(
        "{path} at byte {offset}: acknowledged data is damaged: {reason} (expected {expected}, \
         found {found}). The store is left as it is. `sombra repair` says what can be saved, and \
         what that costs, before it changes anything; a copy that is whole loses less"
    )]
    Damaged { path: PathBuf, offset: u64, reason: &'static str, expected: String, found: String },
    /// The data file is damaged, or not what the store needs. Caller: restore it from a copy, or
    /// save what can be read.
    #[error("{reason}")]
    DataFile { reason: String },
    /// A valid block with a record that makes no sense: corruption, never the end of the log.
    #[error("{path}: record at LSN {lsn}: {source}; `sombra repair` says what can be saved")]
    Record { path: PathBuf, lsn: Lsn, source: RecordError },
    /// Caller: give the store more memory.
    #[error("memory_bytes: replaying the log needs more than {found} bytes; {needed_hint}")]
    MemoryTooSmall { found: u64, needed_hint: String },
    /// Caller: the bound of `limits::LINKS_MAX` openings between two log truncations is reached.
    #[error("{path}: {found} openings are recorded, at most {expected} fit: copy the data out")]
    TooManyIncarnations { path: PathBuf, expected: usize, found: usize },
    /// The runtime was shut down, or a task of it panicked while opening.
    #[error("the runtime stopped while the store was opening: {reason}")]
    RuntimeStopped { reason: String },
    /// Caller: free space, then open it again.
    #[error("{path}: {operation}: no room is left: {source}")]
    DiskFull { path: PathBuf, operation: &'static str, source: io::Error },
    /// Caller: permission, file system, device. The path and the operation are named.
    #[error("{path}: {operation}: {source}")]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
}

impl OpenError {
    /// What a failed operation on a file means to a caller.
    pub(crate) fn from_io(path: PathBuf, operation: &'static str, source: io::Error) -> OpenError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                OpenError::DiskFull { path, operation, source }
            }
            _ => OpenError::Io { path, operation, source },
        }
    }

    /// As [`OpenError::from_io`], of a read of so many bytes at an offset.
    pub(crate) fn from_read(
        path: PathBuf,
        (offset, len_bytes): (u64, u64),
        source: io::Error,
    ) -> OpenError {
        match is_undelivered(&source) {
            true => OpenError::Unreadable { path, offset, len_bytes, source },
            false => OpenError::Io { path, operation: "read", source },
        }
    }
}

/// By which a device or a file system says that it cannot deliver these bytes: EIO, EUCLEAN,
/// EBADMSG, EREMOTEIO, and ENODATA, which is what Linux makes of a disk's medium error. Others
/// say nothing of the bytes.
const UNDELIVERED_ERRNOS: [i32; 5] = [5, 117, 74, 121, 61];

pub(crate) fn is_undelivered(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| UNDELIVERED_ERRNOS.contains(&errno))
}

/// The same error for a second one who is told of it.
pub(crate) fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Why a transaction or snapshot did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Caller: end some, then try again.
    #[error("expected at most {expected} open snapshots, found all of them in use")]
    TooManySnapshots { expected: usize },
    /// Caller: reopen the store.
    #[error("the store stopped: {reason}")]
    Poisoned { reason: String },
    #[error("the store is closed")]
    Closed,
}

/// Why a read failed. The transaction may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("keyspace {name:?} was dropped")]
    KeyspaceDropped { name: String },
    /// Caller: take the handle from this store.
    #[error("keyspace {name:?}: the handle is another store's")]
    ForeignKeyspace { name: String },
    #[error("key: expected 1 to {expected} bytes, found {found}")]
    KeyLength { expected: usize, found: usize },
    /// The transaction was committed or rolled back through another handle.
    #[error("the transaction has ended")]
    Ended,
    /// Caller: end some snapshots, then try again.
    #[error("expected at most {expected} open snapshots, found all of them in use")]
    TooManySnapshots { expected: usize },
    /// The snapshot held up too much, or passed its age limit. Caller: begin a new one.
    #[error("the snapshot at LSN {snapshot} is too old: what it reads was given up")]
    SnapshotTooOld { snapshot: Lsn },
    /// A page is damaged. Other keys go on being served. Caller: restore, or repair.
    #[error("{place}: expected {expected}, found {found}")]
    Damaged { place: String, expected: String, found: String },
    /// The device failed to read a page. Caller: try again, or look at the device.
    #[error("{place}: {reason}")]
    Device { place: String, reason: String },
    #[error("the store stopped: {reason}")]
    Poisoned { reason: String },
    #[error("the store is closed")]
    Closed,
}

/// Why a lock was not granted. The transaction may go on without it, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The key was written since the transaction's snapshot, at which it has read: its commit
    /// would conflict. Caller: run the transaction again.
    #[error(
        "conflict on key {} of keyspace {keyspace:?}: {reason}; running it again can help",
        key.escape_ascii()
    )]
    Conflict { keyspace: String, key: Vec<u8>, reason: ConflictReason },
    /// Somebody else holds it, or waits for it, and the caller did not want to wait.
    #[error("key {} of keyspace {keyspace:?} is locked", key.escape_ascii())]
    Busy { keyspace: String, key: Vec<u8> },
    #[error(
        "key {} of keyspace {keyspace:?} is locked: waited as long as was asked for",
        key.escape_ascii()
    )]
    TimedOut { keyspace: String, key: Vec<u8> },
    /// The transaction was the youngest of several that waited for each other; it has ended, so
    /// that they can go on. Caller: run it again.
    #[error("deadlock: {}; running it again can help", told_cycle(cycle))]
    Deadlock { cycle: Vec<DeadlockStep> },
    /// Of the transaction (`limits::LOCKS_PER_TRANSACTION_MAX`), or of a shard
    /// (`limits::LOCKS_PER_SHARD_MAX`). Caller: fewer locks, end some transactions.
    #[error("expected at most {expected} locks")]
    TooManyLocks { expected: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Caller: open the store in another mode.
    #[error("the store was opened with OpenMode::ReadOnly")]
    ReadOnly,
}

impl LockError {
    /// Whether running the same transaction again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, LockError::Conflict { .. } | LockError::Deadlock { .. })
    }
}

/// Of a call that begins its own snapshot.
impl From<BeginError> for ReadError {
    fn from(error: BeginError) -> ReadError {
        match error {
            BeginError::Poisoned { reason } => ReadError::Poisoned { reason },
            BeginError::TooManySnapshots { expected } => ReadError::TooManySnapshots { expected },
            BeginError::Closed => ReadError::Closed,
        }
    }
}

/// One transaction of a deadlock: it waits for a key that the next of them has locked, or will
/// have before it; the last waits for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockStep {
    /// Its number among those that lock: of two the higher took its first lock later.
    pub transaction: u64,
    pub keyspace: String,
    pub key: Vec<u8>,
}

fn told_cycle(cycle: &[DeadlockStep]) -> String {
    let told = cycle.iter().map(|DeadlockStep { transaction, keyspace, key }| {
        let key = key.escape_ascii();
        format!("transaction {transaction} waits for key {key} of keyspace {keyspace:?}")
    });
    told.collect::<Vec<String>>().join(", ")
}

/// Why a write was not taken into the transaction. The transaction may go on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Caller: take the handle from this store.
    #[error("keyspace {name:?}: the handle is another store's")]
    ForeignKeyspace { name: String },
    #[error("key: expected 1 to {expected} bytes, found {found}")]
    KeyLength { expected: usize, found: usize },
    #[error("value: expected at most {expected} bytes, found {found}")]
    ValueLength { expected: usize, found: usize },
    #[error("transaction: expected at most {expected} {unit}, found {found}")]
    TooLarge { unit: &'static str, expected: usize, found: usize },
    /// Caller: register it first; an operator is known to the handle's store until it is closed.
    #[error("keyspace {keyspace:?} has no merge operator {name:?}")]
    UnknownOperator { keyspace: String, name: String },
    /// It is another transaction's, or was set after one that was rolled back to.
    #[error("the savepoint is not there (any more)")]
    NoSavepoint,
    #[error("the transaction has ended")]
    Ended,
}

/// Why a commit did not happen, or why nobody can say whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing happened. Caller: run the transaction again on a new snapshot.
    #[error(
        "conflict on key {} of keyspace {keyspace:?}: {reason}; running it again can help",
        key.escape_ascii()
    )]
    Conflict { keyspace: String, key: Vec<u8>, reason: ConflictReason },
    /// Nothing happened, and merging cannot make the room: the commit is larger than the windows'
    /// share, the data file is full, or damage keeps windows from being merged. Caller: smaller
    /// transactions, or raise `memory_bytes`; otherwise see to what stops the merging.
    #[error("memory: expected at most {expected} bytes in windows, found {found}")]
    MemoryFull { expected: u64, found: u64 },
    /// Nothing happened, and merging cannot shorten the log: the data file is full, or a damaged
    /// tablet needs the log. Caller: see to that; a higher `log_bytes_max` gains time.
    #[error("log: expected at most {expected} bytes of segments, found {found}")]
    LogFull { expected: u64, found: u64 },
    /// Nothing happened. Caller: free disk space, raise `data_bytes_max`, or delete; the store
    /// goes on when there is room.
    #[error("disk: no room for {needed} bytes: {reason}")]
    DiskFull { needed: u64, reason: String },
    /// Nothing happened. Caller: run the transaction again on a new snapshot.
    #[error("the transaction's snapshot at LSN {snapshot} is too old: it was given up")]
    SnapshotTooOld { snapshot: Lsn },
    /// Nothing happened: the key is not what the condition asks for. Caller: read, decide again.
    #[error("key {} of keyspace {keyspace:?}: the condition does not hold", key.escape_ascii())]
    ConditionFailed { keyspace: String, key: Vec<u8> },
    /// Nothing happened: whether the key was written since the version that the condition names
    /// is not known any more. Caller: read again, and name the newer version.
    #[error(
        "key {} of keyspace {keyspace:?}: the version is too old to tell what came after it",
        key.escape_ascii()
    )]
    VersionTooOld { keyspace: String, key: Vec<u8> },
    /// Nothing happened: the merge operator has no next value. Caller: mend operand or value.
    #[error("key {} of keyspace {keyspace:?}: merge refused: {reason}", key.escape_ascii())]
    MergeRefused { keyspace: String, key: Vec<u8>, reason: String },
    /// Nothing happened: the value that the write depends on cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// Nothing happened. A page that merging these keys needs is damaged. Caller: restore.
    #[error("damaged: {reason}")]
    Damaged { reason: String },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("keyspace {name:?} was dropped")]
    KeyspaceDropped { name: String },
    /// Nothing happened. Caller: reopen the store.
    #[error("the store stopped: {reason}")]
    Poisoned { reason: String },
    /// The log position was taken, then the store stopped: the commit is there after reopening,
    /// or it is not.
    #[error("outcome unknown: {reason}; reopen the store and look")]
    Unknown { reason: String },
    /// Nothing happened. Caller: open the store in another mode.
    #[error("the store was opened with OpenMode::ReadOnly")]
    ReadOnly,
    #[error("the store is closed")]
    Closed,
}

impl CommitError {
    /// Whether running the same transaction again on a new snapshot can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, CommitError::Conflict { .. } | CommitError::SnapshotTooOld { .. })
    }
}

/// What a transaction met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictReason {
    /// A version of a key that the transaction writes is newer than its snapshot.
    NewerVersion,
    /// A key that a serializable transaction has read, there or not, was written since.
    ReadChanged,
    /// A key in a range that a serializable transaction has scanned was written since.
    RangeChanged,
    /// Another transaction that spans shards holds the key, or a range around it, while it
    /// commits.
    Prepared,
    /// Another transaction has locked a key that the transaction writes.
    Locked,
}

impl ConflictReason {
    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ConflictReason::NewerVersion => "newer_version",
            ConflictReason::ReadChanged => "read_changed",
            ConflictReason::RangeChanged => "range_changed",
            ConflictReason::Prepared => "prepared",
            ConflictReason::Locked => "locked",
        }
    }
}

impl std::fmt::Display for ConflictReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConflictReason::NewerVersion => "another transaction wrote it first",
            ConflictReason::ReadChanged => "it was read, and another transaction wrote it since",
            ConflictReason::RangeChanged => {
                "it lies in a range that was scanned, and another transaction wrote it since"
            }
            ConflictReason::Prepared => "another transaction is committing it",
            ConflictReason::Locked => "another transaction has locked it",
        })
    }
}

/// Why a keyspace was not made or dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyspaceError {
    /// Caller: `open_keyspace` takes it as it is.
    #[error("keyspace {name:?} exists")]
    Exists { name: String },
    /// Caller: open it with the routing it has, or make one of another name.
    #[error("keyspace {name:?}: expected routing {expected:?}, found {found:?}")]
    OtherRouting { name: String, expected: Routing, found: Routing },
    /// Caller: take the handle from this store.
    #[error("keyspace {name:?}: the handle is another store's")]
    ForeignKeyspace { name: String },
    #[error("keyspace {name:?} was dropped")]
    Dropped { name: String },
    #[error("keyspace name: expected 1 to {expected} bytes, found {found}")]
    NameLength { expected: usize, found: usize },
    #[error("expected at most {expected} keyspaces, found that many")]
    TooMany { expected: usize },
    /// Dropping a keyspace, or fewer tablets, makes it fit.
    #[error("the root table has no room for the rows of {tablets} more tablets")]
    TableFull { tablets: u32 },
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Whatever a transaction can end with; what `Db::run` and its closure return.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The closure's own reason to give up.
    #[error("given up by the transaction itself: {0}")]
    Abort(Box<dyn std::error::Error + Send + Sync>),
}

impl TransactionError {
    /// Gives up a transaction for a reason of the caller's own.
    pub fn abort(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TransactionError {
        TransactionError::Abort(reason.into())
    }

    /// Whether running the same transaction again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            TransactionError::Commit(error) => error.is_retryable(),
            TransactionError::Lock(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// Why a store did not close cleanly. Its lock is released either way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    #[error("the store had stopped: {reason}")]
    Poisoned { reason: String },
    #[error("the store is closed already")]
    Closed,
}
