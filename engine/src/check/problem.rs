//! What a check says of one thing that must not be: where, which keys, expected, found.
//!
//! Knows how places and keys are told to people. Must never know how they were found.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ids::{PageAddr, TabletId};
use crate::keyspace::tree_key;
use crate::options::Routing;

/// The detail of a place that the root in force does not reach.
pub(super) const BELOW_OLDER_ROOT: &str = "below the older root page";

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckProblem {
    pub place: ProblemPlace,
    /// The tablet that it is about.
    pub tablet: Option<ProblemTablet>,
    /// The keys that cannot be read, or cannot be trusted, for it.
    pub keys: Option<KeySpan>,
    pub expected: String,
    pub found: String,
}

/// Where something lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProblemPlace {
    pub file: PathBuf,
    pub offset_bytes: Option<u64>,
    /// The page of the data file that begins there.
    pub page: Option<u64>,
    /// What else tells the place from others.
    pub detail: Option<&'static str>,
}

/// A tablet by the name of its keyspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProblemTablet {
    /// Empty when nobody knows it.
    pub keyspace: String,
    pub id: TabletId,
}

/// Keys that lie together in a tree.
///
/// A hash keyspace's tree orders its keys behind their 8-byte routing hash, so that its bounds
/// begin with (a part of) a hash: [`KeySpan::contains`] says of a caller's key whether it is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySpan {
    /// Bytes of a key that its routing hash is of; `None` where no hash precedes the keys.
    pub hash_prefix_len_bytes: Option<u16>,
    pub bounds: KeyBounds,
}

/// Which keys of a tree, in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyBounds {
    /// From `lower` to below `upper`; `None` is the end of the tablet that has no bound.
    Range { lower: Option<Vec<u8>>, upper: Option<Vec<u8>> },
    /// This one.
    Key(Vec<u8>),
}

impl CheckProblem {
    /// Whether only the older copy of a root reaches what it is about.
    pub(crate) fn is_below_older_root(&self) -> bool {
        self.place.detail == Some(BELOW_OLDER_ROOT)
    }

    /// Puts the tablet to it.
    pub(crate) fn of(self, tablet: &ProblemTablet) -> CheckProblem {
        CheckProblem { tablet: Some(tablet.clone()), ..self }
    }

    /// Puts the keys to it that it costs.
    pub(crate) fn costing(self, keys: KeySpan) -> CheckProblem {
        CheckProblem { keys: Some(keys), ..self }
    }
}

impl ProblemPlace {
    pub(crate) fn file(path: &Path) -> ProblemPlace {
        ProblemPlace { file: path.to_owned(), offset_bytes: None, page: None, detail: None }
    }

    pub(crate) fn at(path: &Path, offset_bytes: u64) -> ProblemPlace {
        ProblemPlace { offset_bytes: Some(offset_bytes), ..ProblemPlace::file(path) }
    }

    pub(crate) fn page(path: &Path, page: PageAddr, page_size_bytes: usize) -> ProblemPlace {
        let place = ProblemPlace::at(path, page.offset_bytes(page_size_bytes));
        ProblemPlace { page: Some(page.as_u64()), ..place }
    }
}

impl KeySpan {
    /// Whether a caller's key is one of these, as far as the tablet's bounds allow it there.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let key = tree_key(self.hash_prefix_len_bytes, key);
        match &self.bounds {
            KeyBounds::Key(own) => *own == key,
            KeyBounds::Range { lower, upper } => {
                lower.as_ref().is_none_or(|lower| *lower <= key)
                    && upper.as_ref().is_none_or(|upper| key < *upper)
            }
        }
    }
}

/// Bytes of a key that the routing hashes; `None` where no hash precedes the keys.
pub(crate) fn hash_prefix_len_bytes(routing: &Routing) -> Option<u16> {
    match routing {
        Routing::Hash { prefix_len_bytes, .. } => Some(*prefix_len_bytes),
        Routing::Range { .. } => None,
    }
}

impl fmt::Display for CheckProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(tablet) = &self.tablet {
            write!(f, ", {tablet}")?;
        }
        if let Some(keys) = &self.keys {
            write!(f, ", {keys}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl fmt::Display for ProblemPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset_bytes {
            write!(f, " at byte {offset}")?;
        }
        if let Some(page) = self.page {
            write!(f, " (page {page})")?;
        }
        self.detail.map_or(Ok(()), |detail| write!(f, ", {detail}"))
    }
}

impl fmt::Display for ProblemTablet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keyspace.as_str() {
            "" => write!(f, "keyspace {}, tablet {}", self.id.keyspace.as_u32(), self.id.index),
            name => write!(f, "keyspace {name:?}, tablet {}", self.id.index),
        }
    }
}

impl fmt::Display for KeySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_hashed = self.hash_prefix_len_bytes.is_some();
        let shown = |key: &[u8]| shown(is_hashed, key);
        match &self.bounds {
            KeyBounds::Key(key) => write!(f, "key {}", shown(key)),
            KeyBounds::Range { lower: None, upper: None } => f.write_str("all its keys"),
            KeyBounds::Range { lower: Some(lower), upper: None } => {
                write!(f, "keys from {}", shown(lower))
            }
            KeyBounds::Range { lower: None, upper: Some(upper) } => {
                write!(f, "keys below {}", shown(upper))
            }
            KeyBounds::Range { lower: Some(lower), upper: Some(upper) } => {
                write!(f, "keys from {} to below {}", shown(lower), shown(upper))
            }
        }
    }
}

/// A key of a tree for people: text where it is text, else hexadecimal digits; a routing hash,
/// whole or cut short, before it.
fn shown(is_hashed: bool, key: &[u8]) -> String {
    let (hash, key) = key.split_at(if is_hashed { key.len().min(8) } else { 0 });
    let text = match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("0x{}", hex(key)),
    };
    match (is_hashed, key) {
        (false, _) => text,
        (true, []) => format!("hash 0x{}", hex(hash)),
        (true, _) => format!("hash 0x{} {text}", hex(hash)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(routing: &Routing, lower: Option<&[u8]>, upper: Option<&[u8]>) -> KeySpan {
        let (lower, upper) = (lower.map(<[u8]>::to_vec), upper.map(<[u8]>::to_vec));
        let hash_prefix_len_bytes = hash_prefix_len_bytes(routing);
        KeySpan { hash_prefix_len_bytes, bounds: KeyBounds::Range { lower, upper } }
    }

    #[test]
    fn key_span_tells_its_bounds_as_text_or_digits() {
        let range = Routing::range();
        let told = |lower, upper| span(&range, lower, upper).to_string();
        assert_eq!(told(Some(b"a"), Some(b"b\"c")), "keys from \"a\" to below \"b\\\"c\"");
        assert_eq!(told(Some(&[0, 255]), None), "keys from 0x00ff");
        assert_eq!(told(None, Some(b"z")), "keys below \"z\"");
        assert_eq!(told(None, None), "all its keys");
        let hash = span(&Routing::hash(4), Some(&[1, 2]), Some(&[1, 2, 3, 4, 5, 6, 7, 8, b'k']));
        assert_eq!(
            hash.to_string(),
            "keys from hash 0x0102 to below hash 0x0102030405060708 \"k\""
        );
    }

    #[test]
    fn key_span_contains_its_lower_bound_and_not_its_upper_one() {
        let range = span(&Routing::range(), Some(b"b"), Some(b"d"));
        let contained = ["a", "b", "c", "d"].map(|key| range.contains(key.as_bytes()));
        assert_eq!(contained, [false, true, true, false]);
        let routing = Routing::hash(4);
        let key = tree_key(Some(4), b"user-7");
        let above = [&key[..], &[0]].concat();
        assert!(span(&routing, Some(&key), Some(&above)).contains(b"user-7"));
        assert!(!span(&routing, Some(&above), None).contains(b"user-7"));
        let one = KeySpan { hash_prefix_len_bytes: Some(4), bounds: KeyBounds::Key(key) };
        assert!(one.contains(b"user-7") && !one.contains(b"user-8"));
    }
}
