//! The file that `sombra export` writes and `sombra import` reads: its bytes, and what both
//! commands need around them.
//!
//! Knows the format (`docs/export-format.md`) and nothing of stores. Must never hand out a row
//! whose frame has not been verified.

mod format;
mod mark;
mod progress;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

pub(crate) use format::{Definition, Header, Totals};
pub(crate) use mark::{Mark, Position};
pub(crate) use progress::TransferProgress;
pub(crate) use reader::{ExportError, ExportReader, Frame, FrameRows};
pub(crate) use writer::ExportWriter;

/// Keyspace of a target in which an import says how far it came; gone when the import is done.
pub(crate) const IMPORT_KEYSPACE: &str = "sombra.import";

/// Whether an argument means standard input or output.
pub(crate) fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}
