//! `cargo xtask peers`: the programs of `bench/peers`: those that embed the engine in other
//! executors, and those that compare its own with them.

use crate::{
    Failure,
    process::{self, Transcript},
    steps::Done,
    workspace::Workspace,
};
use std::{fs, process::Command};

const MANIFEST: &str = "bench/peers/Cargo.toml";
const LOCK: &str = "bench/peers/Cargo.lock";
/// Each checks itself and prints a line for each thing that it tried.
const PROGRAMS: [&str; 4] = ["inside_glommio", "inside_tokio_uring", "executors", "shutdown"];
/// What `executors` runs, in a folder of its own below the target's.
const SMOKE_JOBS: &str = "bench/peers/executors/smoke.fio";
const SMOKE_FOLDER: &str = "peers-smoke";
/// In the line of a program whose host does not run here.
const SKIPPED: &str = "skipped: ";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    if let Done::Skipped(why) = step(workspace)? {
        println!("peers: SKIPPED: {why}");
    }
    Ok(())
}

pub(crate) fn step(workspace: &Workspace) -> Result<Done, Failure> {
    let built = process::run_and_keep(cargo(workspace, "build", &["--locked", "--bins"]))?;
    if !built.status.success() {
        let lock = fs::read_to_string(workspace.root().join(LOCK));
        let lock = lock.map_err(|error| format!("{LOCK}: {error}"))?;
        if let Some(why) = why_not_fetched(&built.lines, &lock) {
            return Ok(Done::Skipped(why));
        }
    }
    succeeded("building bench/peers", &built)?;
    for (tool, arguments) in [
        ("fmt", &["--all", "--", "--check"][..]),
        ("clippy", &["--locked", "--quiet", "--all-targets", "--", "-D", "warnings"]),
    ] {
        if process::answers(workspace.cargo().args([tool, "--version"])) {
            process::run(&mut cargo(workspace, tool, arguments))?;
        }
    }
    process::run(&mut cargo(workspace, "test", &["--locked", "--quiet", "--bins"]))?;
    let (mut lines, mut skipped) = (Vec::new(), Vec::new());
    for program in PROGRAMS {
        let mut command = Command::new(workspace.target_dir().join("debug").join(program));
        // On the disk that builds are on: not every `/tmp` takes direct I/O.
        command.env("TMPDIR", workspace.target_dir());
        if program == "executors" {
            command.args(smoke_arguments(workspace)?);
        }
        let ran = process::run_and_keep(command)?;
        succeeded(program, &ran)?;
        skipped.extend(ran.lines.iter().filter(|line| line.contains(SKIPPED)).cloned());
        lines.extend(ran.lines);
    }
    if skipped.is_empty() { Ok(Done::Passed(lines)) } else { Ok(Done::Skipped(skipped.join("; "))) }
}

/// Every executor, and fio, runs the same jobs and must have done the same.
fn smoke_arguments(workspace: &Workspace) -> Result<[String; 3], Failure> {
    let folder = workspace.target_dir().join(SMOKE_FOLDER);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let jobs = workspace.root().join(SMOKE_JOBS).display().to_string();
    Ok(["--compare".to_owned(), jobs, format!("--directory={}", folder.display())])
}

/// One target folder for both workspaces: what they have in common is built once.
fn cargo(workspace: &Workspace, subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = workspace.cargo();
    command.args([subcommand, "--manifest-path", MANIFEST]).args(arguments);
    command.env("CARGO_TARGET_DIR", workspace.target_dir());
    command
}

fn succeeded(what: &str, transcript: &Transcript) -> Result<(), Failure> {
    let status = transcript.status;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
}

/// Says so when cargo could not get a crate of the lock file, which is a fact about the network
/// here. To ask for another crate or version is a stale lock file, and no excuse. Where cargo has
/// no index at all, nobody can tell.
fn why_not_fetched(lines: &[String], lock: &str) -> Option<String> {
    let is_offline = lines.iter().any(|line| line.contains("you're using offline mode"));
    let is_fetch = |line: &&String| {
        let is_locked = line.contains("(locked to ")
            || package_not_found(line).is_some_and(|name| lock.contains(&entry(name)));
        line.contains("failed to download") || (is_offline && is_locked)
    };
    let line = lines.iter().find(is_fetch)?;
    Some(format!("crates of bench/peers cannot be fetched: {}", line.trim()))
}

fn package_not_found(line: &str) -> Option<&str> {
    let (_, behind) = line.split_once("no matching package named `")?;
    behind.split_once('`').map(|(name, _)| name)
}

/// A package's first line in a lock file.
fn entry(name: &str) -> String {
    format!("name = \"{name}\"\n")
}

#[cfg(test)]
mod tests {
    use super::why_not_fetched;

    const LOCK: &str = "[[package]]\nname = \"tempfile\"\nversion = \"3.27.0\"\n";
    const OFFLINE: &str =
        "As a reminder, you're using offline mode (--offline) which can sometimes cause";

    fn is_fetch(lines: &[&str]) -> bool {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        why_not_fetched(&lines, LOCK).is_some()
    }

    #[test]
    fn crate_that_cannot_be_fetched_is_told_from_one_that_does_not_build() {
        assert!(is_fetch(&["error: failed to download `addr2line v0.27.1`"]));
        assert!(is_fetch(&["  failed to download from `https://index.crates.io/config.json`"]));
        assert!(is_fetch(&["error: no matching package named `tempfile` found", OFFLINE]));
        assert!(is_fetch(&[
            "error: failed to select a version for the requirement `x = \"^3\"` (locked to 3.9.0)",
            OFFLINE,
        ]));
        let built = "   Compiling x v1.0.0";
        assert!(!is_fetch(&[built, "error: could not compile `sombra` (lib) due to 1 error"]));
        assert!(!is_fetch(&["error: failed to select a version for `nix`."]));
    }

    #[test]
    fn stale_lock_file_is_no_crate_that_cannot_be_fetched() {
        let locked = "error: cannot update the lock file /x/bench/peers/Cargo.lock because \
                      --locked was passed to prevent this";
        assert!(!is_fetch(&[locked]));
        assert!(!is_fetch(&["error: no matching package named `temp` found", OFFLINE]));
        let version = "error: failed to select a version for the requirement `tempfile = \"^4\"`";
        assert!(!is_fetch(&[version, OFFLINE]));
    }
}
