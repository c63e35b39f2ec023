//! A look at a store that something may be wrong with: what it shows is what it should, or an
//! error that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sombra::inspect::CheckProblem;
use sombra::{CommitError, Db, KeyRange, Keyspace, OpenError, Options, ReadError};
use sombra_runtime::Runtime;
use sombra_runtime::sim::{DiskOp, Fault, SimDisk};

use super::opening::STORE_DIR;
use super::run::{Failed, Run};
use crate::limits;
use crate::machine::{self, Crash};
use crate::model::{Found, Observation, Stamp, TxnId, decode, encode, key_bytes, key_index};
use crate::random::Random;

/// A fault that waits for the store to be open.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) on: DiskOp,
    pub(super) path_part: &'static str,
    pub(super) nth: u64,
    pub(super) fault: Fault,
}

/// How a look goes.
#[derive(Clone)]
pub(super) struct Looking {
    pub(super) writes: u32,
    pub(super) plans: Vec<Plan>,
    /// Instead of being closed, the store is left alone for a while, then the power fails.
    pub(super) ends_by_cut: bool,
    pub(super) options: Option<Options>,
    /// Damage that was named before: reads may be refused for it and for nothing else. `None`:
    /// for any.
    pub(super) named: Option<Vec<CheckProblem>>,
}

impl Looking {
    /// Nothing goes wrong that has not already.
    pub(super) fn sober(writes: u32) -> Looking {
        Looking { writes, plans: Vec::new(), ends_by_cut: false, options: None, named: None }
    }

    /// Whether damage that was named costs a key, or any key if none is told.
    fn is_named(&self, keyspace: &str, key: Option<&[u8]>) -> bool {
        let Some(problems) = &self.named else { return true };
        let of_keyspace = problems.iter().filter(|problem| {
            let tablet = problem.tablet.as_ref();
            tablet.is_some_and(|t| t.keyspace == keyspace || t.keyspace.is_empty())
        });
        let costs = |problem: &CheckProblem| match (&problem.keys, key) {
            (Some(span), Some(key)) => span.contains(key),
            _ => true,
        };
        of_keyspace.into_iter().any(costs)
    }
}

/// What a look met.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) damaged_reads: u64,
    /// The opening was refused for damage: what it said.
    pub(super) refused: Option<String>,
    /// The store stopped and said so.
    pub(super) stopped: bool,
}

/// What the store must show, over several looks.
#[derive(Clone)]
pub(super) struct Expected {
    shown: Arc<Observation>,
    changed: Arc<Mutex<Changed>>,
}

#[derive(Default)]
struct Changed {
    /// What was written since; `None` where nobody knows whether it was.
    written: BTreeMap<(String, u32), Option<Stamp>>,
    number: u32,
}

impl Expected {
    pub(super) fn new(shown: Observation) -> Expected {
        Expected { shown: Arc::new(shown), changed: Arc::default() }
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn expect(&self, keyspace: &str, index: u32, stamp: Stamp) {
        self.changed().written.insert((keyspace.to_owned(), index), Some(stamp));
    }

    /// What `keyspace` must show, without the keys that nobody can know of.
    fn of(&self, keyspace: &str) -> (BTreeMap<u32, Found>, BTreeSet<u32>) {
        let mut rows = self.shown.spaces.get(keyspace).cloned().unwrap_or_default();
        let mut doubtful = BTreeSet::new();
        let changed = self.changed();
        for ((_, index), stamp) in changed.written.iter().filter(|((name, _), _)| name == keyspace)
        {
            match stamp {
                Some(stamp) => drop(rows.insert(*index, Found::Value(*stamp))),
                None => {
                    rows.remove(index);
                    doubtful.insert(*index);
                }
            }
        }
        (rows, doubtful)
    }
}

impl Run {
    /// What the closed store must show.
    pub(super) fn expected(&mut self) -> Expected {
        let shown = &mut self.shown;
        let new = || Expected::new(std::mem::take(shown));
        self.expected.get_or_insert_with(new).clone()
    }

    /// Opens, compares every key with what is expected, writes, compares again, and lets go.
    pub(super) fn look(&mut self, expected: &Expected, looking: Looking) -> Result<Seen, Failed> {
        let (mut world, _) = self.world();
        let ends_by_cut = looking.ends_by_cut;
        let look = Look {
            runtime: world.runtime(),
            options: looking.options.clone().unwrap_or_else(|| self.options.clone()),
            keys: self.swarm.mix.keys,
            expected: expected.clone(),
            random: self.random.fork(u64::from(self.life)),
            life: self.life,
            disk: self.disk.clone(),
            looking,
        };
        let outcome = machine::finish(&mut world, "look", look.run());
        if ends_by_cut {
            world.run(limits::STEPS_PER_LOOK, || false);
        }
        self.fold_world(&world);
        let crash = if ends_by_cut { Crash::PowerCut } else { Crash::Kill };
        crash.end(world, &self.disk);
        self.disk.clear_faults();
        let (seen, kept) = outcome??;
        drop(kept);
        Ok(seen)
    }
}

/// One opening of a store that may be damaged.
struct Look {
    runtime: Runtime,
    options: Options,
    keys: u32,
    expected: Expected,
    random: Random,
    life: u32,
    disk: SimDisk,
    looking: Looking,
}

impl Look {
    /// What was met, and the store if it is not to be closed.
    async fn run(mut self) -> Result<(Seen, Option<Db>), Failed> {
        let mut seen = Seen::default();
        let db = match Db::open(&self.runtime, STORE_DIR, self.options.clone()).await {
            Ok(db) => db,
            Err(error) if is_damage(&error) => {
                seen.refused = Some(format!("open: {error}"));
                return Ok((seen, None));
            }
            Err(error) => return Err(format!("open: {error}")),
        };
        for Plan { on, path_part, nth, fault } in self.looking.plans.clone() {
            self.disk.plan(on, Some(path_part), nth, fault);
        }
        let names: BTreeSet<String> =
            db.keyspaces().iter().map(|keyspace| keyspace.name().to_owned()).collect();
        if !names.iter().eq(self.expected.shown.spaces.keys()) {
            let before = self.expected.shown.spaces.keys();
            return Err(format!("keyspaces: {names:?}, before {before:?}"));
        }
        self.compare_all(&db, &mut seen).await?;
        self.write(&db, &mut seen).await?;
        self.compare_all(&db, &mut seen).await?;
        if self.looking.ends_by_cut {
            return Ok((seen, Some(db)));
        }
        match db.close().await {
            Err(error) if !seen.stopped => Err(format!("close: {error}")),
            _ => Ok((seen, None)),
        }
    }

    async fn compare_all(&self, db: &Db, seen: &mut Seen) -> Result<(), Failed> {
        for keyspace in db.keyspaces() {
            if seen.stopped {
                return Ok(());
            }
            self.compare(db, &keyspace, seen).await?;
        }
        Ok(())
    }

    async fn compare(&self, db: &Db, keyspace: &Keyspace, seen: &mut Seen) -> Result<(), Failed> {
        let name = keyspace.name();
        let (expected, doubtful) = self.expected.of(name);
        let view = db.snapshot().map_err(|error| format!("snapshot: {error}"))?;
        for index in (0..self.keys).filter(|index| !doubtful.contains(index)) {
            let read = view.get(keyspace, key_bytes(index)).await;
            let place = (name, Some(&key_bytes(index)[..]));
            let Some(value) = self.tolerate(read, place, seen)? else { continue };
            let found = value.map_or(Found::Absent, |bytes| decode(&bytes));
            let before = expected.get(&index).copied().unwrap_or(Found::Absent);
            if found != before {
                return Err(format!("{name:?} key {index}: {found:?}, expected {before:?}"));
            }
        }
        for scan in
            [view.scan(keyspace, KeyRange::all()), view.scan_reverse(keyspace, KeyRange::all())]
        {
            let read = scan.collect().await;
            let Some(rows) = self.tolerate(read, (name, None), seen)? else { continue };
            let rows =
                rows.iter().filter_map(|(key, value)| Some((key_index(key)?, decode(value))));
            let rows = rows.filter(|(index, _)| !doubtful.contains(index));
            if rows.collect::<BTreeMap<u32, Found>>() != expected {
                return Err(format!("{name:?}: a scan without an error shows something else"));
            }
        }
        Ok(())
    }

    /// Keys that are not below damage go on being written.
    async fn write(&mut self, db: &Db, seen: &mut Seen) -> Result<(), Failed> {
        let keyspaces = db.keyspaces();
        for _ in 0..self.looking.writes {
            if seen.stopped {
                return Ok(());
            }
            let keyspace = self.random.pick(&keyspaces).clone();
            let index = self.random.below(u64::from(self.keys)) as u32;
            let len = self.random.between(24, 8_000) as u32;
            let number = {
                let mut changed = self.expected.changed();
                changed.number += 1;
                changed.number
            };
            let txn = TxnId::new(self.life, u16::MAX, number);
            let stamp = Stamp { txn, index: 0, count: 1, len };
            let answer = db.put(&keyspace, key_bytes(index), encode(stamp)).await;
            self.note(answer.map(|_lsn| stamp), (keyspace.name(), index), seen)?;
        }
        Ok(())
    }

    fn note(
        &self,
        answer: Result<Stamp, CommitError>,
        (name, index): (&str, u32),
        seen: &mut Seen,
    ) -> Result<(), Failed> {
        let key = (name.to_owned(), index);
        match answer {
            Ok(stamp) => drop(self.expected.changed().written.insert(key, Some(stamp))),
            Err(CommitError::Damaged { .. }) => seen.damaged_reads += 1,
            Err(
                CommitError::DiskFull { .. }
                | CommitError::LogFull { .. }
                | CommitError::MemoryFull { .. },
            ) => {}
            Err(CommitError::Unknown { .. }) if self.is_lying() => {
                self.expected.changed().written.insert(key, None);
                seen.stopped = true;
            }
            Err(CommitError::Poisoned { .. }) if self.is_lying() => seen.stopped = true,
            Err(error) => return Err(format!("write beside damage: {error}")),
        }
        Ok(())
    }

    fn is_lying(&self) -> bool {
        !self.looking.plans.is_empty()
    }

    /// `None`: the read was refused because of damage, which it named.
    fn tolerate<T>(
        &self,
        read: Result<T, ReadError>,
        (keyspace, key): (&str, Option<&[u8]>),
        seen: &mut Seen,
    ) -> Result<Option<T>, Failed> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error @ ReadError::Damaged { .. }) if !self.looking.is_named(keyspace, key) => {
                let key = key.map_or("a scan".to_owned(), |key| key.escape_ascii().to_string());
                Err(format!("the checker had not named {keyspace:?} {key}: {error}"))
            }
            Err(ReadError::Damaged { .. }) => {
                seen.damaged_reads += 1;
                Ok(None)
            }
            Err(ReadError::Poisoned { .. }) if self.is_lying() => {
                seen.stopped = true;
                Ok(None)
            }
            Err(ReadError::SnapshotTooOld { .. }) => Ok(None),
            Err(error) => Err(format!("read beside damage: {error}")),
        }
    }
}

/// Whether an opening says that what it found on the disk is not what was written.
fn is_damage(error: &OpenError) -> bool {
    use OpenError::{Damaged, DataFile, Record, Segment, Superblock};
    matches!(
        error,
        Damaged { .. } | DataFile { .. } | Record { .. } | Segment { .. } | Superblock { .. }
    )
}
