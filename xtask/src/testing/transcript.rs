//! Reading what nextest and cargo's own runner print.

use super::guard::normalized;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// `crate::path::test_name`, hyphens as underscores.
    pub(super) passed: BTreeSet<String>,
    pub(super) closing_lines: Vec<String>,
    pub(super) failure: Option<String>,
}

/// Lines such as `PASS [   0.004s] (1/9) sombra-runtime buffer::tests::name`; an integration binary
/// is `sombra::it`, a program `sombra-cli::bin/sombra`.
pub(super) fn read_nextest(lines: &[String]) -> Outcome {
    let mut outcome = Outcome::default();
    for line in lines.iter().map(|line| line.trim()) {
        if line.starts_with("Summary [") {
            outcome.closing_lines.push(line.to_owned());
        }
        let passed = ["PASS [", "LEAK ["].iter().any(|word| line.starts_with(word));
        let Some((_, rest)) = line.split_once(']').filter(|_| passed) else { continue };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('(') {
            Some(counted) => counted.split_once(')').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (Some(binary), Some(test)) = (words.next(), words.next()) else { continue };
        let binary = binary.split("::bin/").next().unwrap_or(binary);
        outcome.passed.insert(normalized(&format!("{binary}::{test}")));
    }
    outcome
}

/// Lines such as `Running unittests src/lib.rs (target/debug/deps/sombra-0f3a)`, then
/// `test path::name ... ok`. `binaries` maps the file name to what stands before the path.
pub(super) fn read_libtest(lines: &[String], binaries: &BTreeMap<String, String>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut binary = String::new();
    let (mut passed, mut failed) = (0, 0);
    for line in lines.iter().map(|line| line.trim()) {
        if let Some(started) = line.strip_prefix("Running ") {
            let path = started.rsplit_once('(').map_or("", |(_, path)| path.trim_end_matches(')'));
            let name = path.rsplit('/').next().unwrap_or_default();
            binary = binaries.get(name).cloned().unwrap_or_default();
        } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| ok_test(rest)) {
            outcome.passed.insert(normalized(&format!("{binary}::{test}")));
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            passed += count_before(counts, " passed");
            failed += count_before(counts, " failed");
        }
    }
    outcome.closing_lines.push(format!("{passed} passed, {failed} failed"));
    outcome
}

fn ok_test(rest: &str) -> Option<&str> {
    let test = rest.strip_suffix(" ... ok")?;
    Some(test.strip_suffix(" - should panic").unwrap_or(test))
}

/// The number that stands before a word: 12 in `ok. 12 passed; 0 failed`.
pub(super) fn count_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len());
    let number = before.and_then(|before| before.split_whitespace().next_back());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
