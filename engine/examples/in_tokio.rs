//! A store inside a tokio program: tokio's tasks commit through the `Db` handle while Sombra's
//! shards run on threads of their own.
//!
//! `cargo run --release -p sombra --example in_tokio`

use std::path::Path;

use sombra::{Db, KeyRange, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

const TASKS: u32 = 8;
const INCREMENTS: u32 = 25;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let parent = std::env::temp_dir().join(format!("sombra-in-tokio-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store")).await;
    std::fs::remove_dir_all(&parent)?;
    println!("{} increments by {TASKS} tasks, none lost", outcome?);
    Ok(())
}

/// Counts from many tasks at once and returns the sum found after reopening.
pub(crate) async fn run(dir: &Path) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let db = Db::open(&runtime, dir, Options::default()).await?;
    let counters = db.create_keyspace("counters", Routing::hash(8)).await?;

    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (db, counters) = (db.clone(), counters.clone());
        tasks.push(tokio::spawn(async move {
            for step in 0..INCREMENTS {
                // Two counters of different shards in one transaction, shared by all tasks:
                // conflicts happen, and `run` tries again.
                let keys = [step % 4, 4 + (task + step) % 4].map(u32::to_be_bytes);
                db.run(|transaction| {
                    let counters = counters.clone();
                    async move {
                        for key in keys {
                            let old = transaction.get(&counters, key).await?;
                            let old = old.map_or(0, |bytes| number(&bytes));
                            transaction.put(&counters, key, (old + 1).to_be_bytes().to_vec())?;
                        }
                        Ok::<_, TransactionError>(())
                    }
                })
                .await?;
            }
            Ok::<_, TransactionError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    db.close().await?;

    let db = Db::open(&runtime, dir, Options::default()).await?;
    let counters = db.keyspace("counters").ok_or("the keyspace is gone")?;
    let rows = db.snapshot()?.scan(&counters, KeyRange::all()).collect().await?;
    let sum = rows.iter().map(|(_, value)| number(value)).sum::<u32>();
    assert_eq!(sum, 2 * TASKS * INCREMENTS);
    db.close().await?;
    // Waits for the shards: not on a thread that tokio needs.
    tokio::task::spawn_blocking(move || runtime.shutdown()).await?;
    Ok(sum / 2)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}
