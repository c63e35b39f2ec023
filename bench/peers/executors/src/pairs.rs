//! Two sides, measured in pairs whose order alternates, behind a row of the first side with itself:
//! that row says how far this machine can tell two sides apart.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use sombra_bench::disk::plan::Plan;
use sombra_bench::disk::run::lay_out;
use sombra_bench::disk::target::AllowedPlan;
use sombra_bench::measure::{Ratio, median, ratio_of_pairs};

use crate::arguments::{Arguments, Pairs, Side};
use crate::drive::largest_bytes;
use crate::figures::{JobFigures, per};
use crate::limits::START_UP_RUNS;
use crate::{AnyError, children, files, fio, jobs, refusal};

/// A side, and what it costs to start and end it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Measured {
    side: Side,
    start_up_cpu_us: f64,
}

/// One run of one side.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    cpu_us_per_io: f64,
    iops: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Row {
    subject: &'static str,
    other: &'static str,
    /// Medians.
    subject_cpu_us_per_io: f64,
    other_cpu_us_per_io: f64,
    subject_iops: f64,
    other_iops: f64,
    /// Of the pairs: the subject's figure divided by the other's.
    cpu_ratio: Ratio,
    iops_ratio: Ratio,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Report {
    job: String,
    pairs: u64,
    seconds: u64,
    /// CPU of a run of one request, the median of some, which is subtracted from every run's.
    start_up_cpu_us: Vec<(&'static str, f64)>,
    rows: Vec<Row>,
}

/// A job file for all sides alike, which lies in a folder of its own until it is dropped.
struct Recipe {
    _folder: tempfile::TempDir,
    path: PathBuf,
    options: Vec<String>,
}

pub(crate) fn run(pairs: &Pairs, arguments: &Arguments) -> Result<(), AnyError> {
    if pairs.against == Side::Fio && !fio::is_there() {
        return Err("fio is not installed".into());
    }
    let plan = jobs::read(arguments)?;
    let subject = Side::Executor(pairs.subject);
    for side in [subject, pairs.against] {
        if let Side::Executor(executor) = side {
            refusal::check(executor, &plan)?;
        }
    }
    let mut names: Vec<_> = plan.threads().map(|thread| thread.job.name.clone()).collect();
    names.dedup();
    let [job] = &names[..] else {
        return Err(format!("expected one job, found {}: --section", names.join(", ")).into());
    };
    let allowed = AllowedPlan::check(plan, &[])?;
    lay_out(&allowed).map_err(|error| error.to_line())?;
    let plan = allowed.plan();
    files::settle(plan)?;
    let text = fs::read_to_string(&arguments.job_file)?;
    let one_request = format!("io_size={}", request_bytes(plan));
    let briefly = ["time_based=0", "loops=1", &one_request];
    let briefly = Recipe::new(&text, job, &briefly, arguments)?;
    let (subject, against) = (briefly.start_up(subject)?, briefly.start_up(pairs.against)?);
    let runtime = format!("runtime={}", pairs.seconds);
    let recipe = Recipe::new(&text, job, &["time_based=1", &runtime], arguments)?;
    let mut rows = Vec::new();
    for other in [subject, against] {
        let row = measure(&recipe, (subject, other), pairs.pairs)?;
        println!("{}", line(job, &row));
        rows.push(row);
    }
    let start_up = [subject, against].map(|side| (side.side.name(), side.start_up_cpu_us));
    for (side, us) in start_up {
        println!("{side}: {:.1} ms of CPU to start and end, subtracted", us / 1e3);
    }
    let report = Report {
        job: job.clone(),
        pairs: pairs.pairs,
        seconds: pairs.seconds,
        start_up_cpu_us: start_up.into(),
        rows,
    };
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// What a run that is nothing but start and end transfers.
fn request_bytes(plan: &Plan) -> usize {
    plan.threads().map(|thread| largest_bytes(&thread.job)).max().unwrap_or(0)
}

fn measure(recipe: &Recipe, sides: (Measured, Measured), count: u64) -> Result<Row, AnyError> {
    let (subject, other) = sides;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..count {
        let sample = |of: Measured| {
            let ended = recipe.run(of.side)?;
            Ok::<_, AnyError>(sample_of(&ended, of.start_up_cpu_us))
        };
        if pair % 2 == 0 {
            mine.push(sample(subject)?);
            theirs.push(sample(other)?);
        } else {
            theirs.push(sample(other)?);
            mine.push(sample(subject)?);
        }
    }
    row((subject.side, other.side), &mine, &theirs).ok_or("no pair was measured".into())
}

fn sample_of(ended: &children::Ended, start_up_cpu_us: f64) -> Sample {
    let ios: u64 = ended.jobs.iter().map(JobFigures::ios).sum();
    Sample {
        cpu_us_per_io: per(ended.cpu_us - start_up_cpu_us, ios as f64),
        iops: ended.jobs.iter().map(|job| job.iops).sum(),
    }
}

fn row((subject, other): (Side, Side), mine: &[Sample], theirs: &[Sample]) -> Option<Row> {
    let all =
        |samples: &[Sample], of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
    let ratio = |of: fn(&Sample) -> f64| {
        let pairs = mine.iter().zip(theirs).map(|(mine, theirs)| of(mine) / of(theirs));
        ratio_of_pairs(&pairs.collect::<Vec<_>>())
    };
    let (cpu, iops) = (|sample: &Sample| sample.cpu_us_per_io, |sample: &Sample| sample.iops);
    Some(Row {
        subject: subject.name(),
        other: other.name(),
        subject_cpu_us_per_io: median(&all(mine, cpu))?,
        other_cpu_us_per_io: median(&all(theirs, cpu))?,
        subject_iops: median(&all(mine, iops))?,
        other_iops: median(&all(theirs, iops))?,
        cpu_ratio: ratio(cpu)?,
        iops_ratio: ratio(iops)?,
    })
}

fn line(job: &str, row: &Row) -> String {
    let ratio = |ratio: &Ratio| {
        let (median, interval) = (ratio.median, ratio.interval_90);
        format!("{median:.3} [{:.3} to {:.3}]", interval.low, interval.high)
    };
    let Row { subject, other, .. } = row;
    format!(
        "{job}: {subject} / {other}: CPU per I/O {} ({:.2} and {:.2} us); \
         IOPS {} ({:.0} and {:.0})",
        ratio(&row.cpu_ratio),
        row.subject_cpu_us_per_io,
        row.other_cpu_us_per_io,
        ratio(&row.iops_ratio),
        row.subject_iops,
        row.other_iops,
    )
}

impl Recipe {
    fn new(
        text: &str,
        job: &str,
        last: &[&str],
        arguments: &Arguments,
    ) -> Result<Recipe, AnyError> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pairs.fio");
        fs::write(&path, one_job(text, job, last))?;
        let options = arguments.job_options.clone();
        Ok(Recipe { _folder: folder, path, options })
    }

    fn run(&self, side: Side) -> Result<children::Ended, AnyError> {
        children::run(side, &self.path, &self.options)
    }

    /// Of a recipe of one request.
    fn start_up(&self, side: Side) -> Result<Measured, AnyError> {
        let runs = (0..START_UP_RUNS).map(|_| Ok(self.run(side)?.cpu_us));
        let runs = runs.collect::<Result<Vec<f64>, AnyError>>()?;
        let start_up_cpu_us = median(&runs).ok_or("no start-up was measured")?;
        Ok(Measured { side, start_up_cpu_us })
    }
}

/// The job file with one of its jobs and its globals, and `last` as that job's last options.
fn one_job(text: &str, job: &str, last: &[&str]) -> String {
    let mut kept = Vec::new();
    let mut is_job = false;
    let mut is_kept = true;
    for line in text.lines() {
        let name = line.trim().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((name, _)) = name {
            if is_job {
                kept.extend(last);
            }
            is_job = name == job;
            is_kept = is_job || name == "global";
        }
        if is_kept {
            kept.push(line);
        }
    }
    if is_job {
        kept.extend(last);
    }
    kept.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Executor;

    #[test]
    fn recipe_keeps_globals_and_one_job_with_its_new_end() {
        let text =
            "[global]\nbs=4k\n[a]\nrw=read\n[b] # comment\nrw=write\nruntime=9\n[global]\nx=1\n";
        let expected =
            "[global]\nbs=4k\n[b] # comment\nrw=write\nruntime=9\nruntime=1\n[global]\nx=1\n";
        assert_eq!(one_job(text, "b", &["runtime=1"]), expected);
        assert_eq!(one_job("[b]\n", "b", &["runtime=1"]), "[b]\nruntime=1\n");
    }

    #[test]
    fn row_divides_within_pairs() {
        let sample = |cpu_us_per_io, iops| Sample { cpu_us_per_io, iops };
        let mine = [sample(2.0, 100.0), sample(4.0, 50.0), sample(3.0, 90.0)];
        let theirs = [sample(4.0, 50.0), sample(8.0, 25.0), sample(6.0, 45.0)];
        let sides = (Side::Executor(Executor::Sombra), Side::Fio);
        let row = row(sides, &mine, &theirs).unwrap();
        assert_eq!((row.cpu_ratio.median, row.iops_ratio.median), (0.5, 2.0));
        assert_eq!((row.subject_cpu_us_per_io, row.other_cpu_us_per_io), (3.0, 6.0));
        assert!(line("a", &row).contains("sombra / fio: CPU per I/O 0.500 [0.500 to 0.500]"));
    }
}
