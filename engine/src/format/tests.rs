use proptest::prelude::*;

use super::checksum::crc32c_with_field_zeroed;
use super::log_block::*;
use super::log_record::*;
use super::segment::*;
use super::superblock::*;
use super::*;
use crate::ids::{KeyspaceId, StoreId};
use crate::limits::*;
use crate::options::{DurabilityMethod, Routing};

const SEGMENT_BYTES: u64 = 1 << 20;
const STORE: StoreId = StoreId::from_bytes(*b"0123456789abcdef");
const OTHER_STORE: StoreId = StoreId::from_bytes(*b"another store id");

// ---- superblock ----

fn link(incarnation: u64, previous_end: u64, new_start: u64) -> IncarnationLink {
    IncarnationLink {
        incarnation: Incarnation::new(incarnation),
        previous_end: Lsn::new(previous_end),
        new_start: Lsn::new(new_start),
    }
}

fn superblock() -> Superblock {
    Superblock {
        store_id: STORE,
        generation: 7,
        required_features: 0,
        optional_features: 0,
        segment_bytes: SEGMENT_BYTES,
        page_size_bytes: 4096,
        root_table_addr: 0,
        durability_method: DurabilityMethod::RingFlush,
        device_identity: "254:0 ext4".to_owned(),
        created_ms: 1_700_000_000_000,
        links: vec![link(1, 0, 0), link(2, 4032, 1_028_160), link(5, 1_028_160, 3_084_480)],
    }
}

/// Changes bytes of an encoded superblock copy and makes its checksum right again.
fn forged_superblock(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut copy = superblock().encode();
    copy[offset..offset + bytes.len()].copy_from_slice(bytes);
    let used_bytes = u32::from_le_bytes(copy[16..20].try_into().unwrap()) as usize;
    let covered = used_bytes.clamp(256, copy.len());
    let crc = crc32c_with_field_zeroed(&copy[..covered], 12);
    copy[12..16].copy_from_slice(&crc.to_le_bytes());
    copy
}

fn any_links() -> impl Strategy<Value = Vec<IncarnationLink>> {
    let steps = prop::collection::vec((1_u64..1 << 20, 1_u64..1 << 40, any::<u64>()), 0..200);
    steps.prop_map(|steps| {
        let (mut incarnation, mut new_start) = (0, 0);
        let make = |(more, further, end): (u64, u64, u64)| {
            (incarnation, new_start) = (incarnation + more, new_start + further);
            link(incarnation, end % (new_start + 1), new_start)
        };
        steps.into_iter().map(make).collect()
    })
}

fn any_method() -> impl Strategy<Value = DurabilityMethod> {
    prop::sample::select(vec![
        DurabilityMethod::Dsync,
        DurabilityMethod::RingFlush,
        DurabilityMethod::PoolFlush,
        DurabilityMethod::WriteThrough,
    ])
}

fn any_superblock() -> impl Strategy<Value = Superblock> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let rest = (any::<[u8; 16]>(), 256_u64..=262_144, any_method(), "[a-zé:0-9 ]{0,32}");
    (numbers, rest, any_links()).prop_map(|(numbers, rest, links)| Superblock {
        store_id: StoreId::from_bytes(rest.0),
        generation: numbers.0,
        required_features: 0,
        optional_features: numbers.1,
        segment_bytes: rest.1 * 4096,
        page_size_bytes: 4096 << (numbers.2 % 4),
        root_table_addr: numbers.2,
        durability_method: rest.2,
        device_identity: rest.3,
        created_ms: numbers.3,
        links,
    })
}

#[test]
fn superblock_detects_every_flipped_byte_that_it_uses() {
    let whole = superblock();
    let bytes = whole.encode();
    let used_bytes = 256 + 24 * whole.links.len();
    for offset in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xFF] {
            let mut flipped = bytes.clone();
            flipped[offset] ^= mask;
            let decoded = Superblock::decode(&flipped);
            if offset < used_bytes {
                assert!(decoded.is_err(), "byte {offset} ^ {mask:#x} went unseen");
            } else {
                assert_eq!(decoded.as_ref(), Ok(&whole), "byte {offset} is unused");
            }
        }
    }
}

#[test]
fn superblock_of_the_most_links_fits_its_region() {
    let links = (1..=LINKS_MAX as u64).map(|number| link(number, 0, number * 4032)).collect();
    let full = Superblock { links, ..superblock() };
    let bytes = full.encode();
    assert!(bytes.len() <= SUPERBLOCK_COPY_BYTES && bytes.len().is_multiple_of(4096));
    assert_eq!(Superblock::decode(&bytes), Ok(full));
}

#[test]
fn superblock_names_what_it_needs_when_cut() {
    let bytes = superblock().encode();
    let cut = |len: usize| Superblock::decode(&bytes[..len]).unwrap_err();
    assert_eq!(cut(0), SuperblockError::Truncated { expected: 256, found: 0 });
    assert_eq!(cut(255), SuperblockError::Truncated { expected: 256, found: 255 });
    assert_eq!(cut(256), SuperblockError::Truncated { expected: 328, found: 256 });
    assert_eq!(cut(327), SuperblockError::Truncated { expected: 328, found: 327 });
    assert_eq!(Superblock::decode(&bytes[..328]), Ok(superblock()));
}

#[test]
fn superblock_refuses_each_impossible_field_under_a_valid_checksum() {
    let decode = |offset, bytes: &[u8]| Superblock::decode(&forged_superblock(offset, bytes));
    let refused = |offset, bytes: &[u8]| decode(offset, bytes).unwrap_err();
    assert_eq!(refused(0, b"X"), SuperblockError::NotASuperblock { found: *b"XOMBRASB" });
    assert_eq!(refused(8, &[7]), SuperblockError::UnknownVersion { expected: 1, found: 7 });
    let found = 0x100;
    assert_eq!(refused(49, &[1]), SuperblockError::UnknownFeatures { known: 1, found });
    for used_bytes in [0, 255, SUPERBLOCK_COPY_BYTES as u32 + 1, u32::MAX] {
        let found = used_bytes as usize;
        let error = refused(16, &used_bytes.to_le_bytes());
        assert_eq!(error, SuperblockError::UsedBytes { found });
    }
    let longer = refused(16, &(329_u32).to_le_bytes());
    assert_eq!(longer, SuperblockError::LinkCount { expected: 3, found: 3 });
    assert_eq!(refused(84, &[4]), SuperblockError::LinkCount { expected: 3, found: 4 });
    assert_eq!(refused(21, &[0x30]), SuperblockError::PageSize { found: 12_288 });
    for segment_bytes in [0, 4096, SEGMENT_BYTES + 1, SEGMENT_BYTES_MAX + 4096, u64::MAX] {
        let error = refused(64, &segment_bytes.to_le_bytes());
        assert_eq!(error, SuperblockError::SegmentBytes { found: segment_bytes });
    }
    for found in [0, 5, u32::MAX] {
        let error = refused(80, &found.to_le_bytes());
        assert_eq!(error, SuperblockError::DurabilityMethod { found });
    }
    assert_eq!(refused(88, &[0xFF]), SuperblockError::DeviceIdentity, "not UTF-8");
    assert_eq!(refused(88 + 63, b"x"), SuperblockError::DeviceIdentity, "NUL inside");
    assert_eq!(refused(256 + 24, &[1]), SuperblockError::LinkOrder { index: 1 });
    let above_its_start = 1_028_161_u64.to_le_bytes();
    assert_eq!(refused(256 + 24 + 8, &above_its_start), SuperblockError::LinkOrder { index: 1 });
    assert_eq!(refused(256 + 48 + 16, &[0; 8]), SuperblockError::LinkOrder { index: 2 });
    assert!(decode(56, &[0xFF; 8]).is_ok(), "optional features are ignored");
    assert!(decode(160, &[0xFF; 96]).is_ok(), "reserved bytes are ignored");
}

#[test]
fn superblock_of_a_newer_build_is_judged_by_its_checksum_alone() {
    // Another version may use more than ours has: only damage is an error about damage.
    let mut longer = forged_superblock(8, &[2]);
    longer.resize(8192, 0xAB);
    longer[16..20].copy_from_slice(&8000_u32.to_le_bytes());
    let crc = crc32c_with_field_zeroed(&longer[..8000], 12);
    longer[12..16].copy_from_slice(&crc.to_le_bytes());
    let version = SuperblockError::UnknownVersion { expected: 1, found: 2 };
    assert_eq!(Superblock::decode(&longer), Err(version));
    longer[7999] ^= 1;
    let damaged = Superblock::decode(&longer).unwrap_err();
    assert!(matches!(damaged, SuperblockError::Checksum { .. }) && !damaged.is_intact_copy());
}

#[test]
fn superblock_errors_tell_a_user_what_to_do() {
    let (newer, good) = (forged_superblock(8, &[7]), superblock().encode());
    assert_eq!(
        pick(&newer, &good).unwrap_err().to_string(),
        "superblock copy A: format version 7, this build reads version 1: open it with the \
         version that wrote it"
    );
    let error = pick(&good, &forged_superblock(48, &[6])).unwrap_err().to_string();
    assert!(error.starts_with("superblock copy B: required features 0x6, this build knows 0x1"));
    let error = pick(b"", &[0; 4096]).unwrap_err().to_string();
    assert!(error.starts_with("superblock copy A: 0 bytes are there, 256 are needed; "), "{error}");
    assert!(error.contains("superblock copy B: not a superblock: it begins with [00, "), "{error}");
}

#[test]
fn superblock_pick_takes_the_newer_copy_and_rewrites_it_last() {
    let (old, new) = (superblock(), Superblock { generation: 8, ..superblock() });
    let picked = pick(&old.encode(), &new.encode()).unwrap();
    assert_eq!((&picked.superblock, picked.copy), (&new, SuperblockCopy::B));
    assert_eq!(picked.twin, SuperblockTwin::Older { generation: 7 });
    assert_eq!(picked.rewrite_order(), [SuperblockCopy::A, SuperblockCopy::B]);

    let picked = pick(&new.encode(), &old.encode()).unwrap();
    assert_eq!((&picked.superblock, picked.copy), (&new, SuperblockCopy::A));
    assert_eq!(picked.rewrite_order(), [SuperblockCopy::B, SuperblockCopy::A]);

    let picked = pick(&new.encode(), &new.encode()).unwrap();
    assert_eq!((picked.copy, picked.twin), (SuperblockCopy::A, SuperblockTwin::Same));
}

#[test]
fn superblock_pick_falls_back_to_an_older_copy_and_says_which_is_damaged() {
    let old = superblock().encode();
    let mut torn = Superblock { generation: 8, ..superblock() }.encode();
    torn[300] ^= 1;
    for (a, b, copy) in [(&old, &torn, SuperblockCopy::A), (&torn, &old, SuperblockCopy::B)] {
        let picked = pick(a, b).unwrap();
        assert_eq!((picked.copy, picked.superblock.generation), (copy, 7));
        let SuperblockTwin::Damaged { error } = &picked.twin else { panic!("{picked:?}") };
        assert!(matches!(error, SuperblockError::Checksum { .. }), "{error}");
        assert_eq!(picked.rewrite_order()[0], copy.twin());
    }
}

#[test]
fn superblock_pick_refuses_copies_that_do_not_belong_together() {
    let a = superblock();
    let stranger = Superblock { store_id: OTHER_STORE, generation: 9, ..superblock() };
    let error = pick(&a.encode(), &stranger.encode()).unwrap_err();
    assert_eq!(error, SuperblockPickError::StoreIds { a: STORE, b: OTHER_STORE });
    let other = Superblock { created_ms: 1, ..superblock() };
    let error = pick(&a.encode(), &other.encode()).unwrap_err();
    assert_eq!(error, SuperblockPickError::Differ { generation: 7 });
}

#[test]
#[should_panic(expected = "breaks the order")]
fn superblock_encode_panics_on_links_out_of_order() {
    let links = vec![link(2, 0, 4032), link(2, 0, 8064)];
    let _ = Superblock { links, ..superblock() }.encode();
}

#[test]
#[should_panic(expected = "holds a NUL")]
fn superblock_encode_panics_on_a_device_name_that_would_read_back_shorter() {
    let _ = Superblock { device_identity: "254:0\0ext4".to_owned(), ..superblock() }.encode();
}

// ---- segment ----

fn segment_header() -> SegmentHeader {
    let incarnation = Incarnation::new(3);
    let start = segment_start(5, SEGMENT_BYTES);
    SegmentHeader {
        store_id: STORE,
        segment_number: 5,
        segment_bytes: SEGMENT_BYTES,
        incarnation,
        link: Some(link(3, start.as_u64() - 8, start.as_u64())),
    }
}

fn forged_segment_header(offset: usize, bytes: &[u8]) -> [u8; 4096] {
    let mut block = segment_header().encode();
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c_with_field_zeroed(&block, 12);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    block
}

#[test]
fn segment_header_detects_every_flipped_byte() {
    let block = segment_header().encode();
    assert_eq!(SegmentHeader::decode(&block), Ok(segment_header()));
    for offset in 0..block.len() {
        for mask in [0x01, 0x80, 0xFF] {
            let mut flipped = block;
            flipped[offset] ^= mask;
            let decoded = SegmentHeader::decode(&flipped);
            assert!(decoded.is_err(), "byte {offset} ^ {mask:#x} went unseen");
        }
    }
}

#[test]
fn segment_header_refuses_each_impossible_field_under_a_valid_checksum() {
    let refused =
        |at, bytes: &[u8]| SegmentHeader::decode(&forged_segment_header(at, bytes)).unwrap_err();
    let start_lsn = segment_header().start_lsn();
    assert_eq!(refused(8, &[9]), SegmentError::UnknownVersion { expected: 1, found: 9 });
    assert!(matches!(refused(0, b"Z"), SegmentError::NotASegment { .. }));
    assert!(matches!(refused(32, &[6]), SegmentError::StartLsn { .. }));
    assert!(matches!(refused(32, &[0xFF; 8]), SegmentError::Impossible { .. }));
    assert!(matches!(refused(40, &[1]), SegmentError::Impossible { .. }));
    assert!(matches!(refused(56, &[1]), SegmentError::StartLsn { .. }));
    assert!(matches!(refused(64, &[0]), SegmentError::Link { has_link: 0, .. }));
    assert!(matches!(refused(64, &[2]), SegmentError::Link { has_link: 2, .. }));
    let behind = (start_lsn.as_u64() + 1).to_le_bytes();
    assert!(matches!(refused(72, &behind), SegmentError::Link { .. }));
    assert!(matches!(refused(80, &behind), SegmentError::Link { .. }));
    assert!(SegmentHeader::decode(&forged_segment_header(68, &[1])).is_ok(), "reserved");
}

#[test]
fn segment_header_tells_blank_short_and_foreign_apart() {
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(SegmentError::Blank));
    assert_eq!(SegmentHeader::decode(&[0; 4095]), Err(SegmentError::Truncated { found: 4095 }));
    let header = segment_header();
    assert_eq!(header.check_place(STORE, 5, SEGMENT_BYTES), Ok(()));
    let store = SegmentError::Store { expected: OTHER_STORE, found: STORE };
    assert_eq!(header.check_place(OTHER_STORE, 5, SEGMENT_BYTES), Err(store));
    let number = SegmentError::Number { expected: 6, found: 5 };
    assert_eq!(header.check_place(STORE, 6, SEGMENT_BYTES), Err(number));
    let size = SegmentError::Size { expected: 2 << 20, found: 1 << 20 };
    assert_eq!(header.check_place(STORE, 5, 2 << 20), Err(size));
}

#[test]
#[should_panic(expected = "a link begins at its segment's start")]
fn segment_header_encode_panics_on_a_link_to_elsewhere() {
    let _ = SegmentHeader { segment_number: 6, ..segment_header() }.encode();
}

#[test]
fn segment_file_names_sort_as_numbers_and_refuse_all_else() {
    assert_eq!(segment_file_name(0), "00000000000000000000.log");
    assert_eq!(segment_file_name(1234), "00000000000000001234.log");
    assert!(segment_file_name(9) < segment_file_name(10));
    for number in [0, 7, SEGMENT_NUMBER_MAX] {
        assert_eq!(parse_segment_file_name(&segment_file_name(number)), Some(number));
    }
    let too_high = segment_file_name(SEGMENT_NUMBER_MAX + 1);
    let strangers = [
        "",
        ".log",
        "0.log",
        "000000000000000000001.log",
        "0000000000000000000a.log",
        "+0000000000000000001.log",
        "00000000000000000001.tmp",
        "00000000000000000001",
        "99999999999999999999.log",
        "０0000000000000000001.log",
        &too_high,
    ];
    for name in strangers {
        assert_eq!(parse_segment_file_name(name), None, "{name}");
    }
}

#[test]
fn position_of_every_block_of_two_segments_follows_by_arithmetic() {
    assert_eq!(payload_bytes_per_segment(SEGMENT_BYTES), 255 * 4032);
    let mut lsn = Lsn::ZERO;
    for segment_number in 0..2 {
        assert_eq!(segment_start(segment_number, SEGMENT_BYTES), lsn);
        for block_in_segment in 1..256 {
            for offset_in_payload in [0, 8, 4024, 4031] {
                let at = Lsn::new(lsn.as_u64() + offset_in_payload);
                let place = LogPlace { segment_number, block_in_segment, offset_in_payload };
                assert_eq!(locate(at, SEGMENT_BYTES), place);
                assert_eq!(place.block_offset_bytes(), block_in_segment * 4096);
                assert_eq!(block_start(at), lsn);
            }
            lsn = Lsn::new(lsn.as_u64() + 4032);
        }
    }
}

// ---- log block ----

fn block_header() -> LogBlockHeader {
    LogBlockHeader {
        store_id: STORE,
        incarnation: Incarnation::new(3),
        first_lsn: Lsn::new(40_320),
        durable: Lsn::new(36_288),
        used_bytes: 1000,
        first_record: Some(8),
    }
}

fn block_place() -> BlockPlace {
    let LogBlockHeader { store_id, incarnation, first_lsn, .. } = block_header();
    BlockPlace { store_id, incarnation, first_lsn }
}

fn block() -> Vec<u8> {
    let payload: Vec<u8> = (0..BLOCK_PAYLOAD_BYTES).map(|at| (at * 7 + 1) as u8).collect();
    let mut block = block_header().seal(&payload).to_vec();
    block.extend_from_slice(&payload);
    block
}

fn forged_block(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = block();
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c_with_field_zeroed(&block, 44);
    block[44..48].copy_from_slice(&crc.to_le_bytes());
    block
}

#[test]
fn log_block_detects_every_flipped_byte() {
    let block = block();
    let verified = verify_block(&block, &block_place()).unwrap();
    assert_eq!((verified.header, verified.payload), (block_header(), &block[64..]));
    for offset in 0..block.len() {
        for mask in [0x01, 0x80, 0xFF] {
            let mut flipped = block.clone();
            flipped[offset] ^= mask;
            let error = verify_block_of_store(&flipped, STORE).unwrap_err();
            assert!(matches!(error, LogBlockError::Checksum { .. }), "byte {offset}: {error}");
        }
    }
}

#[test]
fn log_block_detects_every_mixture_of_sectors_with_another_block() {
    let (new, blank) = (block(), vec![0; 4096]);
    let older_header = LogBlockHeader { incarnation: Incarnation::new(2), ..block_header() };
    let mut older = older_header.seal(&[0x55; BLOCK_PAYLOAD_BYTES]).to_vec();
    older.extend_from_slice(&[0x55; BLOCK_PAYLOAD_BYTES]);
    for old in [&older, &blank] {
        for kept in 1_u32..255 {
            let mut torn = new.clone();
            for sector in (0..8).filter(|sector| kept & 1 << sector != 0) {
                let range = sector * 512..(sector + 1) * 512;
                torn[range.clone()].copy_from_slice(&old[range]);
            }
            let error = verify_block(&torn, &block_place()).unwrap_err();
            assert!(matches!(error, LogBlockError::Checksum { .. }), "{kept:08b}: {error}");
        }
    }
    assert_eq!(verify_block(&blank, &block_place()), Err(LogBlockError::Blank));
}

#[test]
fn log_block_of_another_place_names_expected_and_found() {
    let (block, place) = (block(), block_place());
    let (expected, found) = (OTHER_STORE, STORE);
    let elsewhere = BlockPlace { store_id: expected, ..place };
    assert_eq!(verify_block(&block, &elsewhere), Err(LogBlockError::Store { expected, found }));
    let (expected, found) = (Incarnation::new(4), Incarnation::new(3));
    let later = BlockPlace { incarnation: expected, ..place };
    assert_eq!(verify_block(&block, &later), Err(LogBlockError::Incarnation { expected, found }));
    let (expected, found) = (Lsn::new(44_352), Lsn::new(40_320));
    let behind = BlockPlace { first_lsn: expected, ..place };
    assert_eq!(verify_block(&block, &behind), Err(LogBlockError::Position { expected, found }));
    assert!(verify_block_of_store(&block, STORE).is_ok(), "the search takes any place");
    let found = 4095;
    assert_eq!(verify_block(&block[..found], &place), Err(LogBlockError::Truncated { found }));
}

#[test]
fn log_block_refuses_each_impossible_field_under_a_valid_checksum() {
    let refused = |at, bytes: &[u8]| match verify_block_of_store(&forged_block(at, bytes), STORE) {
        Err(LogBlockError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(24, &[1]), "first_lsn");
    assert_eq!(refused(32, &40_321_u64.to_le_bytes()), "durable");
    assert_eq!(refused(40, &4040_u16.to_le_bytes()), "used_bytes");
    assert_eq!(refused(40, &4_u16.to_le_bytes()), "used_bytes");
    assert_eq!(refused(42, &4032_u16.to_le_bytes()), "first_record");
    assert_eq!(refused(42, &9_u16.to_le_bytes()), "first_record");
    let without = forged_block(42, &0xFFFF_u16.to_le_bytes());
    assert_eq!(verify_block_of_store(&without, STORE).unwrap().header.first_record, None);
    let tagged = forged_block(48, &[0xEE; 16]);
    assert!(verify_block_of_store(&tagged, STORE).is_ok(), "the tag is not read yet");
}

#[test]
#[should_panic(expected = "breaks its format")]
fn log_block_seal_panics_on_a_durable_beyond_its_own_start() {
    let header = LogBlockHeader { durable: Lsn::new(40_328), ..block_header() };
    let _ = header.seal(&[0; BLOCK_PAYLOAD_BYTES]);
}

#[test]
#[should_panic(expected = "a block is sealed whole")]
fn log_block_seal_panics_on_part_of_a_payload() {
    let _ = block_header().seal(&[0; BLOCK_PAYLOAD_BYTES - 8]);
}

// ---- records ----

type OwnedWrite = (u32, Vec<u8>, Option<Vec<u8>>);

fn borrow(write: &OwnedWrite) -> LoggedWrite<'_> {
    let (keyspace, key, value) = write;
    LoggedWrite { keyspace: KeyspaceId::new(*keyspace), key, value: value.as_deref() }
}

fn commit(wall_ms: u64, writes: &[OwnedWrite]) -> Vec<u8> {
    let mut buf = vec![0xEE; 100];
    encode_commit(&mut buf, wall_ms, writes.iter().map(borrow)).unwrap();
    buf
}

fn create(name: &str, routing: Routing) -> Vec<u8> {
    let mut buf = vec![0xEE; 100];
    let create = CreateKeyspace { wall_ms: 11, keyspace: KeyspaceId::new(3), name, routing };
    encode_create_keyspace(&mut buf, &create);
    assert_eq!(decode_record(&buf), Ok(Record::CreateKeyspace(create)));
    buf
}

fn drop_record() -> Vec<u8> {
    let mut buf = Vec::new();
    encode_drop_keyspace(&mut buf, 12, KeyspaceId::new(4));
    buf
}

fn pad(length: u32) -> Vec<u8> {
    let mut record = pad_header(length).to_vec();
    record.resize(length as usize, 0);
    record
}

fn samples() -> Vec<Vec<u8>> {
    let writes = [
        (1, b"key".to_vec(), Some(b"value".to_vec())),
        (2, b"k".to_vec(), None),
        (3, vec![9], Some(vec![])),
    ];
    vec![
        pad(8),
        pad(64),
        commit(77, &writes),
        commit(78, &[]),
        create("users", Routing::range_split([b"b".to_vec(), b"m".to_vec()])),
        create("nodes", Routing::hash_tablets(8, 16)),
        drop_record(),
    ]
}

/// What a decoded record encodes to: a decoder that takes only this takes nothing else.
fn encode_again(record: &Record<'_>, length: usize) -> Vec<u8> {
    let mut buf = Vec::new();
    match record {
        Record::Pad => buf = pad(length as u32),
        Record::Commit(commit) => {
            encode_commit(&mut buf, commit.wall_ms, commit.writes.clone()).unwrap();
        }
        Record::CreateKeyspace(create) => encode_create_keyspace(&mut buf, create),
        Record::DropKeyspace { wall_ms, keyspace } => {
            encode_drop_keyspace(&mut buf, *wall_ms, *keyspace);
        }
    }
    buf
}

fn any_writes() -> impl Strategy<Value = Vec<OwnedWrite>> {
    let key = prop::collection::vec(any::<u8>(), 1..40);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::vec((any::<u32>(), key, value), 0..30)
}

fn any_routing() -> impl Strategy<Value = Routing> {
    let key = prop::collection::vec(any::<u8>(), 1..20);
    let range = prop::collection::btree_set(key, 0..20).prop_map(Routing::range_split);
    let hash = (1_u16..=1024, 1_u32..=1024);
    prop_oneof![range, hash.prop_map(|(prefix, tablets)| Routing::hash_tablets(prefix, tablets))]
}

#[test]
fn record_of_every_kind_round_trips() {
    for bytes in samples() {
        let (_, length) = peek(&bytes).unwrap();
        assert_eq!(length as usize, bytes.len());
        assert_eq!(record_length(&bytes[..8].try_into().unwrap()), Ok(length));
        assert_eq!(encode_again(&decode_record(&bytes).unwrap(), bytes.len()), bytes);
    }
}

#[test]
fn record_with_any_single_bit_flipped_is_refused_or_means_exactly_what_it_says() {
    for bytes in samples() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(record) = decode_record(&flipped) {
                assert_eq!(encode_again(&record, flipped.len()), flipped, "bit {bit}");
            }
        }
    }
}

#[test]
fn record_cut_or_followed_by_more_is_refused() {
    for bytes in samples() {
        for len in 0..bytes.len() {
            let error = decode_record(&bytes[..len]).unwrap_err();
            let (expected, found) = (bytes.len(), len);
            match len {
                0..8 => assert_eq!(error, RecordError::HeaderTruncated { found }),
                _ => assert_eq!(error, RecordError::Truncated { expected, found }),
            }
        }
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + 8, 0);
        assert!(decode_record(&longer).is_err());
    }
}

#[test]
fn record_whose_header_claims_more_or_less_than_it_holds_is_refused() {
    for bytes in samples().into_iter().filter(|bytes| bytes[4] != 1) {
        for length in (8..bytes.len() + 64).step_by(8).filter(|&length| length != bytes.len()) {
            let mut lying = bytes.clone();
            lying.resize(length, 0);
            lying[..4].copy_from_slice(&(length as u32).to_le_bytes());
            assert!(decode_record(&lying).is_err(), "{length} instead of {}", bytes.len());
        }
    }
}

#[test]
fn record_header_refuses_lengths_kinds_and_flags_that_cannot_be() {
    let header = |length: u32, rest: [u8; 4]| {
        let mut header = [0; 8];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&rest);
        record_length(&header)
    };
    for found in [0, 1, 7, 9, 12, RECORD_BYTES_MAX as u32 + 8, u32::MAX, u32::MAX - 7] {
        assert_eq!(header(found, [1, 0, 0, 0]), Err(RecordError::Length { found }));
    }
    assert_eq!(header(RECORD_BYTES_MAX as u32, [1, 0, 0, 0]), Ok(RECORD_BYTES_MAX as u32));
    for found in [0, 5, 255] {
        assert_eq!(header(8, [found, 0, 0, 0]), Err(RecordError::Kind { found }));
    }
    assert_eq!(header(8, [2, 1, 0, 0]), Err(RecordError::Flags { found: 1 }));
    assert_eq!(header(8, [2, 0, 0, 1]), Err(RecordError::Reserved { found: 256 }));
    assert_eq!(record_length(&[0; 8]), Err(RecordError::Length { found: 0 }), "blank bytes");
}

#[test]
fn commit_with_lying_lengths_inside_is_refused() {
    let bytes = commit(1, &[(1, b"key".to_vec(), Some(b"value".to_vec()))]);
    let refused = |offset: usize, lie: &[u8]| {
        let mut lying = bytes.clone();
        lying[offset..offset + lie.len()].copy_from_slice(lie);
        decode_record(&lying).unwrap_err()
    };
    for op_count in [0_u32, 2, 1000, u32::MAX] {
        refused(16, &op_count.to_le_bytes());
    }
    refused(20, &1_u32.to_le_bytes());
    for key_len in [0_u16, 1, 2, 13, 1024, 1025, u16::MAX] {
        refused(28, &key_len.to_le_bytes());
    }
    for value_len in [0_u32, 4, 10, 1 << 20, (1 << 20) + 1, u32::MAX] {
        refused(32, &value_len.to_le_bytes());
    }
    let error = refused(32, &100_u32.to_le_bytes());
    assert_eq!(error, RecordError::Overrun { part: "value", expected: 100, found: 9 });
    assert_eq!(error.to_string(), "value: needs 100 bytes, 9 are left in the record");
    let tombstone = refused(30, &[2]);
    assert_eq!(tombstone.to_string(), "value length of a tombstone: expected 0, found 5");
    assert_eq!(refused(30, &[3]).to_string(), "kind of a write: expected 1 or 2, found 3");
    assert_eq!(refused(47, &[1]), RecordError::Tail { left: 4 });
}

#[test]
fn commit_with_a_key_or_value_above_the_bound_is_refused_although_it_fits() {
    let key = vec![1; KEY_BYTES_MAX];
    let mut bytes = commit(1, &[(1, key.clone(), Some(vec![7; VALUE_BYTES_MAX])), (1, key, None)]);
    bytes[32..36].copy_from_slice(&(VALUE_BYTES_MAX as u32 + 1).to_le_bytes());
    let error = decode_record(&bytes).unwrap_err().to_string();
    assert_eq!(error, "value length: expected at most 16 MiB, found 16777217");
    bytes[28..30].copy_from_slice(&(KEY_BYTES_MAX as u16 + 1).to_le_bytes());
    let error = decode_record(&bytes).unwrap_err().to_string();
    assert_eq!(error, "key length: expected 1 to 1024, found 1025");
}

#[test]
fn keyspace_creation_with_lying_fields_is_refused() {
    let range = create("users", Routing::range_split([b"b".to_vec(), b"m".to_vec()]));
    let hash = create("nodes", Routing::hash_tablets(8, 16));
    let refused = |bytes: &[u8], offset: usize, lie: &[u8]| {
        let mut lying = bytes.to_vec();
        lying[offset..offset + lie.len()].copy_from_slice(lie);
        decode_record(&lying).unwrap_err()
    };
    for (offset, lie) in [(20, 0), (20, 3), (21, 1), (22, 1), (24, 0), (24, 4), (24, 14), (25, 1)] {
        refused(&range, offset, &[lie]);
    }
    for tablets in [0_u32, 1, 2, 4, 1024, 1025, u32::MAX] {
        refused(&range, 28, &tablets.to_le_bytes());
    }
    for boundary_len in [0_u16, 2, 100, 1025, u16::MAX] {
        refused(&range, 32, &boundary_len.to_le_bytes());
    }
    let routing = refused(&range, 34, b"n");
    assert!(matches!(routing, RecordError::Routing { .. }), "boundaries descend: {routing}");
    for prefix_len in [0_u16, 1025, u16::MAX] {
        refused(&hash, 22, &prefix_len.to_le_bytes());
    }
    for tablets in [0_u32, 1025, u32::MAX] {
        refused(&hash, 28, &tablets.to_le_bytes());
    }
    assert_eq!(refused(&hash, 32, &[0xFF]), RecordError::NameNotUtf8);
}

#[test]
fn pad_with_content_is_refused() {
    let mut bytes = pad(64);
    bytes[50] = 1;
    assert_eq!(decode_record(&bytes), Err(RecordError::PadNotZero { offset: 50 }));
}

#[test]
fn commit_beyond_the_bound_is_refused_before_the_buffer_grows() {
    let value = vec![7; VALUE_BYTES_MAX];
    let one = (1, vec![1; KEY_BYTES_MAX], Some(value));
    let mut buf = Vec::new();
    let error = encode_commit(&mut buf, 0, std::iter::repeat_n(borrow(&one), 1000)).unwrap_err();
    assert!(error.expected == RECORD_BYTES_MAX && error.found > RECORD_BYTES_MAX && buf.is_empty());
    assert!(buf.capacity() <= 2 * RECORD_BYTES_MAX, "{}", buf.capacity());
    encode_commit(&mut buf, 0, std::iter::once(borrow(&one))).unwrap();
    assert!(decode_record(&buf).is_ok());
}

#[test]
fn commit_of_exactly_the_bound_fits() {
    let full = (1, vec![1; KEY_BYTES_MAX], Some(vec![7; VALUE_BYTES_MAX]));
    let used = 24 + write_bytes(KEY_BYTES_MAX, VALUE_BYTES_MAX);
    let last_value = RECORD_BYTES_MAX - used - write_bytes(8, 0);
    let exact = (1, vec![1; 8], Some(vec![7; last_value]));
    let over = (1, vec![1; 8], Some(vec![7; last_value + 1]));
    let first = || std::iter::once(borrow(&full));
    let mut buf = Vec::new();
    encode_commit(&mut buf, 0, first().chain([borrow(&exact)])).unwrap();
    assert_eq!(buf.len(), RECORD_BYTES_MAX);
    let Ok(Record::Commit(commit)) = decode_record(&buf) else { panic!("not a commit") };
    assert_eq!(commit.writes.len(), 2);
    assert!(encode_commit(&mut buf, 0, first().chain([borrow(&over)])).is_err());
}

#[test]
fn keyspace_creation_of_the_largest_routing_fits() {
    let boundaries = (0..TABLETS_PER_KEYSPACE_MAX as u16 - 1).map(|number| {
        let mut key = vec![0xFF; KEY_BYTES_MAX];
        key[..2].copy_from_slice(&number.to_be_bytes());
        key
    });
    create(&"n".repeat(KEYSPACE_NAME_BYTES_MAX), Routing::range_split(boundaries));
}

// ---- the bytes themselves: a change that both sides share shows only here ----

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn crc32c_is_the_castagnoli_checksum_with_its_field_as_zeroes() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    let zeroed = crc32c::crc32c(b"ab\0\0\0\0gh");
    assert_eq!(crc32c_with_field_zeroed(b"abcdefgh", 2), zeroed);
}

#[test]
fn record_bytes_of_version_1_never_change() {
    let writes = [(1, b"key".to_vec(), Some(b"value".to_vec())), (2, b"k".to_vec(), None)];
    assert_eq!(
        hex(&commit(0x0102_0304, &writes)),
        "4000000002000000040302010000000002000000000000000100000003000100050000006b6579\
         76616c75650200000001000200000000006b00000000000000"
    );
    assert_eq!(hex(&pad_header(4024)), "b80f000001000000");
    assert_eq!(hex(&drop_record()), "18000000040000000c000000000000000400000000000000");
    assert_eq!(
        hex(&create("users", Routing::range_split([b"b".to_vec()]))),
        "28000000030000000b00000000000000030000000100000005000000020000000100627573657273"
    );
}

#[test]
fn block_bytes_of_version_1_never_change() {
    assert_eq!(&superblock().encode()[..12], b"SOMBRASB\x01\0\0\0");
    assert_eq!(&segment_header().encode()[..12], b"SOMBRAWL\x01\0\0\0");
    assert_eq!(hex(&block()[..16]), hex(STORE.as_bytes()));
    let crcs = [
        crc32c::crc32c(&superblock().encode()),
        crc32c::crc32c(&segment_header().encode()),
        crc32c::crc32c(&block()),
    ];
    assert_eq!(crcs.map(|crc| format!("{crc:08x}")), ["84ff5c72", "2a42b834", "d1e1b010"]);
}

// ---- the document ----

#[test]
fn format_document_is_what_the_structures_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/on-disk-format.md");
    if std::env::var_os("SOMBRA_BLESS").is_some() {
        std::fs::write(path, describe()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == describe(), "{path} is stale: run this test with SOMBRA_BLESS=1");
}

// ---- arbitrary bytes ----

/// Valid bytes with some of them replaced, or cut, or arbitrary ones.
fn mangled(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = valid.len();
    let changes = prop::collection::vec((0..len, any::<u8>()), 0..8);
    let mutated = (changes, 0..=len).prop_map(move |(changes, cut)| {
        let mut bytes = valid.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(if cut.is_multiple_of(4) { cut } else { bytes.len() });
        bytes
    });
    prop_oneof![mutated, prop::collection::vec(any::<u8>(), 0..5000)]
}

/// Makes the checksum right, so that decoding goes on behind it.
fn resealed(mut bytes: Vec<u8>, crc_offset: usize, covered: usize) -> Vec<u8> {
    if covered >= crc_offset + 4 && covered <= bytes.len() {
        let crc = crc32c_with_field_zeroed(&bytes[..covered], crc_offset);
        bytes[crc_offset..crc_offset + 4].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

fn mangled_record() -> impl Strategy<Value = Vec<u8>> {
    (0..samples().len()).prop_flat_map(|index| mangled(samples()[index].clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn superblock_round_trips(superblock in any_superblock()) {
        let bytes = superblock.encode();
        prop_assert!(bytes.len().is_multiple_of(BLOCK_SIZE_BYTES));
        prop_assert_eq!(Superblock::decode(&bytes), Ok(superblock));
    }

    #[test]
    fn superblock_decode_never_panics(bytes in mangled(superblock().encode())) {
        let _ = pick(&bytes, &superblock().encode());
        let field = bytes.get(16..20);
        let used_bytes = field.map(|field| u32::from_le_bytes(field.try_into().unwrap()));
        let resealed = resealed(bytes, 12, used_bytes.unwrap_or(0) as usize);
        if let Ok(superblock) = Superblock::decode(&resealed) {
            prop_assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
        }
    }

    #[test]
    fn segment_header_round_trips(
        (store_id, number) in (any::<[u8; 16]>(), 0..=SEGMENT_NUMBER_MAX),
        blocks in 256_u64..=262_144,
        (incarnation, end) in (any::<u64>(), prop::option::of(any::<u64>())),
    ) {
        let segment_bytes = blocks * 4096;
        let start = segment_start(number, segment_bytes).as_u64();
        let header = SegmentHeader {
            store_id: StoreId::from_bytes(store_id),
            segment_number: number,
            segment_bytes,
            incarnation: Incarnation::new(incarnation),
            link: end.map(|end| link(incarnation, end % (start + 1), start)),
        };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn segment_header_decode_never_panics(bytes in mangled(segment_header().encode().to_vec())) {
        let _ = SegmentHeader::decode(&bytes);
        if let Ok(header) = SegmentHeader::decode(&resealed(bytes, 12, 4096)) {
            prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn position_and_place_are_inverse(lsn in 0..u64::MAX / 2, blocks in 256_u64..=262_144) {
        let segment_bytes = blocks * 4096;
        let place = locate(Lsn::new(lsn), segment_bytes);
        prop_assert!(place.offset_in_payload < 4032);
        prop_assert!((1..blocks).contains(&place.block_in_segment));
        let in_segment = (place.block_in_segment - 1) * 4032 + place.offset_in_payload;
        let start = place.segment_number * payload_bytes_per_segment(segment_bytes);
        prop_assert_eq!(start + in_segment, lsn);
    }

    #[test]
    fn log_block_round_trips(
        (incarnation, number, durable) in (any::<u64>(), 0_u64..1 << 50, any::<u64>()),
        (used, first) in (0_u16..=504, prop::option::of(0_u16..504)),
        payload in prop::collection::vec(any::<u8>(), BLOCK_PAYLOAD_BYTES),
    ) {
        let header = LogBlockHeader {
            store_id: STORE,
            incarnation: Incarnation::new(incarnation),
            first_lsn: Lsn::new(number * 4032),
            durable: Lsn::new(durable % (number * 4032 + 1)),
            used_bytes: used * 8,
            first_record: first.map(|first| first * 8),
        };
        let mut block = header.seal(&payload).to_vec();
        block.extend_from_slice(&payload);
        let verified = verify_block_of_store(&block, STORE);
        prop_assert_eq!(verified, Ok(LogBlock { header, payload: &payload }));
    }

    #[test]
    fn log_block_verify_never_panics(bytes in mangled(block())) {
        let _ = verify_block(&bytes, &block_place());
        let resealed = resealed(bytes, 44, 4096);
        if let Ok(block) = verify_block_of_store(&resealed, STORE) {
            let sealed = block.header.seal(block.payload);
            prop_assert_eq!(&sealed[..44], &resealed[..44]);
        }
    }

    #[test]
    fn commit_round_trips(wall_ms in any::<u64>(), writes in any_writes()) {
        let bytes = commit(wall_ms, &writes);
        let sum: usize = writes.iter()
            .map(|(_, key, value)| write_bytes(key.len(), value.as_ref().map_or(0, Vec::len)))
            .sum();
        prop_assert!(bytes.len() <= sum + COMMIT_OVERHEAD_BYTES_MAX);
        let Ok(Record::Commit(commit)) = decode_record(&bytes) else { panic!("not a commit") };
        prop_assert_eq!(commit.wall_ms, wall_ms);
        prop_assert_eq!(commit.writes.len(), writes.len());
        let decoded: Vec<LoggedWrite<'_>> = commit.writes.collect();
        let logged: Vec<LoggedWrite<'_>> = writes.iter().map(borrow).collect();
        prop_assert_eq!(decoded, logged);
    }

    #[test]
    fn keyspace_creation_round_trips(name in "[a-zé/ ]{1,100}", routing in any_routing()) {
        create(&name, routing);
    }

    #[test]
    fn record_decode_takes_only_what_encode_writes(bytes in mangled_record()) {
        if let Ok(record) = decode_record(&bytes) {
            prop_assert_eq!(encode_again(&record, bytes.len()), bytes);
        }
    }
}
