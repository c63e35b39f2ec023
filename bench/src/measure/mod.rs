//! What is recorded while clients run, and what is made of it.

mod aborts;
mod curve;
mod history;
mod latency;
mod ledger;
mod pace;
mod ratio;
mod window;

#[cfg(test)]
mod tests;

pub use aborts::Aborts;
pub use curve::{Curve, Spread, evenly};
pub use history::{Abort, History, Judgement, Version};
pub use latency::{Latency, Recorder};
pub use ledger::{Ledger, LedgerSlot, Verdict};
pub use pace::Pace;
pub use ratio::{Interval, Ratio, median, ratio_of_pairs};
pub use window::{Stop, Window, later};
