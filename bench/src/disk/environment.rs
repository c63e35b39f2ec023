//! Where a run of the disk tool took place. What is not exposed says so, and is never guessed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::devices::{Kernel, Reached};
use crate::machine;

/// Stamp of the machine and of the disks under test.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DiskEnvironment {
    pub sombra_version: String,
    pub build: String,
    pub kernel: String,
    pub cpu_model: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// Frequency governor, or `not exposed`.
    pub governor: String,
    pub memory_bytes: u64,
    pub devices: Vec<DeviceFacts>,
    /// Of the runtime.
    pub driver: String,
    /// Why another driver than io_uring is in use, and the like.
    pub driver_notes: Vec<String>,
    /// What the user says was done to the disk before, or `not stated`.
    pub preconditioning: String,
    /// What limits the figures, in words.
    pub limits: Vec<String>,
}

/// One disk and the mount through which the jobs reach it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DeviceFacts {
    /// As below `/sys/block`, or the file system's where there is no disk.
    pub name: String,
    pub model: String,
    pub is_nvme: bool,
    pub is_rotational: Option<bool>,
    /// `write back` or `write through`.
    pub write_cache: String,
    /// Takes a write and its flush as one command.
    pub has_fua: Option<bool>,
    pub scheduler: String,
    /// Has queues that can be polled.
    pub has_poll_queues: Option<bool>,
    pub filesystem: String,
    pub mount_source: String,
    pub mount_options: String,
}

/// The machine's memory; 0 where /proc does not tell.
#[must_use]
pub fn memory_bytes() -> u64 {
    machine::memory_bytes()
}

/// What only the caller knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stated {
    pub driver: String,
    pub driver_notes: Vec<String>,
    /// `--preconditioned TEXT`.
    pub preconditioned: Option<String>,
}

pub const NOT_EXPOSED: &str = "not exposed";
pub const NOT_STATED: &str = "not stated";
pub const NOT_ON_NVME: &str = "not measured on NVMe";

impl DiskEnvironment {
    /// Looks at the machine and at the disks behind the paths of the jobs' files.
    pub fn look(kernel: &Kernel, paths: &[PathBuf], stated: Stated) -> DiskEnvironment {
        let mut devices = BTreeMap::new();
        for path in paths {
            let facts = device(kernel, kernel.reach(path));
            devices.entry((facts.name.clone(), facts.mount_source.clone())).or_insert(facts);
        }
        let devices: Vec<DeviceFacts> = devices.into_values().collect();
        let mut limits = Vec::new();
        let others: Vec<&str> =
            devices.iter().filter(|device| !device.is_nvme).map(|device| &*device.name).collect();
        if !others.is_empty() || devices.is_empty() {
            let named = if others.is_empty() { "no device".to_owned() } else { others.join(", ") };
            limits.push(format!("{NOT_ON_NVME} ({named})"));
        }
        DiskEnvironment {
            sombra_version: env!("CARGO_PKG_VERSION").to_owned(),
            build: machine::build().to_owned(),
            kernel: machine::kernel(),
            cpu_model: machine::cpu_model(),
            cpus: machine::cpus(),
            governor: kernel.governor().unwrap_or_else(|| NOT_EXPOSED.to_owned()),
            memory_bytes: machine::memory_bytes(),
            devices,
            driver: stated.driver,
            driver_notes: stated.driver_notes,
            preconditioning: stated.preconditioned.unwrap_or_else(|| NOT_STATED.to_owned()),
            limits,
        }
    }
}

fn device(kernel: &Kernel, reached: Reached) -> DeviceFacts {
    let mount = reached.mount;
    let facts = DeviceFacts {
        filesystem: mount.filesystem,
        mount_source: mount.source,
        mount_options: mount.options,
        ..DeviceFacts::default()
    };
    let Some(name) = reached.disk else {
        return DeviceFacts { name: facts.filesystem.clone(), ..facts };
    };
    let text = |attribute: &str| {
        kernel.attribute(&name, attribute).unwrap_or_else(|| NOT_EXPOSED.to_owned())
    };
    let flag = |attribute: &str| kernel.attribute(&name, attribute).map(|value| value != "0");
    DeviceFacts {
        model: text("device/model"),
        is_nvme: name.starts_with("nvme"),
        is_rotational: flag("queue/rotational"),
        write_cache: text("queue/write_cache"),
        has_fua: flag("queue/fua"),
        scheduler: text("queue/scheduler"),
        has_poll_queues: flag("queue/io_poll"),
        name,
        ..facts
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine whose `/` lies on one disk with the given attributes.
    fn machine(disk: &str, attributes: &[(&str, &str)]) -> (PathBuf, Kernel) {
        let root = std::env::temp_dir().join(format!("sombra-env-{disk}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let block = root.join("sys/block").join(disk);
        fs::create_dir_all(block.join("queue")).unwrap();
        fs::create_dir_all(block.join("device")).unwrap();
        fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        std::os::unix::fs::symlink(&block, root.join("sys/dev/block/1:1")).unwrap();
        fs::write(root.join("mountinfo"), "1 0 1:1 / / rw,noatime - ext4 /dev/x rw\n").unwrap();
        for (attribute, value) in attributes {
            fs::write(block.join(attribute), format!("{value}\n")).unwrap();
        }
        let kernel = Kernel::below(&root);
        (root, kernel)
    }

    #[test]
    fn environment_says_what_is_not_exposed_and_that_it_is_no_nvme() {
        let attributes = [("queue/fua", "0"), ("queue/scheduler", "[none] bfq")];
        let (root, kernel) = machine("vdq", &attributes);
        let paths = ["/somewhere/a".into(), "/elsewhere/b".into()];
        let found = DiskEnvironment::look(&kernel, &paths, Stated::default());
        assert_eq!(found.devices.len(), 1);
        let device = &found.devices[0];
        assert_eq!((device.name.as_str(), device.has_fua), ("vdq", Some(false)));
        assert_eq!((device.is_rotational, device.has_poll_queues), (None, None));
        assert_eq!((device.model.as_str(), device.scheduler.as_str()), (NOT_EXPOSED, "[none] bfq"));
        assert_eq!((device.filesystem.as_str(), &*device.mount_options), ("ext4", "rw,noatime"));
        assert_eq!((found.governor.as_str(), &*found.preconditioning), (NOT_EXPOSED, NOT_STATED));
        assert_eq!(found.limits, ["not measured on NVMe (vdq)"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn environment_of_an_nvme_disk_has_its_model_and_no_limit() {
        let (root, kernel) = machine("nvme0n1", &[("device/model", "FAST 1T  ")]);
        let stated =
            Stated { preconditioned: Some("twice filled".to_owned()), ..Stated::default() };
        let found = DiskEnvironment::look(&kernel, &["/x".into()], stated);
        assert_eq!(found.devices[0].model, "FAST 1T");
        assert!(found.devices[0].is_nvme && found.limits.is_empty());
        assert_eq!(found.preconditioning, "twice filled");
        fs::remove_dir_all(root).unwrap();
    }
}
