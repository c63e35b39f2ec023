use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::checksum::crc32c_with_field_zeroed;
use crate::ids::{KeyspaceId, StoreId, TabletId};

const PAGE_SIZES: [u32; 4] = [4096, 8192, 16384, 32768];

fn identity(page_size_bytes: u32) -> SpaceMapIdentity {
    let tablet = TabletId { keyspace: KeyspaceId::new(3), index: 5 };
    let owner = PageOwner { store_id: StoreId::from_bytes(*b"0123456789abcdef"), tablet };
    SpaceMapIdentity { owner, page_size_bytes }
}

/// A map of `extents` entries whose pages are the first ones of its first extents.
fn entries(extents: impl IntoIterator<Item = (u32, u64)>, full: u64) -> Vec<SpaceMapEntry> {
    let entry = |(extent, live)| SpaceMapEntry { extent, live: (live & full) | 1 };
    extents.into_iter().map(entry).collect()
}

fn own_addrs(entries: &[SpaceMapEntry], page_size_bytes: u32) -> Vec<PageAddr> {
    let count = map_page_count(entries.len(), page_size_bytes);
    entries[..count].iter().map(|entry| page_of(entry.extent, 0, page_size_bytes)).collect()
}

struct Encoded {
    first: PageRef,
    pages: Vec<(PageAddr, Vec<u8>)>,
    identity: SpaceMapIdentity,
    bounds: SpaceMapBounds,
}

fn encode(entries: &[SpaceMapEntry], page_size_bytes: u32) -> Encoded {
    let identity = identity(page_size_bytes);
    let addrs = own_addrs(entries, page_size_bytes);
    let (first, pages) = encode_space_map(entries, &addrs, &identity, Lsn::new(77));
    let live_pages = entries.iter().map(|entry| u64::from(entry.live.count_ones())).sum();
    let map_pages = pages.len() as u32;
    let bounds = SpaceMapBounds { extents: 8..u32::MAX, map_pages, live_pages };
    Encoded { first, pages, identity, bounds }
}

fn decode(encoded: &Encoded) -> Result<SpaceMap, SpaceMapError> {
    let mut decoder = SpaceMapDecoder::new(encoded.first, encoded.identity, encoded.bounds.clone());
    while let Some(wanted) = decoder.wanted() {
        let page = encoded.pages.iter().find(|(addr, _)| *addr == wanted.addr);
        decoder.push(page.map_or(&[], |(_, page)| page))?;
    }
    decoder.finish()
}

fn any_entries() -> impl Strategy<Value = (u32, Vec<SpaceMapEntry>)> {
    let extents = prop::collection::btree_map(8_u32..100_000, any::<u64>(), 1..900);
    (prop::sample::select(&PAGE_SIZES), extents).prop_map(
        |(size, extents): (u32, BTreeMap<_, _>)| (size, entries(extents, full_extent(size))),
    )
}

proptest! {
    #[test]
    fn space_map_round_trips((page_size_bytes, entries) in any_entries()) {
        let encoded = encode(&entries, page_size_bytes);
        let map = decode(&encoded).unwrap();
        prop_assert_eq!(map.entries, entries);
        let addrs: Vec<PageAddr> = encoded.pages.iter().map(|(addr, _)| *addr).collect();
        prop_assert_eq!(map.pages, addrs);
    }

    #[test]
    fn space_map_decoder_survives_arbitrary_pages(
        page in prop::collection::vec(any::<u8>(), 0..5000),
        crc in any::<u32>(),
    ) {
        let mut encoded = encode(&entries([(8, 1)], full_extent(4096)), 4096);
        encoded.pages[0].1 = page;
        encoded.first.crc = crc;
        prop_assert!(decode(&encoded).is_err());
    }

    /// Fields that make no sense under checksums that hold must not be believed, nor panic.
    #[test]
    fn space_map_decoder_survives_forged_fields(
        changes in prop::collection::vec((40_usize..200, any::<u8>()), 1..6),
    ) {
        let mut encoded = encode(&entries([(8, 3), (9, 1), (12, 7)], full_extent(4096)), 4096);
        for (offset, byte) in changes {
            encoded.pages[0].1[offset] = byte;
        }
        reseal(&mut encoded);
        let _ = decode(&encoded);
    }
}

fn reseal(encoded: &mut Encoded) {
    let page = &mut encoded.pages[0].1;
    encoded.first.crc = crc32c_with_field_zeroed(page, 0);
    page[..4].copy_from_slice(&encoded.first.crc.to_le_bytes());
}

#[test]
fn space_map_detects_every_flipped_byte_in_every_page() {
    let many = (8..8 + 340).map(|extent| (extent, u64::from(extent)));
    let mut encoded = encode(&entries(many, full_extent(4096)), 4096);
    assert_eq!(encoded.pages.len(), 2);
    for page in 0..2 {
        for offset in 0..4096 {
            encoded.pages[page].1[offset] ^= 0x10;
            assert!(decode(&encoded).is_err(), "page {page}, byte {offset} went unseen");
            encoded.pages[page].1[offset] ^= 0x10;
        }
    }
    decode(&encoded).unwrap();
}

/// Changes bytes of a small map, seals it again, and returns what the decoder says.
fn refusal(offset: usize, bytes: &[u8]) -> SpaceMapError {
    let mut encoded = encode(&entries([(8, 3), (9, 1)], full_extent(4096)), 4096);
    encoded.pages[0].1[offset..offset + bytes.len()].copy_from_slice(bytes);
    reseal(&mut encoded);
    decode(&encoded).unwrap_err()
}

#[test]
fn space_map_refuses_each_impossible_field_under_a_valid_checksum() {
    let named = |offset, bytes: &[u8], name: &str| {
        let error = refusal(offset, bytes).to_string();
        assert!(error.contains(name), "{error} does not name {name}");
    };
    named(6, &[0, 0], "count");
    named(6, &[255, 255], "count");
    named(48, &[0, 1], "used_bytes");
    named(64 + 12, &[1], "index");
    named(64, &[9], "next_addr");
    named(64 + 8, &[9], "next_crc");
    named(80, &[7], "extent");
    named(80 + 12, &[8], "extent");
    named(80 + 4, &[0; 8], "live");
    named(80 + 4, &[2, 0, 0, 0], "live_pages");
    named(80 + 4, &[6, 0, 0, 0], "not among the pages");
    named(4, &[1], "kind");
    let outside = Encoded {
        bounds: SpaceMapBounds { extents: 8..9, map_pages: 1, live_pages: 3 },
        ..encode(&entries([(8, 3), (9, 1)], full_extent(4096)), 4096)
    };
    let error = decode(&outside).unwrap_err().to_string();
    assert!(error.contains("extent: expected 9 to below 9, found 9"), "{error}");
}

#[test]
fn space_map_of_larger_pages_has_no_bit_beyond_the_extent() {
    for (size, pages) in PAGE_SIZES.into_iter().zip([64, 32, 16, 8]) {
        assert_eq!(pages_per_extent(size), pages);
        assert_eq!(full_extent(size).count_ones(), pages);
        assert_eq!(extent_of(page_of(11, pages - 1, size), size), Some((11, pages - 1)));
        assert_eq!(extent_of(PageAddr::new(u64::MAX), size), None);
    }
}
