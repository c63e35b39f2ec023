use std::os::unix::fs::symlink;

use super::*;

/// A made-up machine: `/data` on the partition vdb1, `/loop` on loop0, `/shm` in memory.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Fake {
        let root = std::env::temp_dir().join(format!("sombra-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let devices = root.join("sys/devices");
        for disk in ["pci/vdb/vdb1", "virtual/loop0"] {
            fs::create_dir_all(devices.join(disk)).unwrap();
        }
        fs::write(devices.join("pci/vdb/vdb1/partition"), "1\n").unwrap();
        for place in ["sys/dev/block", "sys/block"] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        let link = |to: &str, from: &str| symlink(devices.join(to), root.join(from)).unwrap();
        link("pci/vdb/vdb1", "sys/dev/block/254:17");
        link("pci/vdb", "sys/dev/block/254:16");
        link("virtual/loop0", "sys/dev/block/7:0");
        link("pci/vdb", "sys/block/vdb");
        link("virtual/loop0", "sys/block/loop0");
        for place in ["data", "loop", "shm"] {
            fs::create_dir_all(root.join(place)).unwrap();
        }
        let fake = Fake(fs::canonicalize(root).unwrap());
        let at = fake.0.display();
        let mounts = format!(
            "30 1 254:17 / {at}/data rw,noatime - xfs /dev/vdb1 rw\n\
             31 1 7:0 / {at}/loop rw - ext4 /dev/loop0 rw\n\
             32 1 0:24 / {at}/shm rw - tmpfs tmpfs rw\n"
        );
        fs::write(fake.0.join("mountinfo"), mounts).unwrap();
        fake
    }

    fn stat(&self, disk: &str, text: &str) {
        fs::write(self.0.join("sys/block").join(disk).join("stat"), text).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn devices_of_paths_are_disks_once_and_in_order() {
    let fake = Fake::new("disks-of-paths");
    let kernel = Kernel::below(&fake.0);
    let paths = ["loop/a.0.0", "data/not/yet/there", "data/b.0.0", "shm/c"];
    let paths: Vec<PathBuf> = paths.iter().map(|path| fake.0.join(path)).collect();
    assert_eq!(kernel.disks_of(&paths), ["loop0", "vdb"]);
    let data = kernel.reach(&paths[2]);
    assert_eq!((data.mount.filesystem.as_str(), data.disk.as_deref()), ("xfs", Some("vdb")));
    assert_eq!(kernel.reach(&paths[3]).disk, None);
}

#[test]
fn devices_util_is_the_difference_of_two_readings() {
    let fake = Fake::new("disk-util");
    fake.stat("vdb", "10 1 800 5 20 2 1600 7 0 100 12 0 0 0 0 3 4\n");
    let watch = DiskWatch::begin(Kernel::below(&fake.0), &[fake.0.join("data/x")]);
    fake.stat("vdb", "110 3 9999 55 220 5 9999 77 0 600 132 0 0 0 0 8 9\n");
    let util = watch.end(Duration::from_secs(1));
    let expected = DiskUtil {
        name: "vdb".to_owned(),
        read_ios: 100,
        write_ios: 200,
        read_merges: 2,
        write_merges: 3,
        read_ticks_ms: 50,
        write_ticks_ms: 70,
        in_queue_ms: 120,
        flush_ios: Some(5),
        util_percent: 50.0,
    };
    assert_eq!(util, [expected]);
    assert_eq!(watch.end(Duration::from_millis(100))[0].util_percent, 100.0);
}

#[test]
fn devices_of_old_kernels_count_no_flushes_and_broken_counters_are_left_out() {
    let counters = Counters::parse("1 2 3 4 5 6 7 8 9 10 11").unwrap();
    assert_eq!((counters.in_queue_ms, counters.flush_ios), (11, None));
    assert_eq!(Counters::parse("1 2 3"), None);
    assert_eq!(Counters::parse("1 2 x 4 5 6 7 8 9 10 11"), None);
    let fake = Fake::new("no-counters");
    let watch = DiskWatch::begin(Kernel::below(&fake.0), &[fake.0.join("data/x")]);
    assert!(watch.end(Duration::from_secs(1)).is_empty());
}
