//! Standard output, buffered, whose reader may leave at any time.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::Outcome;

/// Locks standard output for one command.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Prints one JSON document, indented.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Writes one JSON document on a line of its own.
pub(crate) fn write_json_line(out: &mut impl Write, value: &impl Serialize) -> Outcome {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}
