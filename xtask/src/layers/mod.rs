//! `cargo xtask layers`: the order of the house, read from the code as tokens.

mod crates;
mod modules;
mod table;
#[cfg(test)]
mod tests;
mod world;

use crate::{
    Failure,
    findings::Findings,
    source::{self, CrateSource},
    workspace::Workspace,
};

/// The one crate with numbered layers.
const LAYERED_CRATE: &str = "engine";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let sources = source::load_all(workspace)?;
    let mut findings = Findings::default();
    crates::check(workspace, &mut findings)?;
    for source in &sources {
        world::check(source, &mut findings);
        if source.dir == LAYERED_CRATE {
            modules::check(source, &mut findings);
        }
    }
    let files: usize = sources.iter().map(|source: &CrateSource| source.files.len()).sum();
    findings.conclude("layers", &format!("{files} files of {} crates", sources.len()))
}
