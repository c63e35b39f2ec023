//! This test binary once more, as another process: with a mount or a user of its own.

use std::path::Path;
use std::process::{Command, Output};

const DIR: &str = "SOMBRA_TEST_CHILD_DIR";

/// The directory that a child works in; `None` when the test was not started by its parent.
pub(crate) fn dir() -> Option<std::path::PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

/// A command that runs one ignored test of this binary in `dir`, behind `wrapper`.
pub(crate) fn command(wrapper: &[&str], test: &str, dir: &Path) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&binary);
            command
        }
    };
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(DIR, dir);
    command
}

/// Runs a child to its end; it must have run its one test, and the test must have passed.
pub(crate) fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{command:?}:\n{text}");
}

pub(crate) fn text_of(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n")
}

/// A wrapper that mounts a file system at `dir`, for the child alone: it goes with the child.
/// `Err` says why this host does not allow that.
pub(crate) fn mounted(mount: &str, dir: &Path) -> Result<[String; 6], String> {
    let script = format!("mount {mount} '{}' && exec \"$0\" \"$@\"", dir.display());
    let wrapper =
        ["unshare", "--mount", "--propagation=private", "sh", "-c", &script].map(str::to_owned);
    let attempt = Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").output();
    match attempt {
        Ok(output) if output.status.success() => Ok(wrapper),
        Ok(output) => Err(text_of(&output)),
        Err(error) => Err(format!("unshare: {error}")),
    }
}
