//! Bytes that change at rest: a rotten newest root copy costs a longer replay and nothing else;
//! a rotten data page is an error on the keys below it, never wrong data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sombra::format::root_table::{ROOT_COPY_BYTES, RootCopy, RootPage, RootPlace};
use sombra::{CommitError, Db, KeyRange, Keyspace, ReadError, StoreId};
use sombra_runtime::sim::Corruption;

use super::opening::STORE_DIR;
use super::run::{Failed, Run};
use crate::limits;
use crate::model::{Found, Observation, Stamp, TxnId, decode, encode, key_bytes, key_index};
use crate::random::Random;

/// What the tolerant comparison counts.
#[derive(Clone, Copy, Default)]
struct Seen {
    damaged_reads: u64,
}

impl Run {
    fn data_path() -> String {
        format!("{STORE_DIR}/pages.sombra")
    }

    /// Damages the newest copy of a few root slots whose other copy is whole.
    pub(super) fn rot_roots(&mut self) -> Result<(), Failed> {
        if self.report.reopens == 0 || self.flush_suppressed {
            return Ok(());
        }
        if !self.random.percent(self.swarm.rot_percent) {
            return Ok(());
        }
        let store_id = self.inspect()?.store_id;
        let Some(bytes) = self.disk.read_file(Self::data_path()) else { return Ok(()) };
        let mut candidates: Vec<RootPlace> = (0..sombra::limits::ROOT_SLOTS)
            .filter_map(|slot| newest_of_two(&bytes, store_id, slot))
            .collect();
        for _ in 0..limits::ROTTEN_ROOTS_MAX.min(candidates.len()) {
            let at = self.random.below(candidates.len() as u64) as usize;
            let place = candidates.swap_remove(at);
            let offset = place.offset_bytes() + self.random.below(200);
            let bit = self.random.below(8) as u8;
            self.disk.corrupt(Self::data_path(), offset, Corruption::FlipBit { bit });
            self.report.trees.rotten_roots += 1;
        }
        self.check()
    }

    /// The end of some seeds: pages of the closed store rot, and it is opened again, twice.
    pub(super) fn rot_pages(&mut self) -> Result<(), Failed> {
        if self.flush_suppressed || !self.random.percent(self.swarm.rot_percent) {
            return Ok(());
        }
        let page_bytes = u64::from(self.inspect()?.page_size_bytes);
        self.damage_pages(page_bytes);
        let problems = self.inspect()?.problems.len();
        let shown = std::mem::take(&mut self.shown);
        let written = Arc::new(Mutex::new(BTreeMap::new()));
        let mut seen = Seen::default();
        for number in 0..2 {
            let looked = self.look_at_rot(&shown, &written, number);
            let looked = looked.map_err(|error| format!("rot, opening {number}: {error}"))?;
            seen.damaged_reads += looked.damaged_reads;
        }
        self.report.trees.damaged_reads += seen.damaged_reads;
        if seen.damaged_reads > 0 && problems == 0 {
            return Err("reads met damage, and the checker had found none".to_owned());
        }
        Ok(())
    }

    fn damage_pages(&mut self, page_bytes: u64) {
        let Some(bytes) = self.disk.read_file(Self::data_path()) else { return };
        let first = 2 * ROOT_COPY_BYTES / page_bytes;
        let is_used = |page: &u64| {
            let at = (page * page_bytes) as usize;
            bytes[at..at + page_bytes as usize].iter().any(|byte| *byte != 0)
        };
        let mut used: Vec<u64> = (first..bytes.len() as u64 / page_bytes).filter(is_used).collect();
        let count = self.random.scale(1, limits::ROTTEN_PAGES_MAX).min(used.len() as u64);
        for _ in 0..count {
            let page = used.swap_remove(self.random.below(used.len() as u64) as usize);
            let offset = page * page_bytes + self.random.below(page_bytes - 64);
            let damage = match self.random.below(3) {
                0 => Corruption::FlipBit { bit: self.random.below(8) as u8 },
                1 => Corruption::Garbage { len_bytes: self.random.between(1, 64) },
                _ => Corruption::Zeroes { len_bytes: self.random.between(1, 64) },
            };
            self.disk.corrupt(Self::data_path(), offset, damage);
            self.report.trees.rotten_pages += 1;
        }
    }

    /// Opens, compares every key with what was shown before, writes, and closes.
    fn look_at_rot(
        &mut self,
        shown: &Observation,
        written: &Arc<Mutex<BTreeMap<(String, u32), Stamp>>>,
        number: u32,
    ) -> Result<Seen, Failed> {
        let (mut world, _) = self.world();
        let answer = Arc::new(Mutex::new(None));
        let look = Look {
            runtime: world.runtime(),
            options: self.options.clone(),
            keys: self.swarm.mix.keys,
            shown: shown.clone(),
            written: Arc::clone(written),
            random: self.random.fork(u64::from(number)),
            life: self.life,
        };
        let slot = Arc::clone(&answer);
        world.spawn_client("rot", async move {
            let outcome = look.run().await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        let is_there = || answer.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let end = world.run(limits::STEPS_OPEN_MAX, is_there);
        let described = world.describe();
        self.fold_world(&world);
        let outcome = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        world.kill();
        outcome.ok_or_else(|| format!("hangs ({end:?}): {described}"))?
    }
}

/// The place of the newest copy, if both copies are whole and follow each other.
fn newest_of_two(bytes: &[u8], store_id: StoreId, slot: u32) -> Option<RootPlace> {
    let generation = |copy: RootCopy| {
        let place = RootPlace { slot, copy };
        let at = place.offset_bytes() as usize;
        let page = RootPage::decode(bytes.get(at..at + 4096)?, store_id, place).ok()??;
        Some(page.generation)
    };
    let (a, b) = (generation(RootCopy::A)?, generation(RootCopy::B)?);
    let copy = if a > b { RootCopy::A } else { RootCopy::B };
    (a.abs_diff(b) == 1).then_some(RootPlace { slot, copy })
}

/// One opening of a store with rotten pages.
struct Look {
    runtime: sombra_runtime::Runtime,
    options: sombra::Options,
    keys: u32,
    shown: Observation,
    written: Arc<Mutex<BTreeMap<(String, u32), Stamp>>>,
    random: Random,
    life: u32,
}

impl Look {
    async fn run(mut self) -> Result<Seen, Failed> {
        let opened = Db::open(&self.runtime, STORE_DIR, self.options.clone()).await;
        let db = opened.map_err(|error| format!("open: {error}"))?;
        let mut seen = Seen::default();
        let names: BTreeSet<String> =
            db.keyspaces().iter().map(|keyspace| keyspace.name().to_owned()).collect();
        if !names.iter().eq(self.shown.spaces.keys()) {
            return Err(format!("keyspaces: {names:?}, before {:?}", self.shown.spaces.keys()));
        }
        for keyspace in db.keyspaces() {
            self.compare(&db, &keyspace, &mut seen).await?;
        }
        self.write(&db, &mut seen).await?;
        for keyspace in db.keyspaces() {
            self.compare(&db, &keyspace, &mut seen).await?;
        }
        db.close().await.map_err(|error| format!("close: {error}"))?;
        Ok(seen)
    }

    /// What `keyspace` must show.
    fn expected(&self, keyspace: &Keyspace) -> BTreeMap<u32, Found> {
        let mut expected = self.shown.spaces.get(keyspace.name()).cloned().unwrap_or_default();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for ((name, index), stamp) in written.iter() {
            if name == keyspace.name() {
                expected.insert(*index, Found::Value(*stamp));
            }
        }
        expected
    }

    async fn compare(&self, db: &Db, keyspace: &Keyspace, seen: &mut Seen) -> Result<(), Failed> {
        let expected = self.expected(keyspace);
        let name = keyspace.name();
        let view = db.snapshot().map_err(|error| format!("snapshot: {error}"))?;
        for index in 0..self.keys {
            let read = view.get(keyspace, key_bytes(index)).await;
            let Some(value) = tolerate(read, seen)? else { continue };
            let found = value.map_or(Found::Absent, |bytes| decode(&bytes));
            let before = expected.get(&index).copied().unwrap_or(Found::Absent);
            if found != before {
                return Err(format!("{name:?} key {index}: {found:?}, expected {before:?}"));
            }
        }
        for scan in
            [view.scan(keyspace, KeyRange::all()), view.scan_reverse(keyspace, KeyRange::all())]
        {
            let Some(rows) = tolerate(scan.collect().await, seen)? else { continue };
            let rows =
                rows.iter().filter_map(|(key, value)| Some((key_index(key)?, decode(value))));
            if rows.collect::<BTreeMap<u32, Found>>() != expected {
                return Err(format!("{name:?}: a scan without an error shows something else"));
            }
        }
        Ok(())
    }

    /// Keys that are not below damage go on being written.
    async fn write(&mut self, db: &Db, seen: &mut Seen) -> Result<(), Failed> {
        let keyspaces = db.keyspaces();
        for number in 0..limits::WRITES_AFTER_ROT {
            let keyspace = self.random.pick(&keyspaces).clone();
            let index = self.random.below(u64::from(self.keys)) as u32;
            let len = self.random.between(24, 8_000) as u32;
            let txn = TxnId::new(self.life, u16::MAX, number);
            let stamp = Stamp { txn, index: 0, count: 1, len };
            match db.put(&keyspace, key_bytes(index), encode(stamp)).await {
                Ok(_) => {
                    let key = (keyspace.name().to_owned(), index);
                    let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    written.insert(key, stamp);
                }
                Err(CommitError::Damaged { .. }) => seen.damaged_reads += 1,
                Err(CommitError::DiskFull { .. }) => {}
                Err(error) => return Err(format!("write beside damage: {error}")),
            }
        }
        Ok(())
    }
}

/// `None`: the read was refused because of damage, which it named.
fn tolerate<T>(read: Result<T, ReadError>, seen: &mut Seen) -> Result<Option<T>, Failed> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Damaged { .. }) => {
            seen.damaged_reads += 1;
            Ok(None)
        }
        Err(error) => Err(format!("read beside damage: {error}")),
    }
}
