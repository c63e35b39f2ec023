//! `sombra disk`: the disk by itself, with nothing of a store.

mod arguments;
mod job_files;
mod run;

use clap::Subcommand;

use crate::Outcome;

pub(crate) use arguments::with_job_options;

#[derive(Subcommand)]
pub(crate) enum DiskCommand {
    /// Run fio job files and report as fio does.
    #[command(after_help = run::AFTER_HELP)]
    Run(Box<run::RunArgs>),
}

pub(crate) fn run(command: &DiskCommand) -> Outcome {
    match command {
        DiskCommand::Run(args) => run::run(args),
    }
}
