//! `sombra disk run`: job files in, fio's outputs out.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use sombra_bench::Stop;
use sombra_bench::disk::outcome::RunOutcome;
use sombra_bench::disk::output::{Format, heads_of, logs, render_results, table};
use sombra_bench::disk::plan::Plan;
use sombra_bench::disk::progress::Eta;
use sombra_bench::disk::run::{RunRequest, run as run_plan};

use super::{job_files, targets};
use crate::Outcome;
use crate::failure::Failure;
use crate::interrupt;

pub(super) const AFTER_HELP: &str = "\
Any option of job files may stand among the arguments: --directory=DIR, --runtime=10. Before the \
first --name it holds for all jobs, above the files' [global]; --name=JOB begins a job of its own. \
`fio --cmdhelp=all` lists them; those that are not supported are refused with their reason.

Exit codes: 0 done; 1 a job failed; 2 the job file or the command line is wrong; 130 interrupted, \
what was measured is reported.";

#[derive(Args)]
pub(crate) struct RunArgs {
    /// fio job files; `-` is standard input.
    files: Vec<PathBuf>,
    /// Print what would run, on which files, with which sizes, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leave out options that fio knows and this tool does not, with a warning.
    #[arg(long)]
    lenient: bool,
    /// One or more of `normal`, `json` and `json+`.
    #[arg(long, value_name = "LIST", default_value = "normal")]
    output_format: String,
    /// Write the report here instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The live status line.
    #[arg(long, value_enum, default_value = "auto")]
    eta: EtaArg,
    /// Allow jobs to destroy what is on this device; its name must be given as the jobs give it.
    #[arg(long, value_name = "DEVICE")]
    destroy_data: Vec<PathBuf>,
    /// What was done to the disk before, in your words, for the report.
    #[arg(long, value_name = "TEXT")]
    preconditioned: Option<String>,
    /// A job option, as it is rewritten from its own argument.
    #[arg(long, hide = true)]
    job_option: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EtaArg {
    Auto,
    Always,
    Never,
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let formats = Format::parse_list(&args.output_format).map_err(|found| {
        let expected = "expected a list of normal, json and json+";
        Failure::usage(format!("--output-format: {expected}, found '{found}'"))
    })?;
    let jobs = job_files::read(&args.files, &args.job_option, args.lenient)?;
    let shared: Vec<_> = jobs.jobs.iter().cloned().map(Arc::new).collect();
    let plan = Plan::new(&shared, entropy()?).map_err(Failure::usage)?;
    for notice in &jobs.notices {
        // Nobody who reads the report misses it: it stands there too.
        let _ = writeln!(std::io::stderr(), "{notice}");
    }
    if args.dry_run {
        return Ok(write!(stdout(), "{plan}")?);
    }
    let plan = targets::check(plan, &args.destroy_data)?;
    let stop = Stop::new();
    interrupt::watch(&stop)?;
    let has_text = formats.contains(&Format::Normal);
    if has_text {
        put(args, &table::render_head(&heads_of(plan.plan())), false)?;
    }
    let request = RunRequest {
        plan,
        global_options: jobs.globals,
        notes: jobs.notices,
        preconditioned: args.preconditioned.clone(),
        eta: args.eta.into(),
        stop,
    };
    let mut outcome = run_plan(request).map_err(|error| Failure::work(error.to_line()))?;
    outcome.notes.extend(logs::notes(&outcome));
    put(args, &render_results(&outcome, &formats), has_text)?;
    let written = logs::write(&outcome, |path| File::create(path).map(BufWriter::new));
    written.map_err(|error| Failure::work(format!("a log file: {error}")))?;
    end_of(&outcome)
}

/// Writes a part of the report; the first part begins the file.
fn put(args: &RunArgs, text: &str, goes_on: bool) -> Outcome {
    let Some(path) = &args.output else {
        let mut out = stdout();
        out.write_all(text.as_bytes())?;
        return Ok(out.flush()?);
    };
    let failed = |error| Failure::work(format!("{}: {error}", path.display()));
    let mut options = File::options();
    options.create(true).write(true).append(goes_on).truncate(!goes_on);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(failed)
}

fn end_of(outcome: &RunOutcome) -> Outcome {
    let failed = outcome.jobs.iter().find_map(|job| Some((&job.job.name, job.error.as_ref()?)));
    if let Some((name, error)) = failed {
        return Err(Failure::work(format!("job '{name}': {}", error.text)));
    }
    if outcome.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// The seed of jobs that ask for another sequence in every run.
fn entropy() -> Outcome<u64> {
    let failed = |error| Failure::work(format!("no random numbers: {error}"));
    let mut bytes = [0; 8];
    let source = File::open("/dev/urandom");
    source
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut bytes))
        .map_err(failed)?;
    Ok(u64::from_le_bytes(bytes))
}

impl From<EtaArg> for Eta {
    fn from(eta: EtaArg) -> Eta {
        match eta {
            EtaArg::Auto => Eta::Auto,
            EtaArg::Always => Eta::Always,
            EtaArg::Never => Eta::Never,
        }
    }
}
