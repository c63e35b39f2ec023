//! One life of the writer, seen from the process that ends it.

use super::workload::Workload;
use super::{Driver, SEGMENT_SWITCH, WORKING, WRITERS};
use crate::Failure;
use sombra_sim::protocol::{self, Line};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Plan {
    pub(crate) store: PathBuf,
    pub(crate) workload: Workload,
    pub(crate) seed: u64,
    pub(crate) life: u32,
    pub(crate) shards: u64,
    pub(crate) driver: Driver,
    pub(crate) course: Course,
    /// The writer acknowledges what it never did.
    pub(crate) lie: bool,
}

impl Plan {
    /// A life of the model's workload that acknowledges what it did and nothing else.
    pub(crate) fn of_model(
        store: PathBuf,
        (seed, life): (u64, u32),
        shards: u64,
        driver: Driver,
        course: Course,
    ) -> Plan {
        Plan { store, workload: Workload::Model, seed, life, shards, driver, course, lie: false }
    }
}

/// How a life goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// The process opens, fills, shows and closes the store, and ends by itself.
    Prepare,
    /// The process opens, shows and closes the store, and ends by itself.
    Compare,
    Work {
        kill_after: Duration,
    },
}

/// What a life reported before it ended.
#[derive(Default)]
pub(super) struct Life {
    /// What is for the workload's judge.
    pub(super) reports: Vec<String>,
    pub(super) transactions: u64,
    pub(super) cross_shard: u64,
    pub(super) merges: u64,
    pub(super) recycled: u64,
    pub(super) driver: Option<String>,
    /// Where the process was when it ended.
    pub(super) phase: String,
    pub(super) killed: bool,
    /// The store did not exist before.
    pub(super) created: bool,
    /// From the start of the process until its clients began.
    pub(super) opening: Option<Duration>,
    /// From then until the end.
    pub(super) worked: Option<Duration>,
}

/// What the pipe brought, with the moment at which the clients began.
struct Heard {
    lines: Vec<String>,
    working_at: Option<Instant>,
}

impl Life {
    /// Starts the writer, ends it as planned, and reads what it had to say.
    pub(super) fn run(plan: &Plan) -> Result<Life, Failure> {
        let begun = Instant::now();
        let mut child =
            command(plan)?.spawn().map_err(|error| format!("cannot start the writer: {error}"))?;
        let pipe = child.stdout.take().ok_or("the writer has no standard output")?;
        let reader = std::thread::spawn(move || listen(pipe));
        let ended = match plan.course {
            Course::Work { kill_after } => kill_at(&mut child, begun + kill_after),
            Course::Prepare | Course::Compare => {
                child.wait().map(|status| (false, status.success()))
            }
        };
        let (killed, well) = ended.map_err(|error| format!("cannot end the writer: {error}"))?;
        let ended_at = Instant::now();
        let heard = reader.join().map_err(|_| "the pipe's reader panicked".to_owned())?;
        let mut life = Life { killed, ..Life::default() };
        life.opening = heard.working_at.map(|at| at - begun);
        life.worked = heard.working_at.map(|at| ended_at - at);
        life.read(heard.lines)?;
        if !killed && !well {
            return Err(format!("the writer gave up while {}: {:?}", life.phase, life.broken()));
        }
        if life.phase == WORKING && is_preparing_segment(&plan.store) {
            SEGMENT_SWITCH.clone_into(&mut life.phase);
        }
        Ok(life)
    }

    /// What a client of either workload says must not be.
    fn broken(&self) -> Vec<&String> {
        self.reports.iter().filter(|text| text.starts_with("B ")).collect()
    }

    /// Takes in where the process was, and leaves the rest to the judge.
    fn read(&mut self, lines: Vec<String>) -> Result<(), Failure> {
        "starting".clone_into(&mut self.phase);
        for text in lines {
            if !text.starts_with("P ") {
                self.reports.push(text);
                continue;
            }
            let Some(Line::Phase { name, note }) = protocol::parse(&text) else {
                return Err(format!("unreadable line {text:?}"));
            };
            self.enter(name, &note);
        }
        Ok(())
    }

    fn enter(&mut self, name: String, note: &str) {
        match name.as_str() {
            "driver" => self.driver = Some(note.to_owned()),
            // Sent now and then while the clients work: counts that only the writer knows.
            "counts" => {
                let mut numbers = note.split(' ').map(|word| word.parse().unwrap_or(0));
                self.transactions = numbers.next().unwrap_or(0);
                self.cross_shard = numbers.next().unwrap_or(0);
                self.merges = numbers.next().unwrap_or(0);
                self.recycled = numbers.next().unwrap_or(0);
            }
            _ => {
                self.created |= name == "creation";
                self.phase = name;
            }
        }
    }
}

/// The writer's process, its reports on a pipe, not started yet.
pub(crate) fn command(plan: &Plan) -> Result<Command, Failure> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new(own);
    command.arg("kill-writer").arg("--store").arg(&plan.store);
    command.args(["--seed", &plan.seed.to_string(), "--life", &plan.life.to_string()]);
    command.args(["--shards", &plan.shards.to_string(), "--driver", plan.driver.name()]);
    command.args(["--writers", &WRITERS.to_string(), "--workload", plan.workload.name()]);
    let step = match plan.course {
        Course::Prepare => "prepare",
        Course::Compare => "compare",
        Course::Work { .. } => "work",
    };
    command.args(["--step", step]);
    if plan.lie {
        command.arg("--lie");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Waits for the moment, then kills. A process that ended before that was not killed.
fn kill_at(child: &mut Child, moment: Instant) -> std::io::Result<(bool, bool)> {
    let wait = moment.saturating_duration_since(Instant::now());
    std::thread::sleep(wait);
    if let Some(status) = child.try_wait()? {
        return Ok((false, status.success()));
    }
    child.kill()?;
    let status = child.wait()?;
    Ok((!status.success() && status.code().is_none(), status.success()))
}

/// Reads until the writer's end of the pipe is gone. What arrived without a line's end was not
/// written by one call, so nothing was promised by it.
fn listen(pipe: impl Read) -> Heard {
    let mut heard = Heard { lines: Vec::new(), working_at: None };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if line.pop() == Some(b'\n') {
            if line.starts_with(b"P working") {
                heard.working_at.get_or_insert_with(Instant::now);
            }
            heard.lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        line.clear();
    }
    heard
}

/// A segment gets its name when it is whole; until then its file says that it is being made.
fn is_preparing_segment(store: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(store.join("wal")) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|word| word == "preparing"))
}
