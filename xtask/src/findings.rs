//! What a check found, where, and under which rule.

use crate::{Failure, limits::FINDINGS_PRINTED_MAX};
use std::path::Path;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    pub(crate) fn add(&mut self, file: &Path, line: usize, text: impl Into<String>) {
        self.found.push(Finding { file: file.display().to_string(), line, text: text.into() });
    }

    /// Prints every finding and turns "some" into a failure that names the check.
    pub(crate) fn conclude(mut self, check: &str, looked_at: &str) -> Result<(), Failure> {
        self.found.sort();
        self.found.dedup();
        for finding in self.found.iter().take(FINDINGS_PRINTED_MAX) {
            println!("{}:{}: {}", finding.file, finding.line, finding.text);
        }
        match self.found.len() {
            0 => {
                println!("{check}: {looked_at}, nothing found");
                Ok(())
            }
            count => Err(format!("{check}: {count} findings in {looked_at}")),
        }
    }

    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.found.iter().map(|finding| finding.text.as_str()).collect()
    }
}
