//! `sombra disk`: the disk by itself, with nothing of a store.

mod arguments;
mod job_files;
mod run;
mod targets;
mod wal_check;

use clap::Subcommand;

use crate::Outcome;

pub(crate) use arguments::with_job_options;

#[derive(Subcommand)]
pub(crate) enum DiskCommand {
    /// Run fio job files and report as fio does.
    #[command(after_help = run::AFTER_HELP)]
    Run(Box<run::RunArgs>),
    /// Say whether the disk below a directory is fit for a log: PASS, WARN or FAIL.
    #[command(after_help = wal_check::AFTER_HELP)]
    WalCheck(wal_check::WalCheckArgs),
}

pub(crate) fn run(command: &DiskCommand) -> Outcome {
    match command {
        DiskCommand::Run(args) => run::run(args),
        DiskCommand::WalCheck(args) => wal_check::run(args),
    }
}
