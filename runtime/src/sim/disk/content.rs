//! One simulated file's bytes: what a reader sees now, and what a power cut may leave of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::chunk::{
    CHUNK_SIZE_BYTES, Chunk, Claims, CutTally, Fate, Image, Kind, OpId, ZEROES, sector_mask,
};
use crate::sim::dice::Dice;

#[derive(Clone)]
struct LengthChange {
    op: OpId,
    len_bytes: u64,
    abandoned: Option<OpId>,
}
/// Bytes of a write on their way to the file.
#[derive(Clone)]
pub(crate) enum Payload {
    Bytes(Arc<[u8]>),
    Zeroes(u64),
}

impl Payload {
    pub(crate) fn len_bytes(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Zeroes(len) => *len,
        }
    }
}

/// What a read found at the moment it took effect; holds references, no copies.
#[derive(Clone)]
pub(crate) struct ReadView {
    images: Vec<Image>,
    /// Offset of the first byte in the first image.
    start: usize,
    len_bytes: usize,
}

impl ReadView {
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn shorten(&mut self, len_bytes: usize) {
        self.len_bytes = self.len_bytes.min(len_bytes);
    }

    pub(crate) fn is_same(&self, other: &ReadView) -> bool {
        let bytes = |view: &ReadView| {
            let mut bytes = vec![0; view.len_bytes];
            view.copy_to(&mut bytes);
            bytes
        };
        bytes(self) == bytes(other)
    }

    pub(crate) fn copy_to(&self, target: &mut [u8]) {
        let mut at = 0;
        let mut start = self.start;
        for image in &self.images {
            let take = (CHUNK_SIZE_BYTES - start).min(self.len_bytes - at);
            target[at..at + take].copy_from_slice(&image.bytes()[start..start + take]);
            at += take;
            start = 0;
        }
        assert_eq!(at, self.len_bytes, "a read view covers its own length");
    }
}
/// Which operations a flush makes durable: those submitted before it and completed by then.
pub(super) struct Coverage {
    pub(super) before: OpId,
    pub(super) unfinished: Vec<OpId>,
}

impl Coverage {
    pub(super) fn holds(&self, op: OpId) -> bool {
        op < self.before && !self.unfinished.contains(&op)
    }

    /// As `holds`, unless another flush failed for it before this one was submitted.
    pub(super) fn claims(&self, op: OpId, abandoned: Option<OpId>) -> bool {
        self.holds(op) && abandoned.is_none_or(|last| self.before <= last)
    }
}

#[derive(Clone)]
pub(super) struct Body {
    remember_older: bool,
    chunks: BTreeMap<u64, Chunk>,
    dirty: BTreeSet<u64>,
    len_bytes: u64,
    durable_len_bytes: u64,
    lengths: Vec<LengthChange>,
    /// Writes and truncations between submission and completion.
    pub(super) unfinished: Vec<OpId>,
}

/// The chunks that `len_bytes` bytes at `offset` touch; `len_bytes` is not zero.
fn chunk_range(offset: u64, len_bytes: u64) -> RangeInclusive<u64> {
    let chunk = CHUNK_SIZE_BYTES as u64;
    offset / chunk..=(offset + len_bytes - 1) / chunk
}

impl Body {
    pub(super) fn new(remember_older: bool) -> Body {
        Body {
            remember_older,
            chunks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            len_bytes: 0,
            durable_len_bytes: 0,
            lengths: Vec::new(),
            unfinished: Vec::new(),
        }
    }

    /// From here on each chunk keeps its durable bytes before the present ones, or forgets them.
    pub(super) fn remember_older(&mut self, yes: bool) {
        self.remember_older = yes;
        if !yes {
            self.chunks.values_mut().for_each(Chunk::forget_older);
        }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Offsets of the chunks that a reader does not find all zero.
    pub(super) fn written_blocks(&self) -> Vec<u64> {
        let is_written = |chunk: &Chunk| chunk.volatile.bytes() != ZEROES;
        let written = self.chunks.iter().filter(|(_, chunk)| is_written(chunk));
        written.map(|(index, _)| index * CHUNK_SIZE_BYTES as u64).collect()
    }

    #[cfg(test)]
    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The write takes effect: readers see it, nothing of it is durable.
    pub(super) fn write(&mut self, op: OpId, offset: u64, payload: &Payload) {
        let len = payload.len_bytes();
        if len == 0 {
            return;
        }
        match payload {
            Payload::Bytes(bytes) => self.write_bytes(op, offset, bytes),
            Payload::Zeroes(_) => self.clear(op, Kind::Data, offset, len),
        }
        self.grow(op, offset + len);
    }

    fn write_bytes(&mut self, op: OpId, offset: u64, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let position = offset + at as u64;
            let start = (position % CHUNK_SIZE_BYTES as u64) as usize;
            let take = (CHUNK_SIZE_BYTES - start).min(bytes.len() - at);
            let index = position / CHUNK_SIZE_BYTES as u64;
            let chunk = self.chunks.entry(index).or_insert_with(Chunk::new);
            let image = chunk.volatile.overlaid(start, &bytes[at..at + take]);
            chunk.put(op, Kind::Data, sector_mask(start, start + take), image);
            self.dirty.insert(index);
            at += take;
        }
    }

    /// Zeroes over a range; chunks that were never written are zero already and stay absent.
    fn clear(&mut self, op: OpId, kind: Kind, offset: u64, len_bytes: u64) {
        let end = offset + len_bytes;
        for (&index, chunk) in self.chunks.range_mut(chunk_range(offset, len_bytes)) {
            let base = index * CHUNK_SIZE_BYTES as u64;
            let start = offset.saturating_sub(base) as usize;
            let stop = (end - base).min(CHUNK_SIZE_BYTES as u64) as usize;
            let image = if stop - start == CHUNK_SIZE_BYTES {
                Image::Zeroes
            } else {
                chunk.volatile.overlaid(start, &ZEROES[start..stop])
            };
            chunk.put(op, kind, sector_mask(start, stop), image);
            self.dirty.insert(index);
        }
    }

    fn grow(&mut self, op: OpId, end: u64) {
        self.len_bytes = self.len_bytes.max(end);
        if end > self.durable_len_bytes || !self.lengths.is_empty() {
            self.lengths.push(LengthChange { op, len_bytes: self.len_bytes, abandoned: None });
        }
    }

    pub(super) fn set_len(&mut self, op: OpId, len_bytes: u64) {
        if len_bytes < self.len_bytes {
            self.clear(op, Kind::Whole, len_bytes, self.len_bytes - len_bytes);
        }
        self.len_bytes = len_bytes;
        self.lengths.push(LengthChange { op, len_bytes, abandoned: None });
    }

    /// Makes durable, of the bytes of `range` (all of them when `None`), what `claims` names.
    pub(super) fn cover(&mut self, range: Option<(u64, u64)>, claims: Claims<'_>) {
        let within = match range {
            Some((_, 0)) => return,
            Some((offset, len_bytes)) => chunk_range(offset, len_bytes),
            None => 0..=u64::MAX,
        };
        let touched: Vec<u64> = self.dirty.range(within).copied().collect();
        for index in touched {
            let chunk = self.chunks.get_mut(&index).expect("a dirty chunk exists");
            chunk.cover(claims, self.remember_older);
            if chunk.versions.is_empty() {
                self.dirty.remove(&index);
            }
        }
    }

    /// The length that a covered operation left becomes durable, as fdatasync promises.
    pub(super) fn cover_length(&mut self, claims: Claims<'_>) {
        let claims = |c: &LengthChange| claims(c.op, c.abandoned);
        if let Some(last) = self.lengths.iter().rposition(claims) {
            self.durable_len_bytes = self.lengths[last].len_bytes;
            self.lengths.drain(..=last);
        }
    }

    /// The operations' data can no longer become durable by a flush that is submitted after
    /// `last`; readers still see it.
    pub(super) fn abandon(&mut self, last: OpId, failed: &dyn Fn(OpId) -> bool) {
        for index in &self.dirty {
            let chunk = self.chunks.get_mut(index).expect("a dirty chunk exists");
            for version in chunk.versions.iter_mut().filter(|v| failed(v.op)) {
                version.kind = Kind::Abandoned(last);
            }
        }
        for change in self.lengths.iter_mut().filter(|c| failed(c.op)) {
            change.abandoned = Some(last);
        }
    }

    /// The power fails: what no flush covered is decided, and volatile equals durable again.
    pub(super) fn cut(
        &mut self,
        dice: &mut Dice,
        fate: &dyn Fn(OpId) -> Fate,
        tally: &mut CutTally,
    ) {
        for index in std::mem::take(&mut self.dirty) {
            let chunk = self.chunks.get_mut(&index).expect("a dirty chunk exists");
            chunk.cut(dice, fate, tally, self.remember_older);
        }
        for change in std::mem::take(&mut self.lengths) {
            let kept = match fate(change.op) {
                Fate::Keep => true,
                Fate::Lose => false,
                Fate::Mixed => change.op.0.is_multiple_of(2),
            };
            if kept {
                self.durable_len_bytes = change.len_bytes;
            }
        }
        self.len_bytes = self.durable_len_bytes;
        self.unfinished.clear();
        self.trim();
    }

    /// Drops what lies beyond the length, so that a file grown again reads zeroes there.
    fn trim(&mut self) {
        let chunk_len = CHUNK_SIZE_BYTES as u64;
        drop(self.chunks.split_off(&self.len_bytes.div_ceil(chunk_len)));
        let tail = (self.len_bytes % chunk_len) as usize;
        if tail > 0
            && let Some(chunk) = self.chunks.get_mut(&(self.len_bytes / chunk_len))
        {
            chunk.transform(&mut |bytes| bytes[tail..].fill(0));
        }
    }

    pub(super) fn read(&self, offset: u64, len_bytes: usize) -> ReadView {
        let available = self.len_bytes.saturating_sub(offset).min(len_bytes as u64);
        self.read_at(offset, available as usize)
    }

    /// As `read`, over the file's end as well: zeroes are there.
    pub(super) fn read_at(&self, offset: u64, len_bytes: usize) -> ReadView {
        self.view(offset, len_bytes, |chunk| &chunk.volatile)
    }

    /// What the range held before its last change, each chunk for itself.
    pub(super) fn read_older(&self, offset: u64, len_bytes: usize) -> ReadView {
        self.view(offset, len_bytes, Chunk::stale)
    }

    fn view(&self, offset: u64, len_bytes: usize, which: fn(&Chunk) -> &Image) -> ReadView {
        if len_bytes == 0 {
            return ReadView { images: Vec::new(), start: 0, len_bytes: 0 };
        }
        let image = |index| self.chunks.get(&index).map_or(Image::Zeroes, |c| which(c).clone());
        ReadView {
            images: chunk_range(offset, len_bytes as u64).map(image).collect(),
            start: (offset % CHUNK_SIZE_BYTES as u64) as usize,
            len_bytes,
        }
    }

    /// Damages stored bytes behind everybody's back: durable, volatile and undecided ones alike.
    pub(super) fn damage(
        &mut self,
        offset: u64,
        len_bytes: u64,
        hurt: &mut dyn FnMut(u64, &mut u8),
    ) {
        assert!(
            len_bytes > 0 && offset.checked_add(len_bytes).is_some_and(|end| end <= self.len_bytes),
            "damage at {offset}+{len_bytes} lies outside a file of {} bytes",
            self.len_bytes
        );
        for index in chunk_range(offset, len_bytes) {
            let base = index * CHUNK_SIZE_BYTES as u64;
            let start = offset.max(base);
            let end = (offset + len_bytes).min(base + CHUNK_SIZE_BYTES as u64);
            let chunk = self.chunks.entry(index).or_insert_with(Chunk::new);
            chunk.transform(&mut |bytes| {
                for position in start..end {
                    hurt(position - offset, &mut bytes[(position - base) as usize]);
                }
            });
        }
    }
}
