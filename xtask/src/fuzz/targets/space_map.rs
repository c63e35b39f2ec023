//! Space maps: an input is the pages of one map, in the order of their chain.

use super::page::PAGE_CRC_AT;
use crate::fuzz::store::{DATA_FILE, Pieces, Store};
use crate::fuzz::subject::{Decoder, accepted, plant, scale, seal_at, shape, u32_at};
use sombra::format::page::{PageHeader, PageKind, PageRef, peek_page, sealed_crc};
use sombra::format::space_map::{
    SpaceMap, SpaceMapBounds, SpaceMapDecoder, SpaceMapEntry, SpaceMapIdentity, encode_space_map,
    map_page_count, page_of, peek_map_page,
};

const PAGE_BYTES: usize = 4096;
/// Behind the page's header: the next page's number and checksum.
const NEXT_CRC_AT: usize = 72;
const MAPS_MAX: usize = 8;

pub(in crate::fuzz) struct SpaceMaps;

impl Decoder for SpaceMaps {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let store = Store::get();
        let pages = Pieces::of(store).pages();
        let maps = || pages.iter().filter(|page| page.header.kind == PageKind::SpaceMap);
        let bytes = |offset: usize| store.file(DATA_FILE)[offset..offset + PAGE_BYTES].to_vec();
        let found = maps().take(MAPS_MAX).map(|page| bytes(page.offset));
        let first = maps().next().expect("the store has merged");
        found.chain([400, 1_000].map(|entries| long_map(&first.header, entries))).collect()
    }

    /// From the last page to the first, since each names the next by its checksum.
    fn seal(&self, input: &mut Vec<u8>) {
        let mut next = None;
        for page in input.chunks_exact_mut(PAGE_BYTES).rev() {
            if let Some(crc) = next {
                page[NEXT_CRC_AT..NEXT_CRC_AT + 4].copy_from_slice(&u32::to_le_bytes(crc));
            }
            seal_at(page, PAGE_CRC_AT);
            next = u32_at(page, PAGE_CRC_AT);
        }
    }

    fn check(&self, input: &[u8], has_planted: bool) -> u64 {
        let Some(first) = peek_page(input).filter(|_| input.len() >= PAGE_BYTES) else {
            return shape(&"no page");
        };
        let identity = SpaceMapIdentity { owner: first.owner, page_size_bytes: PAGE_BYTES as u32 };
        let bounds = bounds(input);
        let reference = PageRef { addr: first.addr, crc: sealed_crc(input) };
        let mut decoder = SpaceMapDecoder::new(reference, identity, bounds.clone());
        let mut pages = input.chunks(PAGE_BYTES);
        while decoder.wanted().is_some() {
            // Behind the end there are bytes of nobody.
            if let Err(error) = decoder.push(pages.next().unwrap_or(&[])) {
                return shape(&error);
            }
        }
        match decoder.finish() {
            Ok(map) => {
                plant(has_planted, first.page_lsn.as_u64() > 1 << 60);
                check_map(&map, &first, &identity, bounds);
                accepted((map.pages.len(), scale(map.entries.len() as u64)))
            }
            Err(error) => shape(&error),
        }
    }
}

/// As the row of a tablet would have it, if it told the truth.
fn bounds(input: &[u8]) -> SpaceMapBounds {
    let pages = input.chunks_exact(PAGE_BYTES);
    let map_pages = pages.len() as u32;
    let peeked = pages.filter_map(|page| peek_map_page(page, &peek_page(page)?));
    let entries = peeked.flat_map(|page| page.entries);
    let live_pages = entries.map(|entry| u64::from(entry.live.count_ones())).sum();
    SpaceMapBounds { extents: 8..u32::MAX, map_pages, live_pages }
}

fn check_map(
    map: &SpaceMap,
    first: &PageHeader,
    identity: &SpaceMapIdentity,
    bounds: SpaceMapBounds,
) {
    assert!(map.entries.is_sorted_by(|left, right| left.extent < right.extent));
    assert!(
        map.entries.iter().all(|entry| entry.live != 0 && bounds.extents.contains(&entry.extent))
    );
    assert_eq!(map.live_pages(), bounds.live_pages);
    if map.pages.len() != map_page_count(map.entries.len(), identity.page_size_bytes) {
        return; // the encoder fills pages: it would take fewer
    }
    let (reference, pages) = encode_space_map(&map.entries, &map.pages, identity, first.page_lsn);
    let mut decoder = SpaceMapDecoder::new(reference, *identity, bounds);
    for (_, page) in &pages {
        decoder.push(page).expect("what was written is a map");
    }
    assert_eq!(decoder.finish().as_ref(), Ok(map), "another map after writing it");
}

/// A map of several pages, which the small store has none of.
fn long_map(like: &PageHeader, entries: u32) -> Vec<u8> {
    let identity = SpaceMapIdentity { owner: like.owner, page_size_bytes: PAGE_BYTES as u32 };
    let entry = |number| SpaceMapEntry { extent: 16 + 3 * number, live: u64::MAX };
    let entries: Vec<SpaceMapEntry> = (0..entries).map(entry).collect();
    let count = map_page_count(entries.len(), identity.page_size_bytes);
    let addr = |index: usize| page_of(entries[index].extent, 5, identity.page_size_bytes);
    let addrs: Vec<_> = (0..count).map(addr).collect();
    let (_, pages) = encode_space_map(&entries, &addrs, &identity, like.page_lsn);
    pages.into_iter().flat_map(|(_, page)| page).collect()
}
