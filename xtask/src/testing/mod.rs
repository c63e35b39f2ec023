//! `cargo xtask test`: all tests of all crates, then a guard that the tests which matter ran.

mod guard;
mod runner;
#[cfg(test)]
mod tests;
mod transcript;

pub(crate) use runner::{TEST_FEATURES, closing_lines_of_models};

use crate::{Failure, workspace::Workspace};
use guard::KeyTests;
use std::path::Path;

const KEY_TESTS_FILE: &str = "xtask/key-tests.txt";

/// What the runners said last, for whoever only reads the end.
pub(crate) struct Summary {
    pub(crate) closing_lines: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace) -> Result<Summary, Failure> {
    let key_tests = KeyTests::parse(&workspace.read(Path::new(KEY_TESTS_FILE))?)?;
    let unit = runner::run_tests(workspace)?;
    let doc = runner::run_doc_tests(workspace)?;
    let mut closing_lines = unit.closing_lines.clone();
    closing_lines.extend(doc.closing_lines.iter().cloned());
    println!();
    for line in &closing_lines {
        println!("{line}");
    }
    let failed: Vec<&str> = [&unit, &doc].iter().filter_map(|run| run.failure.as_deref()).collect();
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    let missing = key_tests.missing(&unit.passed);
    if !missing.is_empty() {
        return Err(format!("key tests that did not run and pass:\n  {}", missing.join("\n  ")));
    }
    let guarded = format!("guard: all {} key tests ran and passed", key_tests.len());
    println!("{guarded}");
    closing_lines.push(guarded);
    Ok(Summary { closing_lines })
}
