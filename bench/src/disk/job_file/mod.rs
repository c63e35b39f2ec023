//! fio's job files: text into typed jobs, with every error of the file by its line.
//!
//! Knows fio's options and how they go together. Reads no file, environment or clock itself, so
//! any input can be tried on it: what it needs of the world is in [`Surroundings`].

mod check;
mod command_line;
mod draft;
mod error;
mod expand;
mod expression;
mod options;
mod read;
mod resolve;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

pub use command_line::{CommandLine, parse_overrides};
pub use draft::default_job;
pub use error::{JobFileError, Notice, Place, Problem, Severity};
pub use options::option_names;

use self::draft::{Draft, Given};
use self::error::shown;
use self::options::Support;
use self::read::{RawOption, RawSection};
use super::job::Job;
use crate::limits::{DISK_JOB_ERRORS_MAX, DISK_JOB_VALUE_BYTES_MAX};

/// Reads an included file; the error says in words what was found.
pub type Loader<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// What a job file may ask of the world.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// A variable of the environment, for `${NAME}`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub load: Loader<'a>,
    /// The CPUs that exist; `None`: any number is believed.
    pub cpus: Option<&'a [usize]>,
    /// For `$pagesize`, and `$mb_memory`.
    pub page_bytes: u64,
    pub memory_bytes: u64,
    /// Options that are not supported are warned of, not refused.
    pub lenient: bool,
}

impl Surroundings<'static> {
    /// Nothing of the world: for a text that is the program's own.
    pub const NONE: Surroundings<'static> = Surroundings {
        variable: &|_| None,
        load: &|_| Err("nothing is included here".to_owned()),
        cpus: None,
        page_bytes: 4096,
        memory_bytes: 0,
        lenient: false,
    };
}

/// The jobs of a file, in its order, and what the run should tell about them.
#[derive(Clone, PartialEq, Debug)]
pub struct JobFile {
    pub jobs: Vec<Job>,
    /// Options that hold for all jobs, as written: of the `[global]` sections and the command line.
    pub globals: Vec<(String, String)>,
    pub notices: Vec<Notice>,
}

impl JobFile {
    /// Reads `text`, which stands in the file `source`; includes are relative to it.
    ///
    /// Options of the command line count as the last of the globals: they override those of the
    /// file's `[global]` sections (fio lets the file win), and the sections' own override them.
    /// Sections of the command line come after those of the file.
    ///
    /// Errors: all of the file's, in the order of the lines.
    pub fn parse(
        text: &str,
        source: &str,
        command_line: &CommandLine,
        surroundings: &Surroundings<'_>,
    ) -> Result<JobFile, Vec<JobFileError>> {
        let mut errors = Vec::new();
        let sections = read::sections(text, source, surroundings.load, &mut errors);
        let mut reading = Reading { surroundings, errors, notices: Vec::new(), jobs: Vec::new() };
        reading.sections(&sections, command_line, source);
        let Reading { mut errors, notices, jobs, .. } = reading;
        if errors.is_empty() {
            check::whole_file(&jobs, source, &mut errors);
        }
        let global = sections.iter().filter(|section| section.is_global());
        let options = global.flat_map(|section| &section.options).chain(&command_line.globals);
        let globals = recorded(options);
        if errors.is_empty() { Ok(JobFile { jobs, globals, notices }) } else { Err(errors) }
    }
}

struct Reading<'a> {
    surroundings: &'a Surroundings<'a>,
    errors: Vec<JobFileError>,
    notices: Vec<Notice>,
    jobs: Vec<Job>,
}

impl Reading<'_> {
    fn sections(&mut self, sections: &[RawSection], command_line: &CommandLine, source: &str) {
        let mut global = Draft::new(Place { source: source.into(), line: 0 });
        let mut base = global.clone();
        self.options(&mut base, &command_line.globals);
        for section in sections {
            if self.errors.len() > DISK_JOB_ERRORS_MAX {
                return;
            }
            if !section.is_global() {
                self.section(&base, section);
                continue;
            }
            self.options(&mut global, &section.options);
            base = global.clone();
            // What it found wrong in them it has told already.
            let told = (self.errors.len(), self.notices.len());
            self.options(&mut base, &command_line.globals);
            self.errors.truncate(told.0);
            self.notices.truncate(told.1);
        }
        for section in &command_line.sections {
            self.section(&base, section);
        }
    }

    fn section(&mut self, base: &Draft, section: &RawSection) {
        let mut draft = base.clone();
        draft.here = section.place.clone();
        draft.job.name.clone_from(&section.name);
        let before = self.errors.len();
        self.options(&mut draft, &section.options);
        let had_errors = self.errors.len() > before;
        draft.here = section.place.clone();
        draft.job.options = recorded(&section.options);
        resolve::finish(&mut draft);
        // Options that could not be read stand at their defaults: what does not go together with
        // those says nothing.
        if !had_errors {
            check::job(&mut draft, self.surroundings, &mut self.errors);
        }
        self.notices.append(&mut draft.notices);
        self.jobs.push(draft.job);
    }

    fn options(&mut self, draft: &mut Draft, options: &[RawOption]) {
        // fio reads the unit's base before anything that it may count.
        let (bases, others): (Vec<_>, Vec<_>) =
            options.iter().partition(|option| option.name == "kb_base");
        for option in bases.into_iter().chain(others) {
            draft.here = option.place.clone();
            if let Err(problem) = self.option(draft, option) {
                self.errors.push(JobFileError { place: option.place.clone(), problem });
            }
            self.notices.append(&mut draft.notices);
        }
    }

    fn option(&mut self, draft: &mut Draft, option: &RawOption) -> Result<(), Problem> {
        let name = &option.name;
        let Some(row) = options::find(name) else {
            let similar = options::similar(name);
            return Err(Problem::UnknownOption { option: short(name), similar });
        };
        let value = match &option.value {
            Some(value) => Some(expand::value(value, draft, self.surroundings)),
            None => None,
        };
        let wrong = |expected| Problem::Value {
            option: short(name),
            expected,
            found: value.as_deref().map_or_else(|| "none".into(), shown),
        };
        if value.as_ref().is_some_and(|value| value.len() > DISK_JOB_VALUE_BYTES_MAX) {
            let expected = format!("a value of at most {DISK_JOB_VALUE_BYTES_MAX} bytes");
            return Err(wrong(expected.into()));
        }
        match row.support {
            Support::Set(setter) => {
                setter(draft, Given { value: value.as_deref() }).map_err(wrong)?;
                draft.given_at(row.name(), &option.place);
            }
            Support::Accept("") => {}
            Support::Accept(why) => draft.note(format!("option '{name}' has no effect: {why}")),
            Support::Refuse { off, reason } => {
                if value.as_deref().is_some_and(|value| off.contains(&value)) {
                    return Ok(());
                }
                if !self.surroundings.lenient {
                    return Err(Problem::Unsupported {
                        option: short(name),
                        reason: reason.into(),
                    });
                }
                draft.warn(format!("option '{name}' is not supported, and left out: {reason}"));
            }
        }
        Ok(())
    }
}

/// A section's options by fio's own names, as its JSON report has them.
fn recorded<'a>(options: impl IntoIterator<Item = &'a RawOption>) -> Vec<(String, String)> {
    let known =
        options.into_iter().filter_map(|option| Some((options::find(&option.name)?, option)));
    known
        .map(|(row, option)| (row.name().to_owned(), option.value.clone().unwrap_or_default()))
        .collect()
}

/// An option's name for an error, without quotes.
fn short(name: &str) -> String {
    let quoted = shown(name);
    quoted.trim_matches('\'').to_owned()
}
