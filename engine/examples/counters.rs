//! Page views counted where each counter lives: code on the shards, no hop between threads, many
//! increments in one transaction.
//!
//! `cargo run --release -p sombra --example counters`

use std::path::Path;

use sombra::{Db, Keyspace, LocalDb, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

const PAGES: u32 = 20;
const VIEWS: u32 = 2_000;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-counters-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("{} views of {PAGES} pages counted", outcome?);
    Ok(())
}

/// Returns the sum of all counters.
pub(crate) fn run(dir: &Path) -> Result<u64, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let outcome: Result<u64, AnyError> = runtime.block_on(async {
        let db = Db::open(&runtime, dir, Options::temporary()).await?;
        let counters = db.create_keyspace("counters", Routing::hash(8)).await?;
        for page in 0..PAGES {
            let name = format!("page/{page}");
            let (there, key) = (counters.clone(), name.clone());
            // What arrived for one page goes in as one transaction.
            let views = (0..VIEWS).filter(|view| view % PAGES == page).count() as u64;
            db.on_shard_of(&counters, &name, move |local| async move {
                add(&local, &there, &key, views).await
            })
            .await??;
        }
        let view = db.snapshot()?;
        let mut scan = view.scan(&counters, ..);
        let mut total = 0;
        while let Some((_, value)) = scan.next().await? {
            total += number(&value);
        }
        drop((scan, view));
        db.close().await?;
        Ok(total)
    });
    runtime.shutdown();
    let total = outcome?;
    if total != u64::from(VIEWS) {
        return Err(format!("expected {VIEWS} views, found {total}").into());
    }
    Ok(total)
}

async fn add(
    db: &LocalDb,
    counters: &Keyspace,
    key: &str,
    views: u64,
) -> Result<(), TransactionError> {
    db.run(|tx| async move {
        let old = tx.get(counters, key).await?.map_or(0, |value| number(&value));
        tx.put(counters, key, (old + views).to_be_bytes().to_vec())?;
        Ok(())
    })
    .await
}

fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}
