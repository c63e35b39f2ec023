//! What a job may write to. A disk tool that is pointed at the wrong device destroys it, so a
//! device that is in use, or that holds anything known, is refused before the first byte.
//!
//! Decides from /proc and /sys, below a root that tests put elsewhere, and from the beginning of
//! the device, which the caller reads. Opens nothing for writing; that the device is free
//! at the moment of the run is shown by the runner, which opens it exclusively.

mod in_use;
mod signature;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

pub use signature::signature;

use super::job::{Direction, Engine, Extent};
use super::plan::Plan;
use crate::limits::DISK_TARGET_HEAD_BYTES;
use in_use::DeviceNumber;

/// Files of a store of this engine: a job never writes into a directory that has the pages, or
/// both of the others.
const STORE_PAGES: &str = "pages.sombra";
const STORE_OTHERS: [&str; 2] = ["superblock", "LOCK"];

/// Why a job may not write here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetRefusal {
    /// Caller: unmount it. Never allowed.
    #[error("{path}: expected a device that nobody uses, found {device} mounted on {mounted_on}")]
    Mounted { path: PathBuf, device: String, mounted_on: String },
    /// Caller: `swapoff`. Never allowed.
    #[error("{path}: expected a device that nobody uses, found {device} in use as swap")]
    Swap { path: PathBuf, device: String },
    /// Caller: take it out of the RAID, volume group or mapping. Never allowed.
    #[error("{path}: expected a device that nobody uses, found {device} held by {holder}")]
    Held { path: PathBuf, device: String, holder: String },
    /// Caller: name the device in `--destroy-data` if what is on it may go.
    #[error(
        "{path}: expected an empty device, found {found}; to destroy what is on it, add \
         --destroy-data {path}"
    )]
    HasData { path: PathBuf, found: &'static str },
    /// Caller: another directory.
    #[error("{path}: expected no store of Sombra in the directory, found {found}")]
    Store { path: PathBuf, found: String },
    /// Caller: a regular file or a block device.
    #[error("{path}: expected a regular file or a block device, found {found}")]
    Kind { path: PathBuf, found: &'static str },
    /// What says whether the device is in use cannot be read: then it counts as in use.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// A plan that writes nowhere it must not, laying files out included. Only such a one is run.
#[derive(Clone, Debug)]
pub struct AllowedPlan(Plan);

impl AllowedPlan {
    /// Refuses to write to a device in use, or one that holds something which `destroy` does not
    /// give up by name, to a store, to anything that is neither a file nor a block device.
    ///
    /// # Errors
    /// The first such target; nothing was written.
    pub fn check(plan: Plan, destroy: &[PathBuf]) -> Result<AllowedPlan, TargetRefusal> {
        check_plan(&plan, destroy)?;
        Ok(AllowedPlan(plan))
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

fn check_plan(plan: &Plan, destroy: &[PathBuf]) -> Result<(), TargetRefusal> {
    let root = Path::new("/");
    for (path, reach) in reached(plan) {
        let failed = |source| TargetRefusal::Io { path: path.to_owned(), source };
        if reach.changes {
            let head = head_of(path).map_err(failed)?;
            check_target(path, root, destroy, &head)?;
            continue;
        }
        // A file that is too short is made longer, a device is only read.
        let metadata = path.metadata();
        let is_device = metadata.as_ref().is_ok_and(is_block_device);
        let is_short = metadata.as_ref().map_or(true, |found| found.len() < reach.end);
        let is_file = metadata.as_ref().map_or(true, Metadata::is_file);
        if !is_device && (is_short || !is_file) {
            check_target(path, root, &[], &[])?;
        }
    }
    Ok(())
}

/// The paths that a plan's jobs write to or trim.
#[must_use]
pub fn written_by(plan: &Plan) -> BTreeSet<&Path> {
    let reached = reached(plan).into_iter();
    reached.filter(|(_, reach)| reach.changes).map(|(path, _)| path).collect()
}

/// What all jobs together do to a file.
#[derive(Default)]
struct Reach {
    /// Some job writes to it or trims it.
    changes: bool,
    /// The furthest offset that a job asks for.
    end: u64,
}

fn reached(plan: &Plan) -> BTreeMap<&Path, Reach> {
    let mut reached = BTreeMap::new();
    for thread in plan.threads().filter(|thread| thread.job.engine != Engine::Null) {
        let mix = thread.job.pattern.mix;
        let changes = mix.has(Direction::Write) || mix.has(Direction::Trim);
        for file in &thread.files {
            let bytes = |extent| if let Extent::Bytes(bytes) = extent { bytes } else { 0 };
            let end = bytes(file.offset).saturating_add(file.size.map_or(0, bytes));
            let reach: &mut Reach = reached.entry(file.path.as_path()).or_default();
            reach.changes |= changes;
            reach.end = reach.end.max(end);
        }
    }
    reached
}

fn is_block_device(found: &Metadata) -> bool {
    found.file_type().is_block_device()
}

/// The beginning of a block device; nothing of anything else.
fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    if path.metadata().is_ok_and(|found| is_block_device(&found)) {
        File::open(path)?.take(DISK_TARGET_HEAD_BYTES as u64).read_to_end(&mut head)?;
    }
    Ok(head)
}

/// May a job write to, or trim, `path`?
///
/// `system_root` is where `proc` and `sys` stand, `/` but in tests. `destroy` are the devices of
/// which the caller has said by name that what is on them may go; `head` the device's first
/// `DISK_TARGET_HEAD_BYTES`, or all of a smaller one; empty for a file.
///
/// A regular file may be written to, as with fio, also one that exists; a missing one is made.
pub fn check_target(
    path: &Path,
    system_root: &Path,
    destroy: &[PathBuf],
    head: &[u8],
) -> Result<(), TargetRefusal> {
    let failed = |source| TargetRefusal::Io { path: path.to_owned(), source };
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_store(path),
        Err(error) => return Err(failed(error)),
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        check_swap_file(path, system_root)?;
        return check_store(path);
    }
    if !kind.is_block_device() {
        let found = if kind.is_dir() {
            "a directory"
        } else if kind.is_char_device() {
            "a character device"
        } else {
            "a pipe or socket"
        };
        return Err(TargetRefusal::Kind { path: path.to_owned(), found });
    }
    check_device(path, DeviceNumber::of(metadata.rdev()), system_root)?;
    check_contents(path, destroy, head)
}

/// Is the block device `number`, which `path` names, or a part of it, or what it is a part of, in
/// use?
fn check_device(
    path: &Path,
    number: DeviceNumber,
    system_root: &Path,
) -> Result<(), TargetRefusal> {
    let failed = |source| TargetRefusal::Io { path: path.to_owned(), source };
    let family = in_use::family(number, system_root).map_err(failed)?;
    let mounts = in_use::mounts(system_root).map_err(failed)?;
    let swaps = in_use::swaps(system_root).map_err(failed)?;
    for member in &family {
        let device = member.name.clone();
        if let Some(mount) = mounts.iter().find(|mount| mount.is_of(member)) {
            let mounted_on = mount.mounted_on.clone();
            return Err(TargetRefusal::Mounted { path: path.to_owned(), device, mounted_on });
        }
        if swaps.iter().any(|swap| member.is_named(swap)) {
            return Err(TargetRefusal::Swap { path: path.to_owned(), device });
        }
        if let Some(holder) = member.holders.first().cloned() {
            return Err(TargetRefusal::Held { path: path.to_owned(), device, holder });
        }
    }
    Ok(())
}

/// Does the system swap into the file?
fn check_swap_file(path: &Path, system_root: &Path) -> Result<(), TargetRefusal> {
    let failed = |source| TargetRefusal::Io { path: path.to_owned(), source };
    let real = path.canonicalize().map_err(failed)?;
    let swaps = in_use::swaps(system_root).map_err(failed)?;
    if swaps.iter().any(|swap| Path::new(swap) == real) {
        let device = "the file".to_owned();
        return Err(TargetRefusal::Swap { path: path.to_owned(), device });
    }
    Ok(())
}

/// Does the device hold anything, of which the caller has not said that it may go?
fn check_contents(path: &Path, destroy: &[PathBuf], head: &[u8]) -> Result<(), TargetRefusal> {
    let Some(found) = signature(head) else { return Ok(()) };
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = canonical(path);
    if destroy.iter().any(|named| canonical(named) == own) {
        return Ok(());
    }
    Err(TargetRefusal::HasData { path: path.to_owned(), found })
}

/// Would the file stand among those of a store?
fn check_store(path: &Path) -> Result<(), TargetRefusal> {
    // A link leads to where the bytes go.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Some(directory) = real.parent() else { return Ok(()) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let has = |name: &&str| directory.join(name).exists();
    let found = match () {
        () if has(&STORE_PAGES) => STORE_PAGES.to_owned(),
        () if STORE_OTHERS.iter().all(has) => STORE_OTHERS.join(" and "),
        () => return Ok(()),
    };
    Err(TargetRefusal::Store { path: path.to_owned(), found })
}
