//! Commands that consist of many steps: each one's outcome is told, the others go on, and a table
//! at the end says what failed and what was left out.

use crate::{Failure, process, workspace::Workspace};
use std::process::Command;
use std::time::{Duration, Instant};

/// A step that did not fail.
pub(crate) enum Done {
    /// Lines that the table should show again.
    Passed(Vec<String>),
    /// Why it does not run here.
    Skipped(String),
}

/// What has been run by now.
pub(crate) struct Steps {
    begun: Instant,
    report: Vec<String>,
    closing: Vec<String>,
    failed: Vec<String>,
}

impl Steps {
    pub(crate) fn begin() -> Steps {
        Steps { begun: Instant::now(), report: vec![], closing: vec![], failed: vec![] }
    }

    /// Runs a step; false when it failed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Done, Failure>) -> bool {
        println!("\n== {name}");
        let begun = Instant::now();
        let outcome = step();
        let took = begun.elapsed();
        let is_failure = outcome.is_err();
        let verdict = match outcome {
            Ok(Done::Passed(lines)) => {
                self.closing.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
                "ok".to_owned()
            }
            Ok(Done::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(failure) => {
                self.failed.push(name.to_owned());
                format!("FAILED: {failure}")
            }
        };
        let line = format!("{name:<22} {:>7.1} s  {verdict}", took.as_secs_f64());
        println!("{line}");
        self.report.push(line);
        !is_failure
    }

    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The table, and a failure that names what failed.
    pub(crate) fn conclude(self) -> Result<(), Failure> {
        println!("\n== summary");
        for line in self.closing.iter().chain(&self.report) {
            println!("{line}");
        }
        println!("{:<22} {:>7.1} s", "all", self.took().as_secs_f64());
        match self.failed.as_slice() {
            [] => Ok(()),
            failed => Err(format!("failed: {}", failed.join(", "))),
        }
    }
}

/// This tool's optimised build: crash, seed and fuzz runs are worth having in numbers.
pub(crate) fn released<S: AsRef<str>>(workspace: &Workspace, arguments: &[S]) -> Command {
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--quiet", "-p", "xtask", "--"]);
    command.args(arguments.iter().map(AsRef::as_ref));
    command
}

pub(crate) fn passes(mut command: Command) -> Result<Done, Failure> {
    process::run(&mut command).map(|()| Done::Passed(Vec::new()))
}
