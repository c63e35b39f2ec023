//! Who uses a block device, by the kernel's own books: mounts, swaps, holders. Reads /proc and
//! /sys only.

use std::fs::read_to_string;
use std::io;
use std::path::{Path, PathBuf};

/// `8:1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeviceNumber {
    major: u64,
    minor: u64,
}

impl DeviceNumber {
    pub(super) fn of(device: u64) -> DeviceNumber {
        use nix::sys::stat::{major, minor};
        DeviceNumber { major: major(device), minor: minor(device) }
    }

    fn parse(text: &str) -> Option<DeviceNumber> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// A device, or a part or the whole of it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// As the kernel has it: `sda1`.
    pub(super) name: String,
    number: DeviceNumber,
    /// Devices that are made of it: a RAID, a volume, a mapping.
    pub(super) holders: Vec<String>,
}

impl Member {
    fn read(directory: &Path) -> io::Result<Member> {
        let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
        let number = DeviceNumber::parse(&read_to_string(directory.join("dev"))?);
        let (Some(name), Some(number)) = (name, number) else {
            let found = directory.display();
            return Err(io::Error::other(format!("expected a device in sysfs, found {found}")));
        };
        let mut holders = Vec::new();
        for entry in directory.join("holders").read_dir()? {
            holders.push(entry?.file_name().to_string_lossy().into_owned());
        }
        holders.sort();
        Ok(Member { name, number, holders })
    }

    /// Does `path`, or what it links to, name this device?
    pub(super) fn is_named(&self, path: &str) -> bool {
        // The kernel writes a slash in a device's name as an exclamation mark.
        let own = Path::new("/dev").join(self.name.replace('!', "/"));
        let path = Path::new(path);
        path == own || path.canonicalize().is_ok_and(|real| real == own)
    }
}

/// The device, its partitions, and the disk that it is a partition of.
pub(super) fn family(number: DeviceNumber, system_root: &Path) -> io::Result<Vec<Member>> {
    let link = format!("sys/dev/block/{}:{}", number.major, number.minor);
    let directory = system_root.join(link).canonicalize()?;
    let mut members = vec![Member::read(&directory)?];
    let is_partition = |directory: &PathBuf| directory.join("partition").exists();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if is_partition(&path) {
            members.push(Member::read(&path)?);
        }
    }
    if is_partition(&directory)
        && let Some(disk) = directory.parent()
    {
        members.push(Member::read(disk)?);
    }
    Ok(members)
}

/// One line of mountinfo.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    number: Option<DeviceNumber>,
    source: String,
    pub(super) mounted_on: String,
}

impl Mount {
    /// `36 35 98:0 /root /mounted/on options - ext4 /dev/sda1 options`
    fn parse(line: &str) -> Option<Mount> {
        let (before, behind) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let number = DeviceNumber::parse(fields.next()?);
        let mounted_on = fields.nth(1)?.to_owned();
        let source = behind.split(' ').nth(1)?.to_owned();
        Some(Mount { number, source, mounted_on })
    }

    pub(super) fn is_of(&self, member: &Member) -> bool {
        // A btrfs has a number of its own, so the source is looked at as well.
        self.number == Some(member.number) || member.is_named(&self.source)
    }
}

pub(super) fn mounts(system_root: &Path) -> io::Result<Vec<Mount>> {
    let text = read_to_string(system_root.join("proc/self/mountinfo"))?;
    Ok(text.lines().filter_map(Mount::parse).collect())
}

/// Devices and files that the system swaps into.
pub(super) fn swaps(system_root: &Path) -> io::Result<Vec<String>> {
    let text = match read_to_string(system_root.join("proc/swaps")) {
        // A kernel without swap has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let lines = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(lines.map(str::to_owned).collect())
}
