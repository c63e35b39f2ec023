//! `cargo xtask tidy`: what a reader would stumble over and a compiler does not see.

mod commands;
mod markdown;
mod nightly;
mod rust;
mod test_names;
#[cfg(test)]
mod tests;

use crate::{Failure, findings::Findings, source, workspace::Workspace};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let sources = source::load_all(workspace)?;
    let mut files = 0;
    for source in &sources {
        files += source.files.len();
        for path in &source.unreached {
            findings.add(path, 1, "no `mod` declaration leads to this file");
        }
        for file in &source.files {
            rust::check(file, &mut findings);
        }
    }
    let pages = workspace.files("md")?;
    markdown::check(workspace, &pages, &mut findings)?;
    let packages: BTreeSet<String> =
        workspace.members().values().map(|package| package.replace('-', "_")).collect();
    let names = test_names::function_names(&sources);
    for path in &pages {
        let text = workspace.read(path)?;
        test_names::check(path, &text, &packages, &names, &mut findings);
    }
    for path in pages.iter().cloned().chain(scripts(workspace)) {
        commands::check(&path, &workspace.read(&path)?, &mut findings);
    }
    nightly::check(&workspace.read(Path::new(nightly::PAGE))?, &mut findings);
    findings.conclude("tidy", &format!("{files} source files and {} pages", pages.len()))
}

/// Files besides the pages that call developer commands.
fn scripts(workspace: &Workspace) -> impl Iterator<Item = PathBuf> {
    let known = [".ci/run", "scripts/run-prod-sanity.sh"].map(Path::new);
    let root = workspace.root().to_owned();
    known.into_iter().filter(move |path| root.join(path).exists()).map(Path::to_owned)
}
