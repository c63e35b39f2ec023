//! Why a typed call failed.

use std::any::type_name;
use std::fmt::{self, Display};

use crate::error::{CommitError, ReadError, TransactionError, WriteError};
use crate::keyspace::Keyspace;
use crate::limits;

/// A part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPart {
    Key,
    Value,
}

impl Display for RowPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowPart::Key => "key",
            RowPart::Value => "value",
        })
    }
}

/// Why a typed call failed.
///
/// Within `db.run`, `?` turns it into a [`TransactionError`]: what the engine said stays what it
/// was, `Encode` and `Decode` become the reason of an `Abort` (`downcast_ref` finds them there).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The type cannot be such a part, or writes what it cannot read, for which `put` looks, with
    /// debug assertions only. Nothing was written or asked for. Caller: another type.
    #[error("{type_name} cannot be stored as a {part}: {reason}")]
    Encode { part: RowPart, type_name: &'static str, reason: String },
    /// This part of the row at `key` was not written as this type; it stays as it is. Caller: read
    /// it through `TypedKeyspace::keyspace`, or with the type that wrote it.
    #[error(
        "keyspace {keyspace:?}, key {}: its {part} is not of type {type_name}: {reason}",
        shown(key)
    )]
    Decode {
        keyspace: String,
        key: Vec<u8>,
        part: RowPart,
        type_name: &'static str,
        reason: String,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TypedError {
    pub(super) fn encode<T: ?Sized>(part: RowPart, reason: &impl Display) -> TypedError {
        TypedError::Encode { part, type_name: type_name::<T>(), reason: reason.to_string() }
    }

    pub(super) fn decode<T>(
        keyspace: &Keyspace,
        key: &[u8],
        part: RowPart,
        reason: &impl Display,
    ) -> TypedError {
        TypedError::Decode {
            keyspace: keyspace.name().to_owned(),
            key: key.to_vec(),
            part,
            type_name: type_name::<T>(),
            reason: reason.to_string(),
        }
    }
}

impl From<TypedError> for TransactionError {
    fn from(error: TypedError) -> TransactionError {
        match error {
            TypedError::Read(error) => error.into(),
            TypedError::Write(error) => error.into(),
            TypedError::Commit(error) => error.into(),
            TypedError::Encode { .. } | TypedError::Decode { .. } => TransactionError::abort(error),
        }
    }
}

fn shown(key: &[u8]) -> String {
    match key.get(..limits::ERROR_KEY_BYTES_MAX) {
        Some(begin) if begin.len() < key.len() => {
            format!("{}… ({} bytes)", begin.escape_ascii(), key.len())
        }
        _ => key.escape_ascii().to_string(),
    }
}
