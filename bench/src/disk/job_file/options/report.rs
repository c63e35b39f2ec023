//! What a job is called, what is checked of its data, and what is told of it afterwards.

use super::{OptionRow, accept, one_of, refuse, set};
use crate::disk::job::Job;
use crate::disk::job_file::draft::{Draft, Given};
use crate::disk::job_file::value::{KbBase, Parsed, bounded, colon_list, flag, float};
use crate::limits::{DISK_JOB_PERCENTILES_MAX, DISK_JOB_SAMPLE_MS_MAX};

pub(super) const ROWS: &[OptionRow] = &[
    set(&["name"], |draft, given| match given.text()? {
        "" => Err("a name".into()),
        name if name.contains('\0') => Err("a name without a zero byte".into()),
        name => {
            draft.job.name = name.to_owned();
            Ok(())
        }
    }),
    set(&["description"], |draft, given| {
        draft.job.description = Some(given.text()?.to_owned());
        Ok(())
    }),
    set(&["kb_base"], |draft, given| {
        let bases = [("1024", KbBase::Compatible), ("1000", KbBase::International)];
        draft.kb_base = one_of(given.text()?, &bases)?;
        Ok(())
    }),
    refuse(&["unit_base"], &["0", "8"], "rates are told in bytes"),
    set(&["verify"], verify),
    set(&["do_verify"], |draft, given| flag(given.value).map(|is| draft.job.do_verify = is)),
    set(&["verify_fatal"], |draft, given| flag(given.value).map(|is| draft.job.verify_fatal = is)),
    set(&["percentile_list"], percentile_list),
    set(&["clat_percentiles"], |draft, given| {
        flag(given.value).map(|is| draft.job.clat_percentiles = is)
    }),
    set(&["lat_percentiles"], |draft, given| {
        flag(given.value).map(|is| draft.job.lat_percentiles = is)
    }),
    set(&["slat_percentiles"], |draft, given| {
        flag(given.value).map(|is| draft.job.slat_percentiles = is)
    }),
    set(&["write_bw_log"], |draft, given| log(draft, given, |job| &mut job.logs.bandwidth)),
    set(&["write_lat_log"], |draft, given| log(draft, given, |job| &mut job.logs.latency)),
    set(&["write_iops_log"], |draft, given| log(draft, given, |job| &mut job.logs.iops)),
    set(&["log_avg_msec"], |draft, given| {
        milliseconds(draft, given, 0).map(|ms| draft.job.logs.average_ms = ms)
    }),
    set(&["log_max_value"], |draft, given| {
        flag(given.value).map(|is| draft.job.logs.max_value = is)
    }),
    set(&["log_offset"], |draft, given| {
        flag(given.value).map(|is| draft.job.logs.with_offset = is)
    }),
    set(&["log_unix_epoch"], |draft, given| {
        flag(given.value).map(|is| draft.job.logs.unix_epoch = is)
    }),
    set(&["per_job_logs"], |draft, given| flag(given.value).map(|is| draft.job.logs.per_job = is)),
    set(&["bwavgtime"], |draft, given| {
        milliseconds(draft, given, 1).map(|ms| draft.job.logs.bandwidth_sample_ms = ms)
    }),
    set(&["iopsavgtime"], |draft, given| {
        milliseconds(draft, given, 1).map(|ms| draft.job.logs.iops_sample_ms = ms)
    }),
    accept(&["log_entries"], ""),
    refuse(&["disk_util"], &["1"], "the report always has it"),
    accept(&["error_dump"], ""),
    accept(&["significant_figures"], "figures are shown with the digits that they have"),
    accept(&["clocksource"], "times are always those of the monotonic clock"),
    accept(&["fadvise_hint"], "the kernel is given no advice on the pattern"),
    refuse(&["stats"], &["1"], "every job is measured"),
];

fn verify(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    draft.job.verify = match text {
        "0" | "none" => false,
        "crc32c" => true,
        "crc32c-intel" => {
            draft.note("option 'verify': crc32c in place of crc32c-intel: they are the same");
            true
        }
        _ => return Err("crc32c, the one check that is supported, or 0 for none".into()),
    };
    Ok(())
}

fn percentile_list(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let mut percentiles = Vec::new();
    for part in colon_list(given.text()?) {
        percentiles.push(float(part.trim(), 0.0, 100.0)?);
        if percentiles.len() > DISK_JOB_PERCENTILES_MAX {
            return Err(format!("at most {DISK_JOB_PERCENTILES_MAX} percentiles").into());
        }
    }
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    draft.job.percentiles = percentiles;
    Ok(())
}

/// The prefix of a log's name; none, or an empty one, stands for the job's name.
fn log(
    draft: &mut Draft,
    given: Given<'_>,
    field: fn(&mut Job) -> &mut Option<String>,
) -> Parsed<()> {
    let prefix = given.value.unwrap_or("");
    if prefix.contains('\0') {
        return Err("a name without a zero byte".into());
    }
    *field(&mut draft.job) = Some(prefix.to_owned());
    Ok(())
}

fn milliseconds(draft: &Draft, given: Given<'_>, min: u64) -> Parsed<u64> {
    bounded(given.text()?, draft.kb_base, min, DISK_JOB_SAMPLE_MS_MAX)
}
