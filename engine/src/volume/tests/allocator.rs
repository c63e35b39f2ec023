use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{OWNER, tablet_owner};
use crate::format::space_map::{
    SpaceMap, SpaceMapBounds, SpaceMapDecoder, SpaceMapIdentity, extent_of, page_of,
    pages_per_extent,
};
use crate::ids::{Lsn, PageAddr};
use crate::volume::{EncodedMap, PageAllocator, PageRun};

#[derive(Clone, Debug)]
enum Step {
    Alloc(u32),
    AllocRun(u32),
    AllocBig(u32),
    AddExtents(u32),
    Obsolete(usize),
    Release(usize),
    Unalloc(usize),
    GiveBack(usize),
    EncodeMap,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u32..80).prop_map(Step::Alloc),
        2 => (1_u32..9).prop_map(Step::AllocRun),
        1 => (1_u32..200).prop_map(Step::AllocBig),
        2 => (1_u32..4).prop_map(Step::AddExtents),
        4 => any::<usize>().prop_map(Step::Obsolete),
        4 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Unalloc),
        1 => (0_usize..3).prop_map(Step::GiveBack),
        2 => Just(Step::EncodeMap),
    ]
}

/// Sets of pages beside the allocator.
struct Model {
    size: u32,
    allocator: PageAllocator,
    extents: BTreeSet<u32>,
    live: BTreeSet<u64>,
    obsolete: BTreeSet<u64>,
    /// Pages of the newest map; the model leaves them to the allocator.
    map: BTreeSet<u64>,
    next_extent: u32,
}

impl Model {
    fn new(size: u32) -> Model {
        Model {
            size,
            allocator: PageAllocator::new(size),
            extents: BTreeSet::new(),
            live: BTreeSet::new(),
            obsolete: BTreeSet::new(),
            map: BTreeSet::new(),
            next_extent: 8,
        }
    }

    fn fresh(&mut self, count: u32) -> Vec<u32> {
        let fresh: Vec<u32> = (self.next_extent..self.next_extent + count).collect();
        // A gap now and then, so that not all extents are neighbours.
        self.next_extent += count + count % 2;
        self.extents.extend(&fresh);
        fresh
    }

    fn note_new(&mut self, addr: PageAddr, pages: u32) {
        for page in addr.as_u64()..addr.as_u64() + u64::from(pages) {
            let extent = extent_of(PageAddr::new(page), self.size).unwrap().0;
            assert!(self.extents.contains(&extent), "page {page} of a foreign extent");
            assert!(!self.obsolete.contains(&page), "page {page} is held");
            assert!(self.live.insert(page), "page {page} was given twice");
        }
    }

    fn nth(set: &BTreeSet<u64>, except: &BTreeSet<u64>, at: usize) -> Option<u64> {
        let pages: Vec<u64> = set.difference(except).copied().collect();
        (!pages.is_empty()).then(|| pages[at % pages.len()])
    }

    fn free(&self) -> u64 {
        let all = self.extents.len() as u64 * u64::from(pages_per_extent(self.size));
        all - (self.live.len() + self.obsolete.len()) as u64
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Alloc(count) => (0..count).for_each(|_| {
                let had_room = self.free() > 0;
                let addr = self.allocator.alloc();
                assert_eq!(addr.is_some(), had_room, "none only when every extent is full");
                addr.into_iter().for_each(|addr| self.note_new(addr, 1));
            }),
            Step::AllocRun(pages) => {
                let pages = pages.min(pages_per_extent(self.size));
                if let Some(addr) = self.allocator.alloc_run(pages) {
                    let last = addr.plus(u64::from(pages) - 1);
                    let extents = [addr, last].map(|page| extent_of(page, self.size).unwrap().0);
                    assert_eq!(extents[0], extents[1], "a run lies in one extent");
                    self.note_new(addr, pages);
                }
            }
            Step::AllocBig(pages) => {
                let extents = self.fresh(pages.div_ceil(pages_per_extent(self.size)));
                let addr = self.allocator.alloc_big(&extents, pages);
                assert_eq!(addr, page_of(extents[0], 0, self.size));
                self.note_new(addr, pages);
            }
            Step::AddExtents(count) => {
                let extents = self.fresh(count);
                self.allocator.add_extents(&extents);
            }
            Step::Obsolete(at) => {
                if let Some(page) = Model::nth(&self.live, &self.map, at) {
                    self.allocator.obsolete(PageAddr::new(page), 1);
                    self.live.remove(&page);
                    self.obsolete.insert(page);
                }
            }
            Step::Release(at) => {
                if let Some(page) = Model::nth(&self.obsolete, &BTreeSet::new(), at) {
                    self.allocator.release(PageAddr::new(page), 1);
                    self.obsolete.remove(&page);
                }
            }
            Step::Unalloc(at) => {
                if let Some(page) = Model::nth(&self.live, &self.map, at) {
                    self.allocator.unalloc(PageAddr::new(page), 1);
                    self.live.remove(&page);
                }
            }
            Step::GiveBack(keep) => self.give_back(keep),
            Step::EncodeMap => self.encode_map(),
        }
    }

    fn give_back(&mut self, keep: usize) {
        let held = self.live.iter().chain(&self.obsolete);
        let used: BTreeSet<u32> =
            held.map(|&page| extent_of(PageAddr::new(page), self.size).unwrap().0).collect();
        let empty: Vec<u32> = self.extents.difference(&used).copied().collect();
        let given = self.allocator.take_empty_extents(keep);
        assert_eq!(given, empty[keep.min(empty.len())..], "the highest empty ones");
        self.extents.retain(|extent| !given.contains(extent));
    }

    fn encode_map(&mut self) {
        if self.live.len() == self.map.len() {
            return;
        }
        let before = (self.live.clone(), self.obsolete.clone(), self.map.clone());
        let Some(encoded) = self.allocator.encode_map(OWNER, Lsn::new(9)) else {
            let still = (self.live.clone(), self.obsolete.clone(), self.map.clone());
            assert_eq!(before, still);
            assert!(self.free() < 4, "a map was refused with {} pages free", self.free());
            return;
        };
        let replaced: BTreeSet<u64> = encoded.replaced.iter().map(|page| page.as_u64()).collect();
        assert_eq!(replaced, self.map, "the map before is obsolete");
        self.live.retain(|page| !replaced.contains(page));
        self.obsolete.extend(&replaced);
        for (addr, _) in &encoded.pages {
            self.note_new(*addr, 1);
        }
        self.map = encoded.pages.iter().map(|(addr, _)| addr.as_u64()).collect();
        let map = decode(&encoded, self.size);
        assert_eq!(pages_of(&map, self.size), self.live, "the map is what is live, itself too");
        let loaded = PageAllocator::load(self.size, &map);
        assert_eq!(loaded.live_pages(), self.live.len() as u64);
        assert_eq!(loaded.held_pages(), loaded.live_pages());
        assert_eq!(loaded.map_pages(), self.allocator.map_pages());
    }

    fn check(&self) {
        assert_eq!(self.allocator.live_pages(), self.live.len() as u64);
        assert_eq!(self.allocator.held_pages(), (self.live.len() + self.obsolete.len()) as u64);
        assert_eq!(self.allocator.free_pages(), self.free());
        assert!(self.allocator.extents().eq(self.extents.iter().copied()));
        for &page in &self.live {
            let page = PageAddr::new(page);
            assert!(self.allocator.is_live(page) && self.allocator.is_held(page));
        }
        for &page in &self.obsolete {
            let page = PageAddr::new(page);
            assert!(!self.allocator.is_live(page) && self.allocator.is_held(page));
        }
        let extents = self.extents.iter();
        let pages = extents.flat_map(|&extent| (0..64).map(move |place| (extent, place)));
        let pages = pages.filter(|&(_, place)| place < pages_per_extent(self.size));
        let pages = pages.map(|(extent, place)| page_of(extent, place, self.size).as_u64());
        for page in pages.filter(|page| !self.live.contains(page) && !self.obsolete.contains(page))
        {
            let page = PageAddr::new(page);
            assert!(!self.allocator.is_live(page) && !self.allocator.is_held(page));
        }
    }
}

fn decode(encoded: &EncodedMap, page_size_bytes: u32) -> SpaceMap {
    let identity = SpaceMapIdentity { owner: OWNER, page_size_bytes };
    let space = &encoded.space;
    let (map_pages, live_pages) = (space.map_pages, space.live_pages);
    let bounds = SpaceMapBounds { extents: 8..u32::MAX, map_pages, live_pages };
    let mut decoder = SpaceMapDecoder::new(space.map, identity, bounds);
    for (addr, page) in &encoded.pages {
        assert_eq!(decoder.wanted().map(|wanted| wanted.addr), Some(*addr));
        decoder.push(page).unwrap();
    }
    decoder.finish().unwrap()
}

fn pages_of(map: &SpaceMap, size: u32) -> BTreeSet<u64> {
    let places = |extent, live: u64| {
        let set = (0..64).filter(move |place| live >> place & 1 == 1);
        set.map(move |place| page_of(extent, place, size).as_u64())
    };
    map.entries.iter().flat_map(|entry| places(entry.extent, entry.live)).collect()
}

proptest! {
    #[test]
    fn allocator_is_two_sets_of_pages(
        size in prop::sample::select(vec![4096_u32, 8192, 32768]),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut model = Model::new(size);
        for step in steps {
            model.apply(step);
            model.check();
        }
    }

    /// What an older root needs is held, whatever the newer one has there, and only that.
    #[test]
    fn allocator_pins_exactly_what_only_the_older_map_needs(
        newer in prop::collection::btree_map(8_u32..20, 1_u64.., 1..12),
        older in prop::collection::btree_map(8_u32..20, 1_u64.., 1..12),
    ) {
        let map = |extents: &std::collections::BTreeMap<u32, u64>| SpaceMap {
            entries: extents
                .iter()
                .map(|(&extent, &live)| crate::format::space_map::SpaceMapEntry { extent, live })
                .collect(),
            pages: Vec::new(),
        };
        let (newer, older) = (map(&newer), map(&older));
        let (live, needed) = (pages_of(&newer, 4096), pages_of(&older, 4096));
        let mut allocator = PageAllocator::load(4096, &newer);
        let pinned = allocator.pin_map(&older);
        let pages = |run: &PageRun| run.addr.as_u64()..run.addr.as_u64() + u64::from(run.pages);
        let pinned_pages: BTreeSet<u64> = pinned.iter().flat_map(pages).collect();
        prop_assert_eq!(&pinned_pages, &needed.difference(&live).copied().collect());
        prop_assert_eq!(allocator.live_pages(), live.len() as u64);
        prop_assert_eq!(allocator.held_pages(), live.union(&needed).count() as u64);
        while let Some(page) = allocator.alloc() {
            prop_assert!(!live.contains(&page.as_u64()) && !needed.contains(&page.as_u64()));
        }
        pinned.iter().for_each(|run| allocator.release(run.addr, run.pages));
        prop_assert_eq!(allocator.free_pages(), pinned_pages.len() as u64);
    }
}

#[test]
fn allocator_gives_pages_that_follow_each_other_within_an_extent() {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[9, 20]);
    let pages: Vec<u64> = (0..128).map(|_| allocator.alloc().unwrap().as_u64()).collect();
    let breaks = pages.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
    assert_eq!(breaks, 1, "two extents, one break");
    assert_eq!(allocator.alloc(), None);
}

#[test]
fn run_of_any_length_is_found_where_just_so_many_pages_are_free() {
    for pages in 1..=64 {
        let mut allocator = PageAllocator::new(4096);
        allocator.add_extents(&[9]);
        let all: Vec<PageAddr> = (0..64).map(|_| allocator.alloc().unwrap()).collect();
        let place = all[(64 - pages as usize) / 2];
        allocator.unalloc(place, pages);
        if pages < 64 {
            assert_eq!(allocator.alloc_run(pages + 1), None, "{pages} pages are free");
        }
        assert_eq!(allocator.alloc_run(pages), Some(place), "{pages} pages are free");
    }
}

#[test]
fn map_refused_for_want_of_room_changes_nothing_and_succeeds_with_an_extent() {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[8]);
    assert!(allocator.alloc_run(63).is_some());
    let first = allocator.encode_map(OWNER, Lsn::new(1)).unwrap();
    assert_eq!((allocator.free_pages(), allocator.live_pages()), (0, 64));
    assert!(allocator.encode_map(OWNER, Lsn::new(2)).is_none());
    assert_eq!((allocator.live_pages(), allocator.held_pages()), (64, 64));
    assert_eq!(allocator.map_pages(), [first.pages[0].0]);
    allocator.add_extents(&[11]);
    let second = allocator.encode_map(OWNER, Lsn::new(2)).unwrap();
    assert_eq!(second.replaced, [first.pages[0].0]);
    assert_eq!((second.space.live_pages, allocator.held_pages()), (64, 65));
    let map = decode(&second, 4096);
    assert_eq!(map.entries.last().unwrap().extent, 11, "the map's own extent is in it");
}

#[test]
fn map_that_is_given_up_leaves_the_one_before_in_its_place() {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[8]);
    assert!(allocator.alloc().is_some());
    let first = allocator.encode_map(OWNER, Lsn::new(1)).unwrap();
    let second = allocator.encode_map(OWNER, Lsn::new(2)).unwrap();
    second.pages.iter().for_each(|&(page, _)| allocator.unalloc(page, 1));
    let before: Vec<_> = second.replaced.iter().map(|&addr| PageRun { addr, pages: 1 }).collect();
    allocator.revive(&before);
    allocator.restore_map(second.replaced);
    assert_eq!(allocator.map_pages(), [first.pages[0].0]);
    let third = allocator.encode_map(OWNER, Lsn::new(3)).unwrap();
    assert_eq!(third.replaced, [first.pages[0].0]);
    assert_eq!(decode(&third, 4096).entries.len(), 1);
}

#[test]
fn extents_are_shown_with_what_is_live_and_what_is_held() {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[9, 20]);
    let page = allocator.alloc().unwrap();
    assert!(allocator.alloc_run(2).is_some());
    allocator.obsolete(page, 1);
    assert_eq!(allocator.extents().collect::<Vec<_>>(), [9, 20]);
    assert_eq!(allocator.extent_bits().collect::<Vec<_>>(), [(9, 0b110, 0b111), (20, 0, 0)]);
}

#[test]
#[should_panic(expected = "an empty tablet has no space map")]
fn tablet_with_nothing_but_its_map_is_given_no_other() {
    let (mut allocator, page) = one_page();
    assert!(allocator.encode_map(OWNER, Lsn::new(1)).is_some());
    allocator.obsolete(page, 1);
    drop(allocator.encode_map(OWNER, Lsn::new(2)));
}

#[test]
fn map_of_many_extents_finds_its_fixed_point_when_its_pages_open_an_extent() {
    // 334 entries fill one page: the page itself opens the 335th extent, which needs a second.
    let mut allocator = PageAllocator::new(4096);
    let extents: Vec<u32> = (8..8 + 334).collect();
    allocator.add_extents(&extents);
    assert!(extents.iter().all(|_| allocator.alloc_run(64).is_some()));
    allocator.add_extents(&[9_000]);
    let encoded = allocator.encode_map(OWNER, Lsn::new(1)).unwrap();
    assert_eq!(encoded.space.map_pages, 2);
    assert_eq!(decode(&encoded, 4096).entries.len(), 335);
}

#[test]
fn empty_tablet_drops_its_map() {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[8]);
    let page = allocator.alloc().unwrap();
    let map = allocator.encode_map(tablet_owner(1), Lsn::new(1)).unwrap();
    allocator.obsolete(page, 1);
    assert_eq!(allocator.drop_map(), [map.pages[0].0]);
    assert_eq!((allocator.live_pages(), allocator.held_pages()), (0, 2));
    assert!(allocator.take_empty_extents(0).is_empty(), "two pages are held");
    allocator.release(page, 1);
    allocator.release(map.pages[0].0, 1);
    assert_eq!(allocator.take_empty_extents(0), [8]);
}

fn one_page() -> (PageAllocator, PageAddr) {
    let mut allocator = PageAllocator::new(4096);
    allocator.add_extents(&[8]);
    let page = allocator.alloc().unwrap();
    (allocator, page)
}

#[test]
#[should_panic(expected = "INV-5")]
fn page_that_is_live_cannot_be_released() {
    let (mut allocator, page) = one_page();
    allocator.release(page, 1);
}

#[test]
#[should_panic(expected = "INV-5")]
fn page_cannot_be_released_twice() {
    let (mut allocator, page) = one_page();
    allocator.obsolete(page, 1);
    allocator.release(page, 1);
    allocator.release(page, 1);
}

#[test]
#[should_panic(expected = "INV-5")]
fn page_of_a_foreign_extent_cannot_be_released() {
    let (mut allocator, _) = one_page();
    allocator.release(page_of(9, 0, 4096), 1);
}

#[test]
#[should_panic(expected = "INV-5")]
fn extent_cannot_be_added_twice() {
    let (mut allocator, _) = one_page();
    allocator.add_extents(&[8]);
}
