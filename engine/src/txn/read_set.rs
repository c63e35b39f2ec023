//! What a serializable transaction has read: keys, there or not, and ranges.
//!
//! Knows only where it looked. A read set that grows past its bounds becomes coarser: it then
//! covers more than was read, never less.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use crate::ids::{Direction, TabletId};
use crate::limits;

/// A key of a tablet that was looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadKey {
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
}

/// A part of a tablet whose rows, and whose gaps, were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadRange {
    pub(crate) tablet: TabletId,
    pub(crate) from: Bound<Bytes>,
    pub(crate) to: Bound<Bytes>,
}

impl ReadRange {
    /// The bounds as windows take them.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(|key| &key[..]), self.to.as_ref().map(|key| &key[..]))
    }

    pub(crate) fn contains(&self, tablet: TabletId, window_key: &[u8]) -> bool {
        tablet == self.tablet && RangeBounds::<[u8]>::contains(&self.bounds(), window_key)
    }

    /// Makes the range cover `other` too, and what lies between them.
    fn extend_over(&mut self, other: ReadRange) {
        if is_lower(&other.from, &self.from) {
            self.from = other.from;
        }
        if is_higher(&other.to, &self.to) {
            self.to = other.to;
        }
    }
}

/// Whether a range that begins at `a` begins before one that begins at `b`.
fn is_lower(a: &Bound<Bytes>, b: &Bound<Bytes>) -> bool {
    match (a, b) {
        (_, Bound::Unbounded) => false,
        (Bound::Unbounded, _) => true,
        (Bound::Included(a), Bound::Excluded(b)) => a <= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a < b,
    }
}

/// Whether a range that ends at `a` ends behind one that ends at `b`.
fn is_higher(a: &Bound<Bytes>, b: &Bound<Bytes>) -> bool {
    match (a, b) {
        (_, Bound::Unbounded) => false,
        (Bound::Unbounded, _) => true,
        (Bound::Included(a), Bound::Excluded(b)) => a >= b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a > b,
    }
}

/// How far a scan has come in one tablet.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    tablet: TabletId,
    /// The bound of the tablet's part of the range at which the scan began.
    start: Bound<Bytes>,
    direction: Direction,
    /// Where the read set holds it, as long as nothing was made coarser.
    place: Option<(u32, usize)>,
}

impl Progress {
    pub(crate) fn new(tablet: TabletId, start: Bound<Bytes>, direction: Direction) -> Progress {
        Progress { tablet, start, direction, place: None }
    }

    pub(crate) fn tablet(&self) -> TabletId {
        self.tablet
    }
}

/// The reads of one transaction, or the part of them that one shard owns.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadSet {
    pub(crate) keys: Vec<ReadKey>,
    pub(crate) ranges: Vec<ReadRange>,
    /// How often ranges were joined: a place of before is no place any more.
    joins: u32,
}

impl ReadSet {
    /// A key was looked up.
    pub(crate) fn add_key(&mut self, tablet: TabletId, window_key: Bytes) {
        if self.keys.len() >= limits::TRANSACTION_READ_KEYS_MAX {
            self.keys.sort_unstable();
            self.keys.dedup();
            if self.keys.len() > limits::TRANSACTION_READ_KEYS_MAX / 2 {
                self.join_keys();
            }
        }
        self.keys.push(ReadKey { tablet, window_key });
    }

    /// A scan has seen everything from its start to `reached`, the bound on its way.
    pub(crate) fn cover(&mut self, progress: &mut Progress, reached: Bound<Bytes>) {
        if let Some((joins, at)) = progress.place
            && joins == self.joins
        {
            match progress.direction {
                Direction::Forward => self.ranges[at].to = reached,
                Direction::Reverse => self.ranges[at].from = reached,
            }
            return;
        }
        if self.ranges.len() >= limits::TRANSACTION_READ_RANGES_MAX {
            self.join_ranges();
        }
        let (from, to) = match progress.direction {
            Direction::Forward => (progress.start.clone(), reached),
            Direction::Reverse => (reached, progress.start.clone()),
        };
        progress.place = Some((self.joins, self.ranges.len()));
        self.ranges.push(ReadRange { tablet: progress.tablet, from, to });
    }

    /// Replaces the keys of each tablet by the range from the lowest to the highest.
    fn join_keys(&mut self) {
        let keys = std::mem::take(&mut self.keys).into_iter();
        self.ranges.extend(keys.map(|ReadKey { tablet, window_key }| {
            let (from, to) = (Bound::Included(window_key.clone()), Bound::Included(window_key));
            ReadRange { tablet, from, to }
        }));
        self.join_ranges();
    }

    /// Replaces the ranges of each tablet by one.
    fn join_ranges(&mut self) {
        let mut joined: BTreeMap<TabletId, ReadRange> = BTreeMap::new();
        for range in std::mem::take(&mut self.ranges) {
            match joined.get_mut(&range.tablet) {
                Some(hull) => hull.extend_over(range),
                None => drop(joined.insert(range.tablet, range)),
            }
        }
        self.ranges = joined.into_values().collect();
        self.joins += 1;
    }
}
