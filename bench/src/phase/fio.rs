//! fio as the reference for random reads: the device as everybody measures it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::limits::DISK_READ_DEPTH;

use super::disk::Stretch;
use super::reference::ReferenceFigures;

/// An fio that can be run here.
#[derive(Clone, Debug)]
pub(crate) struct Fio {
    program: PathBuf,
    version: String,
}

/// The part of a file that is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadTarget {
    pub(crate) path: PathBuf,
    pub(crate) first_byte: u64,
    pub(crate) end_byte: u64,
}

const WATCH_INTERVAL: Duration = Duration::from_millis(50);

impl Fio {
    /// The fio that the search path has.
    ///
    /// # Errors
    /// Why there is none, for a reader of the report.
    pub(crate) fn find() -> Result<Fio, String> {
        Fio::at(Path::new("fio"))
    }

    fn at(program: &Path) -> Result<Fio, String> {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "fio is not installed".to_owned(),
            _ => format!("fio did not start: {error}"),
        })?;
        if !output.status.success() {
            return Err(format!("fio --version: {}", output.status));
        }
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Fio { program: program.to_path_buf(), version })
    }

    /// Random 4 KiB reads of a file that fio may not change; its report goes to `report`.
    ///
    /// # Errors
    /// What fio said; or that a stop was requested.
    pub(crate) fn random_reads(
        &self,
        target: &ReadTarget,
        report: &Path,
        stretch: &Stretch,
    ) -> Result<ReferenceFigures, String> {
        stretch.begin("fio randread");
        let mut command = Command::new(&self.program);
        command.args(arguments(target, report, stretch));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("fio did not start: {error}"))?;
        wait(child, stretch)?;
        let text = fs::read_to_string(report).map_err(|error| format!("fio's report: {error}"))?;
        figures_of(&text, &self.version)
    }
}

fn arguments(target: &ReadTarget, report: &Path, stretch: &Stretch) -> Vec<String> {
    // fio takes a colon as the border between two files.
    let path = target.path.display().to_string().replace(':', "\\:");
    let size = target.end_byte - target.first_byte;
    vec![
        "--name=randread".to_owned(),
        "--readonly".to_owned(),
        format!("--filename={path}"),
        format!("--offset={}", target.first_byte),
        format!("--size={size}"),
        "--direct=1".to_owned(),
        "--rw=randread".to_owned(),
        "--randrepeat=0".to_owned(),
        "--bs=4k".to_owned(),
        format!("--iodepth={DISK_READ_DEPTH}"),
        "--ioengine=io_uring".to_owned(),
        "--time_based".to_owned(),
        format!("--runtime={}ms", stretch.measured.as_millis()),
        format!("--ramp_time={}ms", stretch.warmup.as_millis()),
        "--lat_percentiles=1".to_owned(),
        "--percentile_list=50:99:99.9".to_owned(),
        "--eta=never".to_owned(),
        "--output-format=json".to_owned(),
        format!("--output={}", report.display()),
    ]
}

fn wait(mut child: Child, stretch: &Stretch) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    loop {
        let ended = child.try_wait().map_err(|error| format!("waiting for fio: {error}"))?;
        if let Some(status) = ended {
            if status.success() {
                return Ok(());
            }
            let said = child.wait_with_output().map(|output| output.stderr).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(format!("fio: {status}: {said}"));
        }
        if stretch.stop.is_requested() {
            // It may have ended by itself meanwhile; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
            return Err("stopped before fio had ended".to_owned());
        }
        thread::sleep(WATCH_INTERVAL);
        waited += WATCH_INTERVAL;
        stretch.progress.elapsed(waited);
    }
}

/// The figures in fio's JSON report; text before it is fio talking.
fn figures_of(text: &str, version: &str) -> Result<ReferenceFigures, String> {
    let json = text.find('{').map_or("", |at| &text[at..]);
    let report: Value =
        serde_json::from_str(json).map_err(|error| format!("fio's report: {error}"))?;
    let job = &report["jobs"][0];
    let number = |value: &Value, name: &str| {
        value.as_f64().ok_or_else(|| format!("fio's report: expected {name}, found {value}"))
    };
    let read = &job["read"];
    let percentiles = &read["lat_ns"]["percentile"];
    let percentile_us = |of: &str| number(&percentiles[of], of).map(|ns| ns / 1_000.0);
    let operations = number(&read["total_ios"], "read.total_ios")?;
    let milliseconds = number(&read["runtime"], "read.runtime")?;
    let cpu_percent = number(&job["usr_cpu"], "usr_cpu")? + number(&job["sys_cpu"], "sys_cpu")?;
    Ok(ReferenceFigures {
        tool: version.to_owned(),
        operations: operations as u64,
        seconds: milliseconds / 1_000.0,
        per_s: number(&read["iops"], "read.iops")?,
        p50_us: percentile_us("50.000000")?,
        p99_us: percentile_us("99.000000")?,
        p999_us: percentile_us("99.900000")?,
        cpu_us_per_read: cpu_percent / 100.0 * milliseconds * 1_000.0 / operations.max(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"fio: some remark
    { "fio version": "fio-3.36", "jobs": [ { "jobname": "randread", "usr_cpu": 6.0,
      "sys_cpu": 14.0, "read": { "iops": 50000.5, "total_ios": 250000, "runtime": 5000,
      "lat_ns": { "mean": 1.0, "percentile": { "50.000000": 2000000, "99.000000": 9000000,
      "99.900000": 12000000 } } } } ] }"#;

    #[test]
    fn fio_report_gives_rate_latency_and_cpu_of_a_read() {
        let figures = figures_of(REPORT, "fio-3.36").unwrap();
        assert_eq!((figures.per_s, figures.operations), (50_000.5, 250_000));
        assert_eq!([figures.p50_us, figures.p99_us, figures.p999_us], [2e3, 9e3, 12e3]);
        // A fifth of one CPU over five seconds is one second over 250,000 reads.
        assert!((figures.cpu_us_per_read - 4.0).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn fio_report_without_a_field_names_it() {
        let cut = REPORT.replace("\"iops\"", "\"other\"");
        assert_eq!(
            figures_of(&cut, "").unwrap_err(),
            "fio's report: expected read.iops, found null"
        );
        assert!(figures_of("nothing", "").unwrap_err().starts_with("fio's report: "));
    }

    #[test]
    fn fio_that_is_not_there_is_named_as_the_reason() {
        let reason = Fio::at(Path::new("/nowhere/fio")).unwrap_err();
        assert_eq!(reason, "fio is not installed");
    }
}
