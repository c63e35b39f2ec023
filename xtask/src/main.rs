//! Every command a developer of Sombra needs: `cargo xtask <command>`.

mod check;
mod findings;
mod flips;
mod fuzz;
mod histories;
mod kill;
mod layers;
mod limits;
mod nightly;
mod peers;
mod planted;
mod powercut;
mod process;
mod sanity;
mod sim;
mod source;
mod steps;
mod sweep;
mod testing;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

/// What a command answers when it cannot say "all is well".
type Failure = String;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of the Sombra workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must hold before a change lands: lints, layers, tests, models, crashes
    Check(check::CheckArguments),
    /// Unit, integration and doc tests, then the guard over `xtask/key-tests.txt`
    Test,
    /// Who imports whom, where `unsafe` stands, who touches time, chance, threads and I/O
    Layers,
    /// Sizes, links, leftovers, and commands that the documents name
    Tidy,
    /// Kill a writing process at random moments and look for lost commits
    Kill(kill::KillArguments),
    /// The process that `kill` kills
    #[command(hide = true)]
    KillWriter(kill::WriterArguments),
    /// Cut the power of a recording disk under ext4, xfs or btrfs and look for lost commits
    Powercut(powercut::PowercutArguments),
    /// The process that checks a store for `powercut`
    #[command(hide = true)]
    PowercutCheck(powercut::CheckArguments),
    /// Run seeds of the whole-system simulation
    Sim(sim::SimArguments),
    /// Fail each I/O, page allocation and memory charge of one workload in turn
    Sweep(sweep::SweepArguments),
    /// Plant known bugs into a copy of the workspace; each must be found
    Planted(planted::PlantedArguments),
    /// Flip a bit in every byte of a small store and look who notices
    Flips(flips::FlipArguments),
    /// Made-up inputs against what reads bytes from outside
    Fuzz(fuzz::FuzzArguments),
    /// Everything that the test matrices run each night
    Nightly(nightly::NightlyArguments),
    /// Check a recorded history for what its isolation levels forbid
    History(histories::HistoryArguments),
    /// Build and run the programs of bench/peers: the engine inside, and beside, other executors
    Peers,
    /// Build the release binary and drive it once through a short life on a real file system
    Sanity(sanity::SanityArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workspace::find().and_then(|workspace| run(&workspace, arguments.command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(arguments) => check::run(workspace, &arguments),
        Command::Test => testing::run(workspace).map(|_summary| ()),
        Command::Layers => layers::run(workspace),
        Command::Tidy => tidy::run(workspace),
        Command::Kill(arguments) => kill::run(workspace, &arguments),
        Command::KillWriter(arguments) => kill::run_writer(&arguments),
        Command::Sim(arguments) => sim::run(workspace, &arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Powercut(arguments) => powercut::run(workspace, &arguments),
        Command::PowercutCheck(arguments) => powercut::run_check(&arguments),
        Command::Planted(arguments) => planted::run(workspace, &arguments),
        Command::Flips(arguments) => flips::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(workspace, &arguments),
        Command::Nightly(arguments) => nightly::run(workspace, &arguments),
        Command::History(arguments) => histories::check_file(&arguments),
        Command::Peers => peers::run(workspace),
        Command::Sanity(arguments) => sanity::run(workspace, &arguments),
    }
}
