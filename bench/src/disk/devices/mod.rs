//! The block devices behind paths, as sysfs shows them, and what they did during a run. Knows
//! nothing of jobs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{major, minor};
use serde::Serialize;

use crate::machine::Mount;

#[cfg(test)]
mod tests;

/// Where sysfs and the table of mounts are; elsewhere than usual only in tests.
#[derive(Clone, Debug)]
pub struct Kernel {
    sys: PathBuf,
    mounts: PathBuf,
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel { sys: "/sys".into(), mounts: "/proc/self/mountinfo".into() }
    }
}

/// A disk, and the mount through which a path reaches it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reached {
    /// A partition's disk; a loop or mapped device itself. `None`: no block device, as in tmpfs.
    pub(super) disk: Option<String>,
    pub(super) mount: Mount,
}

impl Kernel {
    /// A kernel whose `sys` and `mountinfo` lie below `root`.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Kernel {
        Kernel { sys: root.join("sys"), mounts: root.join("mountinfo") }
    }

    /// The names of the disks behind the paths, each once, in order.
    pub fn disks_of(&self, paths: &[PathBuf]) -> Vec<String> {
        let disks = paths.iter().filter_map(|path| self.reach(path).disk);
        disks.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a path, or the nearest directory above it that exists, lies on.
    pub(super) fn reach(&self, path: &Path) -> Reached {
        let existing = path.ancestors().find_map(|path| fs::canonicalize(path).ok());
        let path = existing.unwrap_or_else(|| PathBuf::from("/"));
        if let Some(number) = block_device_number(&path) {
            return Reached { disk: self.disk(&number), mount: Mount::default() };
        }
        let mounts = fs::read_to_string(&self.mounts).unwrap_or_default();
        let mount = Mount::find(&mounts, &path).unwrap_or_default();
        // btrfs and overlays have a number of their own, but name the device that they lie on.
        let by_source = || block_device_number(Path::new(&mount.source));
        let disk = self.disk(&mount.device_number);
        let disk = disk.or_else(|| self.disk(&by_source()?));
        Reached { disk, mount }
    }

    fn disk(&self, number: &str) -> Option<String> {
        if number.is_empty() {
            return None;
        }
        let device = fs::canonicalize(self.sys.join("dev/block").join(number)).ok()?;
        let disk = if device.join("partition").exists() { device.parent()? } else { &device };
        Some(disk.file_name()?.to_str()?.to_owned())
    }

    /// An attribute of a disk, e.g. `queue/fua`; `None`: there is none.
    pub(super) fn attribute(&self, disk: &str, attribute: &str) -> Option<String> {
        let text = fs::read_to_string(self.sys.join("block").join(disk).join(attribute)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The frequency governor of the first CPU.
    pub(super) fn governor(&self) -> Option<String> {
        let place = self.sys.join("devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Some(fs::read_to_string(place).ok()?.trim().to_owned())
    }

    fn counters(&self, disk: &str) -> Option<Counters> {
        Counters::parse(&self.attribute(disk, "stat")?)
    }
}

fn block_device_number(path: &Path) -> Option<String> {
    let facts = fs::metadata(path).ok()?;
    let number = facts.rdev();
    facts.file_type().is_block_device().then(|| format!("{}:{}", major(number), minor(number)))
}

/// Columns of a disk's `stat`.
///
/// Source: kernel, Documentation/block/stat.rst.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counters {
    read_ios: u64,
    read_merges: u64,
    read_ticks_ms: u64,
    write_ios: u64,
    write_merges: u64,
    write_ticks_ms: u64,
    busy_ms: u64,
    in_queue_ms: u64,
    /// Since Linux 5.5.
    flush_ios: Option<u64>,
}

impl Counters {
    fn parse(text: &str) -> Option<Counters> {
        let columns = text.split_whitespace().map(|column| column.parse::<u64>().ok());
        let columns = columns.collect::<Option<Vec<u64>>>()?;
        let at = |column: usize| columns.get(column).copied();
        Some(Counters {
            read_ios: at(0)?,
            read_merges: at(1)?,
            read_ticks_ms: at(3)?,
            write_ios: at(4)?,
            write_merges: at(5)?,
            write_ticks_ms: at(7)?,
            busy_ms: at(9)?,
            in_queue_ms: at(10)?,
            flush_ios: at(15),
        })
    }
}

/// What a disk did during a run, everybody's work on it included.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DiskUtil {
    pub name: String,
    pub read_ios: u64,
    pub write_ios: u64,
    pub read_merges: u64,
    pub write_merges: u64,
    pub read_ticks_ms: u64,
    pub write_ticks_ms: u64,
    pub in_queue_ms: u64,
    pub flush_ios: Option<u64>,
    /// Share of the time in which it had something to do.
    pub util_percent: f64,
}

/// Disks whose counters were read when a run began.
#[derive(Clone, Debug)]
pub struct DiskWatch {
    kernel: Kernel,
    before: Vec<(String, Counters)>,
}

impl DiskWatch {
    /// Reads the counters of the disks behind the paths.
    pub fn begin(kernel: Kernel, paths: &[PathBuf]) -> DiskWatch {
        let disks = kernel.disks_of(paths).into_iter();
        let before = disks.filter_map(|disk| {
            let counters = kernel.counters(&disk)?;
            Some((disk, counters))
        });
        let before = before.collect();
        DiskWatch { kernel, before }
    }

    /// Reads them again, `elapsed` later. A disk that is gone by then is left out.
    pub fn end(&self, elapsed: Duration) -> Vec<DiskUtil> {
        let pairs = self.before.iter().filter_map(|(disk, before)| {
            let after = self.kernel.counters(disk)?;
            Some(util(disk, before, &after, elapsed))
        });
        pairs.collect()
    }
}

fn util(disk: &str, before: &Counters, after: &Counters, elapsed: Duration) -> DiskUtil {
    let busy_ms = after.busy_ms.saturating_sub(before.busy_ms) as f64;
    let elapsed_ms = elapsed.as_secs_f64() * 1e3;
    let util_percent =
        if elapsed_ms > 0.0 { (busy_ms * 100.0 / elapsed_ms).min(100.0) } else { 0.0 };
    let flush_ios = after.flush_ios.zip(before.flush_ios);
    DiskUtil {
        name: disk.to_owned(),
        read_ios: after.read_ios.saturating_sub(before.read_ios),
        write_ios: after.write_ios.saturating_sub(before.write_ios),
        read_merges: after.read_merges.saturating_sub(before.read_merges),
        write_merges: after.write_merges.saturating_sub(before.write_merges),
        read_ticks_ms: after.read_ticks_ms.saturating_sub(before.read_ticks_ms),
        write_ticks_ms: after.write_ticks_ms.saturating_sub(before.write_ticks_ms),
        in_queue_ms: after.in_queue_ms.saturating_sub(before.in_queue_ms),
        flush_ios: flush_ios.map(|(after, before)| after.saturating_sub(before)),
        util_percent,
    }
}
