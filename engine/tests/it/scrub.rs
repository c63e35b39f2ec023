//! The scrubber of an open store, on a simulated disk: what it finds, what it leaves alone, when
//! it rests.

mod load;
mod places;
mod world;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use sombra::{Db, Options, ReadError, Routing};
use sombra_runtime::sim::Corruption;

use load::{Load, fill, fill_with};
use places::{DATA, Places};
use world::World;

/// Merges after half a MiB of log; scrubs on demand only.
fn quiet() -> Options {
    Options { memory_bytes: 16 << 20, log_bytes_max: 2 << 20, ..crate::support::options() }
}

/// The same with passes one after the other, as fast as the disk allows.
fn eager() -> Options {
    Options { scrub_bytes_per_second: 1 << 40, scrub_interval: Duration::ZERO, ..quiet() }
}

/// A store with a keyspace that nobody touches any more, in a tree of several leaves.
async fn with_cold(db: &Db) {
    let cold = db.create_keyspace("cold", Routing::range()).await.unwrap();
    fill(db, &cold, 0..3_000, 400).await;
    let hot = db.create_keyspace("hot", Routing::range()).await.unwrap();
    fill(db, &hot, 0..2_000, 400).await;
}

#[test]
fn scrubber_finds_a_rotten_page_that_no_read_touches_while_the_store_serves_and_merges() {
    for is_rotten in [true, false] {
        let mut world = World::new(7, 2);
        let db = world.open(eager());
        let on = db.clone();
        world.run(async move { with_cold(&on).await });
        let places = Places::of(&world.disk);
        let offset = places.leaf_offset(&places.tablet("cold")) + 1_234;
        if is_rotten {
            world.disk.corrupt(DATA, offset, Corruption::FlipBit { bit: 3 });
        }
        let (on, clients) = (db.clone(), world.clients());
        let merges = db.metrics().value("sombra_merges_total");
        world.run(async move {
            let hot = on.keyspace("hot").unwrap();
            let before = on.scrub_report().passes;
            let mut round = 0;
            while on.scrub_report().passes < before + 4 || round < 4 {
                fill_with(&on, &hot, 0..1_000, (round, 400)).await;
                clients.sleep(Duration::from_millis(1)).await;
                round += 1;
            }
        });
        assert!(db.metrics().value("sombra_merges_total") > merges, "it merged meanwhile");
        let report = db.scrub_report();
        let damage = db.metrics().value("sombra_scrub_damage_total");
        if is_rotten {
            let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
            let page = offset / 4096 * 4096;
            let place = (problem.place.file.to_str(), problem.place.offset_bytes);
            assert_eq!(place, (Some(DATA), Some(page)), "{problem}");
            let tablet = problem.tablet.as_ref().unwrap();
            assert_eq!((tablet.keyspace.as_str(), tablet.id.index), ("cold", 0), "{problem}");
            assert!(damage == 1.0, "told once: {damage}");
        } else {
            assert!(report.problems.is_empty() && damage == 0.0, "{:?}", report.problems);
        }
        assert!(db.metrics().value("sombra_scrub_passes_total") == report.passes as f64);
        assert!(db.metrics().value("sombra_scrub_pages_total") == report.pages as f64);
        assert!(db.metrics().value("sombra_scrub_bytes_total") == report.bytes as f64);
        assert!(db.metrics().value("sombra_scrub_last_pass_seconds") > 0.0);
        world.close(db);
    }
}

#[test]
fn scrubber_finds_damage_of_a_page_that_the_cache_holds_whole() {
    let mut world = World::new(8, 2);
    let db = world.open(quiet());
    let on = db.clone();
    world.run(async move { with_cold(&on).await });
    let places = Places::of(&world.disk);
    let offset = places.leaf_offset(&places.tablet("cold"));
    let on = db.clone();
    let key = world.run(async move {
        let cold = on.keyspace("cold").unwrap();
        let first = on.snapshot().unwrap().scan(&cold, ..).collect().await.unwrap();
        first[0].0.clone()
    });
    world.disk.corrupt(DATA, offset + 100, Corruption::FlipBit { bit: 0 });
    let on = db.clone();
    let report = world.run(async move {
        let cold = on.keyspace("cold").unwrap();
        assert!(on.get(&cold, &key).await.unwrap().is_some(), "read out of the cache");
        on.scrub().await.unwrap()
    });
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].place.offset_bytes, Some(offset));
    world.close(db);
}

#[test]
fn scrubber_finds_one_flipped_bit_in_each_part_of_a_store() {
    let mut world = World::new(9, 2);
    for opening in 0..3 {
        let db = world.open(quiet());
        let on = db.clone();
        world.run(async move {
            let routing = Routing::hash_tablets(16, 3);
            let spread = on.open_keyspace("spread", routing).await.unwrap();
            fill_with(&on, &spread, 20..600, (opening, 300)).await;
            // The log has no room for those of all openings: some are in the trees.
            fill_with(&on, &spread, 0..20, (opening, 30_000)).await;
        });
        if opening < 2 {
            world.close(db);
            continue;
        }
        let clean = world.scrub(&db);
        assert!(clean.problems.is_empty(), "{:?}", clean.problems);
        let places = Places::of(&world.disk).parts_of(&world.disk, "spread");
        let names: Vec<&str> = places.iter().map(|(name, _, _)| *name).collect();
        for (name, path, offset) in &places {
            world.disk.corrupt(path, *offset, Corruption::FlipBit { bit: 5 });
            let report = world.scrub(&db);
            assert_eq!(report.problems.len(), 1, "{name}: {:?}", report.problems);
            assert_eq!(report.problems[0].place.file.to_str(), Some(path.as_str()), "{name}");
            world.disk.corrupt(path, *offset, Corruption::FlipBit { bit: 5 });
        }
        assert_eq!(world.scrub(&db).problems.len(), 0, "all was put back");
        assert_eq!(db.scrub_report().problems.len(), places.len(), "{names:?}");
        world.close(db);
    }
}

#[test]
fn scrubber_raises_no_false_alarm_over_merges_drops_and_crashes() {
    let (mut passes, mut merges) = (0, 0.0);
    for seed in 0..24 {
        let mut world = World::new(seed, 1 + seed as usize % 3);
        for life in 0..3 {
            let db = world.open(eager());
            let load = Load { db: db.clone(), clients: world.clients(), life, seed };
            let (report, merged) = world.run(load.run());
            assert!(report.problems.is_empty(), "seed {seed}: {:?}", report.problems);
            passes += report.passes;
            merges += merged;
            world.end(db, seed + u64::from(life));
        }
    }
    assert!(passes > 100 && merges > 1_000.0, "{passes} passes, {merges} merges");
}

/// What a run of merges without an end holds back.
struct Held {
    /// Most bytes that waited at once for their release, and how often of all looks some did.
    peak_bytes: f64,
    looks: u32,
    looks_held: u32,
    live_bytes: f64,
    file_bytes: f64,
    passes: u64,
}

fn held_over_merges(options: Options) -> Held {
    let mut world = World::new(11, 1);
    let db = world.open(options);
    let on = db.clone();
    let mut held = world.run(async move {
        let hot = on.create_keyspace("hot", Routing::range()).await.unwrap();
        let metric = |name| on.metrics().value(name);
        let mut held = Held {
            peak_bytes: 0.0,
            looks: 0,
            looks_held: 0,
            live_bytes: 0.0,
            file_bytes: 0.0,
            passes: 0,
        };
        for round in 0..40 {
            for first in (0..2_000).step_by(200) {
                fill_with(&on, &hot, first..first + 200, (round, 400)).await;
                let waiting = metric("sombra_data_waiting_bytes");
                held.peak_bytes = held.peak_bytes.max(waiting);
                held.looks += 1;
                held.looks_held += u32::from(waiting > 0.0);
            }
        }
        held.live_bytes = metric("sombra_data_live_bytes");
        held.file_bytes = metric("sombra_data_file_bytes");
        held
    });
    held.passes = db.scrub_report().passes;
    world.close(db);
    held
}

#[test]
fn scrubber_holds_no_space_for_long_of_a_tablet_that_merges_all_the_time() {
    let off = held_over_merges(quiet());
    let eager_held = held_over_merges(eager());
    // One pass at a crawl: the whole run falls into it, and a root that were held for a pass
    // would be held all the time.
    let crawl = Options { scrub_bytes_per_second: 512 << 10, ..eager() };
    let crawl_held = held_over_merges(crawl);
    assert!(eager_held.passes > 3 && crawl_held.passes <= 1, "{} passes", eager_held.passes);
    assert!(crawl_held.looks_held * 4 < crawl_held.looks, "{} looks", crawl_held.looks_held);
    for held in [eager_held, crawl_held] {
        let (peak, live) = (held.peak_bytes, held.live_bytes);
        assert!(peak <= off.peak_bytes + 1.5 * live, "{peak} bytes wait, {live} live");
        let (file, without) = (held.file_bytes, off.file_bytes);
        assert!(file <= without + f64::from(2 << 20), "{file} bytes, {without} without");
    }
}

#[test]
fn scrubber_rests_after_a_pass_and_does_nothing_at_a_rate_of_zero() {
    let hour = Duration::from_secs(3_600);
    for rate in [1 << 20, 0] {
        let mut world = World::new(12, 2);
        let options = Options { scrub_bytes_per_second: rate, scrub_interval: hour, ..quiet() };
        let db = world.open(options);
        let (on, clients) = (db.clone(), world.clients());
        world.run(async move {
            let idle = on.create_keyspace("idle", Routing::range()).await.unwrap();
            fill(&on, &idle, 0..5_000, 400).await;
            let passes_after = async |minutes: u64| {
                clients.sleep(Duration::from_secs(60 * minutes)).await;
                on.scrub_report().passes
            };
            let expected = |passes: u64| if rate == 0 { 0 } else { passes };
            assert_eq!(on.scrub_report().bytes, 0, "not in the first minute");
            assert_eq!(passes_after(2).await, expected(1));
            let bytes = on.scrub_report().bytes;
            assert_eq!(passes_after(57).await, expected(1));
            assert_eq!(on.scrub_report().bytes, bytes, "it rests");
            assert_eq!(passes_after(5).await, expected(2));
            if rate > 0 {
                let took = on.scrub_report().last_pass_took.unwrap();
                let least = (on.scrub_report().bytes - bytes) as f64 / rate as f64;
                assert!(took.as_secs_f64() >= least, "{took:?}, at least {least} s at that rate");
            } else {
                assert_eq!(on.scrub_report().bytes, 0);
            }
        });
        world.close(db);
    }
}

#[test]
fn scrub_of_a_store_that_is_only_read_finds_damage_and_a_closed_one_refuses() {
    let mut world = World::new(13, 2);
    let db = world.open(quiet());
    let on = db.clone();
    world.run(async move { with_cold(&on).await });
    world.close(db);
    let db = world.open(Options { open_mode: sombra::OpenMode::ReadOnly, ..eager() });
    let report = world.scrub(&db);
    assert!(report.problems.is_empty() && report.pages > 300, "{report:?}");
    let places = Places::of(&world.disk);
    let offset = places.leaf_offset(&places.tablet("cold"));
    world.disk.corrupt(DATA, offset + 9, Corruption::FlipBit { bit: 1 });
    assert_eq!(world.scrub(&db).problems.len(), 1);
    assert_eq!(db.scrub_report().passes, 2, "none by itself");
    let closed = db.clone();
    world.close(db);
    let refused = world.run(async move { closed.scrub().await });
    assert!(matches!(refused, Err(ReadError::Closed)), "{refused:?}");
}

#[test]
fn scrubs_asked_for_during_a_pass_share_the_next_and_are_told_what_has_changed_since() {
    let mut world = World::new(14, 2);
    let db = world.open(quiet());
    let on = db.clone();
    world.run(async move { with_cold(&on).await });
    let (clients, disk) = (world.clients(), world.disk.clone());
    let answers = Rc::new(RefCell::new(Vec::new()));
    let (on, told) = (db.clone(), Rc::clone(&answers));
    world.run(async move {
        let ask = || {
            let (db, told) = (on.clone(), Rc::clone(&told));
            clients.spawn("caller", async move {
                let report = db.scrub().await.unwrap();
                told.borrow_mut().push(report);
            });
        };
        ask();
        while on.scrub_report().pages == 0 {
            clients.sleep(Duration::from_micros(1)).await;
        }
        assert_eq!(on.scrub_report().passes, 0, "the first pass has only begun");
        // The pass that runs has read it.
        disk.corrupt("/store/superblock", 30, Corruption::FlipBit { bit: 2 });
        (0..8).for_each(|_| ask());
        let mut gone = Box::pin(on.scrub());
        assert!(poll_fn(|context| Poll::Ready(gone.as_mut().poll(context))).await.is_pending());
        drop(gone);
        while told.borrow().len() < 9 {
            clients.sleep(Duration::from_millis(1)).await;
        }
    });
    let answers = answers.borrow();
    assert!(answers[0].problems.is_empty(), "{:?}", answers[0].problems);
    let found = answers[1..].iter().all(|report| report.problems.len() == 1);
    assert!(found, "{:?}", answers[1].problems);
    assert_eq!(db.scrub_report().passes, 2, "one for the first, one for all others");
    // Whoever still waits when the store closes hears of it.
    let on = db.clone();
    let (clients, waiting) = (world.clients(), Rc::new(RefCell::new(Vec::new())));
    let refused = Rc::clone(&waiting);
    world.run(async move {
        for _ in 0..2 {
            let (db, refused) = (on.clone(), Rc::clone(&refused));
            clients.spawn("caller", async move {
                let answer = db.scrub().await;
                refused.borrow_mut().push(answer.map(drop));
            });
        }
        clients.sleep(Duration::from_micros(50)).await;
        on.close().await.unwrap();
        while refused.borrow().len() < 2 {
            clients.sleep(Duration::from_millis(1)).await;
        }
    });
    let closed = waiting.borrow().iter().all(|answer| matches!(answer, Err(ReadError::Closed)));
    assert!(closed, "{:?}", waiting.borrow());
}
