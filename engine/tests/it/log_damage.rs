//! Damage that no crash explains: the store refuses, names the place, and changes nothing.

use std::fs;

use sombra::OpenError;
use sombra::format::checksum::crc32c_with_field_zeroed;
use sombra::format::{BLOCK_SIZE_BYTES, FORMAT_VERSION, RecordError, SegmentError};

use crate::disk::{self, Block, blocks, newest_blocks, patch, segments, set_len};
use crate::support::Bench;

/// A store of three openings: keys a and b, then c, then d.
fn three_openings() -> Bench {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    bench.write_and_close(&["c"]);
    bench.write_and_close(&["d"]);
    bench
}

/// The opening that must refuse, and the place it must name.
fn assert_damaged(bench: &Bench, block: &Block) -> String {
    let error = bench.refusal();
    let OpenError::Damaged { path, offset, expected, found, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((path, *offset), (&block.path, block.offset), "{error}");
    assert!(!expected.is_empty() && !found.is_empty());
    let text = error.to_string();
    for part in [path.to_str().unwrap(), &offset.to_string(), expected.as_str(), found.as_str()] {
        assert!(text.contains(part), "{part:?} is missing in {text:?}");
    }
    text
}

#[test]
fn rot_in_the_acknowledged_region_refuses_the_store_wherever_it_hits() {
    let bench = three_openings();
    let all: Vec<Block> = blocks(&bench.store()).into_iter().filter(Block::holds_records).collect();
    assert!(all.len() >= 5, "a keyspace and four keys: {}", all.len());
    for block in &all {
        block.rot();
        assert_damaged(&bench, block);
        block.erase();
        assert_damaged(&bench, block);
        block.write(&block.sealed());
    }
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"], "put back, all is there");
    bench.end();
}

#[test]
fn record_that_makes_no_sense_in_a_valid_block_is_an_error_and_not_the_end() {
    let bench = three_openings();
    let (data, _) = newest_blocks(&bench.store());
    let original = data.last().unwrap();
    let offset = usize::from(original.header.first_record.unwrap());
    let mut crafted = original.clone();
    crafted.payload[offset + 4] = 9;
    crafted.write(&crafted.sealed());
    let error = bench.refusal();
    let OpenError::Record { path, source, .. } = &error else { panic!("{error}") };
    assert_eq!((path, source), (&original.path, &RecordError::Kind { found: 9 }));

    let mut crafted = original.clone();
    crafted.payload[offset..offset + 4].fill(0);
    crafted.write(&crafted.sealed());
    let error = bench.refusal();
    assert!(
        matches!(&error, OpenError::Record { source: RecordError::Length { .. }, .. }),
        "{error}"
    );

    let mut crafted = original.clone();
    // The number of writes, behind the record's header and the wall clock.
    crafted.payload[offset + 16] = 200;
    crafted.write(&crafted.sealed());
    let error = bench.refusal();
    assert!(matches!(&error, OpenError::Record { .. }), "{error}");
    original.write(&original.sealed());
    assert_eq!(bench.keys_and_close().0.len(), 4);
    bench.end();
}

#[test]
fn log_of_a_later_opening_than_the_superblock_names_is_refused() {
    let bench = three_openings();
    let (data, stamps) = newest_blocks(&bench.store());
    let mut later = stamps.last().or(data.last()).unwrap().clone();
    later.offset += BLOCK_SIZE_BYTES as u64;
    later.header.incarnation = later.header.incarnation.next();
    later.write(&later.sealed());
    let error = bench.refusal();
    let OpenError::Damaged { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("no link names"), "{reason}");
    later.erase();
    assert_eq!(bench.keys_and_close().0.len(), 4);
    bench.end();
}

#[test]
fn older_superblock_put_back_over_a_newer_log_is_refused() {
    let bench = Bench::new();
    let newer = bench.with_older_superblock();
    let error = bench.refusal();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    fs::write(bench.store().join("superblock"), newer).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "b"]);
    bench.end();
}

#[test]
fn segment_of_another_store_is_refused_with_both_ids() {
    let (bench, other) = (three_openings(), three_openings());
    let expected = disk::superblock(&bench.store()).store_id.to_string();
    let found = disk::superblock(&other.store()).store_id.to_string();
    let ours = segments(&bench.store());
    let theirs = segments(&other.store());
    // In the place of an old one, of the newest, and of one that no number was given to yet.
    let far = bench.store().join("wal").join(format!("{:020}.log", 999));
    for (to, from) in
        [(&ours[0], &theirs[0]), (ours.last().unwrap(), &theirs[0]), (&far, &theirs[0])]
    {
        let original = fs::read(to).ok();
        fs::copy(from, to).unwrap();
        let error = bench.refusal();
        assert!(matches!(&error, OpenError::ForeignLog { path, .. } if path == to), "{error}");
        let text = error.to_string();
        assert!(text.contains(&expected) && text.contains(&found), "{text}");
        match original {
            Some(bytes) => fs::write(to, bytes).unwrap(),
            None => fs::remove_file(to).unwrap(),
        }
    }
    assert_eq!(bench.keys_and_close().0.len(), 4);
    bench.end();
    other.end();
}

#[test]
fn segment_of_an_unknown_format_version_is_refused_with_both_versions() {
    let bench = three_openings();
    let path = segments(&bench.store())[0].clone();
    let original = fs::read(&path).unwrap();
    let mut header = original[..BLOCK_SIZE_BYTES].to_vec();
    header[8..12].copy_from_slice(&77_u32.to_le_bytes());
    let crc = crc32c_with_field_zeroed(&header, 12);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    patch(&path, 0, &header);
    let error = bench.refusal();
    let expected = SegmentError::UnknownVersion { expected: FORMAT_VERSION, found: 77 };
    assert!(matches!(&error, OpenError::Segment { source, .. } if *source == expected), "{error}");
    assert!(error.to_string().contains("77"), "{error}");
    fs::write(&path, original).unwrap();
    assert_eq!(bench.keys_and_close().0.len(), 4);
    bench.end();
}

#[test]
fn segment_that_was_cut_is_refused_whatever_is_left_of_it() {
    let bench = three_openings();
    let newest = newest_blocks(&bench.store()).0.pop().unwrap();
    let oldest = segments(&bench.store())[0].clone();
    assert_ne!(newest.path, oldest);
    for path in [&newest.path, &oldest] {
        let original = fs::read(path).unwrap();
        for left in [newest.offset, 4096, 4095, 0] {
            set_len(path, left);
            let error = bench.refusal();
            assert!(
                matches!(&error, OpenError::Damaged { path: named, .. } if named == path),
                "{left} bytes left: {error}"
            );
            fs::write(path, &original).unwrap();
        }
    }
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"]);
    bench.end();
}

#[test]
fn segment_that_is_missing_is_refused_instead_of_opening_without_its_commits() {
    let bench = three_openings();
    let newest = newest_blocks(&bench.store()).0.pop().unwrap();
    let oldest = segments(&bench.store())[0].clone();
    let aside = bench.dir.beside("aside");
    for path in [&newest.path, &oldest] {
        fs::rename(path, &aside).unwrap();
        let error = bench.refusal();
        assert!(matches!(error, OpenError::Damaged { .. }), "{}: {error}", path.display());
        fs::rename(&aside, path).unwrap();
    }
    let wal = bench.store().join("wal");
    fs::rename(&wal, &aside).unwrap();
    fs::create_dir(&wal).unwrap();
    let error = bench.refusal();
    assert!(matches!(error, OpenError::Damaged { .. }), "the whole log is gone: {error}");
    fs::remove_dir(&wal).unwrap();
    fs::rename(&aside, &wal).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"]);
    bench.end();
}

/// A store whose newest opening has filled its first segment and written on in the next.
fn into_a_second_segment() -> Bench {
    let bench = Bench::new();
    let (db, keyspace) = bench.open();
    let first = segments(&bench.store()).pop().unwrap();
    for number in 0..10 {
        db.blocking().put(&keyspace, format!("{number}"), vec![7; 128 << 10]).unwrap();
    }
    db.blocking().close().unwrap();
    let newest = newest_blocks(&bench.store()).0.pop().unwrap();
    assert!(newest.path > first, "ten values of 128 KiB do not fit {}", first.display());
    bench
}

#[test]
fn last_segment_that_is_missing_behind_a_full_one_is_refused() {
    let bench = into_a_second_segment();
    let newest = newest_blocks(&bench.store()).0.pop().unwrap();
    let aside = bench.dir.beside("aside");
    fs::create_dir(&aside).unwrap();
    let later: Vec<_> =
        segments(&bench.store()).into_iter().filter(|path| *path >= newest.path).collect();
    for path in &later {
        fs::rename(path, aside.join(path.file_name().unwrap())).unwrap();
    }
    let error = bench.refusal();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(newest.path.to_str().unwrap()), "{error}");
    for path in &later {
        fs::rename(aside.join(path.file_name().unwrap()), path).unwrap();
    }
    // Its header alone is as good as all of it: without it nobody knows whose blocks follow.
    patch(&newest.path, 0, &[0x5A; BLOCK_SIZE_BYTES]);
    let error = bench.refusal();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    bench.end();
}

#[test]
fn file_in_the_log_directory_that_is_no_segment_is_refused_by_name() {
    let bench = three_openings();
    let wal = bench.store().join("wal");
    for name in ["notes.txt", "1.log", "00000000000000000001.log.bak"] {
        let path = wal.join(name);
        fs::write(&path, "not a segment").unwrap();
        let error = bench.refusal();
        assert!(error.to_string().contains(name), "{error}");
        fs::remove_file(path).unwrap();
    }
    // What a crash leaves of a segment under preparation is no damage.
    fs::write(wal.join("00000000000000000099.preparing"), "half").unwrap();
    assert_eq!(bench.keys_and_close().0.len(), 4);
    bench.end();
}
