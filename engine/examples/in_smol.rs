//! A store inside a smol program, whose executor runs on several threads and is the one that
//! async-std ran on too. Clerks transfer money while an auditor, woken by smol's timer, counts it.
//!
//! `cargo run --release -p sombra --example in_smol`

use std::path::Path;
use std::time::Duration;

use smol::{Executor, Timer, channel};
use sombra::{Db, Keyspace, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

const EXECUTOR_THREADS: usize = 3;
const CLERKS: u64 = 8;
const TRANSFERS: u64 = 25;
/// Few, so that clerks meet.
const ACCOUNTS: u64 = 6;
const EACH: u64 = 1_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-in-smol-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("{} transfers by {CLERKS} tasks, {} units before and after", outcome?, sum());
    Ok(())
}

const fn sum() -> u64 {
    ACCOUNTS * EACH
}

/// Returns how many transfers were made, once reopening has shown all the money.
pub(crate) fn run(dir: &Path) -> Result<u64, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let executor = Executor::new();
    let (running, stopped) = channel::bounded::<()>(1);
    let outcome = std::thread::scope(|scope| {
        for _ in 0..EXECUTOR_THREADS {
            scope.spawn(|| smol::block_on(executor.run(stopped.recv())));
        }
        let outcome = smol::block_on(bank(&executor, &runtime, dir));
        drop(running); // closes the channel, which ends the executor's threads
        outcome
    });
    // Waits for the shards: on the main thread, which no task needs any more.
    runtime.shutdown();
    outcome
}

async fn bank(executor: &Executor<'_>, runtime: &Runtime, dir: &Path) -> Result<u64, AnyError> {
    let db = Db::open(runtime, dir, Options::default()).await?;
    let accounts = db.create_keyspace("accounts", Routing::hash(8)).await?;
    for account in 0..ACCOUNTS {
        db.put(&accounts, account.to_be_bytes(), EACH.to_be_bytes().to_vec()).await?;
    }

    let mut clerks = Vec::new();
    for number in 0..CLERKS {
        let (db, accounts) = (db.clone(), accounts.clone());
        clerks.push(executor.spawn(async move { clerk(&db, &accounts, number).await }));
    }
    let auditor = {
        let (db, accounts) = (db.clone(), accounts.clone());
        executor.spawn(async move {
            for _ in 0..10 {
                Timer::after(Duration::from_millis(5)).await;
                audit(&db, &accounts).await?;
            }
            Ok::<_, AnyError>(())
        })
    };
    let mut made = 0;
    for clerk in clerks {
        made += clerk.await?;
    }
    auditor.await?;
    db.close().await?;

    let db = Db::open(runtime, dir, Options::default()).await?;
    let accounts = db.keyspace("accounts").ok_or("the keyspace is gone")?;
    audit(&db, &accounts).await?;
    db.close().await?;
    Ok(made)
}

async fn clerk(db: &Db, accounts: &Keyspace, number: u64) -> Result<u64, TransactionError> {
    for step in 0..TRANSFERS {
        let from = (number + step) % ACCOUNTS;
        let to = (from + 1 + step % (ACCOUNTS - 1)) % ACCOUNTS;
        // Two accounts that other clerks change as well, often on different shards: conflicts
        // happen, and `run` tries again.
        db.run(|tx| async move {
            let source = balance(tx.get(accounts, from.to_be_bytes()).await?.as_deref());
            let target = balance(tx.get(accounts, to.to_be_bytes()).await?.as_deref());
            tx.put(accounts, from.to_be_bytes(), (source - 1).to_be_bytes().to_vec())?;
            tx.put(accounts, to.to_be_bytes(), (target + 1).to_be_bytes().to_vec())?;
            Ok(())
        })
        .await?;
    }
    Ok(TRANSFERS)
}

/// Every moment shows all the money.
async fn audit(db: &Db, accounts: &Keyspace) -> Result<(), AnyError> {
    let rows = db.snapshot()?.scan(accounts, ..).collect().await?;
    let total = rows.iter().map(|(_, value)| balance(Some(value))).sum::<u64>();
    if total == sum() { Ok(()) } else { Err(format!("expected {}, found {total}", sum()).into()) }
}

fn balance(value: Option<&[u8]>) -> u64 {
    value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}
