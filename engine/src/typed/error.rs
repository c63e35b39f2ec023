//! Why a typed call failed.

use std::any::type_name;
use std::fmt::Display;

use crate::error::{CommitError, ReadError, TransactionError, WriteError};
use crate::keyspace::Keyspace;
use crate::limits;

/// Why a typed call failed.
///
/// Within `db.run`, `?` turns it into a [`TransactionError`]: what the engine said stays what it
/// was, `Encode` and `Decode` become the reason of an `Abort` (`downcast_ref` finds them there).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The type cannot be a `part` ("key" or "value"): nothing was written or asked for. Caller:
    /// another type.
    #[error("{type_name} cannot be stored as a {part}: {reason}")]
    Encode { part: &'static str, type_name: &'static str, reason: String },
    /// The `part` ("key" or "value") of the row at `key` was not written as this type; it stays
    /// as it is. Caller: read it through `TypedKeyspace::keyspace`, or with the type that wrote it.
    #[error(
        "keyspace {keyspace:?}, key {}: its {part} is not of type {type_name}: {reason}",
        shown(key)
    )]
    Decode {
        keyspace: String,
        key: Vec<u8>,
        part: &'static str,
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
    pub(super) fn encode<T: ?Sized>(part: &'static str, reason: &impl Display) -> TypedError {
        TypedError::Encode { part, type_name: type_name::<T>(), reason: reason.to_string() }
    }

    pub(super) fn decode<T>(
        (keyspace, key): (&Keyspace, &[u8]),
        part: &'static str,
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
