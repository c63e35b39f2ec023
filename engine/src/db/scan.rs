//! Scans: page after page, tablet after tablet, own writes woven in.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use super::port::{self, Port, Remote};
use super::transaction::Transaction;
use crate::error::ReadError;
use crate::ids::{Direction, TabletId};
use crate::keyspace::{HASH_BYTES, Keyspace};
use crate::options::Routing;
use crate::shard::ScanPage;
use crate::txn::{KeyRange, Progress, successor_of_prefix};

/// The rows of a range, fetched page by page.
pub struct Scan<P: Port = Remote> {
    port: P,
    transaction: Transaction<P>,
    keyspace: Keyspace,
    range: KeyRange,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    direction: Direction,
    is_keys_only: bool,
    tablet: u32,
    last_tablet: u32,
    /// By window key.
    rows: VecDeque<(Bytes, Bytes)>,
    /// How far the caller has seen the tablet that `rows` are of.
    seen: Option<Progress>,
    /// Up to where the caller has seen it when `rows` are used up.
    seen_to: Option<Bound<Bytes>>,
    is_finished: bool,
}

impl<P: Port> Scan<P> {
    pub(super) fn new(
        port: P,
        transaction: Transaction<P>,
        keyspace: Keyspace,
        (range, direction): (KeyRange, Direction),
    ) -> Scan<P> {
        let plan = plan(&keyspace, &range);
        let (first, last) = plan.tablets;
        let (tablet, last_tablet) = match direction {
            Direction::Forward => (first, last),
            Direction::Reverse => (last, first),
        };
        Scan {
            port,
            transaction,
            keyspace,
            range,
            from: plan.from,
            to: plan.to,
            direction,
            is_keys_only: false,
            tablet,
            last_tablet,
            rows: VecDeque::new(),
            seen: None,
            seen_to: None,
            is_finished: first > last,
        }
    }

    /// Begins behind `key` instead of at the range's end, in the scan's own order: where the page
    /// before this one ended. For a scan that has not begun.
    #[must_use]
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Scan<P> {
        let place = self.keyspace.place(key.as_ref());
        let at = place.tablet.index;
        let (is_before, is_behind) = match self.direction {
            Direction::Forward => (at < self.tablet, at > self.last_tablet),
            Direction::Reverse => (at > self.tablet, at < self.last_tablet),
        };
        if is_before || self.is_finished {
            return self;
        }
        self.is_finished = is_behind;
        let is_same_tablet = at == self.tablet;
        let behind = Bound::Excluded(place.window_key);
        match self.direction {
            Direction::Forward if !is_same_tablet || is_further(&self.from, &behind) => {
                self.from = behind;
            }
            Direction::Reverse if !is_same_tablet || is_further(&behind, &self.to) => {
                self.to = behind;
            }
            Direction::Forward | Direction::Reverse => {}
        }
        self.tablet = at;
        self
    }

    /// The keys alone: values are neither read from their own pages nor copied.
    #[must_use]
    pub fn keys(mut self) -> KeyScan<P> {
        self.is_keys_only = true;
        KeyScan { rows: self }
    }

    /// Up to `rows_max` further rows; fewer only at the end. Go on with the same scan, or later
    /// with a new one that begins [`after`](Scan::after) the last key.
    ///
    /// # Errors
    /// As [`Scan::next`]; rows that were taken before it are lost to the caller.
    pub async fn next_page(&mut self, rows_max: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut rows = Vec::new();
        while rows.len() < rows_max {
            let Some(row) = self.next().await? else { break };
            rows.push(row);
        }
        Ok(rows)
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// As [`ReadError`]; calling again tries the same page again.
    pub async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        loop {
            if let Some((window_key, value)) = self.rows.pop_front() {
                self.note_seen(|| Bound::Included(window_key.clone()));
                return Ok(Some((window_key.slice(self.keyspace.key_offset()..), value)));
            }
            if let Some(reached) = self.seen_to.take() {
                self.note_seen(|| reached);
            }
            if self.is_finished {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    /// All remaining rows. Memory: as many as there are.
    ///
    /// # Errors
    /// As [`Scan::next`].
    pub async fn collect(mut self) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    fn note_seen(&mut self, reached: impl FnOnce() -> Bound<Bytes>) {
        if let Some(progress) = &mut self.seen {
            self.transaction.note_scanned(&self.keyspace, progress, reached());
        }
    }

    async fn fetch(&mut self) -> Result<(), ReadError> {
        self.transaction.refuse_if_ended()?;
        let tablet = TabletId { keyspace: self.keyspace.id(), index: self.tablet };
        let (from, to) = (self.from.clone(), self.to.clone());
        let snapshot = self.transaction.snapshot_lsn();
        let direction = self.direction;
        let (page_from, page_to) = (from.clone(), to.clone());
        let is_keys_only = self.is_keys_only;
        let page =
            ScanPage { tablet, from: page_from, to: page_to, direction, is_keys_only, snapshot };
        let page = port::scan_page(&self.port, &self.keyspace, page).await;
        // Versions were kept only while the transaction lived.
        self.transaction.refuse_if_ended()?;
        let page = page?;
        let (start, end) = match direction {
            Direction::Forward => (from, to),
            Direction::Reverse => (to, from),
        };
        let is_new = self.seen.as_ref().is_none_or(|progress| progress.tablet() != tablet);
        if is_new && self.transaction.notes_reads() {
            self.seen = Some(Progress::new(tablet, start.clone(), direction));
        }
        let reached = page.resume_after.clone().map_or(end, Bound::Included);
        self.seen_to = Some(reached.clone());
        let (own_from, own_to) = match direction {
            Direction::Forward => (start, reached),
            Direction::Reverse => (reached, start),
        };
        let id = self.keyspace.id();
        let mut own = self.transaction.own_writes(|writes| writes.range(id, own_from, own_to));
        own.retain(|write| write.tablet == tablet);
        if direction == Direction::Reverse {
            own.reverse();
        }
        let seen = |value: Bytes| if is_keys_only { Bytes::new() } else { value };
        let own = own.into_iter().map(|write| (write.window_key, write.value.map(seen)));
        let offset = self.keyspace.key_offset();
        for (window_key, value) in weave(page.rows, own, direction) {
            if self.range.contains(&window_key[offset..]) {
                self.rows.push_back((window_key, value));
            }
        }
        match (page.resume_after, direction) {
            (Some(last), Direction::Forward) => self.from = Bound::Excluded(last),
            (Some(last), Direction::Reverse) => self.to = Bound::Excluded(last),
            (None, _) => self.next_tablet(),
        }
        Ok(())
    }

    /// Tablets lie in order: what is left of the range begins at the next one's first key, or
    /// ends before the first key of the one just read.
    fn next_tablet(&mut self) {
        self.is_finished = self.tablet == self.last_tablet;
        if self.is_finished {
            return;
        }
        let boundaries = match self.keyspace.routing() {
            Routing::Range { boundaries } => boundaries.as_slice(),
            Routing::Hash { .. } => &[],
        };
        match self.direction {
            Direction::Forward => {
                let first = boundaries.get(self.tablet as usize);
                let key = first.map(|first| Bytes::copy_from_slice(first));
                self.from = key.map_or(Bound::Unbounded, Bound::Included);
                self.tablet += 1;
            }
            Direction::Reverse => {
                self.tablet -= 1;
                let first = boundaries.get(self.tablet as usize);
                let key = first.map(|first| Bytes::copy_from_slice(first));
                self.to = key.map_or(Bound::Unbounded, Bound::Excluded);
            }
        }
    }
}

/// The keys of a range, fetched page by page.
pub struct KeyScan<P: Port = Remote> {
    rows: Scan<P>,
}

impl<P: Port> KeyScan<P> {
    /// The next key, or `None` at the end.
    ///
    /// # Errors
    /// As [`Scan::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        Ok(self.rows.next().await?.map(|(key, _)| key))
    }

    /// All remaining keys. Memory: as many as there are.
    ///
    /// # Errors
    /// As [`Scan::next`].
    pub async fn collect(mut self) -> Result<Vec<Bytes>, ReadError> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await? {
            keys.push(key);
        }
        Ok(keys)
    }
}

/// Whether the bound `b`, the end of a range that excludes its key, lies further on than `a`.
fn is_further(a: &Bound<Bytes>, b: &Bound<Bytes>) -> bool {
    match (a, b) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a <= b
        }
    }
}

/// Which tablets a scan visits, and between which window keys.
struct ScanPlan {
    tablets: (u32, u32),
    from: Bound<Bytes>,
    to: Bound<Bytes>,
}

fn plan(keyspace: &Keyspace, range: &KeyRange) -> ScanPlan {
    let as_bytes = |bound: &Bound<Vec<u8>>| bound.as_ref().map(|key| Bytes::copy_from_slice(key));
    match keyspace.routing() {
        Routing::Range { .. } => {
            let key_of = |bound: &Bound<Vec<u8>>| match bound {
                Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
                Bound::Unbounded => None,
            };
            let (from, to) = (key_of(&range.from), key_of(&range.to));
            let tablets = keyspace.tablets_between(from.as_deref(), to.as_deref());
            ScanPlan { tablets, from: as_bytes(&range.from), to: as_bytes(&range.to) }
        }
        Routing::Hash { prefix_len_bytes, .. } => {
            let range_prefix = range.common_prefix();
            let Some(place) = keyspace.prefix_place(&range_prefix) else {
                let tablets = keyspace.tablets_between(None, None);
                return ScanPlan { tablets, from: Bound::Unbounded, to: Bound::Unbounded };
            };
            {
                // One prefix, one tablet: all its keys lie under the prefix's hash, in order.
                let index = place.tablet.index;
                let hash = place.window_key.slice(..HASH_BYTES);
                let under = |key: &Vec<u8>| Bytes::from([&hash[..], key.as_slice()].concat());
                let end = successor_of_prefix(&hash)
                    .map_or(Bound::Unbounded, |next| Bound::Excluded(Bytes::from(next)));
                let from = match &range.from {
                    Bound::Unbounded => Bound::Included(hash.clone()),
                    bound => bound.as_ref().map(under),
                };
                let prefix_len = usize::from(*prefix_len_bytes);
                let same = |key: &Vec<u8>| key.get(..prefix_len) == range_prefix.get(..prefix_len);
                let to = match &range.to {
                    Bound::Included(key) | Bound::Excluded(key) if same(key) => {
                        range.to.as_ref().map(under)
                    }
                    _ => end,
                };
                ScanPlan { tablets: (index, index), from, to }
            }
        }
    }
}

/// Joins two runs that go one way; an own write takes the place of a row, a delete removes it.
fn weave(
    rows: Vec<(Bytes, Bytes)>,
    own: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    direction: Direction,
) -> impl Iterator<Item = (Bytes, Bytes)> {
    let mut rows = rows.into_iter().peekable();
    let mut own = own.peekable();
    std::iter::from_fn(move || {
        loop {
            let take_own = match (rows.peek(), own.peek()) {
                (None, None) => return None,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((row, _)), Some((write, _))) => match direction {
                    Direction::Forward => write <= row,
                    Direction::Reverse => write >= row,
                },
            };
            if !take_own {
                return rows.next();
            }
            let (key, value) = own.next()?;
            if rows.peek().is_some_and(|(row, _)| *row == key) {
                rows.next();
            }
            if let Some(value) = value {
                return Some((key, value));
            }
        }
    })
}
