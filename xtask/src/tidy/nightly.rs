//! The page of the test matrices names exactly the commands that the night runs.

use crate::{findings::Findings, nightly};
use std::path::Path;

pub(super) const PAGE: &str = "docs/test-matrices/README.md";
const ROW: &str = "| nightly |";
const CALL: &str = "cargo xtask ";

pub(super) fn check(text: &str, findings: &mut Findings) {
    let page = Path::new(PAGE);
    let Some((index, row)) = text.lines().enumerate().find(|(_, line)| line.starts_with(ROW))
    else {
        return findings.add(page, 1, format!("no row begins with `{ROW}`"));
    };
    let code = row.split('`').skip(1).step_by(2);
    let named: Vec<&str> = code.filter_map(|code| code.strip_prefix(CALL)).collect();
    // A step whose command this build does not have cannot be named: the page would be wrong.
    let run = nightly::STEPS.iter().filter(|step| nightly::is_known(step));
    let run: Vec<&str> = run.map(|step| step.command).chain(["nightly"]).collect();
    for missing in run.iter().filter(|command| !named.contains(command)) {
        findings.add(page, index + 1, format!("the night runs `{CALL}{missing}`: not named here"));
    }
    for extra in named.iter().filter(|command| !run.contains(command)) {
        findings.add(page, index + 1, format!("the night does not run `{CALL}{extra}`"));
    }
}
