//! Keys and ranges that commits across shards hold between their prepare and their apply: a key
//! to be written is held against everybody, what was read is held against writers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use bytes::Bytes;
use sombra_runtime::ShardId;

use crate::ids::TabletId;
use crate::txn::{ReadKey, ReadRange, ReadSet, Write};

/// Names one commit across shards while it is prepared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PrepareId {
    pub(crate) coordinator: ShardId,
    pub(crate) sequence: u64,
}

type Place = (TabletId, Bytes);

/// One commit's part.
#[derive(Debug)]
struct Prepared {
    writes: Vec<Write>,
    read_keys: Vec<ReadKey>,
}

/// What is prepared on one participant.
#[derive(Debug, Default)]
pub(super) struct PreparedTable {
    written: BTreeMap<Place, PrepareId>,
    /// How many commits have read a key.
    read: BTreeMap<Place, u32>,
    ranges: Vec<(PrepareId, ReadRange)>,
    commits: BTreeMap<PrepareId, Prepared>,
}

impl PreparedTable {
    /// Whether a commit that is prepared keeps others from writing this key.
    pub(super) fn is_held_from_writers(&self, write: &Write) -> bool {
        // Most of the time nothing is prepared: then no key is built to look it up.
        if self.commits.is_empty() {
            return false;
        }
        let place = (write.tablet, write.window_key.clone());
        self.written.contains_key(&place)
            || self.read.contains_key(&place)
            || self.ranges.iter().any(|(_, range)| range.contains(write.tablet, &write.window_key))
    }

    /// Whether a commit that is prepared is about to write this key.
    pub(super) fn is_being_written(&self, key: &ReadKey) -> bool {
        !self.written.is_empty() && self.written.contains_key(&(key.tablet, key.window_key.clone()))
    }

    /// A key of the range that a commit which is prepared is about to write.
    pub(super) fn first_being_written(&self, range: &ReadRange) -> Option<Bytes> {
        if self.written.is_empty() {
            return None;
        }
        let place = |key: &Bytes| (range.tablet, key.clone());
        let from = match &range.from {
            Bound::Unbounded => Bound::Included((range.tablet, Bytes::new())),
            bound => bound.as_ref().map(place),
        };
        let mut written = self.written.range((from, Bound::Unbounded));
        let (&(tablet, ref key), _) = written.next()?;
        range.contains(tablet, key).then(|| key.clone())
    }

    /// Enters a commit's part. The caller has found nothing of it held.
    pub(super) fn enter(&mut self, id: PrepareId, writes: Vec<Write>, reads: ReadSet) {
        for write in &writes {
            let held = self.written.insert((write.tablet, write.window_key.clone()), id);
            assert!(held.is_none(), "no waiting while prepared: a held key aborts");
        }
        for key in &reads.keys {
            *self.read.entry((key.tablet, key.window_key.clone())).or_insert(0) += 1;
        }
        self.ranges.extend(reads.ranges.into_iter().map(|range| (id, range)));
        self.commits.insert(id, Prepared { writes, read_keys: reads.keys });
    }

    /// Takes a commit's part out again, and returns its writes to apply or to forget.
    pub(super) fn leave(&mut self, id: PrepareId) -> Vec<Write> {
        let Some(Prepared { writes, read_keys }) = self.commits.remove(&id) else {
            return Vec::new();
        };
        for write in &writes {
            self.written.remove(&(write.tablet, write.window_key.clone()));
        }
        for key in read_keys {
            let Entry::Occupied(mut count) = self.read.entry((key.tablet, key.window_key)) else {
                unreachable!("a key that was entered is there until it leaves")
            };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.ranges.retain(|(of, _)| *of != id);
        writes
    }

    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }
}
