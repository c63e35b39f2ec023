//! Sectors that the device does not deliver any more, one file and one copy after the other: what
//! opening says, what check and repair say, and what a salvage still brings out.

use std::path::Path;

use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::root_table::{RootCopy, RootPlace};
use sombra::inspect::{self, CheckReport, ExtentReport, SpaceReport};
use sombra::repair::{self, Remedy, RepairReport, SalvageReport};
use sombra::{Db, Keyspace, OpenError, OpenReport, Options, Routing};
use sombra_runtime::sim::{Corruption, DiskOp, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::publication;
use crate::recovery_table::{SIMULATED, simulated};
use crate::support::options;

const SUPERBLOCK: &str = "/store/superblock";
const PAGES: &str = "/store/pages.sombra";
const SALVAGED: &str = "/salvaged";
const SUPERBLOCK_COPY_BYTES: u64 = 1 << 20;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const KEYS: usize = 20;
const STEPS_MAX: u64 = 10_000_000;

fn key(number: usize) -> String {
    format!("key-{number:02}")
}

/// A store of one opening that wrote its keys in one log block each.
fn logged(seed: u64) -> SimDisk {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    simulated(&disk, |runtime| async move {
        let db = Db::open(&runtime, SIMULATED, options()).await.unwrap();
        let keyspace = db.create_keyspace("k", Routing::range()).await.unwrap();
        for number in 0..KEYS {
            db.put(&keyspace, key(number), "v").await.unwrap();
        }
        db.close().await.unwrap();
    });
    disk
}

/// Small windows and one tablet: its tree is merged while the keys are written.
fn merging() -> Options {
    Options { memory_bytes: 16 << 20, ..options() }
}

/// Writes its keys over and over until `is_enough`.
async fn write(db: &Db, keyspace: &Keyspace, is_enough: impl Fn() -> bool) {
    let mut number = 0;
    while !is_enough() {
        db.put(keyspace, key(number % KEYS), vec![number as u8; 60_000]).await.unwrap();
        number += 1;
    }
}

/// A store whose tree has pages, and a space map; its process was killed.
pub(crate) fn merged(seed: u64) -> SimDisk {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    simulated(&disk, |runtime| async move {
        let db = Db::open(&runtime, SIMULATED, merging()).await.unwrap();
        let keyspace = db.create_keyspace("k", Routing::range()).await.unwrap();
        write(&db, &keyspace, || db.metrics().value("sombra_merges_total") >= 2.0).await;
    });
    disk
}

/// A store that was killed when so many root pages had been written.
fn killed_behind_root_writes(count: f64) -> SimDisk {
    let disk = SimDisk::new(SimDiskOptions::new(70));
    let mut world = SimWorld::new(SimOptions::new(70, 2, disk.clone()));
    let runtime = world.runtime();
    let (sender, receiver) = std::sync::mpsc::channel();
    world.spawn_client("writer", async move {
        let db = Db::open(&runtime, SIMULATED, merging()).await.unwrap();
        let keyspace = db.create_keyspace("k", Routing::range()).await.unwrap();
        sender.send(db.clone()).unwrap();
        write(&db, &keyspace, || false).await;
    });
    let mut opened = None;
    world.run(STEPS_MAX, || {
        opened = receiver.try_recv().ok();
        opened.is_some()
    });
    let db = opened.unwrap();
    let written = || db.metrics().value("sombra_root_writes_total") >= count;
    publication::run_until(&mut world, written);
    world.kill();
    disk
}

/// A store that was killed between the two writes of a root whose merge was at its end: the older
/// one needs more of the log.
fn with_older_root() -> SimDisk {
    let mut disks = (4..40_u32).map(|count| killed_behind_root_writes(f64::from(count)));
    let is_older = |disk: &SimDisk| {
        !pinned_pages(disk).is_empty() && space_of(disk).log.floor < checked(disk).replay_from
    };
    disks.find(is_older).expect("a kill between the two writes of a root")
}

/// The segment and the block in which a key was logged.
fn block_of(disk: &SimDisk, key: &str) -> (String, u64) {
    let files = disk.files();
    let segments = files.iter().filter(|path| path.contains("wal/"));
    let mut found = segments.filter_map(|path| {
        let bytes = disk.read_file(path).unwrap();
        let at = bytes.windows(key.len()).position(|window| window == key.as_bytes())?;
        Some((path.clone(), (at / BLOCK_SIZE_BYTES * BLOCK_SIZE_BYTES) as u64))
    });
    found.next_back().expect("it was logged")
}

/// The keys that an opening shows, and its report.
fn opened(disk: &SimDisk, of: Options, path: &'static str) -> Result<Opened, OpenError> {
    simulated(disk, |runtime| async move {
        let db = Db::open(&runtime, path, of).await?;
        let keyspace = db.keyspace("k").unwrap();
        let rows = db.snapshot().unwrap().scan(&keyspace, ..).collect().await.unwrap();
        let report = db.open_report();
        db.close().await.unwrap();
        let text = |key: &[u8]| key.escape_ascii().to_string();
        Ok((rows.into_iter().map(|(key, _)| text(&key)).collect(), report))
    })
}

type Opened = (Vec<String>, OpenReport);

fn refusal(disk: &SimDisk, of: Options) -> OpenError {
    opened(disk, of, SIMULATED).map(|(keys, _)| keys).expect_err("it must not open")
}

fn planned(disk: &SimDisk) -> RepairReport {
    let report = simulated(disk, |runtime| async move {
        repair::plan(&runtime, Path::new(SIMULATED), |_, _| {}).await
    });
    report.unwrap()
}

fn applied(disk: &SimDisk) -> RepairReport {
    let report = simulated(disk, |runtime| async move {
        repair::apply(&runtime, Path::new(SIMULATED), |_, _| {}).await
    });
    report.unwrap()
}

fn checked(disk: &SimDisk) -> CheckReport {
    let report = simulated(disk, |runtime| async move {
        inspect::check(&runtime, Path::new(SIMULATED), |_, _| {}).await
    });
    report.unwrap()
}

fn salvaged(disk: &SimDisk, of: Options) -> SalvageReport {
    let report = simulated(disk, |runtime| async move {
        let paths = (Path::new(SIMULATED), Path::new(SALVAGED));
        repair::salvage(&runtime, paths, of, |_, _| {}).await
    });
    report.unwrap()
}

fn remedies(report: &RepairReport) -> Vec<Remedy> {
    report.findings.iter().map(|finding| finding.remedy).collect()
}

fn all_keys() -> Vec<String> {
    (0..KEYS).map(key).collect()
}

#[test]
fn block_of_the_log_out_of_reach_costs_its_own_commits_and_no_others() {
    let disk = logged(1);
    let (segment, block) = block_of(&disk, &key(7));
    disk.break_sectors(&segment, block + 1_024, 512);
    let error = refusal(&disk, options());
    let OpenError::Unreadable { path, offset, len_bytes, .. } = &error else { panic!("{error}") };
    assert_eq!(path.to_str(), Some(segment.as_str()));
    assert!((*offset..offset + len_bytes).contains(&block), "{error}");
    assert!(error.to_string().contains("sombra repair"), "{error}");
    assert_eq!(checked(&disk).problems.len(), 1);

    let plan = planned(&disk);
    assert_eq!(remedies(&plan), [Remedy::CutLog]);
    assert_eq!(plan.findings[0].problem.place.offset_bytes, Some(block), "{plan:?}");
    let cut = plan.log_cut.as_ref().unwrap();
    let told: Vec<String> =
        cut.keys.iter().map(|lost| String::from_utf8(lost.key.clone()).unwrap()).collect();
    assert_eq!((told, cut.gaps.len()), (all_keys().split_off(8), 1), "{cut:?}");

    let report = salvaged(&disk.fork(2), options());
    assert_eq!((report.log_gaps.len(), report.lost.len()), (1, 0), "{report:?}");
    let fork = disk.fork(3);
    salvaged(&fork, options());
    let mut expected = all_keys();
    expected.remove(7);
    assert_eq!(opened(&fork, options(), SALVAGED).unwrap().0, expected);

    assert!(applied(&disk).left.is_empty());
    assert_eq!(opened(&disk, options(), SIMULATED).unwrap().0, all_keys()[..7]);
    assert!(remedies(&planned(&disk)).is_empty());
}

#[test]
fn header_of_a_segment_out_of_reach_costs_a_salvage_nothing() {
    let disk = logged(4);
    let (segment, _) = block_of(&disk, &key(7));
    disk.break_sectors(&segment, 0, 512);
    let error = refusal(&disk, options());
    assert!(matches!(&error, OpenError::Unreadable { offset: 0, .. }), "{error}");
    assert!(error.to_string().contains(&segment), "{error}");
    assert_eq!(checked(&disk).problems.len(), 1);
    let plan = planned(&disk);
    assert_eq!(remedies(&plan), [Remedy::CutLog]);
    assert_eq!(plan.log_cut.map(|cut| cut.keys.len()), Some(KEYS), "all of it lies behind");
    let fork = disk.fork(5);
    let report = salvaged(&fork, options());
    assert!(report.lost.is_empty() && report.log_gaps.is_empty(), "{report:?}");
    assert_eq!(opened(&fork, options(), SALVAGED).unwrap().0, all_keys());
    assert!(applied(&disk).left.is_empty());
}

#[test]
fn block_behind_the_end_of_the_log_out_of_reach_is_told_and_costs_nothing() {
    let disk = logged(6);
    let (segment, _) = block_of(&disk, &key(7));
    let len_bytes = disk.read_file(&segment).unwrap().len() as u64;
    disk.break_sectors(&segment, len_bytes - 512, 512);
    let error = refusal(&disk, options());
    assert!(matches!(&error, OpenError::Unreadable { .. }), "{error}");
    let plan = planned(&disk);
    assert_eq!(remedies(&plan), [Remedy::CutLog]);
    assert_eq!(plan.findings[0].problem.place.offset_bytes, Some(len_bytes - 4_096));
    let cut = plan.log_cut.unwrap();
    assert_eq!((cut.keys.len(), cut.records), (0, 0), "{cut:?}");
    assert!(applied(&disk).left.is_empty());
    assert_eq!(opened(&disk, options(), SIMULATED).unwrap().0, all_keys());
}

#[test]
fn superblock_copy_out_of_reach_opens_with_the_other_and_is_written_anew() {
    for copy in 0..2 {
        let disk = logged(7 + copy);
        disk.break_sectors(SUPERBLOCK, copy * SUPERBLOCK_COPY_BYTES, 512);
        let repaired = disk.fork(9);
        assert_eq!(remedies(&planned(&repaired)), [Remedy::RewriteCopy]);
        assert_eq!(checked(&repaired).notes.len(), 1);
        assert!(applied(&repaired).left.is_empty());
        assert!(planned(&repaired).findings.is_empty());
        let rescued = disk.fork(10);
        assert!(salvaged(&rescued, options()).is_complete());
        let (keys, report) = opened(&disk, options(), SIMULATED).unwrap();
        assert_eq!(keys, all_keys());
        let told = report.superblock_repaired.expect("it is told");
        assert!(told.contains("does not deliver"), "{told}");
        let (_, report) = opened(&disk, options(), SIMULATED).unwrap();
        assert_eq!(report.superblock_repaired, None, "the first opening wrote it anew");
        // What a copy does not use does not matter.
        disk.break_sectors(SUPERBLOCK, copy * SUPERBLOCK_COPY_BYTES + 900_000, 512);
        assert_eq!(opened(&disk, options(), SIMULATED).unwrap().1.superblock_repaired, None);
        disk.break_sectors(SUPERBLOCK, 0, 512);
        disk.break_sectors(SUPERBLOCK, SUPERBLOCK_COPY_BYTES, 512);
        let error = refusal(&disk, options());
        assert!(matches!(&error, OpenError::Unreadable { offset: 0, .. }), "{error}");
        assert!(error.to_string().contains(SUPERBLOCK), "{error}");
    }
}

fn root_offset(slot: u32, copy: RootCopy) -> u64 {
    RootPlace { slot, copy }.offset_bytes()
}

#[test]
fn root_copy_out_of_reach_opens_with_the_other_and_both_are_refused_and_salvaged() {
    for (seed, copy) in (20..).zip(RootCopy::BOTH) {
        // Slot 9 never held a row.
        for slot in [0, 9] {
            let disk = logged(seed);
            disk.break_sectors(PAGES, root_offset(slot, copy) + 512, 512);
            let repaired = disk.fork(22);
            assert_eq!(remedies(&planned(&repaired)), [Remedy::RewriteCopy], "slot {slot}");
            assert!(applied(&repaired).left.is_empty());
            assert!(planned(&repaired).findings.is_empty(), "slot {slot}");
            let rescued = disk.fork(23);
            let report = salvaged(&rescued, options());
            assert!(report.is_complete(), "{report:?}");
            let (keys, report) = opened(&disk, options(), SIMULATED).unwrap();
            assert_eq!(keys, all_keys());
            assert!(report.notes[0].contains("does not deliver"), "{:?}", report.notes);
        }
    }
    let disk = logged(24);
    for copy in RootCopy::BOTH {
        disk.break_sectors(PAGES, root_offset(0, copy), 512);
    }
    let error = refusal(&disk, options());
    assert!(matches!(&error, OpenError::Unreadable { offset: 0, .. }), "{error}");
    assert_eq!(remedies(&planned(&disk)), [Remedy::Salvage]);
    let report = salvaged(&disk, options());
    assert_eq!(report.lost.len(), 1, "{report:?}");
    assert_eq!(opened(&disk, options(), SALVAGED).unwrap().0, all_keys(), "the log has them");
}

/// Else a copy that is delivered again after a crash would name pages that merges have taken.
#[test]
fn root_copy_out_of_reach_is_written_anew_before_the_store_is_open() {
    for (seed, copy) in (25..).zip(RootCopy::BOTH) {
        let disk = logged(seed);
        let offset = root_offset(0, copy);
        disk.break_sectors(PAGES, offset + 512, 512);
        simulated(&disk, |runtime| async move {
            let db = Db::open(&runtime, SIMULATED, options()).await.unwrap();
            assert_eq!(db.open_report().notes.len(), 1);
        });
        // The process was killed as soon as it was open.
        assert_eq!(checked(&disk).notes, Vec::<String>::new());
    }
}

#[test]
fn rotten_page_of_the_root_table_that_was_never_written_is_repaired_once() {
    for (seed, copy) in (30..).zip(RootCopy::BOTH) {
        let disk = logged(seed);
        let offset = root_offset(9, copy) + 1_000;
        disk.corrupt(PAGES, offset, Corruption::FlipBit { bit: 6 });
        assert_eq!(remedies(&planned(&disk)), [Remedy::RewriteCopy]);
        assert!(applied(&disk).left.is_empty());
        assert!(planned(&disk).findings.is_empty(), "it was done");
        assert_eq!(disk.read_part(PAGES, offset, 1), Some(vec![0]));
        assert!(opened(&disk, options(), SIMULATED).unwrap().1.notes.is_empty());
    }
}

fn space_of(disk: &SimDisk) -> SpaceReport {
    simulated(disk, |runtime| async move {
        inspect::space(&runtime, Path::new(SIMULATED)).await.unwrap()
    })
}

/// Where the pages of the extents begin whose bits `pick` takes; not those of space maps in force.
fn pages(disk: &SimDisk, pick: impl Fn(&ExtentReport) -> u64) -> Vec<u64> {
    let space = space_of(disk);
    let page_bytes = u64::from(space.page_size_bytes);
    let mut pages = Vec::new();
    for tablet in space.data.unwrap().tablets {
        for extent in &tablet.extents {
            let first = u64::from(extent.extent) * (space.extent_bytes / page_bytes);
            let picked = (0..64).filter(|bit| pick(extent) >> bit & 1 == 1);
            pages.extend(picked.map(|bit| first + bit));
        }
        pages.retain(|page| !tablet.map_pages.contains(page));
    }
    pages.into_iter().map(|page| page * page_bytes).collect()
}

/// Where the pages lie that the root in force reaches.
fn tree_pages(disk: &SimDisk) -> Vec<u64> {
    pages(disk, |extent| extent.live)
}

/// Where the pages lie that only an older root needs.
fn pinned_pages(disk: &SimDisk) -> Vec<u64> {
    pages(disk, |extent| extent.held & !extent.live)
}

/// Where the first space map begins.
fn map_offset(disk: &SimDisk) -> u64 {
    let space = space_of(disk);
    space.data.unwrap().tablets[0].map_pages[0] * u64::from(space.page_size_bytes)
}

#[test]
fn space_map_out_of_reach_refuses_and_neither_check_nor_repair_ends_there() {
    let disk = merged(40);
    let whole = opened(&disk.fork(42), merging(), SIMULATED).unwrap().0;
    let offset = map_offset(&disk);
    disk.break_sectors(PAGES, offset, 512);
    let error = refusal(&disk, merging());
    let found = matches!(&error, OpenError::Unreadable { offset: found, .. } if *found == offset);
    assert!(found, "{error}");
    let report = checked(&disk);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].expected.contains("space map"), "{:?}", report.problems);
    assert!(report.tablets[0].leaf_pages > 0 && report.log_end > sombra::Lsn::ZERO);
    assert_eq!(remedies(&planned(&disk)), [Remedy::Salvage]);
    assert!(salvaged(&disk, merging()).is_complete(), "all rows can be read without it");
    assert_eq!(opened(&disk, merging(), SALVAGED).unwrap().0, whole);
}

#[test]
fn leaf_that_is_lost_gets_its_rows_from_log_that_is_kept_for_the_older_root() {
    let disk = with_older_root();
    let whole = opened(&disk.fork(42), merging(), SIMULATED).unwrap().0;
    let floor = space_of(&disk).log.floor;
    let from = checked(&disk).replay_from;
    assert!(floor < from, "the older root needs more of the log: {floor} to {from}");
    // All of the tree goes; what the log kept for the older root still has is not lost with it.
    for page in tree_pages(&disk) {
        disk.corrupt(PAGES, page + 99, Corruption::FlipBit { bit: 3 });
    }
    let entries = simulated(&disk, |runtime| async move {
        let (sender, receiver) = std::sync::mpsc::channel();
        let visit = move |entry| sender.send(entry).unwrap();
        inspect::log(&runtime, Path::new(SIMULATED), None, visit).await.unwrap();
        receiver.into_iter().count()
    });
    let report = salvaged(&disk, merging());
    assert!(!report.lost.is_empty(), "{report:?}");
    let from_log: u64 = report.lost.iter().map(|lost| lost.rows_from_log).sum();
    assert!(report.log_records as usize > entries && from_log > 0, "{entries}: {report:?}");
    let keys = opened(&disk, merging(), SALVAGED).unwrap().0;
    assert!(keys.len() as u64 >= from_log && keys.iter().all(|key| whole.contains(key)));
}

#[test]
fn data_file_that_cannot_be_used_for_now_is_not_called_damaged() {
    let disk = logged(50);
    for (on, errno, kind) in [
        (DiskOp::Path, EACCES, std::io::ErrorKind::PermissionDenied),
        (DiskOp::Flush, EIO, std::io::Error::from_raw_os_error(EIO).kind()),
    ] {
        let fork = disk.fork(51);
        fork.fail_next_at("pages.sombra", on, 1, errno);
        let error = refusal(&fork, options());
        let OpenError::Io { path, source, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with("pages.sombra") && source.kind() == kind, "{error}");
        assert!(!error.to_string().contains("salvage"), "{error}");
        assert_eq!(opened(&fork, options(), SIMULATED).unwrap().0, all_keys());
    }
    let empty = SimDisk::new(SimDiskOptions::new(52));
    empty.fail_next_at("pages.", DiskOp::Write, 1, 28);
    let made = simulated(&empty, |runtime| async move {
        Db::open(&runtime, SIMULATED, options()).await.map(drop)
    });
    let error = made.expect_err("there is no room");
    assert!(matches!(&error, OpenError::DiskFull { path, .. } if path.ends_with("pages.sombra")));
}

#[test]
fn page_that_only_an_older_root_reaches_is_repaired_in_place() {
    let disk = with_older_root();
    let whole = opened(&disk.fork(42), merging(), SIMULATED).unwrap().0;
    for page in pinned_pages(&disk) {
        disk.corrupt(PAGES, page + 99, Corruption::FlipBit { bit: 2 });
    }
    let problems = checked(&disk).problems;
    assert!(!problems.is_empty());
    for problem in &problems {
        assert_eq!(problem.place.detail, Some("below the older root page"), "{problem}");
    }
    let plan = planned(&disk);
    assert!(remedies(&plan).iter().all(|remedy| *remedy == Remedy::RewriteCopy), "{plan:?}");
    assert!(applied(&disk).left.is_empty());
    assert!(planned(&disk).findings.is_empty(), "nothing reaches them any more");
    assert_eq!(opened(&disk, merging(), SIMULATED).unwrap().0, whole);
}

#[test]
fn pages_of_a_tree_out_of_reach_are_errors_of_the_device_until_they_are_delivered() {
    let disk = merged(44);
    let whole = opened(&disk.fork(42), merging(), SIMULATED).unwrap().0;
    let broken = disk.fork(45);
    for page in tree_pages(&disk) {
        broken.break_sectors(PAGES, page, 512);
    }
    let keys = whole.clone();
    let refused = simulated(&broken, |runtime| async move {
        let db =
            Db::open(&runtime, SIMULATED, merging()).await.expect("pages are read when needed");
        let keyspace = db.keyspace("k").unwrap();
        let mut refused = 0;
        for key in &keys {
            match db.get(&keyspace, key).await {
                Err(sombra::ReadError::Device { place, .. }) => {
                    assert!(place.contains("pages.sombra"), "{place}");
                    refused += 1;
                }
                value => assert!(value.unwrap().is_some(), "{key}"),
            }
        }
        refused
    });
    assert!(refused > 0, "some keys lie in the tree only");
    assert!(!checked(&broken).problems.is_empty());
    assert!(remedies(&planned(&broken)).contains(&Remedy::Salvage));
    assert_eq!(opened(&disk, merging(), SIMULATED).unwrap().0, whole, "they are back");
}
