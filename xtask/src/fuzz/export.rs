//! Exports as a target: their reader belongs to the program `sombra`, which is no library, so
//! their inputs are made by a test of it.

use crate::{Failure, process, workspace::Workspace};

/// The test, and the environment by which it takes numbers.
const TEST: &str = "transfer::tests::fuzz::made_up_exports_are_refused_or_whole";
const CONTROL: &str = "transfer::tests::fuzz::planted_reader_is_found_out";

pub(super) fn run(
    workspace: &Workspace,
    inputs: u64,
    seed: u64,
    is_control: bool,
) -> Result<(), Failure> {
    let test = if is_control { CONTROL } else { TEST };
    let mut command = workspace.cargo();
    command.args(["test", "--release", "--quiet", "-p", "sombra-cli", "--bin", "sombra", "--"]);
    command.args(["--exact", test, "--nocapture"]);
    command.env("SOMBRA_FUZZ_INPUTS", inputs.to_string());
    command.env("SOMBRA_FUZZ_SEED", seed.to_string());
    let transcript = process::run_and_keep(command)?;
    if !transcript.status.success() {
        return Err(format!("export-file: {}", transcript.status));
    }
    let ran = transcript.lines.iter().any(|line| line.contains("fuzz export-file:"));
    if ran { Ok(()) } else { Err(format!("export-file: `{test}` did not run")) }
}
