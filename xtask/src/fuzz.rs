//! `cargo xtask fuzz`: made-up inputs against what reads text from outside. No input may panic it,
//! keep it busy, or make it take memory without bound.

mod job_file;
mod mutate;

use crate::limits::{
    FUZZ_CORPUS_MAX, FUZZ_INPUT_SECONDS_MAX, FUZZ_MEMORY_LOOK_INPUTS, FUZZ_MEMORY_MIB_MAX,
    FUZZ_OUTCOMES_MAX,
};
use crate::{Failure, workspace::Workspace};
use mutate::Mutator;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct FuzzArguments {
    /// What is to read the inputs
    #[arg(long, value_enum)]
    target: Target,
    /// Inputs to try
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

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The job files of the disk tool
    JobFile,
}

pub(crate) fn run(workspace: &Workspace, arguments: &FuzzArguments) -> Result<(), Failure> {
    let Target::JobFile = arguments.target;
    if let Some(path) = &arguments.replay {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let outcome = job_file::check(&String::from_utf8_lossy(&bytes), arguments.control);
        println!("{}: outcome {outcome:016x}", path.display());
        return Ok(());
    }
    let mut campaign = Campaign::new(arguments);
    let loud = take_hook();
    set_hook(Box::new(|_| {}));
    let found = campaign.run(arguments);
    set_hook(loud);
    println!("{}", campaign.summary());
    match (found, arguments.control) {
        (Some(found), true) => {
            println!("negative control: found after {} inputs:\n{}", campaign.done, found.input);
            Ok(())
        }
        (None, true) => Err("negative control: the planted panic was not found".into()),
        (Some(found), false) => Err(save(workspace, &found)),
        (None, false) => Ok(()),
    }
}

/// An input that must not be, and why.
struct Found {
    input: String,
    why: String,
}

struct Campaign {
    mutator: Mutator,
    /// Inputs to begin from: the first ones, then those whose outcome was new.
    corpus: Vec<String>,
    outcomes: HashSet<u64>,
    begun: Instant,
    slowest: Duration,
    done: u64,
}

impl Campaign {
    fn new(arguments: &FuzzArguments) -> Campaign {
        Campaign {
            mutator: Mutator::new(arguments.seed, job_file::dictionary()),
            corpus: job_file::corpus(),
            outcomes: HashSet::new(),
            begun: Instant::now(),
            slowest: Duration::ZERO,
            done: 0,
        }
    }

    fn run(&mut self, arguments: &FuzzArguments) -> Option<Found> {
        while self.done < arguments.inputs {
            let input = self.mutator.input(&self.corpus);
            if let Some(why) = self.input(&input, arguments.control) {
                return Some(Found { input, why });
            }
        }
        None
    }

    /// Tries one input; what is wrong with its outcome, if anything.
    fn input(&mut self, input: &str, has_planted: bool) -> Option<String> {
        self.done += 1;
        let begun = cpu_time();
        let checked = catch_unwind(AssertUnwindSafe(|| job_file::check(input, has_planted)));
        let took = cpu_time().saturating_sub(begun);
        self.slowest = self.slowest.max(took);
        let outcome = match checked {
            Ok(outcome) => outcome,
            Err(panic) => return Some(format!("panic: {}", text_of(panic.as_ref()))),
        };
        if took > Duration::from_secs(FUZZ_INPUT_SECONDS_MAX) {
            return Some(format!("took {took:?} of CPU (max {FUZZ_INPUT_SECONDS_MAX} s)"));
        }
        if self.outcomes.len() < FUZZ_OUTCOMES_MAX && self.outcomes.insert(outcome) {
            self.keep(input);
        }
        if self.done.is_multiple_of(FUZZ_MEMORY_LOOK_INPUTS) && memory_mib() > FUZZ_MEMORY_MIB_MAX {
            return Some(format!("{} MiB of memory (max {FUZZ_MEMORY_MIB_MAX})", memory_mib()));
        }
        None
    }

    /// An input with a new outcome is a good one to begin from.
    fn keep(&mut self, input: &str) {
        if self.corpus.len() < FUZZ_CORPUS_MAX {
            self.corpus.push(input.to_owned());
        } else {
            let place = self.mutator.below(self.corpus.len());
            input.clone_into(&mut self.corpus[place]);
        }
    }

    fn summary(&self) -> String {
        let rate = self.done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        format!(
            "fuzz job-file: {} inputs, {rate:.0} inputs/s, {} distinct outcomes, corpus {}, \
             slowest {:?}, peak memory {} MiB",
            self.done,
            self.outcomes.len(),
            self.corpus.len(),
            self.slowest,
            memory_mib(),
        )
    }
}

/// Peak resident memory of this process.
/// What this thread has used: a machine that is busy, or a stopped process, makes no input slow.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the kernel counts every thread");
    let of = |time: TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(micros.unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn memory_mib() -> u64 {
    let kib = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0) >> 10
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

/// Writes the input down, and says how to try it again.
fn save(workspace: &Workspace, found: &Found) -> String {
    let path = workspace.target_dir().join("fuzz-job-file.fio");
    let written =
        fs::create_dir_all(workspace.target_dir()).and_then(|()| fs::write(&path, &found.input));
    let kept = match written {
        Ok(()) => format!("cargo xtask fuzz --target job-file --replay {}", path.display()),
        Err(error) => format!("could not be written to {}: {error}", path.display()),
    };
    format!("{}\n{}\nreplay: {kept}", found.why, found.input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(has_planted: bool) -> (Campaign, Option<Found>) {
        let arguments = FuzzArguments {
            target: Target::JobFile,
            inputs: 20_000,
            seed: 7,
            control: has_planted,
            replay: None,
        };
        let mut campaign = Campaign::new(&arguments);
        let found = campaign.run(&arguments);
        (campaign, found)
    }

    #[test]
    fn fuzz_finds_nothing_and_many_outcomes_and_does_the_same_again() {
        let (first, found) = campaign(false);
        assert!(found.is_none_or(|found| panic!("{}\n{}", found.why, found.input)));
        assert!(first.outcomes.len() > 500, "{} outcomes", first.outcomes.len());
        assert_eq!(first.outcomes, campaign(false).0.outcomes);
    }

    #[test]
    fn fuzz_finds_the_planted_panic() {
        let (_, found) = campaign(true);
        assert!(found.expect("the control").why.contains(job_file::PLANTED));
    }
}
