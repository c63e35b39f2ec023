//! Puts the outcome of a run into fio's words: text, JSON, log files. Measures nothing.

pub mod json;
mod json_writer;
pub mod logs;
mod number;
mod rows;
pub mod table;
mod table_job;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use rows::{Head, heads_of};

use super::outcome::RunOutcome;

/// How an outcome is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Text for people, and for what reads fio's.
    Normal,
    Json,
    /// `json+`: with every latency bucket.
    JsonPlus,
}

impl Format {
    /// Reads `--output-format`, e.g. `normal,json+`.
    ///
    /// Errors: the first name that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Format>, String> {
        let parse = |name: &str| match name.trim() {
            "normal" => Ok(Format::Normal),
            "json" => Ok(Format::Json),
            "json+" => Ok(Format::JsonPlus),
            other => Err(other.to_owned()),
        };
        text.split(',').map(parse).collect()
    }
}

/// What comes after a run, in fio's order: JSON, then text. With `json` and `json+` only the
/// latter.
pub fn render_results(outcome: &RunOutcome, formats: &[Format]) -> String {
    let mut text = String::new();
    if formats.contains(&Format::JsonPlus) {
        text += &json::render(outcome, json::Detail::Bins);
    } else if formats.contains(&Format::Json) {
        text += &json::render(outcome, json::Detail::Percentiles);
    }
    if formats.contains(&Format::Normal) {
        text += "\n";
        text += &table::render_results(outcome);
    }
    text
}

pub(super) use number::{status_count, status_speed};
