//! The harness on itself: it reads what it must, and a copy is as before after each bug.

use super::catch::{Hunt, SeedKind, Verdict, first_failing_seed, read_tests};
use super::manifest::{Bug, Catcher, Tests, parse};
use super::replica::Replica;
use super::{Row, conclude, distinct};
use crate::{Arguments, Command};
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

fn bugs(text: &str) -> Result<Vec<Bug>, String> {
    parse(&text.parse().unwrap(), Path::new("sim/planted"))
}

#[test]
fn manifest_names_what_each_bug_breaks_and_what_must_find_it() {
    let text = r#"
        [[bug]]
        name = "one"
        breaks = "M5"
        sim = ["--load", "memory"]
        seeds_max = 40
        [[bug]]
        name = "two"
        breaks = "M2"
        test = "sombra::it::log_end::stale"
        [[bug]]
        name = "three"
        breaks = "M5"
        sim = ["--load", "memory"]
        seeds_max = 90
    "#;
    let bugs = bugs(text).unwrap();
    assert_eq!(bugs[0].patch, Path::new("sim/planted/one.patch"));
    let arguments = vec!["--load".to_owned(), "memory".to_owned()];
    let most = Catcher::Seeds { arguments, seeds_max: 90 };
    assert_eq!(distinct(&bugs), [most.clone(), bugs[1].catcher.clone()]);
    assert_eq!(most.at_most(40), bugs[0].catcher);
    assert_eq!(bugs[1].catcher.to_string(), "test sombra::it::log_end::stale");
}

#[test]
fn manifest_that_leaves_something_out_is_refused() {
    for wrong in [
        "",
        "[[bug]]\nbreaks = \"x\"",
        "[[bug]]\nname = \"a\"\nbreaks = \"x\"",
        "[[bug]]\nname = \"a\"\nsim = []\nseeds_max = 1",
        "[[bug]]\nname = \"a\"\nbreaks = \"x\"\nsim = []",
        "[[bug]]\nname = \"a\"\nbreaks = \"x\"\ntest = \"sombra\"",
        "[[bug]]\nname = \"a\"\nbreaks = \"x\"\ntest = \"s::t\"\nseeds_needed = 1",
        "[[bug]]\nname = \"a\"\nbreaks = \"x\"\ntest = \"s::t\"\nmodel = \"s::t\"",
    ] {
        assert!(bugs(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_lowest_seed_that_failed_is_named_with_its_reason() {
    let output = "sim: 9 seeds\nseed 12: later\nseed 7: lost a commit\nerror: 2 seeds failed: 7 12";
    assert_eq!(first_failing_seed(output), Some((7, "lost a commit".to_owned())));
    let history = "seed 3: isolation:\n9 transactions\n  G2-item: T1 -rw-> T2\n";
    assert_eq!(first_failing_seed(history), Some((3, "G2-item: T1 -rw-> T2".to_owned())));
    let diverged = first_failing_seed("error: 1 seeds failed: 50\n").unwrap();
    assert_eq!(diverged.0, 50);
    assert_eq!(first_failing_seed("seeds 8\nall well\n"), None);
}

#[test]
fn tests_catch_only_when_one_ran_and_failed() {
    let tests = Tests { package: "p".into(), is_integration: false, filter: "a".into() };
    let read = |is_success, output| read_tests(&tests, false, is_success, output);
    let caught = read(false, "test a::b ... FAILED\ntest a::c ... ok\n").unwrap();
    let by = "test p::a::b".to_owned();
    assert_eq!(caught, Verdict::Caught { by, needed: "1 test".to_owned() });
    assert!(matches!(read(true, "test a::b ... ok\n"), Ok(Verdict::Survived { .. })));
    assert!(read(true, "running 0 tests\n").is_err(), "a filter that matches nothing");
    assert!(read(false, "error: could not compile\n").is_err(), "not built is not caught");
}

#[test]
fn a_bug_that_survives_or_cannot_be_tried_fails_the_campaign() {
    let row = |outcome| Row { name: "a".into(), breaks: "b".into(), outcome, seconds: 1.0 };
    let caught = || Ok(Verdict::Caught { by: "sim".into(), needed: "1 seed".into() });
    assert_eq!(conclude(&[row(caught())]), Ok(()));
    let survived = row(Ok(Verdict::Survived { tried: "8 seeds of sim".into() }));
    assert!(conclude(&[row(caught()), survived]).is_err());
    assert!(conclude(&[row(Err("does not apply".into()))]).is_err());
    let by = || "sim, seed 7: lost a commit".to_owned();
    assert!(conclude(&[row(Ok(Verdict::NotProven { by: by() }))]).is_err());
    let told = row(Ok(Verdict::NotProven { by: by() })).line();
    assert!(told.contains("not proven") && told.contains("seed 7"), "{told}");
}

#[test]
fn a_seed_that_fails_without_the_bug_too_proves_nothing() {
    let (base, replica) = small_replica("proves");
    let hunt = |clean: &str| Hunt { replica: &replica, jobs: 1, clean: Some(clean.into()) };
    let call = |clean: &str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        hunt(clean).prove("sim, seed 7".into(), 7, &words)
    };
    let caught = Verdict::Caught { by: "sim, seed 7".into(), needed: "8 seeds".into() };
    assert_eq!(call("/bin/true", &["sim"]), Ok(caught));
    let failing = ["-c", "echo 'seed 7: lost a commit'; exit 1"];
    let not_proven = Verdict::NotProven { by: "sim, seed 7".into() };
    assert_eq!(call("/bin/sh", &failing), Ok(not_proven));
    assert!(call("/bin/false", &["sim"]).is_err(), "it ran no seed");
    assert!(call("/bin/no such program", &["sim"]).is_err());
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn document_on_testing_holds_the_table_of_planted_bugs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = super::table(&super::manifest::load(root).unwrap());
    let document = fs::read_to_string(root.join("docs/testing.md")).unwrap();
    let missing: Vec<&str> = table.lines().filter(|line| !document.contains(line)).collect();
    assert!(document.contains(&table), "`cargo xtask planted --table` differs, by {missing:#?}");
}

#[test]
fn commands_that_run_seeds_are_commands_of_this_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let listed = super::manifest::load(folder).unwrap();
    let mut histories = 0;
    for bug in &listed {
        let (kind, more) = match &bug.catcher {
            Catcher::Seeds { arguments, .. } => (SeedKind::Whole, arguments.as_slice()),
            Catcher::Histories { .. } => (SeedKind::Histories, &[][..]),
            Catcher::Models(_) | Catcher::Tests(_) => continue,
        };
        histories += u32::from(kind == SeedKind::Histories);
        let words = kind.arguments(7..8, more);
        let called = ["xtask".to_owned()].into_iter().chain(words.iter().cloned());
        let parsed = Arguments::try_parse_from(called);
        let parsed = parsed.unwrap_or_else(|error| panic!("{}: {words:?}: {error}", bug.name));
        assert!(matches!(parsed.command, Command::Sim(_)), "{words:?}");
    }
    assert!(histories >= 6, "bugs that only histories show: {histories}");
}

/// A small tree with one file, and its copy.
fn small_replica(name: &str) -> (PathBuf, Replica) {
    let base = std::env::temp_dir().join(format!("planted-{name}-{}", std::process::id()));
    let (tree, copy) = (base.join("tree"), base.join("copy"));
    fs::create_dir_all(tree.join("engine")).unwrap();
    fs::create_dir_all(copy.join("src")).unwrap();
    fs::write(tree.join("engine/a.rs"), "one\ntwo\nthree\n").unwrap();
    fs::write(copy.join("src/stale.rs"), "left over").unwrap();
    let files = [PathBuf::from("engine/a.rs")].into();
    (base, Replica::of(&tree, files, copy, "cargo".into()).unwrap())
}

fn bug(base: &Path, patch: &str) -> Bug {
    let path = base.join("bug.patch");
    fs::write(&path, patch).unwrap();
    let catcher = Catcher::Histories { seeds_max: 1 };
    Bug { name: "bug".into(), breaks: "b".into(), catcher, seeds_needed: None, patch: path }
}

#[test]
fn a_patch_is_in_the_copy_while_it_is_hunted_and_gone_afterwards() {
    let (base, replica) = small_replica("applies");
    let file = replica.sources().join("engine/a.rs");
    assert!(!replica.sources().join("stale.rs").exists(), "the copy holds the tree only");
    let patch = "--- a/engine/a.rs\n+++ b/engine/a.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
    let seen = replica.with_patch(&bug(&base, patch), || Ok(fs::read_to_string(&file).unwrap()));
    assert_eq!(seen.unwrap(), "one\n2\nthree\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_patch_that_does_not_apply_or_changes_nothing_is_an_error() {
    let (base, replica) = small_replica("refused");
    let stale = "--- a/engine/a.rs\n+++ b/engine/a.rs\n@@ -1,3 +1,3 @@\n one\n-2\n+3\n three\n";
    assert!(replica.with_patch(&bug(&base, stale), || Ok(())).is_err());
    let same = "--- a/engine/a.rs\n+++ b/engine/a.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+two\n three\n";
    assert!(replica.with_patch(&bug(&base, same), || Ok(())).is_err());
    fs::remove_dir_all(base).unwrap();
}
