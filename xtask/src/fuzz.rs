//! `cargo xtask fuzz`: made-up inputs against what reads bytes from outside. No input may panic
//! it, keep it busy, or make it take memory without bound; and what is accepted must mean the
//! same when it is written again.

mod bytes;
mod campaign;
mod export;
mod store;
mod subject;
mod targets;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use crate::limits::FUZZ_STORE_INPUTS_SHARE;
use crate::{Failure, workspace::Workspace};
use campaign::{Campaign, Found, memory_mib};
use clap::ValueEnum;
use std::fs;
use std::panic::{set_hook, take_hook};
use std::path::{Path, PathBuf};
use subject::{Binary, Subject};
use targets::{
    CliDump, JobFiles, LogBlocks, LogRecords, Pages, RootPages, SegmentHeaders, SpaceMaps,
    Superblocks,
};
use watch::Watch;

#[derive(clap::Args)]
pub(crate) struct FuzzArguments {
    /// What is to read the inputs
    #[arg(long, value_enum)]
    target: Target,
    /// Inputs to try; of whole stores, which are slow, a hundredth
    #[arg(long, default_value_t = 100_000)]
    inputs: u64,
    /// The same seed tries the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plant a panic that inputs can reach, and fail unless it is found
    #[arg(long)]
    control: bool,
    /// Try one saved input instead
    #[arg(long)]
    replay: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Target {
    /// The job files of the disk tool
    JobFile,
    /// Leaves, inner nodes and overflow runs of the data file
    Page,
    /// Blocks of the log
    LogBlock,
    /// Records in the log
    LogRecord,
    /// Both copies of a superblock, and which of them counts
    Superblock,
    /// First blocks of log segments
    SegmentHeader,
    /// Pages of the root table
    RootTable,
    /// Space maps, page after page
    SpaceMap,
    /// What `sombra export` writes; inputs are made by a test of `sombra-cli`, without replay
    ExportFile,
    /// Whole stores with damaged files, as `sombra dump` and `sombra check` read them
    CliDump,
    /// All of these
    All,
}

impl Target {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no target is hidden");
        value.get_name().to_owned()
    }

    /// `None` for what is no single reader in this process.
    fn subject(self, seed: u64) -> Option<Box<dyn Subject>> {
        Some(match self {
            Target::JobFile => Box::new(JobFiles::new(seed)),
            Target::Page => Box::new(Binary::new(Pages, seed)),
            Target::LogBlock => Box::new(Binary::new(LogBlocks, seed)),
            Target::LogRecord => Box::new(Binary::new(LogRecords, seed)),
            Target::Superblock => Box::new(Binary::new(Superblocks, seed)),
            Target::SegmentHeader => Box::new(Binary::new(SegmentHeaders, seed)),
            Target::RootTable => Box::new(Binary::new(RootPages, seed)),
            Target::SpaceMap => Box::new(Binary::new(SpaceMaps, seed)),
            Target::CliDump => Box::new(CliDump::new(seed)),
            Target::ExportFile | Target::All => return None,
        })
    }

    fn inputs(self, asked: u64) -> u64 {
        match self {
            Target::CliDump => asked.div_ceil(FUZZ_STORE_INPUTS_SHARE),
            _ => asked,
        }
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &FuzzArguments) -> Result<(), Failure> {
    if let Some(path) = &arguments.replay {
        return replay(path, arguments);
    }
    if arguments.target != Target::All {
        return fuzz(workspace, arguments.target, arguments);
    }
    let targets = Target::value_variants().iter().filter(|target| **target != Target::All);
    let mut failed = Vec::new();
    for target in targets {
        if let Err(failure) = fuzz(workspace, *target, arguments) {
            println!("{failure}");
            failed.push(target.name());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn replay(path: &Path, arguments: &FuzzArguments) -> Result<(), Failure> {
    let subject = arguments.target.subject(arguments.seed);
    let subject = subject.ok_or("this target cannot replay an input")?;
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let outcome = subject.check(&bytes, arguments.control);
    println!("{}: outcome {outcome:016x}", path.display());
    Ok(())
}

fn fuzz(workspace: &Workspace, target: Target, arguments: &FuzzArguments) -> Result<(), Failure> {
    let inputs = target.inputs(arguments.inputs);
    let name = target.name();
    let Some(subject) = target.subject(arguments.seed) else {
        return export::run(workspace, inputs, arguments.seed, arguments.control);
    };
    let mut campaign = Campaign::new(subject, arguments.seed);
    let place = place_of(workspace, &name);
    let watch = Watch::begin(place.clone());
    let loud = take_hook();
    set_hook(Box::new(campaign::keep_place_of_panic));
    let found = campaign.run(inputs, arguments.control, Some(&watch));
    set_hook(loud);
    println!("fuzz {name}: {}, peak memory {} MiB", campaign.summary(), memory_mib());
    match (found, arguments.control) {
        (Some(found), true) => {
            println!("negative control of {name}: {} at input {}", found.why, campaign.done());
            if found.is_planted() { Ok(()) } else { Err(save(&place, &name, &found)) }
        }
        (None, true) => Err(format!("negative control of {name}: the planted panic was not found")),
        (Some(found), false) => Err(save(&place, &name, &found)),
        (None, false) => Ok(()),
    }
}

fn place_of(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target_dir().join(format!("fuzz-{name}.input"))
}

/// Writes the input down, and says how to try it again.
fn save(place: &Path, name: &str, found: &Found) -> String {
    let kept = match watch::write_down(place, &found.input) {
        Ok(()) => format!("cargo xtask fuzz --target {name} --replay {}", place.display()),
        Err(error) => format!("could not be written to {}: {error}", place.display()),
    };
    format!("{name}: {}\n{} bytes of input\nreplay: {kept}", found.why, found.input.len())
}
