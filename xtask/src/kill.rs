//! `cargo xtask kill`: a writing process dies by SIGKILL at random moments; what it had
//! acknowledged must be there when the store is opened again.

use crate::{Failure, workspace::Workspace};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct KillArguments {
    /// How many times the process is killed and the store reopened
    #[arg(long)]
    rounds: u32,
    /// Folder for the store, on the file system under test; default: below the target folder
    #[arg(long)]
    fs_dir: Option<PathBuf>,
    /// Seed of the kill moments and of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(workspace: &Workspace, arguments: &KillArguments) -> Result<(), Failure> {
    let dir = arguments.fs_dir.clone().unwrap_or_else(|| workspace.target_dir().join("kill"));
    Err(format!(
        "the kill test is not built in (asked for {} rounds in {}, seed {})",
        arguments.rounds,
        dir.display(),
        arguments.seed
    ))
}
