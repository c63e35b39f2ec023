//! A progress bar on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a run is, on standard error when that is a terminal.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar that is drawn only when `visible` and standard error is a terminal.
    #[must_use]
    pub fn new(visible: bool) -> Progress {
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{msg:32} [{bar:32}] {percent:>3} %")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        Progress { bar }
    }

    /// Begins a phase of `length` units of work.
    pub fn begin(&self, phase: &str, length: u64) {
        self.bar.set_length(length.max(1));
        self.bar.set_position(0);
        self.bar.set_message(phase.to_owned());
        self.bar.tick();
    }

    /// Begins a phase of a known time.
    pub fn begin_timed(&self, phase: &str, time: Duration) {
        self.begin(phase, milliseconds(time));
    }

    /// Work done since the last call.
    pub fn advance(&self, units: u64) {
        self.bar.inc(units);
    }

    /// Time passed since the phase began.
    pub fn elapsed(&self, time: Duration) {
        self.bar.set_position(milliseconds(time));
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
