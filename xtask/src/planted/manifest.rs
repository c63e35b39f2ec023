//! The list of planted bugs: what each breaks, and what must find it.

use crate::{Failure, workspace::read_toml};
use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

/// Where the patches lie, with the manifest beside them.
pub(super) const FOLDER: &str = "sim/planted";
const MANIFEST: &str = "planted.toml";

/// One bug, which lies in the patch of its name.
#[derive(Debug)]
pub(super) struct Bug {
    pub(super) name: String,
    pub(super) breaks: String,
    pub(super) catcher: Catcher,
    /// Seeds until it was found when somebody looked.
    pub(super) seeds_needed: Option<u64>,
    pub(super) patch: PathBuf,
}

/// What must find a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Catcher {
    /// Seeds of the simulation, from 0 on, with further arguments of `xtask sim`.
    Seeds {
        arguments: Vec<String>,
        seeds_max: u64,
    },
    /// Seeds of recorded histories.
    Histories {
        seeds_max: u64,
    },
    /// Loom models.
    Models(Tests),
    Tests(Tests),
}

/// Tests of one binary whose names contain `filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tests {
    pub(super) package: String,
    pub(super) is_integration: bool,
    pub(super) filter: String,
}

impl Tests {
    /// Reads `package::path::of::test`, or `package::it::test` for the integration binary.
    fn parse(name: &str) -> Option<Tests> {
        let (package, path) = name.split_once("::")?;
        let (is_integration, filter) = match path.strip_prefix("it::") {
            Some(filter) => (true, filter),
            None => (false, path),
        };
        Some(Tests { package: package.to_owned(), is_integration, filter: filter.to_owned() })
    }
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = if self.is_integration { "it::" } else { "" };
        write!(f, "{}::{binary}{}", self.package, self.filter)
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Catcher::Seeds { arguments, seeds_max } => {
                let words: String = arguments.iter().map(|word| format!(" {word}")).collect();
                write!(f, "sim{words}, seeds 0..{seeds_max}")
            }
            Catcher::Histories { seeds_max } => write!(f, "histories, seeds 0..{seeds_max}"),
            Catcher::Models(tests) => write!(f, "models {tests}"),
            Catcher::Tests(tests) => write!(f, "test {tests}"),
        }
    }
}

impl Catcher {
    fn seeds_max_mut(&mut self) -> Option<&mut u64> {
        match self {
            Catcher::Seeds { seeds_max, .. } | Catcher::Histories { seeds_max } => Some(seeds_max),
            Catcher::Models(_) | Catcher::Tests(_) => None,
        }
    }

    /// Whether runs of the simulation find it.
    pub(super) fn is_of_seeds(&self) -> bool {
        matches!(self, Catcher::Seeds { .. } | Catcher::Histories { .. })
    }

    /// The same with a lower bound on seeds, if it has any.
    pub(super) fn at_most(&self, seeds: u64) -> Catcher {
        let mut bounded = self.clone();
        if let Some(seeds_max) = bounded.seeds_max_mut() {
            *seeds_max = seeds.min(*seeds_max);
        }
        bounded
    }

    pub(super) fn is_same_command(&self, other: &Catcher) -> bool {
        self.at_most(0) == other.at_most(0)
    }

    /// Allows as many seeds as `other` does.
    pub(super) fn raise_to(&mut self, other: &Catcher) {
        let mut other = other.clone();
        if let (Some(mine), Some(theirs)) = (self.seeds_max_mut(), other.seeds_max_mut()) {
            *mine = (*mine).max(*theirs);
        }
    }
}

/// Reads the manifest; each patch must have its entry and each entry its patch.
pub(super) fn load(root: &Path) -> Result<Vec<Bug>, Failure> {
    let folder = root.join(FOLDER);
    let table = read_toml(&folder.join(MANIFEST))?;
    let bugs = parse(&table, &folder)?;
    let listed: BTreeSet<&Path> = bugs.iter().map(|bug| bug.patch.as_path()).collect();
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(&folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let is_patch = path.extension().is_some_and(|extension| extension == "patch");
        if is_patch && !listed.contains(path.as_path()) {
            return Err(format!("{}: the manifest does not name it", path.display()));
        }
    }
    Ok(bugs)
}

pub(super) fn parse(table: &toml::Table, folder: &Path) -> Result<Vec<Bug>, Failure> {
    let bugs = table.get("bug").and_then(toml::Value::as_array);
    let bugs = bugs.ok_or_else(|| format!("{MANIFEST}: no [[bug]]"))?;
    let mut names = BTreeSet::new();
    let mut parsed = Vec::new();
    for bug in bugs {
        let bug = bug.as_table().ok_or_else(|| format!("{MANIFEST}: a bug is a table"))?;
        let text = |key: &str| bug.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let name = text("name").ok_or_else(|| format!("{MANIFEST}: a bug without a name"))?;
        let wrong = |what: &str| format!("{MANIFEST}: {name}: {what}");
        if !names.insert(name.clone()) {
            return Err(wrong("named twice"));
        }
        let breaks = text("breaks").ok_or_else(|| wrong("`breaks` is missing"))?;
        let catcher = catcher(bug).map_err(|what| wrong(&what))?;
        let patch = folder.join(format!("{name}.patch"));
        let seeds_needed = bug.get("seeds_needed").and_then(toml::Value::as_integer);
        let seeds_needed = seeds_needed.and_then(|seeds| u64::try_from(seeds).ok());
        if seeds_needed.is_some() && !catcher.is_of_seeds() {
            return Err(wrong("`seeds_needed`, and no seed looks for it"));
        }
        parsed.push(Bug { name, breaks, catcher, seeds_needed, patch });
    }
    Ok(parsed)
}

fn catcher(bug: &toml::Table) -> Result<Catcher, String> {
    let seeds_max = || {
        let seeds_max = bug.get("seeds_max").and_then(toml::Value::as_integer);
        seeds_max.and_then(|seeds| u64::try_from(seeds).ok()).ok_or("`seeds_max` is missing")
    };
    let tests = |value: &toml::Value| {
        value.as_str().and_then(Tests::parse).ok_or("expected `package::path::of::test`")
    };
    let kinds = ["sim", "histories", "model", "test"];
    let mut found = kinds.into_iter().filter_map(|kind| Some((kind, bug.get(kind)?)));
    let (Some((kind, value)), None) = (found.next(), found.next()) else {
        return Err(format!("expected one of {kinds:?}"));
    };
    Ok(match kind {
        "sim" => {
            let words = value.as_array().ok_or("`sim` lists arguments")?;
            let words = words.iter().map(|word| word.as_str().map(str::to_owned));
            let arguments: Option<Vec<String>> = words.collect();
            let arguments = arguments.ok_or("arguments of `sim` are text")?;
            Catcher::Seeds { arguments, seeds_max: seeds_max()? }
        }
        "histories" => Catcher::Histories { seeds_max: seeds_max()? },
        "model" => Catcher::Models(tests(value)?),
        _ => Catcher::Tests(tests(value)?),
    })
}
