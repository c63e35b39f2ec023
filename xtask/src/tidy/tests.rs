use super::{commands, markdown, nightly, rust, test_names};
use crate::{
    findings::Findings,
    source::{Role, SourceFile},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

fn rust_findings(text: &str) -> Vec<String> {
    let ast = syn::parse_file(text).expect("the sample is Rust");
    let (path, role) = ("a.rs".into(), Role::Product);
    let file = SourceFile { path, module: vec![], role, text: text.to_owned(), ast };
    let mut findings = Findings::default();
    rust::check(&file, &mut findings);
    findings.texts().into_iter().map(str::to_owned).collect()
}

fn command_findings(text: &str) -> usize {
    let mut findings = Findings::default();
    commands::check(Path::new("a.md"), text, &mut findings);
    findings.texts().len()
}

#[test]
fn tidy_refuses_a_function_of_71_lines_and_takes_one_of_70() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    assert!(rust_findings(&function(70)).is_empty());
    assert_eq!(rust_findings(&function(71)), ["`f` has 71 lines (max 70)"]);
}

#[test]
fn tidy_refuses_a_file_of_601_lines_and_does_not_count_its_tests() {
    let constants = |count: usize| "const A: u8 = 1;\n".repeat(count);
    assert!(rust_findings(&constants(600)).is_empty());
    assert_eq!(rust_findings(&constants(601)), ["601 lines without tests (max 600)"]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", constants(500));
    assert!(rust_findings(&(constants(600) + &tests)).is_empty());
}

#[test]
fn tidy_refuses_a_line_of_101_characters() {
    let line = |length: usize| format!("// {}", "ä".repeat(length - 3));
    assert!(rust_findings(&line(100)).is_empty());
    assert_eq!(rust_findings(&line(101)), ["101 characters in a line"]);
}

#[test]
fn tidy_refuses_stubs_skipped_tests_and_empty_checks() {
    assert_eq!(rust_findings("fn f() { todo!() }"), ["a stub"]);
    assert_eq!(rust_findings("#[test]\n#[ignore]\nfn f() {}"), ["a test that is never run"]);
    let child = "#[test]\n#[ignore = \"runs in a child process of another test\"]\nfn f() {}";
    assert!(rust_findings(child).is_empty());
    assert_eq!(rust_findings("fn f() { assert!(true, \"x\") }"), ["a check that cannot fail"]);
    assert_eq!(rust_findings(concat!("// FIX", "ME later")), [concat!("FIX", "ME")]);
    assert!(rust_findings("/// A `todo!` in words.\nfn f() { assert!(truth()) }").is_empty());
}

#[test]
fn tidy_refuses_a_command_or_flag_that_does_not_exist() {
    assert_eq!(command_findings("run `cargo xtask check`, then `cargo xtask kill --rounds 3`."), 0);
    assert_eq!(command_findings("`cargo xtask <command>`"), 0);
    assert_eq!(command_findings("run `cargo xtask chek`"), 1);
    assert_eq!(command_findings("cargo xtask kill --round 3"), 1);
}

#[test]
fn tidy_refuses_a_night_that_the_page_does_not_name_and_one_that_is_not_run() {
    let found = |row: &str| {
        let mut findings = Findings::default();
        nightly::check(row, &mut findings);
        findings.texts().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let known = crate::nightly::STEPS.iter().filter(|step| crate::nightly::is_known(step));
    let all: String = known.map(|step| format!(" `cargo xtask {}`", step.command)).collect();
    let row = format!("| nightly | by hand | `cargo xtask nightly`:{all} |");
    assert_eq!(found(&row), [""; 0]);
    assert_eq!(found(&row.replace("--rounds 1000", "--rounds 999")).len(), 4);
    assert_eq!(found("| check | x |"), ["no row begins with `| nightly |`"]);
}

#[test]
fn markdown_finds_links_outside_code_only() {
    let page = markdown::parse("[a](b.md#c) `[x](y)`\n```\n[d](e.md)\n```\n[w](https://a.b)");
    assert_eq!(page.links, [(1, "b.md#c".to_owned())]);
}

#[test]
fn markdown_refuses_a_link_to_a_missing_file_or_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = Path::new("page.md");
    let page = markdown::parse("# One `two`, three\n\n# Again\n\n# Again\n");
    let pages = BTreeMap::from([(here.to_owned(), page)]);
    let problem = |target: &str| markdown::link_problem(root, &pages, here, target).is_some();
    assert!(!problem("Cargo.toml"));
    assert!(!problem("src/../Cargo.toml"));
    assert!(problem("absent.md"));
    let heading = markdown::slug(" One `two`, three");
    assert_eq!(heading, "one-two-three");
    let anchors = &pages[here].anchors;
    assert!(anchors.contains(&heading) && anchors.contains("again-1"));
}

#[test]
fn markdown_takes_back_ticked_paths_for_files() {
    let page = markdown::parse("see `engine/src/lib.rs`, `engine/{a,b}`, `cargo run`, `wal/`");
    assert_eq!(page.named_files, [(1, "engine/src/lib.rs".to_owned())]);
}

#[test]
fn tidy_refuses_a_page_that_names_a_test_which_does_not_exist() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (packages, names) = (set(&["sombra", "sombra_sim"]), set(&["a_torn_tail_ends_the_log"]));
    let found = |text: &str| {
        let mut findings = Findings::default();
        test_names::check(Path::new("a.md"), text, &packages, &names, &mut findings);
        findings.texts().len()
    };
    assert_eq!(found("`sombra::wal::tests::a_torn_tail_ends_the_log`"), 0);
    assert_eq!(found("`sombra::Db`, `sombra-runtime`, `other::crate_name::a_b`"), 0);
    assert_eq!(found("`sombra::wal::tests::a_torn_tail`"), 1);
    assert_eq!(found("`sombra-sim::a_b`"), 1);
}
