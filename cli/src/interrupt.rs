//! Ctrl-C as a request: the first ends the run in order, the second at once.

use std::process;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use sombra_bench::Stop;

use crate::Outcome;
use crate::failure::Failure;

const EXIT_INTERRUPTED: i32 = 130;

/// Turns interrupt and termination signals into a stop request.
///
/// Called before any other thread starts: threads inherit the mask, so that the signals wait for
/// the one thread that takes them, and no handler runs in the middle of anything.
pub(crate) fn watch(stop: &Stop) -> Outcome {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    let failed = |reason: String| Failure::Work(format!("waiting for signals: {reason}"));
    signals.thread_block().map_err(|errno| failed(errno.to_string()))?;
    let stop = stop.clone();
    let wait = move || {
        while signals.wait().is_ok() {
            if stop.is_requested() {
                process::exit(EXIT_INTERRUPTED);
            }
            stop.request();
        }
    };
    let thread = thread::Builder::new().name("sombra-signals".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| failed(error.to_string()))
}
