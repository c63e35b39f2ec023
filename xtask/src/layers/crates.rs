//! Who may depend on whom, read from the manifests.

use crate::{
    Failure,
    findings::Findings,
    workspace::{Workspace, read_toml},
};
use std::path::Path;

struct CrateRule {
    dir: &'static str,
    /// Folders of workspace crates that it may name, for any purpose.
    may_use: &'static [&'static str],
}

/// Nothing stands above `cli`, `sim` and `xtask`, with one exception: `xtask` runs the simulation.
/// `cli` ships the benchmarks; `xtask` kills one of their workloads.
/// `sim` judges the histories that `bench` records, so it uses their format.
const CRATE_RULES: [CrateRule; 8] = [
    CrateRule { dir: "runtime", may_use: &[] },
    CrateRule { dir: "engine", may_use: &["runtime"] },
    CrateRule { dir: "graph", may_use: &["engine"] },
    CrateRule { dir: "server", may_use: &["graph", "engine", "runtime"] },
    CrateRule { dir: "bench", may_use: &["engine", "runtime"] },
    CrateRule { dir: "cli", may_use: &["bench", "server", "engine", "runtime"] },
    CrateRule { dir: "sim", may_use: &["bench", "graph", "engine", "runtime"] },
    CrateRule { dir: "xtask", may_use: &["sim", "bench", "engine", "runtime"] },
];

/// Hosts that tests of a crate may embed it in, beside the keys below.
const TEST_HOSTS: [(&str, &str); 2] = [("engine", "tokio"), ("engine", "smol")];

/// Outside crates that open a door to the world past the runtime, and who may hold the key.
const WORLD_CRATES: [(&str, &[&str]); 12] = [
    ("io-uring", &["runtime"]),
    ("libc", &["runtime"]),
    ("nix", &["runtime", "bench", "cli", "sim", "xtask"]),
    ("rustix", &[]),
    ("rand", &[]),
    ("rand_chacha", &["runtime"]),
    ("fastrand", &[]),
    ("getrandom", &["runtime"]),
    ("tokio", &["server", "cli", "bench"]),
    ("async-std", &[]),
    ("smol", &[]),
    ("mio", &[]),
];

pub(super) fn check(workspace: &Workspace, findings: &mut Findings) -> Result<(), Failure> {
    for dir in workspace.members().keys() {
        let manifest = Path::new(dir).join("Cargo.toml");
        let table = read_toml(&workspace.root().join(&manifest))?;
        let mut names = dependency_names(&table, &["dependencies", "build-dependencies"]);
        let for_tests = dependency_names(&table, &["dev-dependencies"]);
        let is_host = |name: &String| TEST_HOSTS.contains(&(dir.as_str(), name.as_str()));
        names.extend(for_tests.into_iter().filter(|name| !is_host(name)));
        check_crate(workspace, dir, &names, &manifest, findings);
    }
    Ok(())
}

fn check_crate(
    workspace: &Workspace,
    dir: &str,
    names: &[String],
    manifest: &Path,
    findings: &mut Findings,
) {
    let Some(rule) = CRATE_RULES.iter().find(|rule| rule.dir == dir) else {
        return findings.add(manifest, 1, format!("no rule says what `{dir}` may depend on"));
    };
    let members = workspace.members();
    for name in names {
        let member = members.iter().find(|(_, package)| *package == name).map(|(dir, _)| dir);
        if let Some(used) = member.filter(|used| !rule.may_use.contains(&used.as_str())) {
            findings.add(manifest, 1, format!("`{dir}` may not depend on `{used}`"));
        }
        let door = WORLD_CRATES.iter().find(|(outside, _)| outside == name);
        if door.is_some_and(|(_, holders)| !holders.contains(&dir)) {
            findings.add(manifest, 1, format!("`{dir}` may not depend on `{name}`"));
        }
    }
}

/// Names from the dependency tables of these kinds, those of targets included.
pub(super) fn dependency_names(manifest: &toml::Table, kinds: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|table| table.values());
    for table in targets.filter_map(toml::Value::as_table).chain([manifest]) {
        for kind in kinds {
            let listed = table.get(*kind).and_then(toml::Value::as_table);
            for (name, value) in listed.into_iter().flatten() {
                let real = value.get("package").and_then(toml::Value::as_str);
                names.push(real.unwrap_or(name).to_owned());
            }
        }
    }
    names
}
