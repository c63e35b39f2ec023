//! A queue of jobs that several workers take from: each job is done once, whoever takes it.
//!
//! `cargo run --release -p sombra --example queue`

use std::path::Path;

use sombra::{BlockingDb, Db, Keyspace, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

const JOBS: u64 = 100;
const WORKERS: usize = 4;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-queue-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("{} jobs done by {WORKERS} workers, each once", outcome?);
    Ok(())
}

/// Returns how many jobs were done.
pub(crate) fn run(dir: &Path) -> Result<usize, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let db = runtime.block_on(Db::open(&runtime, dir, Options::temporary()))?.blocking();
    // In the order of their numbers; what is taken is gone.
    let waiting = db.create_keyspace("waiting", Routing::range())?;
    let done = db.create_keyspace("done", Routing::hash(8))?;
    for job in 0..JOBS {
        db.put(&waiting, job.to_be_bytes(), format!("job {job}"))?;
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (db, waiting, done) = (db.clone(), waiting.clone(), done.clone());
                scope.spawn(move || work(&db, (&waiting, &done), worker))
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok::<_, AnyError>(())
    })?;
    let view = db.snapshot()?;
    let (left, finished) = (view.scan(&waiting, ..).count(), view.scan(&done, ..).count());
    drop(view);
    db.close()?;
    runtime.shutdown();
    if (left, finished) != (0, JOBS as usize) {
        return Err(format!("{left} jobs left, {finished} done").into());
    }
    Ok(finished)
}

fn work(
    db: &BlockingDb,
    (waiting, done): (&Keyspace, &Keyspace),
    worker: usize,
) -> Result<(), TransactionError> {
    loop {
        // Taking and finishing is one transaction: a worker that dies leaves the job in the
        // queue. Two workers that take the same one conflict, and one takes the next.
        let is_empty = db.run(|tx| {
            let Some(first) = tx.scan(waiting, ..).next().transpose()? else { return Ok(true) };
            tx.delete(waiting, &first.0)?;
            if tx.get(done, &first.0)?.is_some() {
                return Err(TransactionError::abort("a job was done twice"));
            }
            tx.put(done, &first.0, format!("by worker {worker}"))?;
            Ok(false)
        })?;
        if is_empty {
            return Ok(());
        }
    }
}
