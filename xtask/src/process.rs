//! Running other programs: shown while they run, and kept where the caller has to read them.

use crate::Failure;
use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitStatus},
};

pub(crate) fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    if let Some(name) = words[0].rsplit('/').next() {
        words[0] = name.to_owned();
    }
    words.join(" ")
}

/// Runs to the end with the caller's terminal; a non-zero exit is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    expect_success(command, status)
}

/// Runs to the end and returns what it wrote to its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    expect_success(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True when the program starts and exits with zero; its output is dropped.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(crate) struct Transcript {
    pub(crate) lines: Vec<String>,
    pub(crate) status: ExitStatus,
}

/// Runs to the end, printing each line and keeping it. Both streams share one pipe, so their order
/// is the order in which the program wrote.
pub(crate) fn run_and_keep(mut command: Command) -> Result<Transcript, Failure> {
    let (reader, writer) =
        std::io::pipe().map_err(|error| format!("cannot open a pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("cannot copy a pipe: {error}"))?;
    command.stdout(writer).stderr(second);
    let started = command.spawn();
    let mut child = started.map_err(|error| cannot_start(&command, &error))?;
    drop(command); // it holds the pipe's writing ends: without this the reader never sees the end
    let mut lines = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(|error| format!("cannot read the output: {error}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line}");
        lines.push(line);
    }
    let status = child.wait().map_err(|error| format!("cannot wait for the end: {error}"))?;
    Ok(Transcript { lines, status })
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    format!("cannot start `{}`: {error}", describe(command))
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", describe(command))) }
}
