//! A developer command that a page or script names must exist, with the flags it is given there.

use crate::{Arguments, findings::Findings};
use clap::CommandFactory;
use std::path::Path;

const CALL: &str = "cargo xtask ";

pub(super) fn check(path: &Path, text: &str, findings: &mut Findings) {
    for (index, line) in text.lines().enumerate() {
        for call in line.split(CALL).skip(1) {
            if let Some(problem) = problem_of(call) {
                findings.add(path, index + 1, problem);
            }
        }
    }
}

/// `call` is what follows `cargo xtask `, up to anything: prose, a closing back-tick, a pipe.
fn problem_of(call: &str) -> Option<String> {
    let call = call.split(['`', '|', ';', '&', ')', '"', '#']).next().unwrap_or_default();
    let mut words = call.split_whitespace();
    let name = words.next()?.trim_end_matches(['.', ',', ':']);
    if name.starts_with('<') {
        return None; // `<command>` stands for any of them
    }
    let command = Arguments::command();
    let Some(found) = command.get_subcommands().find(|found| found.get_name() == name) else {
        return Some(format!("`{CALL}{name}`: no such command"));
    };
    let flags = words.filter_map(|word| word.trim_start_matches('[').strip_prefix("--"));
    let flags = flags.map(|flag| flag.split(['=', ']', '.', ',']).next().unwrap_or_default());
    let known = |flag: &str| found.get_arguments().any(|known| known.get_long() == Some(flag));
    let unknown = flags.filter(|flag| !flag.is_empty()).find(|flag| !known(flag))?;
    Some(format!("`{CALL}{name} --{unknown}`: no such flag"))
}
