//! What the codec of keys says when it cannot go on.

use std::fmt::Display;

/// A sentence for the error that names key and type.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct KeyCodecError {
    reason: String,
}

impl KeyCodecError {
    pub(super) fn new(reason: impl Into<String>) -> KeyCodecError {
        KeyCodecError { reason: reason.into() }
    }
}

impl serde::ser::Error for KeyCodecError {
    fn custom<T: Display>(reason: T) -> KeyCodecError {
        KeyCodecError::new(reason.to_string())
    }
}

impl serde::de::Error for KeyCodecError {
    fn custom<T: Display>(reason: T) -> KeyCodecError {
        KeyCodecError::new(reason.to_string())
    }
}
