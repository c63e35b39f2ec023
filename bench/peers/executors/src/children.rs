//! Every side of a comparison is a process of its own, so that what its CPU time counts is the same
//! for all: everything, from its start to its end, kernel workers included.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::UsageWho;

use crate::AnyError;
use crate::arguments::{CHILD, Side};
use crate::figures::{JobFigures, cpu_us};
use crate::fio;

/// One process that has ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Ended {
    pub(crate) jobs: Vec<JobFigures>,
    /// In user and kernel, of the process and of those that it has waited for.
    pub(crate) cpu_us: f64,
}

/// Runs the job file as it is, with options above its `[global]`, to the end.
pub(crate) fn run(side: Side, job_file: &Path, options: &[String]) -> Result<Ended, AnyError> {
    let mut command = match side {
        Side::Executor(executor) => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([CHILD, "--executor", executor.name()]);
            command
        }
        Side::Fio => {
            let mut command = Command::new("fio");
            command.args(["--output-format=json", "--eta=never"]);
            command
        }
    };
    command.args(options).arg(job_file).stderr(Stdio::inherit());
    let before_us = cpu_us(UsageWho::RUSAGE_CHILDREN)?;
    let output = command.output().map_err(|error| format!("{}: {error}", side.name()))?;
    let cpu_us = cpu_us(UsageWho::RUSAGE_CHILDREN)? - before_us;
    if !output.status.success() {
        return Err(format!("{}: {}", side.name(), output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let jobs = match side {
        Side::Executor(_) => serde_json::from_str(&text)?,
        Side::Fio => fio::jobs(&text)?,
    };
    Ok(Ended { jobs, cpu_us })
}
