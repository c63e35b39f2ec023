//! Recorded histories of the simulated machine, and of anybody who writes the format.

use crate::Failure;
use crate::sim::{REPLAY_ONE_IN, cpu_seconds, on_jobs};
use sombra_sim::histories::{HistoriesReport, HistoryOptions, HistoryReport, run_history};
use sombra_sim::isolation::{HistoryWriter, check, read_history};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct HistoryArguments {
    /// A history: JSON lines, one transaction a line
    file: PathBuf,
}

/// Checks a file; wrong are violations and a file that is no history.
pub(crate) fn check_file(arguments: &HistoryArguments) -> Result<(), Failure> {
    let path = arguments.file.display();
    let file = File::open(&arguments.file).map_err(|error| format!("{path}: {error}"))?;
    let history = read_history(BufReader::new(file)).map_err(|error| format!("{path}: {error}"))?;
    let report = check(&history);
    print!("{report}");
    match report.violation_count {
        0 => Ok(()),
        count => Err(format!("{path}: {count} violations")),
    }
}

/// Runs one seed twice, and writes down what its clients saw.
pub(crate) fn write_seed(seed: u64, file: &Path, options: HistoryOptions) -> Result<(), Failure> {
    let (report, history) = run_history(seed, options);
    let is_same = run_history(seed, options) == (report.clone(), history.clone());
    let wrong = |error| format!("{}: {error}", file.display());
    if let Some(history) = &history {
        let out = BufWriter::new(File::create(file).map_err(wrong)?);
        let mut writer = HistoryWriter::new(out);
        let mut transactions = history.transactions().iter();
        transactions.try_for_each(|transaction| writer.transaction(transaction)).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
    }
    report.course.iter().for_each(|line| println!("{line}"));
    print!("{}", report.found);
    let mut total = HistoriesReport::default();
    total.verdicts.replayed(seed, is_same);
    total.add(report);
    conclude(&total, options, 0)
}

pub(crate) fn run(seeds: &Range<u64>, options: HistoryOptions, jobs: u32) -> Result<(), Failure> {
    let begun = Instant::now();
    let shared = Mutex::new((HistoriesReport::default(), Instant::now()));
    on_jobs(seeds, jobs, |seed| {
        let first = run_history(seed, options);
        let twice = seed.is_multiple_of(REPLAY_ONE_IN);
        let is_same = twice.then(|| run_history(seed, options) == first);
        add(&shared, first.0, is_same);
    });
    let mut report = shared.into_inner().unwrap_or_else(PoisonError::into_inner).0;
    report.cpu_seconds = cpu_seconds();
    println!("{report}");
    let rate = report.seeds as f64 / begun.elapsed().as_secs_f64().max(0.001);
    println!("seeds per second {rate:>10.1}  jobs {jobs}");
    // Of mislabelled histories most must be found out, or the checker proves little.
    conclude(&report, options, report.seeds / 2)
}

fn add(shared: &Mutex<(HistoriesReport, Instant)>, report: HistoryReport, is_same: Option<bool>) {
    let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let (total, told) = &mut *guard;
    if let Some(is_same) = is_same {
        total.verdicts.replayed(report.seed, is_same);
    }
    if let Some(failure) = &report.failure {
        println!("seed {}: {failure}", report.seed);
    }
    total.add(report);
    if told.elapsed() > Duration::from_secs(30) {
        println!("histories: {} seeds, {} failed", total.seeds, total.verdicts.failed);
        *told = Instant::now();
    }
}

/// At most `violating_min` seeds with violations are too few for a negative control.
fn conclude(
    report: &HistoriesReport,
    options: HistoryOptions,
    violating_min: u64,
) -> Result<(), Failure> {
    let verdicts = &report.verdicts;
    let diverged = verdicts.diverged.iter().copied();
    let failing: Vec<u64> = verdicts.failing_seeds().chain(diverged).collect();
    for seed in &failing {
        let control = if options.is_mislabelled { " --histories-control" } else { "" };
        println!(
            "replay: `cargo xtask sim --seed {seed} --history /tmp/{seed}.jsonl{control}`, then \
             `cargo xtask history /tmp/{seed}.jsonl`"
        );
    }
    if !verdicts.is_clean() {
        return Err(format!("{} histories failed: {failing:?}", verdicts.failed));
    }
    if options.is_mislabelled {
        println!("negative control: {} of {} found out", report.violating, report.seeds);
        if report.violating <= violating_min {
            return Err("too few of the mislabelled histories were found out".into());
        }
    }
    Ok(())
}
