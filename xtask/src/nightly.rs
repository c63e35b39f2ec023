//! `cargo xtask nightly`: everything that the test matrices run each night, by one table, from
//! which the page that names the commands cannot drift.

use crate::steps::{Done, Steps, released};
use crate::{Arguments, Failure, process, workspace::Workspace};
use clap::CommandFactory;

#[derive(clap::Args)]
pub(crate) struct NightlyArguments {
    /// Run this step only
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Show the steps, their commands, and the seconds that they took on two cores
    #[arg(long)]
    list: bool,
    /// Make every step so many times as large, rounded up
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = parse_scale)]
    scale: f64,
}

/// One command of the night.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What follows `cargo xtask `.
    pub(crate) command: &'static str,
    /// What it took on two cores; for people who plan the night.
    pub(crate) seconds: u64,
}

const fn step(name: &'static str, command: &'static str, seconds: u64) -> Step {
    Step { name, command, seconds }
}

/// The night, cheap steps first.
pub(crate) const STEPS: &[Step] = &[
    step("peers", "peers", 300),
    step("planted bugs", "planted", 3_600),
    step("sweep", "sweep", 900),
    step("flips", "flips --every 31", 900),
    step("fuzz of job files", "fuzz --target job-file --inputs 10000000", 1_800),
    step("fuzz of all", "fuzz --target all --inputs 2000000", 1_800),
    step("histories", "sim --histories 0..10000", 1_200),
    step("sim", "sim --seeds 0..100000", 7_200),
    step("kill", "kill --rounds 1000", 3_600),
    step("kill of orders", "kill --tpcc --rounds 1000", 3_600),
    step("power cuts, ext4", "powercut --fs ext4 --states 1000 --faults 50", 600),
    step("power cuts, xfs", "powercut --fs xfs --states 1000 --faults 50", 600),
    step("power cuts, btrfs", "powercut --fs btrfs --states 1000 --faults 50", 600),
    step("power cuts, guests", "powercut --uml 50", 600),
];

/// Flags whose numbers grow and shrink with the scale: `N`, or `0..N`.
const SCALED: [&str; 6] = ["--inputs", "--seeds", "--histories", "--rounds", "--states", "--uml"];
/// Before the reason in a line of a step that cannot run here.
const SKIPPED: &str = "SKIPPED: ";
/// Begins lines that the table shows again.
const CLOSING: &str = "fuzz ";

pub(crate) fn run(workspace: &Workspace, arguments: &NightlyArguments) -> Result<(), Failure> {
    let is_wanted = |step: &&Step| arguments.only.as_deref().is_none_or(|name| name == step.name);
    let wanted: Vec<&Step> = STEPS.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!("no such step; there are: {}", names.join(", ")));
    }
    if arguments.list {
        for step in &wanted {
            println!("{:<22} {:>7} s  cargo xtask {}", step.name, step.seconds, step.command);
        }
        return Ok(());
    }
    let mut steps = Steps::begin();
    for step in wanted {
        steps.run(step.name, || run_step(workspace, step, arguments.scale));
    }
    steps.conclude()
}

fn run_step(workspace: &Workspace, step: &Step, scale: f64) -> Result<Done, Failure> {
    if !is_known(step) {
        let command = step.command;
        return Ok(Done::Skipped(format!("this build does not know `cargo xtask {command}`")));
    }
    let words = scaled(step.command, scale);
    println!("cargo xtask {}", words.join(" "));
    let transcript = process::run_and_keep(released(workspace, &words))?;
    if !transcript.status.success() {
        return Err(transcript.status.to_string());
    }
    Ok(judge(&transcript.lines))
}

/// A step that says why it did nothing is left out; of others some lines are worth repeating.
fn judge(lines: &[String]) -> Done {
    let why = lines.iter().find_map(|line| line.split_once(SKIPPED));
    if let Some((_, why)) = why {
        return Done::Skipped(why.to_owned());
    }
    Done::Passed(lines.iter().filter(|line| line.starts_with(CLOSING)).cloned().collect())
}

/// Whether the command is one of this build.
pub(crate) fn is_known(step: &Step) -> bool {
    let name = step.command.split(' ').next().unwrap_or_default();
    Arguments::command().find_subcommand(name).is_some()
}

/// The words of a command with its numbers made larger or smaller, and at least 1.
fn scaled(command: &str, scale: f64) -> Vec<String> {
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if SCALED.contains(&words[at - 1].as_str()) {
            let (first, number) = words[at].split_at(words[at].rfind('.').map_or(0, |dot| dot + 1));
            let number: f64 = number.parse().expect("the table holds numbers behind these flags");
            words[at] = format!("{first}{}", (number * scale).ceil().max(1.0));
        }
    }
    words
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let is_legal = scale > 0.0 && scale <= 1000.0;
    if is_legal { Ok(scale) } else { Err(format!("`{text}` is not above 0 and at most 1000")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parses(words: &[String]) -> Result<(), String> {
        let program = ["xtask".to_owned()];
        let parsed = Arguments::try_parse_from(program.iter().chain(words));
        parsed.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn nightly_steps_are_commands_of_this_build_at_any_scale() {
        for step in STEPS.iter().filter(|step| is_known(step)) {
            for scale in [1.0, 0.000_001, 3.0] {
                assert_eq!(parses(&scaled(step.command, scale)), Ok(()), "{}", step.name);
            }
        }
    }

    #[test]
    fn nightly_numbers_are_scaled_and_rounded_up() {
        let words = |command, scale| scaled(command, scale).join(" ");
        assert_eq!(words("sim --seeds 0..150", 0.01), "sim --seeds 0..2");
        assert_eq!(words("kill --tpcc --rounds 1000", 0.000_1), "kill --tpcc --rounds 1");
        assert_eq!(words("fuzz --target all --inputs 7", 3.0), "fuzz --target all --inputs 21");
        assert!(parse_scale("0").is_err() && parse_scale("nan").is_err());
    }

    #[test]
    fn nightly_tells_what_was_skipped_and_repeats_what_was_found() {
        let lines = ["powercut: SKIPPED: needs root".to_owned()];
        assert!(matches!(judge(&lines), Done::Skipped(why) if why == "needs root"));
        let lines = ["== x", "fuzz page: 3 inputs"].map(str::to_owned);
        assert!(matches!(judge(&lines), Done::Passed(kept) if kept == ["fuzz page: 3 inputs"]));
    }

    #[test]
    fn nightly_names_are_told_apart() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
        assert!(STEPS.iter().all(|step| step.seconds > 0));
    }
}
