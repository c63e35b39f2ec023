//! The `sombra` command: one file for each subcommand, all of them thin.

mod bench;
mod dump;
mod failure;
mod interrupt;
mod kv;
mod output;
mod stat;
mod store;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the work failed or what was asked for is not \
                          there, 2 the command line is wrong, 130 interrupted.";

/// A transactional storage engine: measure it, look into a store, read and write keys.
#[derive(Parser)]
#[command(name = "sombra", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure a fresh store beside what the disk can do by itself, and verify it afterwards.
    #[command(after_help = EXIT_CODES)]
    Bench(Box<bench::BenchArgs>),
    /// Read and write keys of a store that nobody else has open.
    #[command(subcommand, after_help = EXIT_CODES)]
    Kv(kv::KvCommand),
    /// Show a store's counters: of its owner when it is open elsewhere, else by opening it.
    #[command(after_help = EXIT_CODES)]
    Stat(stat::StatArgs),
    /// Show what a store's files say, without changing them.
    #[command(subcommand, after_help = EXIT_CODES)]
    Dump(dump::DumpCommand),
}

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => match cli.command {
            Command::Bench(args) => bench::run(&args),
            Command::Kv(command) => kv::run(&command),
            Command::Stat(args) => stat::run(&args),
            Command::Dump(command) => dump::run(&command),
        },
        Err(error) => failure::from_clap(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What a subcommand comes to.
type Outcome<T = ()> = Result<T, Failure>;
