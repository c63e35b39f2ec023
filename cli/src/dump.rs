//! `sombra dump`: what a store's files say, read without changing them.

mod log;
mod superblock;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Outcome;

#[derive(Subcommand)]
pub(crate) enum DumpCommand {
    /// Both copies of the superblock.
    Superblock(SuperblockArgs),
    /// The log's records, oldest first.
    Log(LogArgs),
}

#[derive(Args)]
pub(crate) struct SuperblockArgs {
    /// Directory of the store.
    store: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct LogArgs {
    /// Directory of the store.
    store: PathBuf,
    /// Only records with this LSN or a higher one; a record's LSN is where it ends.
    #[arg(long, value_name = "LSN")]
    from: Option<u64>,
    /// Print at most this many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
    /// Keys and values as hexadecimal digits.
    #[arg(long)]
    hex: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &DumpCommand) -> Outcome {
    match command {
        DumpCommand::Superblock(args) => superblock::run(args),
        DumpCommand::Log(args) => log::run(args),
    }
}
