//! The seeds that found a bug: `sim/seeds.txt`, one a line, each of which must pass.

use crate::{Failure, workspace::Workspace};
use sombra_sim::seeds::{Load, SeedOptions, run_seed};
use std::fs;

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    seed: u64,
    ops: Option<u64>,
    load: Option<Load>,
}

/// Runs all of them.
pub(super) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let path = workspace.root().join("sim/seeds.txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let known = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut failed = Vec::new();
    for Known { seed, ops, load } in &known {
        let report = run_seed(*seed, &SeedOptions::of(*load, *ops));
        if let Some(failure) = report.failure {
            println!("seed {seed}: {failure}");
            failed.push(seed.to_string());
        }
    }
    println!("seeds that once failed: {} run, {} failed", known.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("seeds failed: {}", failed.join(" "))) }
}

fn parse(text: &str) -> Result<Vec<Known>, String> {
    let mut known = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            known.push(parse_line(line).map_err(|why| format!("line {}: {why}", number + 1))?);
        }
    }
    Ok(known)
}

fn parse_line(line: &str) -> Result<Known, String> {
    let mut words = line.split_whitespace();
    let number = |word: &str| word.parse().map_err(|_| format!("`{word}` is not a number"));
    let mut known = Known { seed: number(words.next().unwrap_or(""))?, ops: None, load: None };
    for word in words {
        match word.split_once('=') {
            Some(("ops", value)) => known.ops = Some(number(value)?),
            Some(("load", value)) => known.load = Some(value.parse()?),
            _ => return Err(format!("expected ops=N or load=NAME, found `{word}`")),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_seeds_are_numbers_with_options_and_remarks() {
        let known = parse("# all\n7 # plain\n\n8 ops=100 load=data # short\n");
        let plain = Known { seed: 7, ops: None, load: None };
        let short = Known { seed: 8, ops: Some(100), load: Some(Load::Data) };
        assert_eq!(known, Ok(vec![plain, short]));
        for wrong in ["x", "7 ops=many", "7 loud", "7 load=none"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Every seed has a row that names it, and the heading says how many bugs there are.
    #[test]
    fn every_known_seed_has_its_row_in_the_document() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let read = |name: &str| fs::read_to_string(root.join(name)).expect(name);
        let document = read("docs/testing.md");
        let (_, bugs) = document.split_once("## Bugs that were found").expect("its heading");
        let (bugs, _) = bugs.split_once("## Planted bugs").expect("the next heading");
        let rows = bugs.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
        let found_by: Vec<&str> = rows.filter_map(|row| row.split(" | ").nth(1)).collect();
        let words = |cell: &&str| cell.split([' ', ',']).map(str::to_owned).collect::<Vec<_>>();
        let named: Vec<String> = found_by.iter().flat_map(words).collect();
        for known in parse(&read("sim/seeds.txt")).expect("it is read by the command") {
            let seed = known.seed.to_string();
            assert!(named.contains(&seed), "no row for seed {seed}");
        }
        let (table, _) = bugs.split_once("faults of the harness").expect("the second table");
        let count = table.lines().filter(|line| line.starts_with("| ")).count() - 1;
        let told = format!("{count} bugs of correctness");
        assert!(table.contains(&told), "the heading does not say `{told}`");
    }
}
