use super::{crates::dependency_names, modules::check_file, table::LayerTable, world};
use crate::{
    findings::Findings,
    source::{CrateSource, Role, SourceFile},
};

const TABLE: &str = "\
//! | layer | modules | what |
//! |------:|---------|------|
//! | 0 | ids `limits` error | words |
//! | 3 | wal |
//! | 7 | mvcc |
";

fn file(path: &str, module: &[&str], text: &str) -> SourceFile {
    let ast = syn::parse_file(text).expect("the sample is Rust");
    let module = module.iter().map(|name| (*name).to_owned()).collect();
    SourceFile { path: path.into(), module, role: Role::Product, text: text.to_owned(), ast }
}

fn import_findings(module: &[&str], text: &str) -> Vec<String> {
    let table = LayerTable::parse(TABLE).expect("the table is right");
    let mut findings = Findings::default();
    check_file(&file("engine/src/x.rs", module, text), &table, &mut findings);
    findings.texts().into_iter().map(str::to_owned).collect()
}

fn world_findings(dir: &str, path: &str, text: &str) -> usize {
    let files = vec![file(path, &["x"], text)];
    let mut findings = Findings::default();
    let source = CrateSource { dir: dir.to_owned(), files, unreached: Vec::new() };
    world::check(&source, &mut findings);
    findings.texts().len()
}

#[test]
fn layers_accepts_imports_from_below() {
    assert!(import_findings(&["mvcc"], "use crate::{wal::Ring, ids::Lsn};").is_empty());
    assert!(import_findings(&["limits"], "use crate::ids::Lsn;").is_empty());
    assert!(
        import_findings(&["wal", "ring"], "use super::seat::Seat; use crate::wal::A;").is_empty()
    );
}

#[test]
fn layers_refuses_an_import_from_above() {
    let expected = ["`wal` (layer 3) imports `mvcc` (layer 7)"];
    assert_eq!(import_findings(&["wal"], "use crate::mvcc::Oracle;"), expected);
    assert_eq!(import_findings(&["wal"], "use crate::{ids::Lsn, mvcc};"), expected);
    assert_eq!(import_findings(&["wal"], "fn f() { crate::mvcc::go() }"), expected);
    assert_eq!(import_findings(&["wal"], "fn f() { assert!(super::mvcc::go()) }"), expected);
    assert_eq!(import_findings(&["wal", "ring"], "use super::super::mvcc;"), expected);
}

#[test]
fn layers_refuses_an_import_from_the_right_of_its_own_row() {
    let found = import_findings(&["ids"], "use crate::error::OpenError;");
    assert_eq!(found, ["`ids` (layer 0) imports `error` (layer 0)"]);
}

#[test]
fn layers_refuses_a_name_taken_from_the_crate_root() {
    let found = import_findings(&["wal"], "use crate::Lsn;");
    assert_eq!(found, ["`wal` imports `crate::Lsn`: name the module it comes from"]);
}

#[test]
fn layers_refuses_a_module_without_a_layer() {
    assert_eq!(import_findings(&["extra"], "fn f() {}"), ["module `extra` has no layer"]);
}

#[test]
fn layers_leaves_tests_alone() {
    let text = "#[cfg(test)] mod tests { use crate::mvcc::Oracle; }";
    assert!(import_findings(&["wal"], text).is_empty());
}

#[test]
fn layer_table_refuses_a_module_named_twice_and_an_absent_table() {
    assert!(LayerTable::parse("//! | 0 | ids |\n//! | 1 | ids |").is_err());
    assert!(LayerTable::parse("//! no rows").is_err());
}

#[test]
fn world_refuses_unsafe_outside_the_five_places() {
    let code = "fn f() { unsafe { g() } }";
    assert_eq!(world_findings("engine", "engine/src/x.rs", code), 1);
    assert_eq!(world_findings("runtime", "runtime/src/executor.rs", code), 1);
    assert_eq!(world_findings("runtime", "runtime/src/ring.rs", code), 0);
    assert_eq!(world_findings("runtime", "runtime/src/sync/log_ring.rs", code), 0);
    assert_eq!(world_findings("engine", "engine/src/x.rs", "/// unsafe\nfn f() {}"), 0);
}

#[test]
fn world_refuses_clocks_threads_files_and_chance_in_the_engine() {
    let refused = [
        "use std::time::Instant;",
        "use std::{time, fmt};",
        "use std::time::*;",
        "fn f() { std::thread::yield_now() }",
        "use std::fs::File;",
        "fn f() -> M { HashMap::new() }",
        "thread_local! { static A: u8 = 1; }",
    ];
    for code in refused {
        assert_eq!(world_findings("engine", "engine/src/x.rs", code), 1, "{code}");
    }
    let accepted =
        "use std::{time::Duration, collections::BTreeMap, io}; use core::time::Duration as D;";
    assert_eq!(world_findings("engine", "engine/src/x.rs", accepted), 0);
}

#[test]
fn world_lets_the_runtime_meet_it_in_named_places_only() {
    let code = "use std::thread;";
    assert_eq!(world_findings("runtime", "runtime/src/driver/pool.rs", code), 0);
    assert_eq!(world_findings("runtime", "runtime/src/shard.rs", code), 1);
    assert_eq!(world_findings("cli", "cli/src/main.rs", code), 0);
}

#[test]
fn dependency_names_reads_every_table_and_renamed_packages() {
    let manifest = "[dependencies]\na = '1'\nb = { package = 'c', version = '1' }\n\
                    [dev-dependencies]\nd = '1'\n[target.'cfg(x)'.dependencies]\ne = '1'\n";
    let manifest = manifest.parse().expect("the sample is TOML");
    let mut names = dependency_names(&manifest, &["dependencies", "dev-dependencies"]);
    names.sort();
    assert_eq!(names, ["a", "c", "d", "e"]);
    assert_eq!(dependency_names(&manifest, &["dev-dependencies"]), ["d"]);
}
