use super::{
    closing_lines_of_models,
    guard::KeyTests,
    transcript::{count_before, read_libtest, read_nextest},
};
use std::collections::{BTreeMap, BTreeSet};

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

const NEXTEST: &str = "\
        PASS [   0.004s] (1/4) sombra-runtime buffer::tests::a_buffer_is_aligned
        PASS [   0.010s] sombra::it crash::a_kill_loses_nothing
        PASS [   0.010s] ( 3/4) sombra-cli::bin/sombra args::tests::help_is_short
        FAIL [   0.010s] (4/4) sombra wal::tests::b
     Summary [   0.034s] 4 tests run: 3 passed, 1 failed, 0 skipped";

const LIBTEST: &str = "\
     Running unittests src/lib.rs (target/debug/deps/sombra_runtime-0f)
test buffer::tests::a_buffer_is_aligned ... ok
test buffer::tests::too_long_panics - should panic ... ok
test buffer::tests::c ... FAILED
test result: FAILED. 2 passed; 1 failed; 0 ignored
     Running tests/it/main.rs (/x/deps/it-7a)
test crash::a_kill_loses_nothing ... ok
test result: ok. 1 passed; 0 failed; 0 ignored";

#[test]
fn nextest_transcript_yields_the_tests_that_passed_and_the_closing_line() {
    let outcome = read_nextest(&lines(NEXTEST));
    let passed: Vec<&str> = outcome.passed.iter().map(String::as_str).collect();
    let expected = [
        "sombra::it::crash::a_kill_loses_nothing",
        "sombra_cli::args::tests::help_is_short",
        "sombra_runtime::buffer::tests::a_buffer_is_aligned",
    ];
    assert_eq!(passed, expected);
    assert!(outcome.closing_lines[0].contains("3 passed"));
}

#[test]
fn libtest_transcript_yields_the_same_names() {
    let name = |file: &str, name: &str| (file.to_owned(), name.to_owned());
    let binaries =
        BTreeMap::from([name("sombra_runtime-0f", "sombra-runtime"), name("it-7a", "sombra::it")]);
    let outcome = read_libtest(&lines(LIBTEST), &binaries);
    let passed: Vec<&str> = outcome.passed.iter().map(String::as_str).collect();
    let expected = [
        "sombra::it::crash::a_kill_loses_nothing",
        "sombra_runtime::buffer::tests::a_buffer_is_aligned",
        "sombra_runtime::buffer::tests::too_long_panics",
    ];
    assert_eq!(passed, expected);
    assert_eq!(outcome.closing_lines, ["3 passed, 1 failed"]);
}

#[test]
fn guard_names_a_key_test_that_did_not_pass() {
    let text =
        "# reasons\nsombra::wal::tests::b  torn tails\nsombra-cli::args::tests::help_is_short x\n";
    let key_tests = KeyTests::parse(text).expect("the list is right");
    let passed = read_nextest(&lines(NEXTEST)).passed;
    assert_eq!(key_tests.missing(&passed), ["sombra::wal::tests::b"]);
    assert_eq!(key_tests.missing(&BTreeSet::new()).len(), key_tests.len());
}

#[test]
fn guard_refuses_an_empty_list_and_a_name_without_a_reason() {
    assert!(KeyTests::parse("# nothing\n\n").is_err());
    assert!(KeyTests::parse("sombra::wal::tests::b\n").is_err());
}

#[test]
fn models_that_match_no_test_are_a_failure() {
    let ran = lines("running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored");
    assert_eq!(closing_lines_of_models(&ran).map(|lines| lines.len()), Ok(1));
    let none = lines("running 0 tests\ntest result: ok. 0 passed; 0 failed; 9 filtered out");
    assert!(closing_lines_of_models(&none).is_err());
}

#[test]
fn count_before_finds_nothing_in_a_line_without_the_word() {
    assert_eq!(count_before("ok. 12 passed; 3 failed", " failed"), 3);
    assert_eq!(count_before("nothing here", " passed"), 0);
}
