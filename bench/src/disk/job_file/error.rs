//! What is wrong with a job file, or worth knowing, and where: one line for each.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// A line of a job file, or an option of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file as it was named.
    pub source: Arc<str>,
    /// From 1; 0: the source has no lines.
    pub line: u32,
}

impl Display for Place {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}", self.source),
            line => write!(out, "{}:{line}", self.source),
        }
    }
}

/// One thing that keeps a job file from running.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct JobFileError {
    pub place: Place,
    pub problem: Problem,
}

/// What is wrong. Caller: mend the line; for `Unsupported`, run leniently or leave it out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("option '{option}': expected the name of an option{}, found none such",
        Similar(.similar))]
    UnknownOption { option: String, similar: Option<&'static str> },
    /// fio has it.
    #[error("option '{option}': known to fio, but not supported here: {reason}")]
    Unsupported { option: String, reason: Cow<'static, str> },
    /// The value cannot be read, or is out of its bounds.
    #[error("option '{option}': expected {expected}, found {found}")]
    Value { option: String, expected: Cow<'static, str>, found: String },
    /// The value is fine, but not together with the job's other options.
    #[error("job '{job}': option '{option}': expected {expected}, found {found}")]
    Conflict { job: String, option: &'static str, expected: Cow<'static, str>, found: String },
    #[error("expected {expected}, found {found}")]
    Syntax { expected: &'static str, found: String },
    #[error("include '{file}': {reason}")]
    Include { file: String, reason: String },
    #[error("expected at most {max} {what}, found more")]
    TooMany { what: &'static str, max: u64 },
}

struct Similar<'a>(&'a Option<&'static str>);

impl Display for Similar<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(out, " (did you mean '{name}'?)"),
            None => Ok(()),
        }
    }
}

/// One thing that a run tells and goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    pub place: Place,
    pub severity: Severity,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The run does what was asked, in its own way.
    Note,
    /// The run does something else than was asked.
    Warning,
}

impl Display for Notice {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
        };
        write!(out, "{}: {kind}: {}", self.place, self.text)
    }
}

/// Text of the user's for an error: shortened, and with nothing that moves the cursor.
pub(super) fn shown(text: &str) -> String {
    use crate::limits::DISK_JOB_SHOWN_CHARS_MAX as MAX;
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut short: String = text.chars().take(MAX).map(clean).collect();
    if text.chars().nth(MAX).is_some() {
        short.push_str("...");
    }
    format!("'{short}'")
}
