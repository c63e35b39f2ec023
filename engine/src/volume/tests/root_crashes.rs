//! Lives of one root table that end by power cuts and kills at any moment, with a newest copy
//! rotting now and then. What a publication, the floor or a release has promised must hold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sombra_runtime::sim::{Corruption, SimDisk};
use sombra_runtime::{Shard, TaskClass, TaskSpec};

use super::world::{self, PATH, STORE, config, tablet_row};
use crate::format::root_table::{ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, RowKey};
use crate::ids::{Lsn, TabletId};
use crate::limits::ROOT_SLOTS;
use crate::volume::{LoadedRoots, RootTable, RowChange, SlotGeneration, Volume};

const TABLETS: u32 = 12;

/// Spread so that boundaries have many lengths and the rows several slots.
fn tablet_index(tablet: u32) -> u32 {
    tablet * 83
}

fn row_key(tablet: u32) -> RowKey {
    let RootRow::Tablet(row) = tablet_row(tablet_index(tablet), 1) else { unreachable!() };
    RowKey::Tablet(row.id)
}

fn tablet_of(id: TabletId) -> u32 {
    id.index / 83
}

/// A tablet's merge LSN, or that it has no row.
type Value = Option<u64>;

fn values(rows: &[RootRow]) -> BTreeMap<u32, u64> {
    let tablets = rows.iter().map(|row| match row {
        RootRow::Tablet(row) => (tablet_of(row.id), row.merge_lsn.as_u64()),
        other => panic!("{other:?}"),
    });
    tablets.collect()
}

/// What the table has said by now, over all lives.
#[derive(Default)]
struct Promises {
    confirmed: BTreeMap<u32, u64>,
    /// Published but not yet returned from.
    attempted: Vec<(u32, Value)>,
    /// Everything that a truncated log has lost.
    floor: u64,
    /// What the tablet's root replaced is gone.
    released: BTreeMap<u32, u64>,
    /// Both copies hold the same set of rows, as far as returned calls tell.
    is_even: bool,
    next_lsn: u64,
    has_rotted: bool,
    violations: Vec<String>,
    publications: u64,
    fallbacks: u64,
    torn: u64,
    uneven: u64,
}

impl Promises {
    fn check(&mut self, loaded: &LoadedRoots) {
        let now = values(&loaded.rows);
        for tablet in 0..TABLETS {
            let (found, confirmed) = (now.get(&tablet), self.confirmed.get(&tablet));
            let was_attempted =
                self.attempted.iter().any(|&(at, value)| at == tablet && value.as_ref() == found);
            if !self.has_rotted && found != confirmed && !was_attempted {
                self.violations.push(format!(
                    "tablet {tablet}: {found:?} is neither {confirmed:?} nor tried since"
                ));
            }
            let was_reshaped = self
                .attempted
                .iter()
                .any(|&(at, value)| at == tablet && value.is_some() != confirmed.is_some());
            if self.is_even && !was_reshaped && found.is_some() != confirmed.is_some() {
                self.violations.push(format!("tablet {tablet}: {found:?}, was {confirmed:?}"));
            }
        }
        let older = loaded.older.iter().flat_map(|older| values(&older.rows));
        for (tablet, lsn) in now.iter().map(|(&tablet, &lsn)| (tablet, lsn)).chain(older) {
            if lsn < self.floor {
                self.violations.push(format!(
                    "tablet {tablet} at {lsn}: the log was truncated to {}",
                    self.floor
                ));
            }
            if self.released.get(&tablet).is_some_and(|&released| lsn < released) {
                self.violations.push(format!("tablet {tablet} at {lsn}: its pages are gone"));
            }
        }
        self.fallbacks += u64::from(self.has_rotted);
        self.torn += loaded.damaged.len() as u64;
        self.uneven += loaded.uneven.len() as u64;
        self.is_even &= loaded.uneven.is_empty();
        self.confirmed = now;
        self.attempted.clear();
        self.has_rotted = false;
    }

    /// What holds at this very moment, publication under way or not.
    fn look(&mut self, table: &RootTable, writes: &[(u32, u64, SlotGeneration)]) {
        let floor = table.floor().merge_lsn;
        if floor != Lsn::MAX {
            self.floor = self.floor.max(floor.as_u64());
        }
        for &(tablet, lsn, write) in writes {
            if table.is_in_both(write) {
                let released = self.released.entry(tablet).or_default();
                *released = lsn.max(*released);
            }
        }
    }
}

type Shared = Arc<Mutex<Promises>>;
type Writes = Rc<RefCell<Vec<(u32, u64, SlotGeneration)>>>;

async fn live(shard: Shard, promises: Shared) {
    let volume = Volume::open(&shard, config()).await.unwrap();
    let loaded = match RootTable::load(&shard, &volume).await {
        Ok(loaded) => loaded,
        Err(error) => {
            promises.lock().unwrap().violations.push(error.to_string());
            return;
        }
    };
    promises.lock().unwrap().check(&loaded);
    let table = Rc::new(loaded.table);
    table.advance_twins(&shard, &volume).await.unwrap();
    promises.lock().unwrap().is_even = true;
    let writes = Writes::default();
    start_watcher(&shard, &table, &writes, &promises);
    loop {
        publish_some(&shard, (&volume, &table), &writes, &promises).await;
        if shard.random_u64().is_multiple_of(4) {
            table.advance_twins(&shard, &volume).await.unwrap();
        }
    }
}

/// Others look at floor and releases while the publisher is anywhere in its work.
fn start_watcher(shard: &Shard, table: &Rc<RootTable>, writes: &Writes, promises: &Shared) {
    let (on_shard, table) = (shard.clone(), Rc::clone(table));
    let (writes, promises) = (Rc::clone(writes), Arc::clone(promises));
    shard.spawn(TaskSpec::new("watcher", TaskClass::Foreground), async move {
        loop {
            promises.lock().unwrap().look(&table, &writes.borrow());
            on_shard.sleep(Duration::from_micros(1 + on_shard.random_u64() % 60)).await;
        }
    });
}

async fn publish_some(
    shard: &Shard,
    (volume, table): (&Volume, &RootTable),
    writes: &Writes,
    promises: &Shared,
) {
    let changed: Vec<(u32, Value)> = {
        let mut promises = promises.lock().unwrap();
        let mut changed = BTreeMap::new();
        for _ in 0..1 + shard.random_u64() % 3 {
            promises.next_lsn += 1;
            let tablet = (shard.random_u64() % u64::from(TABLETS)) as u32;
            let is_removal = shard.random_u64().is_multiple_of(12);
            changed.insert(tablet, (!is_removal).then_some(promises.next_lsn));
        }
        promises.attempted.extend(changed.iter().map(|(&tablet, &value)| (tablet, value)));
        for (tablet, value) in &changed {
            if value.is_none() {
                promises.released.remove(tablet);
                writes.borrow_mut().retain(|(of, _, _)| of != tablet);
            }
        }
        changed.into_iter().collect()
    };
    let changes: Vec<RowChange> = changed
        .iter()
        .map(|&(tablet, value)| match value {
            Some(lsn) => RowChange::Put(tablet_row(tablet_index(tablet), lsn)),
            None => RowChange::Remove(row_key(tablet)),
        })
        .collect();
    let written = table.publish(shard, volume, &changes).await.unwrap();
    let mut promises = promises.lock().unwrap();
    for &(tablet, value) in &changed {
        match value {
            Some(lsn) => {
                let slot = table.slot_of(row_key(tablet)).unwrap();
                let write = written.iter().find(|write| write.slot == slot).unwrap();
                writes.borrow_mut().push((tablet, lsn, *write));
                promises.confirmed.insert(tablet, lsn);
            }
            None => drop(promises.confirmed.remove(&tablet)),
        }
    }
    promises.attempted.clear();
    promises.publications += 1;
    promises.look(table, &writes.borrow());
}

/// Damages the newest copy of a slot that has two.
fn rot_one(disk: &SimDisk, seed: u64) -> bool {
    let bytes = disk.read_file(PATH).unwrap();
    let generation = |slot, copy| {
        let place = RootPlace { slot, copy };
        let at = place.offset_bytes() as usize;
        let page = RootPage::decode(&bytes[at..at + ROOT_PAGE_BYTES], STORE, place);
        page.ok().flatten().map(|page| page.generation)
    };
    let whole = (0..ROOT_SLOTS).filter_map(|slot| {
        let (a, b) = (generation(slot, RootCopy::A)?, generation(slot, RootCopy::B)?);
        Some(RootPlace { slot, copy: if a > b { RootCopy::A } else { RootCopy::B } })
    });
    let whole: Vec<RootPlace> = whole.collect();
    let Some(place) = whole.get(seed as usize % whole.len().max(1)) else { return false };
    disk.corrupt(PATH, place.offset_bytes() + 33, Corruption::Garbage { len_bytes: 90 });
    true
}

/// A store's lives out of one seed.
fn lives(seed: u64, flush_suppressed: bool) -> Promises {
    let disk = world::disk(seed);
    world::run(seed, &disk, |shard| async move {
        Volume::create(&shard, &config()).await.unwrap();
    });
    disk.power_cut();
    disk.set_options(|options| options.flush_suppressed = flush_suppressed);
    let promises = Shared::default();
    let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut roll = move |below: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % below
    };
    for life in 0..8 {
        let mut world = world::world(seed * 100 + life, &disk);
        let shared = Arc::clone(&promises);
        world::spawn(&world, 0, move |shard| live(shard, shared));
        let steps = 20 + roll(if life % 2 == 0 { 300 } else { 3_000 });
        world.run(steps, || false);
        match roll(4) {
            0 => world.kill(),
            _ => world.power_cut(),
        }
        if roll(3) == 0 {
            promises.lock().unwrap().has_rotted |= rot_one(&disk, roll(1_000));
        }
    }
    std::mem::take(&mut promises.lock().unwrap())
}

#[test]
fn root_table_keeps_its_promises_through_crashes_at_any_moment_and_rotten_newest_copies() {
    let (mut publications, mut fallbacks, mut torn, mut uneven) = (0, 0, 0, 0);
    for seed in 0..120 {
        let end = lives(seed, false);
        assert!(end.violations.is_empty(), "seed {seed}: {:#?}", end.violations);
        publications += end.publications;
        fallbacks += end.fallbacks;
        torn += end.torn;
        uneven += end.uneven;
    }
    assert!(publications > 1_000, "{publications} publications");
    assert!(fallbacks > 50 && torn > 50 && uneven > 10, "{fallbacks}, {torn}, {uneven}");
}

#[test]
fn root_table_on_a_disk_that_ignores_flushes_breaks_its_promises() {
    let broken = (0..20).filter(|&seed| !lives(seed, true).violations.is_empty()).count();
    assert!(broken > 10, "only {broken} of 20 seeds noticed");
}
