//! Rows of `docs/recovery.md` that only a repair, more memory or more room can bring back to an
//! openable store.

use std::fs;
use std::future::Future;
use std::path::Path;

use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::root_table::{ROOT_COPY_BYTES, ROOT_PAGE_BYTES};
use sombra::repair::{self, Remedy, RepairReport, SalvageReport};
use sombra::{Db, OpenError, OpenMode, Options, Routing, Runtime, limits};
use sombra_runtime::sim::{SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::disk::{self, Block, blocks, segments, set_len};
use crate::support::{Bench, options, run_client};

/// A store of three openings: keys a and b, then c, then d.
fn three_openings() -> Bench {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    bench.write_and_close(&["c"]);
    bench.write_and_close(&["d"]);
    bench
}

fn plan(bench: &Bench) -> RepairReport {
    let before = disk::contents(&bench.store());
    let store = bench.store();
    let planned = repair::plan(&bench.runtime, &store, |_, _| {});
    let report = bench.runtime.block_on(planned).unwrap();
    disk::assert_same(&before, &disk::contents(&bench.store()));
    report
}

fn apply(bench: &Bench) -> RepairReport {
    let store = bench.store();
    let applied = repair::apply(&bench.runtime, &store, |_, _| {});
    let report = bench.runtime.block_on(applied).unwrap();
    assert!(report.left.is_empty(), "{:?}", report.left);
    assert!(plan(bench).findings.is_empty(), "nothing is left to do");
    report
}

fn salvage(bench: &Bench, into: &Path) -> SalvageReport {
    let options = Options { metrics_file: false, ..Options::default() };
    let paths = (bench.store(), into);
    let salvaged = repair::salvage(&bench.runtime, (&paths.0, paths.1), options, |_, _| {});
    bench.runtime.block_on(salvaged).unwrap()
}

/// The store's files put back as they were, and what a repair left removed.
fn put_back(bench: &Bench, files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>) {
    let store = bench.store();
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir_all(store.join("wal")).unwrap();
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// What must be there after the log was cut at the damage of one block: the keys before it, and
/// every key behind it is told, or lies in a gap.
fn assert_cut(bench: &Bench, kept: &[&str], damage: &str) {
    let planned = plan(bench);
    let cut = planned.log_cut.as_ref().unwrap_or_else(|| panic!("{damage}: {planned:?}"));
    let told: Vec<&[u8]> = cut.keys.iter().map(|lost| lost.key.as_slice()).collect();
    let all = ["a", "b", "c", "d"];
    let lost = all.iter().filter(|key| !kept.contains(key));
    let untold = lost.filter(|key| !told.contains(&key.as_bytes())).count();
    assert!(untold == 0 || !cut.gaps.is_empty(), "{damage}: {cut:?}");
    let before = disk::contents(&bench.store());
    let keep = apply(bench).kept_in.unwrap();
    let after = disk::contents(&bench.store());
    let wal = bench.store().join("wal");
    for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with(&wal)) {
        let is_cut = after.get(path) != Some(bytes);
        let kept = fs::read(keep.join(path.file_name().unwrap())).ok();
        assert_eq!(kept.as_ref(), is_cut.then_some(bytes), "{damage}: {}", path.display());
    }
    let (keys, report) = bench.keys_and_close();
    assert_eq!(keys, kept, "{damage}");
    assert!(report.replayed_to >= cut.end, "{damage}: an LSN must not be used again");
    bench.write_and_close(&["later"]);
    assert_eq!(bench.keys_and_close().0.len(), kept.len() + 1, "{damage}");
}

#[test]
fn repair_cuts_a_log_wherever_it_is_damaged_and_keeps_what_was_before() {
    let bench = three_openings();
    let files = disk::contents(&bench.store());
    let all: Vec<Block> = blocks(&bench.store()).into_iter().filter(Block::holds_records).collect();
    let keys = ["a", "b", "c", "d"];
    // The last four blocks with records are those of the keys.
    for (at, block) in all.iter().rev().take(4).rev().enumerate() {
        type Damage = fn(&Block);
        let nonsense: Damage = |block| {
            let mut crafted = block.clone();
            let offset = usize::from(block.header.first_record.unwrap());
            crafted.payload[offset + 4] = 9;
            crafted.write(&crafted.sealed());
        };
        let cut_file: Damage = |block| set_len(&block.path, block.offset);
        let missing: Damage = |block| fs::remove_file(&block.path).unwrap();
        let damages: [(&str, Damage); 4] =
            [("rot", Block::rot), ("hole", Block::erase), ("record", nonsense), ("cut", cut_file)];
        for (name, damage) in damages {
            damage(block);
            assert_cut(&bench, &keys[..at], &format!("{name} of {:?}", keys[at]));
            put_back(&bench, &files);
        }
        missing(block);
        // The segment of an opening goes with all that the opening wrote.
        let of_opening = [0, 0, 2, 3][at];
        assert_cut(&bench, &keys[..of_opening], &format!("missing segment of {:?}", keys[at]));
        put_back(&bench, &files);
    }
    bench.end();
}

#[test]
fn repair_moves_strangers_aside_and_loses_nothing() {
    let (bench, other) = (three_openings(), three_openings());
    let wal = bench.store().join("wal");
    fs::write(wal.join("notes.txt"), "not a segment").unwrap();
    let far = wal.join(format!("{:020}.log", 999));
    fs::copy(&segments(&other.store())[0], &far).unwrap();
    assert!(matches!(bench.refusal(), OpenError::ForeignLog { .. } | OpenError::StrayFile { .. }));
    let planned = plan(&bench);
    let remedies: Vec<Remedy> = planned.findings.iter().map(|finding| finding.remedy).collect();
    assert_eq!(remedies, [Remedy::MoveAside; 2]);
    let keep = apply(&bench).kept_in.unwrap();
    assert_eq!(fs::read(keep.join("notes.txt")).unwrap(), b"not a segment");
    assert!(keep.join(far.file_name().unwrap()).exists() && !far.exists());
    assert_eq!(keep, bench.store().join("repair-1"));
    fs::write(wal.join("more.txt"), "not a segment").unwrap();
    let next = apply(&bench).kept_in.unwrap();
    assert_eq!(next, bench.store().join("repair-2"), "what was kept before stays");
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"]);
    bench.end();
    other.end();
}

#[test]
fn repair_tells_what_a_stranger_in_the_place_of_an_own_segment_costs() {
    let (bench, other) = (Bench::new(), three_openings());
    let (db, keyspace) = bench.open();
    for number in 0..20 {
        db.blocking().put(&keyspace, format!("{number:02}"), vec![7; 128 << 10]).unwrap();
    }
    db.blocking().close().unwrap();
    let end = blocks(&bench.store()).last().unwrap().header.first_lsn;
    // Of the opening that wrote the rows the last two segments go, the later one unseen.
    let mut own: Vec<_> = blocks(&bench.store()).into_iter().map(|block| block.path).collect();
    own.dedup();
    let (replaced, removed) = (&own[own.len() - 2], &own[own.len() - 1]);
    fs::copy(&segments(&other.store())[0], replaced).unwrap();
    fs::remove_file(removed).unwrap();
    assert!(matches!(bench.refusal(), OpenError::ForeignLog { .. }));
    let cut = plan(&bench).log_cut.expect("an own segment is lost");
    assert!(!cut.gaps.is_empty() && cut.lost_up_to > cut.end, "{cut:?}");
    apply(&bench);
    let (keys, _) = bench.keys_and_close();
    assert!(!keys.is_empty() && keys.len() < 20, "{keys:?}");
    bench.write_and_close(&["later"]);
    let later = blocks(&bench.store()).last().unwrap().header.first_lsn;
    assert!(later > end, "no LSN is used twice");
    bench.end();
    other.end();
}

#[test]
fn salvage_brings_in_commits_that_are_too_large_for_the_new_store() {
    let bench = Bench::new();
    let (db, keyspace) = bench.open();
    db.blocking().put(&keyspace, "first", vec![1; 200 << 10]).unwrap();
    let mut large = sombra::WriteBatch::new();
    for number in 0..40 {
        large.put(&keyspace, format!("{number:02}"), vec![number; 100 << 10]);
    }
    db.blocking().write(&large).unwrap();
    db.blocking().close().unwrap();
    let into = bench.dir.beside("new");
    let options = Options { metrics_file: false, memory_bytes: 16 << 20, ..Options::default() };
    let paths = (bench.store(), into.as_path());
    let salvaged = repair::salvage(&bench.runtime, (&paths.0, paths.1), options, |_, _| {});
    let report = bench.runtime.block_on(salvaged).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let (db, keyspace) = bench.open_at(&into);
    assert_eq!(crate::support::keys(&db, &keyspace).len(), 41);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn repair_writes_damaged_copies_anew_and_loses_nothing() {
    let bench = three_openings();
    let (superblock, data) = (bench.store().join("superblock"), bench.store().join("pages.sombra"));
    let bytes = fs::read(&data).unwrap();
    let mut pages = bytes[..2 * ROOT_COPY_BYTES as usize].chunks(ROOT_PAGE_BYTES);
    let root = pages.position(|page| page.iter().any(|&byte| byte != 0)).unwrap();
    disk::patch(&data, (root * ROOT_PAGE_BYTES + 100) as u64, &[0x5A; 50]);
    disk::patch(&superblock, 100, &[0x5A; 50]);
    let planned = plan(&bench);
    let remedies: Vec<Remedy> = planned.findings.iter().map(|finding| finding.remedy).collect();
    assert_eq!(remedies, [Remedy::RewriteCopy; 2]);
    assert!(apply(&bench).kept_in.is_none(), "nothing had to go");
    let (keys, report) = bench.keys_and_close();
    assert_eq!((keys.len(), report.superblock_repaired), (4, None), "done by the repair");
    bench.end();
}

#[test]
fn repair_of_an_older_superblock_tells_what_came_later() {
    let bench = Bench::new();
    bench.with_older_superblock();
    let cut = plan(&bench).log_cut.unwrap();
    let told: Vec<&[u8]> = cut.keys.iter().map(|lost| lost.key.as_slice()).collect();
    assert_eq!(told, [b"b"], "{cut:?}");
    apply(&bench);
    assert_eq!(bench.keys_and_close().0, ["a"]);
    bench.end();
}

#[test]
fn salvage_reads_past_a_hole_in_the_log() {
    let bench = three_openings();
    let all: Vec<Block> = blocks(&bench.store()).into_iter().filter(Block::holds_records).collect();
    let b = &all[all.len() - 3];
    b.erase();
    let into = bench.dir.beside("new");
    let report = salvage(&bench, &into);
    assert_eq!(report.log_gaps.len(), 1, "{report:?}");
    assert!(report.log_damage.is_some());
    let (db, keyspace) = bench.open_at(&into);
    assert_eq!(crate::support::keys(&db, &keyspace), ["a", "c", "d"]);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn salvage_without_the_data_file_gives_what_the_log_holds() {
    let bench = three_openings();
    fs::remove_file(bench.store().join("pages.sombra")).unwrap();
    let error = bench.refusal();
    assert!(error.to_string().contains("sombra repair --salvage"), "{error}");
    let into = bench.dir.beside("new");
    let report = salvage(&bench, &into);
    let place = &report.lost[0].problem.place;
    assert!(place.file.ends_with("pages.sombra"), "{report:?}");
    let (db, keyspace) = bench.open_at(&into);
    assert_eq!(crate::support::keys(&db, &keyspace), ["a", "b", "c", "d"]);
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn store_without_its_log_directory_is_refused_by_path() {
    let bench = three_openings();
    let (wal, aside) = (bench.store().join("wal"), bench.dir.beside("aside"));
    fs::rename(&wal, &aside).unwrap();
    let error = bench.refusal();
    assert!(error.to_string().contains(wal.to_str().unwrap()), "{error}");
    fs::create_dir(&wal).unwrap();
    assert!(plan(&bench).log_cut.is_some());
    fs::remove_dir(&wal).unwrap();
    fs::rename(&aside, &wal).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"]);
    bench.end();
}

#[test]
fn store_without_lock_and_metrics_opens() {
    let bench = three_openings();
    fs::remove_file(bench.store().join("LOCK")).unwrap();
    fs::write(bench.store().join("metrics"), [0xFF; BLOCK_SIZE_BYTES]).unwrap();
    assert_eq!(bench.keys_and_close().0, ["a", "b", "c", "d"]);
    assert!(bench.store().join("LOCK").exists());
    bench.end();
}

#[test]
fn log_that_memory_has_no_room_for_is_refused_unchanged_and_opens_with_more() {
    let bench = Bench::new();
    let with = |memory_bytes: u64| {
        let options = Options { memory_bytes, log_bytes_max: 256 << 20, ..options() };
        bench.runtime.block_on(Db::open(&bench.runtime, bench.store(), options))
    };
    let ample = 256 << 20;
    let db = with(ample).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
    let count = 60_u32;
    for number in 0..count {
        db.blocking().put(&keyspace, number.to_be_bytes(), vec![7; 500_000]).unwrap();
    }
    assert_eq!(db.metrics().value("sombra_merges_total"), 0.0, "the log has all of it");
    db.blocking().close().unwrap();
    let before = disk::contents(&bench.store());
    for _ in 0..2 {
        let error = with(limits::MEMORY_BYTES_MIN).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::MemoryTooSmall { .. }), "{error}");
        assert!(error.to_string().contains("larger budget"), "{error}");
        disk::assert_same(&before, &disk::contents(&bench.store()));
    }
    let db = with(ample).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    for number in 0..count {
        let value = db.blocking().get(&keyspace, number.to_be_bytes()).unwrap();
        assert_eq!(value.map(|value| value.len()), Some(500_000), "{number}");
    }
    db.blocking().close().unwrap();
    bench.end();
}

pub(crate) const SIMULATED: &str = "/store";

/// One opening on a simulated disk, with what `client` does in it.
pub(crate) fn simulated<T: 'static, F: Future<Output = T> + 'static>(
    disk: &SimDisk,
    client: impl FnOnce(Runtime) -> F,
) -> T {
    let mut world = SimWorld::new(SimOptions::new(3, 2, disk.clone()));
    let client = client(world.runtime());
    let outcome = run_client(&mut world, 10_000_000, client);
    world.kill();
    outcome
}

/// The keys that an opening shows, which then closes.
async fn shown(runtime: Runtime, options: Options) -> Result<Vec<Vec<u8>>, OpenError> {
    let db = Db::open(&runtime, SIMULATED, options).await?;
    let keyspace = db.keyspace("k").unwrap();
    let rows = db.snapshot().unwrap().scan(&keyspace, ..).collect().await.unwrap();
    db.close().await.unwrap();
    Ok(rows.into_iter().map(|(key, _)| key.to_vec()).collect())
}

/// One opening that writes a key.
async fn written(runtime: Runtime, key: u8) -> Result<(), OpenError> {
    let db = Db::open(&runtime, SIMULATED, options()).await?;
    let keyspace = db.keyspace("k").unwrap();
    db.put(&keyspace, [key], "v").await.unwrap();
    db.close().await.unwrap();
    Ok(())
}

#[test]
fn full_disk_refuses_an_opening_with_the_reason_and_loses_nothing() {
    let disk = SimDisk::new(SimDiskOptions::new(5));
    simulated(&disk, |runtime| async move {
        let db = Db::open(&runtime, SIMULATED, options()).await.unwrap();
        let keyspace = db.create_keyspace("k", Routing::range()).await.unwrap();
        for number in 0..50_u8 {
            db.put(&keyspace, [number], vec![number; 10_000]).await.unwrap();
        }
        db.close().await.unwrap();
    });
    let mut all: Vec<Vec<u8>> = (0..50_u8).map(|number| vec![number]).collect();
    let set_capacity = |bytes: u64| disk.set_options(|options| options.capacity_bytes = bytes);
    // Less than there is by now. Segments made ahead serve the next openings that write, and are
    // not replaced.
    let (mut opened, mut refused, mut capacity) = (0, 0, 1 << 20);
    loop {
        set_capacity(capacity);
        let key = 50 + opened;
        match simulated(&disk, |runtime| written(runtime, key)) {
            Ok(()) => {
                all.push(vec![key]);
                if refused > 0 {
                    break;
                }
                opened += 1;
                assert!(opened < 8, "no opening is refused");
                continue;
            }
            Err(OpenError::DiskFull { path, .. }) => {
                assert!(path.starts_with(SIMULATED), "{}", path.display());
            }
            Err(error) => panic!("{error}"),
        }
        // Whoever only reads needs no room.
        let read_only = Options { open_mode: OpenMode::ReadOnly, ..options() };
        assert_eq!(simulated(&disk, |runtime| shown(runtime, read_only)).unwrap(), all);
        refused += 1;
        capacity += 256 << 10;
    }
    assert!(opened > 0 && refused > 4, "{opened} opened, {refused} refused");
    set_capacity(u64::MAX);
    simulated(&disk, |runtime| written(runtime, 99)).unwrap();
    all.push(vec![99]);
    assert_eq!(simulated(&disk, |runtime| shown(runtime, options())).unwrap(), all);
}
