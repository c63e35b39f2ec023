//! `cargo xtask check`: one command for a developer and for CI.

use crate::{
    Failure, layers,
    limits::{
        CHECK_KILL_ROUNDS, CHECK_KILL_TPCC_ROUNDS, CHECK_SECONDS_MAX, CHECK_SIM_HISTORIES,
        CHECK_SIM_SEEDS,
    },
    planted, process,
    steps::{self, Done, Steps, passes},
    testing, tidy,
    workspace::Workspace,
};
use std::{process::Command, time::Duration};

#[derive(clap::Args)]
pub(crate) struct CheckArguments {
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
}

type Step = fn(&Workspace) -> Result<Done, Failure>;

/// Cheap steps first: a wrong blank is told in seconds, not behind a build.
const STEPS: [(&str, Step); 14] = [
    ("format", format),
    ("layers", layers_step),
    ("tidy", tidy_step),
    ("planted patches", planted_patches),
    ("lints", lints),
    ("lints of the product", product_lints),
    ("licences", licences),
    ("test", test),
    ("models of the runtime", runtime_models),
    ("models of the engine", engine_models),
    ("kill", kill),
    ("kill of orders", kill_tpcc),
    ("sim", sim),
    ("histories", histories),
];

pub(crate) fn run(workspace: &Workspace, arguments: &CheckArguments) -> Result<(), Failure> {
    let mut steps = Steps::begin();
    for (name, step) in STEPS {
        if !steps.run(name, || step(workspace)) && arguments.fail_fast {
            break;
        }
    }
    if steps.took() > Duration::from_secs(CHECK_SECONDS_MAX) {
        println!("note: longer than the {CHECK_SECONDS_MAX} s that a change should wait");
    }
    steps.conclude()
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.cargo();
    command.args(arguments);
    command
}

/// A component of the toolchain that is not there is a skipped step, not a broken change.
fn with_tool(workspace: &Workspace, tool: &str, arguments: &[&str]) -> Result<Done, Failure> {
    if !process::answers(&mut cargo(workspace, &[tool, "--version"])) {
        return Ok(Done::Skipped(format!("`cargo {tool}` is not installed")));
    }
    passes(cargo(workspace, arguments))
}

fn format(workspace: &Workspace) -> Result<Done, Failure> {
    with_tool(workspace, "fmt", &["fmt", "--all", "--", "--check"])
}

fn lints(workspace: &Workspace) -> Result<Done, Failure> {
    let mut arguments = vec!["clippy", "--workspace", "--all-targets"];
    arguments.extend(testing::TEST_FEATURES);
    arguments.extend(["--", "-D", "warnings"]);
    with_tool(workspace, "clippy", &arguments)
}

/// Tests switch features on; what ships must be clean without them.
fn product_lints(workspace: &Workspace) -> Result<Done, Failure> {
    with_tool(workspace, "clippy", &["clippy", "-p", "sombra-cli", "--", "-D", "warnings"])
}

fn licences(workspace: &Workspace) -> Result<Done, Failure> {
    with_tool(workspace, "deny", &["deny", "check", "bans", "licenses", "sources"])
}

fn layers_step(workspace: &Workspace) -> Result<Done, Failure> {
    layers::run(workspace).map(|()| Done::Passed(Vec::new()))
}

fn tidy_step(workspace: &Workspace) -> Result<Done, Failure> {
    tidy::run(workspace).map(|()| Done::Passed(Vec::new()))
}

/// They run at night; that one does not apply any more is known at once.
fn planted_patches(workspace: &Workspace) -> Result<Done, Failure> {
    planted::list_all(workspace).map(|()| Done::Passed(Vec::new()))
}

fn test(workspace: &Workspace) -> Result<Done, Failure> {
    testing::run(workspace).map(|summary| Done::Passed(summary.closing_lines))
}

/// Settings under which the models build fastest: most of what they run is loom's code, and none
/// of it needs to be traced to a line.
const MODEL_PROFILE: [&str; 3] =
    ["profile.dev.debug=false", "profile.dev.opt-level=0", "profile.dev.package.loom.opt-level=1"];

fn runtime_models(workspace: &Workspace) -> Result<Done, Failure> {
    models(workspace, "sombra-runtime", &["profile.dev.package.sombra-runtime.opt-level=1"])
}

fn engine_models(workspace: &Workspace) -> Result<Done, Failure> {
    models(workspace, "sombra", &[])
}

/// Loom replaces the atomics at compile time, so its build has a folder of its own.
fn models(workspace: &Workspace, package: &str, settings: &[&str]) -> Result<Done, Failure> {
    let mut command = cargo(workspace, &["test", "-p", package, "--lib"]);
    command.args(MODEL_PROFILE.iter().chain(settings).flat_map(|setting| ["--config", setting]));
    command.arg("loom");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} --cfg sombra_loom").trim_start());
    command.env("CARGO_TARGET_DIR", workspace.target_dir().join("loom"));
    let transcript = process::run_and_keep(command)?;
    if !transcript.status.success() {
        return Err(format!("models of {package}: {}", transcript.status));
    }
    testing::closing_lines_of_models(&transcript.lines).map(Done::Passed)
}

fn released(workspace: &Workspace, arguments: &[&str]) -> Result<Done, Failure> {
    passes(steps::released(workspace, arguments))
}

/// The control first: a campaign that misses nothing says nothing.
fn kill(workspace: &Workspace) -> Result<Done, Failure> {
    released(workspace, &["kill", "--control", "--rounds", "1"])?;
    released(workspace, &["kill", "--rounds", &CHECK_KILL_ROUNDS.to_string()])
}

fn kill_tpcc(workspace: &Workspace) -> Result<Done, Failure> {
    released(workspace, &["kill", "--tpcc", "--control", "--rounds", "1"])?;
    released(workspace, &["kill", "--tpcc", "--rounds", &CHECK_KILL_TPCC_ROUNDS.to_string()])
}

fn sim(workspace: &Workspace) -> Result<Done, Failure> {
    released(workspace, &["sim", "--known"])?;
    released(workspace, &["sim", "--seeds", CHECK_SIM_SEEDS])
}

fn histories(workspace: &Workspace) -> Result<Done, Failure> {
    released(workspace, &["sim", "--histories", CHECK_SIM_HISTORIES])
}
