//! Reads and scans through snapshots, some of which are held while others write.

use bytes::Bytes;
use sombra::{KeyRange, ReadError};

use super::client::{Client, End};
use super::commit::found_in;
use super::keyspaces::Space;
use super::session::View;
use super::tally::Tally;
use crate::limits;
use crate::model::{Event, Found, KeyId, key_bytes, key_index};

/// A snapshot kept open, with the keys that it showed before.
pub(super) struct Held {
    view: View,
    keys: Vec<(Space, u32)>,
}

impl Client {
    pub(super) fn record_read(
        &self,
        snapshot: u64,
        key: KeyId,
        value: Result<Option<Bytes>, ReadError>,
    ) -> Result<(), End> {
        let value = value.map_err(|error| self.read_end(&error))?;
        self.record(Event::Read { snapshot, key, found: found_in(value.as_ref()) });
        Ok(())
    }

    async fn get(&self, view: &View, space: &Space, index: u32) -> Result<(), End> {
        let value = view.get(&space.keyspace, &key_bytes(index)).await;
        let key = KeyId { space: space.id, index };
        self.record_read(view.lsn().as_u64(), key, value)
    }

    /// A snapshot that has seen everything acknowledged before it.
    fn fresh_view(&self) -> Result<Option<View>, End> {
        let floor = self.options.tally.floor();
        let view = match self.session.snapshot() {
            Ok(view) => view,
            Err(error) => return self.begin_end(&error).map(|()| None),
        };
        let lsn = view.lsn().as_u64();
        if lsn < floor {
            return Err(self.broken(format!("snapshot {lsn} is below acknowledged LSN {floor}")));
        }
        Ok(Some(view))
    }

    fn draw_keys(&mut self, count: u64) -> Vec<(Space, u32)> {
        let draw = |_| {
            let space = self.random.pick(&self.options.spaces).clone();
            (space, self.options.mix.key(&mut self.random))
        };
        (0..count).map(draw).collect()
    }

    /// A few keys of one snapshot.
    pub(super) async fn read_only(&mut self) -> Result<(), End> {
        let Some(view) = self.fresh_view()? else { return Ok(()) };
        let count = self.random.between(1, 5);
        for (space, index) in self.draw_keys(count) {
            self.get(&view, &space, index).await?;
        }
        Ok(())
    }

    /// Takes a snapshot and keeps it, or reads an old one again, or lets one go.
    pub(super) async fn hold_or_reread(&mut self) -> Result<(), End> {
        if self.held.len() < limits::SNAPSHOTS_HELD_MAX && self.random.percent(40) {
            let Some(view) = self.fresh_view()? else { return Ok(()) };
            let keys = self.draw_keys(4);
            for (space, index) in &keys {
                self.get(&view, space, *index).await?;
            }
            self.held.push(Held { view, keys });
            return Ok(());
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.held.len() as u64) as usize;
        let held = self.held.swap_remove(at);
        for (space, index) in &held.keys {
            self.get(&held.view, space, *index).await?;
        }
        if self.random.percent(20) {
            let space = self.random.pick(&self.options.spaces).clone();
            self.scan_all(&held.view, &space).await?;
        }
        if self.random.percent(70) {
            self.held.push(held);
        }
        Ok(())
    }

    /// A range of an ordered keyspace, or all of any keyspace.
    pub(super) async fn scan(&mut self) -> Result<(), End> {
        let Some(view) = self.fresh_view()? else { return Ok(()) };
        let space = self.random.pick(&self.options.spaces).clone();
        if !space.ordered || self.random.percent(30) {
            return self.scan_all(&view, &space).await;
        }
        let mix = &self.options.mix;
        let bounds = [mix.key(&mut self.random), mix.key(&mut self.random)];
        let mut bounds = bounds.map(key_bytes);
        bounds.sort();
        let [low, high] = bounds;
        let range = KeyRange::from(low.as_slice()..high.as_slice());
        let within = |key: &[u8]| low.as_slice() <= key && key < high.as_slice();
        self.scan_range(&view, &space, range, &within).await
    }

    async fn scan_all(&self, view: &View, space: &Space) -> Result<(), End> {
        self.scan_range(view, space, KeyRange::all(), &|_| true).await
    }

    /// Every key of the range is judged as one read, those that the scan left out as absent.
    async fn scan_range(
        &self,
        view: &View,
        space: &Space,
        range: KeyRange,
        within: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(), End> {
        Tally::add(&self.options.tally.scans);
        let chance = view.lsn().as_u64() / 8 + u64::from(self.options.client);
        let is_reverse = chance.is_multiple_of(3);
        let rows = view.rows(&space.keyspace, range, is_reverse).await;
        let mut rows = rows.map_err(|error| self.read_end(&error))?;
        if is_reverse {
            rows.reverse();
        }
        if space.ordered && !rows.is_sorted_by(|first, second| first.0 < second.0) {
            return Err(self.broken("a scan handed out rows out of order".to_owned()));
        }
        let keys = self.options.mix.keys.max(6);
        let mut found = vec![Found::Absent; keys as usize];
        for (key, value) in &rows {
            let Some(index) = key_index(key).filter(|index| *index < keys && within(key)) else {
                let key = key.escape_ascii();
                return Err(self.broken(format!("a scan handed out foreign key {key}")));
            };
            if found[index as usize] != Found::Absent {
                return Err(self.broken(format!("a scan handed out key {index} twice")));
            }
            found[index as usize] = found_in(Some(value));
        }
        let snapshot = view.lsn().as_u64();
        for index in (0..keys).filter(|index| within(&key_bytes(*index))) {
            let key = KeyId { space: space.id, index };
            self.record(Event::Read { snapshot, key, found: found[index as usize] });
        }
        Ok(())
    }
}
