//! Building the copy, running what must find the bug, and reading what it said.

use super::manifest::{Catcher, Tests};
use super::replica::Replica;
use crate::{
    Failure,
    limits::{
        PLANTED_COMMAND_SECONDS_MAX, PLANTED_REASON_CHARS_MAX, PLANTED_SEEDS_AT_ONCE_MAX,
        PLANTED_SEEDS_FIRST,
    },
    process,
};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::{
    fs::{self, File},
    ops::Range,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// What a hunt came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Caught {
        by: String,
        /// Seeds or tests until it was found.
        needed: String,
    },
    /// The seed that found it fails without it too.
    NotProven {
        by: String,
    },
    Survived {
        tried: String,
    },
}

/// What a seed is run as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SeedKind {
    Whole,
    Histories,
}

impl SeedKind {
    const fn name(self) -> &'static str {
        match self {
            SeedKind::Whole => "sim",
            SeedKind::Histories => "histories",
        }
    }

    /// What the program is called with to run these seeds.
    pub(super) fn arguments(self, seeds: Range<u64>, more: &[String]) -> Vec<String> {
        let option = match self {
            SeedKind::Whole => "--seeds",
            SeedKind::Histories => "--histories",
        };
        let range = format!("{}..{}", seeds.start, seeds.end);
        let own = ["sim", option, &range].map(str::to_owned);
        own.into_iter().chain(more.iter().cloned()).collect()
    }
}

/// Looks for whatever is planted in a copy.
pub(super) struct Hunt<'r> {
    pub(super) replica: &'r Replica,
    pub(super) jobs: u32,
    /// The program of the copy as it is, on which a seed that finds something must pass.
    pub(super) clean: Option<PathBuf>,
}

impl Hunt<'_> {
    /// Errors: the copy does not build, a command does not end, a filter matches no test.
    pub(super) fn run(&self, catcher: &Catcher) -> Result<Verdict, Failure> {
        match catcher {
            Catcher::Seeds { arguments, seeds_max } => {
                self.seeds(SeedKind::Whole, arguments, *seeds_max)
            }
            Catcher::Histories { seeds_max } => self.seeds(SeedKind::Histories, &[], *seeds_max),
            Catcher::Models(tests) => self.tests(tests, true),
            Catcher::Tests(tests) => self.tests(tests, false),
        }
    }

    fn seeds(&self, kind: SeedKind, more: &[String], seeds_max: u64) -> Result<Verdict, Failure> {
        let binary = self.build_program()?;
        let described: String = more.iter().map(|word| format!(" {word}")).collect();
        let what = kind.name();
        let (mut first, mut step) = (0, PLANTED_SEEDS_FIRST);
        while first < seeds_max {
            let end = seeds_max.min(first + step);
            let mut command = Command::new(&binary);
            command.current_dir(self.replica.sources());
            command.args(kind.arguments(first..end, more));
            command.args(["--jobs", &self.jobs.to_string()]);
            let (status, output) = self.run_bounded(command)?;
            if !status.success() {
                let (seed, why) = first_failing_seed(&output)
                    .ok_or_else(|| format!("{what}: {status}, and no seed is named"))?;
                let why: String = why.chars().take(PLANTED_REASON_CHARS_MAX).collect();
                let by = format!("{what}{described}, seed {seed}: {why}");
                return self.prove(by, seed, &kind.arguments(seed..seed + 1, more));
            }
            (first, step) = (end, (step * 2).min(PLANTED_SEEDS_AT_ONCE_MAX));
        }
        let tried = format!("{} of {what}{described}", seeds_text(seeds_max));
        Ok(Verdict::Survived { tried })
    }

    /// Runs the seed once more without the bug: if it fails then too, it has found something else.
    pub(super) fn prove(
        &self,
        by: String,
        seed: u64,
        arguments: &[String],
    ) -> Result<Verdict, Failure> {
        if let Some(clean) = &self.clean {
            let mut command = Command::new(clean);
            command.current_dir(self.replica.sources()).args(arguments);
            let (status, output) = self.run_bounded(command)?;
            if !status.success() {
                // A program that never ran a seed says nothing about one.
                return match first_failing_seed(&output) {
                    Some(_) => Ok(Verdict::NotProven { by }),
                    None => Err(format!("{by}; without the bug: {status}, and no seed is named")),
                };
            }
        }
        Ok(Verdict::Caught { by, needed: seeds_text(seed + 1) })
    }

    /// Builds what runs seeds in the copy; returns where it is.
    fn build_program(&self) -> Result<PathBuf, Failure> {
        let mut build = self.replica.cargo();
        build.args(["build", "--release", "-p", "xtask"]);
        self.build(build)?;
        Ok(self.replica.target_dir().join("release/xtask"))
    }

    /// Builds the program of the copy as it is, and keeps it for the bugs that seeds find.
    pub(super) fn keep_clean(&mut self) -> Result<(), Failure> {
        let (built, kept) = (self.build_program()?, self.replica.target_dir().join("clean-xtask"));
        fs::copy(&built, &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        self.clean = Some(kept);
        Ok(())
    }

    fn tests(&self, tests: &Tests, is_model: bool) -> Result<Verdict, Failure> {
        let mut build = self.cargo_test(tests, is_model);
        build.arg("--no-run");
        self.build(build)?;
        let mut command = self.cargo_test(tests, is_model);
        command.args(["--no-fail-fast", "--", &tests.filter]);
        let (status, output) = self.run_bounded(command)?;
        read_tests(tests, is_model, status.success(), &output)
    }

    fn cargo_test(&self, tests: &Tests, is_model: bool) -> Command {
        let mut command = self.replica.cargo();
        command.args(["test", "-p", &tests.package]);
        if tests.is_integration {
            command.args(["--test", "it"]);
        } else {
            command.arg("--lib");
        }
        if is_model {
            // Loom replaces the atomics at compile time, so its build has a folder of its own.
            let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
            command.arg("--release");
            command.env("RUSTFLAGS", format!("{flags} --cfg sombra_loom").trim_start());
            command.env("CARGO_TARGET_DIR", self.replica.target_dir().join("loom"));
        } else if tests.package == "sombra-runtime" {
            command.args(["--features", "sim"]);
        }
        command
    }

    fn build(&self, command: Command) -> Result<(), Failure> {
        let described = process::describe(&command);
        let (status, output) = self.run_bounded(command)?;
        if status.success() {
            return Ok(());
        }
        let error = output.lines().find(|line| line.starts_with("error"));
        Err(format!("`{described}`: {status}: {}", error.unwrap_or("no reason given")))
    }

    /// Runs to the end, or fails when that does not come; output goes into a file.
    fn run_bounded(&self, mut command: Command) -> Result<(ExitStatus, String), Failure> {
        let described = process::describe(&command);
        let log = self.replica.log();
        let wrong = |error: std::io::Error| format!("`{described}`: {error}");
        let out = File::create(&log).map_err(wrong)?;
        command.stdout(out.try_clone().map_err(wrong)?).stderr(out);
        // A group of its own: what it starts ends with it.
        let mut child = command.process_group(0).spawn().map_err(wrong)?;
        let deadline = Instant::now() + Duration::from_secs(PLANTED_COMMAND_SECONDS_MAX);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(wrong)? {
                break status;
            }
            if Instant::now() > deadline {
                // It may have ended meanwhile; either way it is waited for.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                child.wait().map_err(wrong)?;
                return Err(format!("`{described}`: {PLANTED_COMMAND_SECONDS_MAX} s and no end"));
            }
            thread::sleep(Duration::from_millis(50));
        };
        let output = fs::read(&log).map_err(wrong)?;
        Ok((status, String::from_utf8_lossy(&output).into_owned()))
    }
}

fn seeds_text(count: u64) -> String {
    if count == 1 { "1 seed".to_owned() } else { format!("{count} seeds") }
}

/// The lowest seed of lines such as `seed 17: what was wrong`, or of the closing line.
pub(super) fn first_failing_seed(output: &str) -> Option<(u64, String)> {
    let lines: Vec<&str> = output.lines().collect();
    let told = lines.iter().enumerate().filter_map(|(at, line)| {
        let (seed, why) = line.strip_prefix("seed ")?.split_once(": ")?;
        // What the checker of histories found is listed below its counts.
        let listed = || lines[at..].iter().find(|line| line.starts_with("  "));
        let why = if why == "isolation:" { listed().map_or(why, |line| line.trim()) } else { why };
        Some((seed.parse().ok()?, why.to_owned()))
    });
    let listed = output.lines().filter_map(|line| {
        let (_, seeds) = line.strip_prefix("error: ")?.split_once(" failed: ")?;
        let seeds = seeds.split([' ', ',', '[', ']']).filter_map(|seed| seed.parse().ok());
        Some((seeds.min()?, "took another course when it ran again".to_owned()))
    });
    told.chain(listed).min_by_key(|(seed, _)| *seed)
}

/// What a run of tests found: the names of those that failed.
pub(super) fn read_tests(
    tests: &Tests,
    is_model: bool,
    is_success: bool,
    output: &str,
) -> Result<Verdict, Failure> {
    let what = if is_model { "model" } else { "test" };
    let ended = |end: &str| {
        let of = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(end)?.to_owned());
        output.lines().filter_map(of).collect::<Vec<String>>()
    };
    let failed = ended(" ... FAILED");
    match (is_success, failed.as_slice()) {
        (false, [first, ..]) => {
            let more = match failed.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let binary = if tests.is_integration { "it::" } else { "" };
            let by = format!("{what} {}::{binary}{first}{more}", tests.package);
            Ok(Verdict::Caught { by, needed: format!("1 {what}") })
        }
        (true, []) if ended(" ... ok").is_empty() => Err(format!("no {what} is called {tests}")),
        (true, []) => Ok(Verdict::Survived { tried: format!("{what} {tests}") }),
        (_, _) if output.contains("process didn't exit successfully") => {
            // A panic while another one unwinds ends the whole program.
            let by = format!("{what} {tests}: the program aborted");
            Ok(Verdict::Caught { by, needed: format!("1 {what}") })
        }
        (_, _) => Err(format!("{what} {tests}: it failed and named no test")),
    }
}
