//! Where a run keeps its files, and that nothing else is ever removed.
//!
//! The run's own directory is made and removed with plain calls: it exists before the runtime
//! does and goes after it, and nothing that is measured passes through here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::error::BenchError;

/// The fresh directory of one run.
#[derive(Debug)]
pub(crate) struct Place {
    run_dir: PathBuf,
    made_parent: Option<PathBuf>,
    keep: bool,
}

const ATTEMPTS_MAX: u32 = 1_000;

impl Place {
    /// Makes a fresh directory under `dir`, once `needed_bytes` are free there.
    ///
    /// # Errors
    /// Too little space, with both numbers; or the call that failed. Nothing is left behind.
    pub(crate) fn prepare(dir: &Path, needed_bytes: u64, keep: bool) -> Result<Place, BenchError> {
        let existing = nearest_existing(dir)?;
        let found_bytes = free_bytes(&existing)?;
        if found_bytes < needed_bytes {
            let (needed, found) = (human_bytes(needed_bytes), human_bytes(found_bytes));
            return Err(BenchError::NoSpace { path: dir.to_path_buf(), needed, found });
        }
        let made_parent = (!dir.exists()).then(|| dir.to_path_buf());
        fs::create_dir_all(dir).map_err(io_error(dir, "create the directory"))?;
        let run_dir = fresh_under(dir).inspect_err(|_| {
            // Leaves no trace of a run that did not start; the first error is the one to tell.
            let _ = made_parent.as_ref().map(fs::remove_dir);
        })?;
        Ok(Place { run_dir, made_parent, keep })
    }

    /// The directory of this run.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.run_dir.join("store")
    }

    /// The file on which the device is measured: on the store's file system, outside the store.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.run_dir.join("scratch")
    }

    /// Whether the files stay.
    pub(crate) fn is_kept(&self) -> bool {
        self.keep
    }
}

/// Removes what this run made, unless it is to be kept: on every way out, errors included.
impl Drop for Place {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // What cannot be removed is left for its owner to see; there is nobody to tell it to.
        let _ = fs::remove_dir_all(&self.run_dir);
        let _ = self.made_parent.as_ref().map(fs::remove_dir);
    }
}

fn fresh_under(dir: &Path) -> Result<PathBuf, BenchError> {
    for attempt in 0..ATTEMPTS_MAX {
        let run_dir = dir.join(format!("run-{}-{attempt}", std::process::id()));
        match fs::create_dir(&run_dir) {
            Ok(()) => return Ok(run_dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error(&run_dir, "create the directory")(error)),
        }
    }
    let (option, found) = ("--dir", format!("{ATTEMPTS_MAX} of them under {}", dir.display()));
    Err(BenchError::Option { option, expected: "a free run-* name".to_owned(), found })
}

/// The path itself, or the closest directory above it that exists: its file system counts.
fn nearest_existing(dir: &Path) -> Result<PathBuf, BenchError> {
    let absolute = std::path::absolute(dir).map_err(io_error(dir, "resolve the path"))?;
    let found = absolute.ancestors().find(|ancestor| ancestor.exists());
    let found = found.unwrap_or(Path::new("/"));
    if !found.is_dir() {
        let (option, expected) = ("--dir", "a directory".to_owned());
        let found = format!("the file {}", found.display());
        return Err(BenchError::Option { option, expected, found });
    }
    Ok(found.to_path_buf())
}

fn free_bytes(path: &Path) -> Result<u64, BenchError> {
    let stat = statvfs(path).map_err(|errno| io_error(path, "ask for free space")(errno.into()))?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

fn io_error<'a>(
    path: &'a Path,
    operation: &'static str,
) -> impl FnOnce(io::Error) -> BenchError + 'a {
    move |source| BenchError::Io { path: path.to_path_buf(), operation, source }
}

/// A size for people: `3.2 GiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal of a size")]
pub fn human_bytes(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, unit) in units {
        if bytes >= unit {
            return format!("{:.1} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch_parent(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("sombra-place-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn place_removes_its_parent_only_when_it_made_it() {
        let parent = scratch_parent("parent");
        drop(Place::prepare(&parent, 1, false).unwrap());
        assert!(!parent.exists());
        fs::create_dir(&parent).unwrap();
        fs::write(parent.join("theirs"), b"x").unwrap();
        let place = Place::prepare(&parent, 1, false).unwrap();
        fs::write(place.scratch(), b"ours").unwrap();
        let run_dir = place.run_dir().to_path_buf();
        drop(place);
        assert!(!run_dir.exists());
        assert_eq!(fs::read(parent.join("theirs")).unwrap(), b"x");
        fs::remove_dir_all(&parent).unwrap();
    }

    #[test]
    fn place_keeps_its_files_when_asked() {
        let parent = scratch_parent("keep");
        let place = Place::prepare(&parent, 1, true).unwrap();
        let run_dir = place.run_dir().to_path_buf();
        drop(place);
        assert!(run_dir.exists());
        fs::remove_dir_all(&parent).unwrap();
    }

    #[test]
    fn place_names_needed_and_found_space_when_there_is_too_little() {
        let parent = scratch_parent("space");
        let error = Place::prepare(&parent, u64::MAX, false).unwrap_err().to_string();
        assert!(error.contains("needs 17179869184.0 GiB") && error.contains("found"), "{error}");
        assert!(!parent.exists());
    }

    #[test]
    fn place_refuses_a_file_where_a_directory_is_expected() {
        let parent = scratch_parent("file");
        fs::write(&parent, b"x").unwrap();
        let error = Place::prepare(&parent, 1, false).unwrap_err().to_string();
        assert!(error.contains("expected a directory, found the file"), "{error}");
        fs::remove_file(&parent).unwrap();
    }
}
