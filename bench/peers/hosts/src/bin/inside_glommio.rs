//! A glommio program with two executors, each on a thread of its own: their tasks run transactions
//! in one store, while the same executors write and read files of their own through their rings.
//!
//! `cargo run --manifest-path bench/peers/Cargo.toml --bin inside_glommio`

use std::cell::Cell;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use glommio::io::{DmaFile, OpenOptions};
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, spawn_local};
use sombra_hosts::{
    AnyError, BLOCK_BYTES, BLOCKS, Bank, FILE_BYTES, Outcome, Tally, fill, is_intact,
};
use sombra_runtime::{Runtime, RuntimeOptions};

const EXECUTORS: u64 = 2;
/// Tasks of one executor that make transfers.
const CLERKS: u64 = 16;
const AUDITS: u64 = 10;
/// Memory that one executor registers with its rings.
const IO_MEMORY_BYTES: usize = 1024 * 1024;

fn main() -> ExitCode {
    sombra_hosts::conclude("inside_glommio", run())
}

fn run() -> Result<Outcome, AnyError> {
    sombra_hosts::fail_when_stuck();
    let dir = tempfile::tempdir()?;
    // Before any executor, which could pin this thread: the shards may use the CPUs of the thread
    // that starts them. Not pinned to them, because the executors run there too.
    let options = RuntimeOptions { shards: 2, pin: false, ..Default::default() };
    let runtime = Runtime::start(options)?;
    let outcome = inside(&runtime, dir.path());
    // Waits for the shards, so it stands where no executor has to go on.
    runtime.shutdown();
    outcome
}

fn inside(runtime: &Runtime, dir: &Path) -> Result<Outcome, AnyError> {
    // Where the kernel or a policy refuses the ring, glommio panics instead of returning the error.
    match catch_unwind(|| executor().make()) {
        Ok(Ok(host)) => work(&host, runtime, dir).map(Outcome::Done),
        Ok(Err(why)) => Ok(skipped(&why.to_string())),
        Err(_) => Ok(skipped("it panics; the message stands above")),
    }
}

fn skipped(why: &str) -> Outcome {
    Outcome::Skipped(format!("glommio starts no executor: {why}"))
}

fn executor() -> LocalExecutorBuilder {
    LocalExecutorBuilder::default().io_memory(IO_MEMORY_BYTES)
}

fn work(host: &LocalExecutor, runtime: &Runtime, dir: &Path) -> Result<String, AnyError> {
    let store = dir.join("store");
    let bank = host.run(Bank::found(runtime, &store))?;
    let path = |number| dir.join(format!("own-{number}"));
    for number in 0..EXECUTORS {
        // glommio asks a device whether it can be polled by reading from the first file that it
        // opens there, and takes the end of an empty one for a yes (its issue 605).
        std::fs::write(path(number), vec![0; FILE_BYTES as usize])?;
    }
    let spawn = |number| {
        let (bank, path) = (bank.clone(), path(number));
        executor().spawn(move || application(bank, number, path))
    };
    let threads: Vec<_> = (0..EXECUTORS).map(spawn).collect();
    // All of them end before one is judged: none does I/O when this returns.
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.and_then(|it| it.join())).collect();
    let (mut tally, mut rounds) = (Tally::default(), 0);
    for executor in ended {
        let (of_executor, rounds_of_file) = executor.map_err(said)??;
        tally.add(of_executor);
        rounds += rounds_of_file;
    }
    host.run(bank.close(tally))?;
    host.run(async { Bank::reopen(runtime, &store).await?.close(tally).await })?;
    Ok(format!(
        "{EXECUTORS} executors, {} tasks on a store by {:?}: {tally}; meanwhile {} KiB written and \
         read back by DmaFile; {} units before and after reopening",
        EXECUTORS * CLERKS,
        runtime.driver_kind(),
        rounds * FILE_BYTES / 1024,
        Bank::money(),
    ))
}

/// What one executor runs: clerks, an auditor, and a file of its own until the clerks are done.
async fn application(bank: Bank, number: u64, path: PathBuf) -> Result<(Tally, u64), AnyError> {
    let mut clerks = Vec::new();
    for clerk in 0..CLERKS {
        let bank = bank.clone();
        clerks.push(spawn_local(async move { bank.clerk(number * CLERKS + clerk).await }));
    }
    let auditor = spawn_local(async move {
        for _ in 0..AUDITS {
            bank.audit().await?;
        }
        Ok::<_, AnyError>(())
    });
    let is_over = Rc::new(Cell::new(false));
    let file = spawn_local(own_file(path, is_over.clone()));
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
        tally.add(clerk?);
    }
    audited?;
    Ok((tally, rounds?))
}

/// Writes all blocks in rounds and returns the number of rounds, the last of which is still there
/// when the file is opened again.
async fn own_file(path: PathBuf, is_over: Rc<Cell<bool>>) -> Result<u64, AnyError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = Rc::new(options.dma_open(&path).await.map_err(said)?);
    let mut rounds = 0;
    while rounds == 0 || !is_over.get() {
        rounds += 1;
        let write = |block| spawn_local(write_and_read(file.clone(), block, rounds));
        let mut round = Ok(());
        for block in (0..BLOCKS).map(write).collect::<Vec<_>>() {
            // Also behind one that failed: a task that is not awaited is in flight.
            round = round.and(block.await);
        }
        round?;
    }
    file.fdatasync().await.map_err(said)?;
    file.close_rc().await.map_err(said)?;
    let file = DmaFile::open(&path).await.map_err(said)?;
    for block in 0..BLOCKS {
        check(&file, block, rounds).await?;
    }
    file.close().await.map_err(said)?;
    Ok(rounds)
}

async fn write_and_read(file: Rc<DmaFile>, block: u64, round: u64) -> Result<(), AnyError> {
    let mut buffer = file.alloc_dma_buffer(BLOCK_BYTES);
    fill(buffer.as_bytes_mut(), block, round);
    let written = file.write_at(buffer, block * BLOCK_BYTES as u64).await.map_err(said)?;
    if written != BLOCK_BYTES {
        return Err(format!("block {block}: {written} bytes written").into());
    }
    check(&file, block, round).await
}

async fn check(file: &DmaFile, block: u64, round: u64) -> Result<(), AnyError> {
    let at = block * BLOCK_BYTES as u64;
    let found = file.read_at_aligned(at, BLOCK_BYTES).await.map_err(said)?;
    if is_intact(&found, block, round) {
        return Ok(());
    }
    Err(format!("block {block} of glommio's own file is not what round {round} wrote").into())
}

/// glommio's errors may not leave their thread; their text may.
fn said(error: GlommioError<()>) -> AnyError {
    error.to_string().into()
}
