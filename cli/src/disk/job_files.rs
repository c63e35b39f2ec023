//! From job files and arguments to jobs.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sombra_bench::disk::job::Job;
use sombra_bench::disk::job_file::{JobFile, Surroundings, parse_overrides};

use crate::Outcome;
use crate::failure::Failure;

/// The jobs of all files in order, and what there is to tell about them.
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    pub(super) globals: Vec<(String, String)>,
    pub(super) notices: Vec<String>,
}

/// Standard input, where a file is named.
const STANDARD_INPUT: &str = "-";

pub(super) fn read(files: &[PathBuf], options: &[String], lenient: bool) -> Outcome<Jobs> {
    let options: Vec<String> = options.iter().map(|option| format!("--{option}")).collect();
    let command_line = parse_overrides(&options).map_err(|errors| failed(&errors))?;
    let cpus = online_cpus();
    let surroundings = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        load: &|path| fs::read_to_string(path).map_err(|error| error.to_string()),
        cpus: cpus.as_deref(),
        page_bytes: page_bytes(),
        memory_bytes: sombra_bench::disk::environment::memory_bytes(),
        lenient,
    };
    let mut all = Jobs { jobs: Vec::new(), globals: Vec::new(), notices: Vec::new() };
    let mut texts = Vec::new();
    for file in files {
        texts.push((file.display().to_string(), text_of(file)?));
    }
    if texts.is_empty() && command_line.has_jobs() {
        texts.push(("command line".to_owned(), String::new()));
    }
    if texts.is_empty() {
        return Err(Failure::usage("expected a job file, or a job by --name, found none"));
    }
    let mut errors = Vec::new();
    for (index, (name, text)) in texts.iter().enumerate() {
        // Jobs of the command line come once, after those of the last file.
        let is_last = index + 1 == texts.len();
        let line = if is_last { command_line.clone() } else { command_line.without_jobs() };
        match JobFile::parse(text, name, &line, &surroundings) {
            Ok(file) => {
                all.jobs.extend(file.jobs);
                all.globals.extend(file.globals);
                all.notices.extend(file.notices.iter().map(ToString::to_string));
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(failed(&errors)) }
}

fn failed(errors: &[impl std::fmt::Display]) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    // Where standard error is gone, the exit code is all that is left to say.
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    match lines.len() {
        1 => Failure::usage("the job file has an error"),
        count => Failure::usage(format!("the job file has {count} errors")),
    }
}

fn text_of(path: &Path) -> Outcome<String> {
    let failed = |error| Failure::work(format!("{}: {error}", path.display()));
    if path.as_os_str() == STANDARD_INPUT {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(failed)
}

/// As `/sys/devices/system/cpu/online` lists them; `None` where it cannot be read.
fn online_cpus() -> Option<Vec<usize>> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

fn page_bytes() -> u64 {
    let told = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    told.ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}
