//! The text of a job file as sections of options: comments, includes, and where each line stands.
//! Knows no option by name but `include`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Loader;
use super::error::{JobFileError, Place, Problem, shown};
use crate::limits::{
    DISK_JOB_ERRORS_MAX, DISK_JOB_FILE_BYTES_MAX, DISK_JOB_INCLUDE_DEPTH_MAX,
    DISK_JOB_INCLUDES_MAX, DISK_JOB_OPTIONS_MAX, DISK_JOB_SECTIONS_MAX,
};

/// An option as written.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RawOption {
    pub(super) name: String,
    /// `None`: no `=`.
    pub(super) value: Option<String>,
    pub(super) place: Place,
}

/// A section as written.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RawSection {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) options: Vec<RawOption>,
}

impl RawSection {
    pub(super) fn is_global(&self) -> bool {
        self.name == "global"
    }
}

/// Reads `text`, and what it includes, into sections. Errors go to `errors`, and the reading goes
/// on behind them.
pub(super) fn sections(
    text: &str,
    source: &str,
    load: Loader<'_>,
    errors: &mut Vec<JobFileError>,
) -> Vec<RawSection> {
    let mut reader = Reader {
        load,
        errors,
        sections: Vec::new(),
        including: Vec::new(),
        includes: 0,
        options: 0,
        bytes: 0,
    };
    reader.file(text, Path::new(source));
    reader.sections
}

struct Reader<'a> {
    load: Loader<'a>,
    errors: &'a mut Vec<JobFileError>,
    sections: Vec<RawSection>,
    /// The files that are being read: the first, what it includes, and so on.
    including: Vec<PathBuf>,
    includes: usize,
    options: usize,
    bytes: usize,
}

impl Reader<'_> {
    fn file(&mut self, text: &str, path: &Path) {
        let source: Arc<str> = path.to_string_lossy().into();
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > DISK_JOB_FILE_BYTES_MAX {
            let place = Place { source, line: 0 };
            return self.too_many(place, "bytes over all files", DISK_JOB_FILE_BYTES_MAX);
        }
        self.including.push(path.to_owned());
        for (index, line) in text.lines().enumerate() {
            if self.errors.len() > DISK_JOB_ERRORS_MAX {
                break;
            }
            let line_number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let place = Place { source: Arc::clone(&source), line: line_number };
            let line = line.split(['#', ';']).next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                self.section(rest, place);
            } else if let Some(name) = included(line) {
                self.include(name, place);
            } else {
                self.option(line, place);
            }
        }
        self.including.pop();
    }

    fn section(&mut self, rest: &str, place: Place) {
        if self.including.len() > 1 {
            let expected = "an included file to have options only";
            return self.syntax(place, expected, format!("a section: {}", shown(rest)));
        }
        let Some((name, behind)) = rest.split_once(']') else {
            return self.syntax(place, "']' at the end of a section's name", shown(rest));
        };
        if name.trim().is_empty() {
            return self.syntax(place, "a section's name between '[' and ']'", "none".into());
        }
        if !behind.trim().is_empty() {
            return self.syntax(place, "nothing behind a section's name", shown(behind.trim()));
        }
        if self.sections.len() >= DISK_JOB_SECTIONS_MAX {
            return self.too_many(place, "sections", DISK_JOB_SECTIONS_MAX);
        }
        self.sections.push(RawSection { name: name.into(), place, options: Vec::new() });
    }

    fn option(&mut self, line: &str, place: Place) {
        self.options += 1;
        if self.options > DISK_JOB_OPTIONS_MAX {
            return self.too_many(place, "options", DISK_JOB_OPTIONS_MAX);
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (line, None),
        };
        if name.is_empty() {
            return self.syntax(place, "the name of an option before '='", shown(line));
        }
        let Some(section) = self.sections.last_mut() else {
            return self.syntax(place, "a section, like [global], before options", shown(line));
        };
        section.options.push(RawOption { name: name.into(), value, place });
    }

    fn include(&mut self, name: &str, place: Place) {
        let mut refuse = |reason: String| {
            let problem = Problem::Include { file: name.to_owned(), reason };
            self.errors.push(JobFileError { place: place.clone(), problem });
        };
        if self.including.len() > DISK_JOB_INCLUDE_DEPTH_MAX {
            let max = DISK_JOB_INCLUDE_DEPTH_MAX;
            return refuse(format!("expected at most {max} files inside each other, found more"));
        }
        self.includes += 1;
        if self.includes > DISK_JOB_INCLUDES_MAX {
            return self.too_many(place, "includes", DISK_JOB_INCLUDES_MAX);
        }
        let beside = self.including.last().and_then(|path| path.parent());
        let path = beside.map_or_else(|| PathBuf::from(name), |parent| parent.join(name));
        if self.including.contains(&path) {
            return refuse("expected a file that does not include itself, found a cycle".into());
        }
        match (self.load)(&path) {
            Ok(text) => self.file(&text, &path),
            Err(reason) => refuse(format!("expected a readable file, found {reason}")),
        }
    }

    fn syntax(&mut self, place: Place, expected: &'static str, found: String) {
        self.errors.push(JobFileError { place, problem: Problem::Syntax { expected, found } });
    }

    fn too_many(&mut self, place: Place, what: &'static str, max: usize) {
        // Once is enough: the rest of the file would say the same.
        let problem = Problem::TooMany { what, max: max as u64 };
        if !self.errors.iter().any(|error| error.problem == problem) {
            self.errors.push(JobFileError { place, problem });
        }
    }
}

/// The file name of an `include FILE` line.
fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("include")?;
    rest.starts_with(char::is_whitespace).then(|| rest.trim())
}
