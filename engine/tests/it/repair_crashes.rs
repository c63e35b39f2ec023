//! Repairs that a kill or a power cut ends after each of their operations: the next one goes on,
//! and nothing is lost that the damage had not taken. What is too old for a repair beside it.

use std::fs;
use std::path::Path;

use sombra::format::checksum::crc32c_with_field_zeroed;
use sombra::format::root_table::ROOT_PAGE_BYTES;
use sombra::format::segment::{SegmentHeader, locate, segment_file_name, segment_start};
use sombra::format::superblock::SUPERBLOCK_COPY_BYTES;
use sombra::format::{BLOCK_SIZE_BYTES, IncarnationLink};
use sombra::inspect;
use sombra::limits::LINKS_MAX;
use sombra::repair::{self, Remedy, SalvageError};
use sombra::{Db, Lsn, OpenError, OpenMode, Options, Routing};
use sombra_runtime::sim::{Corruption, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::disk;
use crate::recovery_table::{SIMULATED, simulated};
use crate::support::{Bench, keys, options};

const STEPS_MAX: u64 = 10_000_000;
const BEFORE: [&str; 3] = ["key-a", "key-b", "key-c"];
const BEHIND: [&str; 2] = ["key-e", "key-f"];

/// A store of two openings with a hole in the log, where "key-d" was, one copy each of the
/// superblock and of a root damaged, and a stranger in the log's directory.
fn damaged() -> SimDisk {
    let disk = SimDisk::new(SimDiskOptions::new(1));
    for part in [&BEFORE[..], &["key-d", BEHIND[0], BEHIND[1]]] {
        simulated(&disk, |runtime| async move {
            let db = Db::open(&runtime, SIMULATED, options()).await.unwrap();
            let keyspace = db.open_keyspace("k", Routing::range()).await.unwrap();
            for &key in part {
                db.put(&keyspace, key, key).await.unwrap();
            }
            db.close().await.unwrap();
        });
    }
    let files = disk.files();
    let hole = files.iter().find_map(|path| {
        let bytes = disk.read_file(path).filter(|_| path.contains("wal/"))?;
        let at = bytes.windows(5).position(|window| window == b"key-d")?;
        Some((path.clone(), at / BLOCK_SIZE_BYTES * BLOCK_SIZE_BYTES))
    });
    let (segment, offset) = hole.expect("it was logged");
    let len_bytes = BLOCK_SIZE_BYTES as u64;
    disk.corrupt(segment, offset as u64, Corruption::Zeroes { len_bytes });
    disk.corrupt("/store/superblock", 100, Corruption::Garbage { len_bytes: 50 });
    disk.corrupt("/store/pages.sombra", 100, Corruption::Garbage { len_bytes: 50 });
    disk.write_file("/store/wal/notes.txt", b"no segment");
    disk
}

/// Applies a repair up to the so-many-th operation of the disk; whether it came to its end.
fn apply_up_to(disk: &SimDisk, completions: u64) -> bool {
    let mut world = SimWorld::new(SimOptions::new(completions, 1, disk.clone()));
    let runtime = world.runtime();
    let (sender, receiver) = std::sync::mpsc::channel();
    world.spawn_client("repair", async move {
        let applied = repair::apply(&runtime, Path::new(SIMULATED), |_, _| {}).await;
        sender.send(applied.unwrap()).unwrap();
    });
    let mut is_done = false;
    world.run_to_completion(STEPS_MAX, completions, || {
        is_done |= receiver.try_recv().is_ok();
        is_done
    });
    match completions % 3 {
        0 => world.kill(),
        _ => world.power_cut(),
    }
    is_done
}

/// What a store shows that opens.
fn shown(disk: &SimDisk) -> Vec<String> {
    simulated(disk, |runtime| async move {
        let db = Db::open(&runtime, SIMULATED, options()).await.unwrap();
        let keyspace = db.keyspace("k").unwrap();
        let rows = db.snapshot().unwrap().scan(&keyspace, ..).collect().await.unwrap();
        db.close().await.unwrap();
        rows.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
    })
}

#[test]
fn repair_that_is_cut_off_anywhere_is_finished_by_the_next_and_loses_nothing_more() {
    let original = damaged();
    let mut completions = 0;
    loop {
        completions += 1;
        let disk = original.fork(completions);
        let is_done = apply_up_to(&disk, completions);
        if completions % 3 == 0 {
            disk.power_cut();
        }
        let report = simulated(&disk, |runtime| async move {
            repair::apply(&runtime, Path::new(SIMULATED), |_, _| {}).await.unwrap()
        });
        assert!(report.left.is_empty(), "{completions}: {:?}", report.left);
        let again = simulated(&disk, |runtime| async move {
            repair::plan(&runtime, Path::new(SIMULATED), |_, _| {}).await.unwrap()
        });
        assert!(again.findings.is_empty(), "{completions}: {:?}", again.findings);
        // What was cut off is kept, in the place of whichever attempt took it away.
        let kept = disk.files().into_iter().filter(|path| path.contains("repair-"));
        let kept: Vec<u8> = kept.flat_map(|path| disk.read_file(path).unwrap()).collect();
        for key in BEHIND {
            let is_kept = kept.windows(key.len()).any(|window| window == key.as_bytes());
            assert!(is_kept, "{completions}: {key}");
        }
        assert_eq!(shown(&disk), BEFORE, "{completions}");
        if is_done {
            break;
        }
    }
    assert!(completions > 50, "it ends after {completions} operations");
}

/// Puts openings that wrote nothing behind those of a closed store, up to so many of them.
fn with_links(bench: &Bench, links: usize) {
    let store = bench.store();
    let mut superblock = disk::superblock(&store);
    let segment_bytes = superblock.segment_bytes;
    let previous_end = read_only(bench).1;
    let mut last = *superblock.links.last().unwrap();
    let mut number = locate(last.new_start, segment_bytes).segment_number + 1_000;
    while superblock.links.len() < links {
        number += 1;
        let new_start = segment_start(number, segment_bytes);
        let incarnation = last.incarnation.next();
        last = IncarnationLink { incarnation, previous_end, new_start };
        superblock.links.push(last);
    }
    let header = SegmentHeader {
        store_id: superblock.store_id,
        segment_number: number,
        segment_bytes,
        incarnation: last.incarnation,
        link: None,
    };
    let segment = store.join("wal").join(segment_file_name(number));
    fs::write(&segment, header.encode()).unwrap();
    disk::set_len(&segment, segment_bytes);
    superblock.generation += 1;
    for copy in 0..2 {
        let offset = (copy * SUPERBLOCK_COPY_BYTES) as u64;
        disk::patch(&store.join("superblock"), offset, &superblock.encode());
    }
}

/// What an opening that only reads shows, and where it says that the log ends.
fn read_only(bench: &Bench) -> (Vec<String>, Lsn) {
    let options = Options { open_mode: OpenMode::ReadOnly, ..options() };
    let db = bench.runtime.block_on(Db::open(&bench.runtime, bench.store(), options)).unwrap();
    let keys = keys(&db, &db.keyspace("k").unwrap());
    let end = db.open_report().replayed_to;
    db.blocking().close().unwrap();
    (keys, end)
}

#[test]
fn store_of_too_many_openings_is_refused_and_can_still_be_read_and_salvaged() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    with_links(&bench, LINKS_MAX);
    let error = bench.refusal();
    let OpenError::TooManyIncarnations { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *found), (LINKS_MAX, LINKS_MAX), "{error}");
    assert_eq!(read_only(&bench).0, ["a", "b"]);
    let into = bench.dir.beside("new");
    let paths = (bench.store(), into.as_path());
    let salvaged = repair::salvage(&bench.runtime, (&paths.0, paths.1), options(), |_, _| {});
    assert!(bench.runtime.block_on(salvaged).unwrap().is_complete());
    let (db, keyspace) = bench.open_at(&into);
    assert_eq!(keys(&db, &keyspace), ["a", "b"]);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn store_of_one_opening_less_than_too_many_opens() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    with_links(&bench, LINKS_MAX - 1);
    assert_eq!(bench.keys_and_close().0, ["a", "b"]);
    bench.end();
}

/// A root page that a newer build wrote is no damage: nothing may be saved around it.
#[test]
fn root_page_of_a_newer_format_is_refused_by_opening_repair_and_salvage() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let pages = bench.store().join("pages.sombra");
    let mut page = fs::read(&pages).unwrap()[..ROOT_PAGE_BYTES].to_vec();
    page[8] = 2;
    let crc = crc32c_with_field_zeroed(&page, 12);
    page[12..16].copy_from_slice(&crc.to_le_bytes());
    disk::patch(&pages, 0, &page);
    let error = bench.refusal();
    assert!(matches!(&error, OpenError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("format version 2"), "{error}");
    let store = bench.store();
    let planned = bench.runtime.block_on(repair::plan(&bench.runtime, &store, |_, _| {}));
    assert!(matches!(planned, Err(OpenError::Newer { .. })), "{planned:?}");
    let into = bench.dir.beside("new");
    let paths = (store.as_path(), into.as_path());
    let salvaged = repair::salvage(&bench.runtime, paths, options(), |_, _| {});
    let salvaged = bench.runtime.block_on(salvaged);
    let refused = matches!(salvaged, Err(SalvageError::Source(OpenError::Newer { .. })));
    assert!(refused && !into.exists(), "{salvaged:?}");
    let checked = bench.runtime.block_on(inspect::check(&bench.runtime, &store, |_, _| {}));
    assert_eq!(checked.unwrap().problems.len(), 1);
    bench.end();
}

#[test]
fn superblock_copies_of_one_generation_that_differ_are_refused_by_opening_and_repair() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let mut superblock = disk::superblock(&bench.store());
    superblock.created_ms += 1;
    let place = bench.store().join("superblock");
    disk::patch(&place, SUPERBLOCK_COPY_BYTES as u64, &superblock.encode());
    let error = bench.refusal();
    assert!(error.to_string().contains("differ"), "{error}");
    let store = bench.store();
    let planned = bench.runtime.block_on(repair::plan(&bench.runtime, &store, |_, _| {}));
    assert!(matches!(planned, Err(OpenError::Superblock { .. })), "{planned:?}");
    bench.end();
}

/// A log that is cut would not be there for the salvage that the page needs.
#[test]
fn hole_in_the_log_beside_a_damaged_page_is_left_for_the_salvage() {
    let disk = crate::out_of_reach::merged(60);
    let checked = simulated(&disk, |runtime| async move {
        inspect::check(&runtime, Path::new(SIMULATED), |_, _| {}).await.unwrap()
    });
    let (from, end) = (checked.replay_from.as_u64(), checked.log_end.as_u64());
    let hole = locate(Lsn::new(from + (end - from) / 2), options().segment_bytes);
    let log = format!("{SIMULATED}/wal/{}", segment_file_name(hole.segment_number));
    let len_bytes = BLOCK_SIZE_BYTES as u64;
    disk.corrupt(&log, hole.block_offset_bytes(), Corruption::Zeroes { len_bytes });
    let space = simulated(&disk, |runtime| async move {
        inspect::space(&runtime, Path::new(SIMULATED)).await.unwrap()
    });
    let map = space.data.unwrap().tablets[0].map_pages[0] * u64::from(space.page_size_bytes);
    disk.corrupt("/store/pages.sombra", map + 99, Corruption::FlipBit { bit: 1 });
    let before = disk.read_file(&log);
    let report = simulated(&disk, |runtime| async move {
        repair::apply(&runtime, Path::new(SIMULATED), |_, _| {}).await.unwrap()
    });
    let remedies: Vec<Remedy> = report.findings.iter().map(|finding| finding.remedy).collect();
    assert_eq!(remedies, [Remedy::Salvage, Remedy::CutLog]);
    assert!(!report.does(Remedy::CutLog) && report.left.len() == 2, "{:?}", report.left);
    assert!(disk.read_file(&log) == before && report.kept_in.is_none());
    let salvaged = simulated(&disk, |runtime| async move {
        let paths = (Path::new(SIMULATED), Path::new("/salvaged"));
        repair::salvage(&runtime, paths, options(), |_, _| {}).await.unwrap()
    });
    assert!(salvaged.log_damage.is_some() && salvaged.log_gaps.len() == 1, "{salvaged:?}");
}
