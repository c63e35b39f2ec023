//! How a command fails: one line on standard error, and an exit code that scripts can tell apart.

use std::fmt::Display;
use std::io;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;

const EXIT_FAILURE: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_PROBLEMS: u8 = 3;
const EXIT_INTERRUPTED: u8 = 130;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The work failed, or what was asked for is not there.
    Work(String),
    /// The command line asks for something that cannot be.
    Usage(String),
    /// The work was done, and found damage; all of it has been printed.
    Problems(String),
    /// Somebody stopped it; what was found until then has been printed.
    Interrupted,
    /// Nobody reads the output any more, which is nobody's mistake.
    ReaderGone,
}

impl Failure {
    pub(crate) fn work(reason: impl Display) -> Failure {
        Failure::Work(reason.to_string())
    }

    pub(crate) fn usage(reason: impl Display) -> Failure {
        Failure::Usage(reason.to_string())
    }

    /// What a look into a store comes to: nothing, or the number of problems that were printed.
    pub(crate) fn for_problems(count: usize, place: impl Display) -> Result<(), Failure> {
        match count {
            0 => Ok(()),
            1 => Err(Failure::Problems(format!("{place}: 1 problem found"))),
            _ => Err(Failure::Problems(format!("{place}: {count} problems found"))),
        }
    }

    /// Prints the line and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = match self {
            Failure::Work(text) => (text, EXIT_FAILURE),
            Failure::Usage(text) => (text, EXIT_USAGE),
            Failure::Problems(text) => (text, EXIT_PROBLEMS),
            Failure::Interrupted => ("interrupted".to_owned(), EXIT_INTERRUPTED),
            Failure::ReaderGone => return ExitCode::SUCCESS,
        };
        // Where standard error is gone too, the exit code is all that is left to say.
        let _ = writeln!(io::stderr(), "sombra: {}", one_line(&text));
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    /// Errors of standard output; those of files come with their path.
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::ReaderGone;
        }
        Failure::Work(format!("writing the output: {error}"))
    }
}

/// Help and version are printed as they are; a mistake becomes one line.
pub(crate) fn from_clap(error: &clap::Error) -> Result<(), Failure> {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help {
        return Ok(write!(io::stdout(), "{}", error.render())?);
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing was asked for yet: what can be asked for is the best answer.
        let _ = write!(io::stderr(), "{text}");
        return Err(Failure::usage("expected a subcommand, found none"));
    }
    let ends = ["Usage:", "For more information"].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(text.len());
    let told = one_line(text[..end].trim_start_matches("error: "));
    Err(Failure::usage(format!("{told}; try --help")))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
