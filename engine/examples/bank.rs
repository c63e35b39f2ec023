//! Transfers between accounts by eight plain threads; an auditor counts the money meanwhile.
//!
//! `cargo run --release -p sombra --example bank`

use std::path::Path;

use sombra::{BlockingDb, Db, Keyspace, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

const ACCOUNTS: u64 = 64;
const THREADS: u64 = 8;
const TRANSFERS: u64 = 100;
const EACH: i64 = 1_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-bank-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("{THREADS} threads made {} transfers; {} units before and after", outcome?, sum());
    Ok(())
}

const fn sum() -> i64 {
    ACCOUNTS as i64 * EACH
}

/// Returns how many transfers were made; those that a balance did not cover were not.
pub(crate) fn run(dir: &Path) -> Result<u64, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let db = runtime.block_on(Db::open(&runtime, dir, Options::temporary()))?.blocking();
    let accounts = db.create_keyspace("accounts", Routing::hash(8))?;
    for account in 0..ACCOUNTS {
        db.put(&accounts, account.to_be_bytes(), EACH.to_le_bytes().to_vec())?;
    }
    let made = std::thread::scope(|scope| -> Result<u64, AnyError> {
        let clerks: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (db, accounts) = (db.clone(), accounts.clone());
                scope.spawn(move || clerk(&db, &accounts, thread))
            })
            .collect();
        for _ in 0..20 {
            audit(&db, &accounts)?;
        }
        let mut made = 0;
        for clerk in clerks {
            made += clerk.join().map_err(|_| "a clerk panicked")??;
        }
        Ok(made)
    })?;
    audit(&db, &accounts)?;
    db.close()?;
    runtime.shutdown();
    Ok(made)
}

fn clerk(db: &BlockingDb, accounts: &Keyspace, thread: u64) -> Result<u64, TransactionError> {
    let mut made = 0;
    for step in 0..TRANSFERS {
        let from = (thread * 31 + step * 17) % ACCOUNTS;
        let to = (from + 1 + step % (ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + (step * 7 % 300) as i64;
        // The closure may run again after a conflict: it has no effect but on the store.
        let is_covered = db.run(|tx| {
            let balance = |account: u64| {
                let value = tx.get(accounts, account.to_be_bytes())?;
                Ok::<_, TransactionError>(value.map_or(0, |value| number(&value)))
            };
            let (source, target) = (balance(from)?, balance(to)?);
            if source < amount {
                return Ok(false);
            }
            tx.put(accounts, from.to_be_bytes(), (source - amount).to_le_bytes().to_vec())?;
            tx.put(accounts, to.to_be_bytes(), (target + amount).to_le_bytes().to_vec())?;
            Ok(true)
        })?;
        made += u64::from(is_covered);
    }
    Ok(made)
}

/// Every moment shows all the money.
fn audit(db: &BlockingDb, accounts: &Keyspace) -> Result<(), AnyError> {
    let view = db.snapshot()?;
    let mut total = 0;
    for row in view.scan(accounts, ..) {
        let balance = number(&row?.1);
        if balance < 0 {
            return Err(format!("an account is overdrawn by {}", -balance).into());
        }
        total += balance;
    }
    if total == sum() { Ok(()) } else { Err(format!("expected {}, found {total}", sum()).into()) }
}

fn number(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_le_bytes)
}
