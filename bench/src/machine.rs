//! The machine below a run: kernel, CPUs, memory, mounts. What cannot be found out is empty, never
//! guessed.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::utsname::uname;
use nix::unistd::Pid;

pub(crate) fn kernel() -> String {
    uname().map_or_else(
        |_| String::new(),
        |name| format!("{} {}", name.sysname().display(), name.release().display()),
    )
}

/// CPUs that the process may use.
pub(crate) fn cpus() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 0 };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count()
}

pub(crate) fn memory_bytes() -> u64 {
    let field = field_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kibibytes = field.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

pub(crate) fn cpu_model() -> String {
    field_of("/proc/cpuinfo", "model name").unwrap_or_default()
}

pub(crate) const fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

fn field_of(path: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The mount that a directory lies in, as `/proc/self/mountinfo` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mount {
    pub(crate) device_number: String,
    pub(crate) options: String,
    pub(crate) filesystem: String,
    pub(crate) source: String,
}

impl Mount {
    pub(crate) fn of(dir: &Path) -> Option<Mount> {
        Mount::find(&fs::read_to_string("/proc/self/mountinfo").ok()?, dir)
    }

    /// The last mount whose mount point is the longest prefix of the directory.
    ///
    /// Source: proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options,
    /// optional fields, `-`, file system, source, super options.
    pub(crate) fn find(mountinfo: &str, dir: &Path) -> Option<Mount> {
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
    pub(crate) fn queue(&self, attribute: &str) -> String {
        if self.device_number.is_empty() {
            return String::new();
        }
        let device = Path::new("/sys/dev/block").join(&self.device_number);
        let places = [device.join("queue"), device.join("../queue")];
        let read = |place: &std::path::PathBuf| fs::read_to_string(place.join(attribute)).ok();
        places.iter().find_map(read).unwrap_or_default().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:24 / /dev/shm rw,nosuid shared:2 master:3 - tmpfs tmpfs rw
41 22 254:16 / /data rw,noatime - xfs /dev/vdb rw
42 41 254:32 / /data rw,noatime - btrfs /dev/vdc rw
nonsense
";

    #[test]
    fn mount_is_the_longest_prefix_and_the_last_of_equals() {
        let find = |dir: &str| Mount::find(MOUNTINFO, Path::new(dir)).unwrap();
        assert_eq!(find("/home/someone").source, "/dev/vda");
        assert_eq!(find("/dev/shm/x").filesystem, "tmpfs");
        let data = find("/data/store");
        assert_eq!((data.filesystem.as_str(), data.options.as_str()), ("btrfs", "rw,noatime"));
        assert_eq!(data.device_number, "254:32");
    }

    #[test]
    fn mount_prefix_counts_whole_names_only() {
        assert_eq!(Mount::find(MOUNTINFO, Path::new("/database")).unwrap().source, "/dev/vda");
        assert_eq!(Mount::find("", Path::new("/data")), None);
    }
}
