//! The two copies of the superblock, damaged one by one and together.

use std::fs;

use sombra::OpenError;
use sombra::format::checksum::crc32c_with_field_zeroed;
use sombra::format::superblock::{SUPERBLOCK_COPY_BYTES, Superblock};
use sombra::format::{FORMAT_VERSION, SuperblockError, SuperblockPickError};

use crate::disk::{self, patch, set_len};
use crate::support::Bench;

const COPIES: [u64; 2] = [0, SUPERBLOCK_COPY_BYTES as u64];

fn made() -> (Bench, std::path::PathBuf) {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let path = bench.store().join("superblock");
    (bench, path)
}

/// Changes one field of a copy and makes the checksum right again.
fn set_field(path: &std::path::Path, copy: u64, offset: usize, value: &[u8]) {
    let bytes = fs::read(path).unwrap();
    let bytes = &bytes[copy as usize..];
    let used_bytes = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let mut used = bytes[..used_bytes].to_vec();
    used[offset..offset + value.len()].copy_from_slice(value);
    let crc = crc32c_with_field_zeroed(&used, 12);
    used[12..16].copy_from_slice(&crc.to_le_bytes());
    patch(path, copy, &used);
}

#[test]
fn store_opens_with_one_damaged_superblock_copy_and_reports_the_repair() {
    let (bench, path) = made();
    for (copy, name) in COPIES.into_iter().zip(["copy A", "copy B"]) {
        patch(&path, copy + 300, &[0xAA; 512]);
        patch(&path, copy + 30, &[0xAA; 8]);
        let (keys, report) = bench.keys_and_close();
        assert_eq!(keys, ["a"]);
        let repaired = report.superblock_repaired.clone().expect("a repair");
        assert!(repaired.contains(name), "{repaired}");
        assert!(report.to_string().contains(&repaired), "people are told");
        let bytes = fs::read(&path).unwrap();
        for copy in COPIES {
            Superblock::decode(&bytes[copy as usize..]).expect("both are whole again");
        }
        assert_eq!(bench.keys_and_close().1.superblock_repaired, None, "nothing is left to do");
    }
    bench.end();
}

#[test]
fn both_superblock_copies_damaged_refuse_the_store_and_name_both() {
    let (bench, path) = made();
    let original = fs::read(&path).unwrap();
    patch(&path, COPIES[0] + 60, &[0xAA; 8]);
    patch(&path, COPIES[1], b"NOTASUPE");
    let error = bench.refusal();
    let OpenError::Superblock { source: SuperblockPickError::BothDamaged { a, b }, .. } = &error
    else {
        panic!("{error}")
    };
    assert!(matches!(a, SuperblockError::Checksum { .. }), "{a}");
    assert!(matches!(b, SuperblockError::NotASuperblock { .. }), "{b}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    fs::write(&path, original).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
fn unknown_format_version_in_either_copy_is_refused_with_both_versions() {
    let (bench, path) = made();
    let original = fs::read(&path).unwrap();
    for copy in COPIES {
        set_field(&path, copy, 8, &41_u32.to_le_bytes());
        let error = bench.refusal();
        let OpenError::Superblock {
            source: SuperblockPickError::NotForThisBuild { error: why, .. },
            ..
        } = &error
        else {
            panic!("{error}")
        };
        let expected = SuperblockError::UnknownVersion { expected: FORMAT_VERSION, found: 41 };
        assert_eq!(*why, expected);
        assert!(error.to_string().contains("version 41"), "{error}");
        fs::write(&path, &original).unwrap();
    }
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
fn unknown_required_feature_is_refused_by_name_and_an_optional_one_is_not() {
    let (bench, path) = made();
    let original = fs::read(&path).unwrap();
    set_field(&path, COPIES[0], 48, &0x20_u64.to_le_bytes());
    let error = bench.refusal();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Superblock { .. }), "{text}");
    assert!(text.contains("features 0x20"), "{text}");
    fs::write(&path, &original).unwrap();
    COPIES.iter().for_each(|&copy| set_field(&path, copy, 56, &0x20_u64.to_le_bytes()));
    assert_eq!(bench.keys_and_close().0, ["a"]);
    let optional = crate::disk::superblock(&bench.store()).optional_features;
    assert_eq!(optional, 0x20, "it is kept for the build that knows it");
    bench.end();
}

#[test]
fn superblock_of_another_store_is_refused_whole_and_by_halves() {
    let ((bench, path), (other, theirs)) = (made(), made());
    let original = fs::read(&path).unwrap();
    let foreign = fs::read(theirs).unwrap();
    patch(&path, COPIES[1], &foreign[COPIES[1] as usize..][..4096]);
    let error = bench.refusal();
    let OpenError::Superblock { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source, SuperblockPickError::StoreIds { .. }), "{error}");
    fs::write(&path, &foreign).unwrap();
    let error = bench.refusal();
    let id = |of: &std::path::Path| disk::superblock(of).store_id.to_string();
    let (mine, theirs) = (id(&other.store()), id(&bench.store()));
    assert_eq!(mine, theirs, "the copied superblock is the other store's");
    assert!(error.to_string().contains(&mine), "its files are not this one's: {error}");
    fs::write(&path, original).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
    other.end();
}

#[test]
fn cut_superblock_opens_while_one_copy_is_whole_and_is_refused_below_that() {
    let (bench, path) = made();
    let original = fs::read(&path).unwrap();
    for len_bytes in [0, 100, 255] {
        set_len(&path, len_bytes);
        let error = bench.refusal();
        let text = error.to_string();
        assert!(matches!(error, OpenError::Superblock { .. }), "{text}");
        assert!(text.contains(&format!("{len_bytes} bytes are there")), "{text}");
        fs::write(&path, &original).unwrap();
    }
    set_len(&path, COPIES[1]);
    let (keys, report) = bench.keys_and_close();
    assert_eq!(keys, ["a"]);
    assert!(report.superblock_repaired.is_some_and(|repaired| repaired.contains("copy B")));
    assert_eq!(bench.keys_and_close().1.superblock_repaired, None);
    bench.end();
}

#[test]
fn log_or_data_without_the_superblock_is_never_taken_for_an_empty_directory() {
    let (bench, path) = made();
    let found = || {
        let error = bench.refusal();
        let OpenError::Missing { path: dir, found } = &error else { panic!("{error}") };
        assert_eq!(*dir, bench.store());
        found.clone()
    };
    let aside = bench.dir.beside("aside");
    fs::rename(&path, &aside).unwrap();
    // The one or the other alone.
    let parts = [("pages.sombra", "a log of "), ("wal", "a data file, ")];
    for (absent, named) in parts {
        let (part, beside) = (bench.store().join(absent), bench.dir.beside("part"));
        fs::rename(&part, &beside).unwrap();
        let found = found();
        assert!(found.contains(named) && found.contains("without its superblock"), "{found}");
        fs::rename(&beside, &part).unwrap();
    }
    fs::rename(&aside, &path).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
fn directory_of_somebody_else_is_refused_and_left_alone() {
    let bench = Bench::new();
    fs::create_dir(bench.store()).unwrap();
    fs::write(bench.store().join("thesis.tex"), "years of work").unwrap();
    let error = bench.try_open().map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert!(!bench.store().join("superblock").exists());
    let file = bench.dir.beside("file");
    fs::write(&file, "no directory").unwrap();
    let error = bench.try_open_at(&file).map(drop).unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"no directory");
    bench.end();
}

#[test]
fn newest_link_stands_in_both_superblock_copies_so_that_either_may_rot() {
    let (bench, path) = made();
    let mut written = vec!["a"];
    for (key, copy) in ["b", "c", "d", "e"].into_iter().zip(COPIES.into_iter().cycle()) {
        bench.write_and_close(&[key]);
        written.push(key);
        let bytes = fs::read(&path).unwrap();
        let [a, b] = COPIES.map(|copy| Superblock::decode(&bytes[copy as usize..]).unwrap());
        assert_eq!((a.generation, a.links), (b.generation, b.links), "after the opening of {key}");
        patch(&path, copy + 30, &[0xAA; 8]);
        assert_eq!(bench.keys_and_close().0, written);
    }
    bench.end();
}
