//! The JSON output in fio's schema, `json` and `json+`. What fio has no key for stands under the
//! one additional key `sombra`.

use serde::Serialize;

use super::json_writer::{Pairs, to_text};
use super::number::calendar;
use super::rows::{
    DEPTH_FLOOR, LATENCY_FLOOR, Row, milliseconds, nanoseconds, rows, share_of_group, shares,
};
use crate::disk::environment::DiskEnvironment;
use crate::disk::job::Direction;
use crate::disk::outcome::{DiskUtil, RunOutcome};
use crate::disk::punts::Punts;
use crate::disk::tally::{BATCH_LABELS, Buckets, CLASS_LABELS, DEPTH_LABELS, Latency, Moments};

/// How much of the latencies is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// `--output-format=json`: percentiles.
    Percentiles,
    /// `--output-format=json+`: every bucket as well.
    Bins,
}

/// The whole output, with a newline at its end.
pub fn render(outcome: &RunOutcome, detail: Detail) -> String {
    let rows = rows(&outcome.jobs);
    let ended_wall_ms = outcome.ended_wall_ms();
    to_text(&Output {
        fio_version: concat!("sombra-", env!("CARGO_PKG_VERSION")),
        timestamp: ended_wall_ms / 1_000,
        timestamp_ms: ended_wall_ms,
        time: calendar(ended_wall_ms),
        global_options: options(&outcome.global_options),
        jobs: rows.iter().map(|row| JobObject::of(&rows, row, detail)).collect(),
        disk_util: outcome.disk_util.iter().map(DiskObject::of).collect(),
        sombra: Sombra {
            environment: &outcome.environment,
            interrupted: outcome.interrupted,
            notes: &outcome.notes,
            skipped: &outcome.skipped,
            errors: rows
                .iter()
                .filter_map(|row| Some((row.job.name.as_str(), row.error?.text.as_str())))
                .collect(),
            flushes: outcome
                .disk_util
                .iter()
                .filter_map(|disk| Some((disk.name.as_str(), disk.flush_ios?)))
                .collect(),
            io_uring_punts: &outcome.punts,
        },
    })
}

type Options<'a> = Pairs<&'a str, &'a str>;

/// Like fio, without the options that are switched on by their name alone.
fn options(options: &[(String, String)]) -> Options<'_> {
    let valued = options.iter().filter(|(_, value)| !value.is_empty());
    Pairs(valued.map(|(name, value)| (name.as_str(), value.as_str())).collect())
}

#[derive(Serialize)]
struct Output<'a> {
    #[serde(rename = "fio version")]
    fio_version: &'static str,
    timestamp: u64,
    timestamp_ms: u64,
    time: String,
    #[serde(rename = "global options")]
    global_options: Options<'a>,
    jobs: Vec<JobObject<'a>>,
    /// Left out, like fio does, where there is no disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disk_util: Vec<DiskObject<'a>>,
    sombra: Sombra<'a>,
}

/// What fio does not say.
#[derive(Serialize)]
struct Sombra<'a> {
    environment: &'a DiskEnvironment,
    interrupted: bool,
    notes: &'a [String],
    skipped: &'a [String],
    /// By job.
    errors: Vec<(&'a str, &'a str)>,
    /// Flushes that each disk was sent.
    flushes: Vec<(&'a str, u64)>,
    io_uring_punts: &'a Punts,
}

type Shares = Pairs<&'static str, f64>;

#[derive(Serialize)]
struct JobObject<'a> {
    jobname: &'a str,
    groupid: u32,
    error: i32,
    eta: u64,
    elapsed: u64,
    #[serde(rename = "job options")]
    job_options: Options<'a>,
    read: DirectionObject,
    write: DirectionObject,
    trim: DirectionObject,
    sync: SyncObject,
    job_runtime: u64,
    usr_cpu: f64,
    sys_cpu: f64,
    ctx: u64,
    majf: u64,
    minf: u64,
    iodepth_level: Shares,
    iodepth_submit: Shares,
    iodepth_complete: Shares,
    latency_ns: Shares,
    latency_us: Shares,
    latency_ms: Shares,
    latency_depth: u32,
    latency_target: u64,
    latency_percentile: f64,
    latency_window: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'a str>,
}

impl<'a> JobObject<'a> {
    fn of(rows: &[Row<'a>], row: &Row<'a>, detail: Detail) -> JobObject<'a> {
        let (job, tally) = (&**row.job, &*row.tally);
        let (usr_cpu, sys_cpu) = row.cpu_percents();
        let [read, write, trim] =
            Direction::ALL.map(|direction| DirectionObject::of(rows, row, direction, detail));
        let (depths, magnitudes) = (tally.depths(), tally.magnitudes());
        let (submissions, completions) = (tally.submissions(), tally.completions());
        let total = tally.operations();
        JobObject {
            jobname: &job.name,
            groupid: row.group_id,
            error: row.error.map_or(0, |error| error.errno),
            eta: 0,
            elapsed: row.elapsed.as_millis().div_ceil(1_000) as u64,
            job_options: options(&job.options),
            read,
            write,
            trim,
            sync: SyncObject {
                total_ios: tally.syncs().moments.count(),
                lat_ns: LatencyObject::of(tally.syncs(), &job.percentiles, detail),
            },
            job_runtime: milliseconds(nanoseconds(row.measured_sum)),
            usr_cpu,
            sys_cpu,
            ctx: row.cpu.context_switches,
            majf: row.cpu.major_faults,
            minf: row.cpu.minor_faults,
            iodepth_level: labelled(&DEPTH_LABELS, &shares(&depths.0, total, DEPTH_FLOOR)),
            iodepth_submit: labelled(
                &BATCH_LABELS,
                &shares(&submissions.0, submissions.total(), DEPTH_FLOOR),
            ),
            iodepth_complete: labelled(
                &BATCH_LABELS,
                &shares(&completions.0, completions.total(), DEPTH_FLOOR),
            ),
            latency_ns: labelled(&CLASS_LABELS, &shares(&magnitudes.ns, total, LATENCY_FLOOR)),
            latency_us: labelled(&CLASS_LABELS, &shares(&magnitudes.us, total, LATENCY_FLOOR)),
            latency_ms: labelled(&CLASS_LABELS, &shares(&magnitudes.ms, total, LATENCY_FLOOR)),
            latency_depth: job.iodepth,
            latency_target: 0,
            latency_percentile: 100.0,
            latency_window: 0,
            desc: job.description.as_deref(),
        }
    }
}

fn labelled(labels: &[&'static str], shares: &[f64]) -> Shares {
    Pairs(labels.iter().copied().zip(shares.iter().copied()).collect())
}

#[derive(Serialize)]
struct DirectionObject {
    io_bytes: u64,
    io_kbytes: u64,
    bw_bytes: u64,
    bw: u64,
    iops: f64,
    runtime: u64,
    total_ios: u64,
    short_ios: u64,
    drop_ios: u64,
    slat_ns: LatencyObject,
    clat_ns: LatencyObject,
    lat_ns: LatencyObject,
    bw_min: u64,
    bw_max: u64,
    bw_agg: f64,
    bw_mean: f64,
    bw_dev: f64,
    bw_samples: u64,
    iops_min: u64,
    iops_max: u64,
    iops_mean: f64,
    iops_stddev: f64,
    iops_samples: u64,
}

impl DirectionObject {
    fn of(
        rows: &[Row<'_>],
        row: &Row<'_>,
        direction: Direction,
        detail: Detail,
    ) -> DirectionObject {
        let tally = row.tally.direction(direction);
        let bw_bytes = row.bytes_per_s(direction);
        let latency = |of: &Latency| LatencyObject::of(of, &row.job.percentiles, detail);
        let (bandwidth, iops) = (&tally.bandwidth, &tally.iops);
        DirectionObject {
            io_bytes: tally.bytes,
            io_kbytes: tally.bytes / 1_024,
            bw_bytes,
            bw: bw_bytes / 1_024,
            iops: row.iops(direction),
            runtime: milliseconds(row.run_ns(direction)),
            total_ios: tally.operations,
            short_ios: tally.short,
            drop_ios: 0,
            slat_ns: latency(&tally.submission),
            clat_ns: latency(&tally.completion),
            lat_ns: latency(&tally.whole),
            bw_min: bandwidth.min(),
            bw_max: bandwidth.max(),
            bw_agg: share_of_group(rows, row, direction),
            bw_mean: bandwidth.mean(),
            bw_dev: bandwidth.deviation(),
            bw_samples: bandwidth.samples(),
            iops_min: iops.min(),
            iops_max: iops.max(),
            iops_mean: iops.mean(),
            iops_stddev: iops.deviation(),
            iops_samples: iops.samples(),
        }
    }
}

#[derive(Serialize)]
struct SyncObject {
    total_ios: u64,
    lat_ns: LatencyObject,
}

#[derive(Serialize)]
struct LatencyObject {
    min: u64,
    max: u64,
    mean: f64,
    stddev: f64,
    #[serde(rename = "N")]
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    percentile: Option<Pairs<String, u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bins: Option<Pairs<String, u64>>,
}

impl LatencyObject {
    fn of(latency: &Latency, percentiles: &[f64], detail: Detail) -> LatencyObject {
        let moments: &Moments = &latency.moments;
        let buckets: Option<&Buckets> = latency.buckets.as_ref().filter(|_| moments.count() > 0);
        let percentile = buckets.map(|buckets| {
            let values = buckets.percentiles(percentiles);
            let keys = percentiles.iter().map(|percent| format!("{percent:.6}"));
            Pairs(keys.zip(values).collect())
        });
        let bins = buckets.filter(|_| detail == Detail::Bins).map(|buckets| {
            Pairs(buckets.filled().map(|(middle, count)| (middle.to_string(), count)).collect())
        });
        LatencyObject {
            min: moments.min(),
            max: moments.max(),
            mean: moments.mean(),
            stddev: moments.deviation(),
            count: moments.count(),
            percentile,
            bins,
        }
    }
}

#[derive(Serialize)]
struct DiskObject<'a> {
    name: &'a str,
    read_ios: u64,
    write_ios: u64,
    read_merges: u64,
    write_merges: u64,
    read_ticks: u64,
    write_ticks: u64,
    in_queue: u64,
    util: f64,
}

impl DiskObject<'_> {
    fn of(disk: &DiskUtil) -> DiskObject<'_> {
        DiskObject {
            name: &disk.name,
            read_ios: disk.read_ios,
            write_ios: disk.write_ios,
            read_merges: disk.read_merges,
            write_merges: disk.write_merges,
            read_ticks: disk.read_ticks_ms,
            write_ticks: disk.write_ticks_ms,
            in_queue: disk.in_queue_ms,
            util: disk.util_percent,
        }
    }
}
