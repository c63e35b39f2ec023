//! `cargo xtask sim`: seeds of the whole-system simulation. A seed that fails is printed and
//! replays alone with `--seed`.

mod known;

use crate::{Failure, histories, workspace::Workspace};
use nix::sys::resource::{UsageWho, getrusage};
use sombra_sim::histories::HistoryOptions;
use sombra_sim::seeds::{Load, RangeReport, SeedOptions, SeedReport, run_seed, shrink};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One seed in so many runs twice; both runs must take the same course.
pub(crate) const REPLAY_ONE_IN: u64 = 50;
/// Failing seeds for which a shorter run is sought.
const SHRUNK_MAX: usize = 3;

#[derive(clap::Args)]
pub(crate) struct SimArguments {
    /// Seeds to run, `FIRST..END` without the end
    #[arg(
        long,
        value_parser = parse_seeds,
        required_unless_present_any = ["seed", "histories", "known"]
    )]
    seeds: Option<Range<u64>>,
    /// Replay this seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds that once found a bug, `sim/seeds.txt`
    #[arg(long, conflicts_with_all = ["seeds", "seed", "histories"])]
    known: bool,
    /// Seeds of recorded histories instead, `FIRST..END`: what clients saw, checked for isolation
    #[arg(long, value_parser = parse_seeds, conflicts_with_all = ["seeds", "seed"])]
    histories: Option<Range<u64>>,
    /// Replay `--seed` as a recorded history and write it to this file, for `xtask history`
    #[arg(long, requires = "seed", value_name = "FILE")]
    history: Option<PathBuf>,
    /// Negative control: histories of snapshot isolation are recorded as serializable; passes
    /// only if most are found out
    #[arg(long)]
    histories_control: bool,
    /// Negative control: flushes do nothing; passes only if commits are found lost
    #[arg(long)]
    flush_suppressed: bool,
    /// Operations that a seed's clients do at least, instead of a counted seed's
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    ops: Option<u64>,
    /// What every seed strains instead of what it draws: ample, log, memory, data, churn
    #[arg(long)]
    load: Option<Load>,
    /// Seeds that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
}

impl SimArguments {
    fn range(&self) -> Range<u64> {
        match (self.seed, &self.seeds) {
            (Some(seed), _) => seed..seed.saturating_add(1),
            (None, Some(seeds)) => seeds.clone(),
            (None, None) => 0..0,
        }
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &SimArguments) -> Result<(), Failure> {
    if arguments.known {
        return known::run(workspace);
    }
    let control = HistoryOptions { is_mislabelled: arguments.histories_control };
    if let Some(seeds) = &arguments.histories {
        return histories::run(seeds, control, arguments.jobs);
    }
    match (arguments.seed, &arguments.history) {
        (Some(seed), Some(file)) => histories::write_seed(seed, file, control),
        _ => run_seeds(arguments),
    }
}

fn run_seeds(arguments: &SimArguments) -> Result<(), Failure> {
    let options = SeedOptions {
        flush_suppressed: arguments.flush_suppressed,
        ..SeedOptions::of(arguments.load, arguments.ops)
    };
    let seeds = arguments.range();
    let begun = Instant::now();
    let mut report = run_all(&seeds, &options, arguments.jobs, arguments.seed.is_some());
    report.cpu_seconds = cpu_seconds();
    println!("{report}");
    let rate = report.seeds as f64 / begun.elapsed().as_secs_f64().max(0.001);
    println!("seeds per second {rate:>10.1}  jobs {}", arguments.jobs);
    if arguments.flush_suppressed {
        return judge_control(&report);
    }
    let shortcomings = report.shortcomings();
    if report.verdicts.is_clean() {
        return if shortcomings.is_empty() { Ok(()) } else { Err(shortcomings.join("\n")) };
    }
    for seed in report.verdicts.failing_seeds().take(SHRUNK_MAX) {
        tell_shorter(seed, &options, arguments.load);
    }
    let failing: Vec<String> =
        report.verdicts.failing_seeds().map(|seed| seed.to_string()).collect();
    Err(format!("{} seeds failed: {}", report.verdicts.failed, failing.join(" ")))
}

/// Says how to run a failing seed with as little work as it fails with.
fn tell_shorter(seed: u64, options: &SeedOptions, load: Option<Load>) {
    let load = load.map_or_else(String::new, |load| format!(" --load {load:?}").to_lowercase());
    match shrink(seed, options) {
        Some(ops) => println!("shorter: cargo xtask sim --seed {seed} --ops {ops}{load}"),
        None => println!("seed {seed} does not fail again: it took another course"),
    }
}

/// A disk that forgets flushed data must be found out, or the simulation proves nothing.
fn judge_control(report: &RangeReport) -> Result<(), Failure> {
    println!("negative control: {} of {} seeds failed", report.verdicts.failed, report.seeds);
    if report.lost > 0 { Ok(()) } else { Err("flushes do nothing and no commit was lost".into()) }
}

fn run_all(seeds: &Range<u64>, options: &SeedOptions, jobs: u32, alone: bool) -> RangeReport {
    let report = Mutex::new((RangeReport::default(), Instant::now()));
    on_jobs(seeds, jobs, |seed| {
        let first = run_seed(seed, options);
        let twice = alone || seed.is_multiple_of(REPLAY_ONE_IN);
        let second = twice.then(|| run_seed(seed, options));
        add(&report, first, second, alone);
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner).0
}

/// Calls `run` once for each seed, on so many threads.
pub(crate) fn on_jobs(seeds: &Range<u64>, jobs: u32, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    run(seed);
                }
            });
        }
    });
}

fn add(
    report: &Mutex<(RangeReport, Instant)>,
    first: SeedReport,
    second: Option<SeedReport>,
    alone: bool,
) {
    let mut guard = report.lock().unwrap_or_else(PoisonError::into_inner);
    let (report, told) = &mut *guard;
    let seed = first.seed;
    if alone {
        println!("seed {seed}: trace hash {:016x}, {first:?}", first.trace_hash);
    }
    if let Some(second) = second {
        report.verdicts.replayed(seed, first.trace_hash == second.trace_hash);
    }
    if let Some(failure) = &first.failure {
        println!("seed {seed}: {failure}");
    }
    report.add(first);
    if told.elapsed() > Duration::from_secs(30) {
        println!("sim: {} seeds, {} failed", report.seeds, report.verdicts.failed);
        *told = Instant::now();
    }
}

pub(crate) fn cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range such as 0..200");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let end: u64 = end.parse().map_err(|_| wrong())?;
    if first < end { Ok(first..end) } else { Err(format!("`{text}` holds no seed")) }
}

#[cfg(test)]
mod tests {
    use super::parse_seeds;

    #[test]
    fn seeds_are_a_range_that_holds_at_least_one() {
        assert_eq!(parse_seeds("3..7"), Ok(3..7));
        for wrong in ["3", "7..3", "3..3", "a..b", ""] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
