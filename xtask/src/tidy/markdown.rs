//! Links and file names on the pages lead somewhere.

use crate::{Failure, findings::Findings, workspace::Workspace};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

pub(super) struct Page {
    /// (line, target) of every relative link.
    pub(super) links: Vec<(usize, String)>,
    /// (line, path) of every back-ticked name that looks like a file of this workspace.
    pub(super) named_files: Vec<(usize, String)>,
    pub(super) anchors: BTreeSet<String>,
}

pub(super) fn check(
    workspace: &Workspace,
    pages: &[PathBuf],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut parsed = BTreeMap::new();
    for path in pages {
        parsed.insert(path.clone(), parse(&workspace.read(path)?));
    }
    for (path, page) in &parsed {
        for (line, target) in &page.links {
            if let Some(problem) = link_problem(workspace.root(), &parsed, path, target) {
                findings.add(path, *line, problem);
            }
        }
        for (line, named) in &page.named_files {
            if !workspace.root().join(named).exists() {
                findings.add(path, *line, format!("`{named}` does not exist"));
            }
        }
    }
    Ok(())
}

pub(super) fn link_problem(
    root: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    from: &Path,
    target: &str,
) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = from.parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() { from.to_owned() } else { plain(&folder.join(file)) };
    if !root.join(&path).exists() {
        return Some(format!("link to `{target}`: no such file"));
    }
    let page = pages.get(&path)?;
    let missing = !anchor.is_empty() && !page.anchors.contains(anchor);
    missing.then(|| format!("link to `{target}`: no such heading"))
}

/// Resolves `.` and `..` without asking the disk.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

pub(super) fn parse(text: &str) -> Page {
    let mut page = Page { links: Vec::new(), named_files: Vec::new(), anchors: BTreeSet::new() };
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            continue;
        }
        if in_fence {
            continue;
        }
        if line.starts_with('#') {
            let slug = slug(line.trim_start_matches('#'));
            let repeats = (1..).map(|count| format!("{slug}-{count}"));
            let free = [slug.clone()].into_iter().chain(repeats);
            page.anchors.extend(free.into_iter().find(|name| !page.anchors.contains(name)));
        }
        let (prose, code) = split_code(line);
        page.links.extend(links(&prose).into_iter().map(|target| (index + 1, target)));
        let files = code.into_iter().filter(|code| looks_like_a_file(code));
        page.named_files.extend(files.map(|file| (index + 1, file)));
    }
    page
}

/// Prose with the code spans blanked out, and the code spans.
fn split_code(line: &str) -> (String, Vec<String>) {
    let pieces: Vec<&str> = line.split('`').collect();
    let prose: Vec<&str> = pieces.iter().copied().step_by(2).collect();
    let code = pieces.iter().skip(1).step_by(2).map(|piece| (*piece).to_owned()).collect();
    (prose.join("code"), code)
}

fn links(prose: &str) -> Vec<String> {
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definition = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    let all = inline.chain(definition.map(|(_, target)| target.trim()));
    let outside = ["http://", "https://", "mailto:"];
    let relative = all.filter(|target| !outside.iter().any(|start| target.starts_with(start)));
    relative.map(str::to_owned).collect()
}

fn looks_like_a_file(code: &str) -> bool {
    let tops = [
        "bench/",
        "cli/",
        "docs/",
        "engine/",
        "fio-profiles/",
        "graph/",
        "platform-matrix/",
        "runtime/",
        "scripts/",
        "server/",
        "sim/",
        "xtask/",
        ".ci/",
        ".cargo/",
    ];
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-".contains(char);
    tops.iter().any(|top| code.starts_with(top)) && code.chars().all(plain)
}

/// A heading's anchor as code hosts build it: lower case, blanks to hyphens, the rest dropped.
pub(super) fn slug(heading: &str) -> String {
    let keep = |char: char| match char {
        ' ' => Some('-'),
        '-' | '_' => Some(char),
        _ if char.is_alphanumeric() => Some(char),
        _ => None,
    };
    heading.trim().to_lowercase().chars().filter_map(keep).collect()
}
