//! Damage to one copy, to both, and to copies that were never written.

use sombra_runtime::sim::{Corruption, DiskOp, Fault, SimDisk};
use sombra_runtime::{IoClass, Shard};

use super::world::{OWNER, PATH, STORE, config, disk, leaf, run, spawn, tablet_row, world};
use crate::error::OpenError;
use crate::format::checksum::crc32c_with_field_zeroed;
use crate::format::root_table::{
    CatalogRow, ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, RowKey, TabletRow,
};
use crate::ids::{KeyspaceId, Lsn, PageAddr, TabletId};
use crate::limits::ROOT_SLOTS;
use crate::volume::{
    FloorHolder, LoadedRoots, PageAllocator, RootPublishError, RootTable, RowChange, Volume,
};

const EIO: i32 = 5;

async fn open(shard: &Shard) -> (Volume, LoadedRoots) {
    let volume = Volume::open(shard, config()).await.unwrap();
    let loaded = RootTable::load(shard, &volume).await.unwrap();
    (volume, loaded)
}

/// A store whose first slot was published this often, one row each time.
fn published(seed: u64, times: u64) -> SimDisk {
    let disk = disk(seed);
    run(seed, &disk, move |shard| async move {
        Volume::create(&shard, &config()).await.unwrap();
        let (volume, loaded) = open(&shard).await;
        for lsn in 1..=times {
            let change = RowChange::Put(tablet_row(0, lsn));
            loaded.table.publish(&shard, &volume, &[change]).await.unwrap();
        }
    });
    disk.power_cut();
    disk
}

/// What opening finds: the merge LSNs in force and of the other copies, and the damage.
#[derive(Debug, PartialEq)]
struct Found {
    lsns: Vec<u64>,
    older: Vec<u64>,
    damaged: Vec<(u32, RootCopy, bool)>,
    uneven: Vec<u32>,
}

fn lsns<'a>(rows: impl IntoIterator<Item = &'a RootRow>) -> Vec<u64> {
    let lsn = |row: &RootRow| match row {
        RootRow::Tablet(row) => row.merge_lsn.as_u64(),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(lsn).collect()
}

fn look(disk: &SimDisk) -> Result<Found, String> {
    run(99, disk, |shard| async move {
        let volume = Volume::open(&shard, config()).await.unwrap();
        let loaded = RootTable::load(&shard, &volume).await;
        let loaded = loaded.map_err(|error| OpenError::from(error).to_string())?;
        Ok(Found {
            lsns: lsns(&loaded.rows),
            older: lsns(loaded.older.iter().flat_map(|older| &older.rows)),
            damaged: loaded.damaged.iter().map(|d| (d.slot, d.copy, d.was_in_force)).collect(),
            uneven: loaded.uneven,
        })
    })
}

fn offset(slot: u32, copy: RootCopy) -> u64 {
    RootPlace { slot, copy }.offset_bytes()
}

fn garble(disk: &SimDisk, slot: u32, copy: RootCopy) {
    disk.corrupt(PATH, offset(slot, copy) + 100, Corruption::Garbage { len_bytes: 50 });
}

fn blank(disk: &SimDisk, slot: u32, copy: RootCopy) {
    disk.corrupt(PATH, offset(slot, copy), Corruption::Zeroes { len_bytes: 4096 });
}

#[test]
fn slot_with_one_damaged_copy_falls_back_to_the_other_and_says_so() {
    let first = published(1, 1);
    let even = Found { lsns: vec![1], older: vec![1], damaged: vec![], uneven: vec![] };
    assert_eq!(look(&first).unwrap(), even, "a new row is in both copies at once");

    let disk = published(2, 3);
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.older), (vec![3], vec![2]));
    // Generations: A 1 and B 2 for the first, A 3, B 4.
    garble(&disk, 0, RootCopy::B);
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.older), (vec![2], vec![]));
    assert_eq!(found.damaged, [(0, RootCopy::B, true)]);

    let disk = published(3, 3);
    garble(&disk, 0, RootCopy::A);
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.older), (vec![3], vec![]));
    assert_eq!(found.damaged, [(0, RootCopy::A, true)]);
}

#[test]
fn slot_with_both_copies_damaged_is_an_error_that_names_both_places() {
    for damage in [garble, blank] {
        let disk = published(4, 3);
        garble(&disk, 0, RootCopy::B);
        damage(&disk, 0, RootCopy::A);
        let error = look(&disk).unwrap_err();
        for part in [PATH, "root slot 0", "copy A at byte 0:", "copy B at byte 1048576: checksum"] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn slot_whose_copy_was_zeroed_falls_back_to_the_other() {
    for copy in RootCopy::BOTH {
        let disk = published(5, 4);
        blank(&disk, 0, copy);
        let found = look(&disk).unwrap();
        assert_eq!(found.damaged, [(0, copy, true)]);
        assert_eq!(found.lsns, [if copy == RootCopy::A { 3 } else { 4 }]);
    }
}

#[test]
fn slot_that_was_never_written_and_has_a_rotten_bit_is_told_of_and_can_be_written() {
    for copy in RootCopy::BOTH {
        let disk = published(17, 1);
        disk.corrupt(PATH, offset(9, copy) + 1_000, Corruption::FlipBit { bit: 6 });
        let found = look(&disk).unwrap();
        assert_eq!((found.lsns, found.damaged), (vec![1], vec![(9, copy, true)]));
        // Whole bytes of something are no rotten zeros: the slot may have held rows.
        disk.corrupt(PATH, offset(9, RootCopy::B) + 1_000, Corruption::Bytes(vec![255; 2]));
        let found = look(&disk).map(|found| found.damaged);
        assert!(found.clone().is_err_and(|error| error.contains("slot 9")), "{found:?}");
    }
}

#[test]
fn torn_first_write_leaves_an_empty_slot_that_can_be_written() {
    let disk = published(6, 1);
    garble(&disk, 0, RootCopy::A);
    blank(&disk, 0, RootCopy::B);
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.damaged), (vec![], vec![(0, RootCopy::A, false)]));
    run(6, &disk, |shard| async move {
        let (volume, loaded) = open(&shard).await;
        let change = RowChange::Put(tablet_row(0, 9));
        loaded.table.publish(&shard, &volume, &[change]).await.unwrap();
    });
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.damaged), (vec![9], vec![]));
}

#[test]
fn slot_written_once_holds_the_floor_until_its_twin_is_written() {
    let disk = published(7, 1);
    blank(&disk, 0, RootCopy::B);
    let found = look(&disk).unwrap();
    assert_eq!((found.lsns, found.uneven, found.damaged), (vec![1], vec![0], vec![]));
    run(7, &disk, |shard| async move {
        let (volume, loaded) = open(&shard).await;
        let floor = loaded.table.floor();
        assert_eq!((floor.merge_lsn, floor.holder), (Lsn::ZERO, FloorHolder::UnevenSlot(0)));
        assert_eq!(loaded.table.durable_generation(0), 0);
        loaded.table.advance_twins(&shard, &volume).await.unwrap();
        assert_eq!(loaded.table.floor().merge_lsn, Lsn::new(1));
        assert_eq!(loaded.table.durable_generation(0), 1);
    });
    assert_eq!(look(&disk).unwrap().uneven, []);
}

#[test]
fn copy_whose_write_the_device_lost_is_not_believed() {
    // Copy A is written first, so A holds the even merge LSNs.
    for (lost, copy) in [(2, RootCopy::A), (3, RootCopy::B)] {
        let disk = published(8, 1);
        run(8, &disk, {
            let disk = disk.clone();
            move |shard| async move {
                let (volume, loaded) = open(&shard).await;
                for lsn in 2..=lost + 1 {
                    if lsn == lost {
                        disk.plan(DiskOp::Write, None, 1, Fault::LostWrite);
                    }
                    let change = RowChange::Put(tablet_row(0, lsn));
                    loaded.table.publish(&shard, &volume, &[change]).await.unwrap();
                }
            }
        });
        let found = look(&disk).unwrap();
        assert_eq!((found.lsns, found.older), (vec![lost + 1], vec![]));
        assert_eq!(found.damaged, [(0, copy, true)], "two generations behind the other");
        let reason =
            run(9, &disk, |shard| async move { open(&shard).await.1.damaged.remove(0).reason });
        let (expected, found) = (lost + 1, lost - 1);
        let told = format!("generation: expected {expected}, found {found}: a lost write");
        assert_eq!(reason, told);
    }
}

#[test]
fn what_opening_found_after_a_kill_survives_the_next_power_cut() {
    let mut advanced = 0;
    for seed in 0..100 {
        let disk = published(seed, 1);
        let mut killed = world(seed, &disk);
        spawn(&killed, 0, |shard| async move {
            let (volume, loaded) = open(&shard).await;
            for lsn in 2.. {
                let change = RowChange::Put(tablet_row(0, lsn));
                loaded.table.publish(&shard, &volume, &[change]).await.unwrap();
            }
        });
        killed.run(5 + seed, || false);
        killed.kill();
        let found = look(&disk).unwrap();
        disk.power_cut();
        assert_eq!(look(&disk).unwrap().lsns, found.lsns, "seed {seed}");
        advanced += u64::from(found.lsns[0] > 1);
    }
    assert!(advanced > 20, "only {advanced} kills came after a write");
}

#[test]
fn copy_of_a_newer_format_refuses_the_table() {
    let disk = published(9, 3);
    let bytes = disk.read_file(PATH).unwrap();
    let mut page = bytes[..ROOT_PAGE_BYTES].to_vec();
    page[8] = 2;
    let crc = crc32c_with_field_zeroed(&page, 12);
    page[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.corrupt(PATH, 0, Corruption::Bytes(page));
    let error = look(&disk).unwrap_err();
    assert!(error.contains("slot 0, copy A: root page of format version 2"), "{error}");
    assert!(!error.contains("salvage"), "a newer build reads it: {error}");
}

#[test]
fn row_in_two_slots_refuses_the_table() {
    let disk = published(10, 1);
    let place = RootPlace { slot: 3, copy: RootCopy::A };
    let page = RootPage { generation: 1, rows: vec![tablet_row(0, 1)] }.encode(STORE, place);
    disk.corrupt(PATH, place.offset_bytes(), Corruption::Bytes(page.to_vec()));
    let error = look(&disk).unwrap_err();
    assert!(error.contains("found in slots 0 and 3"), "{error}");
}

#[test]
fn publication_costs_one_write_a_slot_and_one_flush_twice_for_new_rows() {
    let disk = published(11, 1);
    run(11, &disk, {
        let disk = disk.clone();
        move |shard| async move {
            let (volume, loaded) = open(&shard).await;
            let before = disk.counters();
            let added = [RowChange::Put(tablet_row(900, 2)), RowChange::Put(tablet_row(0, 2))];
            let written = loaded.table.publish(&shard, &volume, &added).await.unwrap();
            let after = disk.counters();
            assert_eq!(written.len(), 1, "both rows fit slot 0");
            assert_eq!((after.writes - before.writes, after.flushes - before.flushes), (2, 2));
            assert!(loaded.table.is_in_both(written[0]));
            let change = [RowChange::Put(tablet_row(0, 3))];
            let written = loaded.table.publish(&shard, &volume, &change).await.unwrap();
            let last = disk.counters();
            assert_eq!((last.writes - after.writes, last.flushes - after.flushes), (1, 1));
            assert!(!loaded.table.is_in_both(written[0]));
            assert!(loaded.table.publish(&shard, &volume, &[]).await.unwrap().is_empty());
            assert_eq!(disk.counters(), last, "nothing to do, nothing done");
            assert_eq!(loaded.table.writes_total(), 3, "since the store was opened");
            let of = |index| loaded.table.row(table_key(1, index)).unwrap();
            assert_eq!([of(0), of(900)], [tablet_row(0, 3), tablet_row(900, 2)]);
            let tablets = [0, 900].map(|index| TabletId { keyspace: KeyspaceId::new(1), index });
            assert_eq!(loaded.table.orphans(), tablets, "their keyspace has no row");
        }
    });
}

#[test]
fn floor_is_the_lowest_of_both_copies_and_rises_with_the_twin() {
    let disk = published(12, 1);
    run(12, &disk, |shard| async move {
        let (volume, loaded) = open(&shard).await;
        let table = loaded.table;
        let catalog = |lsn| {
            let (last_keyspace, catalog_lsn) = (KeyspaceId::new(1), Lsn::new(lsn));
            RowChange::Put(RootRow::Catalog(CatalogRow { last_keyspace, catalog_lsn }))
        };
        let first = [catalog(4), RowChange::Put(tablet_row(5, 40))];
        table.publish(&shard, &volume, &first).await.unwrap();
        let tablet = |index| FloorHolder::Tablet(TabletId { keyspace: KeyspaceId::new(1), index });
        let floor = |table: &RootTable| {
            let floor = table.floor();
            (floor.merge_lsn.as_u64(), floor.holder, floor.catalog_lsn.as_u64())
        };
        assert_eq!(floor(&table), (1, tablet(0), 4));
        let next = [catalog(8), RowChange::Put(tablet_row(0, 50))];
        let written = table.publish(&shard, &volume, &next).await.unwrap();
        assert_eq!(floor(&table), (1, tablet(0), 4), "the twin still says so");
        assert!(table.has_differing_twins() && !table.is_in_both(written[0]));
        assert_eq!(table.advance_twins(&shard, &volume).await.unwrap().len(), 1);
        assert_eq!(floor(&table), (40, tablet(5), 8));
        assert!(!table.has_differing_twins() && table.is_in_both(written[0]));
        assert!(table.advance_twins(&shard, &volume).await.unwrap().is_empty());
        let removed = [0, 5].map(|index| {
            RowChange::Remove(RowKey::Tablet(TabletId { keyspace: KeyspaceId::new(1), index }))
        });
        table.publish(&shard, &volume, &removed).await.unwrap();
        assert_eq!(floor(&table), (u64::MAX, FloorHolder::Nothing, 8));
    });
}

#[test]
fn full_table_refuses_a_row_and_goes_on() {
    let disk = published(13, 0);
    run(13, &disk, |shard| async move {
        let (volume, loaded) = open(&shard).await;
        let table = loaded.table;
        let row = |keyspace: u32, tablet: u32, lsn| {
            let RootRow::Tablet(row) = tablet_row(999, lsn) else { unreachable!() };
            let id = TabletId { keyspace: KeyspaceId::new(keyspace), index: tablet };
            RowChange::Put(RootRow::Tablet(TabletRow { id, ..row }))
        };
        // Three rows of 1079 bytes fit one page.
        let fitting: Vec<_> = (0..3 * ROOT_SLOTS).map(|tablet| row(1, tablet, 1)).collect();
        let written = table.publish(&shard, &volume, &fitting).await.unwrap();
        assert_eq!(written.len(), ROOT_SLOTS as usize);
        let RowChange::Put(more) = row(2, 0, 1) else { unreachable!() };
        assert!(!table.has_room_for(&[more]));
        let refused = table.publish(&shard, &volume, &[row(2, 0, 1)]).await.unwrap_err();
        assert!(matches!(refused, RootPublishError::Full { needed: 1079, .. }), "{refused}");
        table.publish(&shard, &volume, &[row(1, 767, 2)]).await.unwrap();
        let swap = [RowChange::Remove(table_key(1, 4)), row(2, 0, 1)];
        table.publish(&shard, &volume, &swap).await.unwrap();
        assert_eq!(table.slot_of(table_key(2, 0)), Some(1), "the room of the row that went");
        assert_eq!(table.row(table_key(1, 4)), None);
    });
}

#[test]
fn rows_that_have_room_are_published_one_by_one_in_any_order() {
    let (mut refused, mut filled) = (0, 0);
    for seed in 0..24_u64 {
        let disk = published(seed, 0);
        let (over, bytes) = run(seed, &disk, move |shard| async move {
            let (volume, loaded) = open(&shard).await;
            let table = loaded.table;
            let mut draw = seed;
            let mut below = |most: u64| {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (draw >> 33) % most
            };
            let mut rows = Vec::new();
            let row = |index: u32, boundary_bytes: u64| {
                let RootRow::Tablet(row) = tablet_row(0, 1) else { unreachable!() };
                let id =
                    TabletId { keyspace: KeyspaceId::new(1 + index / 1_024), index: index % 1_024 };
                let lower_boundary = vec![7; boundary_bytes as usize];
                RootRow::Tablet(TabletRow { id, lower_boundary, ..row })
            };
            let longest = 200 + below(832);
            loop {
                rows.push(row(rows.len() as u32, below(longest)));
                if !table.has_room_for(&rows) {
                    rows.pop();
                    break;
                }
            }
            let bytes = rows.iter().map(RootRow::size_bytes).sum::<usize>();
            while !rows.is_empty() {
                let row = rows.swap_remove(below(rows.len() as u64) as usize);
                let fits = table.publish(&shard, &volume, &[RowChange::Put(row)]).await;
                fits.expect("it had room beside all others");
            }
            // The negative control: far beyond what had room, something is refused.
            let more = (0..4 * ROOT_SLOTS).map(|index| RowChange::Put(row(99_999 + index, 1_032)));
            let more: Vec<_> = more.collect();
            (table.publish(&shard, &volume, &more).await.is_err(), bytes)
        });
        refused += usize::from(over);
        filled += bytes;
    }
    assert_eq!(refused, 24);
    assert!(filled > 24 * 700_000, "most of the table is used: {filled}");
}

fn table_key(keyspace: u32, index: u32) -> RowKey {
    RowKey::Tablet(TabletId { keyspace: KeyspaceId::new(keyspace), index })
}

#[test]
fn failed_publication_is_an_error_and_moves_neither_floor_nor_releases() {
    for on in [DiskOp::Write, DiskOp::Flush] {
        let disk = published(14, 2);
        run(14, &disk, {
            let disk = disk.clone();
            move |shard| async move {
                let (volume, loaded) = open(&shard).await;
                let table = loaded.table;
                let (floor, generation) = (table.floor(), table.durable_generation(0));
                disk.fail_next(on, 1, EIO);
                let change = [RowChange::Put(tablet_row(0, 3))];
                let error = table.publish(&shard, &volume, &change).await.unwrap_err();
                assert!(matches!(error, RootPublishError::Write(_)), "{error}");
                assert!(error.to_string().contains(PATH), "{error}");
                assert_eq!((table.floor(), table.durable_generation(0)), (floor, generation));
            }
        });
        disk.power_cut();
        let found = look(&disk).unwrap();
        assert!([2, 3].contains(&found.lsns[0]), "{found:?}");
    }
}

#[test]
#[should_panic(expected = "shard 0 panicked")]
fn nothing_is_published_after_a_failure() {
    let disk = published(15, 1);
    disk.fail_next(DiskOp::Write, 1, EIO);
    run(15, &disk, |shard| async move {
        let (volume, loaded) = open(&shard).await;
        let change = [RowChange::Put(tablet_row(0, 2))];
        drop(loaded.table.publish(&shard, &volume, &change).await);
        drop(loaded.table.publish(&shard, &volume, &change).await);
    });
}

/// Writes a root page of version `lsn` and the map, makes them durable and publishes.
pub(crate) async fn merge(
    shard: &Shard,
    (volume, table): (&Volume, &RootTable),
    allocator: &mut PageAllocator,
    lsn: u64,
) -> (crate::volume::SlotGeneration, PageAddr, Vec<PageAddr>) {
    let root = allocator.alloc().unwrap();
    let (reference, page) = leaf(root, lsn);
    let map = allocator.encode_map(OWNER, Lsn::new(lsn)).unwrap();
    volume.write_page_list(shard, &[(root, page)], IoClass::Merge).await.unwrap();
    volume.write_page_list(shard, &map.pages, IoClass::Merge).await.unwrap();
    volume.barrier(shard).await.unwrap();
    let row = TabletRow {
        id: OWNER.tablet,
        lower_boundary: Vec::new(),
        merge_lsn: Lsn::new(lsn),
        tree_lsn: Lsn::new(lsn),
        root: Some(reference),
        root_level: 0,
        row_count: 1,
        space: Some(map.space),
    };
    let change = RowChange::Put(RootRow::Tablet(row));
    let written = table.publish(shard, volume, &[change]).await.unwrap();
    (written[0], root, map.replaced)
}

/// Two merges: the second one's twin needs the first one's pages.
pub(crate) fn merged_twice(seed: u64) -> SimDisk {
    let disk = disk(seed);
    run(seed, &disk, |shard| async move {
        Volume::create(&shard, &config()).await.unwrap();
        let (volume, loaded) = open(&shard).await;
        let table = &loaded.table;
        volume.want();
        let (keeper, on_shard) = (std::rc::Rc::new(volume), shard.clone());
        let volume = std::rc::Rc::clone(&keeper);
        let spec = sombra_runtime::TaskSpec::new("keeper", sombra_runtime::TaskClass::Maintenance);
        shard.spawn(spec, async move { keeper.keep(&on_shard, || ()).await });
        let extents = loop {
            match volume.take_extents(2, false) {
                Some(extents) => break extents,
                None => shard.sleep(std::time::Duration::from_micros(100)).await,
            }
        };
        let mut allocator = PageAllocator::new(4096);
        allocator.add_extents(&extents);
        let (first, root, _) = merge(&shard, (&volume, table), &mut allocator, 1).await;
        assert!(table.is_in_both(first), "a new row is in both copies at once");
        allocator.obsolete(root, 1);
        let (second, _, replaced) = merge(&shard, (&volume, table), &mut allocator, 2).await;
        assert!(!table.is_in_both(second), "the twin needs what the second made obsolete");
        assert_eq!(replaced.len(), 1);
    });
    disk.power_cut();
    disk
}

/// Opens as recovery does: every map read, every root page verified, both copies pinned.
async fn recover(shard: &Shard) -> (u64, PageAllocator, Volume, LoadedRoots) {
    let (volume, loaded) = open(shard).await;
    let tablets = |rows: &[RootRow]| -> Vec<TabletRow> {
        let tablet = |row: &RootRow| match row {
            RootRow::Tablet(row) => row.clone(),
            other => panic!("{other:?}"),
        };
        rows.iter().map(tablet).collect()
    };
    let [row] = &tablets(&loaded.rows)[..] else { panic!("one tablet") };
    let root = row.root.unwrap();
    volume.read_page(shard, root, &OWNER, IoClass::Read).await.unwrap();
    let map = volume.read_space_map(shard, OWNER, &row.space.unwrap()).await.unwrap();
    let mut allocator = PageAllocator::load(4096, &map);
    for older in &loaded.older {
        for row in tablets(&older.rows) {
            let root = row.root.unwrap();
            volume.read_page(shard, root, &OWNER, IoClass::Read).await.unwrap();
            let map = volume.read_space_map(shard, OWNER, &row.space.unwrap()).await.unwrap();
            let pinned = allocator.pin_map(&map);
            assert_eq!(pinned.iter().map(|run| run.pages).sum::<u32>(), 2, "root and map");
        }
    }
    volume.mark_owned(allocator.extents()).unwrap();
    (row.merge_lsn.as_u64(), allocator, volume, loaded)
}

#[test]
fn rotten_newest_copy_falls_back_to_the_twin_whose_pages_were_kept() {
    let disk = merged_twice(20);
    let (lsn, pinned) = run(20, &disk, |shard| async move {
        let (lsn, allocator, _, _) = recover(&shard).await;
        (lsn, allocator.held_pages() - allocator.live_pages())
    });
    assert_eq!((lsn, pinned), (2, 2));
    garble(&disk, 0, RootCopy::A);
    let (lsn, damaged) = run(21, &disk, |shard| async move {
        let (lsn, allocator, volume, loaded) = recover(&shard).await;
        assert_eq!(allocator.held_pages(), allocator.live_pages(), "nothing older is left");
        // The twin is written again over the damage before anything else goes on.
        loaded.table.advance_twins(&shard, &volume).await.unwrap();
        (lsn, loaded.damaged)
    });
    assert_eq!((lsn, damaged.len(), damaged[0].copy), (1, 1, RootCopy::A));
    assert!(look(&disk).unwrap().damaged.is_empty(), "mended");
}

#[test]
fn pages_of_the_twin_are_released_only_when_both_copies_have_moved_on() {
    let disk = merged_twice(22);
    run(22, &disk, |shard| async move {
        let (_, mut allocator, volume, loaded) = recover(&shard).await;
        let [older] = &loaded.older[..] else { panic!("one slot") };
        assert!(!loaded.table.is_in_both(older.until));
        loaded.table.advance_twins(&shard, &volume).await.unwrap();
        assert!(loaded.table.is_in_both(older.until));
        let map = {
            let RootRow::Tablet(row) = &older.rows[0] else { panic!("a tablet") };
            volume.read_space_map(&shard, OWNER, &row.space.unwrap()).await.unwrap()
        };
        let held = allocator.held_pages();
        for entry in map.entries {
            for place in 0..64 {
                let page = PageAddr::new(u64::from(entry.extent) * 64 + place);
                if entry.live >> place & 1 == 1 && !allocator.is_live(page) {
                    allocator.release(page, 1);
                }
            }
        }
        assert_eq!(allocator.held_pages(), held - 2);
    });
}
