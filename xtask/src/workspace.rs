//! Where the workspace lies and what belongs to it.

use crate::Failure;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) struct Workspace {
    root: PathBuf,
    /// Member directory → package name.
    members: BTreeMap<String, String>,
}

impl Workspace {
    pub(crate) fn find() -> Result<Workspace, Failure> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = package.parent().ok_or("xtask lies in no directory")?;
        Workspace::at(root)
    }

    pub(crate) fn at(root: &Path) -> Result<Workspace, Failure> {
        let manifest = read_toml(&root.join("Cargo.toml"))?;
        let listed = manifest.get("workspace").and_then(|table| table.get("members"));
        let listed = listed.and_then(toml::Value::as_array).ok_or("Cargo.toml lists no members")?;
        let mut members = BTreeMap::new();
        for dir in listed.iter().filter_map(toml::Value::as_str) {
            let package = read_toml(&root.join(dir).join("Cargo.toml"))?;
            let name = package.get("package").and_then(|table| table.get("name"));
            let name = name.and_then(toml::Value::as_str);
            let name = name.ok_or_else(|| format!("{dir}/Cargo.toml names no package"))?;
            members.insert(dir.to_owned(), name.to_owned());
        }
        Ok(Workspace { root: root.to_owned(), members })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, String> {
        &self.members
    }

    pub(crate) fn target_dir(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("target"),
        }
    }

    /// The cargo that runs us, started in the root: the toolchain stays the one that was asked for.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    /// Files below the root whose name ends so, sorted, relative; build output is left out.
    pub(crate) fn files(&self, extension: &str) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(dir) = open.pop() {
            for path in entries(&dir)? {
                if path.is_dir() {
                    if !is_output(&path) {
                        open.push(path);
                    }
                } else if path.extension() == Some(OsStr::new(extension)) {
                    found.push(self.relative(&path));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    pub(crate) fn read(&self, relative: &Path) -> Result<String, Failure> {
        let path = self.root.join(relative);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

pub(crate) fn read_toml(path: &Path) -> Result<toml::Table, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let named = |error: std::io::Error| format!("{}: {error}", dir.display());
    let read = fs::read_dir(dir).map_err(named)?;
    read.map(|entry| entry.map(|entry| entry.path()).map_err(named)).collect()
}

/// Hidden folders hold no sources, except those two that are part of the tools.
fn is_output(dir: &Path) -> bool {
    let name = dir.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
    hidden || name == "target" || dir.join("CACHEDIR.TAG").exists()
}
