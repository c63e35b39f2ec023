//! The `sombra` command: one file for each subcommand, all of them thin.

mod bench;
mod check;
mod disk;
mod dump;
mod export;
mod failure;
mod import;
mod interrupt;
mod kv;
mod output;
mod problem;
mod repair;
mod space;
mod stat;
mod store;
mod text;
mod transfer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

const EXIT_CODES: &str = "Exit codes: 0 done, and nothing wrong was found; 1 the work failed or \
                          what was asked for is not there; 2 the command line is wrong; \
                          3 problems were found in the store; 130 interrupted.";

/// A transactional storage engine: measure it, check and look into a store, copy its rows out
/// and in, read and write keys.
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
    /// Characterise a disk: run fio job files, and say whether a log is safe and fast there.
    #[command(subcommand, after_help = EXIT_CODES)]
    Disk(disk::DiskCommand),
    /// Read and write keys of a store that nobody else has open.
    #[command(subcommand, after_help = EXIT_CODES)]
    Kv(kv::KvCommand),
    /// Show a store's counters: of its owner when it is open elsewhere, else by opening it.
    #[command(after_help = EXIT_CODES)]
    Stat(stat::StatArgs),
    /// Show what a store's files say, without changing them.
    #[command(subcommand, after_help = EXIT_CODES)]
    Dump(dump::DumpCommand),
    /// Check a closed store: every page of every tree, the space maps, the root table, the log.
    #[command(after_help = EXIT_CODES)]
    Check(check::CheckArgs),
    /// Say what is wrong with a closed store and what helps; do that, or save what is whole.
    #[command(after_help = EXIT_CODES)]
    Repair(repair::RepairArgs),
    /// Show where a closed store's bytes are, and what holds the ones that are not in use.
    #[command(after_help = EXIT_CODES)]
    Space(space::SpaceArgs),
    /// Write everything a store holds at one moment into a file, checksummed and in order.
    #[command(after_help = EXIT_CODES)]
    Export(export::ExportArgs),
    /// Bring an export into a store; after an interruption, go on where it stopped.
    #[command(after_help = EXIT_CODES)]
    Import(import::ImportArgs),
}

fn main() -> ExitCode {
    let arguments = disk::with_job_options(std::env::args_os().collect());
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => match cli.command {
            Command::Bench(args) => bench::run(&args),
            Command::Disk(command) => disk::run(&command),
            Command::Kv(command) => kv::run(&command),
            Command::Stat(args) => stat::run(&args),
            Command::Dump(command) => dump::run(&command),
            Command::Check(args) => check::run(&args),
            Command::Repair(args) => repair::run(&args),
            Command::Space(args) => space::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Import(args) => import::run(&args),
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
