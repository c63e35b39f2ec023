//! Words and numbers: the identifiers that every layer compares. Knows no bytes on disk.

use std::fmt;
use std::ops::Bound;

/// Position in the log's payload stream; a commit's LSN is the END of its record. Never reused.
///
/// Every "at or below" in this engine is `lsn <= mark`. `Lsn::ZERO` precedes every commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lsn(u64);

impl Lsn {
    /// Below every commit: what an empty store has made visible.
    pub const ZERO: Lsn = Lsn(0);
    /// Above every commit.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// Makes an LSN out of a position in the payload stream.
    #[must_use]
    pub const fn new(position: u64) -> Lsn {
        Lsn(position)
    }

    /// The position in the payload stream, in bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a keyspace for the life of the store; never reused after a drop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyspaceId(u32);

impl KeyspaceId {
    /// Makes an id out of its number.
    #[must_use]
    pub const fn new(number: u32) -> KeyspaceId {
        KeyspaceId(number)
    }

    /// The number that log records carry.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// One tablet: the `index`-th range of a keyspace's routing space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TabletId {
    pub keyspace: KeyspaceId,
    pub index: u32,
}

/// Which way a range is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

impl Direction {
    /// Where a walk of this direction begins and ends.
    pub(crate) fn ends<K>(self, (from, to): (Bound<K>, Bound<K>)) -> (Bound<K>, Bound<K>) {
        match self {
            Direction::Forward => (from, to),
            Direction::Reverse => (to, from),
        }
    }
}

/// A page of the data file, counted in pages of the store's page size from its start. Page 0
/// belongs to the root table, so 0 in a reference means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageAddr(u64);

impl PageAddr {
    /// Makes an address out of a page number.
    #[must_use]
    pub const fn new(number: u64) -> PageAddr {
        PageAddr(number)
    }

    /// The page's number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The page `pages` further on.
    #[must_use]
    pub fn plus(self, pages: u64) -> PageAddr {
        PageAddr(self.0.checked_add(pages).expect("page numbers stay far below 2^64"))
    }

    /// Where the page begins in the data file, in bytes. For a number that no file reaches, which
    /// messages still have to name, the largest offset.
    #[must_use]
    pub const fn offset_bytes(self, page_size_bytes: usize) -> u64 {
        self.0.saturating_mul(page_size_bytes as u64)
    }
}

impl fmt::Display for PageAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Sixteen random bytes drawn when the store is made; every file of the store carries them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// Makes an id out of its bytes as they stand on disk.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> StoreId {
        StoreId(bytes)
    }

    /// The bytes as they stand on disk.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// Counts the openings of a store; grows at every open that may write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Makes an incarnation out of its number; the first open of a store is 1.
    #[must_use]
    pub const fn new(number: u64) -> Incarnation {
        Incarnation(number)
    }

    /// The number that headers carry.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The incarnation after this one.
    #[must_use]
    pub fn next(self) -> Incarnation {
        Incarnation(self.0.checked_add(1).expect("2^64 openings do not happen"))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
