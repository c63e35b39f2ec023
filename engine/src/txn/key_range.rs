//! The ranges that scans take.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo};

/// A range of keys of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// From one bound to another.
    #[must_use]
    pub fn new(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> KeyRange {
        KeyRange { from, to }
    }

    /// Every key.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange::new(Bound::Unbounded, Bound::Unbounded)
    }

    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let to = successor_of_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        KeyRange::new(Bound::Included(prefix.to_vec()), to)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let (from, to) = (self.from.as_ref(), self.to.as_ref());
        let bounds = (from.map(Vec::as_slice), to.map(Vec::as_slice));
        RangeBounds::<[u8]>::contains(&bounds, key)
    }

    /// The longest prefix that all keys of the range share by its bounds alone.
    pub(crate) fn common_prefix(&self) -> Vec<u8> {
        let (Bound::Included(from) | Bound::Excluded(from)) = &self.from else {
            return Vec::new();
        };
        if self.to == successor_of_prefix(from).map_or(Bound::Unbounded, Bound::Excluded) {
            return from.clone();
        }
        let (Bound::Included(to) | Bound::Excluded(to)) = &self.to else { return Vec::new() };
        from.iter().zip(to).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect()
    }
}

/// The smallest key above every key with `prefix`; `None` when there is none.
pub(crate) fn successor_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> KeyRange {
        KeyRange::all()
    }
}

impl<K: AsRef<[u8]>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> KeyRange {
        let (from, to) = (range.start.as_ref().to_vec(), range.end.as_ref().to_vec());
        KeyRange::new(Bound::Included(from), Bound::Excluded(to))
    }
}

impl<K: AsRef<[u8]>> From<RangeInclusive<K>> for KeyRange {
    fn from(range: RangeInclusive<K>) -> KeyRange {
        let (from, to) = (range.start().as_ref().to_vec(), range.end().as_ref().to_vec());
        KeyRange::new(Bound::Included(from), Bound::Included(to))
    }
}

impl<K: AsRef<[u8]>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> KeyRange {
        KeyRange::new(Bound::Included(range.start.as_ref().to_vec()), Bound::Unbounded)
    }
}

impl<K: AsRef<[u8]>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> KeyRange {
        KeyRange::new(Bound::Unbounded, Bound::Excluded(range.end.as_ref().to_vec()))
    }
}
