//! One guest: started, listened to, killed with everything that runs for it.

#[cfg(test)]
mod tests;

use crate::Failure;
use crate::kill::{self, Plan};
use crate::powercut::host::{FileSystem, Places};
use crate::powercut::timeline::Lines;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fmt::Write;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = "linux";
const MODULES: &str = "/usr/lib/uml/modules";
const INIT: &str = include_str!("init.sh");
/// The guest's memory, which is its disk's cache too.
const MEMORY: &str = "mem=768M";
/// A guest whose store has not begun to open, or to work, by then never will.
const BOOT_MAX: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What a guest says fits in the pipe however late it is read: a line that its kernel had to keep
/// would die with it, although its writer went on.
const PIPE_BYTES: i32 = 1 << 20;
/// How long dead processes may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(30);
/// Characters of the guest's console in a failure.
const CONSOLE_CHARS_MAX: usize = 2_000;

/// Whether the guest's disk does what a flush says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cache {
    Honest,
    Lying,
}

/// When to kill a guest, counted from when its store began to open, or its clients to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    Opening(Duration),
    Working(Duration),
}

impl Moment {
    pub(super) fn after(self) -> Duration {
        let (Moment::Opening(after) | Moment::Working(after)) = self;
        after
    }

    fn begins_with(self, line: &str) -> bool {
        match self {
            Moment::Opening(_) => line.starts_with("P creation") || line.starts_with("P recovery"),
            Moment::Working(_) => line.starts_with("P working"),
        }
    }
}

/// Why this host cannot run guests, and what would help.
pub(in crate::powercut) fn missing(kind: FileSystem) -> Option<String> {
    let shown = Command::new(PROGRAM).arg("--showconfig").output();
    let config = shown.map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned());
    let config = config.unwrap_or_default();
    let has = |setting: &str| config.lines().any(|line| line == setting);
    if !has("CONFIG_UML=y") {
        return Some("no User-Mode Linux: apt install user-mode-linux".to_owned());
    }
    let name = kind.name().to_uppercase();
    if !has(&format!("CONFIG_{name}_FS=y")) {
        return Some(format!("the guests' kernel has no {}", kind.name()));
    }
    if !has("CONFIG_BLK_DEV_LOOP=y") && !loop_module().is_some_and(|module| module.exists()) {
        return Some("the guests' kernel has no loop device".to_owned());
    }
    let programs = ["perl", "stty"];
    let absent = programs.iter().find(|name| Command::new(name).arg("--version").output().is_err());
    absent.map(|name| format!("no {name}"))
}

fn loop_module() -> Option<PathBuf> {
    let release = Command::new(PROGRAM).arg("--version").output().ok()?;
    let release = String::from_utf8_lossy(&release.stdout).trim().to_owned();
    Some(Path::new(MODULES).join(release).join("kernel/drivers/block/loop.ko"))
}

pub(super) struct Guest<'a> {
    pub(super) kind: FileSystem,
    pub(super) disk: &'a Path,
    pub(super) cache: Cache,
}

impl Guest<'_> {
    /// Runs the plan's writer in a guest until the moment, and gives what it said.
    pub(super) fn run(
        &self,
        plan: &Plan,
        places: &Places,
        moment: Moment,
    ) -> Result<Vec<String>, Failure> {
        let folder = places.guest_folder();
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(places.mounted()).map_err(failed)?;
        let init = folder.join("init");
        fs::write(&init, self.script(plan, places.mounted())?).map_err(failed)?;
        fs::set_permissions(&init, Permissions::from_mode(0o755)).map_err(failed)?;
        let console = folder.join("console");
        let mut command = self.command(&folder, &init);
        command.stderr(File::create(&console).map_err(failed)?);
        let started = command.spawn();
        let mut child = started.map_err(|error| format!("cannot start a guest: {error}"))?;
        places.note_guest(child.id());
        let listened = listen_until(&mut child, moment);
        let ended = end(&mut child);
        places.note_guest(0);
        let (listener, was_reached) = listened?;
        ended?;
        let lines = listener.join().map_err(|_| "the pipe's reader panicked".to_owned())?;
        if !was_reached {
            let said = fs::read_to_string(&console).unwrap_or_default();
            let from = said.char_indices().rev().nth(CONSOLE_CHARS_MAX).map_or(0, |(at, _)| at);
            return Err(format!("a guest came to no work, its console ends: {}", &said[from..]));
        }
        Ok(lines.all())
    }

    /// Its first process: mounts the disk, then becomes the writer.
    fn script(&self, plan: &Plan, place: &Path) -> Result<String, Failure> {
        let config = Command::new(PROGRAM).arg("--showconfig").output();
        let config = config.map_err(|error| format!("{PROGRAM}: {error}"))?.stdout;
        let is_built_in = String::from_utf8_lossy(&config).contains("CONFIG_BLK_DEV_LOOP=y\n");
        let module = if is_built_in { None } else { loop_module() };
        let cache = if self.cache == Cache::Lying { "write through" } else { "write back" };
        let settings = [
            ("KIND", self.kind.name().to_owned()),
            ("PLACE", place.display().to_string()),
            ("CACHE", cache.to_owned()),
            ("MODULE", module.unwrap_or_default().display().to_string()),
        ];
        let mut script = "#!/bin/sh\n".to_owned();
        for (name, value) in settings {
            let _infallible = writeln!(script, "{name}={}", quoted(&value));
        }
        script.push_str(INIT);
        let writer = kill::command(plan)?;
        let words = std::iter::once(writer.get_program()).chain(writer.get_args());
        let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        let _infallible =
            writeln!(script, "exec {} </dev/null >/dev/ttyS0 2>/dev/console", words.join(" "));
        Ok(script)
    }

    /// The guest's file system is the host's, read only; it talks by its serial line, and its
    /// kernel by its console.
    fn command(&self, folder: &Path, init: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args([MEMORY, "quiet", "ro", "panic=-1"]);
        command.args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/"]);
        command.args(["con0=null,fd:2", "con=null", "ssl0=null,fd:1", "ssl=null"]);
        command.arg(format!("ubd0={}", self.disk.display()));
        command.arg(format!("uml_dir={}", folder.join("run").display()));
        command.arg(format!("init={}", init.display()));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        command
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

type Listener = std::thread::JoinHandle<Lines>;

/// Waits until the moment, which may never come: then the guest ended, or hangs.
fn listen_until(child: &mut Child, moment: Moment) -> Result<(Listener, bool), Failure> {
    let pipe = child.stdout.take().ok_or("the guest has no pipe")?;
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).map_err(|error| format!("pipe: {error}"))?;
    let has_begun = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&has_begun);
    let listener = std::thread::spawn(move || {
        let mut lines = Lines::starting_at(0);
        let look = |line: &str| {
            if moment.begins_with(line) {
                mark.store(true, Ordering::Release);
            }
        };
        lines.hear(pipe, || 0, look);
        lines
    });
    let started = Instant::now();
    let mut begun = None;
    let failed = |error: std::io::Error| format!("cannot look at a guest: {error}");
    while child.try_wait().map_err(failed)?.is_none() {
        if has_begun.load(Ordering::Acquire) {
            let begun = *begun.get_or_insert_with(Instant::now);
            if begun.elapsed() >= moment.after() {
                return Ok((listener, true));
            }
        } else if started.elapsed() > BOOT_MAX {
            break;
        }
        sleep(LOOK_EVERY);
    }
    Ok((listener, false))
}

/// Kills all processes of the guest in one call, so that none of them sees another one's end, and
/// waits until they are gone. The guest leads their group, before and after it asks for a session.
fn end(child: &mut Child) -> Result<(), Failure> {
    let group = Pid::from_raw(child.id() as i32);
    // It fails when all have ended.
    let _gone = killpg(group, Signal::SIGKILL);
    child.wait().map_err(|error| format!("cannot end a guest: {error}"))?;
    let killed_at = Instant::now();
    while killpg(group, None).is_ok() {
        if killed_at.elapsed() > GONE_MAX {
            return Err(format!("processes of guest {group} outlive it"));
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}
