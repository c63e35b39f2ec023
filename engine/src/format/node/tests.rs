use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::checksum::crc32c_with_field_zeroed;
use crate::format::overflow::*;
use crate::format::page::{PageError, PageHeader, verify_page};
use crate::ids::{KeyspaceId, StoreId, TabletId};
use crate::limits::OVERFLOW_VALUE_BYTES_MAX;

const OWNER: PageOwner = PageOwner {
    store_id: StoreId::from_bytes(*b"0123456789abcdef"),
    tablet: TabletId { keyspace: KeyspaceId::new(3), index: 2 },
};
const STAMP: NodeStamp =
    NodeStamp { addr: PageAddr::new(77), owner: OWNER, page_lsn: Lsn::new(4711) };

#[derive(Clone, Debug)]
enum Stored {
    Inline(Vec<u8>),
    Overflow(OverflowRef),
}

fn reference(value_len: u32, page_size: usize) -> OverflowRef {
    let pages = overflow_pages(value_len as usize, page_size);
    OverflowRef { addr: PageAddr::new(9), pages, crc: 0xDEAD_BEEF, value_len }
}

fn leaf_of(rows: &BTreeMap<Vec<u8>, Stored>, page_size: usize) -> (Vec<u8>, PageHeader) {
    let cells: Vec<LeafCell<'_>> = rows
        .iter()
        .map(|(key, value)| LeafCell {
            key,
            value: match value {
                Stored::Inline(value) => CellValue::Inline(value),
                Stored::Overflow(reference) => CellValue::Overflow(*reference),
            },
        })
        .collect();
    let mut page = vec![0; page_size];
    let crc = encode_leaf(&mut page, &STAMP, cells.iter().copied());
    let reference = PageRef { addr: STAMP.addr, crc };
    let header = verify_page(&page, reference, Some(PageKind::Leaf), &OWNER).unwrap();
    (page, header)
}

fn inner_of(keys: &[Vec<u8>], page_size: usize) -> (Vec<u8>, PageHeader) {
    let entries: Vec<InnerEntry<'_>> = keys
        .iter()
        .enumerate()
        .map(|(index, separator)| InnerEntry {
            separator,
            child: child(index),
            is_sparse: index % 3 == 1,
        })
        .collect();
    let mut page = vec![0; page_size];
    let crc = encode_inner(&mut page, &STAMP, 2, entries.iter().copied());
    let reference = PageRef { addr: STAMP.addr, crc };
    let header = verify_page(&page, reference, Some(PageKind::Inner), &OWNER).unwrap();
    (page, header)
}

fn child(index: usize) -> ChildRef {
    let page = PageRef { addr: PageAddr::new(100 + index as u64), crc: index as u32 };
    ChildRef { page, rows: 1 + index as u64 }
}

/// Keys that share prefixes often, and sometimes are as long as a key may be.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(prop_oneof![Just(0), Just(b'a'), any::<u8>()], 1..12);
    let long = (1020_usize..=WINDOW_KEY_BYTES_MAX, any::<u8>()).prop_map(|(len, last)| {
        let mut key = vec![b'a'; len];
        key[len - 1] = last;
        key
    });
    prop_oneof![4 => short, 1 => long]
}

fn any_rows() -> impl Strategy<Value = (usize, BTreeMap<Vec<u8>, Stored>)> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Stored::Inline),
        1 => (1_u32..1 << 24).prop_map(|len| Stored::Overflow(reference(len, 4096))),
    ];
    let rows = prop::collection::btree_map(any_key(), value, 1..60);
    (prop::sample::select(vec![4096_usize, 8192, 16_384, 32_768]), rows).prop_map(
        |(page_size, mut rows)| {
            let mut left = page_size - PAGE_HEADER_BYTES;
            rows.retain(|key, value| {
                if let Stored::Overflow(run) = value {
                    *run = reference(run.value_len, page_size);
                }
                let stored = match value {
                    Stored::Inline(value) => value.len(),
                    Stored::Overflow(_) => OVERFLOW_REF_BYTES,
                };
                let row_bytes = LEAF_ROW_OVERHEAD_BYTES + key.len() + stored;
                let fits = row_bytes <= left;
                left -= if fits { row_bytes } else { 0 };
                fits
            });
            (page_size, rows)
        },
    )
}

/// Separators that fit a 4 KiB page.
fn any_separators() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::btree_set(any_key(), 1..80).prop_map(|keys| {
        let mut left = 4096 - PAGE_HEADER_BYTES;
        let fits = |key: &Vec<u8>| {
            let bytes = INNER_CHILD_BYTES + SEPARATOR_OVERHEAD_BYTES + key.len();
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            fits
        };
        keys.into_iter().filter(fits).collect()
    })
}

/// Changes bytes, mostly where the structure lies, and makes the checksum right again.
fn mangle(page: &mut [u8], changes: &[(prop::sample::Index, u8, bool)]) {
    for (at, byte, everywhere) in changes {
        let at = if *everywhere { at.index(page.len()) } else { at.index(200) };
        page[at] = *byte;
    }
    let crc = crc32c_with_field_zeroed(page, 0);
    page[..4].copy_from_slice(&crc.to_le_bytes());
}

fn any_changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, bool)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6)
}

/// Reads everything that a validated page offers.
fn read_all(page: &[u8], header: &PageHeader, probe: &[u8]) {
    if header.kind == PageKind::Leaf {
        let leaf = Leaf::new(page);
        for index in 0..leaf.len() {
            assert_eq!(leaf.search(&leaf.key(index)), Ok(index));
            if let LeafValue::Inline(range) = leaf.value(index) {
                let _ = &page[range];
            }
        }
        let _ = leaf.search(probe);
    } else {
        let inner = Inner::new(page);
        for index in 1..inner.len() {
            assert_eq!(inner.find(&inner.separator(index)), index);
            let _ = (inner.child(index), inner.is_sparse(index), inner.rows_before(index));
        }
        let _ = (inner.find(probe), inner.find_below(probe));
    }
}

/// Validates a page whose checksum was made right again, and reads it if it is valid.
fn validate_and_read(page: &[u8], probe: &[u8]) {
    let Some(header) = peek_page(page) else { return };
    if (header.used_bytes as usize) <= page.len() && validate_node(page, &header).is_ok() {
        read_all(page, &header, probe);
    }
}

#[test]
fn separator_is_the_shortest_key_between() {
    assert_eq!(shortest_separator(b"abc", b"abd"), b"abd");
    assert_eq!(shortest_separator(b"abc", b"bzzz"), b"b");
    assert_eq!(shortest_separator(b"ab", b"abab"), b"aba");
}

#[test]
fn overflow_run_holds_its_value_and_nothing_else() {
    for (value_len, pages) in [(0, 1), (4032, 1), (4033, 2), (OVERFLOW_VALUE_BYTES_MAX, 4097)] {
        assert_eq!(overflow_pages(value_len, 4096), pages);
        let value: Vec<u8> = (0..value_len).map(|byte| byte as u8).collect();
        let mut run = vec![0; pages as usize * 4096];
        let reference = encode_overflow(&mut run, 4096, &STAMP, &value);
        assert_eq!(reference.pages, pages);
        assert_eq!(read_overflow(&run, &reference, &OWNER), Ok(&value[..]));
        let longer = OverflowRef { value_len: reference.value_len + 1, ..reference };
        let (expected, found) = (65 + value_len as u64, 64 + value_len as u64);
        let error = OverflowError::Length { expected, found };
        assert_eq!(read_overflow(&run, &longer, &OWNER), Err(error));
        *run.last_mut().unwrap() ^= 1;
        let read = read_overflow(&run, &reference, &OWNER);
        assert!(matches!(read, Err(OverflowError::Page(PageError::Checksum { .. }))));
    }
}

#[test]
fn node_with_keys_out_of_order_is_refused() {
    let rows = [(b"b".to_vec(), Stored::Inline(vec![])), (b"c".to_vec(), Stored::Inline(vec![]))];
    let (mut page, header) = leaf_of(&rows.into(), 4096);
    // The second key becomes the first one: head and cell agree, the order does not hold.
    let cell = PAGE_HEADER_BYTES + 2 * 6 + 9;
    page[cell + 8] = b'b';
    page[PAGE_HEADER_BYTES + 4..PAGE_HEADER_BYTES + 8].copy_from_slice(&[0, 0, 0, b'b']);
    assert_eq!(validate_node(&page, &header), Err(NodeError::Order { index: 1 }));
    page[PAGE_HEADER_BYTES + 4] = 1;
    let refused = validate_node(&page, &header);
    assert!(matches!(refused, Err(NodeError::Entry { index: 1, field: "head", .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn leaf_round_trips(
        (page_size, rows) in any_rows(),
        probes in prop::collection::vec(any_key(), 20),
    ) {
        let (page, header) = leaf_of(&rows, page_size);
        prop_assert_eq!(validate_node(&page, &header), Ok(()));
        let leaf = Leaf::new(&page);
        prop_assert_eq!(leaf.len(), rows.len());
        for (index, (key, value)) in rows.iter().enumerate() {
            prop_assert_eq!(&leaf.key(index), key);
            prop_assert_eq!(leaf.search(key), Ok(index));
            match (value, leaf.value(index)) {
                (Stored::Inline(value), LeafValue::Inline(range)) => {
                    prop_assert_eq!(value, &page[range]);
                }
                (Stored::Overflow(run), LeafValue::Overflow(found)) => prop_assert_eq!(run, &found),
                (value, found) => prop_assert!(false, "{value:?} became {found:?}"),
            }
        }
        for probe in probes {
            let below = rows.range(..probe.clone()).count();
            let expected = if rows.contains_key(&probe) { Ok(below) } else { Err(below) };
            prop_assert_eq!(leaf.search(&probe), expected);
        }
    }

    #[test]
    fn inner_node_round_trips(
        keys in any_separators(),
        probes in prop::collection::vec(any_key(), 20),
    ) {
        let (page, header) = inner_of(&keys, 4096);
        prop_assert_eq!(validate_node(&page, &header), Ok(()));
        let inner = Inner::new(&page);
        prop_assert_eq!(inner.len(), keys.len());
        for (index, key) in keys.iter().enumerate() {
            prop_assert_eq!(inner.child(index), child(index));
            prop_assert_eq!(inner.is_sparse(index), index % 3 == 1);
            prop_assert_eq!(inner.rows_before(index), (index * (index + 1) / 2) as u64);
            if index > 0 {
                prop_assert_eq!(&inner.separator(index), key);
            }
        }
        for probe in probes.iter().chain(&keys) {
            let at_or_below = keys[1..].iter().filter(|key| *key <= probe).count();
            prop_assert_eq!(inner.find(probe), at_or_below);
            let below = keys[1..].iter().filter(|key| *key < probe).count();
            prop_assert_eq!(inner.find_below(probe), below);
        }
    }

    #[test]
    fn leaf_validation_never_panics((page_size, rows) in any_rows(), changes in any_changes()) {
        let (mut page, _) = leaf_of(&rows, page_size);
        mangle(&mut page, &changes);
        validate_and_read(&page, b"aaab");
    }

    #[test]
    fn inner_validation_never_panics(keys in any_separators(), changes in any_changes()) {
        let (mut page, _) = inner_of(&keys, 4096);
        mangle(&mut page, &changes);
        validate_and_read(&page, b"aaab");
    }

    #[test]
    fn validation_of_noise_never_panics(
        mut page in prop::collection::vec(any::<u8>(), 4096),
        (kind, level, count) in (1_u8..3, 0_u8..3, 1_u8..9),
        (used, prefix) in (any::<u16>(), any::<u8>()),
    ) {
        page[4..8].copy_from_slice(&[kind, level, count, 0]);
        page[48..52].copy_from_slice(&u32::from(used % 4097).to_le_bytes());
        page[52..56].copy_from_slice(&u32::from(prefix).to_le_bytes());
        validate_and_read(&page, b"aaab");
    }
}
