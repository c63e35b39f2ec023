//! What a judge can find, each with the place and both sides of the contradiction.

use super::value::{Found, KeyId, TxnId};

/// One broken promise.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    #[error("acknowledged commit lost: {txn} at LSN {lsn} wrote {key:?}, found {found:?}")]
    Lost { txn: TxnId, lsn: u64, key: KeyId, found: Found },
    #[error(
        "relaxed commit lost out of the middle: {txn} at LSN {lsn} wrote {key:?}, found \
         {found:?}, yet the log survived up to {survived}"
    )]
    LostFromTheMiddle { txn: TxnId, lsn: u64, key: KeyId, found: Found, survived: u64 },
    #[error("commit half applied: {txn} is under {present:?}, but {missing:?} shows {found:?}")]
    HalfApplied { txn: TxnId, present: KeyId, missing: KeyId, found: Found },
    #[error("refused commit came to life: {txn} under {key:?}")]
    Resurrected { txn: TxnId, key: KeyId },
    #[error("{key:?} shows {found:?}, which an earlier opening had declared gone or overwritten")]
    Zombie { key: KeyId, found: Found },
    #[error("{key:?} holds bytes that nobody wrote there: {found:?}")]
    Garbled { key: KeyId, found: Found },
    #[error("{key:?} shows {found:?}, never written by an open or acknowledged commit")]
    Unexplained { key: KeyId, found: Found },
    #[error("a reader saw synchronous commit {txn}, and the crash took it away")]
    SeenThenLost { txn: TxnId },
    #[error("snapshot {snapshot}: {key:?} must show {expected}, found {found:?}")]
    WrongRead { snapshot: u64, key: KeyId, expected: String, found: Found },
    #[error("{txn} began at snapshot {snapshot} although LSN {floor} was acknowledged before")]
    StaleSnapshot { txn: TxnId, snapshot: u64, floor: u64 },
    #[error("{second} at LSN {lsn} overwrote {first} on {key:?}, which its snapshot had not seen")]
    SecondCommitterWon { first: TxnId, second: TxnId, lsn: u64, key: KeyId },
    #[error("{txn} got LSN {lsn}: {reason}")]
    WrongLsn { txn: TxnId, lsn: u64, reason: String },
    #[error("keyspace {name:?} was created and acknowledged, and is gone")]
    SpaceLost { name: String },
    #[error("keyspace {name:?} exists although its drop was acknowledged or it was never made")]
    SpaceUnexpected { name: String },
    #[error("{what}")]
    Broken { what: String },
}

impl Violation {
    /// The transaction whose acknowledged effect is missing, if this is such a finding.
    #[must_use]
    pub fn lost(&self) -> Option<TxnId> {
        match self {
            Violation::Lost { txn, .. }
            | Violation::LostFromTheMiddle { txn, .. }
            | Violation::SeenThenLost { txn } => Some(*txn),
            _ => None,
        }
    }

    /// The transaction of which one part is there and another is not.
    #[must_use]
    pub fn half_applied(&self) -> Option<TxnId> {
        match self {
            Violation::HalfApplied { txn, .. } => Some(*txn),
            _ => None,
        }
    }
}
