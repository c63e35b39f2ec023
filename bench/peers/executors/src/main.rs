//! Runs one fio job file on this project's executor and on others, every one with the same stream
//! of operations, and measures them beside each other and beside fio.
//!
//! `cargo run --release --manifest-path bench/peers/Cargo.toml --bin executors -- --help`

mod arguments;
mod children;
mod compare;
mod drive;
mod figures;
mod files;
mod fio;
mod jobs;
mod limits;
mod pairs;
mod peers;
mod refusal;
mod run;

use std::error::Error;
use std::process::ExitCode;

use arguments::{Arguments, Mode};

type AnyError = Box<dyn Error + Send + Sync>;

/// An executor that a job file can run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Executor {
    Sombra,
    TokioUring,
    Glommio,
    Monoio,
    Compio,
}

impl Executor {
    pub(crate) const ALL: [Executor; 5] = [
        Executor::Sombra,
        Executor::TokioUring,
        Executor::Glommio,
        Executor::Monoio,
        Executor::Compio,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Executor::Sombra => "sombra",
            Executor::TokioUring => "tokio-uring",
            Executor::Glommio => "glommio",
            Executor::Monoio => "monoio",
            Executor::Compio => "compio",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Executor> {
        Executor::ALL.into_iter().find(|executor| executor.name() == name)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("executors: {problem}");
            return ExitCode::from(2);
        }
    };
    let outcome = match &arguments.mode {
        Mode::Run(executor) => run::run(*executor, &arguments),
        Mode::Child(executor) => run::run_as_child(*executor, &arguments),
        Mode::Pairs(pairs) => pairs::run(pairs, &arguments),
        Mode::Compare => compare::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("executors: {}", sombra_bench::disk::run::one_line(&*error));
            ExitCode::FAILURE
        }
    }
}
