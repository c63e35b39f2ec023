//! Pages of one tablet: which are reachable from the root being built, and which must not be
//! written yet.
//!
//! Knows bits. Does no I/O and never decides when a page may be released: views, cursors and the
//! durable copies of the root table are the caller's to ask.

mod map;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::format::space_map::{
    SpaceMap, SpaceMapEntry, extent_of, full_extent, page_of, pages_per_extent,
};
use crate::ids::PageAddr;
use crate::limits::RUN_SEARCH_EXTENTS_MAX;

#[cfg(test)]
pub(crate) use map::EncodedMap;

/// Pages that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PageRun {
    pub(crate) addr: PageAddr,
    pub(crate) pages: u32,
}

/// One extent of the tablet, bit i for page i; `live` is a part of `held`.
#[derive(Clone, Copy, Default, Debug)]
struct ExtentPages {
    /// Reachable from the root being built.
    live: u64,
    /// Not to be written: live, or needed by an older root.
    held: u64,
}

/// Where the next page comes from: the extent's free pages from `place` on, ascending.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    extent: u32,
    place: u32,
}

/// The pages that one root reaches.
#[derive(Debug)]
pub(crate) struct LiveSet {
    page_size_bytes: u32,
    /// Bit i for page i of the extent; ascending.
    extents: Vec<(u32, u64)>,
}

impl LiveSet {
    /// Cost: O(log extents).
    pub(crate) fn contains(&self, addr: PageAddr) -> bool {
        let Some((extent, place)) = extent_of(addr, self.page_size_bytes) else { return false };
        let at = self.extents.binary_search_by_key(&extent, |&(extent, _)| extent);
        at.is_ok_and(|at| self.extents[at].1 >> place & 1 == 1)
    }
}

/// The pages of one tablet, owned by its shard.
#[derive(Debug)]
pub(crate) struct PageAllocator {
    page_size_bytes: u32,
    extents: BTreeMap<u32, ExtentPages>,
    /// Extents with free pages, the cursor's excepted; the emptiest last.
    by_free: BTreeSet<(u32, Reverse<u32>)>,
    cursor: Option<Cursor>,
    live_pages: u64,
    held_pages: u64,
    /// Extents with a live page: the entries of the map.
    live_extents: usize,
    /// Pages of the space map of the root being built.
    map_pages: Vec<PageAddr>,
}

impl PageAllocator {
    /// An allocator without extents.
    pub(crate) fn new(page_size_bytes: u32) -> PageAllocator {
        PageAllocator {
            page_size_bytes,
            extents: BTreeMap::new(),
            by_free: BTreeSet::new(),
            cursor: None,
            live_pages: 0,
            held_pages: 0,
            live_extents: 0,
            map_pages: Vec::new(),
        }
    }

    /// The state that a root's verified map describes: everything in it is live.
    pub(crate) fn load(page_size_bytes: u32, map: &SpaceMap) -> PageAllocator {
        let mut allocator = PageAllocator::new(page_size_bytes);
        for &SpaceMapEntry { extent, live } in &map.entries {
            allocator.extents.insert(extent, ExtentPages { live, held: live });
            allocator.list(extent);
        }
        allocator.live_pages = map.live_pages();
        allocator.held_pages = allocator.live_pages;
        allocator.live_extents = map.entries.len();
        allocator.map_pages.clone_from(&map.pages);
        allocator
    }

    /// Holds what an older root needs, adding its extents where the newer root has none of them.
    /// Returns the runs that became held by this, for the caller to release one day.
    pub(crate) fn pin_map(&mut self, older: &SpaceMap) -> Vec<PageRun> {
        let mut pinned = Vec::new();
        for entry in &older.entries {
            if !self.extents.contains_key(&entry.extent) {
                self.add_extents(&[entry.extent]);
            }
            let new = entry.live & !self.extents[&entry.extent].held;
            self.change(entry.extent, |pages| pages.held |= new);
            push_runs(&mut pinned, entry.extent, new, self.page_size_bytes);
        }
        pinned
    }

    /// Takes extents that the volume gave.
    ///
    /// # Panics
    /// If one is the tablet's already (INV-5).
    pub(crate) fn add_extents(&mut self, extents: &[u32]) {
        for &extent in extents {
            let before = self.extents.insert(extent, ExtentPages::default());
            assert!(before.is_none(), "INV-5: extent {extent} is given to its tablet once");
            self.list(extent);
        }
    }

    /// The next free page, live and held from now on; `None` when every extent is full.
    /// Consecutive calls ascend inside one extent, so that a merge writes long requests.
    /// Cost: O(log extents).
    pub(crate) fn alloc(&mut self) -> Option<PageAddr> {
        loop {
            if let Some(Cursor { extent, place }) = self.cursor {
                let free = self.free_bits(extent) & u64::MAX.checked_shl(place).unwrap_or(0);
                if free != 0 {
                    let place = free.trailing_zeros();
                    self.cursor = Some(Cursor { extent, place: place + 1 });
                    self.take(extent, 1 << place);
                    return Some(page_of(extent, place, self.page_size_bytes));
                }
                self.cursor = None;
                self.list(extent);
            }
            let (_, Reverse(extent)) = self.by_free.pop_last()?;
            self.cursor = Some(Cursor { extent, place: 0 });
        }
    }

    /// Pages that follow each other inside one extent; `None` when no extent that was looked at
    /// has such a run. One that was just added and is empty is found at once.
    /// Cost: O(`RUN_SEARCH_EXTENTS_MAX`).
    ///
    /// # Panics
    /// If the run is empty or longer than an extent.
    pub(crate) fn alloc_run(&mut self, pages: u32) -> Option<PageAddr> {
        let most = pages_per_extent(self.page_size_bytes);
        assert!((1..=most).contains(&pages), "INV-9: a run of {pages} pages, at most {most}");
        let under_cursor = self.cursor.map(|cursor| cursor.extent);
        let listed = self.by_free.iter().rev().map(|&(_, Reverse(extent))| extent);
        let mut candidates = under_cursor.into_iter().chain(listed).take(RUN_SEARCH_EXTENTS_MAX);
        let (extent, place) = candidates.find_map(|extent| {
            let starts = run_starts(self.free_bits(extent), pages);
            (starts != 0).then(|| (extent, starts.trailing_zeros()))
        })?;
        self.take(extent, ones(pages) << place);
        Some(page_of(extent, place, self.page_size_bytes))
    }

    /// Takes neighbouring extents that the volume gave for a run of `pages` over them; what is
    /// left of the last one serves later allocations.
    ///
    /// # Panics
    /// If the extents are no neighbours, or the run needs fewer or more of them.
    pub(crate) fn alloc_big(&mut self, extents: &[u32], pages: u32) -> PageAddr {
        let are_neighbours = extents.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
        assert!(are_neighbours, "INV-5: a run lies in neighbouring extents, found {extents:?}");
        let needed = pages.div_ceil(pages_per_extent(self.page_size_bytes)) as usize;
        assert!(pages > 0 && needed == extents.len(), "INV-5: {pages} pages in {extents:?}");
        self.add_extents(extents);
        let addr = page_of(extents[0], 0, self.page_size_bytes);
        self.for_each_part(PageRun { addr, pages }, |this, extent, bits| this.take(extent, bits));
        addr
    }

    /// The root being built does not reach these pages any more; they stay held until
    /// [`PageAllocator::release`].
    ///
    /// # Panics
    /// If one of them is not live.
    pub(crate) fn obsolete(&mut self, addr: PageAddr, pages: u32) {
        self.for_each_part(PageRun { addr, pages }, |this, extent, bits| {
            this.change(extent, |held| {
                assert!(held.live & bits == bits, "INV-5: pages at {addr} become obsolete once");
                held.live &= !bits;
            });
        });
    }

    /// No root, view or durable copy needs these pages any more: they may be written again.
    ///
    /// # Panics
    /// If one of them is live, or not held (INV-5).
    pub(crate) fn release(&mut self, addr: PageAddr, pages: u32) {
        self.for_each_part(PageRun { addr, pages }, |this, extent, bits| {
            this.change(extent, |held| {
                assert!(held.live & bits == 0, "INV-5: pages at {addr} are live, not released");
                assert!(held.held & bits == bits, "INV-5: pages at {addr} are released once");
                held.held &= !bits;
            });
        });
    }

    /// Takes back an allocation of a merge slice that was given up. No write of the pages may be
    /// in flight, or the next owner's write could be overtaken.
    ///
    /// # Panics
    /// If one of the pages is not live.
    pub(crate) fn unalloc(&mut self, addr: PageAddr, pages: u32) {
        self.obsolete(addr, pages);
        self.release(addr, pages);
    }

    /// Gives up extents without a held page, the highest first, but keeps `keep` of them.
    /// Returns them ascending; they are the volume's again.
    pub(crate) fn take_empty_extents(&mut self, keep: usize) -> Vec<u32> {
        let empty = self.extents.iter().filter(|(_, pages)| pages.held == 0);
        let taken: Vec<u32> = empty.map(|(&extent, _)| extent).skip(keep).collect();
        for extent in &taken {
            if self.cursor.is_some_and(|cursor| cursor.extent == *extent) {
                self.cursor = None;
            }
            self.unlist(*extent);
            self.extents.remove(extent);
        }
        taken
    }

    /// All extents of the tablet, ascending: what the volume must not give to another.
    pub(crate) fn extents(&self) -> impl Iterator<Item = u32> {
        self.extents.keys().copied()
    }

    pub(crate) fn extent_count(&self) -> u64 {
        self.extents.len() as u64
    }

    pub(crate) fn free_pages(&self) -> u64 {
        let all = self.extent_count() * u64::from(pages_per_extent(self.page_size_bytes));
        all - self.held_pages
    }

    /// Pages that the root being built reaches.
    pub(crate) fn live_pages(&self) -> u64 {
        self.live_pages
    }

    /// Pages that must not be written, live or not.
    pub(crate) fn held_pages(&self) -> u64 {
        self.held_pages
    }

    /// What the root before this one reached, when `taken` is new since and `obsolete` reached
    /// no longer. Cost: O(extents + pages).
    pub(crate) fn live_before(&self, taken: &[PageRun], obsolete: &[PageRun]) -> LiveSet {
        let live = self.extents.iter().map(|(&extent, pages)| (extent, pages.live));
        let mut extents: Vec<(u32, u64)> = live.collect();
        let mut change = |run: &PageRun, is_live: bool| {
            for at in 0..u64::from(run.pages) {
                let place = extent_of(run.addr.plus(at), self.page_size_bytes);
                let (extent, place) = place.expect("INV-5: a page of the tablet's own extents");
                let found = extents.binary_search_by_key(&extent, |&(extent, _)| extent);
                let found = found.expect("INV-5: what is held keeps its extent");
                let bits = &mut extents[found].1;
                *bits = if is_live { *bits | 1 << place } else { *bits & !(1 << place) };
            }
        };
        obsolete.iter().for_each(|run| change(run, true));
        // Last, as a slice may give up what it has built itself.
        taken.iter().for_each(|run| change(run, false));
        LiveSet { page_size_bytes: self.page_size_bytes, extents }
    }

    pub(crate) fn is_live(&self, addr: PageAddr) -> bool {
        self.bit(addr, |pages| pages.live)
    }

    pub(crate) fn is_held(&self, addr: PageAddr) -> bool {
        self.bit(addr, |pages| pages.held)
    }

    fn bit(&self, addr: PageAddr, bits: impl Fn(&ExtentPages) -> u64) -> bool {
        let Some((extent, place)) = extent_of(addr, self.page_size_bytes) else { return false };
        self.extents.get(&extent).is_some_and(|pages| bits(pages) >> place & 1 == 1)
    }

    fn free_bits(&self, extent: u32) -> u64 {
        full_extent(self.page_size_bytes) & !self.extents[&extent].held
    }

    fn take(&mut self, extent: u32, bits: u64) {
        self.change(extent, |pages| {
            assert!(pages.held & bits == 0, "INV-5: extent {extent}: {bits:#x} is held");
            pages.live |= bits;
            pages.held |= bits;
        });
    }

    /// Changes an extent's bits and what is counted and listed of them.
    fn change(&mut self, extent: u32, change: impl FnOnce(&mut ExtentPages)) {
        self.unlist(extent);
        let pages = self.extents.get_mut(&extent);
        let pages = pages.expect("INV-5: a tablet touches pages of its own extents only");
        let before = *pages;
        change(pages);
        let after = *pages;
        assert!(after.live & !after.held == 0, "INV-5: what is live is held");
        self.live_pages += u64::from(after.live.count_ones());
        self.live_pages -= u64::from(before.live.count_ones());
        self.held_pages += u64::from(after.held.count_ones());
        self.held_pages -= u64::from(before.held.count_ones());
        self.live_extents += usize::from(after.live != 0);
        self.live_extents -= usize::from(before.live != 0);
        self.list(extent);
    }

    fn list(&mut self, extent: u32) {
        let is_under_cursor = self.cursor.is_some_and(|cursor| cursor.extent == extent);
        let free = self.free_bits(extent).count_ones();
        if free > 0 && !is_under_cursor {
            self.by_free.insert((free, Reverse(extent)));
        }
    }

    fn unlist(&mut self, extent: u32) {
        let is_under_cursor = self.cursor.is_some_and(|cursor| cursor.extent == extent);
        if !is_under_cursor && self.extents.contains_key(&extent) {
            self.by_free.remove(&(self.free_bits(extent).count_ones(), Reverse(extent)));
        }
    }

    /// The run's bits, extent by extent.
    fn for_each_part(&mut self, run: PageRun, mut part: impl FnMut(&mut Self, u32, u64)) {
        let per_extent = pages_per_extent(self.page_size_bytes);
        let mut addr = run.addr;
        let mut left = run.pages;
        while left > 0 {
            let (extent, place) = extent_of(addr, self.page_size_bytes)
                .expect("INV-5: a tablet touches pages of its own extents only");
            let pages = left.min(per_extent - place);
            part(self, extent, ones(pages) << place);
            addr = addr.plus(pages.into());
            left -= pages;
        }
    }
}

/// The lowest `pages` bits, 1 to 64 of them.
const fn ones(pages: u32) -> u64 {
    u64::MAX >> (64 - pages)
}

/// Bits at which a run of `pages` set bits begins. Cost: O(log pages).
fn run_starts(bits: u64, pages: u32) -> u64 {
    let mut starts = bits;
    let mut length = 1;
    while length < pages {
        let step = length.min(pages - length);
        starts &= starts >> step;
        length += step;
    }
    starts
}

fn push_runs(runs: &mut Vec<PageRun>, extent: u32, mut bits: u64, page_size_bytes: u32) {
    while bits != 0 {
        let place = bits.trailing_zeros();
        let pages = (bits >> place).trailing_ones();
        runs.push(PageRun { addr: page_of(extent, place, page_size_bytes), pages });
        bits &= !(ones(pages) << place);
    }
}
