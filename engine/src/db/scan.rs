//! Scans: page after page, tablet after tablet, own writes woven in.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use super::port::{self, Port, Remote};
use super::transaction::Transaction;
use crate::error::ReadError;
use crate::ids::TabletId;
use crate::keyspace::{HASH_BYTES, Keyspace};
use crate::options::Routing;
use crate::shard::ScanPage;
use crate::txn::{KeyRange, successor_of_prefix};

/// The rows of a range, fetched page by page.
pub struct Scan<P: Port = Remote> {
    port: P,
    transaction: Transaction<P>,
    keyspace: Keyspace,
    range: KeyRange,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    tablet: u32,
    last_tablet: u32,
    rows: VecDeque<(Bytes, Bytes)>,
    is_finished: bool,
}

impl<P: Port> Scan<P> {
    pub(super) fn new(
        port: P,
        transaction: Transaction<P>,
        keyspace: Keyspace,
        range: KeyRange,
    ) -> Scan<P> {
        let plan = plan(&keyspace, &range);
        Scan {
            port,
            transaction,
            keyspace,
            range,
            from: plan.from,
            to: plan.to,
            tablet: plan.tablets.0,
            last_tablet: plan.tablets.1,
            rows: VecDeque::new(),
            is_finished: plan.tablets.0 > plan.tablets.1,
        }
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// As [`ReadError`]; calling again tries the same page again.
    pub async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
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

    async fn fetch(&mut self) -> Result<(), ReadError> {
        self.transaction.refuse_if_ended()?;
        let tablet = TabletId { keyspace: self.keyspace.id(), index: self.tablet };
        let (from, to) = (self.from.clone(), self.to.clone());
        let snapshot = self.transaction.snapshot_lsn();
        let page = ScanPage { tablet, from: from.clone(), to: to.clone(), snapshot };
        let page = port::scan_page(&self.port, &self.keyspace, page).await?;
        // Versions were kept only while the transaction lived.
        self.transaction.refuse_if_ended()?;
        let page_end = match &page.resume_after {
            Some(last) => Bound::Included(last.clone()),
            None => to,
        };
        let id = self.keyspace.id();
        let own = self.transaction.own_writes(|writes| writes.range(id, from, page_end));
        let own = own.into_iter().filter(|write| write.tablet == tablet);
        let own = own.map(|write| (write.window_key, write.value));
        let offset = self.keyspace.key_offset();
        for (window_key, value) in weave(page.rows, own) {
            let key = window_key.slice(offset..);
            if self.range.contains(&key) {
                self.rows.push_back((key, value));
            }
        }
        match page.resume_after {
            Some(last) => self.from = Bound::Excluded(last),
            None => self.next_tablet(),
        }
        Ok(())
    }

    fn next_tablet(&mut self) {
        self.is_finished = self.tablet == self.last_tablet;
        self.tablet += 1;
        // Tablets lie in order: what is left of the range begins with the next one's first key.
        if let Routing::Range { boundaries } = self.keyspace.routing() {
            if let Some(boundary) = boundaries.get(self.tablet as usize - 1) {
                self.from = Bound::Included(Bytes::copy_from_slice(boundary));
            }
        } else {
            self.from = Bound::Unbounded;
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

/// Joins two runs in key order; an own write takes the place of a row, a delete removes it.
fn weave(
    rows: Vec<(Bytes, Bytes)>,
    own: impl Iterator<Item = (Bytes, Option<Bytes>)>,
) -> impl Iterator<Item = (Bytes, Bytes)> {
    let mut rows = rows.into_iter().peekable();
    let mut own = own.peekable();
    std::iter::from_fn(move || {
        loop {
            let take_own = match (rows.peek(), own.peek()) {
                (None, None) => return None,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((row, _)), Some((write, _))) => write <= row,
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
