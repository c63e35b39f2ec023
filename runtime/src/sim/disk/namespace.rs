//! Names of a simulated disk: what a process sees, what a cut leaves, and the changes between.
//!
//! A change is atomic. It shows when it takes effect and is durable when its operation completes
//! (the runtime syncs the directory); a cut in between decides it by a coin.

use std::collections::BTreeMap;

use super::chunk::OpId;
use crate::sim::dice::Dice;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileId(pub(super) u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Dir,
    File(FileId),
}

/// Errors are the numbers that the system call would give.
pub(super) type Errno = i32;

#[derive(Clone, Debug)]
enum Change {
    /// Binds a name, whatever it was bound to before.
    Bind {
        path: String,
        node: Node,
    },
    Remove {
        path: String,
        node: Node,
    },
    Rename {
        from: String,
        to: String,
        node: Node,
    },
}

type Names = BTreeMap<String, Node>;

#[derive(Clone, Default)]
pub(super) struct Namespace {
    volatile: Names,
    durable: Names,
    /// Changes in effect and not yet durable, in the order in which they took effect.
    journal: Vec<(OpId, Change)>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn has_dir(names: &Names, path: &str) -> bool {
    path.is_empty() || names.get(path) == Some(&Node::Dir)
}

/// The names below a directory, itself excluded.
fn below<'a>(names: &'a Names, dir: &str) -> impl Iterator<Item = (&'a str, &'a String, Node)> {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let len = prefix.len();
    names
        .range(prefix.clone()..)
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .map(move |(path, node)| (&path[len..], path, *node))
}

/// Applies a change where it still makes sense; a cut may have lost what it builds upon.
fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Bind { path, node } => {
            if has_dir(names, parent(path)) {
                names.insert(path.clone(), *node);
            }
        }
        Change::Remove { path, node } => {
            if names.get(path) == Some(node) {
                names.remove(path);
            }
        }
        Change::Rename { from, to, node } => {
            if names.get(from) == Some(node) && has_dir(names, parent(to)) {
                let moved: Vec<_> = below(names, from)
                    .filter(|_| *node == Node::Dir)
                    .map(|(tail, path, child)| (path.clone(), format!("{to}/{tail}"), child))
                    .collect();
                names.remove(from);
                names.insert(to.clone(), *node);
                for (old, new, child) in moved {
                    names.remove(&old);
                    names.insert(new, child);
                }
            }
        }
    }
}

impl Namespace {
    pub(super) fn get(&self, path: &str) -> Option<Node> {
        if path.is_empty() { Some(Node::Dir) } else { self.volatile.get(path).copied() }
    }

    pub(super) fn file(&self, path: &str) -> Result<FileId, Errno> {
        match self.get(path) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir) => Err(libc::EISDIR),
            None => Err(self.missing(path)),
        }
    }

    /// Why there is no such name: nothing is below a file, not even a missing name.
    pub(super) fn missing(&self, path: &str) -> Errno {
        let mut ends = path.match_indices('/').map(|(at, _)| at);
        let is_file = |end| matches!(self.get(&path[..end]), Some(Node::File(_)));
        if ends.any(is_file) { libc::ENOTDIR } else { libc::ENOENT }
    }

    fn check_parent(&self, path: &str) -> Result<(), Errno> {
        match self.get(parent(path)) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(libc::ENOTDIR),
            None => Err(self.missing(path)),
        }
    }

    fn take_effect(&mut self, op: OpId, change: Change) {
        apply(&mut self.volatile, &change);
        self.journal.push((op, change));
    }

    pub(super) fn bind(&mut self, op: OpId, path: &str, node: Node) -> Result<(), Errno> {
        self.check_parent(path)?;
        self.take_effect(op, Change::Bind { path: path.to_owned(), node });
        Ok(())
    }

    pub(super) fn create_dir(&mut self, op: OpId, path: &str) -> Result<(), Errno> {
        if self.get(path).is_some() {
            return Err(libc::EEXIST);
        }
        self.bind(op, path, Node::Dir)
    }

    pub(super) fn unlink(&mut self, op: OpId, path: &str) -> Result<(), Errno> {
        let node = Node::File(self.file(path)?);
        self.take_effect(op, Change::Remove { path: path.to_owned(), node });
        Ok(())
    }

    pub(super) fn rename(&mut self, op: OpId, from: &str, to: &str) -> Result<(), Errno> {
        // In the kernel's order: both parents, the source, loops, then what it would replace.
        self.check_parent(from)?;
        self.check_parent(to)?;
        let node = self.get(from).ok_or(libc::ENOENT)?;
        match (node, self.get(to)) {
            _ if from == to => return Ok(()),
            _ if from.is_empty() || to.is_empty() => return Err(libc::EINVAL),
            _ if to.starts_with(&format!("{from}/")) => return Err(libc::EINVAL),
            _ if from.starts_with(&format!("{to}/")) => return Err(libc::ENOTEMPTY),
            (Node::File(_), Some(Node::Dir)) => return Err(libc::EISDIR),
            (Node::Dir, Some(Node::File(_))) => return Err(libc::ENOTDIR),
            (Node::Dir, Some(Node::Dir)) if below(&self.volatile, to).next().is_some() => {
                return Err(libc::ENOTEMPTY);
            }
            _ => {}
        }
        self.take_effect(op, Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
        Ok(())
    }

    /// Direct entries of a directory, sorted by name.
    pub(super) fn list(&self, path: &str) -> Result<Vec<(String, Node)>, Errno> {
        match self.get(path) {
            None => return Err(self.missing(path)),
            Some(Node::File(_)) => return Err(libc::ENOTDIR),
            Some(Node::Dir) => {}
        }
        let direct = below(&self.volatile, path).filter(|(tail, ..)| !tail.contains('/'));
        Ok(direct.map(|(tail, _, node)| (tail.to_owned(), node)).collect())
    }

    /// The directory of `op` is synced: its change and those that came before it are durable.
    pub(super) fn commit(&mut self, op: OpId) {
        if let Some(last) = self.journal.iter().rposition(|(by, _)| *by == op) {
            for (_, change) in self.journal.drain(..=last) {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// The power fails: each change that is not durable happened, or did not, on its own.
    pub(super) fn cut(&mut self, dice: &mut Dice) {
        for (_, change) in std::mem::take(&mut self.journal) {
            if dice.chance(2) {
                apply(&mut self.durable, &change);
            }
        }
        self.volatile = self.durable.clone();
    }

    /// Whether some name, durable or not, leads to the file.
    pub(super) fn refers_to(&self, file: FileId) -> bool {
        let node = Node::File(file);
        let in_journal = |change: &Change| match change {
            Change::Bind { node: n, .. }
            | Change::Remove { node: n, .. }
            | Change::Rename { node: n, .. } => *n == node,
        };
        self.volatile.values().any(|n| *n == node)
            || self.durable.values().any(|n| *n == node)
            || self.journal.iter().any(|(_, change)| in_journal(change))
    }

    pub(super) fn path_of(&self, file: FileId) -> Option<String> {
        let found = self.volatile.iter().find(|(_, node)| **node == Node::File(file));
        found.map(|(path, _)| path.clone())
    }

    /// Every file, spelled as the runtime's users do.
    pub(super) fn paths(&self) -> Vec<String> {
        let files = self.volatile.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| format!("/{path}")).collect()
    }
}
