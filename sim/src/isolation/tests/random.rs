//! Random executions of a model store: the honest ones are clean, each dropped rule is noticed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    seed: u64,
    clients: usize,
    keys: u64,
    transactions: u64,
    unknown_percent: u64,
    /// Commits only if nothing that the transaction read has changed since its snapshot.
    validates_reads: bool,
    /// Commits only if nothing that the transaction wrote has changed since its snapshot.
    validates_writes: bool,
    /// Reads every key at the snapshot.
    has_one_snapshot: bool,
}

impl Shape {
    fn run(self) -> Report {
        check(&Run::new(self).history())
    }
}

/// Committed values by LSN.
type Chain = Vec<(u64, Option<Hex>)>;

#[derive(Default)]
struct Running {
    number: u64,
    snapshot: u64,
    begin_ns: u64,
    operations: Vec<Operation>,
    own: BTreeMap<u64, Option<Hex>>,
    read: BTreeSet<u64>,
    steps: u64,
}

struct Run {
    shape: Shape,
    random: Random,
    chains: BTreeMap<u64, Chain>,
    initial: Vec<InitialRow>,
    done: Vec<Transaction>,
    lsn: u64,
    clock: u64,
    values: u64,
    begun: u64,
}

fn key(index: u64) -> Hex {
    hex(&format!("k{index:04}"))
}

impl Run {
    fn new(shape: Shape) -> Run {
        let random = Random::new(shape.seed);
        let (chains, initial, done) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (lsn, clock, values, begun) = (0, 0, 0, 0);
        let mut run = Run { shape, random, chains, initial, done, lsn, clock, values, begun };
        for index in 0..shape.keys {
            if run.random.percent(50) {
                let value = run.value();
                let keyspace = SPACE.to_owned();
                run.initial.push(InitialRow { keyspace, key: key(index), value: value.clone() });
                run.chains.insert(index, vec![(0, Some(value))]);
            }
        }
        run
    }

    fn history(mut self) -> History {
        let mut clients: Vec<Option<Running>> = Vec::new();
        clients.resize_with(self.shape.clients, || None);
        while (self.done.len() as u64) < self.shape.transactions {
            let client = self.random.below(self.shape.clients as u64) as usize;
            self.clock += 1;
            match clients[client].take() {
                None => clients[client] = Some(self.begin()),
                Some(running) if running.steps == 0 => self.end(client, running),
                Some(mut running) => {
                    self.operate(&mut running);
                    running.steps -= 1;
                    clients[client] = Some(running);
                }
            }
        }
        History::new(Some(self.initial), self.done).unwrap()
    }

    fn value(&mut self) -> Hex {
        self.values += 1;
        Hex::of(&self.values.to_be_bytes())
    }

    fn begin(&mut self) -> Running {
        self.begun += 1;
        let (snapshot, begin_ns) = (self.lsn, self.clock);
        let steps = self.random.between(1, 6);
        Running { number: self.begun, snapshot, begin_ns, steps, ..Running::default() }
    }

    fn shown(&mut self, running: &mut Running, index: u64) -> Option<Hex> {
        if let Some(own) = running.own.get(&index) {
            return own.clone();
        }
        let torn = if self.random.percent(50) { 0 } else { running.snapshot };
        let snapshot = if self.shape.has_one_snapshot { running.snapshot } else { torn };
        running.read.insert(index);
        let chain = self.chains.get(&index)?;
        let visible = chain.iter().rev().find(|(lsn, _)| *lsn <= snapshot);
        visible.and_then(|(_, value)| value.clone())
    }

    fn operate(&mut self, running: &mut Running) {
        let index = self.random.below(self.shape.keys);
        let keyspace = SPACE.to_owned();
        let action = match self.random.below(10) {
            0..4 => {
                let value = self.shown(running, index);
                Action::Read { keyspace, key: key(index), value }
            }
            4..8 => {
                let value = self.random.percent(75).then(|| self.value());
                running.own.insert(index, value.clone());
                Action::Write { keyspace, key: key(index), value }
            }
            _ => {
                let last = (index + self.random.below(5)).min(self.shape.keys - 1);
                let mut rows = Vec::new();
                for covered in index..=last {
                    let value = self.shown(running, covered);
                    rows.extend(value.map(|value| (key(covered), value)));
                }
                let (from, to) = (KeyBound::Included(key(index)), KeyBound::Included(key(last)));
                Action::Scan { keyspace, from, to, rows }
            }
        };
        let at = self.clock;
        running.operations.push(Operation { begin_ns: at, end_ns: at, action });
    }

    fn end(&mut self, client: usize, running: Running) {
        let changed = |index: &u64| {
            let newest = self.chains.get(index).and_then(|chain| chain.last());
            newest.is_some_and(|(lsn, _)| *lsn > running.snapshot)
        };
        let is_stale = running.read.iter().any(changed) && !running.own.is_empty();
        let conflicts = running.own.keys().any(changed);
        let refused = (self.shape.validates_reads && is_stale)
            || (self.shape.validates_writes && conflicts)
            || self.random.percent(5);
        let unknown = self.random.percent(self.shape.unknown_percent);
        if !refused {
            self.lsn += u64::from(!running.own.is_empty());
            for (index, value) in running.own {
                self.chains.entry(index).or_default().push((self.lsn, value));
            }
        }
        let outcome = match (unknown, refused) {
            (true, _) => Outcome::Unknown,
            (_, true) => Outcome::Aborted { reason: "conflict".to_owned() },
            (_, false) => Outcome::Committed { lsn: self.lsn },
        };
        self.done.push(Transaction {
            client: u32::try_from(client).unwrap(),
            transaction: running.number,
            isolation: Isolation::Serializable,
            begin_ns: running.begin_ns,
            end_ns: self.clock,
            operations: running.operations,
            outcome,
        });
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (any::<u64>(), 2..8_usize, 1..24_u64, 1..150_u64, 0..30_u64);
    sizes.prop_map(|(seed, clients, keys, transactions, unknown_percent)| Shape {
        seed,
        clients,
        keys,
        transactions,
        unknown_percent,
        validates_reads: true,
        validates_writes: true,
        has_one_snapshot: true,
    })
}

/// A shape in which anomalies are frequent.
fn busy(seed: u64) -> Shape {
    Shape {
        seed,
        clients: 5,
        keys: 8,
        transactions: 200,
        unknown_percent: 5,
        validates_reads: true,
        validates_writes: true,
        has_one_snapshot: true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_serial_execution_is_clean(shape in shapes()) {
        let found = Shape { clients: 1, ..shape }.run();
        prop_assert!(found.is_clean(), "{found}");
    }

    #[test]
    fn an_execution_that_validates_its_reads_is_clean(shape in shapes()) {
        let found = shape.run();
        prop_assert!(found.is_clean(), "{found}");
    }

    #[test]
    fn an_execution_at_snapshots_violates_no_snapshot_rule(shape in shapes()) {
        let found = Shape { validates_reads: false, ..shape }.run();
        prop_assert!(!found.violates(Isolation::Snapshot), "{found}");
    }
}

/// How many of 40 busy executions have each phenomenon.
fn frequencies(change: impl Fn(Shape) -> Shape) -> BTreeMap<Phenomenon, usize> {
    let mut frequencies = BTreeMap::new();
    for seed in 0..40 {
        let found = change(busy(seed)).run();
        let kinds: BTreeSet<Phenomenon> = found.violations.iter().map(|one| one.kind).collect();
        kinds.into_iter().for_each(|kind| *frequencies.entry(kind).or_default() += 1);
    }
    frequencies
}

#[test]
fn executions_without_read_validation_have_g2_item_cycles() {
    let found = frequencies(|shape| Shape { validates_reads: false, ..shape });
    assert!(found[&Phenomenon::G2Item] >= 20 && found[&Phenomenon::G2] >= 5, "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn executions_without_write_validation_lose_updates() {
    let unchecked = |shape| Shape { validates_reads: false, validates_writes: false, ..shape };
    let found = frequencies(unchecked);
    assert!(found[&Phenomenon::LostUpdate] >= 30, "{found:?}");
    assert!(found[&Phenomenon::GSingle] >= 30, "{found:?}");
}

#[test]
fn executions_with_torn_snapshots_have_g_single_cycles() {
    let torn = |shape| Shape { validates_reads: false, has_one_snapshot: false, ..shape };
    let found = frequencies(torn);
    assert!(found[&Phenomenon::GSingle] >= 20, "{found:?}");
}

#[test]
fn five_thousand_transactions_are_checked_where_keys_are_cold() {
    let large = Shape { clients: 16, keys: 500, transactions: 5_000, ..busy(1) };
    let found = large.run();
    assert!(found.is_clean() && found.transactions == 5_000, "{found}");
    let found = Shape { validates_reads: false, ..large }.run();
    assert!(found.violates(Isolation::Serializable), "{found}");
    assert!(!found.violates(Isolation::Snapshot), "{found}");
}

#[test]
fn five_thousand_transactions_are_checked_where_keys_are_hot_and_nothing_is_validated() {
    let large = Shape { clients: 64, keys: 20, transactions: 5_000, ..busy(1) };
    let unchecked = Shape { validates_reads: false, validates_writes: false, ..large };
    let found = Shape { has_one_snapshot: false, ..unchecked }.run();
    assert_eq!(found.of(Phenomenon::GSingle).count(), 1, "{found}");
    assert!(found.violation_count > found.violations.len(), "{found}");
}
