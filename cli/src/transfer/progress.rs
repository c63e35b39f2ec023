//! How many bytes are through, on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error when that is a terminal.
pub(crate) struct TransferProgress {
    bar: ProgressBar,
}

impl TransferProgress {
    /// A bar for so many bytes, or a counter when nobody knows how many there are.
    pub(crate) fn new(message: &'static str, length_bytes: Option<u64>) -> TransferProgress {
        let bar = ProgressBar::with_draw_target(length_bytes, ProgressDrawTarget::stderr());
        let template = match length_bytes {
            Some(_) => "{msg} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}",
            None => "{msg} {bytes}, {bytes_per_sec}",
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(message);
        TransferProgress { bar }
    }

    pub(crate) fn reached(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
