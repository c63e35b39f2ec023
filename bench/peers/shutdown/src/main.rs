//! What becomes of the buffers when an executor is dropped while the kernel reads into them: is
//! their memory given back before the kernel has done with it?
//!
//! Starts reads of a file with direct I/O, drops the executor while they are in flight, and looks
//! at the memory that was freed meanwhile, which the allocator of this program keeps.
//!
//! `cargo run --release --manifest-path bench/peers/Cargo.toml --bin shutdown -- [EXECUTOR]`

mod hosts;
mod limits;
mod quarantine;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hosts::HOSTS;
use limits::{READ_BYTES, READS, SETTLE_MS};
use quarantine::Quarantine;

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

type AnyError = Box<dyn Error + Send + Sync>;

/// What the file holds; not the quarantine's stamp.
const CONTENT: u8 = 0xA6;
const _: () = assert!(CONTENT != quarantine::STAMP);

/// The executor whose own claim this is, and whose failure is one of the program.
const PRODUCT: &str = "sombra";

/// Reads whose result a task has seen.
static COMPLETED: AtomicUsize = AtomicUsize::new(0);

/// Called by each task when it has its result.
fn read_completed() {
    COMPLETED.fetch_add(1, Ordering::SeqCst);
}

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1) {
        None => each_in_a_process_of_its_own(),
        Some(name) => one(&name),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shutdown: {error}");
            ExitCode::FAILURE
        }
    }
}

fn each_in_a_process_of_its_own() -> Result<(), AnyError> {
    let mut failed = Vec::new();
    for (name, _) in HOSTS {
        let status = Command::new(std::env::current_exe()?).arg(name).status()?;
        if !status.success() {
            println!("{name}: {status}");
        }
        if name == PRODUCT && !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

fn one(name: &str) -> Result<(), AnyError> {
    let known = HOSTS.into_iter().find(|(known, _)| *known == name);
    let Some((_, start)) = known else {
        let names = HOSTS.map(|(name, _)| name).join(", ");
        return Err(format!("expected one of {names}, found {name}").into());
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("reads");
    make_file(&path)?;
    let end = match start(&path) {
        Ok(end) => end,
        Err(why) => {
            println!("{name}: skipped: {why}");
            return Ok(());
        }
    };
    quarantine::arm();
    let in_flight = READS - COMPLETED.load(Ordering::SeqCst);
    let began = Instant::now();
    end();
    let took = began.elapsed();
    sleep(Duration::from_millis(SETTLE_MS));
    let found = quarantine::inspect();
    println!(
        "{name}: {in_flight} of {READS} reads in flight when it was dropped, which took {:.1} ms; \
         {} KiB of memory given back in {} blocks; {} KiB of it written afterwards, \
         that is {} reads",
        took.as_secs_f64() * 1e3,
        found.bytes / 1024,
        found.blocks,
        found.written_bytes / 1024,
        found.written_bytes.div_ceil(READ_BYTES),
    );
    if name == PRODUCT && found.written_bytes > 0 {
        return Err(format!("{name}: memory was written after it was given back").into());
    }
    Ok(())
}

fn make_file(path: &Path) -> Result<(), AnyError> {
    let mut file = File::create(path)?;
    for _ in 0..READS {
        file.write_all(&[CONTENT; READ_BYTES])?;
    }
    Ok(file.sync_all()?)
}
