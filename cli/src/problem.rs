//! What is wrong with a store, as the commands print it: a line for people, fields for scripts.

use std::fmt;

use serde::Serialize;
use sombra::inspect::{CheckProblem, KeyBounds, KeySpan};

use crate::text::Notation;

/// Something that must not be.
#[derive(Serialize)]
pub(crate) struct Problem {
    /// File, byte and page in words.
    place: String,
    file: String,
    offset_bytes: Option<u64>,
    page: Option<u64>,
    keyspace: Option<String>,
    keyspace_id: Option<u32>,
    tablet: Option<u32>,
    /// What cannot be read, or cannot be trusted, for it.
    keys: Option<Keys>,
    expected: String,
    found: String,
    #[serde(skip)]
    told: String,
}

/// Keys of a tree: from `lower` to below `upper`, or one.
#[derive(Serialize)]
pub(crate) struct Keys {
    /// In words: text where a key is text, else hexadecimal digits.
    told: String,
    /// Bytes of a key that its routing hash is of. The keys of a hash keyspace come behind their
    /// 8-byte hash, in the fields below too.
    hash_prefix_len_bytes: Option<u16>,
    lower_hex: Option<String>,
    upper_hex: Option<String>,
    /// One key; then there are no bounds.
    key_hex: Option<String>,
}

impl From<&CheckProblem> for Problem {
    fn from(problem: &CheckProblem) -> Problem {
        let tablet = problem.tablet.as_ref();
        Problem {
            place: problem.place.to_string(),
            file: problem.place.file.display().to_string(),
            offset_bytes: problem.place.offset_bytes,
            page: problem.place.page,
            keyspace: tablet.map(|tablet| tablet.keyspace.clone()),
            keyspace_id: tablet.map(|tablet| tablet.id.keyspace.as_u32()),
            tablet: tablet.map(|tablet| tablet.id.index),
            keys: problem.keys.as_ref().map(Keys::from),
            expected: problem.expected.clone(),
            found: problem.found.clone(),
            told: problem.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl From<&KeySpan> for Keys {
    fn from(span: &KeySpan) -> Keys {
        let hex = |bytes: &Vec<u8>| Notation::Hex.show(bytes);
        let (lower, upper, key) = match &span.bounds {
            KeyBounds::Range { lower, upper } => (lower.as_ref(), upper.as_ref(), None),
            KeyBounds::Key(key) => (None, None, Some(key)),
        };
        Keys {
            told: span.to_string(),
            hash_prefix_len_bytes: span.hash_prefix_len_bytes,
            lower_hex: lower.map(hex),
            upper_hex: upper.map(hex),
            key_hex: key.map(hex),
        }
    }
}
