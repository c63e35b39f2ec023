//! The log files of a run in fio's format: `time, value, direction, block size[, offset],
//! priority`, one line an entry.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::disk::outcome::{JobOutcome, RunOutcome};
use crate::disk::tally::{LogEntry, LogKind};

/// Nobody sets priorities here.
const PRIORITY: u32 = 0;

/// Which jobs' entries stand in a file, one job after the other.
type Files<'a> = BTreeMap<PathBuf, Vec<&'a JobOutcome>>;

/// Writes every log that a job asks for, each through the writer that `create` gives for its
/// path.
///
/// Errors: of `create` and of its writers. Files before that one are complete.
pub fn write<W: Write>(
    outcome: &RunOutcome,
    mut create: impl FnMut(&PathBuf) -> io::Result<W>,
) -> io::Result<()> {
    for kind in LogKind::ALL {
        for (path, jobs) in &files(outcome, kind) {
            let mut file = create(path)?;
            for job in jobs {
                write_entries(&mut file, job, kind)?;
            }
            file.flush()?;
        }
    }
    Ok(())
}

/// A note for each log that had no room for all entries.
pub fn notes(outcome: &RunOutcome) -> Vec<String> {
    let dropped = |kind| outcome.jobs.iter().filter_map(move |job| dropped(job, kind));
    LogKind::ALL.into_iter().flat_map(dropped).collect()
}

/// `PREFIX_clat.3.log` of the third thread, or `PREFIX_clat.log` for all that share the prefix.
fn files(outcome: &RunOutcome, kind: LogKind) -> Files<'_> {
    let mut files = Files::new();
    for job in &outcome.jobs {
        let Some(prefix) = kind.prefix(&job.job) else { continue };
        let number = match job.job.logs.per_job {
            true => format!(".{}", job.thread_number + 1),
            false => String::new(),
        };
        let path = PathBuf::from(format!("{prefix}_{}{number}.log", kind.name()));
        files.entry(path).or_default().push(job);
    }
    files
}

fn write_entries(file: &mut impl Write, job: &JobOutcome, kind: LogKind) -> io::Result<()> {
    let Some(entries) = job.tally.log(kind) else { return Ok(()) };
    let base_ms = match job.job.logs.unix_epoch {
        true => job.started_wall_ms + job.tally.began_ns() / 1_000_000,
        false => 0,
    };
    let with_offset = job.job.logs.with_offset;
    entries.iter().try_for_each(|entry| write_entry(file, entry, base_ms, with_offset))
}

fn write_entry(
    file: &mut impl Write,
    entry: &LogEntry,
    base_ms: u64,
    with_offset: bool,
) -> io::Result<()> {
    let time_ms = base_ms + u64::from(entry.time_ms);
    let (value, direction) = (entry.value, entry.direction() as u8);
    write!(file, "{time_ms}, {value}, {direction}, {}", entry.block_bytes)?;
    if with_offset {
        write!(file, ", {}", entry.offset())?;
    }
    writeln!(file, ", {PRIORITY}")
}

fn dropped(job: &JobOutcome, kind: LogKind) -> Option<String> {
    let entries = job.tally.log(kind).filter(|entries| entries.dropped() > 0)?;
    Some(format!(
        "{}: its {} log holds the first {} entries; {} more had no room (log_avg_msec averages)",
        job.job.name,
        kind.name(),
        entries.len(),
        entries.dropped(),
    ))
}
