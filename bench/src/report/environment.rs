//! Where a run took place: without this a figure says nothing.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::utsname::uname;
use nix::unistd::Pid;
use serde::Serialize;
use sombra_runtime::Runtime;

/// Stamp of the machine, the disk, and how the store uses them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Environment {
    pub kernel: String,
    pub cpu_model: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    pub memory_bytes: u64,
    pub directory: String,
    pub filesystem: String,
    pub mount_options: String,
    pub device: String,
    /// What the kernel says of the device's cache: `write back` or `write through`.
    pub device_write_cache: String,
    pub device_scheduler: String,
    pub driver: String,
    /// Why another driver than io_uring is in use, if so.
    pub driver_note: Option<String>,
    pub durability_method: String,
    pub build: &'static str,
    pub wall_clock_ms: u64,
}

impl Environment {
    /// Looks around. What cannot be found out is left empty, never guessed.
    pub(crate) fn of(runtime: &Runtime, dir: &Path, durability_method: &str) -> Environment {
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let mount = Mount::of(&dir).unwrap_or_default();
        Environment {
            kernel: kernel(),
            cpu_model: field_of("/proc/cpuinfo", "model name").unwrap_or_default(),
            cpus: cpus(),
            memory_bytes: memory_bytes(),
            directory: dir.display().to_string(),
            device_write_cache: mount.queue("write_cache"),
            device_scheduler: mount.queue("scheduler"),
            filesystem: mount.filesystem,
            mount_options: mount.options,
            device: mount.source,
            driver: format!("{:?}", runtime.driver_kind()).to_lowercase(),
            driver_note: runtime.driver_note(),
            durability_method: durability_method.to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            wall_clock_ms: runtime.wall_clock_ms(),
        }
    }
}

fn kernel() -> String {
    uname().map_or_else(
        |_| String::new(),
        |name| format!("{} {}", name.sysname().display(), name.release().display()),
    )
}

fn cpus() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 0 };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count()
}

fn memory_bytes() -> u64 {
    let field = field_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kibibytes = field.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

fn field_of(path: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The mount that a directory lies in, as `/proc/self/mountinfo` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Mount {
    pub(super) device_number: String,
    pub(super) options: String,
    pub(super) filesystem: String,
    pub(super) source: String,
}

impl Mount {
    fn of(dir: &Path) -> Option<Mount> {
        Mount::find(&fs::read_to_string("/proc/self/mountinfo").ok()?, dir)
    }

    /// The last mount whose mount point is the longest prefix of the directory.
    ///
    /// Source: proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options,
    /// optional fields, `-`, file system, source, super options.
    pub(super) fn find(mountinfo: &str, dir: &Path) -> Option<Mount> {
        let mut best: Option<(usize, Mount)> = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<_> = left.split(' ').collect();
            let right: Vec<_> = right.split(' ').collect();
            let ([_, _, number, _, point, options, ..], [filesystem, source, ..]) =
                (left.as_slice(), right.as_slice())
            else {
                continue;
            };
            let is_longer = best.as_ref().is_none_or(|(length, _)| point.len() >= *length);
            if dir.starts_with(point) && is_longer {
                let mount = Mount {
                    device_number: (*number).to_owned(),
                    options: (*options).to_owned(),
                    filesystem: (*filesystem).to_owned(),
                    source: (*source).to_owned(),
                };
                best = Some((point.len(), mount));
            }
        }
        best.map(|(_, mount)| mount)
    }

    /// An attribute of the device's queue; a partition's is its disk's.
    fn queue(&self, attribute: &str) -> String {
        if self.device_number.is_empty() {
            return String::new();
        }
        let device = Path::new("/sys/dev/block").join(&self.device_number);
        let places = [device.join("queue"), device.join("../queue")];
        let read = |place: &std::path::PathBuf| fs::read_to_string(place.join(attribute)).ok();
        places.iter().find_map(read).unwrap_or_default().trim().to_owned()
    }
}
