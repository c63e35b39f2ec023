//! Standard output, buffered, whose reader may leave at any time.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::sync::Arc;

use serde::Serialize;
use sombra_bench::Progress;

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

/// Tells `bar` of the tablets that are done, for a command that is `doing` something with each.
pub(crate) fn tablets_done(
    bar: &Arc<Progress>,
    doing: &str,
) -> impl FnMut(usize, usize) + Send + 'static {
    bar.begin(doing, 1);
    let (shown, what) = (Arc::clone(bar), format!("{doing} tablets"));
    let mut was_done = 0;
    move |done: usize, tablets: usize| {
        if done == 0 {
            shown.begin(&what, tablets as u64);
        }
        shown.advance((done - was_done) as u64);
        was_done = done;
    }
}
