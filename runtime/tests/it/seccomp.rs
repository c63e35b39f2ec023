//! A real container policy, in a process of its own: the filter cannot be taken off again.

use std::process::Command;

use sombra_runtime::{DriverChoice, DriverKind, Runtime};

use crate::fallback::serve_one_page;
use crate::harness::{Scratch, options};
use crate::sys::deny_io_uring;

const CHILD_VARIABLE: &str = "SOMBRA_TEST_SECCOMP_CHILD";
const CHILD_SAYS: &str = "served under the filter";

fn run_child(filtered: bool) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "seccomp::child_of_the_seccomp_test", "--nocapture"])
        .env(CHILD_VARIABLE, if filtered { "filtered" } else { "free" })
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Does nothing in an ordinary run; the test below runs it in a process of its own.
#[test]
fn child_of_the_seccomp_test() {
    let Some(mode) = std::env::var_os(CHILD_VARIABLE) else { return };
    let filtered = mode == "filtered";
    if filtered {
        deny_io_uring();
    }
    let scratch = Scratch::new("seccomp_child");
    let runtime = Runtime::start(options(DriverChoice::Auto)).unwrap();
    let note = runtime.driver_note().unwrap_or_default();
    if filtered {
        assert_eq!(runtime.driver_kind(), DriverKind::Threads);
        assert!(note.contains("seccomp"), "{note}");
    } else {
        assert_eq!(runtime.driver_kind(), DriverKind::Uring);
        assert!(!note.contains("seccomp"), "{note}");
    }
    serve_one_page(&runtime, &scratch);
    assert!(runtime.shutdown().is_clean());
    println!("{CHILD_SAYS}");
}

#[test]
fn seccomp_policy_against_io_uring_gives_threads_and_a_note() {
    // The second run is the control: the same process without the filter has its ring.
    for filtered in [true, false] {
        let (success, text) = run_child(filtered);
        assert!(success && text.contains(CHILD_SAYS), "filtered {filtered}: {text}");
    }
}
