//! What writers reported, each report beside the disk's position: what was known at a cut?
//!
//! A report that was heard at a position was written before it; what it promises was durable
//! earlier still. And what had not been written when a position was passed is in no state cut
//! there: a read of the pipe that came back short had emptied it.

#[cfg(test)]
mod tests;

use std::io::Read;

/// Bytes of one read of the pipe; one that brings fewer has emptied it.
const READ_BYTES: usize = 64 << 10;

/// The reports of one process, in their order.
#[derive(Default)]
pub(super) struct Lines {
    /// The disk's position when the process began.
    started_at: u64,
    lines: Vec<Heard>,
    reads: Vec<PipeRead>,
}

struct Heard {
    text: String,
    at: u64,
}

struct PipeRead {
    asked_at: u64,
    emptied: bool,
    /// Lines heard by its end.
    lines: usize,
}

impl Lines {
    pub(super) fn starting_at(position: u64) -> Lines {
        Lines { started_at: position, ..Lines::default() }
    }

    /// Listens to a process until its end of the pipe is gone. What arrives without a line's end
    /// was not written by one call, so nothing was promised by it.
    pub(super) fn hear(
        &mut self,
        mut pipe: impl Read,
        position: impl Fn() -> u64,
        mut look: impl FnMut(&str),
    ) {
        let mut buffer = vec![0; READ_BYTES];
        let mut rest = Vec::new();
        loop {
            let asked_at = position();
            let Ok(count @ 1..) = pipe.read(&mut buffer) else { return };
            let at = position();
            rest.extend_from_slice(&buffer[..count]);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in rest[..whole].split_inclusive(|byte| *byte == b'\n') {
                let text = String::from_utf8_lossy(&line[..line.len() - 1]).into_owned();
                look(&text);
                self.lines.push(Heard { text, at });
            }
            rest.drain(..whole);
            let emptied = count < buffer.len() && rest.is_empty();
            self.reads.push(PipeRead { asked_at, emptied, lines: self.lines.len() });
        }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.text.clone()).collect()
    }

    /// The note of the last phase of this name.
    pub(super) fn phase(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ Heard| line.text.starts_with(&format!("P {name} "));
        let line = self.lines.iter().rfind(|line| of(line))?;
        Some(&line.text[name.len() + 3..])
    }

    /// The line that ends the showing of the store.
    fn shown(&self) -> Option<usize> {
        self.lines.iter().position(|line| line.text == "V")
    }

    /// Up to which position none of its clients had begun, because it had not shown the store, and
    /// from which on it had. Between the two nobody can say.
    fn began(&self) -> (u64, u64) {
        let shown = self.shown();
        let working_from = shown.map_or(u64::MAX, |shown| self.lines[shown].at);
        let shown = shown.unwrap_or(usize::MAX);
        let before = self.reads.iter().rfind(|read| read.emptied && read.lines <= shown);
        (before.map_or(self.started_at, |read| read.asked_at), working_from)
    }

    /// What was certainly promised before the cut, and all that may have been tried.
    fn known_at(&self, cut: u64) -> Vec<String> {
        let horizon = self.reads.iter().find(|read| read.emptied && read.asked_at >= cut);
        let horizon = horizon.map_or(self.lines.len(), |read| read.lines);
        let is_known = |line: &&Heard| line.at <= cut || !is_promise(&line.text);
        self.lines[..horizon].iter().filter(is_known).map(|line| line.text.clone()).collect()
    }
}

/// Reports of what was answered or read, as opposed to what is about to be tried.
fn is_promise(text: &str) -> bool {
    let kind = text.split(' ').next().unwrap_or("");
    !matches!(kind, "I" | "c" | "d")
}

/// The positions at which it is unclear whether a process had begun to write.
pub(super) struct Unclear(Vec<(u64, u64)>);

impl Unclear {
    pub(super) fn of(lives: &[Lines]) -> Unclear {
        Unclear(lives.iter().map(Lines::began).collect())
    }

    pub(super) fn has(&self, cut: u64) -> bool {
        self.0.iter().any(|(before, working)| *before < cut && cut < *working)
    }
}

/// What the processes before a cut that is not unclear had reported, one after the other.
pub(super) fn known_at(lives: &[Lines], cut: u64) -> Vec<Vec<String>> {
    let at_work = lives.iter().filter(|life| life.began().1 <= cut);
    at_work.map(|life| life.known_at(cut)).collect()
}
