//! The command line.

use std::path::PathBuf;

use crate::Executor;
use crate::limits::{PAIR_SECONDS_MAX, PAIRS_MAX};

pub(crate) const HELP: &str = "\
executors --executor NAME JOBFILE [--json FILE] [--OPTION=VALUE ...]
    runs the job file on sombra, tokio-uring, glommio, monoio or compio; a line for each job
executors --executor NAME --against fio|NAME --pairs N --seconds S JOBFILE
          [--section JOB] [--json FILE] [--OPTION=VALUE ...]
    first N pairs of NAME with itself, then N pairs of NAME and the other side in changing order,
    each run a process of its own for S seconds: ratios of CPU per I/O and of IOPS
executors --compare JOBFILE [--OPTION=VALUE ...]
    runs the job file on every executor, and fio where there is one: do they do the same?

--OPTION=VALUE is any option of job files, above the file's [global]: --directory=DIR, --size=1g.";

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Executor(Executor),
    Fio,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Side::Executor(executor) => executor.name(),
            Side::Fio => "fio",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pairs {
    pub(crate) subject: Executor,
    pub(crate) against: Side,
    pub(crate) pairs: u64,
    pub(crate) seconds: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Run(Executor),
    /// One side of a measurement, started by this program: the files are there, the figures go to
    /// standard output as JSON.
    Child(Executor),
    Pairs(Pairs),
    Compare,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) job_file: PathBuf,
    /// The one job that runs.
    pub(crate) section: Option<String>,
    pub(crate) json: Option<PathBuf>,
    /// As given, with their dashes.
    pub(crate) job_options: Vec<String>,
}

#[derive(Default)]
struct Given {
    executor: Option<Executor>,
    against: Option<Side>,
    pairs: Option<u64>,
    seconds: Option<u64>,
    section: Option<String>,
    json: Option<PathBuf>,
    compare: bool,
    child: bool,
    job_file: Option<PathBuf>,
    job_options: Vec<String>,
}

/// The argument that makes a child, not for people.
pub(crate) const CHILD: &str = "--as-child";

impl Arguments {
    /// `None`: help is asked for.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let mut given = Given::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                let before = given.job_file.replace(PathBuf::from(&word));
                if before.is_some() {
                    return Err(format!("expected one job file, found a second: {word}"));
                }
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if name == "help" {
                return Ok(None);
            }
            given.take(&word, name, value, &mut words)?;
        }
        given.finish().map(Some)
    }
}

impl Given {
    fn take(
        &mut self,
        word: &str,
        name: &str,
        value: Option<String>,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let mut needed =
            || value.clone().or_else(|| words.next()).ok_or(format!("--{name}: no value"));
        match name {
            "executor" => self.executor = Some(executor(&needed()?)?),
            "against" => {
                let other = needed()?;
                let is_fio = other == Side::Fio.name();
                self.against =
                    Some(if is_fio { Side::Fio } else { Side::Executor(executor(&other)?) });
            }
            "pairs" => self.pairs = Some(number("pairs", &needed()?, PAIRS_MAX)?),
            "seconds" => self.seconds = Some(number("seconds", &needed()?, PAIR_SECONDS_MAX)?),
            "section" => self.section = Some(needed()?),
            "json" => self.json = Some(needed()?.into()),
            "compare" => self.compare = true,
            _ if word == CHILD => self.child = true,
            _ => self.job_options.push(word.to_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<Arguments, String> {
        let job_file = self.job_file.ok_or("expected a job file, found none; see --help")?;
        let mode = match (self.executor, self.against, self.compare) {
            (None, None, true) => Mode::Compare,
            (Some(subject), Some(against), false) => Mode::Pairs(Pairs {
                subject,
                against,
                pairs: self.pairs.ok_or("--against: expected --pairs N, found none")?,
                seconds: self.seconds.ok_or("--against: expected --seconds S, found none")?,
            }),
            (Some(executor), None, false) if self.child => Mode::Child(executor),
            (Some(executor), None, false) if self.pairs.is_none() => Mode::Run(executor),
            (Some(_), None, false) => return Err("--pairs: expected --against, found none".into()),
            (None, ..) => return Err("expected --executor NAME, found none; see --help".into()),
            (Some(_), _, true) => return Err("--compare runs every executor".into()),
        };
        let (section, json, job_options) = (self.section, self.json, self.job_options);
        Ok(Arguments { mode, job_file, section, json, job_options })
    }
}

fn executor(name: &str) -> Result<Executor, String> {
    let names = Executor::ALL.map(Executor::name).join(", ");
    Executor::of_name(name).ok_or(format!("expected one of {names}, found {name}"))
}

fn number(option: &str, text: &str, max: u64) -> Result<u64, String> {
    let found = text.parse().ok().filter(|number| (1..=max).contains(number));
    found.ok_or(format!("--{option}: expected 1 to {max}, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let parsed = Arguments::parse(line.split_whitespace().map(str::to_owned))?;
        Ok(parsed.expect("no help was asked for"))
    }

    #[test]
    fn job_options_are_told_from_the_programs_own() {
        let run = parse("--executor monoio a.fio --json=x --directory=/d --size=4m").unwrap();
        assert_eq!(run.mode, Mode::Run(Executor::Monoio));
        assert_eq!((run.job_file, run.json), ("a.fio".into(), Some("x".into())));
        assert_eq!(run.job_options, ["--directory=/d", "--size=4m"]);
    }

    #[test]
    fn pairs_need_both_sides_a_number_and_a_time() {
        let line = "--executor=sombra --against fio --pairs 3 --seconds 1 a.fio";
        let pairs = Pairs { subject: Executor::Sombra, against: Side::Fio, pairs: 3, seconds: 1 };
        assert_eq!(parse(line).unwrap().mode, Mode::Pairs(pairs));
        for wrong in [
            "--executor sombra --against fio --pairs 3 a.fio",
            "--executor sombra --pairs 3 --seconds 1 a.fio",
            "--against fio --pairs 3 --seconds 1 a.fio",
            "--executor sombra --against fio --pairs 0 --seconds 1 a.fio",
            "--executor tokio a.fio",
            "--executor sombra",
            "--executor sombra --compare a.fio",
            "--executor sombra a.fio b.fio",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
