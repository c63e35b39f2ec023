//! A copy of the workspace that bugs are planted into: the sources as they lie in the working
//! tree, and build output of its own, so that a patch costs only the crates that it touches.

use super::manifest::Bug;
use crate::{Failure, process, workspace::Workspace};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(super) struct Replica {
    original: PathBuf,
    files: BTreeSet<PathBuf>,
    /// Sources, build output and logs of the copy.
    base: PathBuf,
    /// The cargo that runs us.
    cargo: PathBuf,
}

impl Replica {
    /// Makes the copy, or brings the one that is there up to date.
    pub(super) fn make(workspace: &Workspace) -> Result<Replica, Failure> {
        let mut list = Command::new("git");
        list.current_dir(workspace.root());
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = process::read(&mut list)?;
        let files = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
        let cargo = PathBuf::from(workspace.cargo().get_program());
        let base = workspace.target_dir().join("planted");
        Replica::of(workspace.root(), files.collect(), base, cargo)
    }

    pub(super) fn of(
        original: &Path,
        files: BTreeSet<PathBuf>,
        base: PathBuf,
        cargo: PathBuf,
    ) -> Result<Replica, Failure> {
        let replica = Replica { original: original.to_owned(), files, base, cargo };
        replica.sync()?;
        Ok(replica)
    }

    pub(super) fn sources(&self) -> PathBuf {
        self.base.join("src")
    }

    pub(super) fn target_dir(&self) -> PathBuf {
        self.base.join("target")
    }

    /// Where the output of the last command lies.
    pub(super) fn log(&self) -> PathBuf {
        self.base.join("output.txt")
    }

    /// Cargo inside the copy. Fast to build again after a small change, and fast enough to run.
    pub(super) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(self.sources());
        command.env("CARGO_TARGET_DIR", self.target_dir());
        for (name, value) in [
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2"),
            ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ] {
            command.env(name, value);
        }
        command
    }

    /// Runs `hunt` with the bug in the copy, which is as before when this returns.
    ///
    /// Errors: the patch does not apply, or changes nothing; what `hunt` says.
    pub(super) fn with_patch<T>(
        &self,
        bug: &Bug,
        hunt: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let planted = self.apply(&bug.patch);
        let outcome = planted.and_then(|()| hunt());
        match (self.sync()?, outcome) {
            (0, Ok(_)) => Err(format!("{}: changes nothing", bug.patch.display())),
            (_, outcome) => outcome,
        }
    }

    fn apply(&self, patch: &Path) -> Result<(), Failure> {
        let mut command = Command::new("git");
        // Inside a repository git would look for the files from that one's root.
        command.current_dir(self.sources()).env("GIT_CEILING_DIRECTORIES", &self.base);
        command.args(["apply", "--whitespace=nowarn"]).arg(patch);
        process::read(&mut command).map(drop).map_err(|error| format!("does not apply: {error}"))
    }

    /// Makes the copy equal to the original; returns how many files were not.
    fn sync(&self) -> Result<usize, Failure> {
        let sources = self.sources();
        let mut changed = 0;
        for file in &self.files {
            let from = self.original.join(file);
            if from.is_file() {
                changed += usize::from(copy_if_changed(&from, &sources.join(file))?);
            }
        }
        for file in files_below(&sources)? {
            let relative = file.strip_prefix(&sources).unwrap_or(&file);
            if !self.files.contains(relative) || !self.original.join(relative).is_file() {
                fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                changed += 1;
            }
        }
        Ok(changed)
    }
}

/// A file that is the same keeps its time stamp, or cargo would build everything anew.
fn copy_if_changed(from: &Path, to: &Path) -> Result<bool, Failure> {
    let wrong = |error: std::io::Error| format!("{}: {error}", to.display());
    let content = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(false);
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    // With the permissions: some of the files are programs.
    fs::copy(from, to).map_err(wrong)?;
    Ok(true)
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        let wrong = |error: std::io::Error| format!("{}: {error}", dir.display());
        for entry in fs::read_dir(&dir).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}
