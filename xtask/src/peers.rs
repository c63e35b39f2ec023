//! `cargo xtask peers`: the programs of `bench/peers` that embed the engine in other executors.

use crate::{
    Failure,
    check::Done,
    process::{self, Transcript},
    workspace::Workspace,
};
use std::process::Command;

const MANIFEST: &str = "bench/peers/Cargo.toml";
/// Each checks itself and prints one line.
const PROGRAMS: [&str; 2] = ["inside_glommio", "inside_tokio_uring"];
/// In the line of a program whose host does not run here.
const SKIPPED: &str = "skipped: ";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    if let Done::Skipped(why) = step(workspace)? {
        println!("peers: SKIPPED: {why}");
    }
    Ok(())
}

pub(crate) fn step(workspace: &Workspace) -> Result<Done, Failure> {
    let built = process::run_and_keep(cargo(workspace, "build", &["--bins"]))?;
    if let Some(why) = why_not_fetched(&built.lines).filter(|_| !built.status.success()) {
        return Ok(Done::Skipped(why));
    }
    succeeded("building bench/peers", &built)?;
    for (tool, arguments) in [
        ("fmt", &["--", "--check"][..]),
        ("clippy", &["--quiet", "--all-targets", "--", "-D", "warnings"]),
    ] {
        if process::answers(workspace.cargo().args([tool, "--version"])) {
            process::run(&mut cargo(workspace, tool, arguments))?;
        }
    }
    let (mut lines, mut skipped) = (Vec::new(), Vec::new());
    for program in PROGRAMS {
        let mut command = Command::new(workspace.target_dir().join("debug").join(program));
        // On the disk that builds are on: not every `/tmp` takes direct I/O.
        command.env("TMPDIR", workspace.target_dir());
        let ran = process::run_and_keep(command)?;
        succeeded(program, &ran)?;
        skipped.extend(ran.lines.iter().filter(|line| line.contains(SKIPPED)).cloned());
        lines.extend(ran.lines);
    }
    if skipped.is_empty() { Ok(Done::Passed(lines)) } else { Ok(Done::Skipped(skipped.join("; "))) }
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

/// Says so when cargo could not get a crate, which is a fact about the network here.
fn why_not_fetched(lines: &[String]) -> Option<String> {
    let is_fetch = |line: &&String| {
        line.contains("failed to download") || line.contains("you're using offline mode")
    };
    let line = lines.iter().find(is_fetch)?;
    Some(format!("crates of bench/peers cannot be fetched: {}", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::why_not_fetched;

    fn is_fetch(line: &str) -> bool {
        why_not_fetched(&["   Compiling x v1.0.0".to_owned(), line.to_owned()]).is_some()
    }

    #[test]
    fn crate_that_cannot_be_fetched_is_told_from_one_that_does_not_build() {
        assert!(is_fetch("error: failed to download `addr2line v0.27.1`"));
        assert!(is_fetch("As a reminder, you're using offline mode (--offline) which can"));
        assert!(!is_fetch("error: could not compile `sombra` (lib) due to 1 previous error"));
        assert!(!is_fetch("error: failed to select a version for `nix`."));
    }
}
