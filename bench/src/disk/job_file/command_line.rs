//! Options of a job file on the command line: `--runtime=5`, and whole sections from `--name=x`.

use super::error::{JobFileError, Place, Problem, shown};
use super::read::{RawOption, RawSection};
use crate::limits::DISK_JOB_OPTIONS_MAX;

/// What the command line adds to a job file.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct CommandLine {
    /// Those before the first `--name`.
    pub(super) globals: Vec<RawOption>,
    pub(super) sections: Vec<RawSection>,
}

impl CommandLine {
    /// Whether it has a job of its own, so that a run needs no file.
    #[must_use]
    pub fn has_jobs(&self) -> bool {
        !self.sections.is_empty()
    }

    /// What it says for all jobs, without its own.
    #[must_use]
    pub fn without_jobs(&self) -> CommandLine {
        CommandLine { globals: self.globals.clone(), sections: Vec::new() }
    }
}

/// Reads arguments of the form `--option=value` or `--option`. A `--name=x` begins a section, as
/// with fio. Errors: each argument that is no option; whether the option exists is found out
/// together with the file.
pub fn parse_overrides(arguments: &[String]) -> Result<CommandLine, Vec<JobFileError>> {
    let mut line = CommandLine::default();
    let mut errors = Vec::new();
    let place = Place { source: "command line".into(), line: 0 };
    if arguments.len() > DISK_JOB_OPTIONS_MAX {
        let problem = Problem::TooMany { what: "options", max: DISK_JOB_OPTIONS_MAX as u64 };
        return Err(vec![JobFileError { place, problem }]);
    }
    for argument in arguments {
        let Some(option) = argument.strip_prefix("--").filter(|option| !option.is_empty()) else {
            let found = shown(argument);
            let problem = Problem::Syntax { expected: "--option=value", found };
            errors.push(JobFileError { place: place.clone(), problem });
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (option.to_owned(), None),
        };
        if let ("name", Some(section)) = (name.as_str(), &value) {
            let name = section.clone();
            line.sections.push(RawSection { name, place: place.clone(), options: Vec::new() });
            continue;
        }
        let options = match line.sections.last_mut() {
            Some(section) => &mut section.options,
            None => &mut line.globals,
        };
        options.push(RawOption { name, value, place: place.clone() });
    }
    if errors.is_empty() { Ok(line) } else { Err(errors) }
}
