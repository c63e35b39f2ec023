//! `cargo xtask planted`: known bugs, each planted alone into a copy of the workspace, and each to
//! be found by what the manifest names. A test that finds nothing that was planted proves little.
//!
//! Knows the order of a campaign: the copy as it is must pass everything first. A patch that does
//! not apply or build, and a command that never ends, find nothing: they are errors.

mod catch;
mod manifest;
mod replica;
#[cfg(test)]
mod tests;

use crate::{Failure, limits::PLANTED_CONTROL_SEEDS_MAX, workspace::Workspace};
use catch::{Hunt, Verdict};
use manifest::{Bug, Catcher};
use replica::Replica;
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct PlantedArguments {
    /// This bug only; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Names the bugs and tells whether their patches apply; runs nothing
    #[arg(long)]
    list: bool,
    /// Prints the table of bugs that docs/testing.md holds; runs nothing
    #[arg(long, conflicts_with = "list")]
    table: bool,
    /// At most so many seeds for a bug, whatever the manifest allows
    #[arg(long, value_name = "N")]
    seeds_max: Option<u64>,
    /// Leaves out the run of everything on the copy as it is
    #[arg(long)]
    no_control: bool,
    /// Seeds that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
}

/// What became of one bug.
struct Row {
    name: String,
    breaks: String,
    outcome: Result<Verdict, Failure>,
    seconds: f64,
}

pub(crate) fn run(workspace: &Workspace, arguments: &PlantedArguments) -> Result<(), Failure> {
    let bugs = chosen(manifest::load(workspace.root())?, &arguments.only)?;
    if arguments.table {
        print!("{}", table(&bugs));
        return Ok(());
    }
    let replica = Replica::make(workspace)?;
    if arguments.list {
        return list(&replica, &bugs);
    }
    let mut hunt = Hunt { replica: &replica, jobs: arguments.jobs, clean: None };
    if !arguments.no_control {
        control(&hunt, &bugs)?;
    }
    if bugs.iter().any(|bug| bug.catcher.is_of_seeds()) {
        hunt.keep_clean()?;
    }
    let mut rows = Vec::new();
    for bug in &bugs {
        let begun = Instant::now();
        let seeds_max = arguments.seeds_max.unwrap_or(u64::MAX);
        let outcome = replica.with_patch(bug, || hunt.run(&bug.catcher.at_most(seeds_max)));
        let (name, breaks) = (bug.name.clone(), bug.breaks.clone());
        let row = Row { name, breaks, outcome, seconds: begun.elapsed().as_secs_f64() };
        println!("{}", row.line());
        rows.push(row);
    }
    conclude(&rows)
}

fn chosen(all: Vec<Bug>, only: &[String]) -> Result<Vec<Bug>, Failure> {
    let unknown = only.iter().find(|name| all.iter().all(|bug| bug.name != **name));
    if let Some(unknown) = unknown {
        return Err(format!("no planted bug is called `{unknown}`"));
    }
    let is_chosen = |bug: &Bug| only.is_empty() || only.contains(&bug.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// Names all bugs and tells whether their patches apply.
pub(crate) fn list_all(workspace: &Workspace) -> Result<(), Failure> {
    list(&Replica::make(workspace)?, &manifest::load(workspace.root())?)
}

fn list(replica: &Replica, bugs: &[Bug]) -> Result<(), Failure> {
    let mut broken = Vec::new();
    for bug in bugs {
        println!("{}: {}; found by {}", bug.name, bug.breaks, bug.catcher);
        if let Err(failure) = replica.with_patch(bug, || Ok(())) {
            println!("  {failure}");
            broken.push(bug.name.as_str());
        }
    }
    match broken.as_slice() {
        [] => Ok(()),
        broken => Err(format!("patches that do not apply: {}", broken.join(", "))),
    }
}

/// The bugs as a table of Markdown.
fn table(bugs: &[Bug]) -> String {
    let mut table = "| planted bug | what it breaks | found by | seeds needed |\n".to_owned();
    table.push_str("|---|---|---|---:|\n");
    for Bug { name, breaks, catcher, seeds_needed, .. } in bugs {
        let needed = seeds_needed.map_or("-".to_owned(), |seeds| seeds.to_string());
        table.push_str(&format!("| `{name}` | {breaks} | {catcher} | {needed} |\n"));
    }
    table
}

/// With nothing planted nothing may be found, or a finding says nothing.
fn control(hunt: &Hunt<'_>, bugs: &[Bug]) -> Result<(), Failure> {
    for catcher in distinct(bugs) {
        let begun = Instant::now();
        match hunt.run(&catcher.at_most(PLANTED_CONTROL_SEEDS_MAX))? {
            Verdict::Survived { tried } => {
                println!("control: {tried}, {:.0} s", begun.elapsed().as_secs_f64());
            }
            Verdict::Caught { by, .. } | Verdict::NotProven { by } => {
                return Err(format!("with nothing planted something was found by {by}"));
            }
        }
    }
    Ok(())
}

/// Each command once, with the most seeds that any bug has for it.
fn distinct(bugs: &[Bug]) -> Vec<Catcher> {
    let mut distinct: Vec<Catcher> = Vec::new();
    for bug in bugs {
        match distinct.iter_mut().find(|known| known.is_same_command(&bug.catcher)) {
            Some(known) => known.raise_to(&bug.catcher),
            None => distinct.push(bug.catcher.clone()),
        }
    }
    distinct
}

impl Row {
    /// A row of a Markdown table.
    fn line(&self) -> String {
        let (caught, needed) = match &self.outcome {
            Ok(Verdict::Caught { by, needed }) => (by.clone(), needed.clone()),
            Ok(Verdict::NotProven { by }) => {
                ("**not proven**: it fails without the bug too".to_owned(), by.clone())
            }
            Ok(Verdict::Survived { tried }) => ("**survived**".to_owned(), tried.clone()),
            Err(failure) => (format!("**error**: {failure}"), "-".to_owned()),
        };
        let (name, breaks) = (&self.name, &self.breaks);
        let plain = |text: &str| text.replace(['|', '\n'], " ");
        let (caught, needed) = (plain(&caught), plain(&needed));
        format!("| {name} | {breaks} | {caught} | {needed} | {:.0} |", self.seconds)
    }
}

fn conclude(rows: &[Row]) -> Result<(), Failure> {
    println!("\n| planted bug | what it breaks | caught by | needed | seconds |");
    println!("|---|---|---|---|---:|");
    rows.iter().for_each(|row| println!("{}", row.line()));
    let missed: Vec<&str> = rows
        .iter()
        .filter(|row| !matches!(row.outcome, Ok(Verdict::Caught { .. })))
        .map(|row| row.name.as_str())
        .collect();
    println!("\nplanted: {} bugs, {} caught", rows.len(), rows.len() - missed.len());
    match missed.as_slice() {
        [] => Ok(()),
        missed => {
            Err(format!("survived, not proven, or could not be tried: {}", missed.join(", ")))
        }
    }
}
