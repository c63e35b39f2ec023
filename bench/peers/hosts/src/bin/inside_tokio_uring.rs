//! A tokio-uring program: its tasks run transactions in a store, while the same thread writes and
//! reads a file of its own through tokio-uring's ring.
//!
//! `cargo run --manifest-path bench/peers/Cargo.toml --bin inside_tokio_uring`

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use sombra_hosts::{
    AnyError, BLOCK_BYTES, BLOCKS, Bank, FILE_BYTES, Outcome, Tally, fill, is_intact,
};
use sombra_runtime::{Runtime, RuntimeOptions};
use tokio_uring::fs::{File, OpenOptions};

/// Tasks that make transfers.
const CLERKS: u64 = 32;
const AUDITS: u64 = 20;

fn main() -> ExitCode {
    sombra_hosts::conclude("inside_tokio_uring", run())
}

fn run() -> Result<Outcome, AnyError> {
    sombra_hosts::fail_when_stuck();
    // What `tokio_uring::start` does, without its panic where the ring is refused.
    let host = match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(host) => host,
        Err(why) => return Ok(Outcome::Skipped(format!("tokio-uring starts no ring: {why}"))),
    };
    let dir = tempfile::tempdir()?;
    let options = RuntimeOptions { shards: 2, ..Default::default() };
    let runtime = Runtime::start(options)?;
    let outcome = host.block_on(application(&runtime, dir.path()));
    // Waits for the shards, so it stands where no task of the host has to go on.
    runtime.shutdown();
    outcome.map(Outcome::Done)
}

async fn application(runtime: &Runtime, dir: &Path) -> Result<String, AnyError> {
    let store = dir.join("store");
    let bank = Bank::found(runtime, &store).await?;
    let mut clerks = Vec::new();
    for clerk in 0..CLERKS {
        let bank = bank.clone();
        clerks.push(tokio_uring::spawn(async move { bank.clerk(clerk).await }));
    }
    let auditor = {
        let bank = bank.clone();
        tokio_uring::spawn(async move {
            for _ in 0..AUDITS {
                bank.audit().await?;
            }
            Ok::<_, AnyError>(())
        })
    };
    let is_over = Rc::new(Cell::new(false));
    let file = tokio_uring::spawn(own_file(dir.join("own"), is_over.clone()));
    let mut ended = Vec::new();
    for clerk in clerks {
        ended.push(clerk.await);
    }
    let audited = auditor.await;
    // Whatever came of them, nothing of the file may be in flight when this ends.
    is_over.set(true);
    let rounds = file.await;
    let mut tally = Tally::default();
    for clerk in ended {
        tally.add(clerk??);
    }
    audited??;
    let rounds = rounds??;
    bank.close(tally).await?;
    Bank::reopen(runtime, &store).await?.close(tally).await?;
    Ok(format!(
        "{CLERKS} tasks on a store by {:?}: {tally}; meanwhile {} KiB written and read back by \
         its own File; {} units before and after reopening",
        runtime.driver_kind(),
        rounds * FILE_BYTES / 1024,
        Bank::money(),
    ))
}

/// Writes all blocks in rounds and returns the number of rounds, the last of which is still there
/// when the file is opened again.
async fn own_file(path: PathBuf, is_over: Rc<Cell<bool>>) -> Result<u64, AnyError> {
    let mut options = OpenOptions::new();
    let file = Rc::new(options.read(true).write(true).create(true).open(&path).await?);
    let mut rounds = 0;
    while rounds == 0 || !is_over.get() {
        rounds += 1;
        let write = |block| tokio_uring::spawn(write_and_read(file.clone(), block, rounds));
        let mut round = Ok(());
        for block in (0..BLOCKS).map(write).collect::<Vec<_>>() {
            // Also behind one that failed: a task that is not awaited is in flight.
            round = round.and(block.await.map_err(AnyError::from).flatten());
        }
        round?;
    }
    file.sync_data().await?;
    // tokio-uring frees what the kernel still writes to when it ends too early: nothing is left.
    Rc::into_inner(file).ok_or("a task kept the file")?.close().await?;
    let file = File::open(&path).await?;
    for block in 0..BLOCKS {
        check(&file, block, rounds).await?;
    }
    file.close().await?;
    Ok(rounds)
}

async fn write_and_read(file: Rc<File>, block: u64, round: u64) -> Result<(), AnyError> {
    let mut buffer = vec![0; BLOCK_BYTES];
    fill(&mut buffer, block, round);
    let (outcome, _) = file.write_all_at(buffer, block * BLOCK_BYTES as u64).await;
    outcome?;
    check(&file, block, round).await
}

async fn check(file: &File, block: u64, round: u64) -> Result<(), AnyError> {
    let at = block * BLOCK_BYTES as u64;
    let (outcome, found) = file.read_exact_at(vec![0; BLOCK_BYTES], at).await;
    outcome?;
    if is_intact(&found, block, round) {
        return Ok(());
    }
    Err(format!("block {block} of tokio-uring's own file is not what round {round} wrote").into())
}
