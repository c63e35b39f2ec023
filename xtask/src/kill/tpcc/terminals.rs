//! Terminals that order and pay until their process dies.

use super::line::{Id, Line};
use super::{SCALE, stage};
use crate::Failure;
use crate::kill::WORKING;
use crate::kill::pipe::Pipe;
use crate::kill::writer::{Opened, WriterArguments, Writers};
use sombra::{CommitError, Port, ReadError, TransactionError};
use sombra_bench::limits::{BACK_OFF_US_MAX, BACK_OFF_US_MIN};
use sombra_bench::random::Random;
use sombra_bench::workload::tpcc::{Place, Shares, Stage, Terminal, new_order, payment};
use sombra_runtime::{Runtime, Shard, ShardId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// More work for other warehouses than in TPC-C, where one order in ten has any: a counted round
/// wants three in ten transactions over several shards, and a warehouse may share its shard.
const SHARES: Shares = Shares { remote_lines: 12, remote_payments: 60, mistaken_orders: 2 };
/// Transactions after which a liar's next order is not placed.
const TRUTHS: u32 = 5;

/// Acknowledged transactions.
#[derive(Default)]
pub(super) struct Tally {
    transactions: AtomicU64,
    cross_shard: AtomicU64,
}

/// Half of the terminals are tasks on shards, half are threads with a handle.
pub(in crate::kill) fn start(
    opened: &Opened,
    arguments: &WriterArguments,
) -> Result<Writers, Failure> {
    let stage = stage(opened)?;
    let tally = Arc::new(Tally::default());
    opened.pipe.phase(WORKING, "");
    let threads = (0..arguments.writers)
        .map(|client| {
            let number = arguments.life * u32::from(arguments.writers) + u32::from(client) + 1;
            let home = u32::from(client) % SCALE.warehouses + 1;
            let mut clerk = Clerk::new((home, number), arguments.seed, &opened.pipe, &tally);
            clerk.is_liar = arguments.lie && client == 0;
            start_clerk(opened.runtime.clone(), clerk, &stage, arguments.shard_of(client))
        })
        .collect();
    let counts = move || (tally.transactions.load(Relaxed), tally.cross_shard.load(Relaxed));
    Ok(Writers { threads, counts: Box::new(counts) })
}

fn start_clerk(
    runtime: Runtime,
    clerk: Clerk,
    stage: &Stage<sombra::Remote>,
    shard: Option<ShardId>,
) -> JoinHandle<()> {
    let stage = stage.clone();
    std::thread::spawn(move || match shard {
        None => runtime.block_on(clerk.work(stage, None)),
        Some(shard) => {
            let (db, keyspace) = (stage.db, stage.keyspace);
            let isolation = stage.isolation;
            let work = move |local: sombra::LocalDb| {
                let shard = local.runtime_shard();
                clerk.work(Stage { db: local, keyspace, isolation }, Some(shard))
            };
            // A refusal means that the store has stopped; the caller says why.
            let _stopped = runtime.block_on(db.on_shard(shard, work));
        }
    })
}

/// Who sits at a terminal, and tells what happens there.
pub(super) struct Clerk {
    terminal: Terminal,
    number: u32,
    count: u32,
    /// For pauses.
    random: Random,
    refused_in_a_row: u32,
    pipe: Arc<Pipe>,
    tally: Arc<Tally>,
    is_liar: bool,
}

/// The store has stopped, or does what it must not.
pub(super) struct Stopped;

impl Clerk {
    pub(super) fn new(
        (home, number): (u32, u32),
        seed: u64,
        pipe: &Arc<Pipe>,
        tally: &Arc<Tally>,
    ) -> Clerk {
        let random = Random::for_client(seed, u64::from(number));
        Clerk {
            terminal: Terminal::new(SCALE, (home, number), random).with_shares(SHARES),
            number,
            count: 0,
            random: Random::for_client(!seed, u64::from(number)),
            refused_in_a_row: 0,
            pipe: Arc::clone(pipe),
            tally: Arc::clone(tally),
            is_liar: false,
        }
    }

    async fn work<P: Port>(mut self, stage: Stage<P>, shard: Option<Shard>) {
        while self.turn(&stage).await.is_ok() {
            if self.refused_in_a_row > 0 {
                let pause = self.pause();
                match &shard {
                    Some(shard) => shard.sleep(pause).await,
                    None => std::thread::sleep(pause),
                }
            } else if let Some(shard) = &shard {
                shard.yield_now().await;
            }
        }
    }

    /// Longer each time: until the winner's write is visible, every attempt loses to it again.
    fn pause(&mut self) -> Duration {
        let ceiling = (BACK_OFF_US_MIN << self.refused_in_a_row.min(16)).min(BACK_OFF_US_MAX);
        Duration::from_micros(ceiling / 2 + self.random.below(ceiling / 2))
    }

    /// One order or payment, told before it begins and when it is answered.
    pub(super) async fn turn<P: Port>(&mut self, stage: &Stage<P>) -> Result<(), Stopped> {
        self.count += 1;
        if self.terminal.is_order_next() { self.order(stage).await } else { self.pay(stage).await }
    }

    async fn order<P: Port>(&mut self, stage: &Stage<P>) -> Result<(), Stopped> {
        let order = self.terminal.new_order();
        let id = self.intend(order.digest());
        let place = |number| {
            let (warehouse, district) = (order.warehouse, order.district);
            Place::Order { warehouse, district, number }
        };
        if self.is_liar && self.count > TRUTHS {
            self.is_liar = false;
            self.acknowledge(id, place(u32::MAX - self.number), false);
            return Ok(());
        }
        let others = order.lines.iter().map(|line| line.supply_warehouse);
        let crosses = crosses(stage, order.warehouse, others);
        match new_order(stage, &order).await {
            Ok(Some(placed)) => self.acknowledge(id, place(placed.order), crosses),
            Ok(None) => self.refuse(id),
            Err(error) => return self.fail(id, &error),
        }
        Ok(())
    }

    async fn pay<P: Port>(&mut self, stage: &Stage<P>) -> Result<(), Stopped> {
        let due = self.terminal.payment();
        let id = self.intend(due.digest());
        let crosses = crosses(stage, due.warehouse, [due.customer_warehouse]);
        match payment(stage, &due).await {
            Ok(_) => self.acknowledge(id, due.place(), crosses),
            Err(error) => return self.fail(id, &error),
        }
        Ok(())
    }

    fn say(&self, line: &Line) {
        self.pipe.send(&format!("{}\n", line.format()));
    }

    fn intend(&self, digest: u64) -> Id {
        let id = (self.number, self.count);
        self.say(&Line::Intent { id, digest });
        id
    }

    fn acknowledge(&mut self, id: Id, place: Place, crosses: bool) {
        self.say(&Line::Acknowledged { id, place });
        self.refused_in_a_row = 0;
        self.tally.transactions.fetch_add(1, Relaxed);
        self.tally.cross_shard.fetch_add(u64::from(crosses), Relaxed);
    }

    fn refuse(&self, id: Id) {
        self.say(&Line::Refused { id });
    }

    fn fail(&mut self, id: Id, error: &TransactionError) -> Result<(), Stopped> {
        if is_refusal(error) {
            self.refused_in_a_row += 1;
            self.refuse(id);
            return Ok(());
        }
        self.say(&Line::Broken(format!("transaction {id:?}: {error}")));
        Err(Stopped)
    }
}

fn crosses<P: Port>(stage: &Stage<P>, home: u32, others: impl IntoIterator<Item = u32>) -> bool {
    let shard = stage.shard_of(home);
    others.into_iter().any(|warehouse| stage.shard_of(warehouse) != shard)
}

/// Whether nothing happened, and the next transaction may fare better.
fn is_refusal(error: &TransactionError) -> bool {
    error.is_retryable()
        || matches!(
            error,
            TransactionError::Read(ReadError::SnapshotTooOld { .. })
                | TransactionError::Commit(
                    CommitError::MemoryFull { .. }
                        | CommitError::LogFull { .. }
                        | CommitError::DiskFull { .. }
                )
        )
}
