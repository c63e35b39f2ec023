//! `cargo xtask sanity`: the release binary, once through a short life on a real file system.

use crate::{Failure, process, workspace::Workspace};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
pub(crate) struct SanityArguments {
    /// Folder for the store, on the file system under test; default: below the target folder
    #[arg(long)]
    fs_dir: Option<PathBuf>,
    /// Seconds of load
    #[arg(long, default_value_t = 3)]
    seconds: u32,
}

pub(crate) fn run(workspace: &Workspace, arguments: &SanityArguments) -> Result<(), Failure> {
    let mut build = workspace.cargo();
    build.args(["build", "--release", "-p", "sombra-cli"]);
    process::run(&mut build)?;
    let binary = workspace.target_dir().join("release/sombra");
    let below = arguments.fs_dir.clone().unwrap_or_else(|| workspace.target_dir());
    let scratch = below.join(format!("sanity-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let outcome = drive(&binary, &scratch, arguments.seconds);
    fs::remove_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    outcome
}

/// Few records and no mixes: the question is whether it works here, not how fast.
const LOAD: [&str; 8] =
    ["--json", "--keep", "--records", "20000", "--workload", "none", "--clients", "16"];

fn drive(binary: &Path, scratch: &Path, seconds: u32) -> Result<(), Failure> {
    let mut bench = Command::new(binary);
    bench.arg("bench").args(LOAD).args(["--seconds", &seconds.to_string()]);
    let report = process::read(bench.arg("--dir").arg(scratch))?;
    println!("{report}");
    nothing_missing(&report)?;
    let store = find_store(scratch).ok_or("bench --keep left no store behind")?;
    process::run(Command::new(binary).arg("stat").arg(&store))?;
    process::run(Command::new(binary).args(["dump", "superblock"]).arg(&store))?;
    println!("sanity: ok");
    Ok(())
}

/// The folder below `dir` that holds a superblock: the run chooses its own name for it.
fn find_store(dir: &Path) -> Option<PathBuf> {
    if dir.join("superblock").exists() {
        return Some(dir.to_owned());
    }
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let mut folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    folders.find_map(|folder| find_store(&folder))
}

/// The load counts what it wrote and reads it back; a report without that count proves nothing.
fn nothing_missing(report: &str) -> Result<(), Failure> {
    let report: Value =
        serde_json::from_str(report).map_err(|error| format!("bench --json: {error}"))?;
    match report.pointer("/verify/missing").and_then(Value::as_u64) {
        Some(0) => Ok(()),
        Some(missing) => Err(format!("{missing} acknowledged keys are missing")),
        None => Err("bench --json holds no `verify.missing`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::nothing_missing;

    #[test]
    fn nothing_missing_accepts_zero_and_only_zero() {
        assert!(nothing_missing(r#"{"verify": {"missing": 0}}"#).is_ok());
        assert!(nothing_missing(r#"{"verify": {"missing": 1}}"#).is_err());
        assert!(nothing_missing(r#"{"verify": {}}"#).is_err());
        assert!(nothing_missing("").is_err());
    }
}
