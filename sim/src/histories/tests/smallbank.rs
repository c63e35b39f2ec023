//! SmallBank's write skew as a forced schedule in simulated machines (Alomari, Cahill, Fekete,
//! Röhm, "The Cost of Serializability on Platforms That Use Snapshot Isolation", ICDE 2008).
//!
//! `WriteCheck` looks at both accounts of a customer and finds the check covered,
//! `TransactSavings` takes the savings away, `Balance` shows them gone, and then the check is
//! honoured without the penalty that who comes after `Balance` would have to charge.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use sombra::{CommitError, Db, Keyspace, Options, Routing};
use sombra_runtime::sim::{SimDisk, SimOptions, SimWorld};
use sombra_runtime::{Runtime, ShardId};

use super::super::record::{Abort, Book, Pen};
use crate::isolation::{Action, Hex, History, Isolation, Phenomenon, Report, Transaction, check};
use crate::limits;
use crate::machine;
use crate::random::Random;
use crate::seeds::STORE_DIR;
use crate::workload::{Session, Tx};

const SEEDS: u64 = 12;
/// Customers of one machine, each with the whole schedule; all are served at the same time.
const CUSTOMERS: u64 = 3;
const KEYSPACE: &str = "accounts";
/// Steps of a customer's schedule: the check is looked at, savings, balance, the check is
/// honoured, the audit.
const STEPS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placement {
    OneShard,
    TwoShards,
}

/// Both accounts of a customer, in the programs' own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Accounts {
    savings: i64,
    checking: i64,
}

impl Accounts {
    fn total(self) -> i64 {
        self.savings + self.checking
    }

    /// A check that is not covered costs one more.
    fn write_check(self, amount: i64) -> Accounts {
        let penalty = i64::from(self.total() < amount);
        Accounts { checking: self.checking - amount - penalty, ..self }
    }

    fn transact_savings(self, amount: i64) -> Accounts {
        Accounts { savings: self.savings - amount, ..self }
    }
}

/// One customer: what there is at first, and what is taken.
#[derive(Clone, Copy, Debug)]
struct Customer {
    number: u64,
    first: Accounts,
    withdrawal: i64,
    check: i64,
}

/// What the programs came to.
#[derive(Clone, Copy, Default, Debug)]
struct Played {
    /// What `Balance` showed.
    shown: Option<i64>,
    /// How often `WriteCheck` was refused.
    refused: u32,
    last: Option<Accounts>,
}

impl Customer {
    /// A check that both accounts cover, and no longer once the withdrawal has happened.
    fn draw(number: u64, random: &mut Random) -> Customer {
        let savings = random.between(100, 1_000) as i64;
        let checking = random.between(0, 100) as i64;
        let withdrawal = random.between(1, savings as u64) as i64;
        let first = Accounts { savings, checking };
        let check = first.total() - random.below(withdrawal as u64) as i64;
        Customer { number, first, withdrawal, check }
    }

    /// Whether the three programs one after the other, in any order, come to the same.
    fn is_serial(&self, played: &Played) -> bool {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        orders.iter().any(|order| {
            let (mut accounts, mut shown) = (self.first, None);
            for program in order {
                match program {
                    0 => accounts = accounts.write_check(self.check),
                    1 => accounts = accounts.transact_savings(self.withdrawal),
                    _ => shown = Some(accounts.total()),
                }
            }
            (shown, Some(accounts)) == (played.shown, played.last)
        })
    }
}

/// Whose turn it is in one customer's schedule, and what came out so far.
#[derive(Clone, Default)]
struct Baton(Arc<Mutex<(usize, Vec<Waker>, Played)>>);

impl Baton {
    async fn wait(&self, step: usize) {
        poll_fn(|context| {
            let mut baton = self.0.lock().unwrap();
            if baton.0 == step {
                return Poll::Ready(());
            }
            baton.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The step is done; the next one may begin.
    fn pass(&self, note: impl FnOnce(&mut Played)) {
        let mut baton = self.0.lock().unwrap();
        baton.0 += 1;
        note(&mut baton.2);
        baton.1.drain(..).for_each(Waker::wake);
    }

    fn at(&self) -> (usize, Played) {
        let baton = self.0.lock().unwrap();
        (baton.0, baton.2)
    }
}

/// What everybody in the bank knows.
#[derive(Clone)]
struct Bank {
    db: Db,
    keyspace: Keyspace,
    pen: Pen,
    level: sombra::Isolation,
}

/// Who runs a program for a customer, over which way to the store.
struct Teller {
    bank: Bank,
    session: Session,
    client: u32,
    customer: Customer,
}

/// A transaction that is written down.
struct Open<'a> {
    teller: &'a Teller,
    tx: Tx,
    number: u64,
}

fn key(account: &str, customer: &Customer) -> String {
    format!("{account}/{}", customer.number)
}

impl Teller {
    fn begin(&self) -> Open<'_> {
        let Bank { pen, level, .. } = &self.bank;
        let recorded = match level {
            sombra::Isolation::Snapshot => Isolation::Snapshot,
            sombra::Isolation::Serializable => Isolation::Serializable,
        };
        let begin_ns = pen.now_ns();
        let tx = self.session.begin(*level).unwrap();
        Open { teller: self, tx, number: pen.begin(self.client, recorded, begin_ns, 0) }
    }
}

impl Open<'_> {
    async fn accounts(&self) -> Accounts {
        Accounts { savings: self.read("savings").await, checking: self.read("checking").await }
    }

    async fn read(&self, account: &str) -> i64 {
        let Bank { keyspace, pen, .. } = &self.teller.bank;
        let key = key(account, &self.teller.customer);
        let begin_ns = pen.now_ns();
        let value = self.tx.get(keyspace, key.as_bytes()).await.unwrap().unwrap();
        self.note(begin_ns, |keyspace| Action::Read {
            keyspace,
            key: Hex::of(key.as_bytes()),
            value: Some(Hex::of(&value)),
        });
        i64::from_be_bytes(*value.last_chunk().unwrap())
    }

    /// The balance behind a number that makes the value the only one of its kind.
    fn write(&self, account: &str, balance: i64) {
        let Bank { keyspace, pen, .. } = &self.teller.bank;
        let key = key(account, &self.teller.customer);
        let value = [pen.next_value().to_be_bytes(), balance.to_be_bytes()].concat();
        let begin_ns = pen.now_ns();
        self.tx.put(keyspace, key.as_bytes(), value.clone()).unwrap();
        self.note(begin_ns, |keyspace| Action::Write {
            keyspace,
            key: Hex::of(key.as_bytes()),
            value: Some(Hex::of(&value)),
        });
    }

    fn note(&self, begin_ns: u64, action: impl FnOnce(String) -> Action) {
        self.teller.bank.pen.note(self.number, begin_ns, action(KEYSPACE.to_owned()));
    }

    /// Whether it committed; a conflict is the other outcome.
    async fn commit(self) -> bool {
        let pen = &self.teller.bank.pen;
        pen.committing(self.number);
        match self.tx.commit().await {
            Ok(committed) => {
                pen.committed(self.number, committed.lsn().as_u64(), true, 0);
                true
            }
            Err(CommitError::Conflict { .. }) => {
                pen.aborted(self.number, Abort::Conflict);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The programs, and how the first one is held in the middle. The audit comes last.
#[derive(Clone, Copy)]
enum Program {
    WriteCheck,
    TransactSavings,
    Balance,
    Audit,
}

const PROGRAMS: [Program; 4] =
    [Program::WriteCheck, Program::TransactSavings, Program::Balance, Program::Audit];

async fn run(program: Program, teller: Teller, baton: Baton) {
    match program {
        Program::WriteCheck => write_check(&teller, &baton).await,
        Program::TransactSavings => {
            baton.wait(1).await;
            let tx = teller.begin();
            let savings = tx.read("savings").await;
            tx.write("savings", savings - teller.customer.withdrawal);
            assert!(tx.commit().await, "it comes first");
            baton.pass(|_| {});
        }
        Program::Balance => {
            baton.wait(2).await;
            let tx = teller.begin();
            let shown = tx.accounts().await.total();
            assert!(tx.commit().await, "a transaction without writes never conflicts");
            baton.pass(|played| played.shown = Some(shown));
        }
        Program::Audit => {
            baton.wait(4).await;
            let tx = teller.begin();
            let last = tx.accounts().await;
            assert!(tx.commit().await, "a transaction without writes never conflicts");
            baton.pass(|played| played.last = Some(last));
        }
    }
}

/// Looks, is held, and writes; runs again for as long as it is refused.
async fn write_check(teller: &Teller, baton: &Baton) {
    let check = teller.customer.check;
    baton.wait(0).await;
    let mut tx = teller.begin();
    let mut seen = tx.accounts().await;
    baton.pass(|_| {});
    baton.wait(3).await;
    let mut refused = 0;
    loop {
        tx.write("checking", seen.write_check(check).checking);
        if tx.commit().await {
            break;
        }
        refused += 1;
        tx = teller.begin();
        seen = tx.accounts().await;
    }
    baton.pass(|played| played.refused = refused);
}

/// Opens the store, and gives every customer what there is at first.
async fn found(runtime: &Runtime, placement: Placement, bank: (Pen, sombra::Isolation)) -> Bank {
    let options = Options {
        memory_bytes: limits::MEMORY_BYTES_AMPLE,
        segment_bytes: limits::SEGMENT_BYTES,
        metrics_file: false,
        ..Options::default()
    };
    let db = Db::open(runtime, STORE_DIR, options).await.unwrap();
    let routing = match placement {
        Placement::OneShard => Routing::range(),
        Placement::TwoShards => Routing::range_split(["m"]),
    };
    let keyspace = db.create_keyspace(KEYSPACE, routing).await.unwrap();
    let is_split = db.shard_of(&keyspace, "checking") != db.shard_of(&keyspace, "savings");
    assert_eq!(is_split, placement == Placement::TwoShards);
    Bank { db, keyspace, pen: bank.0, level: bank.1 }
}

async fn open_accounts(bank: Bank, customers: Vec<Customer>) {
    for customer in customers {
        let session = Session::Handle(bank.db.clone());
        let teller = Teller { bank: bank.clone(), session, client: 0, customer };
        let tx = teller.begin();
        tx.write("savings", customer.first.savings);
        tx.write("checking", customer.first.checking);
        assert!(tx.commit().await);
    }
}

/// Runs a task of a client to its end.
fn finish<T: 'static>(world: &mut SimWorld, task: impl Future<Output = T> + 'static) -> T {
    machine::finish(world, "bank", task).unwrap()
}

/// Plays every customer's schedule in the machine of one seed.
fn play(
    seed: u64,
    placement: Placement,
    level: sombra::Isolation,
) -> (Vec<(Customer, Played)>, Vec<Transaction>) {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(machine::draw_disk(&mut random.fork(1)));
    let shards = random.between(2, 4);
    let mut options = SimOptions::new(random.next_u64(), shards as usize, disk.clone());
    options.turn_ns = 100..=random.scale(1_000, 500_000);
    let mut world = SimWorld::new(options);
    let book = Book::default();
    let pen = book.pen(world.runtime());
    let runtime = world.runtime();
    let bank = finish(&mut world, async move { found(&runtime, placement, (pen, level)).await });
    let customers: Vec<_> =
        (0..CUSTOMERS).map(|number| Customer::draw(number, &mut random)).collect();
    finish(&mut world, open_accounts(bank.clone(), customers.clone()));
    let schedules: Vec<_> =
        customers.into_iter().map(|customer| (customer, Baton::default())).collect();
    for (customer, baton) in &schedules {
        for (at, program) in PROGRAMS.into_iter().enumerate() {
            let client = customer.number as u32 * 10 + at as u32 + 1;
            let (bank, baton, customer) = (bank.clone(), baton.clone(), *customer);
            let shard = random.percent(50).then(|| ShardId::new(random.below(shards) as u16));
            world.spawn_client("teller", async move {
                let db = bank.db.clone();
                let serve =
                    move |session| run(program, Teller { bank, session, client, customer }, baton);
                match shard {
                    None => serve(Session::Handle(db)).await,
                    Some(shard) => {
                        let work = move |local| serve(Session::OnShard(local));
                        db.on_shard(shard, work).await.unwrap();
                    }
                }
            });
        }
    }
    let look = || schedules.iter().map(|(_, baton)| baton.at().0).collect::<Vec<_>>();
    machine::work(&mut world, look, |steps| steps.iter().all(|step| *step == STEPS)).unwrap();
    drop(bank);
    world.kill();
    let played = schedules.iter().map(|(customer, baton)| (*customer, baton.at().1));
    (played.collect(), book.transactions())
}

fn judge(transactions: Vec<Transaction>) -> Report {
    check(&History::new(None, transactions).unwrap())
}

/// Seeds of both placements, each with what it is called in a failure.
fn everywhere() -> impl Iterator<Item = (u64, Placement, String)> {
    let placements = [Placement::OneShard, Placement::TwoShards];
    placements.into_iter().flat_map(|placement| {
        (0..SEEDS).map(move |seed| (seed, placement, format!("{placement:?}, seed {seed}")))
    })
}

#[test]
fn smallbank_honours_a_check_that_no_serial_order_explains_under_snapshot() {
    for (seed, placement, name) in everywhere() {
        let (played, transactions) = play(seed, placement, sombra::Isolation::Snapshot);
        for (customer, played) in &played {
            let name = format!("{name}: {customer:?}, {played:?}");
            let gone = customer.first.transact_savings(customer.withdrawal);
            let honoured = Accounts { checking: gone.checking - customer.check, ..gone };
            assert_eq!((played.shown, played.refused), (Some(gone.total()), 0), "{name}");
            assert_eq!(played.last, Some(honoured), "{name}");
            assert!(honoured.total() < 0 && !customer.is_serial(played), "{name}");
        }
        let found = judge(transactions.clone());
        assert!(found.is_clean(), "snapshot isolation allows it: {name}: {found}");
        let declared = transactions.into_iter();
        let declared = declared
            .map(|transaction| Transaction { isolation: Isolation::Serializable, ..transaction });
        let found = judge(declared.collect());
        let skews = found.of(Phenomenon::G2Item).count();
        assert_eq!((skews, found.violation_count), (played.len(), played.len()), "{name}: {found}");
    }
}

#[test]
fn smallbank_refuses_the_check_and_charges_the_penalty_under_serializable() {
    for (seed, placement, name) in everywhere() {
        let (played, transactions) = play(seed, placement, sombra::Isolation::Serializable);
        for (customer, played) in &played {
            let name = format!("{name}: {customer:?}, {played:?}");
            let charged = customer.first.transact_savings(customer.withdrawal);
            let charged = charged.write_check(customer.check);
            assert!(played.refused > 0 && customer.is_serial(played), "{name}");
            assert_eq!(played.last, Some(charged), "{name}");
        }
        let found = judge(transactions);
        assert!(found.is_clean() && found.aborted >= played.len(), "{name}: {found}");
    }
}

#[test]
fn smallbank_schedule_is_the_same_when_its_seed_runs_again() {
    let play = || play(7, Placement::TwoShards, sombra::Isolation::Serializable).1;
    assert_eq!(play(), play());
}
