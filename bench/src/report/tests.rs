use std::path::Path;

use super::environment::Mount;

const MOUNTINFO: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:24 / /dev/shm rw,nosuid shared:2 master:3 - tmpfs tmpfs rw
41 22 254:16 / /data rw,noatime - xfs /dev/vdb rw
42 41 254:32 / /data rw,noatime - btrfs /dev/vdc rw
nonsense
";

#[test]
fn mount_is_the_longest_prefix_and_the_last_of_equals() {
    let find = |dir: &str| Mount::find(MOUNTINFO, Path::new(dir)).unwrap();
    assert_eq!(find("/home/someone").source, "/dev/vda");
    assert_eq!(find("/dev/shm/x").filesystem, "tmpfs");
    let data = find("/data/store");
    assert_eq!((data.filesystem.as_str(), data.options.as_str()), ("btrfs", "rw,noatime"));
    assert_eq!(data.device_number, "254:32");
}

#[test]
fn mount_prefix_counts_whole_names_only() {
    assert_eq!(Mount::find(MOUNTINFO, Path::new("/database")).unwrap().source, "/dev/vda");
    assert_eq!(Mount::find("", Path::new("/data")), None);
}
