use proptest::prelude::*;

use super::*;
use crate::format::page::PageRef;
use crate::ids::{KeyspaceId, Lsn, PageAddr, TabletId};
use crate::limits::{BOUNDARY_BYTES_MAX, TABLETS_PER_KEYSPACE_MAX};

const STORE: StoreId = StoreId::from_bytes(*b"0123456789abcdef");
const PLACE: RootPlace = RootPlace { slot: 17, copy: RootCopy::B };

fn page_ref(addr: u64, crc: u32) -> PageRef {
    PageRef { addr: PageAddr::new(addr), crc }
}

fn tablet(index: u32) -> TabletRow {
    TabletRow {
        id: TabletId { keyspace: KeyspaceId::new(7), index },
        lower_boundary: b"m".to_vec(),
        merge_lsn: Lsn::new(100),
        tree_lsn: Lsn::new(160),
        root: Some(page_ref(600, 0xABCD)),
        root_level: 2,
        row_count: 12_345,
        space: Some(TabletSpace { map: page_ref(601, 0x1234), map_pages: 1, live_pages: 40 }),
    }
}

fn keyspace() -> KeyspaceRow {
    KeyspaceRow {
        id: KeyspaceId::new(7),
        name: "users".to_owned(),
        routing: RowRouting::Hash { prefix_len_bytes: 8 },
        tablet_count: 16,
        created_lsn: Lsn::new(64),
    }
}

fn catalog() -> CatalogRow {
    CatalogRow { last_keyspace: KeyspaceId::new(9), catalog_lsn: Lsn::new(96) }
}

fn page() -> RootPage {
    let rows = vec![
        RootRow::Catalog(catalog()),
        RootRow::Keyspace(keyspace()),
        RootRow::Tablet(tablet(0)),
        RootRow::Tablet(tablet(3)),
    ];
    RootPage { generation: 5, rows }
}

fn forged(offset: usize, bytes: &[u8]) -> Result<Option<RootPage>, RootPageError> {
    let mut encoded = page().encode(STORE, PLACE);
    encoded[offset..offset + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c_with_field_zeroed(&encoded, CRC_OFFSET);
    encoded[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
    RootPage::decode(&encoded, STORE, PLACE)
}

fn any_tablet() -> impl Strategy<Value = TabletRow> {
    let identity = (any::<u32>(), 0..TABLETS_PER_KEYSPACE_MAX as u32);
    let boundary = prop::collection::vec(any::<u8>(), 0..=BOUNDARY_BYTES_MAX.min(200));
    let lsns = (any::<u32>(), any::<u32>());
    let space = prop::option::of((1..u64::MAX, any::<u32>(), 1..9_u32, 1..99_u64));
    let root = (any::<bool>(), 1..u64::MAX, any::<u32>(), any::<u8>());
    (identity, boundary, lsns, space, root).prop_map(|(id, boundary, lsns, space, root)| {
        let space = space.map(|(addr, crc, map_pages, more)| TabletSpace {
            map: page_ref(addr, crc),
            map_pages,
            live_pages: u64::from(map_pages) + more,
        });
        let has_root = root.0 && space.is_some();
        TabletRow {
            id: TabletId { keyspace: KeyspaceId::new(id.0), index: id.1 },
            lower_boundary: boundary,
            merge_lsn: Lsn::new(lsns.0.into()),
            tree_lsn: Lsn::new(u64::from(lsns.0) + u64::from(lsns.1)),
            root: has_root.then(|| page_ref(root.1, root.2)),
            root_level: if has_root { root.3 } else { 0 },
            row_count: if has_root { 5 } else { 0 },
            space,
        }
    })
}

fn any_keyspace() -> impl Strategy<Value = KeyspaceRow> {
    let routing = prop_oneof![
        Just(RowRouting::Range),
        (1_u16..=1024).prop_map(|prefix_len_bytes| RowRouting::Hash { prefix_len_bytes }),
    ];
    (any::<u32>(), "[a-zé]{1,80}", routing, 1..=1024_u32, any::<u64>()).prop_map(
        |(id, name, routing, tablet_count, lsn)| KeyspaceRow {
            id: KeyspaceId::new(id),
            name,
            routing,
            tablet_count,
            created_lsn: Lsn::new(lsn),
        },
    )
}

fn any_page() -> impl Strategy<Value = RootPage> {
    let row = prop_oneof![
        any_tablet().prop_map(RootRow::Tablet),
        any_keyspace().prop_map(RootRow::Keyspace),
        Just(RootRow::Catalog(catalog())),
    ];
    (1..u64::MAX, prop::collection::vec(row, 0..14)).prop_map(|(generation, mut rows)| {
        rows.sort_by_key(RootRow::key);
        rows.dedup_by_key(|row| row.key());
        RootPage { generation, rows }
    })
}

proptest! {
    #[test]
    fn root_page_round_trips(page in any_page()) {
        let encoded = page.encode(STORE, PLACE);
        prop_assert_eq!(RootPage::decode(&encoded, STORE, PLACE), Ok(Some(page)));
    }

    #[test]
    fn root_page_decoder_survives_arbitrary_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..4200),
    ) {
        prop_assert!(matches!(RootPage::decode(&bytes, STORE, PLACE), Err(_) | Ok(None)));
    }

    /// Whatever stands under a checksum that holds, the decoder answers, and what it believes
    /// can be written again.
    #[test]
    fn root_page_decoder_survives_forged_fields(
        changes in prop::collection::vec((32_usize..360, any::<u8>()), 1..8),
    ) {
        let mut encoded = page().encode(STORE, PLACE);
        for (offset, byte) in changes {
            encoded[offset] = byte;
        }
        let crc = crc32c_with_field_zeroed(&encoded, CRC_OFFSET);
        encoded[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        if let Ok(Some(page)) = RootPage::decode(&encoded, STORE, PLACE) {
            let _ = page.encode(STORE, PLACE);
        }
    }
}

#[test]
fn root_page_detects_every_flipped_byte() {
    let encoded = page().encode(STORE, PLACE);
    for offset in 0..ROOT_PAGE_BYTES {
        for mask in [0x01, 0x80, 0xFF] {
            let mut flipped = encoded;
            flipped[offset] ^= mask;
            let decoded = RootPage::decode(&flipped, STORE, PLACE);
            assert!(decoded.is_err(), "byte {offset} ^ {mask:#x} went unseen");
        }
    }
}

#[test]
fn root_page_of_zeros_was_never_written_and_a_torn_one_is_no_blank_page() {
    assert_eq!(RootPage::decode(&[0; ROOT_PAGE_BYTES], STORE, PLACE), Ok(None));
    let mut torn = page().encode(STORE, PLACE);
    torn[..128].fill(0);
    assert!(RootPage::decode(&torn, STORE, PLACE).is_err());
    let short = RootPage::decode(&[0; 4095], STORE, PLACE);
    assert_eq!(short, Err(RootPageError::Truncated { found: 4095 }));
}

#[test]
fn root_page_is_believed_at_its_own_place_only() {
    let encoded = page().encode(STORE, PLACE);
    let at = |slot, copy| RootPage::decode(&encoded, STORE, RootPlace { slot, copy });
    assert!(at(17, RootCopy::B).is_ok());
    assert!(at(17, RootCopy::A).unwrap_err().to_string().contains("copy: expected 1, found 2"));
    assert!(at(18, RootCopy::B).unwrap_err().to_string().contains("slot: expected 18, found 17"));
    let other = StoreId::from_bytes(*b"another store id");
    let error = RootPage::decode(&encoded, other, PLACE).unwrap_err();
    assert_eq!(error, RootPageError::Store { expected: other, found: STORE });
    let newer = forged(8, &[2]).unwrap_err();
    assert!(newer.is_intact_page() && newer.to_string().contains("version 2"));
}

#[test]
fn root_page_refuses_each_impossible_field_under_a_valid_checksum() {
    let named = |offset, bytes: &[u8], name: &str| {
        let error = forged(offset, bytes).unwrap_err().to_string();
        assert!(error.contains(name), "{error} does not name {name}");
    };
    let (keyspace_at, tablet_at) = (64 + 16, 64 + 16 + 32 + 5);
    named(32, &[0; 8], "generation");
    named(48, &[63, 0], "used_bytes");
    named(48, &[0xFF, 0xFF], "used_bytes");
    named(46, &[3, 0], "row_count");
    named(46, &[5, 0], "row 4: kind");
    named(64, &[9], "row 0: kind: expected 1 to 3, found 9");
    named(keyspace_at, &[1], "row 1: order");
    named(keyspace_at + 1, &[3], "row 1: routing");
    named(keyspace_at + 1, &[1], "row 1: prefix_len");
    named(keyspace_at + 2, &[0, 0], "row 1: prefix_len");
    named(keyspace_at + 8, &[0, 0], "row 1: tablet_count");
    named(keyspace_at + 12, &[0, 0], "row 1: name_len");
    named(keyspace_at + 12, &[255, 255], "row 1: name_len");
    named(keyspace_at + 32, &[0xFF], "row 1: name");
    named(tablet_at + 2, &[9, 4], "row 2: boundary_len");
    named(tablet_at + 8, &[0, 4], "row 2: tablet");
    named(tablet_at + 24, &[1, 0, 0, 0], "row 2: tree_lsn");
    named(tablet_at + 32, &[0; 8], "row 2: root_crc");
    named(tablet_at + 48, &[0; 8], "row 2: map_crc");
    named(tablet_at + 60, &[0; 4], "row 2: map_pages");
    named(tablet_at + 64, &[1, 0, 0, 0], "row 2: live_pages");
}

#[test]
fn root_table_regions_lie_in_different_extents() {
    assert_eq!((ROOT_COPY_BYTES, ROOT_EXTENTS), (1 << 20, 8));
    let last = RootPlace { slot: ROOT_SLOTS - 1, copy: RootCopy::B };
    assert_eq!(last.offset_bytes() + 4096, u64::from(ROOT_EXTENTS) * EXTENT_BYTES);
    assert_eq!(RootPlace { slot: 0, copy: RootCopy::B }.offset_bytes(), ROOT_COPY_BYTES);
}

#[test]
#[should_panic(expected = "INV-6")]
fn root_page_is_not_written_with_a_tree_beyond_its_merge() {
    let row = TabletRow { tree_lsn: Lsn::new(99), ..tablet(0) };
    let page = RootPage { generation: 1, rows: vec![RootRow::Tablet(row)] };
    let _ = page.encode(STORE, PLACE);
}
