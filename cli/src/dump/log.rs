use std::io::Write;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use serde::Serialize;
use sombra::inspect::{self, LogChange, LogEntry, LogSummary, LogWrite};
use sombra::{Lsn, OpenError};
use sombra_runtime::Runtime;

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{stdout, write_json_line};
use crate::store::start_runtime;
use crate::text::{Notation, show_routing};

use super::{LogArgs, cut};

/// Records read ahead of the printing: bounded, because a log is larger than memory.
const ENTRIES_AHEAD_MAX: usize = 256;

#[derive(Serialize)]
struct Entry {
    lsn: u64,
    wall_ms: u64,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Change {
    Commit { writes: Vec<LoggedWrite> },
    CreateKeyspace { keyspace: u32, name: String, routing: String },
    DropKeyspace { keyspace: u32 },
}

/// `value` is absent for a delete.
#[derive(Serialize)]
struct LoggedWrite {
    keyspace: u32,
    key: String,
    value: Option<String>,
}

pub(super) fn run(args: &LogArgs) -> Outcome {
    let runtime = start_runtime()?;
    let outcome = print_log(args, &runtime);
    runtime.shutdown();
    outcome
}

/// Reads on a shard and prints here, so that a slow reader of the output slows the reading.
fn print_log(args: &LogArgs, runtime: &Runtime) -> Outcome {
    let (sender, entries) = sync_channel(ENTRIES_AHEAD_MAX);
    // The engine takes the LSN after which to begin, the user says the first one.
    let after = args.from.map(|from| Lsn::new(from.saturating_sub(1)));
    thread::scope(|scope| {
        let read = scope.spawn(move || {
            // Nobody to send to: the output is full or its reader gone.
            let visit = move |entry: LogEntry| drop(sender.send(entry));
            runtime.block_on(inspect::log(runtime, &args.store, after, visit))
        });
        let printed = print_entries(args, entries);
        let panicked = |_| Failure::work("reading the log: a task panicked");
        let summary: Result<LogSummary, OpenError> = read.join().map_err(panicked)?;
        let summary = summary.map_err(Failure::work)?;
        let complete = printed?;
        if complete && !args.json {
            print_summary(&summary)?;
        }
        Ok(())
    })
}

/// Prints what comes in, up to the limit; says whether that was everything.
fn print_entries(args: &LogArgs, entries: Receiver<LogEntry>) -> Outcome<bool> {
    let notation = Notation::new(args.hex);
    let mut out = stdout();
    let mut left = args.limit.unwrap_or(u64::MAX);
    for entry in entries {
        if left == 0 {
            out.flush()?;
            return Ok(false);
        }
        left -= 1;
        let entry = Entry::new(entry, notation);
        if args.json {
            write_json_line(&mut out, &entry)?;
        } else {
            entry.write_to(&mut out)?;
        }
    }
    out.flush()?;
    Ok(true)
}

fn print_summary(summary: &LogSummary) -> Outcome {
    let LogSummary { records, end, newest_stamp, stopped_by } = summary;
    let mut out = stdout();
    writeln!(out, "{records} records, end of log at LSN {end}: {stopped_by}")?;
    writeln!(out, "vouched for up to LSN {newest_stamp}")?;
    Ok(out.flush()?)
}

impl Entry {
    fn new(entry: LogEntry, notation: Notation) -> Entry {
        let write = |write: LogWrite| LoggedWrite {
            keyspace: write.keyspace.as_u32(),
            key: notation.show(&write.key),
            value: write.value.map(|value| notation.show(&value)),
        };
        let change = match entry.change {
            LogChange::Commit { writes } => {
                Change::Commit { writes: writes.into_iter().map(write).collect() }
            }
            LogChange::CreateKeyspace { keyspace, name, routing } => {
                let (keyspace, routing) = (keyspace.as_u32(), show_routing(&routing, notation));
                Change::CreateKeyspace { keyspace, name, routing }
            }
            LogChange::DropKeyspace { keyspace } => {
                Change::DropKeyspace { keyspace: keyspace.as_u32() }
            }
        };
        Entry { lsn: entry.lsn.as_u64(), wall_ms: entry.wall_ms, change }
    }

    fn write_to(&self, out: &mut impl Write) -> Outcome {
        write!(out, "{} at {} ms: ", self.lsn, self.wall_ms)?;
        match &self.change {
            Change::Commit { writes } => {
                writeln!(out, "commit of {} writes", writes.len())?;
                writes.iter().try_for_each(|write| write.write_to(out))
            }
            Change::CreateKeyspace { keyspace, name, routing } => {
                Ok(writeln!(out, "create keyspace {keyspace} {name:?}, {routing}")?)
            }
            Change::DropKeyspace { keyspace } => Ok(writeln!(out, "drop keyspace {keyspace}")?),
        }
    }
}

impl LoggedWrite {
    fn write_to(&self, out: &mut impl Write) -> Outcome {
        let LoggedWrite { keyspace, key, value } = self;
        let Some(value) = value else {
            return Ok(writeln!(out, "  delete keyspace {keyspace} {key}")?);
        };
        Ok(writeln!(out, "  put keyspace {keyspace} {key} = {}", cut(value))?)
    }
}
