//! Which extents nobody owns, as runs, so that a long run is found without a walk over bits.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint runs of extents; neighbours are one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FreeExtents {
    /// First extent of a run to its length, never 0.
    runs: BTreeMap<u32, u32>,
    count: u32,
}

impl FreeExtents {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Adds a run.
    ///
    /// # Panics
    /// If a part of it is free already: an extent is given back once (INV-5).
    pub(super) fn insert(&mut self, extents: Range<u32>) {
        if extents.is_empty() {
            return;
        }
        let (mut start, mut end) = (extents.start, extents.end);
        self.count += end - start;
        if let Some((&before, &len)) = self.runs.range(..end).next_back() {
            assert!(before + len <= start, "INV-5: extents {extents:?} are free already");
            if before + len == start {
                self.runs.remove(&before);
                start = before;
            }
        }
        if let Some(len) = self.runs.remove(&end) {
            end += len;
        }
        self.runs.insert(start, end - start);
    }

    /// Takes one extent out; tells whether it was free.
    pub(super) fn remove(&mut self, extent: u32) -> bool {
        let Some((&start, &len)) = self.runs.range(..=extent).next_back() else { return false };
        if extent >= start + len {
            return false;
        }
        self.take_part(start, extent..extent + 1);
        true
    }

    /// Takes the lowest `count` extents, or none.
    pub(super) fn take_lowest(&mut self, count: u32) -> Option<Vec<u32>> {
        if self.count < count {
            return None;
        }
        let mut taken = Vec::with_capacity(count as usize);
        let mut missing = count;
        while missing > 0 {
            let (&start, &len) = self.runs.first_key_value().expect("INV-9: the count was checked");
            let part = start..start + len.min(missing);
            missing -= part.end - part.start;
            taken.extend(part.clone());
            self.take_part(start, part);
        }
        Some(taken)
    }

    /// Takes the first run of `count` neighbours, or none.
    pub(super) fn take_neighbours(&mut self, count: u32) -> Option<Vec<u32>> {
        let start = self.runs.iter().find(|&(_, &len)| len >= count).map(|(&start, _)| start)?;
        let part = start..start + count;
        self.take_part(start, part.clone());
        Some(part.collect())
    }

    pub(super) fn has_neighbours(&self, count: u32) -> bool {
        self.runs.values().any(|&len| len >= count)
    }

    /// Takes up to `most` extents that end at `end`; returns where they begin.
    pub(super) fn take_tail(&mut self, end: u32, most: u32) -> u32 {
        match self.runs.last_key_value() {
            Some((&start, &len)) if start + len == end => {
                let first = end - len.min(most);
                self.take_part(start, first..end);
                first
            }
            _ => end,
        }
    }

    fn take_part(&mut self, start: u32, part: Range<u32>) {
        if part.is_empty() {
            return;
        }
        let len = self.runs.remove(&start).expect("INV-9: the run was found");
        if part.start > start {
            self.runs.insert(start, part.start - start);
        }
        if part.end < start + len {
            self.runs.insert(part.end, start + len - part.end);
        }
        self.count -= part.end - part.start;
    }
}
