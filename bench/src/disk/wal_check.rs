//! Is a disk fit for a log? Runs etcd's line and the log's own pattern, and judges what they gave.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::environment::DeviceFacts;
use super::job::{Direction, Job};
use super::job_file::{CommandLine, JobFile, Surroundings};
use super::outcome::{DiskUtil, JobOutcome, RunOutcome};
use super::plan::Plan;
use super::progress::Eta;
use super::run::{RunError, RunRequest, run};
use super::tally::Latency;
use super::target::{AllowedPlan, TargetRefusal};
use crate::limits::{WAL_P99_NS_MAX, WAL_P99_NS_WARN, WAL_P999_NS_WARN};
use crate::measure::Stop;

/// etcd's line first, as everybody runs it, then the log's pattern into written space.
const JOBS: &str = "
[etcd]
rw=write
ioengine=psync
fdatasync=1
size=22m
bs=2300
runtime=60

[global]
filename=sombra-wal-check
size=64m
ioengine=io_uring
direct=1
rw=write
overwrite=1
lat_percentiles=1

[prepare]
stonewall
bs=256k
iodepth=8
end_fsync=1

[global]
bs=4k
time_based=1
runtime=3

[dsync]
stonewall
sync=dsync

[fdatasync]
stonewall
ioengine=psync
fdatasync=1
";

/// The latency of one way to make a small write durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DurableWrites {
    pub count: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    /// Fit, with what the reasons say.
    Warn,
    Fail,
}

impl Verdict {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WalCheck {
    pub verdict: Verdict,
    /// Why it is not better; of a pass, what it rests on.
    pub reasons: Vec<String>,
    /// fdatasync after each buffered write of 2,300 bytes.
    pub etcd: DurableWrites,
    /// 4 KiB by RWF_DSYNC; `None` where the file system refuses direct I/O.
    pub dsync: Option<DurableWrites>,
    /// 4 KiB and fdatasync.
    pub fdatasync: Option<DurableWrites>,
    pub devices: Vec<DeviceFacts>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum WalCheckError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Target(#[from] TargetRefusal),
    #[error("{text}")]
    Job { text: String },
    #[error("stopped before there was enough to judge")]
    Stopped,
}

/// Writes and flushes in `dir`, which should be empty and the caller's to remove, and judges.
///
/// # Errors
/// The directory cannot be written to, a write failed, or somebody asked to stop.
pub fn wal_check(dir: &Path, eta: Eta, stop: Stop) -> Result<WalCheck, WalCheckError> {
    let outcome = run_jobs(dir, eta, stop)?;
    if outcome.interrupted {
        return Err(WalCheckError::Stopped);
    }
    let job = |name: &str| outcome.jobs.iter().find(|job| job.job.name == name);
    let etcd = job("etcd").ok_or(WalCheckError::Stopped)?;
    if let Some(error) = &etcd.error {
        return Err(WalCheckError::Job { text: error.text.clone() });
    }
    let flushes = durable(etcd.tally.syncs()).ok_or(WalCheckError::Stopped)?;
    // Only a file system without direct I/O may leave the log's own jobs out.
    let refused = [nix::libc::EINVAL, nix::libc::EOPNOTSUPP];
    let failed = outcome.jobs.iter().filter_map(|job| job.error.as_ref());
    if let Some(error) = failed.into_iter().find(|error| !refused.contains(&error.errno)) {
        return Err(WalCheckError::Job { text: error.text.clone() });
    }
    let of_log = |name: &str, latency: fn(&JobOutcome) -> &Latency| {
        job(name).filter(|job| job.error.is_none()).and_then(|job| durable(latency(job)))
    };
    let seen = Seen {
        etcd: flushes,
        dsync: of_log("dsync", |job| &job.tally.direction(Direction::Write).whole),
        fdatasync: of_log("fdatasync", |job| job.tally.syncs()),
        devices: &outcome.environment.devices,
        disk_util: &outcome.disk_util,
    };
    Ok(judge(&seen))
}

fn run_jobs(dir: &Path, eta: Eta, stop: Stop) -> Result<RunOutcome, WalCheckError> {
    let plan = AllowedPlan::check(plan_of(dir)?, &[])?;
    let notes = Vec::new();
    let request =
        RunRequest { plan, global_options: Vec::new(), notes, preconditioned: None, eta, stop };
    Ok(run(request)?)
}

fn plan_of(dir: &Path) -> Result<Plan, WalCheckError> {
    let file = JobFile::parse(JOBS, "wal-check", &CommandLine::default(), &Surroundings::NONE);
    let file = file.map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        WalCheckError::Job { text: lines.join("; ") }
    })?;
    let jobs = file.jobs.into_iter().map(|job| {
        // Not as an option, in which some characters of a path mean something else.
        Arc::new(Job { directory: Some(dir.to_owned()), ..job })
    });
    let jobs: Vec<_> = jobs.collect();
    Ok(Plan::new(&jobs, 0).expect("four threads and two files are within every bound"))
}

fn durable(latency: &Latency) -> Option<DurableWrites> {
    let values = latency.buckets.as_ref()?.percentiles(&[50.0, 99.0, 99.9]);
    let [p50_ns, p99_ns, p999_ns] = values.try_into().ok()?;
    Some(DurableWrites { count: latency.moments.count(), p50_ns, p99_ns, p999_ns })
}

/// What the verdict rests on.
struct Seen<'a> {
    etcd: DurableWrites,
    dsync: Option<DurableWrites>,
    fdatasync: Option<DurableWrites>,
    devices: &'a [DeviceFacts],
    disk_util: &'a [DiskUtil],
}

/// File systems that keep everything in memory.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

fn judge(seen: &Seen<'_>) -> WalCheck {
    let ms = |ns: u64| format!("{:.2} ms", ns as f64 / 1e6);
    let mut failures = Vec::new();
    let mut warnings = Vec::new();
    let p99_ns = seen.etcd.p99_ns;
    let p99 = format!("99 % of flushes take at most {}", ms(p99_ns));
    if p99_ns >= WAL_P99_NS_MAX {
        failures.push(format!("{p99}, less than {} expected", ms(WAL_P99_NS_MAX)));
    } else if p99_ns >= WAL_P99_NS_WARN {
        warnings.push(format!("{p99}, close to the limit of {}", ms(WAL_P99_NS_MAX)));
    }
    if seen.etcd.p999_ns >= WAL_P999_NS_WARN {
        warnings.push(format!("one flush in a thousand takes {}", ms(seen.etcd.p999_ns)));
    }
    if let Some(device) = seen.devices.iter().find(|device| is_volatile(device)) {
        let filesystem = &device.filesystem;
        failures.push(format!("{filesystem} keeps files in memory: nothing survives a power cut"));
    } else if seen.devices.iter().all(|device| !is_known(device)) {
        warnings.push(
            "the device's write cache is not exposed: whether a flush reaches the \
                       medium cannot be seen"
                .to_owned(),
        );
    } else if !has_flushed(seen) {
        warnings.push("the device has a write-back cache and saw no flush".to_owned());
    }
    if seen.dsync.is_none() {
        warnings.push("the file system refuses direct I/O, which the engine needs".to_owned());
    }
    let verdict = match (failures.is_empty(), warnings.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Warn,
        (true, true) => Verdict::Pass,
    };
    failures.append(&mut warnings);
    if failures.is_empty() {
        failures.push(format!("{p99}, the limit is {}", ms(WAL_P99_NS_MAX)));
    }
    WalCheck {
        verdict,
        reasons: failures,
        etcd: seen.etcd,
        dsync: seen.dsync,
        fdatasync: seen.fdatasync,
        devices: seen.devices.to_vec(),
    }
}

fn is_volatile(device: &DeviceFacts) -> bool {
    VOLATILE.contains(&device.filesystem.as_str())
}

fn is_known(device: &DeviceFacts) -> bool {
    device.write_cache.starts_with("write ")
}

/// A write-through device needs no flush; of the others the counters of flushes moved.
fn has_flushed(seen: &Seen<'_>) -> bool {
    let mut write_back = seen.devices.iter().filter(|device| device.write_cache == "write back");
    write_back.all(|device| {
        let util = seen.disk_util.iter().find(|util| util.name == device.name);
        // Kernels before 5.5 do not count flushes.
        util.and_then(|util| util.flush_ios).is_none_or(|flushes| flushes > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(p99_ns: u64) -> DurableWrites {
        DurableWrites { count: 1_000, p50_ns: p99_ns / 2, p99_ns, p999_ns: p99_ns + 1 }
    }

    fn device(filesystem: &str, write_cache: &str) -> DeviceFacts {
        DeviceFacts {
            name: "vda".to_owned(),
            filesystem: filesystem.to_owned(),
            write_cache: write_cache.to_owned(),
            ..DeviceFacts::default()
        }
    }

    fn judged(p99_ns: u64, device: DeviceFacts, flushes: Option<u64>) -> (Verdict, String) {
        let util = DiskUtil { name: "vda".to_owned(), flush_ios: flushes, ..DiskUtil::default() };
        let check = judge(&Seen {
            etcd: writes(p99_ns),
            dsync: Some(writes(p99_ns)),
            fdatasync: None,
            devices: &[device],
            disk_util: &[util],
        });
        (check.verdict, check.reasons.join("; "))
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn verdict_depends_on_the_99th_percentile_of_flushes() {
        let disk = || device("ext4", "write back");
        for (p99_ms, verdict) in [
            (1, Verdict::Pass),
            (4, Verdict::Pass),
            (5, Verdict::Warn),
            (9, Verdict::Warn),
            (10, Verdict::Fail),
            (500, Verdict::Fail),
        ] {
            assert_eq!(judged(p99_ms * MS, disk(), Some(9)).0, verdict, "{p99_ms} ms");
        }
        let (_, reasons) = judged(12 * MS, disk(), Some(9));
        assert_eq!(reasons, "99 % of flushes take at most 12.00 ms, less than 10.00 ms expected");
    }

    #[test]
    fn verdict_fails_where_nothing_survives() {
        let (verdict, reasons) = judged(1, device("tmpfs", ""), None);
        assert_eq!(verdict, Verdict::Fail);
        assert!(reasons.contains("tmpfs keeps files in memory"), "{reasons}");
    }

    #[test]
    fn verdict_warns_where_flushes_cannot_be_seen_or_do_not_reach_the_device() {
        for (write_cache, flushes, told) in
            [("not exposed", None, "is not exposed"), ("write back", Some(0), "saw no flush")]
        {
            let (verdict, reasons) = judged(1, device("ext4", write_cache), flushes);
            assert_eq!(verdict, Verdict::Warn);
            assert!(reasons.contains(told), "{reasons}");
        }
        assert_eq!(judged(1, device("xfs", "write through"), Some(0)).0, Verdict::Pass);
    }

    #[test]
    fn verdict_warns_where_direct_io_is_refused() {
        let check = judge(&Seen {
            etcd: writes(MS),
            dsync: None,
            fdatasync: None,
            devices: &[device("ext4", "write through")],
            disk_util: &[],
        });
        assert_eq!(check.verdict, Verdict::Warn);
    }

    #[test]
    fn jobs_of_the_check_are_what_they_say() {
        let plan = plan_of(Path::new("/d")).unwrap();
        let names: Vec<&str> = plan.threads().map(|thread| &*thread.job.name).collect();
        assert_eq!(names, ["etcd", "prepare", "dsync", "fdatasync"]);
        let etcd = &plan.threads().next().unwrap().job;
        assert_eq!((etcd.block.0[1].max_bytes(), etcd.fdatasync_every), (2_300, 1));
    }
}
