//! Extents ahead of need: no room is a state, a failing device is another, closing waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sombra_runtime::sim::{DiskOp, RunEnd, SimDisk, SimDiskOptions, SimWorld};
use sombra_runtime::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use sombra_runtime::{Shard, TaskClass, TaskSpec};

use super::world::{PATH, STEPS_MAX, config, disk, disk_with, run, spawn, world};
use crate::format::root_table::ROOT_EXTENTS;
use crate::limits::EXTENT_BYTES;
use crate::volume::{ExtentError, OpenVolumeError, Volume, VolumeConfig, VolumeState};

const EIO: i32 = 5;
const MIB: u64 = 1 << 20;

fn create(seed: u64, disk: &SimDisk) {
    run(seed, disk, |shard| async move { Volume::create(&shard, &config()).await.unwrap() });
}

/// Opens a volume and starts its keeper.
async fn open_kept(shard: &Shard, config: VolumeConfig) -> Arc<Volume> {
    let volume = Arc::new(Volume::open(shard, config).await.unwrap());
    let (kept, on_shard) = (Arc::clone(&volume), shard.clone());
    shard.spawn(TaskSpec::new("keeper", TaskClass::Maintenance), async move {
        kept.keep(&on_shard, || ()).await;
    });
    volume.want();
    volume
}

/// Lets everything happen that is going to.
fn settle(world: &mut SimWorld) {
    assert_eq!(world.run(STEPS_MAX, || false), RunEnd::Stuck, "{}", world.describe());
}

fn opened(world: &mut SimWorld, config: VolumeConfig) -> Arc<Volume> {
    let answer = spawn(world, 0, move |shard| async move { open_kept(&shard, config).await });
    settle(world);
    answer.take()
}

#[test]
fn keeper_grows_the_file_ahead_of_need_and_up_to_its_bound() {
    let disk = disk(1);
    create(1, &disk);
    let mut world = world(1, &disk);
    // Of a small file the reserve is 4 MiB and a step a quarter of the file, at least 1 MiB.
    let volume = opened(&mut world, config());
    assert_eq!((volume.free_extents(), volume.state()), (23, VolumeState::Fine));
    let length = disk.read_file(PATH).unwrap().len() as u64;
    assert_eq!(length, volume.len_bytes());
    assert_eq!(volume.reserve_bytes(), 4 * MIB);
    let mut taken = volume.take_extents(7, false).unwrap();
    assert!(!volume.is_reserve_touched(), "all of the reserve is left, and nothing else");
    taken.extend(volume.take_extents(9, false).unwrap());
    assert_eq!(taken, (8..24).collect::<Vec<u32>>(), "the lowest");
    assert!(volume.is_reserve_touched() && volume.has_room_for_commits(), "it may still grow");
    assert_eq!(volume.reserve_extents_taken_total(), 0, "what grows has its reserve yet");
    settle(&mut world);
    assert!(volume.free_extents() > 23, "a larger file keeps more ahead");
    taken.extend(volume.take_extents(24, false).unwrap());
    settle(&mut world);
    while volume.take_extents(1, false).is_some() {
        settle(&mut world);
    }
    settle(&mut world);
    let (expected, found) = (64 * MIB, 64 * MIB);
    assert_eq!(volume.state(), VolumeState::Full { expected, found });
    assert!(volume.is_reserve_touched() && !volume.has_room_for_commits());
    assert_eq!(volume.reserve_extents_taken_total() * EXTENT_BYTES, volume.reserve_bytes());
    volume.give_back(taken);
    settle(&mut world);
    assert!(volume.has_room_for_commits(), "40 extents are more than the reserve");
    volume.give_back((48..256).collect());
    settle(&mut world);
    assert_eq!(volume.state(), VolumeState::Fine, "there is more than is kept ahead");
    drop(volume);
    world.power_cut();
}

#[test]
fn wish_for_neighbours_outlives_what_others_take_meanwhile() {
    let disk = disk(3);
    create(3, &disk);
    let mut world = world(3, &disk);
    let volume = opened(&mut world, config());
    assert_eq!(volume.take_extents(60, true), None, "so many are not there yet");
    let supplies = volume.supplies();
    assert!(volume.take_extents(1, false).is_some());
    assert_eq!(volume.supplies(), supplies, "nothing that was missed has come");
    settle(&mut world);
    let length = disk.read_file(PATH).unwrap().len() as u64;
    assert_eq!(length, volume.len_bytes(), "and by nothing else");
    assert!(volume.take_extents(60, true).is_some(), "the file has grown by all of them");
    drop(volume);
    world.power_cut();
}

#[test]
fn growth_without_disk_space_is_a_state_and_goes_on_when_there_is_some() {
    let options = SimDiskOptions { capacity_bytes: 7 * MIB, ..SimDiskOptions::new(2) };
    let disk = disk_with(options);
    create(2, &disk);
    let mut world = world(2, &disk);
    let volume = opened(&mut world, config());
    let state = volume.state();
    assert!(matches!(&state, VolumeState::DiskFull { needed, .. } if *needed > MIB));
    assert_eq!((volume.free_extents(), volume.len_bytes()), (17, 25 * EXTENT_BYTES));
    assert!(volume.has_room_for_commits(), "the reserve is whole");
    let length = disk.read_file(PATH).unwrap().len() as u64;
    assert_eq!(length, 25 * EXTENT_BYTES, "what the failed step took is given back");
    assert!(volume.take_extents(17, false).is_some(), "merges use what is there");
    assert!(!volume.has_room_for_commits());
    assert_eq!(volume.take_extents(1, false), None);
    settle(&mut world);
    disk.set_options(|options| options.capacity_bytes = u64::MAX);
    assert_eq!(volume.take_extents(1, false), None);
    settle(&mut world);
    assert_eq!(volume.state(), VolumeState::Fine);
    assert_eq!(volume.take_extents(1, false), Some(vec![25]));
    drop(volume);
    world.power_cut();
}

#[test]
fn who_missed_extents_looks_again_when_others_take_or_give_them() {
    let disk = disk(4);
    create(4, &disk);
    let mut world = world(4, &disk);
    let volume = opened(&mut world, config());
    let supplies = volume.supplies();
    let taken = volume.take_extents(2, false).unwrap();
    assert_eq!(volume.supplies(), supplies, "nobody missed them");
    assert_eq!(volume.take_extents(22, true), None);
    volume.give_back(taken);
    let given = volume.supplies();
    assert!(given > supplies);
    assert!(volume.take_extents(22, true).is_some(), "before the file has grown");
    assert!(volume.supplies() > given, "another who wished for fewer may have them");
    settle(&mut world);
    let grown = volume.supplies();
    assert!(volume.take_extents(1, false).is_some());
    volume.want();
    settle(&mut world);
    assert_eq!(volume.supplies(), grown, "nobody misses anything");
    drop(volume);
    world.power_cut();
}

/// As a merge that finds no room: it is told of every change and asks again.
async fn open_asked_again(shard: &Shard, asked: Arc<AtomicU32>) -> Arc<Volume> {
    let volume = Arc::new(Volume::open(shard, config()).await.unwrap());
    let (kept, on_shard) = (Arc::clone(&volume), shard.clone());
    shard.spawn(TaskSpec::new("keeper", TaskClass::Maintenance), async move {
        let is_served = AtomicBool::new(false);
        let ask = || {
            asked.fetch_add(1, Ordering::Relaxed);
            if !is_served.load(Ordering::Relaxed) && kept.take_extents(64, false).is_some() {
                is_served.store(true, Ordering::Relaxed);
            }
        };
        kept.keep(&on_shard, ask).await;
    });
    volume.want();
    volume
}

#[test]
fn asker_without_disk_space_is_told_once_and_served_when_there_is_some() {
    let options = SimDiskOptions { capacity_bytes: 8 * MIB, ..SimDiskOptions::new(9) };
    let disk = disk_with(options);
    create(9, &disk);
    let mut world = world(9, &disk);
    let asked = Arc::new(AtomicU32::new(0));
    let for_keeper = Arc::clone(&asked);
    let answer =
        spawn(&world, 0, move |shard| async move { open_asked_again(&shard, for_keeper).await });
    settle(&mut world);
    let volume = answer.take();
    assert!(matches!(volume.state(), VolumeState::DiskFull { .. }), "64 extents are not there");
    let so_far = asked.load(Ordering::Relaxed);
    assert!(so_far <= 8, "{so_far}");
    volume.want();
    settle(&mut world);
    assert!(matches!(volume.state(), VolumeState::DiskFull { .. }), "nor are they now");
    assert_eq!(asked.load(Ordering::Relaxed), so_far, "which is no news");
    disk.set_options(|options| options.capacity_bytes = 64 * MIB);
    volume.want();
    settle(&mut world);
    assert_eq!(volume.state(), VolumeState::Fine);
    assert!(asked.load(Ordering::Relaxed) > so_far && volume.len_bytes() > 24 * MIB);
    drop(volume);
    world.power_cut();
}

/// Opens a volume whose keeper counts what it tells.
async fn open_told(shard: &Shard, told: Arc<AtomicU32>) -> Arc<Volume> {
    let volume = Arc::new(Volume::open(shard, config()).await.unwrap());
    let (kept, on_shard) = (Arc::clone(&volume), shard.clone());
    shard.spawn(TaskSpec::new("keeper", TaskClass::Maintenance), async move {
        let changed = || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        kept.keep(&on_shard, changed).await;
    });
    volume.want();
    volume
}

/// What was missed came back from another tablet: whoever missed it waits for the keeper's word.
#[test]
fn asker_is_told_when_others_give_back_what_it_missed() {
    for capacity_bytes in [u64::MAX, 8 * MIB] {
        let disk = disk_with(SimDiskOptions::new(11));
        create(11, &disk);
        disk.set_options(|options| options.capacity_bytes = capacity_bytes);
        let mut world = world(11, &disk);
        let told = Arc::new(AtomicU32::new(0));
        let for_keeper = Arc::clone(&told);
        let answer =
            spawn(&world, 0, move |shard| async move { open_told(&shard, for_keeper).await });
        settle(&mut world);
        let volume = answer.take();
        let taken = volume.take_extents(volume.free_extents(), false).unwrap();
        if capacity_bytes < u64::MAX {
            settle(&mut world);
            assert!(matches!(volume.state(), VolumeState::DiskFull { .. }));
        }
        assert_eq!(volume.take_extents(1, false), None);
        let so_far = told.load(Ordering::Relaxed);
        let few = taken.len() - 2;
        volume.give_back(if capacity_bytes < u64::MAX { taken[few..].to_vec() } else { taken });
        settle(&mut world);
        assert_eq!(told.load(Ordering::Relaxed), so_far + 1, "of {capacity_bytes} bytes");
        assert!(volume.take_extents(1, false).is_some());
        drop(volume);
        world.power_cut();
    }
}

#[test]
fn growth_on_a_failing_device_is_broken_for_good() {
    for on in [DiskOp::Write, DiskOp::Flush] {
        let disk = disk(3);
        create(3, &disk);
        let mut world = world(3, &disk);
        disk.fail_next(on, 1, EIO);
        let volume = opened(&mut world, config());
        assert!(matches!(volume.state(), VolumeState::Broken { .. }), "{:?}", volume.state());
        assert_eq!(volume.free_extents(), 0, "nothing of the step counts");
        volume.want();
        settle(&mut world);
        assert_eq!((volume.free_extents(), volume.is_growing()), (0, false));
        drop(volume);
        world.power_cut();
    }
}

#[test]
fn neighbours_that_are_missing_are_made_whatever_the_step() {
    let disk = disk(4);
    create(4, &disk);
    let mut world = world(4, &disk);
    // A step is one extent, and the reserve eight.
    let config = VolumeConfig { data_bytes_max: 16 * MIB, ..config() };
    let volume = opened(&mut world, config);
    let taken = volume.take_extents(volume.free_extents(), false).unwrap();
    volume.give_back(taken.into_iter().step_by(2).collect());
    assert_eq!(volume.take_extents(5, true), None);
    settle(&mut world);
    let run = volume.take_extents(5, true).unwrap();
    assert!(run.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{run:?}");
    assert_eq!(volume.take_extents(200, true), None);
    settle(&mut world);
    assert_eq!(volume.take_extents(200, true), None, "more than the bound allows");
    assert!(matches!(volume.state(), VolumeState::Full { .. }), "{:?}", volume.state());
    drop(volume);
    world.power_cut();
}

#[test]
fn closing_ends_growth_and_waits_for_the_step_under_way() {
    for seed in 0..20 {
        let disk = disk(seed);
        create(seed, &disk);
        let mut world = world(seed, &disk);
        let answer = spawn(&world, 0, move |shard| async move {
            let volume = open_kept(&shard, config()).await;
            shard.sleep(Duration::from_micros(shard.random_u64() % 1_500)).await;
            volume.close();
            let mut waits = 0;
            while volume.is_growing() {
                waits += 1;
                shard.sleep(Duration::from_micros(20)).await;
            }
            volume.want_extents(60);
            (volume.len_bytes(), waits)
        });
        let end = world.run(STEPS_MAX, || answer.is_there());
        assert_eq!(end, RunEnd::Done, "seed {seed}");
        let before = disk.counters();
        settle(&mut world);
        assert_eq!(disk.counters(), before, "seed {seed}: nothing is written after closing");
        let length = disk.read_file(PATH).unwrap().len() as u64;
        assert_eq!(answer.take().0, length, "seed {seed}");
        world.power_cut();
    }
}

#[test]
fn truncation_gives_back_the_tail_and_loses_no_extent_beside_growth() {
    for seed in 0..12 {
        let disk = disk(seed);
        create(seed, &disk);
        let mut world = world(seed, &disk);
        let volume = opened(&mut world, config());
        let (taker, cutter) = (Arc::clone(&volume), Arc::clone(&volume));
        let taken = spawn(&world, 0, move |shard| async move {
            let mut held: Vec<u32> = Vec::new();
            for _ in 0..60 {
                held.extend(taker.take_extents(4, shard.random_u64() % 2 == 0).unwrap_or_default());
                shard.sleep(Duration::from_micros(shard.random_u64() % 400)).await;
                if shard.random_u64().is_multiple_of(3) {
                    taker.give_back(held.split_off(held.len() / 2));
                }
            }
            held
        });
        let cut = spawn(&world, 1, move |shard| async move {
            let mut cut_bytes = 0;
            for _ in 0..60 {
                cut_bytes += cutter.truncate_tail(&shard).await.unwrap();
                shard.sleep(Duration::from_micros(shard.random_u64() % 300)).await;
            }
            cut_bytes
        });
        settle(&mut world);
        let held = taken.take();
        let owned: BTreeSet<u32> = held.iter().copied().collect();
        assert_eq!(owned.len(), held.len(), "seed {seed}: an extent was given twice");
        let end = (volume.len_bytes() / EXTENT_BYTES) as u32;
        assert!(owned.iter().all(|extent| (ROOT_EXTENTS..end).contains(extent)));
        let all = end - ROOT_EXTENTS;
        assert_eq!(volume.free_extents() + held.len() as u32, all, "seed {seed}: one was lost");
        let length = disk.read_file(PATH).unwrap().len() as u64;
        assert_eq!(length, volume.len_bytes(), "seed {seed}");
        assert!(cut.take() > 0 || held.len() > 40, "seed {seed}: nothing was cut");
        drop(volume);
        world.power_cut();
    }
}

#[test]
fn refused_truncation_changes_nothing() {
    let disk = disk(5);
    create(5, &disk);
    let mut world = world(5, &disk);
    let volume = opened(&mut world, config());
    let extents = volume.take_extents(20, false).unwrap();
    settle(&mut world);
    volume.give_back(extents);
    let before = (volume.free_extents(), volume.len_bytes());
    disk.fail_next(DiskOp::Write, 1, EIO);
    let cutter = Arc::clone(&volume);
    let answer =
        spawn(&world, 0, move |shard| async move { cutter.truncate_tail(&shard).await.is_err() });
    settle(&mut world);
    assert!(answer.take());
    assert_eq!((volume.free_extents(), volume.len_bytes()), before);
    drop(volume);
    world.power_cut();
}

#[test]
fn power_cut_while_the_file_grows_leaves_a_file_that_opens() {
    for seed in 0..60 {
        let disk = disk(seed);
        create(seed, &disk);
        let mut growing = world(seed, &disk);
        spawn(&growing, 0, move |shard| async move { drop(open_kept(&shard, config()).await) });
        growing.run(10 + seed * 3, || false);
        growing.power_cut();
        let mut again = world(seed + 1, &disk);
        let volume = opened(&mut again, config());
        assert!(!volume.is_reserve_touched(), "seed {seed}");
        assert_eq!(volume.state(), VolumeState::Fine);
        drop(volume);
        again.power_cut();
    }
}

#[test]
fn raw_device_has_the_length_it_has() {
    let disk = disk(6);
    disk.write_file("/store/device", &vec![0xEE; 8 << 20]);
    let config =
        VolumeConfig { path: "/store/device".into(), fixed_len_bytes: Some(8 * MIB), ..config() };
    let made = config.clone();
    run(6, &disk, |shard| async move { Volume::create(&shard, &made).await.unwrap() });
    let bytes = disk.read_file("/store/device").unwrap();
    assert!(bytes[..2 << 20].iter().all(|&byte| byte == 0), "the root table is empty");
    assert!(bytes[2 << 20..].iter().all(|&byte| byte == 0xEE), "the rest is left alone");
    let mut world = world(6, &disk);
    let volume = opened(&mut world, config);
    assert_eq!(volume.free_extents(), 24);
    assert!(volume.has_room_for_commits());
    assert_eq!(volume.take_extents(24, true).map(|extents| extents.len()), Some(24));
    settle(&mut world);
    let (expected, found) = (8 * MIB, 8 * MIB);
    assert_eq!(volume.state(), VolumeState::Full { expected, found });
    drop(volume);
    world.power_cut();
}

#[test]
fn extents_have_one_owner_inside_the_file() {
    let disk = disk(7);
    create(7, &disk);
    let mut world = world(7, &disk);
    let volume = opened(&mut world, config());
    volume.mark_owned([8, 20, 9]).unwrap();
    assert_eq!(volume.free_extents(), 20);
    assert_eq!(volume.mark_owned([20]), Err(ExtentError::OwnedTwice { extent: 20 }));
    let outside = |extent| Err(ExtentError::Outside { extent, first: 8, end: 31 });
    assert_eq!(volume.mark_owned([7]), outside(7));
    assert_eq!(volume.mark_owned([31]), outside(31));
    assert_eq!(volume.take_extents(3, false), Some(vec![10, 11, 12]));
    drop(volume);
    world.power_cut();
}

#[test]
fn file_that_is_no_data_file_is_refused_with_what_was_expected() {
    let disk = disk(8);
    disk.write_file(PATH, &[0; 4096]);
    let open = |config: VolumeConfig| {
        run(8, &disk, |shard| async move { Volume::open(&shard, config).await.err().unwrap() })
    };
    for found in [4096, (2 * MIB) - 4096] {
        disk.write_file(PATH, &vec![0; found as usize]);
        let error = open(config());
        let OpenVolumeError::TooShort { expected, found: told, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((expected, told), (2 * MIB, found));
    }
    let error = open(VolumeConfig { page_size_bytes: 12_288, ..config() });
    assert!(matches!(error, OpenVolumeError::PageSize { found: 12_288, .. }), "{error}");
    let error = open(VolumeConfig { path: "/store/none".into(), ..config() });
    assert!(matches!(error, OpenVolumeError::Io { operation: "open", .. }), "{error}");
}

#[test]
fn creation_that_is_cut_leaves_no_data_file_or_a_whole_one() {
    for seed in 0..60 {
        let disk = disk(seed);
        let mut making = world(seed, &disk);
        spawn(&making, 0, |shard| async move { Volume::create(&shard, &config()).await.unwrap() });
        making.run(2 + seed, || false);
        making.power_cut();
        if let Some(bytes) = disk.read_file(PATH) {
            assert_eq!(bytes, vec![0; 2 << 20], "seed {seed}");
        }
        create(seed + 1, &disk);
        assert_eq!(disk.read_file(PATH).unwrap().len(), 2 << 20, "seed {seed}");
    }
}
