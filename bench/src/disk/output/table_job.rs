//! The lines of one job in the text output.

use std::fmt::{self, Write as _};

use super::number::{Base, bytes_two, calendar, short, speed};
use super::rows::{DEPTH_FLOOR, LATENCY_FLOOR, Row, milliseconds, share_of_group, shares};
use crate::disk::job::Direction;
use crate::disk::tally::{
    BATCH_LABELS, Buckets, CLASS_LABELS, DEPTH_LABELS, LEVEL_COUNT, Levels, Moments, Rates,
};

/// Latencies on one line of their distribution.
const CLASSES_PER_LINE: usize = 5;
/// Characters of a line, and of what stands before its percentiles.
const LINE_CHARACTERS: usize = 80;
const PERCENTILE_INDENT: usize = 7;

pub(super) fn write_row(
    text: &mut String,
    rows: &[Row<'_>],
    row: &Row<'_>,
    ended_wall_ms: u64,
) -> fmt::Result {
    let name = &row.job.name;
    write!(text, "{name}: (groupid={}, jobs={}): ", row.group_id, row.jobs)?;
    match row.error {
        None => write!(text, "err= 0: ")?,
        Some(error) => write!(text, "err={:2} ({}): ", error.errno, error.text)?,
    }
    writeln!(text, "pid={}: {}", row.thread_id, calendar(ended_wall_ms))?;
    if let Some(description) = &row.job.description {
        writeln!(text, "  Description  : [{description}]")?;
    }
    for direction in Direction::ALL {
        if row.tally.direction(direction).operations > 0 {
            write_direction(text, rows, row, direction)?;
        }
    }
    write_magnitudes(text, row)?;
    write_syncs(text, row)?;
    write_foot(text, row)
}

fn write_direction(
    text: &mut String,
    rows: &[Row<'_>],
    row: &Row<'_>,
    direction: Direction,
) -> fmt::Result {
    let tally = row.tally.direction(direction);
    let zones = if direction == Direction::Write { "; 0 zone resets" } else { "" };
    writeln!(
        text,
        "  {}: IOPS={}, BW={}({}/{}msec){zones}",
        direction.name(),
        short(row.iops(direction) as u64, 4, Base::Ten, ""),
        speed(row.bytes_per_s(direction)),
        bytes_two(tally.bytes),
        milliseconds(row.run_ns(direction)),
    )?;
    let kinds = [("slat", &tally.submission), ("clat", &tally.completion), (" lat", &tally.whole)];
    for (name, latency) in kinds {
        write_latency(text, name, &latency.moments)?;
    }
    for (name, latency) in kinds {
        if let Some(buckets) = &latency.buckets {
            write_percentiles(text, name.trim_start(), buckets, &row.job.percentiles)?;
        }
    }
    let share = share_of_group(rows, row, direction);
    write_bandwidth(text, &tally.bandwidth, share)?;
    write_iops(text, &tally.iops)
}

/// The unit in which latencies are told: the largest that leaves the smallest of them above 2.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    ns: u64,
}

const NANO: Unit = Unit { name: "nsec", ns: 1 };
const MICRO: Unit = Unit { name: "usec", ns: 1_000 };
const MILLI: Unit = Unit { name: "msec", ns: 1_000_000 };

impl Unit {
    fn of(min_ns: u64, max_ns: u64, deviation_ns: f64) -> Unit {
        let fits = |unit: &Unit| {
            min_ns > 2 * unit.ns && max_ns > 100 * unit.ns - 1 && deviation_ns > unit.ns as f64
        };
        [MILLI, MICRO].into_iter().find(fits).unwrap_or(NANO)
    }
}

fn write_latency(text: &mut String, name: &str, moments: &Moments) -> fmt::Result {
    if moments.count() == 0 {
        return Ok(());
    }
    let unit = Unit::of(moments.min(), moments.max(), moments.deviation());
    let divisor = unit.ns as f64;
    writeln!(
        text,
        "    {name} ({}): min={}, max={}, avg={:5.2}, stdev={:5.2}",
        unit.name,
        short(moments.min() / unit.ns, 6, Base::Ten, ""),
        short(moments.max() / unit.ns, 6, Base::Ten, ""),
        moments.mean() / divisor,
        moments.deviation() / divisor,
    )
}

fn write_percentiles(
    text: &mut String,
    name: &str,
    buckets: &Buckets,
    wanted: &[f64],
) -> fmt::Result {
    let values = buckets.percentiles(wanted);
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Ok(()) };
    let unit = Unit::of(*first, *last, f64::MAX);
    writeln!(text, "    {name} percentiles ({}):", unit.name)?;
    let scaled: Vec<u64> = values.iter().map(|value| value.div_ceil(unit.ns)).collect();
    let digits = scaled.iter().max().map_or(0, |value| value.to_string().len());
    let (width, decimals) = (digits.max(5), decimals_of(wanted));
    let before = decimals + 3;
    let told = wanted
        .iter()
        .zip(&scaled)
        .map(|(percent, value)| format!(" {percent:before$.decimals$}th=[{value:width$}]"));
    let told: Vec<String> = told.collect();
    let per_line = (LINE_CHARACTERS - PERCENTILE_INDENT) / (decimals + 10 + width);
    let lines: Vec<String> = told.chunks(per_line.max(1)).map(|line| line.join(",")).collect();
    writeln!(text, "     |{}", lines.join(",\n     |"))
}

/// Decimals that the percentiles need.
fn decimals_of(percentiles: &[f64]) -> usize {
    let needs = |percent: &f64| {
        let text = percent.to_string();
        text.split_once('.').map_or(0, |(_, decimals)| decimals.len())
    };
    percentiles.iter().map(needs).max().unwrap_or(0)
}

fn write_bandwidth(text: &mut String, rates: &Rates, share: f64) -> fmt::Result {
    if rates.samples() == 0 {
        return Ok(());
    }
    const MEBI: f64 = 1024.0 * 1024.0;
    let (unit, divisor) = if rates.mean() > MEBI { ("MiB", 1024) } else { ("KiB", 1) };
    writeln!(
        text,
        "   bw ({unit:>5}/s): min={:5}, max={:5}, per={share:.2}%, avg={:5.2}, stdev={:5.2}, \
         samples={}",
        rates.min() / divisor,
        rates.max() / divisor,
        rates.mean() / divisor as f64,
        rates.deviation() / divisor as f64,
        rates.samples(),
    )
}

fn write_iops(text: &mut String, rates: &Rates) -> fmt::Result {
    if rates.samples() == 0 {
        return Ok(());
    }
    writeln!(
        text,
        "   iops        : min={:5}, max={:5}, avg={:5.2}, stdev={:5.2}, samples={}",
        rates.min(),
        rates.max(),
        rates.mean(),
        rates.deviation(),
        rates.samples(),
    )
}

fn write_magnitudes(text: &mut String, row: &Row<'_>) -> fmt::Result {
    let (magnitudes, total) = (row.tally.magnitudes(), row.tally.operations());
    write_classes(text, "nsec", &shares(&magnitudes.ns, total, LATENCY_FLOOR))?;
    write_classes(text, "usec", &shares(&magnitudes.us, total, LATENCY_FLOOR))?;
    write_classes(text, "msec", &shares(&magnitudes.ms, total, LATENCY_FLOOR))
}

fn write_classes(text: &mut String, unit: &str, shares: &[f64]) -> fmt::Result {
    let filled = shares.iter().zip(CLASS_LABELS).filter(|(share, _)| **share > 0.0);
    let told = filled.map(|(share, label)| format!("{label}={share:.2}%"));
    let told: Vec<String> = told.collect();
    told.chunks(CLASSES_PER_LINE)
        .try_for_each(|line| writeln!(text, "  lat ({unit})   : {}", line.join(", ")))
}

fn write_syncs(text: &mut String, row: &Row<'_>) -> fmt::Result {
    let syncs = row.tally.syncs();
    if syncs.moments.count() == 0 {
        return Ok(());
    }
    writeln!(text, "  fsync/fdatasync/sync_file_range:")?;
    write_latency(text, "sync", &syncs.moments)?;
    match &syncs.buckets {
        Some(buckets) => write_percentiles(text, "sync", buckets, &row.job.percentiles),
        None => Ok(()),
    }
}

fn write_foot(text: &mut String, row: &Row<'_>) -> fmt::Result {
    let (user, system) = row.cpu_percents();
    let (cpu, tally) = (&row.cpu, &*row.tally);
    writeln!(
        text,
        "  cpu          : usr={user:.2}%, sys={system:.2}%, ctx={}, majf={}, minf={}",
        cpu.context_switches, cpu.major_faults, cpu.minor_faults
    )?;
    let (submissions, completions) = (tally.submissions(), tally.completions());
    let depths = levels(tally.depths(), tally.operations(), &DEPTH_LABELS);
    writeln!(text, "  IO depths    : {depths}")?;
    writeln!(text, "     submit    : {}", levels(submissions, submissions.total(), &BATCH_LABELS))?;
    writeln!(text, "     complete  : {}", levels(completions, completions.total(), &BATCH_LABELS))?;
    let [read, write, trim] = Direction::ALL.map(|direction| tally.direction(direction));
    writeln!(
        text,
        "     issued rwts: total={},{},{},{} short={},{},{},0 dropped=0,0,0,0",
        read.operations,
        write.operations,
        trim.operations,
        tally.syncs().moments.count(),
        read.short,
        write.short,
        trim.short,
    )?;
    writeln!(
        text,
        "     latency   : target=0, window=0, percentile=100.00%, depth={}",
        row.job.iodepth
    )
}

fn levels(levels: &Levels, total: u64, labels: &[&str; LEVEL_COUNT]) -> String {
    let shares = shares(&levels.0, total, DEPTH_FLOOR);
    let told = shares.iter().zip(labels).map(|(share, label)| format!("{label}={share:.1}%"));
    told.collect::<Vec<_>>().join(", ")
}
