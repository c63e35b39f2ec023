//! The job file, read by the product's own parser and made into the product's own plan.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sombra_bench::disk::environment::memory_bytes;
use sombra_bench::disk::job_file::{JobFile, Surroundings, parse_overrides};
use sombra_bench::disk::plan::Plan;

use crate::AnyError;
use crate::arguments::Arguments;
use crate::limits::BUFFER_ALIGN_BYTES;

/// What the plans of all sides must have in common: nothing of it is chance.
const ENTROPY: u64 = 0;

/// Reads the job file of the command line, of which one section or all are planned.
pub(crate) fn read(arguments: &Arguments) -> Result<Plan, AnyError> {
    let file = parse(&arguments.job_file, &arguments.job_options)?;
    for notice in &file.notices {
        eprintln!("{notice}");
    }
    let mut jobs = file.jobs;
    if let Some(section) = &arguments.section {
        jobs.retain(|job| job.name == *section);
    }
    if jobs.is_empty() {
        return Err(format!("{}: no such job", arguments.job_file.display()).into());
    }
    for job in &mut jobs {
        // The one kind of latency that all executors have: from the wish to the result.
        job.lat_percentiles = true;
    }
    let jobs: Vec<_> = jobs.into_iter().map(Arc::new).collect();
    Ok(Plan::new(&jobs, ENTROPY)?)
}

fn parse(path: &Path, options: &[String]) -> Result<JobFile, AnyError> {
    let lines = |errors: Vec<String>| AnyError::from(errors.join("\n"));
    let command_line = parse_overrides(options)
        .map_err(|errors| lines(errors.iter().map(ToString::to_string).collect()))?;
    let surroundings = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        load: &|path| fs::read_to_string(path).map_err(|error| error.to_string()),
        cpus: None,
        page_bytes: BUFFER_ALIGN_BYTES as u64,
        memory_bytes: memory_bytes(),
        lenient: false,
    };
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    JobFile::parse(&text, &name, &command_line, &surroundings)
        .map_err(|errors| lines(errors.iter().map(ToString::to_string).collect()))
}
