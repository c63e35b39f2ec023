//! Names are durable when an operation on them returns: with `fsync` failing, each must fail. In a
//! process of its own, because the failing cannot be taken off again.

use std::io;
use std::path::Path;
use std::process::Command;

use sombra_runtime::{DriverChoice, Runtime, Shard};

use crate::harness::{SHARD_0, Scratch, on_shard, options};
use crate::sys::fail_fsync;

const CHILD_VARIABLE: &str = "SOMBRA_TEST_DIRECTORY_SYNC_CHILD";
const CHILD_SAYS: &str = "names were changed";

/// Each operation that changes names, and what it answered.
async fn change_names(shard: &Shard, dir: &Path) -> Vec<(&'static str, io::Result<()>)> {
    vec![
        ("rename", shard.rename(&dir.join("a"), &dir.join("b")).await),
        ("rename into another directory", shard.rename(&dir.join("c"), &dir.join("sub/c")).await),
        ("unlink", shard.unlink(&dir.join("d")).await),
        ("symlink", shard.symlink(&dir.join("e"), &dir.join("link")).await),
        ("create_dir", shard.create_dir(&dir.join("made")).await),
        ("lock", shard.lock_exclusive(&dir.join("lock")).await.map(drop)),
    ]
}

/// Does nothing in an ordinary run; the test below runs it in a process of its own.
#[test]
fn child_of_the_directory_sync_test() {
    let Some(mode) = std::env::var_os(CHILD_VARIABLE) else { return };
    let fails = mode == "fails";
    if fails {
        fail_fsync();
    }
    for choice in [DriverChoice::Threads, DriverChoice::Uring] {
        let scratch = Scratch::new("directory_sync");
        for name in ["a", "c", "d", "e"] {
            std::fs::write(scratch.path(name), name).unwrap();
        }
        std::fs::create_dir(scratch.path("sub")).unwrap();
        let runtime = Runtime::start(options(choice)).unwrap();
        let dir = scratch.path("");
        let answers =
            on_shard(
                &runtime,
                SHARD_0,
                move |shard| async move { change_names(&shard, &dir).await },
            );
        for (what, answer) in answers {
            let error = answer.err().and_then(|error| error.raw_os_error());
            assert_eq!(error, fails.then_some(libc::EIO), "{choice:?}: {what}");
        }
        assert!(runtime.shutdown().is_clean());
    }
    println!("{CHILD_SAYS}");
}

#[test]
fn names_are_synced_before_an_operation_on_them_returns() {
    // The second run is the control: without the failing the same operations succeed.
    for mode in ["fails", "works"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory_sync::child_of_the_directory_sync_test", "--nocapture"])
            .env(CHILD_VARIABLE, mode)
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains(CHILD_SAYS), "{mode}: {text}");
    }
}
