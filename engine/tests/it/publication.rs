//! Power cuts just when a root is in force and its older copy is not yet written over, while the
//! next slice of the merge already takes pages: both copies of the root must find theirs.

use bytes::Bytes;
use sombra::format::root_table::{RootCopy, RootRow};
use sombra::inspect::RootCopyState;
use sombra::{Db, Keyspace, Options, Routing};
use sombra_runtime::sim::{Corruption, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::support::{options, run_client};

const DIR: &str = "/store";
const STEPS_MAX: u64 = 1_000_000;
/// Steps between two looks at the store, which cost more than a step.
const STEPS_PER_LOOK: u64 = 12;
const SEEDS: u64 = 5;
const STEPS_BEFORE_END: [u64; 4] = [1, 2, 4, 8];
const KEYS: u64 = 700;
const VALUE_BYTES: usize = 3_000;
const BATCH_KEYS: u64 = 16;

/// Small windows and large pages: a merge is several slices long, and a slice takes every extent
/// that is free within a few pages.
fn tight() -> Options {
    Options { memory_bytes: 16 << 20, page_size_bytes: 32 << 10, ..options() }
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *random >> 33
}

/// Writes the same keys over and over until the world ends.
async fn write(db: Db, keyspace: Keyspace, seed: u64) {
    let mut random = seed;
    loop {
        let transaction = db.begin().expect("a healthy store");
        for _ in 0..BATCH_KEYS {
            let key = (next(&mut random) % KEYS).to_be_bytes();
            let value = Bytes::from(vec![next(&mut random) as u8; VALUE_BYTES]);
            transaction.put(&keyspace, key, value).expect("within the bounds");
        }
        if transaction.commit().await.is_err() {
            return;
        }
    }
}

pub(crate) fn run_until(world: &mut SimWorld, holds: impl Fn() -> bool) {
    for _ in 0..STEPS_MAX / STEPS_PER_LOOK {
        world.run(STEPS_PER_LOOK, || false);
        if holds() {
            return;
        }
    }
    panic!("it does not come: {}", world.describe());
}

/// A store on which somebody writes.
fn open(world: &mut SimWorld, seed: u64) -> Db {
    let runtime = world.runtime();
    let (sender, receiver) = std::sync::mpsc::channel();
    world.spawn_client("writer", async move {
        let db = Db::open(&runtime, DIR, tight()).await.expect("an empty directory");
        let keyspace = db.create_keyspace("k", Routing::range()).await.expect("a new name");
        sender.send(db.clone()).expect("the test waits");
        write(db, keyspace, seed | 1).await;
    });
    let mut opened = None;
    world.run(STEPS_MAX, || {
        opened = receiver.try_recv().ok();
        opened.is_some()
    });
    opened.expect("the store opens")
}

/// Runs until a slice's root is durable in one copy and the other copy is being written over
/// while the merge goes on, then to the end of that; returns the step of the end.
fn end_of_a_publication(seed: u64) -> u64 {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    let mut world = SimWorld::new(SimOptions::new(seed, 2, disk));
    let db = open(&mut world, seed);
    let metric = |name| db.metrics().value(name);
    let is_publishing = || metric("sombra_root_publications_running") > 0.0;
    run_until(&mut world, || metric("sombra_merges_total") > 1.0);
    loop {
        run_until(&mut world, || metric("sombra_merges_running") > 0.0 && is_publishing());
        let before = metric("sombra_root_writes_total");
        run_until(&mut world, || metric("sombra_root_writes_total") > before);
        if is_publishing() {
            break;
        }
    }
    world.run(STEPS_MAX, || !is_publishing());
    world.steps()
}

/// The same run up to a step at which the power is cut; returns what is left.
fn cut_at(seed: u64, step: u64) -> SimDisk {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    let mut world = SimWorld::new(SimOptions::new(seed, 2, disk.clone()));
    let db = open(&mut world, seed);
    world.run(step - world.steps(), || false);
    assert!(db.metrics().value("sombra_root_publications_running") > 0.0, "it is the same run");
    assert_eq!(db.poison_reason(), None);
    drop(db);
    world.power_cut();
    disk
}

/// What is wrong with the store, below either copy of a root.
fn problems(disk: &SimDisk, seed: u64) -> Vec<String> {
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
    let runtime = world.runtime();
    let report = run_client(&mut world, STEPS_MAX, async move {
        sombra::inspect::check(&runtime, DIR.as_ref(), |_, _| ()).await
    });
    world.kill();
    match report.map(|report| report.problems) {
        Ok(problems) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn pages_of_both_root_copies_outlive_power_cuts_amid_a_publication() {
    for seed in 0..SEEDS {
        let end = end_of_a_publication(seed);
        for before in STEPS_BEFORE_END {
            let disk = cut_at(seed, end - before);
            let found = problems(&disk, seed);
            assert!(found.is_empty(), "seed {seed}, {before} steps before the end: {found:#?}");
        }
    }
}

/// Where the space map of an older root begins that the newer copy of its row does not name.
fn older_map(disk: &SimDisk, seed: u64) -> Option<u64> {
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
    let runtime = world.runtime();
    let report = run_client(&mut world, STEPS_MAX, async move {
        sombra::inspect::root(&runtime, DIR.as_ref()).await.expect("a whole root table")
    });
    world.kill();
    let maps = |state: &RootCopyState| -> Vec<_> {
        let RootCopyState::Valid(page) = state else { return Vec::new() };
        let rows = page.rows.iter().filter_map(|row| match row {
            RootRow::Tablet(row) => row.space.map(|space| space.map),
            RootRow::Catalog(_) | RootRow::Keyspace(_) => None,
        });
        rows.collect()
    };
    report.slots.iter().find_map(|slot| {
        let (newer, older) = match slot.in_force()? {
            RootCopy::A => (&slot.copy_a, &slot.copy_b),
            RootCopy::B => (&slot.copy_b, &slot.copy_a),
        };
        let (newer, older) = (maps(newer), maps(older));
        let map = older.iter().find(|map| !newer.contains(map))?;
        Some(map.addr.offset_bytes(report.page_size_bytes as usize))
    })
}

/// What an opening says of damage, and all rows that it shows; it writes a little, and closes.
fn notes_and_rows(disk: &SimDisk, seed: u64) -> (Vec<String>, Vec<(Bytes, Bytes)>) {
    let mut world = SimWorld::new(SimOptions::new(seed + 1, 2, disk.clone()));
    let runtime = world.runtime();
    let found = run_client(&mut world, STEPS_MAX, async move {
        let db = Db::open(&runtime, DIR, tight()).await.expect("it opens");
        let keyspace = db.keyspace("k").expect("it was made");
        let rows = db.snapshot().unwrap().scan(&keyspace, ..).collect().await.unwrap();
        for key in 0..KEYS {
            let value = Bytes::from(vec![9; VALUE_BYTES]);
            db.put(&keyspace, key.to_be_bytes(), value).await.expect("a healthy store");
        }
        let notes = db.open_report().notes;
        db.close().await.expect("a healthy store");
        (notes, rows)
    });
    world.kill();
    found
}

#[test]
fn damaged_map_of_an_older_root_is_told_costs_nothing_and_is_replaced() {
    let seed = 1;
    let end = end_of_a_publication(seed);
    let (before, offset) = (1..400)
        .find_map(|before| Some((before, older_map(&cut_at(seed, end - before), seed)?)))
        .expect("while the older copy is not written yet it names another map");
    let (whole, damaged) = (cut_at(seed, end - before), cut_at(seed, end - before));
    damaged.corrupt(format!("{DIR}/pages.sombra"), offset + 99, Corruption::FlipBit { bit: 4 });
    let (notes, rows) = notes_and_rows(&damaged, seed);
    let told = notes.iter().filter(|note| note.contains("older space map")).count();
    assert_eq!((told, notes.len()), (1, 1), "{notes:?}");
    let (no_notes, as_before) = notes_and_rows(&whole, seed);
    assert!(no_notes.is_empty(), "{no_notes:?}");
    assert!(!rows.is_empty() && rows == as_before, "{} rows of {}", rows.len(), as_before.len());
    assert_eq!(problems(&damaged, seed), Vec::<String>::new());
    let (notes, rows) = notes_and_rows(&damaged, seed);
    assert!(notes.is_empty(), "nobody names that map any more: {notes:?}");
    assert!(rows.len() == KEYS as usize && rows.iter().all(|(_, value)| value[0] == 9));
}
