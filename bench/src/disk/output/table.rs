//! The text output: line by line what fio prints, so that what reads fio's reads this.

use std::fmt::{self, Write as _};

use super::number::{bytes_ten, bytes_two, speed_ten, speed_two};
use super::rows::{self, Head, Row, milliseconds, rows};
use super::table_job::write_row;
use crate::disk::environment::{DeviceFacts, DiskEnvironment, NOT_EXPOSED};
use crate::disk::job::{BlockSize, Direction, Job, Mix};
use crate::disk::outcome::{DiskUtil, RunOutcome};
use crate::disk::punts::Punts;

/// What is printed before a run: its sections, this program, how many threads. An empty line and
/// the results follow.
pub fn render_head(heads: &[Head<'_>]) -> String {
    let mut text = String::new();
    write_head(&mut text, heads).expect("a String takes every write");
    text
}

/// What is printed after it.
pub fn render_results(outcome: &RunOutcome) -> String {
    let mut text = String::new();
    write_results(&mut text, outcome).expect("a String takes every write");
    text
}

fn write_head(text: &mut String, heads: &[Head<'_>]) -> fmt::Result {
    for head in heads {
        let job = head.job;
        let [read, write, trim] = Direction::ALL.map(|direction| block(job.block.of(direction)));
        writeln!(
            text,
            "{}: (g={}): rw={}, bs=(R) {read}, (W) {write}, (T) {trim}, ioengine={}, iodepth={}",
            job.name,
            head.group_id,
            pattern(job),
            job.engine.name(),
            job.iodepth,
        )?;
        if head.clones > 1 {
            writeln!(text, "...")?;
        }
    }
    let threads: u32 = heads.iter().map(|head| head.clones).sum();
    let plural = if threads == 1 { "" } else { "s" };
    writeln!(text, "sombra disk run, {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(text, "Starting {threads} thread{plural}")
}

fn write_results(text: &mut String, outcome: &RunOutcome) -> fmt::Result {
    let rows = rows(&outcome.jobs);
    for row in &rows {
        write_row(text, &rows, row, outcome.ended_wall_ms())?;
    }
    let mut groups: Vec<u32> = rows.iter().map(|row| row.group_id).collect();
    groups.dedup();
    for group_id in groups {
        write_group(text, &rows, group_id)?;
    }
    write_disks(text, &outcome.disk_util)?;
    write_environment(text, outcome)?;
    write_notes(text, outcome)
}

fn write_group(text: &mut String, rows: &[Row<'_>], group_id: u32) -> fmt::Result {
    writeln!(text, "\nRun status group {group_id} (all jobs):")?;
    for direction in Direction::ALL {
        let Some(figures) = rows::group(rows, group_id, direction) else { continue };
        let (min, max) = (figures.bytes_per_s_min, figures.bytes_per_s_max);
        writeln!(
            text,
            "{:>7}: bw={} ({}), {}-{} ({}-{}), io={} ({}), run={}-{}msec",
            direction.name().to_uppercase(),
            speed_two(figures.bytes_per_s),
            speed_ten(figures.bytes_per_s),
            speed_two(min),
            speed_two(max),
            speed_ten(min),
            speed_ten(max),
            bytes_two(figures.bytes),
            bytes_ten(figures.bytes),
            milliseconds(figures.run_ns_min),
            milliseconds(figures.run_ns_max),
        )?;
    }
    Ok(())
}

fn write_disks(text: &mut String, disks: &[DiskUtil]) -> fmt::Result {
    if disks.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nDisk stats (read/write):")?;
    for disk in disks {
        writeln!(
            text,
            "  {}: ios={}/{}, merge={}/{}, ticks={}/{}, in_queue={}, util={:.2}%",
            disk.name,
            disk.read_ios,
            disk.write_ios,
            disk.read_merges,
            disk.write_merges,
            disk.read_ticks_ms,
            disk.write_ticks_ms,
            disk.in_queue_ms,
            disk.util_percent,
        )?;
    }
    Ok(())
}

/// Where the run took place: without that its figures say nothing. Left out where nobody looked.
fn write_environment(text: &mut String, outcome: &RunOutcome) -> fmt::Result {
    let environment = &outcome.environment;
    if environment.kernel.is_empty() {
        return Ok(());
    }
    let DiskEnvironment { kernel, cpu_model, cpus, governor, preconditioning, .. } = environment;
    writeln!(text, "\nEnvironment:")?;
    let memory = bytes_two(environment.memory_bytes);
    writeln!(text, "  {kernel}, {cpus} CPUs ({cpu_model}), governor {governor}, {memory} memory")?;
    for device in &environment.devices {
        writeln!(text, "  {}", describe(device))?;
    }
    let (driver, build) = (&environment.driver, &environment.build);
    writeln!(text, "  driver {driver}, {build} build, preconditioning {preconditioning}")?;
    match &outcome.punts {
        Punts::Counted(count) => writeln!(text, "  io_uring punts to worker threads: {count}")?,
        Punts::Skipped(reason) => writeln!(text, "  io_uring punts: skipped: {reason}")?,
    }
    environment.driver_notes.iter().try_for_each(|note| writeln!(text, "  driver: {note}"))
}

/// One device in one line.
fn describe(device: &DeviceFacts) -> String {
    let flag = |fact: Option<bool>| match fact {
        Some(true) => "yes",
        Some(false) => "no",
        None => NOT_EXPOSED,
    };
    let mut facts = vec![
        format!("{}: model {}", device.name, device.model),
        format!("write cache {}", device.write_cache),
        format!("FUA {}", flag(device.has_fua)),
        format!("scheduler {}", device.scheduler),
        format!("rotational {}", flag(device.is_rotational)),
        format!("poll queues {}", flag(device.has_poll_queues)),
    ];
    if !device.filesystem.is_empty() {
        facts.push(format!("{} ({})", device.filesystem, device.mount_options));
    }
    facts.join(", ")
}

/// What fio has no words for comes last, each line marked.
fn write_notes(text: &mut String, outcome: &RunOutcome) -> fmt::Result {
    let interrupted = outcome.interrupted.then(|| "interrupted: figures up to then".to_owned());
    let skipped = outcome.skipped.iter().map(|job| format!("{job}: not started"));
    let limits = outcome.environment.limits.iter().cloned();
    let notes = interrupted.into_iter().chain(skipped).chain(outcome.notes.iter().cloned());
    let lines: Vec<String> = notes.chain(limits).collect();
    if !lines.is_empty() {
        writeln!(text)?;
    }
    lines.iter().try_for_each(|line| writeln!(text, "note: {line}"))
}

fn block(size: &BlockSize) -> String {
    format!("{}-{}", bytes_two(size.min_bytes()), bytes_two(size.max_bytes()))
}

/// The `rw` option without its number.
pub(super) fn pattern(job: &Job) -> String {
    let name = match (job.pattern.mix, job.pattern.is_random) {
        (Mix::Read, _) => "read",
        (Mix::Write, _) => "write",
        (Mix::Trim, _) => "trim",
        (Mix::ReadWrite, _) => "rw",
        (Mix::TrimWrite, _) => "trimwrite",
    };
    format!("{}{name}", if job.pattern.is_random { "rand" } else { "" })
}
