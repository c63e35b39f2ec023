//! What the host gives: the served file, a loop device on it, a file system on that. Every step is
//! a program of its own, so that this process never waits for a disk that it serves itself.

use super::device::{Device, FILE_NAME};
use crate::{Failure, process};
use fuser::{BackgroundSession, Config, MountOption};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A program that takes longer hangs in the kernel.
const PROGRAM_SECONDS_MAX: &str = "120";
/// Attempts at letting go of what somebody still holds, and the time between them.
const RELEASES_TRIED_MAX: u32 = 500;
const RELEASE_AGAIN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(super) fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    fn mkfs(self) -> (&'static str, &'static [&'static str], &'static str) {
        const LAZY: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        match self {
            FileSystem::Ext4 => {
                ("mkfs.ext4", &["-q", "-F", "-N", "4096", "-b", "4096", "-E", LAZY], "e2fsprogs")
            }
            FileSystem::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"], "xfsprogs"),
            FileSystem::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K"], "btrfs-progs"),
        }
    }

    /// Makes an empty file system on a device or in a file.
    pub(super) fn make_on(self, disk: &OsStr) -> Result<(), Failure> {
        let (mkfs, words, _) = self.mkfs();
        let words = words.iter().copied().map(OsStr::new).chain([disk]);
        program(mkfs, &words.collect::<Vec<_>>()).map(drop)
    }

    /// Discards are of no use here: the served file refuses them.
    fn mount_options(self) -> &'static str {
        if self == FileSystem::Xfs { "rw" } else { "rw,nodiscard" }
    }

    /// The file system's tools and the kernel, for the report.
    pub(super) fn versions(self) -> String {
        let output = Command::new(self.mkfs().0).arg("-V").output();
        let tool = output.map_or_else(
            |error| error.to_string(),
            |output| {
                let all = [output.stdout, output.stderr].concat();
                let all = String::from_utf8_lossy(&all);
                all.lines().next().unwrap_or("unknown").to_owned()
            },
        );
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("{} ({tool}), kernel {}", self.name(), kernel.trim())
    }

    /// Why this host cannot run the test, and what would help.
    pub(super) fn missing(self) -> Option<String> {
        let (mkfs, _, package) = self.mkfs();
        if !nix::unistd::geteuid().is_root() {
            return Some("mounting needs root: run it as root".to_owned());
        }
        for device in ["/dev/fuse", "/dev/loop-control"] {
            if let Err(error) = File::options().read(true).write(true).open(device) {
                return Some(format!("{device}: {error}: load its module, or pass it in"));
            }
        }
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let loads = |name: &str| process::answers(Command::new("modprobe").arg(name));
        if !known.lines().any(|line| line.ends_with(self.name())) && !loads(self.name()) {
            return Some(format!("this kernel has no {}", self.name()));
        }
        let starts = |name: &str| Command::new(name).arg("-V").output().is_ok();
        for (program, package) in [(mkfs, package), ("losetup", "mount"), ("mount", "mount")] {
            if !starts(program) {
                return Some(format!("no {program}: apt install {package}"));
            }
        }
        None
    }
}

/// The places of a run; one run at a time has them.
#[derive(Clone)]
pub(super) struct Places {
    served: PathBuf,
    mounted: PathBuf,
    guest: PathBuf,
    /// The process group of the guest that runs, or 0.
    guest_group: Arc<AtomicI32>,
}

impl Places {
    pub(super) fn below(dir: &Path) -> Places {
        let [served, mounted, guest] = ["served", "mounted", "guest"].map(|name| dir.join(name));
        Places { served, mounted, guest, guest_group: Arc::default() }
    }

    /// Lets go of everything that this run, or a dead one, holds.
    pub(super) fn release(&self) {
        let group = self.guest_group.swap(0, Ordering::AcqRel);
        if group > 0 {
            // It may have ended by itself.
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        for place in [&self.mounted, &self.served] {
            if place == &self.served {
                self.detach_all();
            }
            while is_mounted(place) {
                if program("umount", &["--lazy".as_ref(), place.as_os_str()]).is_err() {
                    break;
                }
            }
            // What is still in use is found by the next run.
            let _in_use = fs::remove_dir(place);
        }
    }

    /// Where a guest's disk and all else of it lies.
    pub(super) fn guest_folder(&self) -> PathBuf {
        self.guest.clone()
    }

    /// A guest runs in this process group; 0: none does.
    pub(super) fn note_guest(&self, group: u32) {
        self.guest_group.store(group as i32, Ordering::Release);
    }

    /// Where a disk is mounted that nobody serves.
    pub(super) fn mounted(&self) -> &Path {
        &self.mounted
    }

    /// Mounts a disk that is a file of the host's.
    pub(super) fn mount_file(&self, kind: FileSystem, disk: &Path) -> Result<(), Failure> {
        fs::create_dir_all(&self.mounted).map_err(|error| format!("mount point: {error}"))?;
        let words = ["-t", kind.name(), "-o", "loop"].map(OsStr::new);
        program("mount", &[&words[..], &[disk.as_os_str(), self.mounted.as_os_str()]].concat())
            .map(drop)
    }

    /// Unmounts it; its loop device goes with it.
    pub(super) fn unmount_file(&self) -> Result<(), Failure> {
        again(|| program("umount", &[self.mounted.as_os_str()]))
    }

    fn detach_all(&self) {
        let listed = program(
            "losetup",
            &["--list", "--noheadings", "--output", "NAME,BACK-FILE"].map(OsStr::new),
        );
        let ours = self.served.to_string_lossy().into_owned();
        for line in listed.unwrap_or_default().lines().filter(|line| line.contains(&ours)) {
            if let Some(name) = line.split_whitespace().next() {
                // Best effort: what is still busy is found by the next run.
                let _busy = program("losetup", &["--detach".as_ref(), name.as_ref()]);
            }
        }
    }
}

fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = place.to_string_lossy();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(&place))
}

/// The served disk and where it is attached.
pub(super) struct Host {
    pub(super) device: Device,
    file_system: FileSystem,
    places: Places,
    /// Ends the serving when dropped.
    _session: BackgroundSession,
    attached: Option<String>,
}

impl Host {
    pub(super) fn serve(
        device: Device,
        file_system: FileSystem,
        places: &Places,
    ) -> Result<Host, Failure> {
        for place in [&places.served, &places.mounted] {
            fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
        }
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("sombra-powercut".to_owned())];
        let session = fuser::spawn_mount(device.clone(), &places.served, &config);
        let session = session.map_err(|error| format!("cannot serve the disk: {error}"))?;
        let places = places.clone();
        Ok(Host { device, file_system, places, _session: session, attached: None })
    }

    pub(super) fn store(&self) -> PathBuf {
        self.places.mounted.join("store")
    }

    pub(super) fn attach(&mut self) -> Result<(), Failure> {
        let file = self.places.served.join(FILE_NAME);
        let words = ["--find", "--show", "--direct-io=on"].map(OsStr::new);
        let name = program("losetup", &[&words[..], &[file.as_os_str()]].concat())?;
        self.attached = Some(name.trim().to_owned());
        Ok(())
    }

    pub(super) fn make(&mut self) -> Result<(), Failure> {
        let device = self.attached.as_deref().ok_or("no loop device is attached")?;
        self.file_system.make_on(OsStr::new(device))
    }

    pub(super) fn mount(&mut self) -> Result<(), Failure> {
        let device = self.attached.clone().ok_or("no loop device is attached")?;
        let (kind, options) = (self.file_system.name(), self.file_system.mount_options());
        let words = ["-t", kind, "-o", options, &device].map(OsStr::new);
        program("mount", &[&words[..], &[self.places.mounted.as_os_str()]].concat()).map(drop)
    }

    /// Takes the disk out of use: no file system on it, no loop device.
    pub(super) fn release(&mut self) -> Result<(), Failure> {
        let mounted = self.places.mounted.clone();
        if is_mounted(&mounted) {
            again(|| program("umount", &[mounted.as_os_str()]))?;
        }
        if let Some(name) = self.attached.take() {
            again(|| program("losetup", &["--detach".as_ref(), name.as_ref()]))?;
            let number = name.trim_start_matches("/dev/");
            let behind = format!("/sys/block/{number}/loop/backing_file");
            let ours = self.places.served.join(FILE_NAME);
            // Another run may have the same device by now.
            let is_ours =
                || fs::read_to_string(&behind).is_ok_and(|at| Path::new(at.trim()) == ours);
            again(|| match is_ours() {
                true => Err(format!("{name} is still attached")),
                false => Ok(String::new()),
            })?;
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.device.set_fault(None);
        if let Err(failure) = self.release() {
            eprintln!("powercut: {failure}");
        }
        self.places.release();
    }
}

fn again(mut work: impl FnMut() -> Result<String, Failure>) -> Result<(), Failure> {
    let mut last = String::new();
    for _ in 0..RELEASES_TRIED_MAX {
        match work() {
            Ok(_) => return Ok(()),
            Err(failure) => last = failure,
        }
        sleep(RELEASE_AGAIN);
    }
    Err(last)
}

/// Runs a program to its end; its standard output, or why it failed.
fn program(name: &str, words: &[&OsStr]) -> Result<String, Failure> {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", PROGRAM_SECONDS_MAX, name]).args(words);
    let output = command.output().map_err(|error| format!("cannot start {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{}: {why} ({})", process::describe(&command), output.status))
}
