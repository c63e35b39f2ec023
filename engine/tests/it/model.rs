//! The whole store against a `BTreeMap`: transactions, reads, scans both ways, snapshots held over
//! merges, closes, kills and power cuts, on a simulated disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sombra::{
    CommitError, Db, Isolation, KeyRange, Keyspace, Options, ReadError, Routing, Snapshot,
};
use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::support::options;

const DIR: &str = "/store";
const STEPS_MAX: u64 = 2_000_000;
const KEYS: u16 = 300;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
/// Key and length of the value; `None` deletes.
type Write = (u16, Option<u32>);
/// Key and value.
type Prepared = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Copy, Debug)]
enum Ending {
    Close,
    Kill,
    PowerCut,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    Get(u16),
    Scan {
        from: u16,
        to: u16,
        is_reverse: bool,
    },
    Hold,
    ReadHeld,
    LetGo,
    /// Ends the opening and begins the next on so many shards.
    Reopen(Ending, usize),
    /// The same, while a commit is on its way, after so many steps of the world.
    CrashAmid(Vec<Write>, u64, usize),
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    page_size_bytes: u32,
    routing: u8,
    steps: Vec<Step>,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let len = prop_oneof![
        4 => (0..300_u32).prop_map(Some),
        4 => (1_000..20_000_u32).prop_map(Some),
        1 => (20_000..120_000_u32).prop_map(Some),
        3 => Just(None),
    ];
    vec((0..KEYS, len), 1..12)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ending = prop_oneof![Just(Ending::Close), Just(Ending::Kill), Just(Ending::PowerCut)];
    let scan = (0..KEYS, 0..KEYS, any::<bool>());
    let step = prop_oneof![
        20 => writes().prop_map(Step::Commit),
        4 => (0..KEYS).prop_map(Step::Get),
        3 => scan.prop_map(|(a, b, is_reverse)| {
            Step::Scan { from: a.min(b), to: a.max(b), is_reverse }
        }),
        1 => Just(Step::Hold),
        2 => Just(Step::ReadHeld),
        1 => Just(Step::LetGo),
        1 => (ending, 1..4_usize).prop_map(|(ending, shards)| Step::Reopen(ending, shards)),
        1 => (writes(), 1..3_000_u64, 1..4_usize)
            .prop_map(|(writes, after, shards)| Step::CrashAmid(writes, after, shards)),
    ];
    vec(step, 40..120)
}

fn case() -> impl Strategy<Value = Case> {
    let page_size = prop_oneof![2 => Just(4096), 1 => Just(8192), 1 => Just(32_768)];
    (any::<u64>(), page_size, 0..3_u8, steps()).prop_map(
        |(seed, page_size_bytes, routing, steps)| Case { seed, page_size_bytes, routing, steps },
    )
}

fn key(number: u16) -> Vec<u8> {
    // Long common prefixes and different lengths.
    format!("key/{:03}/{}", number / 10, "x".repeat(usize::from(number % 10))).into_bytes()
}

fn routing(case: &Case) -> Routing {
    match case.routing {
        0 => Routing::range(),
        1 => Routing::range_split([key(100), key(200)]),
        _ => Routing::hash_tablets(7, 3),
    }
}

/// The smallest log, so that every few hundred kilobytes are merged.
fn tight(case: &Case) -> Options {
    Options {
        memory_bytes: 16 << 20,
        log_bytes_max: 2 << 20,
        page_size_bytes: case.page_size_bytes,
        ..options()
    }
}

/// What a future came to, seen from outside of the simulated world.
type Answer<T> = Arc<Mutex<Option<T>>>;

fn spawn<T: Send + 'static>(
    world: &SimWorld,
    future: impl Future<Output = T> + Send + 'static,
) -> Answer<T> {
    let answer = Arc::new(Mutex::new(None));
    let place = Arc::clone(&answer);
    world.spawn_client("model", async move {
        let value = future.await;
        *place.lock().unwrap() = Some(value);
    });
    answer
}

struct Opening {
    world: SimWorld,
    db: Db,
    keyspace: Keyspace,
    /// A snapshot with what it must go on reading.
    held: Option<(Arc<Snapshot>, Model)>,
}

impl Opening {
    fn run<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TestCaseError> {
        let db = self.db.clone();
        run(&mut self.world, future).map_err(|error| {
            // What the store says of itself, for whoever looks for the reason.
            let metrics = db.metrics();
            let lines = metrics.lines().iter().filter(|line| line.value != 0.0);
            let lines: Vec<String> =
                lines.map(|line| format!("{} {}", line.name, line.value)).collect();
            TestCaseError::fail(format!("{error}; {}", lines.join(", ")))
        })
    }
}

fn run<T: Send + 'static>(
    world: &mut SimWorld,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, TestCaseError> {
    let answer = spawn(world, future);
    let end = world.run(STEPS_MAX, || answer.lock().unwrap().is_some());
    let value = answer.lock().unwrap().take();
    value.ok_or_else(|| {
        let world = world.describe();
        TestCaseError::fail(format!("{end:?}, no answer: {world}"))
    })
}

/// What the cases came across altogether.
#[derive(Default)]
struct Seen {
    merges: AtomicU64,
    recycled: AtomicU64,
    reopened: AtomicU64,
    held_reads: AtomicU64,
}

struct Life<'a> {
    case: &'a Case,
    disk: SimDisk,
    random: u64,
    model: Model,
    round: u32,
    seen: &'a Seen,
}

impl Life<'_> {
    fn world(&mut self, shards: usize) -> SimWorld {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        SimWorld::new(SimOptions::new(self.random, shards, self.disk.clone()))
    }

    fn open(&mut self, shards: usize) -> Result<Opening, TestCaseError> {
        let mut world = self.world(shards);
        let (runtime, tight, routing) = (world.runtime(), tight(self.case), routing(self.case));
        let opened = run(&mut world, async move {
            let db = Db::open(&runtime, DIR, tight).await.map_err(|error| error.to_string())?;
            let keyspace = match db.keyspace("k") {
                Some(keyspace) => keyspace,
                None => {
                    db.create_keyspace("k", routing).await.map_err(|error| error.to_string())?
                }
            };
            Ok::<_, String>((db, keyspace))
        })?;
        let (db, keyspace) = opened.map_err(TestCaseError::fail)?;
        Ok(Opening { world, db, keyspace, held: None })
    }

    fn end(&mut self, opening: Opening, ending: Ending) -> Result<(), TestCaseError> {
        let Opening { mut world, db, held, .. } = opening;
        drop(held);
        let metric = |name| db.metrics().value(name) as u64;
        self.seen.merges.fetch_add(metric("sombra_merges_total"), Ordering::Relaxed);
        let recycled = metric("sombra_wal_recycled_segments_total");
        self.seen.recycled.fetch_add(recycled, Ordering::Relaxed);
        self.seen.reopened.fetch_add(1, Ordering::Relaxed);
        prop_assert_eq!(db.poison_reason(), None);
        match ending {
            Ending::Close => {
                let closed = run(&mut world, async move { db.close().await.is_ok() })?;
                prop_assert!(closed);
                world.power_cut();
            }
            Ending::Kill => world.kill(),
            Ending::PowerCut => world.power_cut(),
        }
        self.check()
    }

    /// Every page, map, root and record of the store that nobody has open is sound.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let mut world = self.world(1);
        let runtime = world.runtime();
        let report = run(&mut world, async move {
            sombra::inspect::check(&runtime, DIR.as_ref(), |_, _| {}).await
        })?;
        let report = report.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(report.problems.is_empty(), "{:#?}", report.problems);
        world.kill();
        Ok(())
    }

    fn value(&mut self, number: u16, len: u32) -> Vec<u8> {
        self.round += 1;
        let stamp = format!("{number}.{}.", self.round).into_bytes();
        stamp.into_iter().cycle().take(len as usize).collect()
    }

    /// The writes with their values, and the model after them.
    fn prepare(&mut self, writes: &[Write]) -> (Vec<Prepared>, Model) {
        let mut model = self.model.clone();
        let mut prepared = Vec::new();
        for &(number, len) in writes {
            let value = len.map(|len| self.value(number, len));
            match &value {
                Some(value) => model.insert(key(number), value.clone()),
                None => model.remove(&key(number)),
            };
            prepared.push((key(number), value));
        }
        (prepared, model)
    }

    fn step(&mut self, opening: Opening, step: &Step) -> Result<Opening, TestCaseError> {
        let mut opening = opening;
        match step {
            Step::Commit(writes) => {
                let (prepared, model) = self.prepare(writes);
                let commit = commit(opening.db.clone(), opening.keyspace.clone(), prepared);
                let outcome = opening.run(commit)?;
                prop_assert!(outcome.is_ok(), "{:?}", outcome);
                self.model = model;
            }
            &Step::Get(number) => {
                let (db, keyspace) = (opening.db.clone(), opening.keyspace.clone());
                let found = opening.run(async move { db.get(&keyspace, key(number)).await })?;
                let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(found.as_deref(), self.model.get(&key(number)).map(|v| &v[..]));
            }
            &Step::Scan { from, to, is_reverse } => {
                let snapshot = opening.db.snapshot();
                let snapshot = snapshot.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let model = self.model.clone();
                compare(&mut opening, (Arc::new(snapshot), &model), (from, to, is_reverse))?;
            }
            Step::Hold => {
                let snapshot = opening.db.snapshot();
                let snapshot = snapshot.map_err(|error| TestCaseError::fail(error.to_string()))?;
                opening.held = Some((Arc::new(snapshot), self.model.clone()));
            }
            Step::ReadHeld => {
                if let Some((snapshot, model)) = opening.held.take() {
                    self.seen.held_reads.fetch_add(1, Ordering::Relaxed);
                    compare(&mut opening, (Arc::clone(&snapshot), &model), (0, KEYS, false))?;
                    opening.held = Some((snapshot, model));
                }
            }
            Step::LetGo => opening.held = None,
            &Step::Reopen(ending, shards) => {
                self.end(opening, ending)?;
                return self.reopen(shards);
            }
            Step::CrashAmid(writes, after, shards) => {
                let (prepared, model) = self.prepare(writes);
                let commit = commit(opening.db.clone(), opening.keyspace.clone(), prepared);
                let answer = spawn(&opening.world, commit);
                let stopped = opening.world.run(*after, || false);
                prop_assert!(!matches!(stopped, RunEnd::Done));
                let is_acknowledged = answer.lock().unwrap().take().is_some_and(|o| o.is_ok());
                self.end(opening, Ending::PowerCut)?;
                let mut opening = self.open(*shards)?;
                let found = rows(&mut opening)?;
                // All of it or nothing, and all of it once that was promised.
                if is_acknowledged || found == model {
                    self.model = model;
                }
                prop_assert!(found == self.model, "after a crash amid a commit");
                return Ok(opening);
            }
        }
        Ok(opening)
    }

    fn reopen(&mut self, shards: usize) -> Result<Opening, TestCaseError> {
        let mut opening = self.open(shards)?;
        let found = rows(&mut opening)?;
        prop_assert!(found == self.model, "{} rows of {}", found.len(), self.model.len());
        Ok(opening)
    }
}

async fn commit(db: Db, keyspace: Keyspace, writes: Vec<Prepared>) -> Result<(), CommitError> {
    let transaction = db.begin_with(Isolation::Snapshot).expect("a healthy store");
    for (key, value) in writes {
        match value {
            Some(value) => transaction.put(&keyspace, key, value)?,
            None => transaction.delete(&keyspace, key)?,
        }
    }
    transaction.commit().await.map(drop)
}

fn rows(opening: &mut Opening) -> Result<Model, TestCaseError> {
    let (db, keyspace) = (opening.db.clone(), opening.keyspace.clone());
    let rows = opening.run(async move {
        let snapshot = db.snapshot().expect("a healthy store");
        snapshot.scan(&keyspace, ..).collect().await
    })?;
    let rows = rows.map_err(|error| TestCaseError::fail(error.to_string()))?;
    Ok(rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
}

/// A range at a snapshot is the model's; hash keyspaces scan in another order.
fn compare(
    opening: &mut Opening,
    (snapshot, model): (Arc<Snapshot>, &Model),
    (from, to, is_reverse): (u16, u16, bool),
) -> Result<(), TestCaseError> {
    let keyspace = opening.keyspace.clone();
    let range: KeyRange = (key(from.min(KEYS - 1))..key(to.min(KEYS - 1))).into();
    let is_whole = to == KEYS;
    let rows = opening.run(async move {
        let range = if is_whole { (..).into() } else { range };
        match is_reverse {
            false => snapshot.scan(&keyspace, range).collect().await,
            true => snapshot.scan_reverse(&keyspace, range).collect().await,
        }
    })?;
    let mut rows: Vec<(Bytes, Bytes)> = match rows {
        // The store may end a snapshot that holds up too much; it may not read something else.
        Err(ReadError::SnapshotTooOld { .. }) => return Ok(()),
        other => other.map_err(|error| TestCaseError::fail(error.to_string()))?,
    };
    let bounds = match is_whole {
        true => (Bound::Unbounded, Bound::Unbounded),
        false => (Bound::Included(key(from)), Bound::Excluded(key(to))),
    };
    let mut expected: Vec<(&Vec<u8>, &Vec<u8>)> =
        if from == to { Vec::new() } else { model.range(bounds).collect() };
    if matches!(opening.keyspace.routing(), Routing::Hash { .. }) {
        rows.sort_unstable();
    } else if is_reverse {
        expected.reverse();
    }
    let rows = rows.iter().map(|(key, value)| (&key[..], &value[..]));
    let count = rows.len();
    let expected: Vec<(&[u8], &[u8])> = expected.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    let is_same = rows.eq(expected.iter().copied());
    prop_assert!(is_same, "{count} rows, expected {}", expected.len());
    Ok(())
}

fn live(case: &Case, seen: &Seen) -> Result<(), TestCaseError> {
    let disk = SimDisk::new(SimDiskOptions::new(case.seed));
    let (random, model) = (case.seed | 1, Model::new());
    let mut life = Life { case, disk, random, model, round: 0, seen };
    let mut opening = life.open(2)?;
    for step in &case.steps {
        opening = life.step(opening, step)?;
    }
    life.end(opening, Ending::Kill)?;
    let opening = life.reopen(1)?;
    life.end(opening, Ending::Close)
}

#[test]
fn store_is_a_sorted_map_over_merges_kills_and_power_cuts() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let seen = Seen::default();
    let config = Config { cases, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config).run(&case(), |case| live(&case, &seen));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{cases} cases: {} merges, {} segments recycled, {} reopened, {} reads of a held snapshot",
        count(&seen.merges),
        count(&seen.recycled),
        count(&seen.reopened),
        count(&seen.held_reads),
    );
    assert!(count(&seen.merges) > u64::from(cases), "cases without merges show nothing");
    assert!(count(&seen.recycled) > 0 && count(&seen.held_reads) > 0);
}
