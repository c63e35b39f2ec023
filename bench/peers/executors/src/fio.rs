//! What fio's JSON report says of its jobs.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::AnyError;
use crate::figures::{JobFigures, per};

/// Whether there is a fio to run.
pub(crate) fn is_there() -> bool {
    let asked = Command::new("fio").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// The jobs of a report, without CPU and devices, which the report counts in another way.
pub(crate) fn jobs(report: &str) -> Result<Vec<JobFigures>, AnyError> {
    // Its notes stand before the report.
    let json = report.find('{').map(|begin| &report[begin..]).ok_or("fio: no report")?;
    let report: Value = serde_json::from_str(json)?;
    let jobs = report["jobs"].as_array().ok_or("fio: a report without jobs")?;
    let mut rows: Vec<JobFigures> = Vec::with_capacity(jobs.len());
    for row in jobs.iter().map(job) {
        let row = row?;
        match rows.last_mut().filter(|last| last.job == row.job) {
            Some(last) => add_clone(last, &row),
            None => rows.push(row),
        }
    }
    Ok(rows)
}

/// Puts the clones of a job together. Of their percentiles the largest is kept.
fn add_clone(all: &mut JobFigures, one: &JobFigures) {
    all.reads += one.reads;
    all.writes += one.writes;
    all.flushes += one.flushes;
    all.bytes += one.bytes;
    all.elapsed_s = all.elapsed_s.max(one.elapsed_s);
    all.iops += one.iops;
    all.mb_per_s += one.mb_per_s;
    all.p50_us = all.p50_us.max(one.p50_us);
    all.p99_us = all.p99_us.max(one.p99_us);
    all.p999_us = all.p999_us.max(one.p999_us);
}

fn job(job: &Value) -> Result<JobFigures, AnyError> {
    let name = job["jobname"].as_str().ok_or("fio: a job without a name")?;
    let error = job["error"].as_i64().unwrap_or(0);
    if error != 0 {
        return Err(format!("fio: job '{name}': error {error}").into());
    }
    let number = |part: &str, field: &str| {
        let found = job[part][field].as_f64();
        found.ok_or(AnyError::from(format!("fio: job '{name}': no {part}.{field}")))
    };
    let of_both = |field| Ok::<_, AnyError>(number("read", field)? + number("write", field)?);
    let (reads, writes) = (number("read", "total_ios")?, number("write", "total_ios")?);
    let elapsed_s = number("read", "runtime")?.max(number("write", "runtime")?) / 1e3;
    let bytes = of_both("io_bytes")?;
    let percentile_us = |wanted: &str| {
        let of = |part: &str| job[part]["lat_ns"]["percentile"][wanted].as_f64().unwrap_or(0.0);
        of("read").max(of("write")) / 1e3
    };
    Ok(JobFigures {
        executor: "fio".to_owned(),
        job: name.to_owned(),
        reads: reads as u64,
        writes: writes as u64,
        // Its `total_ios` of flushes stays at 0.
        flushes: job["sync"]["lat_ns"]["N"].as_u64().unwrap_or(0),
        bytes: bytes as u64,
        elapsed_s,
        iops: per(reads + writes, elapsed_s),
        mb_per_s: per(bytes / 1e6, elapsed_s),
        p50_us: percentile_us("50.000000"),
        p99_us: percentile_us("99.000000"),
        p999_us: percentile_us("99.900000"),
        cpu_us_per_io: 0.0,
        device_reads: 0,
        device_writes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_behind_notes_gives_both_directions() {
        let direction = |ios: u32, bytes: u32, p50: u32| {
            format!(
                r#"{{"total_ios":{ios},"io_bytes":{bytes},"runtime":500,
                "lat_ns":{{"percentile":{{"50.000000":{p50}}}}}}}"#
            )
        };
        let report = format!(
            r#"{{"jobname":"a","error":0,"sync":{{"lat_ns":{{"N":3}}}},"read":{},"write":{}}}"#,
            direction(10, 40960, 7000),
            direction(5, 20480, 9000)
        );
        let two = format!(r#"note: something {{"jobs":[{report},{report}]}}"#);
        let clones = jobs(&two).unwrap();
        assert_eq!((clones.len(), clones[0].reads, clones[0].iops), (1, 20, 60.0));
        let found = jobs(&format!(r#"note: something {{"jobs":[{report}]}}"#)).unwrap();
        assert_eq!((found[0].reads, found[0].writes, found[0].flushes), (10, 5, 3));
        assert_eq!((found[0].bytes, found[0].iops, found[0].p50_us), (61440, 30.0, 9.0));
    }

    #[test]
    fn job_that_failed_is_no_figure() {
        let report = r#"{"jobs":[{"jobname":"a","error":28,"read":{},"write":{}}]}"#;
        assert!(jobs(report).unwrap_err().to_string().contains("error 28"));
        assert!(jobs("fio: no such file").is_err());
    }
}
