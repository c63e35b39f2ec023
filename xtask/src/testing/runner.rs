//! Which runner, with which arguments.

use super::transcript::{Outcome, count_before, read_libtest, read_nextest};
use crate::{
    Failure,
    process::{self, Transcript},
    workspace::Workspace,
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Features that tests need and products leave off.
pub(crate) const TEST_FEATURES: [&str; 2] = ["--features", "sombra-runtime/sim,sombra/serde"];

pub(super) fn run_tests(workspace: &Workspace) -> Result<Outcome, Failure> {
    if process::answers(workspace.cargo().args(["nextest", "--version"])) {
        run_nextest(workspace)
    } else {
        println!("cargo-nextest is not installed: using cargo test");
        run_libtest(workspace)
    }
}

fn run_nextest(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut command = workspace.cargo();
    command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"]);
    command.args(["--status-level", "pass", "--hide-progress-bar"]).args(TEST_FEATURES);
    let transcript = process::run_and_keep(command)?;
    Ok(judged(read_nextest(&transcript.lines), &transcript, "tests"))
}

fn run_libtest(workspace: &Workspace) -> Result<Outcome, Failure> {
    let binaries = test_binaries(workspace)?;
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    command.args(["--color", "never"]).args(TEST_FEATURES);
    let transcript = process::run_and_keep(command)?;
    Ok(judged(read_libtest(&transcript.lines, &binaries), &transcript, "tests"))
}

pub(super) fn run_doc_tests(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--doc", "--no-fail-fast", "--color", "never"]);
    command.args(TEST_FEATURES);
    let transcript = process::run_and_keep(command)?;
    let mut outcome = judged(Outcome::default(), &transcript, "doc tests");
    let counted = read_libtest(&transcript.lines, &BTreeMap::new());
    outcome.closing_lines =
        counted.closing_lines.iter().map(|line| format!("doc: {line}")).collect();
    Ok(outcome)
}

fn judged(mut outcome: Outcome, transcript: &Transcript, what: &str) -> Outcome {
    if !transcript.status.success() {
        outcome.failure = Some(format!("{what}: {}", transcript.status));
    }
    outcome
}

/// The "test result" lines of a run over models; no model at all is a failure, because a filter
/// that matches nothing looks like success.
pub(crate) fn closing_lines_of_models(lines: &[String]) -> Result<Vec<String>, Failure> {
    let results = lines.iter().filter(|line| line.starts_with("test result: "));
    let ran: u64 = results.clone().map(|line| count_before(line, " passed")).sum();
    match ran {
        0 => Err("no model ran".to_owned()),
        _ => Ok(results.cloned().collect()),
    }
}

/// Builds the test binaries and learns which package each belongs to: cargo's runner prints only
/// the file, and several crates name their integration binary alike.
fn test_binaries(workspace: &Workspace) -> Result<BTreeMap<String, String>, Failure> {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]).args(TEST_FEATURES);
    let output = process::read(&mut command)?;
    let messages = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| binary_of(workspace, &message)).collect())
}

fn binary_of(workspace: &Workspace, message: &Value) -> Option<(String, String)> {
    let executable = message.get("executable")?.as_str()?;
    let file = Path::new(executable).file_name()?.to_str()?.to_owned();
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    let dir = workspace.relative(manifest.parent()?);
    let package = workspace.members().get(dir.to_str()?)?;
    let target = message.get("target")?;
    let is_integration = target.get("kind")?.as_array()?.iter().any(|kind| kind == "test");
    let name = if is_integration {
        format!("{package}::{}", target.get("name")?.as_str()?)
    } else {
        package.clone()
    };
    Some((file, name))
}
