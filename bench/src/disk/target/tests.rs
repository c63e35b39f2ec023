//! Made-up machines and heads, and a loop device where there is one.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::signature::signature;
use super::*;
use crate::limits::DISK_TARGET_HEAD_BYTES;

/// A root with a /proc and a /sys of its own, gone at the end.
struct Machine(PathBuf);

impl Machine {
    /// Disk `sda` (8:0) with `sda1` (8:1) and `sda2` (8:2), disk `sdb` (8:16) with nothing.
    fn new(name: &str) -> Machine {
        let directory = format!("sombra-target-{name}-{}", std::process::id());
        let machine = Machine(std::env::temp_dir().join(directory));
        machine.write("proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n");
        machine.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        for (path, number) in
            [("sda", "8:0"), ("sda/sda1", "8:1"), ("sda/sda2", "8:2"), ("sdb", "8:16")]
        {
            machine.write(&format!("sys/devices/{path}/dev"), &format!("{number}\n"));
            fs::create_dir_all(machine.0.join(format!("sys/devices/{path}/holders"))).unwrap();
            fs::create_dir_all(machine.0.join("sys/dev/block")).unwrap();
            let link = machine.0.join(format!("sys/dev/block/{number}"));
            symlink(format!("../../devices/{path}"), link).unwrap();
        }
        machine.write("sys/devices/sda/sda1/partition", "1\n");
        machine.write("sys/devices/sda/sda2/partition", "2\n");
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What the check says of a device by its number.
    fn says(&self, minor: u64) -> String {
        let path = Path::new("/dev/asked");
        let number = DeviceNumber::of(nix::sys::stat::makedev(8, minor));
        match check_device(path, number, &self.0) {
            Ok(()) => "free".into(),
            Err(refusal) => refusal.to_string(),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const USED: &str = "/dev/asked: expected a device that nobody uses, found";

#[test]
fn device_that_nobody_uses_is_free() {
    let machine = Machine::new("free");
    assert_eq!([0, 1, 2, 16].map(|minor| machine.says(minor)), ["free"; 4]);
}

#[test]
fn mounted_device_is_refused_by_number_by_name_and_by_its_partitions() {
    let machine = Machine::new("mounted");
    machine.write(
        "proc/self/mountinfo",
        "28 1 8:1 / /home rw,relatime shared:1 - ext4 /dev/root rw\n\
         29 1 0:40 /sub /data rw - btrfs /dev/sdb rw\n",
    );
    assert_eq!(machine.says(1), format!("{USED} sda1 mounted on /home"));
    assert_eq!(machine.says(0), format!("{USED} sda1 mounted on /home"), "the whole disk");
    assert_eq!(machine.says(2), "free", "the neighbour");
    assert_eq!(machine.says(16), format!("{USED} sdb mounted on /data"), "by its source");
}

#[test]
fn partition_of_a_disk_that_is_mounted_as_a_whole_is_refused() {
    let machine = Machine::new("whole");
    machine.write("proc/self/mountinfo", "28 1 8:0 / /mnt rw - xfs /dev/sda rw\n");
    assert_eq!(machine.says(2), format!("{USED} sda mounted on /mnt"));
}

#[test]
fn swap_and_held_devices_are_refused() {
    let machine = Machine::new("held");
    machine.write(
        "proc/swaps",
        "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2   partition\t1\t0\t-2\n",
    );
    machine.write("sys/devices/sdb/holders/dm-0", "");
    assert_eq!(machine.says(2), format!("{USED} sda2 in use as swap"));
    assert_eq!(machine.says(0), format!("{USED} sda2 in use as swap"));
    assert_eq!(machine.says(1), "free");
    assert_eq!(machine.says(16), format!("{USED} sdb held by dm-0"));
}

#[test]
fn device_that_the_kernel_does_not_list_counts_as_in_use() {
    let machine = Machine::new("unlisted");
    assert!(machine.says(99).starts_with("/dev/asked: No such file"), "{}", machine.says(99));
    fs::remove_file(machine.0.join("proc/self/mountinfo")).unwrap();
    assert!(machine.says(16).starts_with("/dev/asked: No such file"));
}

fn head_with(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut head = vec![0; DISK_TARGET_HEAD_BYTES];
    head[offset..offset + bytes.len()].copy_from_slice(bytes);
    head
}

#[test]
fn marks_of_formats_are_found_where_they_are() {
    for (offset, bytes, format) in [
        (1_080, &[0x53u8, 0xEF][..], "an ext2, ext3 or ext4 file system"),
        (0, b"XFSB", "an XFS file system"),
        (0x1_0040, b"_BHRfS_M", "a Btrfs file system"),
        (4_086, b"SWAPSPACE2", "swap space"),
        (65_526, b"SWAPSPACE2", "swap space"),
        (0, b"LUKS\xBA\xBE", "a LUKS volume"),
        (4_096, &[0xFC, 0x4E, 0x2B, 0xA9], "a member of an MD RAID"),
        (512, b"EFI PART", "a GPT partition table"),
        (510, &[0x55, 0xAA], "an MBR partition table or boot sector"),
        (3, b"NTFS    ", "an NTFS file system"),
        (82, b"FAT32   ", "a FAT file system"),
        ((128 << 10) + 5 * 1_024, &[0x0C, 0xB1, 0xBA, 0, 0, 0, 0, 0], "a member of a ZFS pool"),
        (0x8001, b"CD001", "an ISO 9660 file system"),
    ] {
        assert_eq!(signature(&head_with(offset, bytes)), Some(format), "{bytes:?}");
        // A byte further on it says nothing.
        assert_eq!(signature(&head_with(offset + 1, bytes)), None, "{bytes:?}");
    }
    let mut lvm = head_with(512, b"LABELONE");
    assert_eq!(signature(&lvm), None);
    lvm[536..544].copy_from_slice(b"LVM2 001");
    assert_eq!(signature(&lvm), Some("an LVM2 physical volume"));
}

#[test]
fn empty_and_short_heads_hold_nothing() {
    assert_eq!(signature(&[]), None);
    assert_eq!(signature(&[0; 600]), None);
    assert_eq!(signature(&vec![0xA5; DISK_TARGET_HEAD_BYTES]), None);
    let mut short = vec![0; 512];
    short[510..].copy_from_slice(&[0x55, 0xAA]);
    assert!(signature(&short).is_some());
}

#[test]
fn contents_may_go_only_if_this_very_device_is_named() {
    let ext4 = head_with(1_080, &[0x53, 0xEF]);
    let device = Path::new("/dev/null");
    let refused = |destroy: &[&str]| {
        let destroy: Vec<PathBuf> = destroy.iter().map(PathBuf::from).collect();
        check_contents(device, &destroy, &ext4).err().map(|refusal| refusal.to_string())
    };
    let text = "/dev/null: expected an empty device, found an ext2, ext3 or ext4 file system; to \
                destroy what is on it, add --destroy-data /dev/null";
    assert_eq!(refused(&[]).as_deref(), Some(text));
    assert_eq!(refused(&["/dev/zero", "/dev", "null", ""]).as_deref(), Some(text));
    assert_eq!(refused(&["/dev/null"]), None);
    assert_eq!(refused(&["/dev/../dev/./null"]), None, "the same by another way");
}

#[test]
fn files_are_allowed_and_a_stores_directory_is_not() {
    let machine = Machine::new("files");
    let check = |path: &str| {
        check_target(&machine.0.join(path), &machine.0, &[], &[]).map_err(|e| e.to_string())
    };
    machine.write("plain/data", "old");
    assert_eq!((check("plain/data"), check("plain/new")), (Ok(()), Ok(())));
    machine.write("plain/LOCK", "");
    assert_eq!(check("plain/new"), Ok(()), "a lock alone is no store");
    machine.write("plain/superblock", "");
    assert!(check("plain/new").unwrap_err().ends_with("found superblock and LOCK"));
    machine.write("store/pages.sombra", "");
    symlink("../store/pages.sombra", machine.0.join("link")).unwrap();
    for path in ["store/pages.sombra", "store/0001.log", "store/new"] {
        let text = check(path).unwrap_err();
        assert!(text.contains("expected no store of Sombra"), "{text}");
    }
    fs::remove_file(machine.0.join("link")).unwrap();
    symlink("store/pages.sombra", machine.0.join("link")).unwrap();
    assert!(check("link").is_err(), "a link into a store");
    assert!(check("store").unwrap_err().ends_with("found a directory"));
}

#[test]
fn swap_files_and_character_devices_are_refused() {
    let machine = Machine::new("kinds");
    machine.write("swapfile", "x");
    let real = machine.0.join("swapfile").canonicalize().unwrap();
    machine.write("proc/swaps", &format!("Filename\n{} file 1 0 -2\n", real.display()));
    let check = |path: &Path| check_target(path, &machine.0, &[], &[]).map_err(|e| e.to_string());
    assert!(check(&real).unwrap_err().ends_with("found the file in use as swap"));
    let null = check(Path::new("/dev/null")).unwrap_err();
    assert!(null.ends_with("found a character device"), "{null}");
}

/// Runs a program; its output, or nothing, with the reason printed.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            println!("skipped: {program}: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: {program}: {error}");
            None
        }
    }
}

/// A loop device over a file of its own; both go away at the end.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["--detach", &self.device]).status();
        assert!(detached.is_ok_and(|status| status.success()), "{} stays", self.device);
        fs::remove_file(&self.file).unwrap();
    }
}

#[test]
fn loop_device_of_this_machine_is_free_then_full_then_mounted() {
    let file = std::env::temp_dir().join(format!("sombra-loop-{}", std::process::id()));
    fs::write(&file, vec![0; 16 << 20]).unwrap();
    let Some(device) = output_of("losetup", &["--find", "--show", file.to_str().unwrap()]) else {
        return fs::remove_file(&file).unwrap();
    };
    let made = Loop { device, file };
    let path = Path::new(&made.device);
    let read_head = || {
        let bytes = fs::read(&made.file).unwrap();
        bytes[..DISK_TARGET_HEAD_BYTES].to_vec()
    };
    let check = |destroy: &[PathBuf]| {
        check_target(path, Path::new("/"), destroy, &read_head()).map_err(|e| e.to_string())
    };
    assert_eq!(check(&[]), Ok(()));
    if output_of("mkfs.ext4", &["-q", &made.device]).is_none() {
        return;
    }
    assert!(check(&[]).unwrap_err().contains("found an ext2, ext3 or ext4 file system"));
    assert_eq!(check(&[path.to_owned()]), Ok(()));
    let mounted_on = std::env::temp_dir().join(format!("sombra-mount-{}", std::process::id()));
    fs::create_dir(&mounted_on).unwrap();
    let place = mounted_on.to_str().unwrap();
    if output_of("mount", &[&made.device, place]).is_some() {
        let refusal = check(&[path.to_owned()]).unwrap_err();
        assert!(refusal.contains(&format!("mounted on {place}")), "{refusal}");
        assert!(output_of("umount", &[place]).is_some());
    }
    fs::remove_dir(&mounted_on).unwrap();
}
