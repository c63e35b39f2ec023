//! What the writer says, on its standard output.

use sombra_sim::model::{Event, Recorder};
use sombra_sim::protocol::{self, Line};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

/// The pipe. Each line is one write without a buffer of ours, so it is out when the call is.
pub(super) struct Pipe(File);

impl Pipe {
    pub(super) fn standard_output() -> std::io::Result<Pipe> {
        let copy = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Pipe(File::from(copy)))
    }

    #[cfg(test)]
    pub(super) fn into(file: File) -> Pipe {
        Pipe(file)
    }

    /// Sends whole lines, with the end of the last one.
    pub(super) fn send(&self, lines: &str) {
        if (&self.0).write_all(lines.as_bytes()).is_err() {
            // Nobody listens any more: what we would go on doing cannot be judged.
            std::process::exit(3);
        }
    }

    pub(super) fn line(&self, line: &Line) {
        self.send(&format!("{}\n", protocol::format(line)));
    }

    pub(super) fn phase(&self, name: &str, note: &str) {
        self.line(&Line::Phase { name: name.to_owned(), note: note.to_owned() });
    }
}

impl Recorder for Pipe {
    fn record(&self, event: Event) {
        self.line(&Line::Event(event));
    }
}
