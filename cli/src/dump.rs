//! `sombra dump`: what a store's files say, read without changing them.

mod log;
mod page;
mod root;
mod space;
mod superblock;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Outcome;

/// Letters of a value that people get to see.
const VALUE_SHOWN_MAX: usize = 80;

#[derive(Subcommand)]
pub(crate) enum DumpCommand {
    /// Both copies of the superblock.
    Superblock(StoreArgs),
    /// The log's records, oldest first.
    Log(LogArgs),
    /// One page of the data file: header, verdict, and rows, children, value or map.
    Page(PageArgs),
    /// Both copies of every slot of the root table.
    Root(RootArgs),
    /// Every tablet's extents, with a letter for each page.
    Space(StoreArgs),
}

#[derive(Args)]
pub(crate) struct StoreArgs {
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

#[derive(Args)]
pub(crate) struct PageArgs {
    /// Directory of the store.
    store: PathBuf,
    /// Number of the page, as `check` and `dump root` give it.
    #[arg(value_name = "ADDR")]
    page: u64,
    /// Keys and values as hexadecimal digits.
    #[arg(long)]
    hex: bool,
    /// Print all bytes of the page as well.
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(crate) struct RootArgs {
    /// Directory of the store.
    store: PathBuf,
    /// Boundaries as hexadecimal digits.
    #[arg(long)]
    hex: bool,
}

pub(crate) fn run(command: &DumpCommand) -> Outcome {
    match command {
        DumpCommand::Superblock(args) => superblock::run(args),
        DumpCommand::Log(args) => log::run(args),
        DumpCommand::Page(args) => page::run(args),
        DumpCommand::Root(args) => root::run(args),
        DumpCommand::Space(args) => space::run(args),
    }
}

/// A value for people, cut to a line's length.
fn cut(value: &str) -> String {
    let mut shown: String = value.chars().take(VALUE_SHOWN_MAX).collect();
    if shown.len() < value.len() {
        shown.push_str(" ...");
    }
    shown
}
