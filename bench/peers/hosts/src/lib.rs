//! What the programs in `src/bin` have in common: the bank that each of them runs in a store, the
//! contents of the files that they write beside it, and how they end.
//!
//! Nothing here knows the host: the same futures run under each.

mod bank;
mod content;

use std::process::ExitCode;
use std::time::Duration;

pub use bank::{Bank, Tally};
pub use content::{BLOCK_BYTES, BLOCKS, FILE_BYTES, fill, is_intact};

/// A program takes a second or two; a wake-up that got lost would let it wait for ever.
const RUN_SECONDS_MAX: u64 = 120;

pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How a program ended that did not fail.
pub enum Outcome {
    Done(String),
    /// The host could not create its own ring: that says nothing about Sombra.
    Skipped(String),
}

/// One line and the exit code. `xtask` looks for `skipped: ` in the line.
#[must_use]
pub fn conclude(program: &str, outcome: Result<Outcome, AnyError>) -> ExitCode {
    match outcome {
        Ok(Outcome::Done(what)) => println!("{program}: {what}"),
        Ok(Outcome::Skipped(why)) => println!("{program}: skipped: {why}"),
        Err(error) => {
            eprintln!("{program}: failed: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Ends the process as failed when it is still there after `RUN_SECONDS_MAX`.
pub fn fail_when_stuck() {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(RUN_SECONDS_MAX));
        eprintln!("failed: still not done after {RUN_SECONDS_MAX} s");
        std::process::exit(1);
    });
}
