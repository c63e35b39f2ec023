//! Runs a plan.

mod content;
mod cpu;
mod files;
mod gauge;
mod operations;
mod pace;
mod slots;
mod thread;
mod verify;

use std::error::Error;

/// An error and what it came from, in one line.
fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
