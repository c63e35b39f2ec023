//! A tablet's own space map: the pages that hold it are allocated like any others, and are in it.

use super::PageAllocator;
use crate::format::page::PageOwner;
use crate::format::root_table::TabletSpace;
use crate::format::space_map::{SpaceMapEntry, SpaceMapIdentity, encode_space_map, map_page_count};
use crate::ids::{Lsn, PageAddr};

/// A new map, not yet written.
#[derive(Debug)]
pub(crate) struct EncodedMap {
    /// What the tablet's row says of it.
    pub(crate) space: TabletSpace,
    /// To be written before the barrier that precedes the row.
    pub(crate) pages: Vec<(PageAddr, Vec<u8>)>,
    /// Pages of the map before; obsolete, still held, to be released with the older root's.
    pub(crate) replaced: Vec<PageAddr>,
}

impl PageAllocator {
    /// Makes the map of what is live now; its own pages join it, those of the map before leave
    /// it. The last step of building a root. `None` when there is no room for its pages: the
    /// caller adds extents and calls again; nothing has changed.
    ///
    /// # Panics
    /// If nothing but the old map is live: an empty tablet has no map, see
    /// [`PageAllocator::drop_map`].
    pub(crate) fn encode_map(&mut self, owner: PageOwner, page_lsn: Lsn) -> Option<EncodedMap> {
        let before = self.live_pages - self.map_pages.len() as u64;
        assert!(before > 0, "INV-5: an empty tablet has no space map");
        let replaced = std::mem::take(&mut self.map_pages);
        replaced.iter().for_each(|&page| self.obsolete(page, 1));
        let Some(addrs) = self.alloc_map_pages() else {
            let runs: Vec<_> =
                replaced.iter().map(|&addr| super::PageRun { addr, pages: 1 }).collect();
            self.revive(&runs);
            self.map_pages = replaced;
            return None;
        };
        let identity = SpaceMapIdentity { owner, page_size_bytes: self.page_size_bytes };
        let (map, pages) = encode_space_map(&self.live_entries(), &addrs, &identity, page_lsn);
        let map_pages = addrs.len() as u32;
        self.map_pages = addrs;
        let space = TabletSpace { map, map_pages, live_pages: self.live_pages };
        Some(EncodedMap { space, pages, replaced })
    }

    /// The tablet became empty and needs no map. Returns the pages of the map before, obsolete
    /// and still held.
    ///
    /// # Panics
    /// If anything but the map is live.
    pub(crate) fn drop_map(&mut self) -> Vec<PageAddr> {
        let replaced = std::mem::take(&mut self.map_pages);
        replaced.iter().for_each(|&page| self.obsolete(page, 1));
        assert!(self.live_pages == 0, "INV-5: {} pages are live without a map", self.live_pages);
        replaced
    }

    /// Pages of the newest map.
    pub(crate) fn map_pages(&self) -> &[PageAddr] {
        &self.map_pages
    }

    /// As many pages as the map needs that has them in it. Each page adds at most one entry and
    /// holds hundreds, so the two meet.
    fn alloc_map_pages(&mut self) -> Option<Vec<PageAddr>> {
        let mut addrs = Vec::new();
        while addrs.len() < map_page_count(self.live_extents, self.page_size_bytes) {
            let Some(addr) = self.alloc() else {
                addrs.iter().for_each(|&page| self.unalloc(page, 1));
                return None;
            };
            addrs.push(addr);
        }
        Some(addrs)
    }

    /// Pages that became obsolete a moment ago are live again: the root that did not need them
    /// will not be.
    pub(crate) fn revive(&mut self, runs: &[super::PageRun]) {
        for &run in runs {
            self.for_each_part(run, |this, extent, bits| {
                this.change(extent, |pages| pages.live |= bits);
            });
        }
    }

    /// The map is the one before again, whose pages are live again; the one that took its place
    /// is given up.
    pub(crate) fn restore_map(&mut self, before: Vec<PageAddr>) {
        self.map_pages = before;
    }

    /// Everything that the root being built reaches.
    pub(crate) fn live_runs(&self) -> Vec<super::PageRun> {
        let mut runs = Vec::new();
        for SpaceMapEntry { extent, live } in self.live_entries() {
            super::push_runs(&mut runs, extent, live, self.page_size_bytes);
        }
        runs
    }

    /// Every extent of the tablet, ascending: its number, its live pages, its held pages.
    pub(crate) fn extent_bits(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.extents.iter().map(|(&extent, pages)| (extent, pages.live, pages.held))
    }

    fn live_entries(&self) -> Vec<SpaceMapEntry> {
        let live = self.extents.iter().filter(|(_, pages)| pages.live != 0);
        live.map(|(&extent, pages)| SpaceMapEntry { extent, live: pages.live }).collect()
    }
}
